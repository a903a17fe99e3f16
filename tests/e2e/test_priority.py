"""What is urgent goes first: what is less urgent waits where it is, says so, and goes on afterwards."""
import os

import fleet as f

MIB = 1 << 20

CAP = """
apiVersion: bailiwick/v1
kind: BandwidthPolicy
metadata: {name: line}
spec:
  caps: [{site: factory, limit: 3MiB}]
"""


class Priority(f.FleetTest):
    SITES = (f.FACTORY, f.CORE, "depot=eu/de,tier=edge")
    SETUP = f.documents(f.LAW, CAP)

    def dataset(self, name, size, to, priority):
        source = self.fleet.path(name)
        f.write(source + "/data", os.urandom(size))
        self.fleet.apply(f.documents(
            f.dataset_yaml(name, source, labels=f'class: telemetry, pii: "no", name: {name}'),
            f.replication_yaml(name, f"[{{site: {to}}}]", f"name: {name}", f"  priority: {priority}\n")))

    def row(self, name):
        return self.fleet.transfers(name)[-1]

    def preempts(self, prefix, to):
        bulk, urgent = prefix + "-bulk", prefix + "-urgent"
        self.dataset(bulk, 16 * MIB, "core", "low")
        self.fleet.commit(bulk, wait=False)
        f.wait_until(lambda: self.fleet.transfers(bulk) and int(self.row(bulk)["doneBytes"]) > 2 * MIB,
                     what="the bulk is on its way")
        first = self.row(bulk)["id"]
        self.dataset(urgent, 12 * MIB, to, "high")
        self.fleet.commit(urgent, wait=False)
        waiting = f.wait_until(lambda: (lambda r: r if r["limit"] == "priority" else None)(self.row(bulk)),
                               what="the bulk waits for what is urgent")
        self.assertEqual(waiting["limitSite"], "factory")
        self.assertRegex(self.fleet.cli("transfer", "list").out, rf"{bulk} .* priority at factory ")
        self.fleet.wait_version(urgent, 1, to)
        now = self.row(bulk)
        self.assertEqual(now["state"], "running")
        self.assertLess(int(now["wireBytes"]) - int(waiting["wireBytes"]), 3 * MIB, "it did not go on meanwhile")
        self.fleet.wait_version(bulk, 1, "core")
        self.assertEqual([t["id"] for t in self.fleet.transfers(bulk)], [first], "the same transfer went on")
        self.assertSame(self.fleet.path(bulk), self.fleet.current("core", bulk))

    def test_at_the_source(self):
        self.preempts("source", "depot")

    def test_at_a_source_that_dials(self):
        self.fleet.set_dial("factory", "outbound-only")
        self.preempts("dials", "core")


if __name__ == "__main__":
    f.main()
