"""A second, independent implementation of the wire: stubs made from the public protos at run time, credentials and keys read from
a fleet's disk. For tests that play a thief, a liar or a captured coordinator."""
import hashlib
import os
import re
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time

import fleet as f

try:
    import grpc
except ImportError:
    sys.exit("python3-grpcio is missing for this Python; use Debian's: /usr/bin/python3 (deploy/install-packages.sh installs it)")

_stubs = tempfile.TemporaryDirectory(prefix="bw-stubs-")


def _make_stubs():
    proto = os.path.join(f.ROOT, "proto")
    files = []
    for folder, _, names in os.walk(proto):
        files += [os.path.relpath(os.path.join(folder, n), proto) for n in names if n.endswith(".proto")]
    subprocess.run(["protoc", f"-I{proto}", f"--python_out={_stubs.name}"] + sorted(files), check=True)
    sys.path.insert(0, _stubs.name)


_make_stubs()
from bailiwick.agent.v1 import admin_pb2, session_pb2          # noqa: E402
from bailiwick.control.v1 import control_pb2                   # noqa: E402
from bailiwick.enroll.v1 import enroll_pb2                     # noqa: E402
from bailiwick.resource.v1 import bundle_pb2                   # noqa: E402
from bailiwick.store.v1 import store_pb2                       # noqa: E402
from bailiwick.transfer.v1 import grant_pb2, transfer_pb2      # noqa: E402
from bailiwick.types.v1 import types_pb2                       # noqa: E402

GRANT = "application/vnd.bailiwick.grant.v1"
SELF_GRANT = "application/vnd.bailiwick.self-grant.v1"
VERSION = "application/vnd.bailiwick.version.v1"
HOP = "application/vnd.bailiwick.hop.v1"
BINDING = "application/vnd.bailiwick.certificate-binding.v1"


def read(path):
    with open(path, "rb") as file:
        return file.read()


# ------------------------------------------------------------------------------------------------ keys and envelopes
def public_key(pem_path):
    """Raw Ed25519 public key of a private key file; None for any other key."""
    made = subprocess.run(["openssl", "pkey", "-in", pem_path, "-pubout", "-outform", "DER"], capture_output=True)
    der = made.stdout
    return der[-32:] if made.returncode == 0 and der.startswith(bytes.fromhex("302a300506032b6570032100")) else None


def pae(payload_type, payload):
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(message, pem_path):
    with tempfile.NamedTemporaryFile() as file:
        file.write(message)
        file.flush()
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", pem_path, "-in", file.name], check=True,
                              capture_output=True).stdout


def seal(payload_type, message, pem_path):
    payload = message if isinstance(message, bytes) else message.SerializeToString()
    envelope = types_pb2.Envelope(payload_type=payload_type, payload=payload)
    envelope.signatures.add(key_id=hashlib.sha256(public_key(pem_path)).digest(), signature=sign(pae(payload_type, payload), pem_path))
    return envelope


def new_signing_key(path):
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True, capture_output=True)
    return path


def envelopes_in(database, payload_type):
    """Every envelope of this type in any table of an SQLite file."""
    with tempfile.TemporaryDirectory() as folder:   # a copy: a live one is nobody's to open
        copy = os.path.join(folder, "copy.db")
        for suffix in ("", "-wal"):
            if os.path.exists(database + suffix):
                with open(copy + suffix, "wb") as file:
                    file.write(read(database + suffix))
        found = []
        connection = sqlite3.connect(copy)
        connection.text_factory = bytes
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table.decode()}"'):
                for value in row:
                    if isinstance(value, bytes) and payload_type.encode() in value:
                        envelope = types_pb2.Envelope()
                        try:
                            envelope.ParseFromString(value)
                        except Exception:               # some other message that holds one
                            continue
                        if envelope.payload_type == payload_type:
                            found.append(envelope)
        connection.close()
        return found


# ------------------------------------------------------------------------------------------------ identities
class Identity:
    """A certificate and its key, with which to dial."""

    def __init__(self, certificate, key, ca):
        self.certificate, self.key, self.ca = certificate, key, ca

    @classmethod
    def of_directory(cls, folder):
        return cls(read(os.path.join(folder, "cert.pem")), read(os.path.join(folder, "key.pem")), read(os.path.join(folder, "ca.pem")))

    @property
    def sha256(self):
        pem = self.certificate.decode()
        end = "-----END CERTIFICATE-----"
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN"):pem.index(end) + len(end)])).digest()

    def channel(self, endpoint, server):
        credentials = grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)
        # In brackets, so that gRPC does not take what follows the colon for a port.
        return grpc.secure_channel(endpoint, credentials, options=[("grpc.ssl_target_name_override", f"[{server}]"),
                                                                   ("grpc.enable_retries", 0)])


def context(fleet):
    text = read(os.path.join(fleet.dir, "context.yaml")).decode()
    return {k: v.strip().strip('"') for k, v in re.findall(r"(?m)^(\w+):[ ]*(.*)$", text)}


def admin(fleet):
    folder = os.path.join(fleet.dir, context(fleet)["credentials"])
    return Identity.of_directory(folder)


def agent(fleet, site):
    return Identity.of_directory(os.path.join(fleet.data(site), "identity", "live"))


def enrolment_key(fleet, site):
    return os.path.join(fleet.data(site), "identity", "enrolment.pem")


def coordinator_id(fleet):
    return f"spiffe://{context(fleet)['trustDomain']}/coordinator"


def issue(folder, uri, authority=None):
    """A certificate for this URI, by a CA of our own or by the given (certificate file, key file)."""
    os.makedirs(folder, exist_ok=True)
    at = lambda name: os.path.join(folder, name)  # noqa: E731
    run = lambda *a: subprocess.run(a, check=True, capture_output=True)  # noqa: E731
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    if authority is None:
        run("openssl", "req", "-x509", *ec, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-subj", "/CN=foreign", "-days", "1")
        authority = (at("ca.pem"), at("ca.key"))
    run("openssl", "req", *ec, "-keyout", at("key.pem"), "-out", at("csr"), "-subj", "/")
    f.write(at("ext"), f"subjectAltName=critical,URI:{uri}\nextendedKeyUsage=serverAuth,clientAuth\n")
    run("openssl", "x509", "-req", "-in", at("csr"), "-CA", authority[0], "-CAkey", authority[1], "-CAcreateserial", "-out",
        at("cert.pem"), "-days", "1", "-extfile", at("ext"))
    return Identity(read(at("cert.pem")), read(at("key.pem")), read(authority[0]))


def binding(identity, uri, enrolment_pem):
    return seal(BINDING, grant_pb2.CertificateBinding(spiffe_id=uri, certificate_sha256=identity.sha256), enrolment_pem)


# ------------------------------------------------------------------------------------------------ calls
def unary(channel, method, request, reply, timeout=10):
    call = channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(), response_deserializer=reply.FromString)
    return call(request, timeout=timeout)


def control(fleet, identity, name, request, reply):
    with identity.channel(context(fleet)["coordinator"], coordinator_id(fleet)) as channel:
        return unary(channel, f"/bailiwick.control.v1.Control/{name}", request, reply)


def sites(fleet):
    answer = control(fleet, admin(fleet), "ListSites", control_pb2.ListSitesRequest(), control_pb2.ListSitesResponse)
    return {s.name: s for s in answer.sites}


class Flow:
    """One Exchange: send frames, read the answers. Ended by Goodbye, an error or close()."""

    def __init__(self, identity, endpoint, server):
        self._channel = identity.channel(endpoint, server)
        self._outbox, self._closed = [], False
        call = self._channel.stream_stream("/bailiwick.transfer.v1.Transfer/Exchange",
                                           request_serializer=lambda m: m.SerializeToString(),
                                           response_deserializer=transfer_pb2.Frame.FromString)
        self._call = call(self._requests(), timeout=30)

    def _requests(self):
        while not self._closed:
            if self._outbox:
                yield self._outbox.pop(0)
            else:
                time.sleep(0.005)

    def send(self, **kind):
        self._outbox.append(transfer_pb2.Frame(**kind))

    def send_bytes(self, data):
        """A frame as no library would write it."""
        self._outbox.append(type("Raw", (), {"SerializeToString": lambda _: data})())

    def next(self):
        """The next frame; None at the end of the stream."""
        try:
            return next(self._call)
        except StopIteration:
            return None

    def until_goodbye(self):
        """(frames before it, the Goodbye or None)."""
        frames = []
        while True:
            frame = self.next()
            if frame is None:
                return frames, None
            if frame.HasField("goodbye"):
                return frames, frame.goodbye
            frames.append(frame)

    def close(self):
        self._closed = True
        self._call.cancel()
        self._channel.close()
