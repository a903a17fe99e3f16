"""What a hostile peer can send, one case a line: grants, envelopes, records, bindings, frames and wants that differ from the true ones
in one thing. Each is refused by name before a byte of the dataset leaves; the true one, between them, is served."""
import os

import fleet as f
import wire as w
from hostile import HostilePeer

INVALID, EXPIRED, PEER, BAD = ("GRANT_INVALID",), ("GRANT_EXPIRED",), ("WRONG_PEER",), ("BAD_REQUEST",)
BAD_RECORD = ("GRANT_INVALID", "BAD_REQUEST")
ZERO = b"\0" * 32


def digest(value, algorithm=1):
    return w.types_pb2.Digest(algorithm=algorithm, value=value)


# Fields of a grant that the coordinator's own key signs: what the source must not believe all the same.
GRANTS = {
    "no id": (dict(grant_id=b""), INVALID),
    "a short id": (dict(grant_id=b"x"), INVALID),
    "another dataset's id": (dict(dataset_id=b"d" * 16), INVALID),
    "no dataset": (dict(dataset_id=b""), INVALID),
    "a malformed dataset id": (dict(dataset_id=b"d" * 15), INVALID),
    "another version": (dict(version=digest(ZERO)), INVALID),
    "a short digest": (dict(version=digest(ZERO[:31])), INVALID),
    "a long digest": (dict(version=digest(ZERO + b"\0")), INVALID),
    "an unknown digest algorithm": (dict(version=digest(ZERO, 2)), INVALID),
    "no algorithm": (dict(version=digest(ZERO, 0)), INVALID),
    "another manifest": (dict(manifest_root=digest(ZERO)), INVALID),
    "no manifest": (dict(manifest_root=digest(b"")), INVALID),
    "another source": (dict(source="spiffe://{domain}/region/us/east/site/cloud-us/agent/cloud-us"), INVALID),
    "no source": (dict(source=""), INVALID),
    "no destination": (dict(destination=""), PEER),
    "the source as destination": (dict(destination="{factory}"), PEER),
    "the coordinator as destination": (dict(destination="spiffe://{domain}/coordinator"), PEER),
    "a foreign trust domain": (dict(destination="spiffe://elsewhere/region/eu/de/site/core/agent/core"), PEER),
    "a parent of the source's region": (dict(source_region="eu"), INVALID),
    "no region of the destination": (dict(destination_region=""), INVALID),
    "a region that does not exist": (dict(destination_region="eu/atlantis"), INVALID),
    "no action": (dict(action=""), INVALID),
    "an action in capitals": (dict(action="Transfer"), INVALID),
    "another action": (dict(action="reside"), INVALID),
    "a later policy": (dict(policy_revision=1 << 62), ("POLICY_STALE",)),
    "another policy of this revision": (dict(policy_digest=ZERO), INVALID),
    "no digest of the policy": (dict(policy_digest=b""), INVALID),
    "no transfer": (dict(transfer_id=""), INVALID),
    "an endless name of the transfer": (dict(transfer_id="x" * 65), INVALID),
    "no format": (dict(format=0), INVALID),
    "a newer format": (dict(format=2), INVALID),
    "a life of eleven minutes": (dict(life=660), INVALID),
    "no life": (dict(life=0), INVALID),
    "an end before its beginning": (dict(life=-60), INVALID),
    "an end of a second ago": (dict(start=-61, life=60), EXPIRED),
    "an end of a year ago": (dict(start=-365 * 86400, life=300), EXPIRED),
    "a beginning in a minute": (dict(start=60, life=300), INVALID),
}


def truncated(envelope):
    envelope.payload = envelope.payload[:-1]


def no_signature(envelope):
    del envelope.signatures[:]


def set_signature(make):
    def change(envelope):
        envelope.signatures[0].signature = make(envelope.signatures[0].signature)
    return change


def foreign_key_id(envelope):
    envelope.signatures[0].key_id = ZERO


def typed(payload_type):
    def change(envelope):
        envelope.payload_type = payload_type
    return change


# What is done to a true grant's envelope after it was signed.
ENVELOPES = {
    "nothing signed": no_signature,
    "a payload cut short": truncated,
    "an empty payload": lambda e: e.ClearField("payload"),
    "a payload with a byte more": lambda e: setattr(e, "payload", e.payload + b"\x08\x01"),
    "a signature cut short": set_signature(lambda s: s[:-1]),
    "a signature of zeros": set_signature(lambda s: bytes(64)),
    "an empty signature": set_signature(lambda s: b""),
    "a signature with a bit turned": set_signature(lambda s: s[:-1] + bytes([s[-1] ^ 1])),
    "another key's id": foreign_key_id,
    "no type": typed(""),
    "the type of a version": typed(w.VERSION),
    "the type of a binding": typed(w.BINDING),
    "a type with a space": typed(w.GRANT + " "),
}

# What a receiver with a true grant may not ask for.
MANY = 5000
WANTS = {
    "nothing": dict(),
    "the root and children": dict(fetch_root=True, spans=[(0, 1)]),
    "the root by a path": dict(fetch_root=True, node_path=[0]),
    "a child far beyond the last": dict(spans=[(4_000_000_000, 1)]),
    "all that there could be": dict(spans=[(0, 4_000_000_000)]),
    "a span whose end wraps": dict(spans=[(4_294_967_295, 4_294_967_295)]),
    "no children": dict(spans=[(0, 0)]),
    "the same child twice": dict(spans=[(0, 1), (0, 1)]),
    "spans that overlap": dict(spans=[(0, 2), (1, 2)]),
    "spans that go back": dict(spans=[(5, 1), (0, 1)]),
    "more spans than a want may have": dict(spans=[(2 * n, 1) for n in range(MANY)]),
    "a node that does not exist": dict(node_path=[4_000_000_000], spans=[(0, 1)]),
    "a path through a file's content": dict(node_path=[0, 0, 0, 0, 0, 0], spans=[(0, 1)]),
    "a path deeper than any manifest": dict(node_path=[0] * 200, spans=[(0, 1)]),
}

# What begins a stream instead of a hello.
FIRST_FRAMES = {
    "an empty frame": w.transfer_pb2.Frame(),
    "a want": w.transfer_pb2.Frame(want=w.transfer_pb2.Want(want_id=1, fetch_root=True)),
    "data": w.transfer_pb2.Frame(data=w.transfer_pb2.Data(want_id=1, last=True)),
    "an answer to a hello": w.transfer_pb2.Frame(hello_reply=w.transfer_pb2.HelloReply(protocol=1)),
    "a grant": w.transfer_pb2.Frame(grant_update=w.transfer_pb2.GrantUpdate()),
    "a goodbye": w.transfer_pb2.Frame(goodbye=w.transfer_pb2.Goodbye(code="COMPLETE")),
    "a hello without a role": w.transfer_pb2.Frame(hello=w.transfer_pb2.Hello(protocol_min=1, protocol_max=1)),
    "a hello with nothing but a role": w.transfer_pb2.Frame(
        hello=w.transfer_pb2.Hello(protocol_min=1, protocol_max=1, role=w.transfer_pb2.ROLE_RECEIVER)),
    "a role of the future": w.transfer_pb2.Frame.FromString(b"\x0a\x06\x08\x01\x10\x01\x18\x63"),
}

# What a granted receiver may not say in the middle of a stream.
LATER_FRAMES = {
    "data": dict(data=w.transfer_pb2.Data(want_id=1, last=True)),
    "a second answer": dict(hello_reply=w.transfer_pb2.HelloReply(protocol=1)),
}


class HostileTable(HostilePeer):
    def tearDown(self):   # a fleet that refuses everything would pass: it must not
        flow = self.flow()
        flow.send(hello=self.hello(self.grant()))
        self.assertTrue(flow.next().HasField("hello_reply"))
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        self.assertTrue(flow.next().HasField("data"))
        flow.close()

    def fill(self, value):
        if not isinstance(value, str):
            return value
        return value.format(domain=w.context(self.fleet)["trustDomain"], factory=self.ids["factory"])

    def check_grant(self, changes, codes):
        self.ask(self.hello(self.grant(**{k: self.fill(v) for k, v in changes.items()})), codes)

    def check_envelope(self, change):
        grant = self.grant()
        change(grant)
        self.ask(self.hello(grant), INVALID)

    def granted(self):
        flow = self.flow()
        flow.send(hello=self.hello(self.grant()))
        self.assertTrue(flow.next().HasField("hello_reply"))
        return flow

    def check_want(self, fetch_root=False, node_path=(), spans=()):
        flow = self.granted()
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=fetch_root, node_path=node_path,
                                           spans=[w.transfer_pb2.Span(first=first, count=count) for first, count in spans]))
        self.refused(flow, BAD)

    def check_first_frame(self, frame):
        flow = self.flow()
        flow._outbox.append(frame)
        self.refused(flow, BAD + INVALID)

    def check_later_frame(self, kind):
        flow = self.granted()
        flow.send(**kind)
        self.refused(flow, BAD)

    def record(self, key=None, payload_type=w.VERSION, **changes):
        record = w.store_pb2.VersionRecord.FromString(self.records["prize", 1].payload)
        for name, value in changes.items():
            if isinstance(value, w.types_pb2.Digest):
                getattr(record, name).CopyFrom(value)
            else:
                setattr(record, name, value)
        return w.seal(payload_type, record, key or w.enrolment_key(self.fleet, "core"))

    def check_record(self, envelope):
        hello = self.hello(self.grant())
        hello.version_record.CopyFrom(envelope)
        self.ask(hello, BAD_RECORD)

    # --- version records that the home did not sign
    def test_record_unsigned(self):
        envelope = w.types_pb2.Envelope(payload_type=w.VERSION, payload=self.records["prize", 1].payload)
        self.check_record(envelope)

    def test_record_absent(self):
        self.check_record(w.types_pb2.Envelope())

    def test_record_with_another_number_signed_by_another_site(self):
        self.check_record(self.record(number=7))

    def test_record_with_another_manifest_signed_by_another_site(self):
        self.check_record(self.record(manifest_root=digest(ZERO)))

    def test_record_of_a_moved_home(self):
        self.check_record(self.record(home_site="core"))

    def test_record_of_a_later_epoch(self):
        self.check_record(self.record(home_site="core", home_epoch=99))

    def test_record_of_another_type(self):
        self.check_record(self.record(key=w.enrolment_key(self.fleet, "factory"), payload_type=w.GRANT))

    def test_record_that_is_not_the_granted_version(self):
        self.check_record(self.record(key=w.enrolment_key(self.fleet, "factory"), number=1, message="rewritten"))

    def test_record_of_another_dataset(self):
        self.check_record(self.records["unwanted", 1])

    # --- who speaks
    def binding_case(self, binding):
        self.ask(self.hello(self.grant(), binding=binding), PEER + INVALID)

    def test_binding_absent(self):
        self.binding_case(w.types_pb2.Envelope())

    def test_binding_of_another_certificate(self):
        self.binding_case(w.binding(w.agent(self.fleet, "cloud-us"), self.ids["core"], w.enrolment_key(self.fleet, "core")))

    def test_binding_for_another_name(self):
        self.binding_case(w.binding(w.agent(self.fleet, "core"), self.ids["cloud-us"], w.enrolment_key(self.fleet, "core")))

    def test_binding_signed_by_another_agent(self):
        self.binding_case(w.binding(w.agent(self.fleet, "core"), self.ids["core"], w.enrolment_key(self.fleet, "cloud-us")))

    def test_binding_of_another_agent(self):
        self.binding_case(w.binding(w.agent(self.fleet, "cloud-us"), self.ids["cloud-us"], w.enrolment_key(self.fleet, "cloud-us")))

    def test_an_admin_is_no_receiver(self):
        self.ask(self.hello(self.grant()), PEER + INVALID, identity=w.admin(self.fleet))

    # --- the same grant again
    def test_a_grant_is_spent_by_its_first_flow(self):
        grant = self.grant()
        first = self.flow()
        first.send(hello=self.hello(grant))
        self.assertTrue(first.next().HasField("hello_reply"))
        goodbye = self.ask(self.hello(grant), ("GRANT_REPLAYED",))
        self.assertIn("used before", goodbye.message)
        self.fleet.restart("factory", "kill")
        type(self).sites = w.sites(self.fleet)
        f.wait_until(lambda: w.sites(self.fleet)["factory"].connected, what="factory is back")
        self.ask(self.hello(grant), ("GRANT_REPLAYED",))

    # --- in the middle of a flow
    def test_a_later_grant_of_another_version_ends_the_flow(self):
        flow = self.granted()
        flow.send(grant_update=w.transfer_pb2.GrantUpdate(grant=self.grant("unwanted")))
        self.refused(flow, INVALID)

    def test_a_later_grant_that_is_forged_ends_the_flow(self):
        flow = self.granted()
        grant = self.grant()
        truncated(grant)
        flow.send(grant_update=w.transfer_pb2.GrantUpdate(grant=grant))
        self.refused(flow, INVALID)

    def test_a_later_grant_goes_on(self):
        flow = self.granted()
        flow.send(grant_update=w.transfer_pb2.GrantUpdate(grant=self.grant()))
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        self.assertTrue(flow.next().HasField("data"))

    def test_nothing_after_a_goodbye(self):
        flow = self.granted()
        flow.send(goodbye=w.transfer_pb2.Goodbye(code="COMPLETE"))
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        frames, _ = flow.until_goodbye()
        self.assertFalse([x for x in frames if x.HasField("data")])

    def test_a_frame_beyond_the_limit(self):
        flow = self.granted()
        flow.send(data=w.transfer_pb2.Data(payload=bytes(21 << 20)))
        with self.assertRaises(w.grpc.RpcError) as raised:
            while flow.next() is not None:
                pass
        self.assertEqual(raised.exception.code(), w.grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_random_bytes_as_frames(self):
        flow = self.granted()
        flow._outbox.append(Raw(os.urandom(4096)))
        _, goodbye = flow.until_goodbye()
        self.assertEqual(goodbye.code, "BAD_REQUEST", goodbye)


class Raw:
    """Bytes that are no message."""

    def __init__(self, data):
        self.data = data

    def SerializeToString(self):
        return self.data


def add(prefix, table, check):
    for name, case in table.items():
        method = "test_" + prefix + "_" + "".join(c if c.isalnum() else "_" for c in name)
        assert not hasattr(HostileTable, method), method
        setattr(HostileTable, method, lambda self, case=case: check(self, case))


add("grant_with", GRANTS, lambda self, case: self.check_grant(*case))
add("envelope_with", ENVELOPES, HostileTable.check_envelope)
add("want_for", WANTS, lambda self, case: self.check_want(**case))
add("first_frame_is", FIRST_FRAMES, HostileTable.check_first_frame)
add("later_frame_is", LATER_FRAMES, HostileTable.check_later_frame)

if __name__ == "__main__":
    f.main()
