"""What takes minutes: a Linux-source-sized tree, trees of odd shapes, 2 GiB with ten random kills, a disk that fills up."""
import contextlib
import json
import os
import random
import sqlite3
import subprocess
import tempfile
import time
import unittest

import fleet as f
from test_identity import rotate_under_load


class Large(unittest.TestCase):
    def test_eighty_thousand_files(self):
        with f.Fleet() as fleet:
            source = fleet.path("linux")
            rng = random.Random(80_000)
            words = [rng.randbytes(40).hex() for _ in range(500)]
            for n in range(80_000):
                folder = os.path.join(source, f"d{n % 71}", f"s{n % 4219}")
                if n < 4219 * 71:
                    os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, f"file-{n}.c"), "w") as file:
                    file.write(f"/* {n} */\n" + "\n".join(rng.choices(words, k=rng.randrange(1, 300))))
            marker = random.Random(7).randbytes(64 << 10)
            f.write(os.path.join(source, "marker"), marker)
            fleet.apply(f.documents(f.LAW, f.replication_yaml(), f.dataset_yaml("linux", source)))
            started = time.monotonic()
            fleet.commit("linux", timeout=600)
            fleet.wait_version("linux", 1, "core", timeout=600)
            print(f"80,000 files committed and replicated in {time.monotonic() - started:.1f} s")
            f.wait_until(lambda: os.path.islink(fleet.current("core", "linux")), timeout=120, what="laid out")
            self.assertFalse(f.differences(source, fleet.current("core", "linux")))
            self.assertEqual(f.contains(fleet.data("cloud-us"), marker[1000:1032]), [])
            self.assertEqual(f.pack_bytes(fleet, "cloud-us"), 0)
            self.assertIn("eu-data-stays", fleet.cli("why", "linux", "cloud-us", expect=None).out)
            changed = os.path.join(source, "d0", "s0", "file-0.c")
            with open(changed, "a") as file:
                file.write("one more line\n")
            started = time.monotonic()
            fleet.commit("linux", timeout=600)
            fleet.wait_version("linux", 2, "core", timeout=600)
            print(f"a one-line change took {time.monotonic() - started:.1f} s, {fleet.wire_bytes('linux', 2, 'core')} bytes")
            self.assertLess(fleet.wire_bytes("linux", 2, "core"), 1 << 20)
            f.wait_until(lambda: b"one more line" in f.read(os.path.join(fleet.current("core", "linux"), "d0", "s0", "file-0.c")),
                         what="version 2 is shown")
            self.assertFalse(f.differences(source, fleet.current("core", "linux")))
            fleet.verify("linux", "core")


class Rotation(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def test_two_gibibytes_while_every_certificate_lives_for_twenty_seconds(self):
        print(rotate_under_load(self, "20s", 2 << 30, "24MiB"))


class Shapes(unittest.TestCase):
    """Trees that are large in one dimension, and what they may cost in memory."""
    RSS_MIB = 256

    def peaks(self, fleet):
        status = fleet.json("dev", "status", "--dir", fleet.dir)
        peaks = {}
        for process in status["processes"]:
            if process["name"] == "coordinator":
                continue
            with open(f"/proc/{process['pid']}/status") as text:
                peaks[process["name"]] = next(int(line.split()[1]) >> 10 for line in text if line.startswith("VmHWM"))
        return peaks

    def replicate(self, source, timeout=1200):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("shape", source)))
            started = time.monotonic()
            fleet.commit("shape", timeout=timeout)
            current = fleet.current("core", "shape")
            f.wait_until(lambda: os.path.islink(current), timeout=timeout, what="laid out")
            peaks = self.peaks(fleet)
            print(f"{self.id().split('.')[-1]}: {time.monotonic() - started:.1f} s, peak MiB {peaks}")
            yield current
            self.assertLessEqual(max(peaks.values()), self.RSS_MIB, peaks)

    def scratch(self):
        directory = tempfile.mkdtemp(prefix="bw-e2e-shape-")
        self.addCleanup(f.remove_tree, directory)
        return directory

    def test_deep_paths_and_long_names(self):
        source = self.scratch()
        deep = os.path.join(source, *["d" * 18] * 200)
        os.makedirs(deep)
        f.write(os.path.join(deep, "bottom"), b"200 levels down")
        for n in range(300):
            f.write(os.path.join(source, "names", f"{n:03d}" + "n" * 252), b"%d" % n)
        for current in self.replicate(source):
            self.assertEqual(f.differences(source, current), [])

    def test_a_wide_directory(self):
        source, files = self.scratch(), int(os.environ.get("BAILIWICK_WIDE", "300000"))
        for n in range(files):
            with open(os.path.join(source, f"{n:07d}"), "wb") as file:
                file.write(b"%d" % n)
        for current in self.replicate(source):
            self.assertEqual(len(os.listdir(current)), files)
            self.assertEqual(f.read(os.path.join(current, f"{files - 1:07d}")), b"%d" % (files - 1))

    def test_a_sparse_file(self):
        source, size = self.scratch(), 64 << 30
        with open(os.path.join(source, "disk.img"), "wb") as file:
            for at in (0, 17 << 30, size - 4096):
                file.seek(at)
                file.write(b"data at %d" % at)
            file.truncate(size)
        for current in self.replicate(source):
            copy = os.path.join(current, "disk.img")
            self.assertEqual(os.stat(copy).st_size, size)
            self.assertLess(os.stat(copy).st_blocks * 512, 64 << 20, "holes stay holes")
            with open(copy, "rb") as file:
                for at in (0, 17 << 30, size - 4096):
                    file.seek(at)
                    self.assertTrue(file.read(64).startswith(b"data at %d" % at))


class ManyDatasets(unittest.TestCase):
    """One agent with a hundred datasets that change all the time."""
    DATASETS, EVERY, SECONDS = 100, 5, 90
    RSS_MIB, DESCRIPTORS = 512, 1000

    def test_a_thousand_commits_a_minute(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            sources = {f"line-{n:03d}": fleet.path(f"line-{n:03d}") for n in range(self.DATASETS)}
            for source in sources.values():
                f.write(os.path.join(source, "0"), b"first")
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"),
                                    *(f.dataset_yaml(name, source, spec=f"commit: {{every: {self.EVERY}s}}") for name, source in sources.items())))
            pids = {p["name"]: p["pid"] for p in fleet.json("dev", "status", "--dir", fleet.dir)["processes"] if p["name"] != "coordinator"}
            f.wait_until(lambda: len(self.newest(fleet, "core")) == self.DATASETS, timeout=120, what="every dataset is at core")
            before, started = sum(self.newest(fleet, "factory").values()), time.monotonic()
            descriptors = dict.fromkeys(pids, 0)
            written = 0
            while time.monotonic() - started < self.SECONDS:
                written += 1
                for name, source in sources.items():
                    f.write(os.path.join(source, str(written)), f"{name} {written}".encode())
                for name, pid in pids.items():
                    descriptors[name] = max(descriptors[name], len(os.listdir(f"/proc/{pid}/fd")))
                time.sleep(max(0, started + written * self.EVERY - time.monotonic()))
            commits = (sum(self.newest(fleet, "factory").values()) - before) * 60 / (time.monotonic() - started)
            behind = time.monotonic()
            f.wait_until(lambda: all(os.path.exists(os.path.join(fleet.current("core", name), str(written))) for name in sources), timeout=120,
                         what="the last file of each is shown at core")
            behind = time.monotonic() - behind
            peaks = Shapes.peaks(self, fleet)
            print(f"{commits:.0f} commits a minute, all shown {behind:.1f} s after the last file; peak MiB {peaks}, descriptors {descriptors}")
            self.assertGreaterEqual(commits, 1000)
            self.assertLessEqual(max(peaks.values()), self.RSS_MIB)
            self.assertLessEqual(max(descriptors.values()), self.DESCRIPTORS)
            for name in (f"line-{0:03d}", f"line-{self.DATASETS - 1:03d}"):
                self.assertEqual(f.differences(sources[name], fleet.current("core", name)), [])

    def newest(self, fleet, site):
        """dataset: its newest version at the site."""
        return {r["dataset"]: r["version"] for r in fleet.json("get", "replicas", "--site", site)["replicas"] if r["version"]}


class Kills(unittest.TestCase):
    SIZE = 2 << 30
    SLACK_PER_KILL = 96 << 20

    def test_two_gibibytes_with_ten_random_kills(self):
        seed = int(os.environ.get("BAILIWICK_SEED", "0")) or random.randrange(1 << 30)
        print(f"seed {seed} (BAILIWICK_SEED={seed} repeats it)")
        rng = random.Random(seed)
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = fleet.path("huge")
            os.makedirs(source)
            for n in range(8):
                with open(os.path.join(source, f"part-{n}"), "wb") as file:
                    for _ in range(self.SIZE // 8 >> 23):
                        file.write(rng.randbytes(8 << 20))
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"),
                                    f.dataset_yaml("huge", source, spec="chunkSize: 1MiB")))
            fleet.commit("huge", wait=False, timeout=600)
            kills, last, peak = 0, 0, 0
            for step in range(10):
                target = self.SIZE * (step + 1) // 12
                f.wait_until(lambda: f.pack_bytes(fleet, "core") >= target, timeout=120, what=f"{target} bytes arrived", step=0.005)
                arrived = f.pack_bytes(fleet, "core")
                self.assertGreaterEqual(arrived, last, "what had arrived stays")
                last = arrived - (1 << 20)
                victim = rng.choice(["factory", "core", "coordinator"])
                fleet.dev("kill", victim)
                kills += 1
                fleet.dev("start", victim)
                if victim != "coordinator":  # flows outlive the coordinator: only a dead end begins a new transfer
                    peak = max(peak, arrived)
            print(f"{kills} kills, {peak >> 20} MiB had arrived at the last one that broke the stream")
            self.assertLess(peak, self.SIZE)
            fleet.wait_version("huge", 1, "core", timeout=300)
            f.wait_until(lambda: os.path.islink(fleet.current("core", "huge")), timeout=120, what="laid out")
            self.assertFalse(f.differences(source, fleet.current("core", "huge")))
            fleet.verify("huge", "core")
            held = f.pack_bytes(fleet, "core")
            print(f"core holds {held >> 20} MiB for {self.SIZE >> 20} MiB of content")
            done = [t for t in fleet.transfers("huge") if t["state"] == "done"]
            self.assertEqual(len(done), 1)
            self.assertLess(int(done[0]["wireBytes"]), self.SIZE - peak + self.SLACK_PER_KILL)


class FullDisk(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.fail("run as root or with sudo: mounting a small file system needs it")

    def move_to_small_disk(self, fleet, name, size):
        """A process's directory on a file system of its own, of that size; it runs on."""
        fleet.dev("stop", name)
        data, aside = os.path.join(fleet.dir, name) if name == "coordinator" else fleet.data(name), fleet.path(name + "-before")
        subprocess.run(["cp", "-a", data, aside], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", data], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", data])
        subprocess.run(["cp", "-a", aside + "/.", data], check=True)
        fleet.dev("start", name)
        return data

    def fill(self, path):
        """To the last byte; what it is full of."""
        ballast = os.path.join(path, "ballast")
        with open(ballast, "wb", buffering=0) as out, contextlib.suppress(OSError):
            while out.write(bytes(4096)) == 4096:
                pass
        self.assertEqual(os.statvfs(path).f_bavail, 0)
        return ballast

    def test_receiver_disk_full_then_roomy(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]")))
            data = self.move_to_small_disk(fleet, "core", "160m")
            small = f.make_tree(fleet.path("small"), files=10)
            fleet.apply(f.dataset_yaml("small", small))
            fleet.commit("small")
            fleet.wait_version("small", 1, "core")
            source = fleet.path("toobig")
            f.write(os.path.join(source, "big"), random.Random(2).randbytes(220 << 20))
            fleet.apply(f.dataset_yaml("toobig", source))
            fleet.commit("toobig", wait=False)
            why = f.wait_until(lambda: (lambda r: r if "space" in r.text or "full" in r.text else None)(
                fleet.cli("why", "toobig", "core", expect=None)), timeout=60, what="why says that the disk is full")
            self.assertIn("core", why.text)
            room = os.statvfs(data)
            self.assertGreater(room.f_bavail * room.f_frsize, 2 << 20, "the records of the agent have their reserve")
            self.assertFalse(f.differences(small, fleet.current("core", "small")))
            fleet.cli("status")
            subprocess.run(["mount", "-o", "remount,size=900m", data], check=True)
            fleet.wait_version("toobig", 1, "core", timeout=180)
            f.wait_until(lambda: os.path.islink(fleet.current("core", "toobig")), timeout=60, what="laid out")
            self.assertFalse(f.differences(source, fleet.current("core", "toobig")))
            fleet.verify("small", "core")
            fleet.dev("stop", "core")

    def test_a_source_without_a_byte_left_sends_nothing_before_it_can_record_it(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]")))
            data = self.move_to_small_disk(fleet, "factory", "160m")
            small = f.make_tree(fleet.path("small"), files=10)
            fleet.apply(f.dataset_yaml("small", small))
            fleet.dev("stop", "core")
            fleet.commit("small", wait=False)
            ballast = self.fill(data)
            fleet.dev("start", "core")
            failed = lambda: [t for t in fleet.transfers("small") if t["state"] == "failed"]  # noqa: E731
            f.wait_until(lambda: len(failed()) >= 2, timeout=120, what="transfers are refused")
            self.assertEqual({t["code"] for t in failed()}, {"DISK_FULL"}, failed())
            self.assertEqual(f.pack_bytes(fleet, "core"), 0, "not a byte went")
            os.remove(ballast)
            fleet.wait_version("small", 1, "core", timeout=180)
            kinds = [json.loads(line)["kind"] for line in fleet.audit("factory").splitlines()]
            self.assertIn("grant-accepted", kinds)
            self.assertIn("transfer-ended", kinds)

    def test_a_disk_without_a_byte_left_still_answers_and_owes_the_record(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]")))
            data = self.move_to_small_disk(fleet, "core", "160m")
            small = f.make_tree(fleet.path("small"), files=10)
            fleet.apply(f.dataset_yaml("small", small))
            fleet.commit("small")
            fleet.wait_version("small", 1, "core")
            ballast = self.fill(data)
            reads = "audit", "list", "--site", "core", "--kind", "audit-read"
            told = len([fleet.json(*reads) for _ in range(40)][0]["records"])  # the last page of a file has room for some
            exported = fleet.path("exported")
            fleet.cli("audit", "export", "--site", "core", "--out", exported)
            fleet.verify("small", "core")
            fleet.cli("why", "small", "core")
            self.assertFalse(f.differences(small, fleet.current("core", "small")))
            # What sends bytes must be recorded first, so it is refused; the home keeps what it has.
            f.write(os.path.join(small, "more"), b"more")
            fleet.commit("small", wait=False)
            os.remove(ballast)
            fleet.wait_version("small", 2, "core", timeout=120)
            # The reads of then are in the log: 39 more lists, the export, and this one.
            self.assertEqual(len(fleet.json(*reads)["records"]), told + 41)
            trust = fleet.path("trust")
            fleet.cli("audit", "trust", "--agents", "--quorum", "0", "--out", trust)
            later = fleet.path("later")
            fleet.cli("audit", "export", "--site", "core", "--out", later)
            fleet.cli("audit", "verify", later, "--trust", trust)
            # Who is revoked while the disk is full is written down when there is room again.
            self.fill(data)
            fleet.cli("agent", "revoke", "factory", "--reason", "a test", "--yes")
            f.wait_until(lambda: b"trust-not-kept" in f.read(data + ".log"), what="it cannot be kept")
            os.remove(ballast)
            f.wait_until(lambda: b"trust-kept" in f.read(data + ".log"), timeout=60, what="it is kept")
            fleet.dev("stop", "core")
            with contextlib.closing(sqlite3.connect(f"file:{data}/agent.db?mode=ro", uri=True)) as db:
                (trust,) = db.execute("SELECT value FROM meta WHERE key = 'trust'").fetchone()
            self.assertIn(b"site/factory/agent/factory", trust)

    def test_a_coordinator_without_a_byte_left_still_answers_and_takes_later_what_it_could_not_write(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]")))
            small = f.make_tree(fleet.path("small"), files=10)
            fleet.apply(f.dataset_yaml("small", small))
            fleet.commit("small")
            fleet.wait_version("small", 1, "core")
            data = self.move_to_small_disk(fleet, "coordinator", "60m")
            f.wait_until(lambda: all(site["connected"] for site in fleet.json("status")["sites"]), what="the sites are back")
            ballast = self.fill(data)
            for command in (["status"], ["get", "datasets"], ["why", "small", "core"], ["events"], ["policy", "show"], ["audit", "logs"],
                            *[["audit", "list"]] * 40):
                fleet.cli(*command)
            fleet.verify("small", "core")
            refused = fleet.cli("apply", "-f", "-", stdin=f.dataset_yaml("more", small), expect=f.FAILED)
            self.assertIn("No space left", refused.text)
            f.write(os.path.join(small, "more"), b"more")
            fleet.commit("small", wait=False)
            self.assertIn("No space left", fleet.cli("describe", "dataset", "small").out)
            os.remove(ballast)
            fleet.wait_version("small", 2, "core", timeout=90)
            f.wait_until(lambda: not f.differences(small, fleet.current("core", "small")), what="version 2 is shown")
            fleet.apply(f.dataset_yaml("more", small))
            fleet.dev("stop", "coordinator")

    def test_home_disk_full_fails_the_commit_and_loses_nothing(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]")))
            data = self.move_to_small_disk(fleet, "factory", "120m")
            source = f.make_tree(fleet.path("grows"), files=10)
            fleet.apply(f.dataset_yaml("grows", source))
            fleet.commit("grows")
            fleet.wait_version("grows", 1, "core")
            f.write(os.path.join(source, "big"), random.Random(3).randbytes(200 << 20))
            refused = fleet.commit("grows", wait=False, expect=f.FAILED)
            self.assertRegex(refused.text, r"(?i)space|full")
            os.remove(os.path.join(source, "big"))
            f.write(os.path.join(source, "little"), b"fits")
            subprocess.run(["mount", "-o", "remount,size=600m", data], check=True)
            fleet.commit("grows")
            fleet.wait_version("grows", 2, "core")
            f.wait_until(lambda: not f.differences(source, fleet.current("core", "grows")), what="version 2 is shown")
            fleet.verify("grows", "factory")
            fleet.dev("stop", "factory")


if __name__ == "__main__":
    f.main()
