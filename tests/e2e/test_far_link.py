"""Sites that are far from each other: 100 ms of round trip on a link that is slow, and breaks."""
import os
import random

import far_link
import fleet as f

MIB = 1 << 20


class FarAway(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def dataset(self, name):
        source = self.fleet.path(name)
        os.makedirs(source)
        self.fleet.apply(f.dataset_yaml(name, source))
        return source

    def test_a_break_costs_no_more_than_what_was_on_its_way(self):
        source = self.dataset("broken")
        rng = random.Random(1)
        size = 24 * MIB
        f.write(source + "/big", rng.randbytes(size))
        with far_link.far_away(self.fleet, "factory", mbit=80) as link:
            self.fleet.commit("broken", wait=False)
            f.wait_until(lambda: any(t["limit"] == "link" for t in self.fleet.transfers("broken")), what="the link limits it")
            for part in (1, 2):
                f.wait_until(lambda: any(int(t["doneBytes"]) > part * size // 4 for t in self.fleet.transfers("broken")),
                             what="a part has arrived")
                link.cut()
                f.wait_until(lambda: self.fleet.transfers("broken")[-1]["state"] == "failed", what="the break is noticed")
                link.mend()
            self.fleet.wait_version("broken", 1, "core")
            self.assertSame(source, self.fleet.current("core", "broken"))
            self.assertGreater(len(self.fleet.transfers("broken")), 2)
        # In the link's queue, on the wire and in sockets: some MiB a break, however much had arrived.
        self.assertLess(link.down, size + 2 * 5 * MIB, "what had arrived did not come again")
        self.fleet.verify("broken", "core")

    def test_small_files_and_a_small_change_cost_what_they_are(self):
        source = self.dataset("small")
        rng = random.Random(2)
        for n in range(3000):
            f.write(f"{source}/{n // 100}/{n}.rec", rng.randbytes(rng.randrange(1000, 5000)))
        size = sum(os.path.getsize(p) for p in f.files_under(source))
        with far_link.far_away(self.fleet, "factory") as link:
            self.fleet.commit("small")
            self.assertSame(source, self.fleet.current("core", "small"))
            link.cut()
            first = (link.up, link.down)
            self.assertLess(link.down, size * 1.1 + MIB)
            self.assertLess(link.up, 256 << 10, "asking costs little")
            link.mend()
            f.write(source + "/7/700.rec", b"changed")
            self.fleet.commit("small")
            self.assertSame(source, self.fleet.current("core", "small"))
        self.assertLess(link.down - first[1], 256 << 10, "one file of 3000")


if __name__ == "__main__":
    f.main()
