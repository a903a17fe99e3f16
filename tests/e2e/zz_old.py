"""Commits every second while files keep arriving: each hop starts with what is there, in the order that the policy asks for, and what
was overtaken stays at home where nobody wants it."""
import os
import random

import fleet as f
import wire as w

MIB = 1 << 20

# Only the relay sends to the end.
CHAIN = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: chain}
spec:
  rules:
  - {id: keep, effect: permit, actions: [reside]}
  - {id: first, effect: permit, actions: [transfer, transit], from: {in: [eu/de]}, to: {in: [eu/fr]}}
  - {id: second, effect: permit, actions: [transfer], from: {in: [eu/fr]}, to: {in: [us]}}
"""


class Ingest(f.FleetTest):
    SITES = ("factory=eu/de,tier=edge", "relay=eu/fr,tier=onprem", "end=us/east,tier=cloud")
    SETUP = CHAIN

    def dataset(self, name, to, more, commit="every: 1s"):
        source = self.fleet.path(name)
        f.write(source + "/0", b"first")
        self.fleet.apply(f.documents(
            f.dataset_yaml(name, source, labels=f"class: {name}", spec=f"commit: {{{commit}}}"),
            f.replication_yaml(name, f"[{', '.join(f'{{site: {site}}}' for site in to)}]", f"class: {name}", more)))
        return source

    def arrived(self, name, site):
        """Numbers, in the order in which they came."""
        return [int(t["version"]) for t in self.fleet.transfers(name, destination=site) if t["state"] == "done"]

    def newest(self, name):
        return max((int(v["number"]) for v in f.rows_of(self.fleet.json("get", "versions", name))), default=0)

    def test_the_second_hop_begins_with_the_first_version_and_keeps_the_order(self):
        name = "telemetry"
        source = self.dataset(name, ("relay", "end"), "  order: in-order\n")
        count = 0

        def more():
            nonlocal count
            count += 1
            f.write(f"{source}/{count}", os.urandom(20_000))
            return len(self.arrived(name, "end")) >= 4
        f.wait_until(more, timeout=120, step=0.3, what="four versions at the end while files keep arriving")
        last = self.newest(name)   # files came until a moment ago
        self.assertGreaterEqual(last, 4)
        f.wait_until(lambda: self.newest(name) > last or
                     os.path.exists(os.path.join(self.fleet.current("end", name), str(count))), timeout=60,
                     what="the last file is there, or in a version to come")
        f.wait_until(lambda: os.path.exists(os.path.join(self.fleet.current("end", name), str(count))), timeout=120,
                     what="the last file at the end")
        self.assertSame(source, self.fleet.current("end", name))
        for site in ("relay", "end"):
            came = self.arrived(name, site)
            self.assertEqual(came, list(range(1, len(came) + 1)), f"every version once and in order at {site}")

    def overtaken(self, name, more):
        """Five versions, of which three are committed while the first is on its slow way to the relay."""
        self.fleet.apply("apiVersion: bailiwick/v1\nkind: BandwidthPolicy\nmetadata: {name: slow}\n"
                         "spec: {caps: [{site: factory, limit: 2MiB}]}\n")
        self.addCleanup(self.fleet.cli, "delete", "bandwidthpolicy", "slow", "--yes", expect=None)
        source = self.dataset(name, ("relay",), more, commit="onRequest: true")
        rng = random.Random(1)
        f.write(source + "/data", rng.randbytes(10 * MIB))
        self.fleet.commit(name, wait=False)
        for n in range(2, 6):
            f.write(source + "/data", rng.randbytes(MIB))
            self.fleet.commit(name, wait=False)
        self.assertEqual(self.arrived(name, "relay"), [], "the first is still on its way")
        self.fleet.wait_version(name, 5, "relay")
        return source

    def test_checkpoints_that_were_overtaken_never_travel(self):
        source = self.overtaken("checkpoint", "  history: newest\n")
        self.assertSame(source, self.fleet.current("relay", "checkpoint"))
        row = next(r for r in f.rows_of(self.fleet.json("get", "replicas", "checkpoint")) if r["site"] == "relay")
        self.assertEqual(row["state"], "current", row)
        # A further one comes at once: nothing older stands before it.
        f.write(source + "/data", b"six")
        self.fleet.commit("checkpoint")
        self.fleet.wait_version("checkpoint", 6, "relay")
        self.assertEqual(self.arrived("checkpoint", "relay"), [1, 5, 6])

    def test_where_all_are_wanted_the_newest_comes_first_and_the_others_after_it(self):
        self.overtaken("kept", "  order: newest-first\n")
        f.wait_until(lambda: len(self.arrived("kept", "relay")) == 5, what="all five are there")
        self.assertEqual(self.arrived("kept", "relay"), [1, 5, 4, 3, 2])


class AwayForLong(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))
    VERSIONS = 1100   # the records of these, with their messages, are more than one message to the coordinator takes

    def test_what_was_committed_meanwhile_is_told_bit_by_bit(self):
        source = self.fleet.path("drive")
        os.makedirs(source)
        self.fleet.apply(f.dataset_yaml("drive", source))
        site = f.wait_until(lambda: (lambda s: s if s.connected else None)(w.sites(self.fleet)["factory"]), what="the factory is there")
        self.fleet.dev("stop", "coordinator")
        with w.admin(self.fleet).channel(site.admin_endpoint, site.agent) as channel:
            call = channel.unary_stream("/bailiwick.agent.v1.AgentAdmin/Commit", request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=w.admin_pb2.CommitEvent.FromString)
            for n in range(self.VERSIONS):
                f.write(os.path.join(source, "telemetry"), str(n).encode())
                list(call(w.admin_pb2.CommitRequest(dataset="drive", message="m" * 4096), timeout=60))
        self.fleet.dev("start", "coordinator")
        self.fleet.wait_version("drive", self.VERSIONS, "core", timeout=120)
        self.assertEqual(f.read(os.path.join(self.fleet.current("core", "drive"), "telemetry")), str(self.VERSIONS - 1).encode())


if __name__ == "__main__":
    f.main()
