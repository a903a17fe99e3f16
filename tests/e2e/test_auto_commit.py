"""Commits that nobody asks for: on an interval, when the tree is quiet, with files that never settle; and retention."""
import os
import subprocess
import threading
import time
import unittest

import fleet as f


class AutoCommit(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def numbers(self, name):
        return [int(r["number"]) for r in f.rows_of(self.fleet.json("dataset", "versions", name))]

    def test_every(self):
        source = self.fleet.path("timed")
        f.write(os.path.join(source, "a"), b"1")
        self.fleet.apply(f.dataset_yaml("timed", source, spec="commit: {every: 1s}"))
        self.fleet.wait_version("timed", 1, "core", timeout=30)
        f.write(os.path.join(source, "b"), b"2")
        self.fleet.wait_version("timed", 2, "core", timeout=30)
        self.assertFalse(f.differences(source, self.fleet.current("core", "timed")))
        time.sleep(2.5)
        self.assertEqual(self.numbers("timed")[0], 2, "nothing changed: no version")

    def test_consume(self):
        source = self.fleet.path("consumed")
        self.fleet.apply(f.dataset_yaml("consumed", source, spec="commit: {every: 1s}\ningest: consume\nabsent: keep"))
        f.write(os.path.join(source, "day1", "a"), b"recorded first")
        f.wait_until(lambda: not os.path.exists(os.path.join(source, "day1", "a")), timeout=60,
                     what="what a version holds left the source")
        with open(os.path.join(source, "log"), "wb") as still_open:
            still_open.write(b"begun")
            still_open.flush()
            f.write(os.path.join(source, "b"), b"recorded later")
            f.wait_until(lambda: not os.path.exists(os.path.join(source, "b")), timeout=60, what="the next one too")
            self.assertTrue(os.path.exists(os.path.join(source, "log")), "what is written to stays")
            still_open.write(b" and ended")
        f.wait_until(lambda: not os.path.exists(os.path.join(source, "log")), timeout=60, what="until it is closed")
        tree = self.fleet.current("core", "consumed")

        def arrived():
            try:
                return {n: f.read(os.path.join(tree, n)) for n in ("day1/a", "b", "log")} == {
                    "day1/a": b"recorded first", "b": b"recorded later", "log": b"begun and ended"}
            except OSError:
                return False
        f.wait_until(arrived, timeout=60, what="the replica has all that was ever recorded")
        refused = self.fleet.apply(f.dataset_yaml("wrong", source, spec="ingest: consume"), expect=f.USAGE)
        self.assertIn("absent: keep", refused.text)

    def test_what_the_agent_may_not_remove_holds_up_nothing_and_is_said(self):
        source = self.fleet.path("stuck")
        kept, goes = os.path.join(source, "a", "kept"), os.path.join(source, "b", "goes")
        for path in (kept, goes):
            f.write(path, b"recorded")
        subprocess.run(["mount", "--bind", os.path.dirname(kept), os.path.dirname(kept)], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", os.path.dirname(kept)], stderr=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "remount,bind,ro", os.path.dirname(kept)], check=True)
        self.fleet.apply(f.dataset_yaml("stuck", source, spec="commit: {every: 1s}\ningest: consume\nabsent: keep"))
        f.wait_until(lambda: not os.path.exists(goes), timeout=60, what="what may go goes")
        self.assertTrue(os.path.exists(kept))
        f.wait_until(lambda: "may not remove 1 file" in self.fleet.cli("status").text, timeout=30, what="it is said")
        subprocess.run(["umount", os.path.dirname(kept)], check=True)
        f.wait_until(lambda: not os.path.exists(kept), timeout=60, what="it goes on by itself")
        f.wait_until(lambda: "may not remove" not in self.fleet.cli("status").text, timeout=30, what="and nothing is said")

    def test_quiet(self):
        source = self.fleet.path("quiet")
        f.write(os.path.join(source, "a"), b"1")
        busy, over = os.path.join(source, "app.log"), threading.Event()   # what is ignored is never quiet

        def log():
            while not over.wait(0.3):
                with open(busy, "a") as out:
                    out.write("x")
        f.write(busy, b"")
        writer = threading.Thread(target=log)
        writer.start()
        self.addCleanup(writer.join)
        self.addCleanup(over.set)
        self.fleet.apply(f.dataset_yaml("quiet", source, spec='commit: {quiet: 2s}\nignore: ["*.log"]'))
        self.fleet.wait_version("quiet", 1, "core", timeout=30)
        for n in range(12):                                     # busy for longer than the quiet time: one version of it
            f.write(os.path.join(source, f"n{n}"), b"x")
            time.sleep(0.25)
        self.assertLessEqual(self.numbers("quiet")[0], 2)
        f.wait_until(lambda: os.path.exists(os.path.join(self.fleet.current("core", "quiet"), "n11")), timeout=30,
                     what="the quiet tree was committed")
        over.set()
        writer.join()
        os.remove(busy)
        self.assertFalse(f.differences(source, self.fleet.current("core", "quiet")))

    def test_quiet_and_every(self):
        source = self.fleet.path("both")
        f.write(os.path.join(source, "a"), b"1")
        self.fleet.apply(f.dataset_yaml("both", source, spec="commit: {quiet: 30s, every: 2s}"))
        self.fleet.wait_version("both", 1, "core", timeout=20)
        f.write(os.path.join(source, "a"), b"2")
        self.fleet.wait_version("both", 2, "core", timeout=20)

    def test_a_growing_log_does_not_fail_every_commit(self):
        source = self.fleet.path("settle")
        log = os.path.join(source, "growing.log")
        f.write(log, b"first line\n")
        f.write(os.path.join(source, "still"), b"1")
        old = time.time() - 60
        os.utime(log, (old, old))
        os.utime(os.path.join(source, "still"), (old, old))
        self.fleet.apply(f.dataset_yaml("settle", source, spec="commit: {onRequest: true, settle: 5s}"))
        self.fleet.commit("settle")
        stop = threading.Event()

        def grow():
            while not stop.is_set():
                with open(log, "ab") as file:
                    file.write(b"another line\n")
                time.sleep(0.005)
        writer = threading.Thread(target=grow)
        writer.start()
        try:
            f.write(os.path.join(source, "other"), b"2")
            os.utime(os.path.join(source, "other"), (old, old))
            self.fleet.commit("settle")
            self.fleet.wait_version("settle", 2, "core")
            current = self.fleet.current("core", "settle")
            f.wait_until(lambda: os.path.exists(os.path.join(current, "other")), what="version 2 is shown")
            self.assertEqual(f.read(os.path.join(current, "growing.log")), b"first line\n")
        finally:
            stop.set()
            writer.join()
        os.utime(log, (old, old))
        self.fleet.commit("settle")
        self.fleet.wait_version("settle", 3, "core")
        f.wait_until(lambda: not f.differences(source, self.fleet.current("core", "settle")), what="the settled log arrived")

    def test_retention_keeps_the_last(self):
        source = self.fleet.path("retain")
        self.fleet.apply(f.dataset_yaml("retain", source, spec="retain: {last: 3, hourly: 0, daily: 0}"))
        for n in range(1, 8):
            f.write(os.path.join(source, "n"), b"%d" % n)
            self.fleet.commit("retain")
        def held(site):
            return [int(r["number"]) for r in f.rows_of(self.fleet.json("dataset", "versions", "retain")) if site in r["sites"]]
        f.wait_until(lambda: held("factory") == [7, 6, 5], timeout=40, what="three versions are left at home")
        self.assertFalse(f.differences(source, self.fleet.current("core", "retain")))
        self.fleet.verify("retain", "factory")
        self.fleet.verify("retain", "core")
        f.write(os.path.join(source, "n"), b"8")
        self.fleet.commit("retain")
        self.assertEqual(self.numbers("retain")[0], 8, "a number is never used again")

    def test_problem_of_the_source_is_seen_and_heals(self):
        source = self.fleet.path("heals")
        f.write(os.path.join(source, "a"), b"1")
        self.fleet.apply(f.dataset_yaml("heals", source, spec="commit: {every: 1s}"))
        self.fleet.wait_version("heals", 1, "core", timeout=30)
        os.rename(source, source + ".away")
        f.wait_until(lambda: source in self.fleet.cli("describe", "dataset", "heals").out.replace("path: " + source, "")
                     or "missing" in self.fleet.cli("status").out, timeout=20, what="status says that the source is gone")
        os.rename(source + ".away", source)
        f.write(os.path.join(source, "b"), b"2")
        self.fleet.wait_version("heals", 2, "core", timeout=30)


if __name__ == "__main__":
    f.main()
