"""One source, several receivers: the long way is gone once; who freezes holds up nobody else."""
import contextlib
import os
import random
import signal

import far_link
import fleet as f

MIB = 1 << 20
FAR = ("boston", "miami", "york")


class FanOut(f.FleetTest):
    SITES = (f.FACTORY, f.CORE) + tuple(f"{site}=us/east,tier=cloud" for site in FAR)
    SETUP = f.ANYWHERE

    def dataset(self, name, to, size):
        source = self.fleet.path(name)
        f.write(source + "/data", random.Random(name).randbytes(size))
        self.fleet.apply(f.documents(f.dataset_yaml(name, source, labels=f"class: {name}"),
                                     f.replication_yaml(name, to, f"class: {name}")))
        return source

    def cap(self, site, limit):
        """Slow enough to be caught on the way."""
        self.fleet.apply("apiVersion: bailiwick/v1\nkind: BandwidthPolicy\nmetadata: {name: slow}\n"
                         f"spec: {{caps: [{{site: {site}, limit: {limit}}}]}}\n")
        self.addCleanup(self.fleet.cli, "delete", "bandwidthpolicy", "slow", "--yes", expect=None)

    @contextlib.contextmanager
    def frozen(self, site):
        status = self.fleet.json("dev", "status", "--dir", self.fleet.dir)
        pid = next(p["pid"] for p in status["processes"] if p["name"] == site)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def under_way(self, name, destination, part):
        def found():
            return next((t for t in self.fleet.transfers(name, destination=destination)
                         if t["state"] == "running" and int(t["doneBytes"]) > part), None)
        return f.wait_until(found, what=f"{name} is on its way to {destination}")

    def test_the_long_way_is_gone_once(self):
        size = 24 * MIB
        source = self.dataset("wide", "[{region: us}]", size)
        with far_link.far_away(self.fleet, "factory", rtt_ms=40) as link:
            self.fleet.commit("wide")
            for site in FAR:
                self.fleet.wait_version("wide", 1, site)
                self.assertSame(source, self.fleet.current(site, "wide"))
            f.write(source + "/more", random.Random(2).randbytes(6 * MIB))
            self.fleet.commit("wide")
            for site in FAR:
                self.fleet.wait_version("wide", 2, site)
        pairs = {}
        for t in self.fleet.transfers("wide"):
            if t["source"] == "factory":
                pairs.setdefault(int(t["version"]), []).append((t["destination"], t["state"]))
        self.assertEqual({v: len(p) for v, p in pairs.items()}, {1: 1, 2: 1}, "one left the factory of each version")
        self.assertLess(link.down, (size + 6 * MIB) * 1.05)

    def test_a_receiver_that_freezes_holds_up_nobody(self):
        source = self.dataset("stiff", "[{region: us}]", 16 * MIB)
        self.cap("factory", "6MiB")
        self.fleet.commit("stiff", wait=False)
        self.under_way("stiff", "boston", MIB)
        self.assertRegex(self.fleet.cli("why", "stiff", "york", expect=None).out, "on its way to boston, nearer than factory")
        with self.frozen("boston"):
            for site in ("miami", "york"):
                self.fleet.wait_version("stiff", 1, site, timeout=90)
                self.assertSame(source, self.fleet.current(site, "stiff"))
        self.fleet.wait_version("stiff", 1, "boston", timeout=90)

    def test_a_source_that_freezes_is_replaced_and_what_came_is_kept(self):
        size = 16 * MIB
        source = self.dataset("twice", "[{site: core}]", size)
        self.fleet.commit("twice")
        self.fleet.wait_version("twice", 1, "core")
        self.cap("factory", "4MiB")
        self.fleet.apply(f.replication_yaml("twice", "[{site: core}, {site: york}]", "class: twice"))
        first = self.under_way("twice", "york", size // 3)
        self.assertEqual(first["source"], "factory", "the home comes first")
        with self.frozen("factory"):
            f.wait_until(lambda: any(t["limit"] == "peer" for t in self.fleet.transfers("twice")), timeout=20,
                         what="transfer list says that one end waits for the other")
            self.fleet.wait_version("twice", 1, "york", timeout=90)
        self.assertSame(source, self.fleet.current("york", "twice"))
        transfers = self.fleet.transfers("twice", destination="york")
        self.assertEqual([(t["source"], t["state"]) for t in transfers], [("factory", "failed"), ("core", "done")])
        self.assertRegex(transfers[0]["message"], "nothing came from factory for 10s; another source goes on")
        again = int(transfers[1]["wireBytes"])
        self.assertLess(again, size - size // 3 + MIB, "what had come from the first did not come again")


if __name__ == "__main__":
    f.main()
