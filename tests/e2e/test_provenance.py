"""maxHops and noTransit: how far a copy is from its home is signed hop by hop, and neither a relay nor a coordinator nor a forger
makes it less."""
import hashlib
import os
import random
import sqlite3
import time

import fleet as f
import wire as w
from hostile import HostilePeer

HOME, RELAY, END = "factory=eu/de,tier=edge", "relay=eu/fr,tier=onprem", "end=us/east,tier=cloud"

# The home sends within the EU, the relay sends on; everybody may keep it.
LAW = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: chain}
spec:
  rules:
  - {id: keep, effect: permit, actions: [reside], data: {matchLabels: {class: chain}}}
  - {id: first, effect: permit, actions: [transfer, transit], data: {matchLabels: {class: chain}}, from: {in: [eu/de]}, to: {in: [eu/fr]}}
  - {id: second, effect: permit, actions: [transfer], data: {matchLabels: {class: chain}}, from: {in: [eu/fr]}, to: {in: [us]}OBLIGED}
---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: sealed}
spec:
  rules:
  - {id: anywhere, effect: permit, data: {matchLabels: {class: sealed}}, obligations: [{noTransit: true}]}
"""


def law(obligation=None):
    return LAW.replace("OBLIGED", f", obligations: [{{{obligation}}}]" if obligation else "")


class Provenance(HostilePeer):
    SITES = (HOME, RELAY, END)

    @classmethod
    def setUpClass(cls):
        f.FleetTest.setUpClass.__func__(cls)
        fleet = cls.fleet
        fleet.apply(law("maxHops: 2"))
        cls.sites = w.sites(fleet)
        cls.ids = {name: site.agent for name, site in cls.sites.items()}
        cls.grant_key = cls.find_grant_key()
        cls.records = {}

    SETUP = ""

    def use(self, obligation):
        """Another law, known to all."""
        self.fleet.apply(law(obligation))
        self.setUp()
        f.wait_until(lambda: all(s.policy_revision == self.bundle.revision for s in w.sites(self.fleet).values()),
                     what="all have the law")

    def commit(self, name, labels="class: chain", to=("relay", "end")):
        source = f.make_tree(self.fleet.path(name), files=10)
        f.write(os.path.join(source, "needle"), random.Random(name).randbytes(100_000))
        self.fleet.apply(f.documents(f.dataset_yaml(name, source, labels=f"{labels}, name: {name}"), self.replication(name, to)))
        self.fleet.commit(name, wait=False)
        f.wait_until(lambda: self.holds(name, "relay"), what=f"{name} at relay")

        def announced():
            for envelope in w.envelopes_in(os.path.join(self.fleet.dir, "coordinator", "catalog.db"), w.VERSION):
                record = w.store_pb2.VersionRecord.FromString(envelope.payload)
                self.records[record.dataset, record.number] = envelope
            return (name, 1) in self.records
        f.wait_until(announced, what="the coordinator knows the version")

    def replication(self, name, to):
        return f.replication_yaml(name, "[" + ", ".join(f"{{site: {site}}}" for site in to) + "]", f"name: {name}")

    def holds(self, dataset, site):
        return self.fleet.verify(dataset, site, expect=None).code == f.OK

    def needle(self, dataset, site):
        return f.contains(os.path.join(self.fleet.data(site), "datasets"), random.Random(dataset).randbytes(100_000)[1000:1032])

    def why_says(self, dataset, site, text):
        return f.wait_until(lambda: (lambda r: r if text in r.text else None)(
            self.fleet.cli("why", dataset, site, expect=None)), what=f"why {dataset} {site} says: {text}").text

    # --- what is played
    def onward(self, dataset, source="relay", destination="end"):
        """A grant that a captured coordinator would sign."""
        return self.grant(dataset, source=source, destination=destination)

    def ask_relay(self, dataset):
        """The answer when `end` asks the relay for it, with a good grant."""
        flow = self.flow(site="end", to="relay")
        flow.send(hello=self.hello(self.onward(dataset), dataset=dataset, site="end"))
        flow.send(want=w.transfer_pb2.Want(want_id=1, fetch_root=True))
        return flow

    def hop(self, dataset, source, destination, before=(), grant=None, key=None, **changes):
        record = self.records[dataset, 1]
        digest = lambda data: hashlib.sha256(data).digest()  # noqa: E731
        hop = w.grant_pb2.HopStatement(
            format=1, dataset_id=w.store_pb2.VersionRecord.FromString(record.payload).dataset_id,
            version=w.types_pb2.Digest(algorithm=1, value=digest(record.payload)), index=len(before) + 1,
            previous=digest(before[-1].payload) if before else b"", source=self.ids[source], destination=self.ids[destination],
            source_region=self.sites[source].region, destination_region=self.sites[destination].region,
            grant_id=w.grant_pb2.Grant.FromString(grant.payload).grant_id if grant else os.urandom(16),
            policy_revision=self.bundle.revision, policy_digest=self.bundle_digest)
        hop.at.FromNanoseconds(int(time.time() * 1e9))
        for name, value in changes.items():
            if isinstance(value, (str, bytes, int)):
                setattr(hop, name, value)
            else:
                getattr(hop, name).CopyFrom(value)
        return w.seal(w.HOP, hop, w.enrolment_key(self.fleet, key or source))

    def offer_to_end(self, dataset, chain):
        """What `end` answers to the relay that dials and says that the version came so; `chain` is made from the grant."""
        grant = self.onward(dataset)
        hello = self.hello(grant, dataset=dataset, site="relay", role=w.transfer_pb2.ROLE_SOURCE)
        hello.provenance.extend(chain(grant))
        flow = self.flow(site="relay", to="end")
        flow.send(hello=hello)
        return flow

    # --- three sites in a row
    def test_max_hops_stops_the_second_hop_or_lets_it(self):
        self.use("maxHops: 1")
        self.commit("row")
        said = self.why_says("row", "end", "maxHops: 1 of chain/second is used up")
        self.assertIn("the copy at relay is 1 hop from the home factory", said)
        # The coordinator only plans by it; whoever asks the relay all the same is refused there, and the audit log says why.
        self.refused(self.ask_relay("row"), ("OBLIGATION_UNMET",), "chain/second")
        self.assertIn("OBLIGATION_UNMET", self.fleet.audit("relay"))
        # The receiver refuses as well, with a chain that is true.
        first = self.hop("row", "factory", "relay")
        self.refused(self.offer_to_end("row", lambda grant: [first, self.hop("row", "relay", "end", [first], grant)]),
                     ("OBLIGATION_UNMET",), "chain/second")
        self.assertEqual(self.needle("row", "end"), [])

        self.use("maxHops: 2")
        f.wait_until(lambda: self.holds("row", "end"), what="with a hop more it goes")
        rows = self.fleet.transfers("row", 1, "end")
        self.assertEqual({r["source"] for r in rows}, {"relay"})

        # What the relay says is the whole chain, signed by the keys that the law pins.
        flow = self.ask_relay("row")
        chain = list(flow.next().hello_reply.provenance)
        hops = [w.grant_pb2.HopStatement.FromString(e.payload) for e in chain]
        self.assertEqual([(h.index, h.source, h.destination) for h in hops],
                         [(1, self.ids["factory"], self.ids["relay"]), (2, self.ids["relay"], self.ids["end"])])
        self.assertEqual(hops[1].previous, hashlib.sha256(chain[0].payload).digest())
        for envelope, site in zip(chain, ("factory", "relay")):
            self.assertEqual(envelope.signatures[0].key_id,
                             hashlib.sha256(w.public_key(w.enrolment_key(self.fleet, site))).digest())

        # A restart forgets nothing.
        self.fleet.restart("relay", "kill")
        self.use("maxHops: 1")
        f.wait_until(lambda: w.sites(self.fleet)["relay"].connected, what="relay is back")
        type(self).sites = w.sites(self.fleet)
        self.refused(self.ask_relay("row"), ("OBLIGATION_UNMET",), "chain/second")
        self.use("maxHops: 2")

    def test_no_transit_leaves_it_to_the_home(self):
        self.commit("shut", "class: sealed", to=("relay",))
        self.refused(self.ask_relay("shut"), ("OBLIGATION_UNMET",), "sealed/anywhere")
        self.fleet.dev("stop", "factory")
        self.fleet.apply(self.replication("shut", ("relay", "end")))
        self.why_says("shut", "end", "relay (too far from the home to send it on)")
        self.assertEqual(self.needle("shut", "end"), [])
        self.fleet.dev("start", "factory")
        f.wait_until(lambda: self.holds("shut", "end"), what="the home sends to both", timeout=90)
        self.assertEqual({r["source"] for r in self.fleet.transfers("shut", 1, "end")}, {"factory"})
        type(self).sites = w.sites(self.fleet)

    # --- liars
    def test_a_relay_that_lies_about_the_way(self):
        self.use("maxHops: 2")
        self.commit("way", to=("relay",))
        self.commit("other", to=("relay",))
        first, last = self.hop("way", "factory", "relay"), lambda grant, before: self.hop("way", "relay", "end", before, grant)
        other = self.hop("other", "factory", "relay")
        forged = self.hop("way", "factory", "relay", key="relay")
        version = w.types_pb2.Digest(algorithm=1, value=hashlib.sha256(b"another").digest())
        lies = {
            "no word": lambda g: [],
            "the home's hop left out": lambda g: [last(g, [])],
            "its own hop left out": lambda g: [first],
            "the beginning cut off": lambda g: [last(g, [first])],
            "in another order": lambda g: [last(g, [first]), first],
            "the home's signature forged": lambda g: [forged, last(g, [forged])],
            "of another dataset": lambda g: [other, last(g, [other])],
            "its own hop bound to another chain": lambda g: [first, last(g, [other])],
            "of another version": lambda g: [first, self.hop("way", "relay", "end", [first], g, version=version)],
            "to another place": lambda g: [first, self.hop("way", "relay", "factory", [first], g)],
            "of another grant": lambda g: [first, self.hop("way", "relay", "end", [first])],
            "from another place": lambda g: [first, self.hop("way", "end", "end", [first], g, key="relay")],
            "straight from the home": lambda g: [self.hop("way", "factory", "end", [], g, key="relay")],
            "unsigned": lambda g: [first, w.types_pb2.Envelope(payload_type=w.HOP, payload=last(g, [first]).payload)],
            "without end": lambda g: [first] * 65,
            "noise": lambda g: [w.types_pb2.Envelope(payload_type=w.HOP, payload=b"\xff" * 100)],
        }
        for name, chain in lies.items():
            with self.subTest(name):
                self.refused(self.offer_to_end("way", chain),
                             ("PROVENANCE_MISSING",) if name == "no word" else ("PROVENANCE_INVALID",))
        # The positive case: said truly it is let in, and asked for.
        flow = self.offer_to_end("way", lambda g: [first, last(g, [first])])
        self.assertTrue(flow.next().HasField("hello_reply"))
        self.assertTrue(flow.next().HasField("want"))
        flow.close()
        self.assertEqual(self.needle("way", "end"), [])

    def test_a_copy_of_which_nobody_knows_how_it_came(self):
        """As from an agent older than provenance: it goes on as before, unless the law has to know."""
        self.use("maxHops: 2")
        self.commit("old", to=("relay",))
        self.fleet.dev("stop", "relay")
        database = sqlite3.connect(os.path.join(self.fleet.data("relay"), "agent.db"))
        database.execute("DELETE FROM provenance")
        database.commit()
        database.close()
        self.fleet.dev("start", "relay")
        f.wait_until(lambda: w.sites(self.fleet)["relay"].connected, what="relay is back")
        type(self).sites = w.sites(self.fleet)
        self.refused(self.ask_relay("old"), ("PROVENANCE_MISSING",))
        self.fleet.apply(self.replication("old", ("relay", "end")))
        self.why_says("old", "end", "how version 1 came to relay is not known")
        self.use(None)
        f.wait_until(lambda: self.holds("old", "end"), what="a law that does not ask lets it go")
        self.use("maxHops: 2")


if __name__ == "__main__":
    f.main()
