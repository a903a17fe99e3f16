"""A thief sits in the coordinator's place with every file of its directory: its CA, its grant key, its timestamp key, its catalog,
and all that it ever said before. Agents take its orders, and nothing moves that the signed law forbids."""
import concurrent.futures
import os
import queue
import random
import threading
import time

import fleet as f
import wire as w
from hostile import HostilePeer

BUNDLE = "application/vnd.bailiwick.policy-bundle.v1"
CLASSIFICATION = "application/vnd.bailiwick.classification.v1"
ROOT = "application/vnd.bailiwick.policy-root.v1"
TIMESTAMP = "application/vnd.bailiwick.policy-timestamp.v1"
NEEDLE = random.Random(7).randbytes(64 << 10)

LAX = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  rules:
  - {id: everything, effect: permit}
"""
STRICT = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  rules:
  - {id: within-the-eu, effect: permit, from: {in: [eu]}, to: {in: [eu]}}
  - id: open-anywhere
    effect: permit
    data: {matchLabels: {class: open}}
  - id: secrets-stay
    effect: forbid
    data: {matchLabels: {class: secret}}
    to: {notIn: [eu]}
"""


class Captured:
    """The coordinator's port, served with its own certificate. Agents come by themselves."""

    def __init__(self, fleet):
        read = lambda *names: w.read(os.path.join(fleet.dir, "coordinator", *names))  # noqa: E731
        self._lock, self._sessions, self.heard = threading.Lock(), {}, {}
        credentials = w.grpc.ssl_server_credentials([(read("tls", "live", "key.pem"), read("tls", "live", "cert.pem"))], read("ca", "cert.pem"), True)
        self._server = w.grpc.server(concurrent.futures.ThreadPoolExecutor(12))
        handler = w.grpc.stream_stream_rpc_method_handler(self._session, w.session_pb2.AgentMessage.FromString,
                                                          lambda m: m.SerializeToString())
        self._server.add_generic_rpc_handlers((w.grpc.method_handlers_generic_handler(
            "bailiwick.agent.v1.AgentSession", {"Session": handler}),))
        address = w.context(fleet)["coordinator"]
        assert self._server.add_secure_port(address, credentials) != 0, address
        self._server.start()

    def _session(self, requests, context):
        names = b" ".join(v for values in context.auth_context().values() for v in values).decode(errors="replace")
        site = names.split("/site/")[1].split("/")[0]
        outbox = queue.Queue()
        next(requests)  # its hello
        with self._lock:
            self._sessions[site] = outbox
            self.heard.setdefault(site, [])

        def listen():
            try:
                for message in requests:
                    with self._lock:
                        self.heard[site].append(message)
            except Exception:
                pass
            outbox.put(None)
        threading.Thread(target=listen, daemon=True).start()
        yield w.session_pb2.CoordinatorMessage(welcome=w.session_pb2.Welcome(protocol=1, build="captured", catalog_sequence=1 << 40))
        yield from iter(outbox.get, None)

    def connected(self, site):
        with self._lock:
            return site in self._sessions

    def send(self, site, **kind):
        with self._lock:
            self._sessions[site].put(w.session_pb2.CoordinatorMessage(**kind))

    def wait(self, site, matches, what):
        """The first message after this call began that matches."""
        def look():
            with self._lock:
                return next((m for m in self.heard[site] if matches(m)), None)
        return f.wait_until(look, what=what)

    def forget(self, site):
        with self._lock:
            self.heard[site].clear()

    def stop(self):
        with self._lock:
            for outbox in self._sessions.values():
                outbox.put(None)
        self._server.stop(1).wait()


class MintedPeer:
    """An agent's transfer port, served with a certificate of the captured CA: takes what it is given."""

    def __init__(self, identity, binding):
        self.frames, self._binding = [], binding
        credentials = w.grpc.ssl_server_credentials([(identity.key, identity.certificate)], identity.ca, True)
        self._server = w.grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        handler = w.grpc.stream_stream_rpc_method_handler(self._exchange, w.transfer_pb2.Frame.FromString,
                                                          lambda m: m.SerializeToString())
        self._server.add_generic_rpc_handlers((w.grpc.method_handlers_generic_handler(
            "bailiwick.transfer.v1.Transfer", {"Exchange": handler}),))
        self.endpoint = f"127.0.0.1:{self._server.add_secure_port('127.0.0.1:0', credentials)}"
        self._server.start()

    def _exchange(self, requests, context):
        self.frames.append(next(requests))
        yield w.transfer_pb2.Frame(hello_reply=w.transfer_pb2.HelloReply(protocol=1, certificate_binding=self._binding))
        yield w.transfer_pb2.Frame(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        try:
            for frame in requests:
                self.frames.append(frame)
        except Exception:
            pass

    def stop(self):
        self._server.stop(0).wait()


class CapturedCoordinator(HostilePeer):
    @classmethod
    def setUpClass(cls):
        f.FleetTest.setUpClass.__func__(cls)
        fleet = cls.fleet
        fleet.apply(LAX)
        cls.lax = cls.policy().bundle                       # what a thief finds in the catalog's history
        fleet.apply(STRICT)
        cls.source = f.make_tree(fleet.path("prize"), files=10)
        f.write(os.path.join(cls.source, "needle"), NEEDLE)
        fleet.apply(f.dataset_yaml("prize", cls.source, labels="class: open"))
        cls.was_open = cls.policy().classifications[0]      # and this
        fleet.apply(f.dataset_yaml("prize", cls.source, labels="class: secret"))
        cls.now = cls.policy()
        fleet.commit("prize", wait=False)
        cls.sites = w.sites(fleet)
        cls.ids = {name: site.agent for name, site in cls.sites.items()}
        cls.grant_key = cls.find_grant_key()
        cls.timestamp_key = os.path.join(fleet.dir, "coordinator", "timestamp.pem")
        cls.records = {}

        def announced():
            for envelope in w.envelopes_in(os.path.join(fleet.dir, "coordinator", "catalog.db"), w.VERSION):
                cls.records["prize", 1] = envelope
            return cls.records
        f.wait_until(announced, what="the coordinator knows the version")
        cls.bundle = w.bundle_pb2.PolicyBundle.FromString(cls.now.bundle.payload)
        cls.bundle_digest = w.hashlib.sha256(cls.now.bundle.payload).digest()
        f.wait_until(lambda: all(s.policy_revision == cls.bundle.revision for s in w.sites(fleet).values()), what="all have the law")
        fleet.dev("stop", "coordinator")
        cls.captured = Captured(fleet)
        cls.addClassCleanup(cls.captured.stop)
        for site in cls.ids:
            f.wait_until(lambda s=site: cls.captured.connected(s), what=f"{site} obeys the thief")

    def setUp(self):
        pass

    def tearDown(self):
        """Whatever was tried: not a byte of it is where the law keeps it from."""
        self.assertEqual(f.contains(self.fleet.data("cloud-us"), NEEDLE[1000:1032]), [])
        self.assertEqual(f.pack_bytes(self.fleet, "cloud-us"), 0)

    @classmethod
    def policy(cls):
        return w.control(cls.fleet, w.admin(cls.fleet), "GetPolicy", w.control_pb2.GetPolicyRequest(), w.control_pb2.GetPolicyResponse)

    # --- what a thief sends
    def timestamp(self, key=None, ahead=0, life=3600, bundle=None):
        payload = (bundle or self.now.bundle).payload
        message = w.bundle_pb2.PolicyTimestamp(format=1, revision=w.bundle_pb2.PolicyBundle.FromString(payload).revision,
                                               bundle_sha256=w.hashlib.sha256(payload).digest())
        now = time.time() + ahead
        message.issued_at.FromNanoseconds(int(now * 1e9))
        message.expires.FromNanoseconds(int((now + life) * 1e9))
        return w.seal(TIMESTAMP, message, key or self.timestamp_key)

    def offer(self, site, bundle=None, records=(), roots=(), timestamp=None):
        """What the agent says to it."""
        self.captured.forget(site)
        offer = w.session_pb2.PolicyOffer(bundle=bundle or self.now.bundle, classifications=records, roots=roots)
        offer.timestamp.CopyFrom(timestamp or self.timestamp(bundle=bundle))
        self.captured.send(site, policy=offer)
        return self.captured.wait(site, lambda m: m.HasField("policy"), f"{site} answers the offer").policy

    def order(self, site, peer, receive=True, endpoint=None, record=None, **grant):
        """The agent's last word about a transfer that it was told to dial."""
        source, destination = (peer, site) if receive else (site, peer)
        envelope = self.grant(source=source, destination=destination, **grant)
        transfer = w.grant_pb2.Grant.FromString(envelope.payload).transfer_id
        record = record or self.records["prize", 1]
        self.captured.send(site, transfer=w.session_pb2.TransferOrder(
            transfer_id=transfer, dataset_id=w.store_pb2.VersionRecord.FromString(record.payload).dataset_id, dataset="prize",
            receive=receive, version_record=record, grant=envelope, peer=self.ids[peer],
            peer_endpoint=endpoint or self.sites[peer].endpoint, total_bytes=1))
        over = (w.session_pb2.TRANSFER_STATE_DONE, w.session_pb2.TRANSFER_STATE_FAILED)
        return self.captured.wait(site, lambda m: m.transfer.transfer_id == transfer and m.transfer.state in over,
                                  f"{site} ends the transfer").transfer

    def refused(self, report, *codes):
        self.assertEqual(report.state, w.session_pb2.TRANSFER_STATE_FAILED, report)
        self.assertIn(report.code, codes, report)
        self.assertTrue(report.message)

    def forged(self, **changes):
        c = w.bundle_pb2.Classification.FromString(self.now.classifications[0].payload)
        c.revision += 10
        c.labels["class"] = "open"
        for name, value in changes.items():
            setattr(c, name, value)
        return c

    # --- the positive control: the agents do what this coordinator says, as far as the law goes
    def test_a_lawful_order_is_obeyed(self):
        report = self.order("core", "factory")
        self.assertEqual(report.state, w.session_pb2.TRANSFER_STATE_DONE, report)
        self.assertEqual(len(f.contains(os.path.join(self.fleet.data("core"), "datasets"), NEEDLE[1000:1032])), 1)

    def test_grants_against_the_law(self):
        self.refused(self.order("cloud-us", "factory"), "POLICY_DENIED")
        self.refused(self.order("factory", "cloud-us", receive=False), "POLICY_DENIED")
        self.refused(self.order("cloud-us", "factory", destination_region="eu/de"), "GRANT_INVALID")
        self.refused(self.order("cloud-us", "factory", policy_revision=1, policy_digest=b"\0" * 32), "POLICY_DENIED")

    def test_relabelled_datasets(self):
        keys = [self.grant_key, self.timestamp_key, w.enrolment_key(self.fleet, "cloud-us")]
        for key in keys:
            for site in ("factory", "cloud-us"):
                self.assertEqual(self.offer(site, records=[w.seal(CLASSIFICATION, self.forged(), key)]).error, "")
            self.refused(self.order("cloud-us", "factory"), "POLICY_DENIED", "POLICY_ERROR")
        for site in ("factory", "cloud-us"):                 # truly signed, once
            self.assertEqual(self.offer(site, records=[self.was_open]).error, "")
        self.refused(self.order("cloud-us", "factory"), "POLICY_DENIED")

    def test_an_agent_that_forgets_does_not_make_it_so(self):
        """The receiver alone may be fooled about the past; the source is not."""
        self.fleet.restart("cloud-us")
        f.wait_until(lambda: self.captured.connected("cloud-us"), what="cloud-us is back")
        self.offer("cloud-us", records=[self.was_open])
        self.refused(self.order("factory", "cloud-us", receive=False), "POLICY_DENIED")

    def test_moved_homes(self):
        moved = self.forged(home_site="cloud-us", epoch=2)
        for site in ("factory", "cloud-us"):
            self.offer(site, records=[w.seal(CLASSIFICATION, moved, self.grant_key)])
        record = w.store_pb2.VersionRecord.FromString(self.records["prize", 1].payload)
        record.home_site, record.home_epoch = "cloud-us", 2
        lie = w.seal(w.VERSION, record, w.enrolment_key(self.fleet, "cloud-us"))
        self.refused(self.order("cloud-us", "factory", record=lie), "GRANT_INVALID")
        self.refused(self.order("cloud-us", "factory"), "POLICY_DENIED", "POLICY_ERROR")

    def test_stale_and_forged_bundles(self):
        for site in ("factory", "cloud-us"):
            self.assertIn("older than the installed", self.offer(site, bundle=self.lax).error)
            newer = w.bundle_pb2.PolicyBundle.FromString(self.lax.payload)
            newer.revision = self.bundle.revision + 1
            for key in (self.grant_key, self.timestamp_key):
                self.assertIn("not signed by its root", self.offer(site, bundle=w.seal(BUNDLE, newer, key)).error)
            own = w.types_pb2.PublicKey(ed25519=w.public_key(self.grant_key))
            root = w.bundle_pb2.PolicyRoot(keys=[own], threshold=1, number=2)
            newer.root = root.SerializeToString()
            taken = w.seal(BUNDLE, newer, self.grant_key)
            self.assertIn("another root", self.offer(site, bundle=taken).error)
            first = w.types_pb2.Envelope(payload_type=ROOT, payload=self.bundle.root)
            link = w.seal(ROOT, newer.root, self.grant_key)
            self.assertIn("not signed by the root before it", self.offer(site, bundle=taken, roots=[first, link]).error)
            same = w.bundle_pb2.PolicyBundle.FromString(self.now.bundle.payload)
            same.grant_keys.add(ed25519=w.public_key(self.grant_key)[::-1])
            self.assertNotEqual(self.offer(site, bundle=w.seal(BUNDLE, same, self.grant_key)).error, "")
        self.refused(self.order("cloud-us", "factory"), "POLICY_DENIED")

    def test_minted_certificates(self):
        """The CA makes anybody's certificate; the key behind it is not the one that the law pins."""
        authority = tuple(os.path.join(self.fleet.dir, "coordinator", "ca", name) for name in ("cert.pem", "key.pem"))
        minted = w.issue(self.fleet.path("minted"), self.ids["core"], authority)
        replayed = w.binding(w.agent(self.fleet, "cloud-us"), self.ids["core"], w.enrolment_key(self.fleet, "cloud-us"))
        for binding in (w.binding(minted, self.ids["core"], self.grant_key), replayed,
                        w.binding(minted, self.ids["core"], w.enrolment_key(self.fleet, "cloud-us"))):
            flow = w.Flow(minted, self.sites["factory"].endpoint, self.ids["factory"])
            self.addCleanup(flow.close)
            flow.send(hello=self.hello(self.grant(), identity=minted, binding=binding))
            flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
            frames, goodbye = flow.until_goodbye()
            self.assertEqual(goodbye.code, "WRONG_PEER", goodbye)
            self.assertFalse([x for x in frames if x.HasField("data")])
        # And the other way round: the home is sent to an endpoint of the thief's.
        for binding in (w.binding(minted, self.ids["core"], self.grant_key), replayed):
            thief = MintedPeer(minted, binding)
            self.addCleanup(thief.stop)
            self.refused(self.order("factory", "core", receive=False, endpoint=thief.endpoint), "WRONG_PEER")
            self.assertFalse([x for x in thief.frames if x.HasField("data")])

    def test_swapped_endpoints(self):
        """Ordered to core, sent to cloud-us: the certificate there is not core's."""
        report = self.order("factory", "core", receive=False, endpoint=self.sites["cloud-us"].endpoint)
        self.assertEqual(report.state, w.session_pb2.TRANSFER_STATE_FAILED, report)

    def test_timestamps(self):
        """It can say that the law is current as long as the law itself lasts; it cannot call another law current, and a lie about
        the time stops everything."""
        self.offer("factory")
        for envelope in (self.timestamp(key=self.grant_key), self.timestamp(bundle=self.lax), self.timestamp(life=10**7),
                         self.timestamp(ahead=-600)):
            before = self.fleet.log("factory").count("policy-timestamp-refused")
            self.captured.send("factory", policy_timestamp=envelope)
            f.wait_until(lambda: self.fleet.log("factory").count("policy-timestamp-refused") > before, what="factory refuses it")
        self.captured.forget("factory")
        self.captured.send("factory", policy_timestamp=self.timestamp(ahead=600))
        said = self.captured.wait("factory", lambda m: m.policy.stale, "factory says that clocks differ").policy
        self.assertIn("behind the coordinator's signed time", said.stale)
        self.refused(self.order("factory", "core", receive=False), "CLOCK_SKEW")
        self.fleet.restart("factory")                        # forgets the skew, not the law
        f.wait_until(lambda: self.captured.connected("factory"), what="factory is back")

    def test_z_when_the_true_one_is_back_everything_goes_on(self):
        self.captured.stop()
        self.fleet.dev("start", "coordinator")
        self.fleet.apply(f.replication_yaml(to="[{site: core}, {site: cloud-us}]", select="class: secret"))
        f.write(os.path.join(self.source, "more"), b"later")
        f.wait_until(lambda: self.fleet.commit("prize", wait=False, expect=None).code == f.OK, what="a commit")
        self.fleet.wait_version("prize", 2, "core", timeout=90)
        self.assertIn("secrets-stay", self.fleet.cli("why", "prize", "cloud-us", expect=None).text)


if __name__ == "__main__":
    f.main()
