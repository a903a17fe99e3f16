"""A volume that replicas are laid out on goes away and comes back: nothing is laid out where it should be, nothing is taken for gone."""
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import unittest

import fleet as f

MARKER = ".bailiwick-replicas"
OBLIGED = f.LAW.replace("    basis: residency\n", "    basis: residency\n    obligations: [{encryptAtRest: {keyRegion: eu}}]\n")


class Volume(unittest.TestCase):
    def fleet(self):
        return self.enterContext(f.Fleet(f.FACTORY, f.CORE))

    def mount(self, path):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path], check=True)

    def unmount(self, path):
        subprocess.run(["umount", "-l", path], check=True)

    def volume(self, fleet, *spec):
        """A mounted volume that core lays replicas out on."""
        path = fleet.path("volume")
        os.makedirs(path)
        self.mount(path)
        self.addCleanup(subprocess.run, ["umount", "-l", path], stderr=subprocess.DEVNULL)
        self.lay_out_at(fleet, "core", path, *spec)
        return path

    def lay_out_at(self, fleet, site, path, *spec):
        yaml = fleet.cli("get", "site", site, "-o", "yaml").out
        more = "".join(f"  {line}\n" for line in (f"replicaPath: {path}", *spec))
        fleet.apply(re.sub(r"(?m)^spec:\s*\n", f"spec:\n{more}", yaml))
        fleet.restart(site)

    def dataset(self, fleet, name):
        source = fleet.path(name)
        f.write(os.path.join(source, "x"), b"PLAINTEXT 1")
        fleet.apply(f.dataset_yaml(name, source))
        fleet.commit(name)
        fleet.wait_version(name, 1, "core")
        return source

    def shown(self, path):
        with contextlib.suppress(OSError):
            return f.read(os.path.join(path, "current", "x")).decode()

    def says(self, fleet, name, pattern):
        """why and get replicas, once they do."""
        f.wait_until(lambda: re.search(pattern, fleet.cli("why", name, "core", expect=None).text), what=f"why says {pattern}")
        self.assertRegex(fleet.cli("get", "replicas", name).out, pattern)

    def doctor(self, fleet):
        said = f.run([f.AGENT, "doctor", "--data-dir", fleet.data("core"), "-o", "json"])
        return [c for c in json.loads(said.out)["checks"] if c["name"] == "replicas"]

    def test_nothing_is_laid_out_below_a_volume_that_is_not_mounted(self):
        fleet = self.fleet()
        fleet.apply(f.documents(OBLIGED, f.replication_yaml(to="[{site: core}]")))
        volume = self.volume(fleet, "replicaVolume: encrypted")
        source = self.dataset(fleet, "drive")
        laid_out = os.path.join(volume, "drive")
        f.wait_until(lambda: self.shown(laid_out) == "PLAINTEXT 1", what="laid out on the volume")
        self.assertTrue(os.path.exists(os.path.join(volume, MARKER)))

        # Under a running agent, and over its restart.
        def next_version(number):
            f.write(os.path.join(source, "x"), f"PLAINTEXT {number}".encode())
            fleet.commit("drive", wait=False)
            f.wait_until(lambda: f"holds version {number}, but" in
                         fleet.wait_version("drive", number, "core", timeout=1, expect=None).text, what="it came, and is not laid out")
        kept = fleet.path("kept")
        os.makedirs(kept)
        subprocess.run(["mount", "--bind", volume, kept], check=True)     # as the disk that somebody plugs in again
        self.addCleanup(subprocess.run, ["umount", "-l", kept], stderr=subprocess.DEVNULL)
        self.unmount(volume)
        next_version(2)
        self.says(fleet, "drive", rf"{MARKER} is missing")
        fleet.restart("core")
        next_version(3)
        self.says(fleet, "drive", rf"{MARKER} is missing")
        self.assertEqual(os.listdir(volume), [])
        refused = fleet.cli("dataset", "checkout", "drive", "3", os.path.join(volume, "out"), "--site", "core", expect=None)
        self.assertNotEqual(refused.code, f.OK)
        self.assertIn(MARKER, refused.text)
        self.assertEqual(os.listdir(volume), [])
        f.wait_until(lambda: any(c["result"] == "fail" for c in self.doctor(fleet)), what="doctor says it")
        self.assertIn(MARKER, f.run([f.AGENT, "status", "--data-dir", fleet.data("core")]).out)

        subprocess.run(["mount", "--bind", kept, volume], check=True)
        f.wait_until(lambda: self.shown(laid_out) == "PLAINTEXT 3", what="it goes on by itself")
        f.wait_until(lambda: MARKER not in fleet.cli("get", "replicas", "drive").out, what="nothing is missing")
        f.wait_until(lambda: self.doctor(fleet) == [], what="doctor has nothing to say")

    def laid_out_on_a_volume(self):
        fleet = self.fleet()
        fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]")))
        volume = self.volume(fleet)
        self.dataset(fleet, "drive")
        laid_out = os.path.join(volume, "drive")
        f.wait_until(lambda: self.shown(laid_out) == "PLAINTEXT 1", what="laid out on the volume")
        return fleet, volume, laid_out

    def test_what_is_out_of_sight_does_not_count_as_erased(self):
        fleet, volume, laid_out = self.laid_out_on_a_volume()
        away = volume + ".away"
        os.makedirs(away)
        subprocess.run(["mount", "--bind", volume, away], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", away], stderr=subprocess.DEVNULL)
        self.unmount(volume)
        fleet.apply(f.LAW.replace("effect: permit", "effect: forbid", 1))
        f.wait_until(lambda: re.search(r"withdrawal-failed|erasure-failed", fleet.log("core")), what="it cannot be done")
        self.assertEqual(self.shown(os.path.join(away, "drive")), "PLAINTEXT 1")
        self.assertNotIn("replica-erased", fleet.log("core"))
        subprocess.run(["mount", "--bind", away, volume], check=True)
        f.wait_until(lambda: not os.path.lexists(os.path.join(laid_out, "current")), what="withdrawn once it is back")

    def test_another_volume_can_be_meant(self):
        fleet, volume, laid_out = self.laid_out_on_a_volume()
        self.unmount(volume)
        self.mount(volume)
        fleet.restart("core")
        self.says(fleet, "drive", rf"touch {re.escape(volume)}/{MARKER}")
        self.assertEqual(os.listdir(volume), [])
        f.write(os.path.join(volume, MARKER))
        f.wait_until(lambda: self.shown(laid_out) == "PLAINTEXT 1", what="laid out anew")

    def test_two_sites_do_not_lay_out_into_one_directory(self):
        fleet, volume, laid_out = self.laid_out_on_a_volume()
        self.lay_out_at(fleet, "factory", volume)
        source = fleet.path("second")
        f.write(os.path.join(source, "x"), b"of core")
        fleet.apply(f.documents(f.replication_yaml(name="back", to="[{site: factory}]"), f.dataset_yaml("second", source, site="core")))
        fleet.commit("second", wait=False)
        said = r"holds the replicas of dev.bailiwick/site/core, and this is dev.bailiwick/site/factory"
        f.wait_until(lambda: re.search(said, fleet.cli("why", "second", "factory", expect=None).text), what="it is said")
        self.assertFalse(os.path.exists(os.path.join(volume, "second")))
        self.assertEqual(self.shown(laid_out), "PLAINTEXT 1")
        # The way out that the sentence names, once the other uses it no more.
        fleet.dev("stop", "core")
        os.truncate(os.path.join(volume, MARKER), 0)
        f.wait_until(lambda: f.read(os.path.join(volume, "second", "current", "x")) == b"of core"
                     if os.path.exists(os.path.join(volume, "second", "current", "x")) else False, what="laid out there")


class SmallDisk(unittest.TestCase):
    def test_trees_of_before_make_room_for_what_comes(self):
        """A disk that holds two versions and their trees goes on; what is kept to save time is not what stops it."""
        fleet = self.enterContext(f.Fleet(f.FACTORY, f.CORE))
        data, aside = fleet.data("core"), fleet.path("core-before")
        fleet.dev("stop", "core")
        shutil.copytree(data, aside, symlinks=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", data], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", data])
        shutil.copytree(aside, data, symlinks=True, dirs_exist_ok=True)
        fleet.dev("start", "core")
        source = fleet.path("small")
        os.makedirs(source)
        fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"),
                                f.dataset_yaml("small", source, spec="retain: {last: 1, hourly: 0, daily: 0}")))
        for number in range(1, 6):   # two packs and three trees are 65 MiB
            f.write(os.path.join(source, "drive"), random.Random(number).randbytes(13 << 20))
            fleet.commit("small", wait=False)
            fleet.wait_version("small", number, "core", timeout=150)
        f.write(os.path.join(source, "drive"), random.Random(6).randbytes(80 << 20))
        fleet.commit("small", wait=False)
        f.wait_until(lambda: "disk reserve" in fleet.cli("get", "replicas", "small").out, what="this one does not fit")
        beside = f.make_tree(fleet.path("beside"), files=20)
        fleet.apply(f.dataset_yaml("beside", beside))
        fleet.commit("beside", wait=False)
        fleet.wait_version("beside", 1, "core", timeout=150)
        fleet.restart("core")
        f.write(os.path.join(source, "drive"), random.Random(7).randbytes(13 << 20))
        fleet.commit("small", wait=False)
        fleet.wait_version("small", 7, "core", timeout=150)
        self.assertEqual(f.differences(source, fleet.current("core", "small")), [], "what came of it is not in the way of the next")


if __name__ == "__main__":
    f.main()
