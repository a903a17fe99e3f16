"""Certificates of every odd kind, a coordinator with short-lived ones, clocks that are wrong."""
import contextlib
import json
import os
import subprocess
import time

import fleet as f
import wire as w


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


class Forger:
    """Makes what a thief of the CA's key, or a stranger, could show."""

    def __init__(self, folder, ca):
        self.folder, self.ca, self.count = folder, ca, 0
        os.makedirs(folder, exist_ok=True)

    def make(self, san, start=-3600, end=3600, ca=None, usage="serverAuth,clientAuth", extra="", chain=b"", key=None):
        """An Identity with this subjectAltName (empty: none), valid from and until so many seconds from now."""
        self.count += 1
        at = lambda name: os.path.join(self.folder, f"{self.count}-{name}")  # noqa: E731
        authority = ca or self.ca
        when = lambda seconds: time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))  # noqa: E731
        f.write(at("index.txt"), "")
        f.write(at("serial"), os.urandom(8).hex())
        lines = [f"extendedKeyUsage={usage}" if usage else "", f"subjectAltName=critical,{san}" if san else "", extra]
        f.write(at("conf"), "[ca]\ndefault_ca=d\n[d]\nunique_subject=no\npolicy=p\nx509_extensions=e\ndefault_md=sha256\nemail_in_dn=no\n"
                f"database={at('index.txt')}\nserial={at('serial')}\nnew_certs_dir={self.folder}\n"
                "[p]\ncommonName=optional\n[e]\n" + "\n".join(x for x in lines if x) + "\n")
        key = key or ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", "-newkey", *key, "-nodes", "-keyout", at("key.pem"), "-out", at("csr"), "-subj", f"/CN=x{self.count}")
        openssl("ca", "-batch", "-notext", "-config", at("conf"), "-in", at("csr"), "-out", at("cert.pem"), "-cert", authority[0],
                "-keyfile", authority[1], "-startdate", when(start), "-enddate", when(end))
        identity = w.Identity(w.read(at("cert.pem")) + chain, w.read(at("key.pem")), w.read(self.ca[0]))
        identity.files = (at("cert.pem"), at("key.pem"))
        return identity

    def stranger(self):
        """A CA that nobody trusts: (certificate, key)."""
        self.count += 1
        at = lambda name: os.path.join(self.folder, f"{self.count}-{name}")  # noqa: E731
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", at("key.pem"), "-out",
                at("ca.pem"), "-subj", "/CN=stranger", "-days", "2")
        return at("ca.pem"), at("key.pem")


def records(fleet, name):
    """What the coordinator (or a site's agent) wrote down, oldest first."""
    folder = os.path.join(fleet.dir, "coordinator") if name == "coordinator" else fleet.data(name)
    payload = os.path.join(folder, "audit", "payload")
    found = []
    for file in sorted(os.listdir(payload), key=lambda n: (len(n), n)):
        for line in w.read(os.path.join(payload, file)).decode().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def refusals(fleet, name):
    """{(peer, code): sentence} of the audit log."""
    return {(r["subject"][len("peer/"):], r["detail"]["code"]): r["detail"]["reason"]
            for r in records(fleet, name) if r["kind"] == "peer-refused"}


@contextlib.contextmanager
def coordinator_with(fleet, *flags, env=None):
    """The fleet's coordinator with other flags while the block runs; then as before."""
    addresses = json.loads(w.read(os.path.join(fleet.dir, "coordinator", "endpoints.json")))
    fleet.dev("stop", "coordinator")
    command = [f.COORDINATOR, "serve", "--data-dir", os.path.join(fleet.dir, "coordinator"), "--control-listen",
               addresses["control"], "--join-listen", addresses["join"], *flags]
    try:
        with f.background(command, os.path.join(fleet.dir, "coordinator.log"), env=dict(os.environ, **(env or {}))) as process:
            f.wait_until(lambda: fleet.cli("get", "sites", expect=None).code == f.OK or process.poll() is not None, what="it serves")
            assert process.poll() is None, fleet.log("coordinator")
            yield process
    finally:
        fleet.dev("start", "coordinator")


@contextlib.contextmanager
def environment(**values):
    """Of processes that are started in the block."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def agent_with(fleet, site, *flags, env=None):
    """A site's agent with other flags or environment while the block runs. It is stopped before and after."""
    fleet.dev("stop", site, expect=None)
    log = os.path.join(fleet.dir, "sites", site + ".log")
    with f.background([f.AGENT, "run", "--data-dir", fleet.data(site), *flags], log, env=dict(os.environ, **(env or {}))) as process:
        yield process


def rejoin(fleet, site, *flags):
    """The agent gets credentials anew, by a token; it must not run."""
    token = fleet.json("site", "join-token", site)["join"]
    joined = f.run([f.AGENT, "join", "--data-dir", fleet.data(site), "--join", token, *flags])
    assert joined.code == f.OK, joined
    return joined


def agents(fleet):
    return {a["site"]: a for a in fleet.json("agent", "list")["agents"]}
