"""A fleet, and a peer in Python that lies to it: grants, version records, bindings and streams made up freely."""
import os
import random
import time

import fleet as f
import wire as w


class HostilePeer(f.FleetTest):
    SETUP = f.documents(f.LAW, f.replication_yaml())

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        fleet = cls.fleet
        cls.source = f.make_tree(fleet.path("prize"), files=30)
        f.write(os.path.join(cls.source, "prize"), random.Random(1).randbytes(256 << 10))
        # "unwanted" lies at the factory alone: the law would let it go to core, but no policy asks for it.
        cls.other = f.make_tree(fleet.path("unwanted"), files=30)
        fleet.apply(f.documents(f.dataset_yaml("prize", cls.source),
                                f.dataset_yaml("unwanted", cls.other, labels='class: telemetry, pii: "no", reach: home'),
                                "apiVersion: bailiwick/v1\nkind: ReplicationPolicy\nmetadata: {name: everywhere}\nspec:\n"
                                "  select: {matchExpressions: [{key: reach, operator: DoesNotExist}]}\n"
                                "  to: [{site: core}, {site: cloud-us}]\n"))
        fleet.commit("prize")
        fleet.wait_version("prize", 1, "core")
        fleet.commit("unwanted", wait=False)
        cls.sites = w.sites(fleet)
        cls.ids = {name: site.agent for name, site in cls.sites.items()}
        cls.grant_key = cls.find_grant_key()
        cls.records = {}

        def announced():
            for envelope in w.envelopes_in(os.path.join(fleet.dir, "coordinator", "catalog.db"), w.VERSION):
                record = w.store_pb2.VersionRecord.FromString(envelope.payload)
                cls.records[record.dataset, record.number] = envelope
            return len(cls.records) == 2
        f.wait_until(announced, what="the coordinator knows both versions")

    def setUp(self):   # the law of now: a test before may have changed it
        policy = w.control(self.fleet, w.admin(self.fleet), "GetPolicy", w.control_pb2.GetPolicyRequest(), w.control_pb2.GetPolicyResponse)
        self.bundle = w.bundle_pb2.PolicyBundle.FromString(policy.bundle.payload)
        self.bundle_digest = w.hashlib.sha256(policy.bundle.payload).digest()

    @classmethod
    def find_grant_key(cls):
        """What a thief of the coordinator's disk has."""
        info = w.control(cls.fleet, w.admin(cls.fleet), "GetInfo", w.control_pb2.GetInfoRequest(), w.control_pb2.GetInfoResponse)
        for path in f.files_under(os.path.join(cls.fleet.dir, "coordinator")):
            path = os.fsdecode(path)
            if os.path.getsize(path) < 4096 and b"PRIVATE KEY" in w.read(path) and w.public_key(path) == info.grant_ed25519:
                return path
        raise AssertionError("the coordinator's grant key is not on its disk")

    # --- making things up
    def region(self, site, otherwise):
        return self.sites[site if site in self.sites else otherwise].region

    def grant(self, dataset="prize", number=1, source="factory", destination="core", key=None, life=300, start=-5, **changes):
        record_envelope = self.records[dataset, number]
        record = w.store_pb2.VersionRecord.FromString(record_envelope.payload)
        grant = w.grant_pb2.Grant(
            format=1, grant_id=os.urandom(16), dataset_id=record.dataset_id, dataset=dataset,
            version=w.types_pb2.Digest(algorithm=1, value=w.hashlib.sha256(record_envelope.payload).digest()),
            manifest_root=record.manifest_root, source=self.ids.get(source, source), destination=self.ids.get(destination, destination),
            source_region=self.region(source, "factory"), destination_region=self.region(destination, "core"), action="transfer",
            policy_revision=self.bundle.revision, policy_digest=self.bundle_digest, transfer_id=os.urandom(8).hex())
        now = time.time()
        grant.not_before.FromNanoseconds(int((now + start) * 1e9))
        grant.not_after.FromNanoseconds(int((now + start + life) * 1e9))
        for name, value in changes.items():
            if isinstance(value, (str, bytes, int)):
                setattr(grant, name, value)
            else:
                getattr(grant, name).CopyFrom(value)
        return w.seal(w.GRANT, grant, key or self.grant_key)

    def hello(self, grant, dataset="prize", number=1, role=None, site="core", identity=None, binding=None, minimum=1, maximum=1):
        identity = identity or w.agent(self.fleet, site)
        return w.transfer_pb2.Hello(
            protocol_min=minimum, protocol_max=maximum, role=role or w.transfer_pb2.ROLE_RECEIVER, grant=grant,
            version_record=self.records[dataset, number],
            certificate_binding=binding or w.binding(identity, self.ids[site], w.enrolment_key(self.fleet, site)))

    def flow(self, site="core", to="factory", identity=None):
        flow = w.Flow(identity or w.agent(self.fleet, site), self.sites[to].endpoint, self.ids[to])
        self.addCleanup(flow.close)
        return flow

    def refused(self, flow, codes, rule=None):
        frames, goodbye = flow.until_goodbye()
        self.assertIsNotNone(goodbye, f"the stream ended without a reason after {frames}")
        self.assertIn(goodbye.code, codes, goodbye)
        self.assertFalse([x for x in frames if x.HasField("data")], "bytes left before the refusal")
        self.assertTrue(goodbye.message)
        if rule:
            self.assertIn(rule, goodbye.rule + goodbye.message)
        return goodbye

    def ask(self, hello, codes, rule=None, **where):
        flow = self.flow(**where)
        flow.send(hello=hello)
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        return self.refused(flow, codes, rule)
