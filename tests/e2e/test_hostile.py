"""Peers that lie: no certificate, a foreign one, somebody else's grant, a grant that a captured coordinator signs against the law,
a path outside of what was granted, bytes that are not what they should be. The law holds at the two ends of the wire."""
import json
import os
import random
import subprocess
import time
import unittest

import fleet as f
import wire as w
from hostile import HostilePeer

GARBAGE = b"this is not what the manifest names"


class Hostile(HostilePeer):
    # --- the positive control: without it the refusals below would prove nothing
    def test_a_true_grant_gives_the_granted_version(self):
        flow = self.flow()
        flow.send(hello=self.hello(self.grant()))
        reply = flow.next()
        self.assertTrue(reply.HasField("hello_reply"), reply)
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        data = flow.next()
        self.assertTrue(data.HasField("data"), data)
        self.assertGreater(len(data.data.payload), 0)

    def test_no_client_certificate(self):
        for endpoint, server in ((self.sites["factory"].endpoint, self.ids["factory"]),
                                 (self.sites["factory"].admin_endpoint, self.ids["factory"]),
                                 (w.context(self.fleet)["coordinator"], w.coordinator_id(self.fleet))):
            with self.subTest(endpoint=endpoint):
                anonymous = w.Identity(None, None, w.admin(self.fleet).ca)
                with anonymous.channel(endpoint, server) as channel, self.assertRaises(w.grpc.RpcError) as raised:
                    w.unary(channel, "/bailiwick.control.v1.Control/GetInfo", w.control_pb2.GetInfoRequest(),
                            w.control_pb2.GetInfoResponse)
                self.assertEqual(raised.exception.code(), w.grpc.StatusCode.UNAVAILABLE)

    def test_foreign_certificate_with_a_right_name(self):
        forged = w.issue(self.fleet.path("foreign"), self.ids["core"])
        forged.ca = w.admin(self.fleet).ca
        flow = self.flow(identity=forged)
        flow.send(hello=self.hello(self.grant(), identity=forged))
        with self.assertRaises(w.grpc.RpcError):
            while flow.next() is not None:
                pass

    def test_roles_of_identities(self):
        denied = w.grpc.StatusCode.PERMISSION_DENIED
        with self.assertRaises(w.grpc.RpcError) as raised:
            w.control(self.fleet, w.agent(self.fleet, "core"), "GetInfo", w.control_pb2.GetInfoRequest(), w.control_pb2.GetInfoResponse)
        self.assertEqual(raised.exception.code(), denied)
        with w.agent(self.fleet, "core").channel(self.sites["factory"].admin_endpoint, self.ids["factory"]) as channel:
            call = channel.unary_stream("/bailiwick.agent.v1.AgentAdmin/Verify", request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=w.admin_pb2.WorkEvent.FromString)
            with self.assertRaises(w.grpc.RpcError) as raised:
                list(call(w.admin_pb2.VerifyRequest(dataset="prize"), timeout=10))
            self.assertEqual(raised.exception.code(), denied)
            call = channel.unary_stream("/bailiwick.agent.v1.AgentAdmin/FindContent", request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=w.admin_pb2.FoundContent.FromString)
            with self.assertRaises(w.grpc.RpcError) as raised:
                list(call(w.admin_pb2.FindContentRequest(dataset="prize", paths=[b"secret"]), timeout=10))
            self.assertEqual(raised.exception.code(), denied)
        for who in (w.agent(self.fleet, "core"), w.admin(self.fleet)):   # an admin's certificate alone erases nothing either
            with self.assertRaises(w.grpc.RpcError) as raised:
                w.control(self.fleet, who, "Redact", w.control_pb2.RedactRequest(), w.control_pb2.RedactResponse)
            self.assertEqual(raised.exception.code(), denied)
        with w.admin(self.fleet).channel(w.context(self.fleet)["coordinator"], w.coordinator_id(self.fleet)) as channel:
            call = channel.stream_stream("/bailiwick.agent.v1.AgentSession/Session", request_serializer=lambda m: m.SerializeToString(),
                                         response_deserializer=w.session_pb2.CoordinatorMessage.FromString)
            hello = w.session_pb2.AgentMessage(hello=w.session_pb2.AgentHello(protocol_min=1, protocol_max=1))
            with self.assertRaises(w.grpc.RpcError) as raised:
                list(call(iter([hello]), timeout=10))
            self.assertEqual(raised.exception.code(), denied)

    def test_tampered_grant(self):
        for position in (0.1, 0.5, 0.9):
            grant = self.grant()
            payload = bytearray(grant.payload)
            payload[int(len(payload) * position)] ^= 1
            grant.payload = bytes(payload)
            self.ask(self.hello(grant), ("GRANT_INVALID",))
        unsigned = self.grant()
        del unsigned.signatures[:]
        self.ask(self.hello(unsigned), ("GRANT_INVALID",))
        other_type = w.seal(w.VERSION, self.grant().payload, self.grant_key)
        self.ask(self.hello(other_type), ("GRANT_INVALID",))

    def test_grant_signed_by_another_key(self):
        stranger = w.new_signing_key(self.fleet.path("stranger.pem"))
        self.ask(self.hello(self.grant(key=stranger)), ("GRANT_INVALID",))
        self.ask(self.hello(self.grant(key=w.enrolment_key(self.fleet, "core"))), ("GRANT_INVALID",))

    def self_grant(self, key="factory", **changes):
        return w.seal(w.SELF_GRANT, self.grant(**changes).payload, w.enrolment_key(self.fleet, key))

    def test_grants_that_sites_sign_themselves(self):
        """Only the source's own key makes one, only the law makes it count, only once, only inside the jurisdiction."""
        payload = self.grant().payload
        for forged in (self.self_grant("core"), self.self_grant("cloud-us"), w.seal(w.SELF_GRANT, payload, self.grant_key),
                       w.seal(w.GRANT, payload, w.enrolment_key(self.fleet, "factory"))):
            self.ask(self.hello(forged), ("GRANT_INVALID",))
        self.ask(self.hello(self.self_grant()), ("NOT_DELEGATED",))
        self.fleet.apply(f.LAW + "  offline: [{jurisdiction: eu, maxStaleness: 2h}]\n")
        self.addCleanup(self.fleet.apply, f.LAW)
        self.setUp()
        good = self.self_grant()
        flow = self.flow()
        flow.send(hello=self.hello(good))
        self.assertTrue(flow.next().HasField("hello_reply"))
        self.ask(self.hello(good), ("GRANT_REPLAYED",))
        self.ask(self.hello(self.self_grant("core")), ("GRANT_INVALID",))
        self.ask(self.hello(self.self_grant(destination="cloud-us"), site="cloud-us"), ("NOT_DELEGATED",), site="cloud-us")
        self.ask(self.hello(self.self_grant(life=86400)), ("GRANT_INVALID",))
        self.ask(self.hello(self.self_grant(start=-400, life=300)), ("GRANT_EXPIRED",))

    def test_a_question_while_the_coordinator_is_there(self):
        identity = w.agent(self.fleet, "core")
        record = w.store_pb2.VersionRecord.FromString(self.records["prize", 1].payload)
        ask = w.transfer_pb2.Ask(protocol_min=1, protocol_max=1, dataset_id=record.dataset_id, transfer_id="ab12",
                                 certificate_binding=w.binding(identity, self.ids["core"], w.enrolment_key(self.fleet, "core")))
        flow = self.flow()
        flow.send(ask=ask)
        self.refused(flow, ("NOT_DELEGATED",))
        ask.certificate_binding.CopyFrom(w.binding(identity, self.ids["core"], w.enrolment_key(self.fleet, "cloud-us")))
        flow = self.flow()
        flow.send(ask=ask)
        self.refused(flow, ("NOT_DELEGATED",))
        ask.transfer_id = '"},{"'
        flow = self.flow()
        flow.send(ask=ask)
        self.refused(flow, ("BAD_REQUEST",))

    def test_somebody_elses_grant(self):
        goodbye = self.ask(self.hello(self.grant(destination="core"), site="cloud-us"), ("WRONG_PEER",), site="cloud-us")
        self.assertIn("cloud-us", goodbye.message)

    def test_a_grant_against_the_law_moves_nothing(self):
        """A captured coordinator can sign anything; the source evaluates the law by itself."""
        self.ask(self.hello(self.grant(destination="cloud-us"), site="cloud-us"), ("POLICY_DENIED",), "acme/eu-data-stays",
                 site="cloud-us")
        self.assertEqual(f.pack_bytes(self.fleet, "cloud-us"), 0)

    def test_a_grant_that_lies_about_the_region(self):
        self.ask(self.hello(self.grant(destination="cloud-us", destination_region="eu/de"), site="cloud-us"),
                 ("GRANT_INVALID", "WRONG_PEER", "POLICY_DENIED"), site="cloud-us")

    def test_times(self):
        self.ask(self.hello(self.grant(start=-400, life=300)), ("GRANT_EXPIRED",))
        self.ask(self.hello(self.grant(start=600, life=300)), ("GRANT_EXPIRED", "GRANT_INVALID"))
        self.ask(self.hello(self.grant(life=86400)), ("GRANT_INVALID",))

    def test_policy_revision(self):
        self.ask(self.hello(self.grant(policy_revision=self.bundle.revision + 5)), ("POLICY_STALE",))
        self.ask(self.hello(self.grant(policy_digest=b"\0" * 32)), ("GRANT_INVALID", "POLICY_STALE"))

    def test_a_grant_is_for_one_version_and_one_action(self):
        self.ask(self.hello(self.grant("prize"), dataset="unwanted"), ("GRANT_INVALID",))
        root = w.store_pb2.VersionRecord.FromString(self.records["unwanted", 1].payload).manifest_root
        self.ask(self.hello(self.grant("prize", manifest_root=root)), ("GRANT_INVALID",))
        self.ask(self.hello(self.grant(action="reside")), ("GRANT_INVALID",))
        self.ask(self.hello(self.grant(format=9)), ("GRANT_INVALID",))

    def test_a_forged_version_record(self):
        record = w.store_pb2.VersionRecord.FromString(self.records["prize", 1].payload)
        record.number = 2
        forged = w.seal(w.VERSION, record, w.enrolment_key(self.fleet, "cloud-us"))
        hello = self.hello(self.grant())
        hello.version_record.CopyFrom(forged)
        self.ask(hello, ("GRANT_INVALID", "NOT_FOUND", "BAD_REQUEST"))

    def test_certificate_of_a_captured_authority(self):
        """The CA's key makes any certificate; it cannot make the enrolment key that the signed policy pins."""
        authority = None
        ca = w.admin(self.fleet).ca
        for path in map(os.fsdecode, f.files_under(os.path.join(self.fleet.dir, "coordinator"))):
            if os.path.getsize(path) < 4096 and b"PRIVATE KEY" in w.read(path):
                certificate = self.fleet.path("ca.pem")
                f.write(certificate, ca)
                same = [subprocess.run(["openssl", *what], capture_output=True).stdout for what in (
                    ("x509", "-in", certificate, "-noout", "-pubkey"), ("pkey", "-in", path, "-pubout"))]
                if same[0] and same[0] == same[1]:
                    authority = (certificate, path)
        self.assertTrue(authority, "the CA's key is not on the coordinator's disk")
        forged = w.issue(self.fleet.path("captured"), self.ids["core"], authority)
        replayed = w.binding(w.agent(self.fleet, "core"), self.ids["core"], w.enrolment_key(self.fleet, "core"))
        for binding in (replayed, w.binding(forged, self.ids["core"], w.enrolment_key(self.fleet, "cloud-us")),
                        w.types_pb2.Envelope()):
            self.ask(self.hello(self.grant(), identity=forged, binding=binding), ("WRONG_PEER", "GRANT_INVALID", "BAD_REQUEST"),
                     identity=forged)

    def test_reach(self):
        """Whatever is asked for, only children of the granted manifest come."""
        for want in (dict(node_path=[4_000_000_000]), dict(node_path=[0] * 200),
                     dict(spans=[w.transfer_pb2.Span(first=4_000_000_000, count=1)]),
                     dict(spans=[w.transfer_pb2.Span(first=0, count=4_000_000_000)]),
                     dict(spans=[w.transfer_pb2.Span(first=5, count=2), w.transfer_pb2.Span(first=0, count=2)])):
            with self.subTest(want=want):
                flow = self.flow()
                flow.send(hello=self.hello(self.grant()))
                self.assertTrue(flow.next().HasField("hello_reply"))
                flow.send(want=w.transfer_pb2.Want(want_id=1, **want))
                self.refused(flow, ("BAD_REQUEST", "NOT_FOUND"))

    def test_protocol_of_the_far_future(self):
        goodbye = self.ask(self.hello(self.grant(), minimum=90, maximum=99), ("BAD_REQUEST",))
        self.assertRegex(goodbye.message, r"(?i)protocol")
        flow = self.flow()                              # one version newer that still speaks ours is welcome
        flow.send(hello=self.hello(self.grant(), minimum=1, maximum=2))
        self.assertTrue(flow.next().HasField("hello_reply"))

    def test_first_frame_is_no_hello(self):
        flow = self.flow()
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        self.refused(flow, ("BAD_REQUEST",))

    def test_a_liar_as_source(self):
        """Right identity, right grant, wrong bytes: never accepted."""
        before = f.pack_bytes(self.fleet, "core")
        flow = self.flow(site="factory", to="core")
        flow.send(hello=self.hello(self.grant("unwanted", source="factory", destination="core"), dataset="unwanted", site="factory",
                                   role=w.transfer_pb2.ROLE_SOURCE))
        reply = flow.next()
        self.assertTrue(reply.HasField("hello_reply"), reply)
        want = flow.next()
        self.assertTrue(want.HasField("want"), want)
        flow.send(data=w.transfer_pb2.Data(
            want_id=want.want.want_id, last=True, payload=GARBAGE,
            pieces=[w.transfer_pb2.Piece(codec=0, stored_length=len(GARBAGE), raw_length=len(GARBAGE))]))
        _, goodbye = flow.until_goodbye()
        self.assertIsNotNone(goodbye)
        self.assertEqual(goodbye.code, "CORRUPT", goodbye)
        self.assertEqual(f.contains(os.path.join(self.fleet.data("core"), "datasets"), GARBAGE), [])
        self.assertLess(f.pack_bytes(self.fleet, "core") - before, 4096)
        self.assertFalse(os.path.lexists(self.fleet.current("core", "unwanted")))

    def test_a_peer_that_falls_silent_is_let_go_when_its_grant_ends(self):
        for role, site, to in ((w.transfer_pb2.ROLE_SOURCE, "factory", "core"), (w.transfer_pb2.ROLE_RECEIVER, "core", "factory")):
            with self.subTest(of=to):
                flow = self.flow(site=site, to=to)
                flow.send(hello=self.hello(self.grant("unwanted", source="factory", destination="core", life=9), dataset="unwanted",
                                           site=site, role=role))
                self.assertTrue(flow.next().HasField("hello_reply"))
                begun = time.monotonic()
                _, goodbye = flow.until_goodbye()
                self.assertEqual(goodbye and goodbye.code, "GRANT_EXPIRED", goodbye)
                self.assertLess(time.monotonic() - begun, 12)

    def test_a_receiver_that_does_not_read_is_let_go_when_its_grant_ends(self):
        flow = self.flow()
        grant = self.grant(life=9)
        flow.send(hello=self.hello(grant))
        self.assertTrue(flow.next().HasField("hello_reply"))
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        self.assertTrue(flow.next().HasField("data"))
        for n in range(8000):   # a node of some KiB each: more than lies on the way
            flow.send(want=w.transfer_pb2.Want(want_id=2 + n, spans=[w.transfer_pb2.Span(first=0, count=1)]))
        transfer = w.grant_pb2.Grant.FromString(grant.payload).transfer_id

        def ended():
            log = json.loads(self.fleet.cli("audit", "list", "--site", "factory", "--subject", transfer, "-o", "json").out)
            return [r["detail"] for r in log["records"] if r["kind"] == "transfer-broken"]
        f.wait_until(ended, timeout=25, what="the source has ended the flow")
        self.assertEqual(ended()[0]["code"], "GRANT_EXPIRED")

    def test_a_bomb_as_source(self):
        for piece, payload in ((dict(codec=0, stored_length=1 << 30, raw_length=1 << 30), b"x"),
                               (dict(codec=1, stored_length=4, raw_length=0xFFFFFFFF), b"bomb"),
                               (dict(codec=1, stored_length=4, raw_length=4), b"bomb"),
                               (dict(codec=7, stored_length=1, raw_length=1), b"x")):
            with self.subTest(piece=piece):
                flow = self.flow(site="factory", to="core")
                flow.send(hello=self.hello(self.grant("unwanted"), dataset="unwanted", site="factory",
                                           role=w.transfer_pb2.ROLE_SOURCE))
                self.assertTrue(flow.next().HasField("hello_reply"))
                want = flow.next().want
                flow.send(data=w.transfer_pb2.Data(want_id=want.want_id, last=True, payload=payload,
                                                   pieces=[w.transfer_pb2.Piece(**piece)]))
                _, goodbye = flow.until_goodbye()
                self.assertIsNotNone(goodbye)
                self.assertIn(goodbye.code, ("CORRUPT", "BAD_REQUEST"))
        self.fleet.verify("prize", "core")

    def node_of(self, dataset):
        """(the piece, the payload) with which the factory answers the question for a manifest's root."""
        flow = self.flow()
        flow.send(hello=self.hello(self.grant(dataset), dataset=dataset))
        self.assertTrue(flow.next().HasField("hello_reply"))
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        data = flow.next().data
        flow.close()
        return data.pieces[0], data.payload

    def test_a_source_that_says_that_all_is_there(self):
        """The names of everything and the content of nothing: no version, whatever the source says."""
        piece, payload = self.node_of("unwanted")
        for nodes in (False, True):
            with self.subTest(nodes=nodes):
                flow = self.flow(site="factory", to="core")
                flow.send(hello=self.hello(self.grant("unwanted"), dataset="unwanted", site="factory", role=w.transfer_pb2.ROLE_SOURCE))
                self.assertTrue(flow.next().HasField("hello_reply"))
                want = flow.next().want
                if nodes and want.fetch_root:
                    flow.send(data=w.transfer_pb2.Data(want_id=want.want_id, last=True, pieces=[piece], payload=payload))
                    want = flow.next().want
                    self.assertTrue(want.spans)
                flow.send(goodbye=w.transfer_pb2.Goodbye(code="COMPLETE"))
                _, goodbye = flow.until_goodbye()
                self.assertEqual(goodbye and goodbye.code, "BAD_REQUEST", goodbye)
                self.assertIn("before everything was here", goodbye.message)
        self.assertFalse([r for r in self.records_of("core") if r["kind"] == "version-received" and "unwanted" in r["subject"]])
        self.assertFalse(os.path.lexists(self.fleet.current("core", "unwanted")))

    def records_of(self, site):
        return [json.loads(line) for line in self.fleet.audit(site).splitlines()]

    def test_no_peer_writes_in_our_records(self):
        """What leaves is on record with who got it, whatever the receiver says at the end."""
        for code, rule in (('x"', ""), ("BROKEN", "it's Gerät"), ("A" * 70000, ""), ("BROKEN", "r" * 70000),
                           (f'BROKEN","destination":"{self.ids["cloud-us"]}', ""), ("\\", '"}')):
            with self.subTest(code=code[:40], rule=rule[:40]):
                grant = self.grant()
                flow = self.flow()
                flow.send(hello=self.hello(grant))
                self.assertTrue(flow.next().HasField("hello_reply"))
                flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
                self.assertTrue(flow.next().HasField("data"))
                flow.send(goodbye=w.transfer_pb2.Goodbye(code=code, rule=rule, message="m" * 70000))
                transfer = w.grant_pb2.Grant.FromString(grant.payload).transfer_id
                ended = lambda: [r for r in self.records_of("factory") if r["subject"].endswith(transfer)  # noqa: E731
                                 and r["kind"] == "transfer-broken"]
                f.wait_until(ended, what="the source's record of what left")
                record, = ended()
                self.assertEqual(record["detail"]["destination"], self.ids["core"])
                self.assertGreater(record["detail"]["wireBytes"], 0)
                self.assertRegex(record["detail"]["code"], "^[A-Z_]{1,32}$")
                self.assertRegex(record["detail"]["rule"], "^[A-Za-z0-9._/-]{0,300}$")

    def test_data_that_is_not_where_it_is_looked_for(self):
        """The same protobuf message, its fields in another order: refused, and the receiver lives."""
        flow = self.flow(site="factory", to="core")
        flow.send(hello=self.hello(self.grant("unwanted"), dataset="unwanted", site="factory", role=w.transfer_pb2.ROLE_SOURCE))
        self.assertTrue(flow.next().HasField("hello_reply"))
        data = w.transfer_pb2.Data(want_id=flow.next().want.want_id, last=True, payload=GARBAGE, pieces=[
            w.transfer_pb2.Piece(codec=0, stored_length=len(GARBAGE), raw_length=len(GARBAGE))])
        unknown = b"\x98\x06\x00"   # field 99, a number
        flow.send_bytes(unknown + w.transfer_pb2.Frame(data=data).SerializeToString())
        _, goodbye = flow.until_goodbye()
        self.assertEqual(goodbye and goodbye.code, "BAD_REQUEST", goodbye)
        self.fleet.verify("prize", "core")

    def test_the_receiver_evaluates_the_law_too(self):
        """A captured coordinator and a bribed source: cloud-us itself refuses what may not lie there."""
        flow = self.flow(site="factory", to="cloud-us")
        flow.send(hello=self.hello(self.grant("unwanted", destination="cloud-us"), dataset="unwanted", site="factory",
                                   role=w.transfer_pb2.ROLE_SOURCE))
        self.refused(flow, ("POLICY_DENIED",), "acme/eu-data-stays")

    def test_a_version_past_its_retention(self):
        """A captured coordinator grants it; the source does not send it, the receiver does not take it."""
        def keep(seconds):
            self.fleet.apply("apiVersion: bailiwick/v1\nkind: SovereigntyPolicy\nmetadata: {name: brief}\nspec:\n  rules:\n"
                             "  - {id: a-while, effect: permit, data: {matchExpressions: [{key: reach, operator: Exists}]}, "
                             "from: {in: [eu]}, to: {siteSelector: {matchLabels: {tier: onprem}}}, "
                             f"obligations: [{{maxRetention: {seconds}s}}]}}\n")
            self.setUp()
        self.addCleanup(self.fleet.cli, "delete", "sovereigntypolicy", "brief", "--yes")
        keep(3600)
        flow = self.flow()
        flow.send(hello=self.hello(self.grant("unwanted"), dataset="unwanted"))
        self.assertTrue(flow.next().HasField("hello_reply"), "in time it goes")
        keep(10)
        committed = w.store_pb2.VersionRecord.FromString(self.records["unwanted", 1].payload).committed_at.ToNanoseconds() / 1e9
        f.wait_until(lambda: time.time() > committed + 11, what="its time is over")
        self.ask(self.hello(self.grant("unwanted"), dataset="unwanted"), ("PAST_RETENTION",), "brief/a-while")
        flow = self.flow(site="factory", to="core")
        flow.send(hello=self.hello(self.grant("unwanted"), dataset="unwanted", site="factory", role=w.transfer_pb2.ROLE_SOURCE))
        self.refused(flow, ("PAST_RETENTION",), "brief/a-while")

    def test_refusals_are_in_the_audit_log(self):
        self.ask(self.hello(self.grant(destination="cloud-us"), site="cloud-us"), ("POLICY_DENIED",), site="cloud-us")
        self.assertIn("eu-data-stays", self.fleet.audit("factory"))

    def test_an_agent_that_nobody_approved(self):
        self.fleet.apply("apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: stranger, labels: {tier: edge}}\n"
                         "spec: {region: eu/de}\n")
        token = self.fleet.cli("site", "join-token", "stranger").out.strip().split("\n")[-1].split()[-1]
        data = self.fleet.path("stranger-data")
        self.assertEqual(f.run([f.AGENT, "join", "--data-dir", data, "--join", token]).code, f.OK)
        with f.background([f.AGENT, "run", "--data-dir", data], self.fleet.path("stranger.log")):
            f.wait_until(lambda: w.sites(self.fleet)["stranger"].connected, what="the stranger is connected")
            self.assertFalse(w.sites(self.fleet)["stranger"].approved)
            self.fleet.apply(f.replication_yaml("to-stranger", to="[{site: stranger}]"))
            self.addCleanup(self.fleet.cli, "delete", "replicationpolicy", "to-stranger", "--yes")
            why = f.wait_until(lambda: (lambda r: r if "approve" in r.text else None)(
                self.fleet.cli("why", "prize", "stranger", expect=None)), timeout=15, what="why names the missing approval")
            self.assertIn("stranger", why.text)
            time.sleep(1)
            self.assertEqual(f.contains(data, random.Random(1).randbytes(256 << 10)[1000:1032]), [])
            self.fleet.cli("site", "approve", "stranger")
            self.fleet.wait_version("prize", 1, "stranger")
            self.assertFalse(f.differences(self.source, os.path.join(data, "replicas", "prize", "current")))


if __name__ == "__main__":
    f.main()
