"""A link that carries 40 KB a second: what comes over it comes once, and is never taken for what does not come."""
import random
import time

import far_link
import fleet as f

KIB = 1 << 10


class SlowLink(f.FleetTest):
    SITES = (f.FACTORY, f.CORE, "boston=us/east,tier=cloud", "miami=us/east,tier=cloud")
    SETUP = f.ANYWHERE

    def test_a_version_comes_over_it_once(self):
        size = 1200 * KIB
        source = self.fleet.path("slow")
        f.write(source + "/data", random.Random(1).randbytes(size))
        self.fleet.apply(f.documents(f.dataset_yaml("slow", source, labels="class: slow"),
                                     f.replication_yaml("slow", "[{site: core}]", "class: slow")))
        self.fleet.commit("slow")
        self.fleet.wait_version("slow", 1, "core")
        with far_link.far_away(self.fleet, "factory", kbyte=40) as first, \
                far_link.far_away(self.fleet, "core", kbyte=40) as second:
            self.fleet.apply(f.replication_yaml("slow", "[{site: core}, {region: us}]", "class: slow"))
            seen, began = [], time.monotonic()

            def look():
                ways = [t for t in self.fleet.transfers("slow") if t["destination"] != "core"]
                seen.extend(t for t in ways if t["state"] == "running" and t["destination"] == "boston")
                return sum(t["state"] == "done" for t in ways) == 2
            f.wait_until(look, timeout=80, what="both sites over there hold it")
            took = time.monotonic() - began
        ways = [(t["source"], t["destination"], t["state"]) for t in self.fleet.transfers("slow")
                if t["destination"] != "core"]
        self.assertEqual(ways, [("factory", "boston", "done"), ("boston", "miami", "done")], "nobody was given up")
        for site in ("boston", "miami"):
            self.assertSame(source, self.fleet.current(site, "slow"))
        self.assertLess(first.down + second.down, 1.2 * size, "it came once")
        self.assertGreater(took, size / 40e3 * 0.8, "over a slow link")
        rates = [int(t["rateBytesPerSecond"]) for t in seen if int(t["doneBytes"]) > size // 4]
        self.assertGreater(min(rates), 20e3, "its pace is known all the time")
        self.assertLess(max(rates), 80e3)
        self.assertNotIn("peer", {t["limit"] for t in seen if int(t["doneBytes"]) > size // 4}, "nobody is to blame")


if __name__ == "__main__":
    f.main()
