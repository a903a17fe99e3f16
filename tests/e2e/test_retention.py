"""maxRetention: what the law lets lie at a site for a while goes when that is over, with a receipt, and is not fetched again."""
import datetime
import glob
import os
import random
import unittest

import fleet as f
from test_eviction import erased, evictions, events


def keeping(seconds):
    return f.LOOSE_LAW.rstrip("\n") + "\n    obligations: [{maxRetention: %ds}]\n" % seconds


def seconds(moment):
    return datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


class Retention(unittest.TestCase):
    def start(self, fleet, name):
        source = f.make_tree(fleet.path(name), files=20)
        self.needle = random.Random(4711).randbytes(64 << 10)
        f.write(os.path.join(source, "needle"), self.needle)
        fleet.apply(f.documents(f.LOOSE_LAW, f.replication_yaml(to="[{site: core}, {site: cloud-us}]"), f.dataset_yaml(name, source)))
        fleet.commit(name)
        fleet.wait_version(name, 1, "cloud-us")
        f.wait_until(lambda: os.path.islink(fleet.current("cloud-us", name)), what="laid out")
        return source

    def test_gone_on_time_and_not_fetched_again(self):
        with f.Fleet() as fleet:
            source = self.start(fleet, "brief")
            fleet.apply(keeping(30))
            receipt = erased(fleet, "brief", "cloud-us", timeout=120)[0]
            self.assertEqual((receipt["cause"], receipt["rule"], receipt["versions"]),
                             ("max-retention", "acme/telemetry-to-the-us", [1]))
            self.assertIs(fleet.json("eviction", "show", receipt["receipt"])["verified"], True)
            fleet.cli("eviction", "verify", receipt["receipt"])
            committed = f.rows_of(fleet.json("dataset", "versions", "brief"))[0]["committedAt"]
            lay = seconds(receipt["since"]) - seconds(committed)
            self.assertGreaterEqual(lay, 29, "not before its time; both are cut to seconds")
            self.assertEqual(f.contains(fleet.data("cloud-us"), self.needle[20_000:20_032]), [])
            self.assertEqual(glob.glob(os.path.join(fleet.data("cloud-us"), "datasets", "*", "packs", "*")), [])
            f.wait_until(lambda: not os.path.lexists(fleet.current("cloud-us", "brief")), what="withdrawn")

            why = f.wait_until(lambda: (lambda r: r if "lets a version lie at cloud-us" in r.out else None)(
                fleet.cli("why", "brief", "cloud-us", expect=f.DENIED)), what="why names the retention")
            self.assertIn("acme/telemetry-to-the-us", why.out)
            self.assertEqual(fleet.json("why", "brief", "cloud-us", expect=f.DENIED)["code"], "past-retention")
            self.assertEqual(evictions(fleet, "brief", "core"), [], "a rule without the obligation keeps its copy")
            self.assertEqual(f.differences(source, fleet.current("core", "brief")), [])

            fleet.apply(keeping(3600))           # long enough for a new one, and for the old one too: it comes back
            fleet.wait_version("brief", 1, "cloud-us")
            before = len(fleet.transfers("brief", 1, "cloud-us"))
            self.assertEqual(before, 2, "fetched when the law let it, and not once while it did not")

    def test_a_hold_keeps_a_version_beyond_its_time(self):
        with f.Fleet() as fleet:
            self.start(fleet, "case")
            hold = fleet.json("dataset", "hold", "case", "--version", "1", "--site", "cloud-us", "--reason", "case 4711")["hold"]
            fleet.apply(keeping(10))
            row = f.wait_until(lambda: evictions(fleet, "case", "cloud-us", "held"), timeout=90, what="fenced, a hold keeps it")[0]
            self.assertIn("a hold keeps version 1", row["reason"])
            f.wait_until(lambda: not os.path.lexists(fleet.current("cloud-us", "case")), what="withdrawn")
            self.assertTrue(f.contains(fleet.data("cloud-us"), self.needle[20_000:20_032]), "and kept")
            self.assertTrue(events(fleet, "eviction-hindered"))
            fleet.cli("dataset", "checkout", "case", "1", fleet.path("out"), "--site", "cloud-us", expect=f.DENIED)
            fleet.restart("cloud-us", how="kill")
            self.assertEqual(evictions(fleet, "case", "cloud-us", "erased"), [])
            fleet.cli("dataset", "release", "case", "--hold", hold)
            erased(fleet, "case", "cloud-us", timeout=90)
            self.assertEqual(f.contains(fleet.data("cloud-us"), self.needle[20_000:20_032]), [])


if __name__ == "__main__":
    f.main()
