"""Either side may dial: a site behind NAT can send and receive; two of them cannot reach each other, and why says so."""
import os
import random
import unittest

import fleet as f


class Dial(unittest.TestCase):
    def setup_fleet(self, fleet, name):
        source = f.make_tree(fleet.path(name), files=20)
        f.write(os.path.join(source, "bulk"), random.Random(3).randbytes(5 << 20))
        fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"), f.dataset_yaml(name, source)))
        return source

    def check(self, fleet, source, name):
        fleet.commit(name)
        fleet.wait_version(name, 1, "core")
        self.assertFalse(f.differences(source, fleet.current("core", name)))
        f.write(os.path.join(source, "second"), b"2")
        fleet.commit(name)
        fleet.wait_version(name, 2, "core")
        self.assertFalse(f.differences(source, fleet.current("core", name)))
        fleet.verify(name, "core")

    def test_source_that_only_dials_out_sends(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.set_dial("factory", "outbound-only")
            self.check(fleet, self.setup_fleet(fleet, "out"), "out")

    def test_receiver_that_only_dials_out_receives(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.set_dial("core", "outbound-only")
            self.check(fleet, self.setup_fleet(fleet, "into"), "into")

    def test_two_that_only_dial_out_have_no_route(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.set_dial("factory", "outbound-only")
            fleet.set_dial("core", "outbound-only")
            self.setup_fleet(fleet, "stuck")
            fleet.commit("stuck", wait=False)
            fleet.wait_version("stuck", 1, "core", timeout=3, expect=f.UNAVAILABLE)
            why = f.wait_until(lambda: (lambda r: r if "outbound" in r.text or "route" in r.text else None)(
                fleet.cli("why", "stuck", "core", expect=None)), timeout=20, what="why names the missing route")
            self.assertRegex(why.text, r"(?i)no route|outbound-only")
            fleet.set_dial("core", "any")
            fleet.wait_version("stuck", 1, "core", timeout=60)


if __name__ == "__main__":
    f.main()
