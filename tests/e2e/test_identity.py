"""Identities over time: renewal and rotation while data flows, revocation, agents that slept, clocks that are wrong."""
import datetime
import json
import os
import random
import re
import shutil
import ssl
import stat
import tempfile
import time
import unittest

import fleet as f
import identities as i
import prometheus
import wire as w

YEAR = 365 * 24 * 3600
CAP = ("apiVersion: bailiwick/v1\nkind: BandwidthPolicy\nmetadata: {name: slow}\n"
       "spec: {caps: [{site: factory, limit: %s}]}\n")


def certificate(fleet, *path):
    return w.read(os.path.join(fleet.dir, *path, "cert.pem"))


def flow_once(case, name, number=1):
    """Commits something new at the factory and waits for it at core."""
    f.write(os.path.join(case.fleet.path(name), f"file-{number}"), os.urandom(1000))
    # What an agent renewed a moment ago its port shows within a second.
    f.wait_until(lambda: case.fleet.commit(name, wait=False, expect=None).code == f.OK, what="the commit")
    case.fleet.wait_version(name, number, "core", timeout=90)


def declare(case, name):
    os.makedirs(case.fleet.path(name), exist_ok=True)
    case.fleet.apply(f.documents(f.replication_yaml(to="[{site: core}]"), f.dataset_yaml(name, case.fleet.path(name))))


def failed_calls(fleet):
    """What coordinator and agents answered with anything but OK, as they count it themselves."""
    found = {}
    for name, folder in (("coordinator", os.path.join(fleet.dir, "coordinator")), *((s, fleet.data(s)) for s in ("factory", "core"))):
        address = json.loads(f.read(os.path.join(folder, "endpoints.json")))["metrics"]
        for line in prometheus.get(address, "/metrics")[2].splitlines():
            if line.startswith("bailiwick_grpc_server_handled_total") and 'code="OK"' not in line:
                series, count = line.rsplit(" ", 1)
                found[name, series] = float(count)
    return found


def rotate_under_load(case, life, size, pace):
    """One transfer that outlives several certificates of every kind; nothing fails. The facts, for who prints them."""
    fleet = case.fleet
    declare(case, "load")
    fleet.apply(CAP % pace)
    with open(os.path.join(fleet.path("load"), "big"), "wb") as file:
        rng = random.Random(1)
        for _ in range(size >> 20):
            file.write(rng.randbytes(1 << 20))
    with i.coordinator_with(fleet, "--certificate-life", life, "--ca-rotate-every", life, "--metrics-listen", "127.0.0.1:0"):
        for site in ("factory", "core"):   # those that they have are good for a day
            fleet.dev("stop", site)
            i.rejoin(fleet, site)
            fleet.dev("start", site)
        seen = {"factory": set(), "core": set(), "coordinator": set(), "roots": set(), "keys": set()}

        def look():
            for site in ("factory", "core"):
                seen[site].add(certificate(fleet, "sites", site, "identity", "live"))
            seen["keys"].add(w.read(os.path.join(fleet.data("core"), "identity", "live", "key.pem")))
            seen["coordinator"].add(certificate(fleet, "coordinator", "tls", "live"))
            seen["roots"].update(w.read(os.path.join(fleet.data("core"), "identity", "live", "ca.pem")).split(b"-----END"))
        for site in ("factory", "core"):
            f.wait_until(lambda s=site: i.agents(fleet)[s]["connected"], what=f"{site} is back")
        started, failed = time.monotonic(), failed_calls(fleet)
        fleet.commit("load", wait=False)
        f.wait_until(lambda: look() or fleet.transfers("load", 1, "core")[-1:] and
                     fleet.transfers("load", 1, "core")[-1]["state"] == "done", timeout=300, step=0.5, what="the transfer is done")
        seconds = time.monotonic() - started
        fleet.wait_version("load", 1, "core", timeout=60)
        states = [t["state"] for t in fleet.transfers("load")]
        case.assertEqual(states, ["done"], fleet.cli("transfer", "list").out + fleet.cli("events").out)
        for who in ("factory", "core", "coordinator"):
            case.assertGreaterEqual(len(seen[who]), 3, f"{who}: renewed while it ran")
        case.assertGreaterEqual(len(seen["roots"]), 4, "the CA was replaced while it ran")
        case.assertGreaterEqual(len(seen["keys"]), 3, "each certificate has a key of its own")
        case.assertEqual([e for e in fleet.cli("events").out.splitlines() if "transfer-failed" in e], [])
        case.assertEqual(failed_calls(fleet), failed, "no call failed")
        written = [(r["kind"], r["subject"], r["detail"].get("by")) for r in i.records(fleet, "coordinator")]
        case.assertGreaterEqual(written.count(("authority-rotated", "ca", "itself")), 2, "each replacement is on record")
        case.assertGreaterEqual(written.count(("authority-key-destroyed", "ca", None)), 1)
        case.assertGreaterEqual(written.count(("certificate-renewed", "coordinator", None)), 2)
    return {"seconds": seconds, **{k: len(v) for k, v in seen.items()}}


class Rotation(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def test_everything_is_renewed_while_one_transfer_runs(self):
        rotate_under_load(self, "10s", 120 << 20, "5MiB")
        # The same processes go on with certificates of a day once they have joined anew; also over a restart.
        self.fleet.cli("delete", "bandwidthpolicy", "slow", "--yes")
        for site in ("factory", "core"):
            self.fleet.dev("stop", site)
            i.rejoin(self.fleet, site)
            self.fleet.dev("start", site)
        flow_once(self, "load", 2)

    def test_a_certificate_that_somebody_else_renews(self):
        ca = (os.path.join(self.fleet.dir, "coordinator", "ca", "cert.pem"), os.path.join(self.fleet.dir, "coordinator", "ca", "key.pem"))
        forger = i.Forger(self.fleet.path("outside-ca"), ca if os.path.exists(ca[1]) else i.Forger(self.fleet.path("o"), ca).stranger())
        outside, uri = self.fleet.path("outside"), i.agents(self.fleet)["core"]["identity"]
        declare(self, "external")

        def put(identity, key=None):
            f.write(os.path.join(outside, "tls.crt"), identity.certificate)
            f.write(os.path.join(outside, "tls.key"), key or identity.key, mode=0o600)
            f.write(os.path.join(outside, "ca.crt"), w.read(forger.ca[0]))
        live = os.path.join("sites", "core", "identity", "live")
        roots = self.fleet.path("roots")
        # The coordinator trusts the outside CA because its own certificate comes from there too.
        f.write(os.path.join(roots, "tls.crt"), b"")
        mine = forger.make(f"URI:{w.coordinator_id(self.fleet)}")
        for name, data in (("tls.crt", mine.certificate), ("tls.key", mine.key), ("ca.crt", w.read(forger.ca[0]))):
            f.write(os.path.join(roots, name), data, mode=0o600)
        with i.coordinator_with(self.fleet, "--tls-dir", roots):
            f.wait_until(lambda: i.agents(self.fleet)["factory"]["connected"], what="the factory is back")
            first = forger.make(f"URI:{uri}")
            put(first)
            with i.agent_with(self.fleet, "core", "--tls-dir", outside):
                f.wait_until(lambda: certificate(self.fleet, live) == first.certificate, what="the first is in use")
                flow_once(self, "external")
                other = forger.make(f"URI:{uri}")
                put(other, key=first.key)      # half of a pair
                put(forger.make(f"URI:{uri}x"))   # another name
                f.wait_until(lambda: "not spiffe" in self.fleet.log("core") or ", not " in self.fleet.log("core"),
                             what="the agent says why it does not take it")
                self.assertEqual(certificate(self.fleet, live), first.certificate)
                put(other)
                f.wait_until(lambda: certificate(self.fleet, live) == other.certificate, what="the second is in use")
                flow_once(self, "external", 2)
            self.fleet.dev("stop", "core")
        # Which ones were taken, at both ends; not those that did not work.
        for recorder, subject, taken in (("core", "site/core", (first, other)), ("coordinator", "coordinator", (mine,))):
            self.assertEqual([r["detail"]["certificateSha256"] for r in i.records(self.fleet, recorder)
                              if (r["kind"], r["subject"]) == ("certificate-installed", subject)],
                             [w.hashlib.sha256(ssl.PEM_cert_to_DER_cert(one.certificate.decode())).hexdigest() for one in taken])
        i.rejoin(self.fleet, "core")
        self.fleet.dev("start", "core")
        flow_once(self, "external", 3)


class Revocation(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def test_revoked_is_out_at_once_until_it_joins_anew(self):
        declare(self, "data")
        flow_once(self, "data")
        stolen, ids = w.agent(self.fleet, "core"), {s: a["identity"] for s, a in i.agents(self.fleet).items()}
        factory = w.sites(self.fleet)["factory"]
        out = self.fleet.cli("agent", "revoke", "core", "--reason", "stolen in Lyon", "--yes").out
        self.assertIn(ids["core"], out)
        row = i.agents(self.fleet)["core"]
        self.assertEqual((row["state"], row["revokedReason"]), ("revoked", "stolen in Lyon"))
        self.assertFalse(row["connected"])
        for command in (("status",), ("get", "sites"), ("describe", "site", "core")):
            self.assertRegex(self.fleet.cli(*command).out, r"(?m)^(core|State:) .*revoked")
        examined = self.fleet.cli("doctor", expect=None).out
        self.assertRegex(examined, r"agent core +.*revoked by .*stolen in Lyon")
        self.assertIn("bailiwick site join-token core", examined)

        def shut_out():   # at another agent, by its own deny list
            with self.assertRaises(w.grpc.RpcError):
                with stolen.channel(factory.admin_endpoint, ids["factory"]) as channel:
                    w.unary(channel, "/bailiwick.agent.v1.AgentAdmin/Verify", w.admin_pb2.VerifyRequest(dataset="x"), w.admin_pb2.WorkEvent)
            return (ids["core"], "REVOKED") in i.refusals(self.fleet, "factory")
        f.wait_until(shut_out, timeout=10, what="the factory refuses it by itself")
        with self.assertRaises(w.grpc.RpcError):
            with stolen.channel(w.context(self.fleet)["coordinator"], w.coordinator_id(self.fleet)) as channel:
                w.unary(channel, "/bailiwick.agent.v1.AgentSession/Renew", w.session_pb2.RenewRequest(), w.session_pb2.RenewResponse)
        self.assertIn((ids["core"], "REVOKED"), i.refusals(self.fleet, "coordinator"))
        f.write(os.path.join(self.fleet.path("data"), "later"), b"not for the thief")
        self.fleet.commit("data", wait=False)
        self.assertIn("was revoked", self.fleet.cli("why", "data", "core", expect=None).out)
        # Over a restart of both.
        self.fleet.restart("coordinator")
        self.fleet.restart("core")
        f.wait_until(lambda: i.agents(self.fleet)["factory"]["connected"], what="the factory is back")
        self.assertEqual(i.agents(self.fleet)["core"]["state"], "revoked")
        self.fleet.dev("stop", "core")
        i.rejoin(self.fleet, "core")
        self.fleet.dev("start", "core")
        self.fleet.wait_version("data", 2, "core", timeout=90)
        with self.assertRaises(w.grpc.RpcError):   # the stolen certificate is no better for it
            with stolen.channel(w.context(self.fleet)["coordinator"], w.coordinator_id(self.fleet)) as channel:
                w.unary(channel, "/bailiwick.agent.v1.AgentSession/Renew", w.session_pb2.RenewRequest(), w.session_pb2.RenewResponse)

    def test_who_stands_before_the_machine_may_ask(self):
        data = self.fleet.data("core")
        said = json.loads(f.run([f.AGENT, "certificate", "--data-dir", data, "--json"]).out)
        self.assertEqual(said["identity"], i.agents(self.fleet)["core"]["identity"])
        before, listed = certificate(self.fleet, "sites", "core", "identity", "live"), i.agents(self.fleet)["core"]
        time.sleep(1.1)   # times are told in whole seconds
        self.assertEqual(f.run([f.AGENT, "certificate", "--data-dir", data, "--renew"]).code, f.OK)
        self.assertNotEqual(certificate(self.fleet, "sites", "core", "identity", "live"), before)
        for what in ("certificateExpires", "renewed"):
            self.assertGreater(i.agents(self.fleet)["core"][what], listed[what], what)
        self.assertIn("neither root nor the user that the agent runs as", self.as_nobody(data))
        self.assertIn(("local user 65534", "NOT_ALLOWED"), i.refusals(self.fleet, "core"))
        self.assertEqual(os.stat(os.path.join(data, "agent.sock")).st_mode & 0o777, 0o600)
        self.fleet.dev("stop", "core")
        self.assertEqual(f.run([f.AGENT, "certificate", "--data-dir", data]).code, f.UNAVAILABLE)
        self.fleet.dev("start", "core")

    def as_nobody(self, data):
        """What another user of the machine hears who gets at the socket; modes do not stand in its way here."""
        ask = ("import os, socket, sys\nif os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
               "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
               "try: s.sendall(b'renew\\n')\n"
               "except BrokenPipeError: pass\n"   # it is refused without being listened to
               "print(s.recv(4096).decode())")
        opened = []
        path = os.path.join(data, "agent.sock")
        while path not in (tempfile.gettempdir(), "/"):
            opened.append((path, os.stat(path).st_mode & 0o7777))
            os.chmod(path, 0o777)
            path = os.path.dirname(path)
        try:
            sudo = [] if os.getuid() == 0 else ["sudo", "-n", "-u", "#65534"]
            said = f.run([*sudo, "/usr/bin/python3", "-c", ask, os.path.join(data, "agent.sock")])
        finally:
            for path, mode in opened:
                os.chmod(path, mode)
        return json.loads(said.out)["error"]

    def test_joining_again_with_the_parts_of_the_string(self):
        token = self.fleet.json("site", "join-token", "core")
        self.fleet.dev("stop", "core")
        parts = ["--coordinator", token["coordinator"], "--token", token["token"], "--ca-sha256", token["caSha256"]]
        join = [f.AGENT, "join", "--data-dir", self.fleet.data("core"), *parts]
        self.assertEqual(f.run(join).code, f.USAGE)
        self.assertNotEqual(f.run(join[:-1] + ["0" * 64, "--policy-root-sha256", token["policyRootSha256"]]).code, f.OK, "another CA")
        self.assertEqual(f.run(join + ["--policy-root-sha256", token["policyRootSha256"]]).code, f.OK)
        self.fleet.dev("start", "core")
        f.wait_until(lambda: i.agents(self.fleet)["core"]["connected"], what="it is back")

    def test_joining_again_in_vain_leaves_what_works(self):
        declare(self, "vain")
        self.fleet.dev("stop", "core")
        before = certificate(self.fleet, "sites", "core", "identity", "live")
        token = self.fleet.json("site", "join-token", "core")["join"]
        self.assertEqual(f.run([f.AGENT, "join", "--data-dir", self.fleet.data("core"), "--join", token]).code, f.OK)
        after = certificate(self.fleet, "sites", "core", "identity", "live")
        self.assertNotEqual(before, after)
        for bad in (token, "bwj1.x"):   # used already; no join string
            self.assertNotEqual(f.run([f.AGENT, "join", "--data-dir", self.fleet.data("core"), "--join", bad]).code, f.OK)
        self.fleet.dev("stop", "coordinator")
        self.assertEqual(f.run([f.AGENT, "join", "--data-dir", self.fleet.data("core"), "--join", token]).code, f.UNAVAILABLE)
        self.fleet.dev("start", "coordinator")
        self.assertEqual(certificate(self.fleet, "sites", "core", "identity", "live"), after)
        self.fleet.dev("start", "core")
        flow_once(self, "vain")


class Wiped(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def test_a_home_that_lost_its_disk_cannot_overwrite_its_past(self):
        """Another incarnation, another key: nothing counts until an admin says so, and nothing is committed even then."""
        fleet = self.fleet
        declare(self, "past")
        flow_once(self, "past")
        flow_once(self, "past", 2)
        identity = lambda: {v["number"]: v["identity"] for v in fleet.json("dataset", "versions", "past")["versions"]}  # noqa: E731
        before, tree = identity(), {n: f.read(os.path.join(fleet.current("core", "past"), n)) for n in ("file-1", "file-2")}
        old = w.public_key(w.enrolment_key(fleet, "factory"))
        fleet.dev("stop", "factory")
        shutil.rmtree(fleet.data("factory"))
        i.rejoin(fleet, "factory")
        self.assertNotEqual(w.public_key(w.enrolment_key(fleet, "factory")), old)
        fleet.dev("start", "factory")
        f.wait_until(lambda: i.agents(fleet)["factory"]["state"] == "unapproved", what="it waits for an admin")
        asks = fleet.cli("site", "approve", "factory", expect=f.USAGE)
        self.assertIn("--yes", asks.err, "another machine's place is not given away unasked")
        fleet.cli("site", "approve", "factory", "--yes")
        f.wait_until(lambda: i.agents(fleet)["factory"]["state"] == "connected", what="it is approved")
        f.write(os.path.join(fleet.path("past"), "file-1"), b"another past")
        no_version = "site factory has no version of past, but version 2 was announced"
        f.wait_until(lambda: no_version in fleet.commit("past", wait=False, expect=None).err, what="the wiped home is refused")
        for more in ((), ("--dry-run",)):
            fleet.commit("past", *more, wait=False, expect=f.CONFLICT)
        f.wait_until(lambda: no_version in fleet.cli("get", "replicas", "past").text, what="it is said")
        self.assertEqual(identity(), before)
        fleet.verify("past", "core")
        self.assertEqual({n: f.read(os.path.join(fleet.current("core", "past"), n)) for n in tree}, tree)

    def test_a_directory_stays_that_of_its_site(self):
        """What lies there was let in by the law of one site; a string for another makes it nobody else's."""
        fleet = self.fleet
        string = fleet.cli("site", "join-token", "factory").out.strip().split()[-1]
        fleet.dev("stop", "core")
        refused = f.run([f.AGENT, "join", "--data-dir", fleet.data("core"), "--join", string])
        self.assertEqual(refused.code, f.CONFLICT, refused)
        self.assertRegex(refused.err, "is for site factory, .* is that of site core; give each site a directory of its own")
        fleet.dev("start", "core")
        f.wait_until(lambda: i.agents(fleet)["core"]["state"] == "connected", what="core is who it was")
        self.assertEqual(i.agents(fleet)["factory"]["state"], "connected", "and so is the other")

    def test_a_second_machine_waits_until_it_is_approved(self):
        """A string to join with gives nobody the place of a machine that works."""
        fleet = self.fleet
        declare(self, "twins")
        flow_once(self, "twins")
        key = lambda: w.public_key(w.enrolment_key(fleet, "core"))  # noqa: E731
        token = fleet.cli("site", "join-token", "core")
        self.assertIn(key().hex(), token.err, "who it would replace is said")
        twin = fleet.path("twin")
        joined = f.run([f.AGENT, "join", "--data-dir", twin, "--join", token.out.strip().split()[-1]])
        self.assertEqual(joined.code, f.OK, joined)
        its = re.search(r"with key ([0-9a-f]{64})", joined.out).group(1)
        with f.background([f.AGENT, "run", "--data-dir", twin], fleet.path("twin.log")):
            f.wait_until(lambda: "site approve core" in f.read(fleet.path("twin.log")).decode(), what="it is told what it waits for")
            flow_once(self, "twins", 2)
            self.assertEqual(fleet.log("core").count("another machine"), 0, "the one that works is not disturbed")
            state = i.agents(fleet)["core"]
            self.assertEqual((state["state"], state["newcomerKey"]), ("connected", its))
            self.assertIn(its, fleet.cli("agent", "list").out)
            self.assertIn("nothing to approve", fleet.cli("site", "approve", "--all").out)
            fleet.cli("site", "approve", "core", "--yes")
            f.wait_until(lambda: "another machine" in fleet.log("core"), what="the first one is told")
            f.wait_until(lambda: i.agents(fleet)["core"]["state"] == "connected", what="the second one serves the site")
            flow_once(self, "twins", 3)
            self.assertFalse(f.differences(fleet.path("twins"), os.path.join(twin, "replicas", "twins", "current")))
        # Back again, for the tests that follow.
        fleet.dev("stop", "core")
        i.rejoin(fleet, "core")
        fleet.dev("start", "core")
        fleet.cli("site", "approve", "core", "--yes")
        f.wait_until(lambda: i.agents(fleet)["core"]["state"] == "connected", what="the first one is back")

    def test_a_lost_database_begins_no_second_life_on_top_of_what_it_knew(self):
        fleet = self.fleet
        declare(self, "known")
        flow_once(self, "known")
        database, kept = os.path.join(fleet.data("factory"), "agent.db"), fleet.path("kept.db")
        fleet.dev("stop", "factory")
        os.rename(database, kept)
        files = lambda: {n: f.read(n) for n in f.files_under(os.path.join(fleet.data("factory"), "datasets"))}  # noqa: E731
        before = files()
        self.assertTrue(before)
        token = fleet.json("site", "join-token", "factory")["join"]
        for empty in (False, True):
            if empty:
                f.write(database)
            for act in (["join", "--join", token], ["run", "--listen", "127.0.0.1:0"]):
                refused = f.run([f.AGENT, act[0], "--data-dir", fleet.data("factory"), *act[1:]])
                self.assertEqual(refused.code, f.FAILED, refused)
                self.assertRegex(refused.err, "agent.db is (gone|empty).*from a backup")
            self.assertEqual(files(), before)
        os.rename(kept, database)
        fleet.dev("start", "factory")
        flow_once(self, "known", 2)


class Restored(f.FleetTest):
    """A home whose data directory was put back from an older copy of it."""
    SITES = (f.FACTORY, f.CORE)

    def put_back(self, name, spec="commit: {onRequest: true}"):
        """The home has version 1 again; 2 was announced, and core holds it."""
        fleet = self.fleet
        declare(self, name)
        fleet.apply(f.dataset_yaml(name, fleet.path(name), spec=spec))
        flow_once(self, name)
        fleet.dev("stop", "factory")
        shutil.copytree(fleet.data("factory"), fleet.path(name + "-copy"), symlinks=True, ignore=lambda d, names: [
            n for n in names if stat.S_ISSOCK(os.lstat(os.path.join(d, n)).st_mode)])
        fleet.dev("start", "factory")
        flow_once(self, name, 2)
        fleet.dev("stop", "factory")
        shutil.rmtree(fleet.data("factory"))
        os.rename(fleet.path(name + "-copy"), fleet.data("factory"))
        f.write(os.path.join(fleet.path(name), "file-2"), b"of another life")

    def home(self, name):
        return next(r for r in f.rows_of(self.fleet.json("get", "replicas", name)) if r["role"] == "home")

    def test_it_does_not_give_a_number_away_twice(self):
        self.put_back("restored")
        self.fleet.dev("start", "factory")
        f.wait_until(lambda: "is older" in self.home("restored")["reason"], what="it is told")
        for more in ((), ("--dry-run",)):
            refused = self.fleet.commit("restored", *more, wait=False, expect=f.CONFLICT)
            self.assertRegex(refused.err, "site factory has version 1 of restored at most, but version 2 was announced.*declare it again")
        self.assertEqual(self.fleet.json("dataset", "versions", "restored")["versions"][0]["number"], 2)
        # The remedy is one.
        self.fleet.cli("delete", "dataset", "restored", "--yes")
        declare(self, "restored")
        self.fleet.commit("restored")
        f.wait_until(lambda: not f.differences(self.fleet.path("restored"), self.fleet.current("core", "restored")), what="it goes on")

    def test_what_it_committed_unknowing_is_told_wherever_somebody_looks(self):
        self.put_back("unknowing", spec="commit: {every: 1s}")
        self.fleet.dev("stop", "coordinator")    # nobody can tell it
        said = len(self.fleet.log("factory"))
        self.fleet.dev("start", "factory")
        f.wait_until(lambda: "version-committed dataset=unknowing version=2" in self.fleet.log("factory")[said:], what="it commits")
        self.fleet.dev("start", "coordinator")
        f.wait_until(lambda: self.home("unknowing")["state"] == "conflict", what="two contents under one number")
        self.assertRegex(self.home("unknowing")["reason"], "version 2 is .*not the one known here")
        self.assertRegex(self.fleet.wait_version("unknowing", 2, "core", timeout=5, expect=f.CONFLICT).err,
                         "version 2 of unknowing at its home factory counts for nobody: version 2 is .*not the one known here")
        self.fleet.wait_version("unknowing", 1, "core")
        self.assertIn("counts for nobody", self.fleet.commit("unknowing", "--timeout", "10s", expect=f.CONFLICT).err)    # unchanged
        f.write(os.path.join(self.fleet.path("unknowing"), "file-3"), b"more")
        self.assertIn("counts for nobody", self.fleet.commit("unknowing", "--timeout", "10s", expect=f.CONFLICT).err)
        self.assertEqual(self.fleet.json("dataset", "versions", "unknowing")["versions"][0]["number"], 2, "nothing follows it")


class Sleep(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def test_who_slept_past_its_certificate_comes_back_so_often_and_no_more(self):
        declare(self, "naps")
        with i.coordinator_with(self.fleet, "--certificate-life", "5s"):
            self.fleet.dev("stop", "core")
            i.rejoin(self.fleet, "core")
            left = i.agents(self.fleet)["core"]["recoveriesLeft"]
            f.wait_until(lambda: i.agents(self.fleet)["core"]["state"] == "expired", what="the certificate has ended")
            self.fleet.dev("start", "core")
            f.wait_until(lambda: i.agents(self.fleet)["core"]["connected"], timeout=90, what="it is back by itself")
            self.assertEqual(i.agents(self.fleet)["core"]["recoveriesLeft"], left - 1)
            flow_once(self, "naps")
            self.assertTrue(any(r["kind"] == "agent-recovered" for r in i.records(self.fleet, "coordinator")))

            self.fleet.dev("stop", "core")
            self.fleet.cli("agent", "allow-recoveries", "core", "0")
            f.wait_until(lambda: i.agents(self.fleet)["core"]["state"] == "expired", what="the certificate has ended again")
            self.fleet.dev("start", "core")
            f.wait_until(lambda: "allow-recoveries core" in self.fleet.log("core"), timeout=90, what="it says what to do")
            self.assertFalse(i.agents(self.fleet)["core"]["connected"])
            self.fleet.cli("agent", "allow-recoveries", "core", "1")
            f.wait_until(lambda: i.agents(self.fleet)["core"]["connected"], timeout=90, what="an admin let it in")
            self.assertEqual(i.agents(self.fleet)["core"]["recoveriesLeft"], 0)
        self.fleet.dev("stop", "core")
        i.rejoin(self.fleet, "core")
        self.fleet.dev("start", "core")
        flow_once(self, "naps", 2)

    def test_the_key_of_another_recovers_nothing(self):
        """Whoever has the join port in reach, and even a key that is pinned for another site, gets nothing."""
        uri = i.agents(self.fleet)["core"]["identity"]
        join = json.loads(w.read(os.path.join(self.fleet.dir, "coordinator", "endpoints.json")))["join"]
        chain = w.read(os.path.join(self.fleet.dir, "coordinator", "ca", "cert.pem"))
        credentials = w.grpc.ssl_channel_credentials(chain)
        options = [("grpc.ssl_target_name_override", f"[{w.coordinator_id(self.fleet)}]")]
        csr = self.fleet.path("csr.der")
        i.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.fleet.path("k.pem"), "-outform",
                  "DER", "-out", csr, "-subj", "/")
        with w.grpc.secure_channel(join, credentials, options=options) as channel:
            ask = lambda: w.unary(channel, "/bailiwick.enroll.v1.Enroll/Challenge", w.enroll_pb2.ChallengeRequest(),  # noqa: E731
                                  w.enroll_pb2.ChallengeResponse)

            def recover(nonce, key, spiffe_id=uri):
                digest = w.hashlib.sha256(w.read(csr)).digest()
                request = w.enroll_pb2.RecoverRequest(spiffe_id=spiffe_id, csr_der=w.read(csr), nonce=nonce, incarnation=b"i" * 16)
                request.enrolment_proof = w.sign(b"bailiwick-recover-v1" + digest + nonce + spiffe_id.encode(), key)
                with self.assertRaises(w.grpc.RpcError) as raised:
                    w.unary(channel, "/bailiwick.enroll.v1.Enroll/Recover", request, w.enroll_pb2.JoinResponse)
                return raised.exception.code()
            own, other = w.enrolment_key(self.fleet, "core"), w.enrolment_key(self.fleet, "factory")
            denied, unknown = w.grpc.StatusCode.PERMISSION_DENIED, w.grpc.StatusCode.UNAUTHENTICATED
            nonce = ask().nonce
            self.assertEqual(recover(nonce, other), denied)
            self.assertEqual(recover(nonce, own), unknown, "a challenge counts once")
            self.assertEqual(recover(os.urandom(32), own), unknown, "one that nobody gave")
            self.assertEqual(recover(ask().nonce, own), denied, "another incarnation: what was wiped does not come back so")
            self.assertEqual(recover(ask().nonce, own, spiffe_id=uri.replace("core", "ghost")), denied)


class Clocks(f.FleetTest):
    """Processes whose wall clock is off, by a file that builds for tests look into."""
    SITES = (f.FACTORY, f.CORE)

    def clock(self, name, seconds):
        path = self.fleet.path(f"clock-{name}")
        f.write(path + ".new", str(int(seconds)))
        os.rename(path + ".new", path)
        return {"BAILIWICK_TEST_CLOCK": path}

    def connected(self, site="core"):
        return i.agents(self.fleet)[site]["connected"]

    def stale(self):
        return next(s for s in f.rows_of(self.fleet.json("get", "sites")) if s["name"] == "core").get("policyStale", "")

    def test_a_box_that_wakes_in_1970(self):
        declare(self, "epoch")
        flow_once(self, "epoch")
        env = self.clock("core", -time.time())
        with i.agent_with(self.fleet, "core", env=env):
            f.wait_until(self.connected, timeout=60, what="it verified the coordinator all the same")
            f.wait_until(lambda: "behind" in w.sites(self.fleet)["core"].policy_stale, what="it says that its clock is wrong")
            self.clock("core", 0)
            flow_once(self, "epoch", 2)
        self.fleet.dev("start", "core")

    def test_a_home_whose_clock_is_wrong_dates_its_versions_right(self):
        """The law's retention and the lag go by that date."""
        declare(self, "dated")
        flow_once(self, "dated")
        self.fleet.dev("stop", "factory")
        for number, (offset, said) in enumerate(((-time.time(), "behind"), (3600, "ahead")), 2):
            with self.subTest(said), i.agent_with(self.fleet, "factory", env=self.clock("home", offset)):
                f.wait_until(lambda said=said: said in w.sites(self.fleet)["factory"].policy_stale, timeout=60, what="it knows that its clock is wrong")
                f.write(self.fleet.path("dated", "more"), said)
                self.fleet.cli("dataset", "commit", "dated")
                newest = lambda: self.fleet.json("dataset", "versions", "dated")["versions"][0]  # noqa: E731
                f.wait_until(lambda number=number: int(newest()["number"]) == number, what="it is announced")
                version = newest()
                self.assertLess(abs(datetime.datetime.fromisoformat(version["committedAt"]).timestamp() - time.time()), 120, version)
        self.fleet.dev("start", "factory")

    def test_sixty_days_off(self):
        declare(self, "months")
        flow_once(self, "months")
        days = 60 * 24 * 3600
        self.fleet.dev("stop", "core")
        self.fleet.dev("stop", "factory")
        left = i.agents(self.fleet)["core"]["recoveriesLeft"]
        env = self.clock("all", days)
        with i.environment(**env), i.coordinator_with(self.fleet):
            with i.agent_with(self.fleet, "core"), i.agent_with(self.fleet, "factory"):
                f.wait_until(lambda: self.connected() and self.connected("factory"), timeout=90, what="both are back by themselves")
                self.assertEqual(i.agents(self.fleet)["core"]["recoveriesLeft"], left - 1)
                flow_once(self, "months", 2)
        # Nothing here goes back: this world stays sixty days ahead.

    def test_a_clock_that_jumps_by_years_while_certificates_rotate(self):
        declare(self, "years")
        with i.coordinator_with(self.fleet, "--certificate-life", "5s"):
            self.fleet.dev("stop", "core")
            i.rejoin(self.fleet, "core")
            env = self.clock("jump", 0)
            with i.agent_with(self.fleet, "core", env=env):
                f.wait_until(self.connected, what="it is there")
                flow_once(self, "years")
                for jump in (5 * YEAR, -5 * YEAR, 0):
                    self.clock("jump", jump)
                    seen = set()
                    f.wait_until(lambda: seen.add(certificate(self.fleet, "sites", "core", "identity", "live")) or
                                 len(seen) >= 3 and self.connected(), timeout=90, what=f"renewed twice with the clock off by {jump}")
                flow_once(self, "years", 2)
            self.fleet.dev("stop", "core")
        i.rejoin(self.fleet, "core")
        self.fleet.dev("start", "core")


if __name__ == "__main__":
    f.main_side_by_side()
