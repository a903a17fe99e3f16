"""dropAfterCopies: a recording home gives up content once enough other sites say, signed, that they hold it; and goes on recording."""
import contextlib
import glob
import json
import os
import random
import shutil
import signal
import unittest

import fleet as f
import test_at_rest as at_rest
from test_eviction import evictions, events, replica

SPEC = "commit: {onRequest: true}\ningest: consume\nabsent: keep\ndropAfterCopies: 2"
SMALL = 600 << 10   # what manifests and the like may take


class HomeDrop(unittest.TestCase):
    def record(self, day, megabytes):
        """Files that the robot records, and a copy of them to compare with, since they leave the source."""
        source = random.Random(day)
        for n in range(megabytes):
            name = os.path.join(f"day{day}", f"clip{n}.bin")
            data = source.randbytes(1 << 20)
            for root in (self.all, self.source):
                f.write(os.path.join(root, name), data, mtime=1_700_000_000 + n)

    def home(self, fleet):
        return replica(fleet, "drive", "factory")

    def same(self, fleet, site, number):
        fleet.wait_version("drive", number, site, timeout=120)
        f.wait_until(lambda: fleet.cli("get", "replicas", "drive") and
                     int(replica(fleet, "drive", site)["current"]) == number, what=f"version {number} is shown at {site}")
        compared = f.run(["diff", "-r", "-q", self.all, fleet.current(site, "drive") + "/"], timeout=120)
        self.assertEqual(compared.code, 0, f"{site}: {compared}")   # directories changed as files left them

    def given_up(self, fleet, numbers):
        def there():
            home = self.home(fleet)
            return home["givenUp"] == numbers and f.pack_bytes(fleet, "factory") < SMALL
        f.wait_until(there, timeout=120, what=f"versions {numbers} are given up at the home")

    def pid(self, fleet, name):
        status = json.loads(fleet.cli("dev", "status", "--dir", fleet.dir, "-o", "json").out)
        return [p["pid"] for p in status["processes"] if p["name"] == name][0]

    def kill_in_the_act(self, fleet):
        """kill -9 of the home as soon as its audit log says that it begins."""
        pid = self.pid(fleet, "factory")
        fleet.stopped.add("factory")
        fleet.cli("dataset", "release", "drive", "--all", "--yes")
        payload = os.path.join(fleet.data("factory"), "audit")
        f.wait_until(lambda: f.contains(payload, b"drop-started"), timeout=120, step=0.002, what="the home begins to give up")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        fleet.dev("kill", "factory")    # returns once it is gone: one that dies only now would count as started
        fleet.dev("start", "factory")

    def test_a_recording_home_needs_its_disk_once(self):
        with f.Fleet() as fleet:
            self.source, self.all = fleet.path("drive"), fleet.path("all")
            wrong = fleet.apply(f.dataset_yaml("drive", self.source, spec="dropAfterCopies: 2"), expect=f.USAGE)
            self.assertIn("it needs `ingest: consume`", wrong.text)
            fleet.apply(f.documents(f.LOOSE_LAW, f.replication_yaml(), f.dataset_yaml("drive", self.source, spec=SPEC)))
            fleet.dev("stop", "cloud-us")
            self.record(1, 20)
            fleet.commit("drive", wait=False)
            fleet.wait_version("drive", 1, "core", timeout=120)
            f.wait_until(lambda: "version 1 stays until 2 other sites that are connected hold it, now: core" in
                         self.home(fleet)["reason"], what="one copy is not two, and it says so")
            self.assertGreater(f.pack_bytes(fleet, "factory"), 20 << 20)

            fleet.cli("dataset", "hold", "drive", "--version", "1", "--reason", "case 4711")
            fleet.dev("start", "cloud-us")
            fleet.wait_version("drive", 1, "cloud-us", timeout=120)
            f.wait_until(lambda: "a hold or a pin keeps version 1" in self.home(fleet)["reason"], what="the hold is told")
            self.assertEqual(self.home(fleet)["givenUp"], [])
            self.assertGreater(f.pack_bytes(fleet, "factory"), 20 << 20)
            self.assertNotIn("drop-started", fleet.audit("factory"))

            self.kill_in_the_act(fleet)
            self.given_up(fleet, [1])
            receipt = f.wait_until(lambda: evictions(fleet, "drive", "factory", "erased"), what="a receipt")
            self.assertEqual(len(receipt), 1, "one, also when it was killed meanwhile")
            self.assertEqual((receipt[0]["cause"], receipt[0]["versions"]), ("held-elsewhere", [1]))
            self.assertIn("cloud-us, core", receipt[0]["reason"])
            fleet.cli("eviction", "verify", receipt[0]["receipt"])
            self.assertIn("content-dropped", fleet.audit("factory"))
            self.assertIn("copies-stated", fleet.audit("core"))
            self.assertTrue(events(fleet, "home-content-dropped"))
            self.reads_say_where_it_is(fleet)
            self.goes_on_recording(fleet)
            self.a_lost_copy_is_repaired_from_the_other(fleet)
            self.another_home_sends_it_what_it_lacks(fleet)

    def test_one_rotten_copy_does_not_stop_what_is_recorded_after_it(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            self.source, self.all = fleet.path("drive"), fleet.path("all")
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"),
                                    f.dataset_yaml("drive", self.source, spec=SPEC.replace("Copies: 2", "Copies: 1"))))
            self.record(1, 4)
            fleet.commit("drive", wait=False)
            self.given_up(fleet, [1])
            pack = max(glob.glob(os.path.join(fleet.data("core"), "datasets", "*", "packs", "*.pack")), key=os.path.getsize)
            with open(pack, "r+b") as file:
                file.seek(os.path.getsize(pack) // 2)
                file.write(b"rotten")
            fleet.verify("drive", "core", expect=f.FAILED)
            why = f.wait_until(lambda: (lambda said: said if "damaged" in said.text else None)(fleet.cli("why", "drive", "core", expect=None)),
                               what="why says what is wrong")
            self.assertIn("version 1 is damaged at core and no site holds it whole; bailiwick dataset verify drive says", why.text)
            self.assertIn("1 PROBLEM", fleet.cli("dataset", "verify", "drive", expect=f.FAILED).text)
            shutil.rmtree(os.path.join(self.source, "day1"))   # they were too young to be consumed
            self.record(2, 1)
            fleet.commit("drive", wait=False)
            f.wait_until(lambda: "what core has of version 1 is damaged" in fleet.cli("why", "drive", "core", expect=None).text,
                         what="why says what version 2 lacks")
            self.record(1, 4)   # somebody has it still: the same content, so the same version
            self.assertIn("nothing changed", fleet.commit("drive", wait=False).text)
            self.same(fleet, "core", 2)
            f.wait_until(lambda: replica(fleet, "drive", "core")["versions"] == [1, 2], timeout=120, what="both versions are whole")
            fleet.verify("drive", "core")
            sent = [int(t["wireBytes"]) for t in fleet.transfers("drive", 2, "core")]
            self.assertLess(sum(sent), 2 << 20, "what came with the damage known came once, and then what was missing")

    def test_what_is_encrypted_at_rest_is_given_up_too(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            self.source, self.all = fleet.path("drive"), fleet.path("all")
            fleet.apply(f.documents(at_rest.law(), at_rest.TO_CORE, f.dataset_yaml(
                "drive", self.source, spec=SPEC.replace("Copies: 2", "Copies: 1"), labels=at_rest.LABELS)))
            self.record(1, 4)
            fleet.commit("drive", wait=False)
            self.given_up(fleet, [1])
            self.assertGreater(f.pack_bytes(fleet, "core"), 4 << 20)
            self.assertEqual(fleet.json("dataset", "verify", "drive", "--site", "core")["sites"][0]["problemCount"], 0)
            self.record(2, 2)
            fleet.commit("drive", wait=False)
            f.wait_until(lambda: f.pack_bytes(fleet, "core") > 6 << 20, timeout=120, what="version 2 is at core")
            fleet.restart("factory")
            self.given_up(fleet, [1, 2])
            verified = [fleet.json("dataset", "verify", "drive", "--site", site)["sites"][0] for site in ("core", "factory")]
            self.assertEqual([(s["versions"], s["problemCount"]) for s in verified], [(2, 0), (2, 0)], verified)
            self.assertEqual(glob.glob(fleet.data("factory") + "/datasets/*/packs/*.pack"), [])
            self.assertTrue(glob.glob(fleet.data("factory") + "/datasets/*/packs/*.spack"))

    def reads_say_where_it_is(self, fleet):
        self.assertIn("version 1 given up here; version 1 lies at cloud-us, core", self.home(fleet)["reason"])
        refused = fleet.cli("dataset", "checkout", "drive", "1", fleet.path("out"), "--site", "factory", expect=f.NOT_FOUND)
        tried = fleet.cli("dataset", "checkout", "drive", "1", fleet.path("out"), "--site", "factory", "--dry-run", expect=f.NOT_FOUND)
        self.assertEqual(tried.err, refused.err)
        self.assertIn("the home gave up its content of version 1", refused.text)
        self.assertIn("ask there: --site cloud-us", refused.text)
        fleet.cli("dataset", "checkout", "drive", "1", fleet.path("out"), "--site", "cloud-us")
        self.assertEqual(len(list(f.files_under(fleet.path("out")))), 20)
        verified = fleet.json("dataset", "verify", "drive", "--site", "factory")["sites"][0]
        self.assertEqual(verified["problemCount"], 0)
        self.assertGreaterEqual(verified["givenUpChunks"], 20)

    def goes_on_recording(self, fleet):
        self.record(2, 6)
        fleet.commit("drive", wait=False)
        for site in ("core", "cloud-us"):
            self.same(fleet, site, 2)
            self.assertLess(fleet.wire_bytes("drive", 2, site), 8 << 20, "what is new, no more")
        self.assertIn("day2/clip5.bin", fleet.cli("dataset", "diff", "drive", "1", "2", "--site", "factory").out)
        fleet.restart("factory")   # the next drop needs no minute's rest then
        self.given_up(fleet, [1, 2])

    def a_lost_copy_is_repaired_from_the_other(self, fleet):
        fleet.dev("stop", "cloud-us")
        for packs in glob.glob(os.path.join(fleet.data("cloud-us"), "datasets", "*", "packs")):
            shutil.rmtree(packs)
        fleet.dev("start", "cloud-us")
        looked = fleet.cli("dataset", "verify", "drive", "--site", "cloud-us", expect=None)
        if looked.code != f.FAILED:  # laying out met it before this did, and what was lost is back already
            self.assertEqual(looked.code, f.OK, looked)
            self.assertTrue([e for e in f.rows_of(fleet.json("events")) if (e["kind"], e["site"]) == ("agent-data-healed", "cloud-us")])
        self.record(3, 3)
        fleet.commit("drive", wait=False)   # of which the home has the new files alone
        for site in ("core", "cloud-us"):
            self.same(fleet, site, 3)
        f.wait_until(lambda: replica(fleet, "drive", "cloud-us")["versions"] == [1, 2, 3], timeout=120, what="all come back")
        for site in ("core", "cloud-us"):
            fleet.verify("drive", site)
        self.assertTrue([t for t in fleet.transfers("drive", destination="cloud-us") if t["source"] == "core"])

    def another_home_sends_it_what_it_lacks(self, fleet):
        fleet.restart("factory")
        self.given_up(fleet, [1, 2, 3])
        shutil.copytree(self.all, fleet.path("moved"))
        fleet.apply(f.documents(f.replication_yaml(to="[{site: factory}, {site: cloud-us}]"),
                                f.dataset_yaml("drive", fleet.path("moved"), site="core")))
        f.wait_until(lambda: (replica(fleet, "drive", "factory") or {}).get("versions") == [1, 2, 3], timeout=120,
                     what="a replica like any other, and whole")
        self.assertEqual(self.home(fleet)["givenUp"], [])
        fleet.verify("drive", "factory")


if __name__ == "__main__":
    f.main()
