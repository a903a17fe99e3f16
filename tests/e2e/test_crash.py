"""SIGKILL of any process in the middle of a transfer or commit: after a restart it completes, whole, and what had arrived stays."""
import os
import random
import signal
import subprocess
import time
import unittest

import fleet as f

TOTAL = 384 << 20
# Chunks of the pack that was being written and of the windows in flight may travel again.
SLACK = 96 << 20


def random_file(path, size, seed):
    rng = random.Random(seed)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        for _ in range(size >> 23):
            file.write(rng.randbytes(8 << 20))


class Crash(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def start_transfer(self, name):
        source = self.fleet.path(name)
        for n in range(4):
            random_file(os.path.join(source, f"part-{n}"), TOTAL // 4, hash((name, n)) & 0xFFFF)
        self.fleet.apply(f.dataset_yaml(name, source, spec="chunkSize: 256KiB"))
        base = f.pack_bytes(self.fleet, "core")
        self.fleet.commit(name, wait=False)
        f.wait_until(lambda: f.pack_bytes(self.fleet, "core") - base > TOTAL // 4, timeout=60,
                     what="a quarter of the bytes arrived", step=0.005)
        return source, base

    def finish(self, name, source, base, arrived):
        already = sum(int(t.get("wireBytes", 0)) for t in self.fleet.transfers(name))
        self.fleet.wait_version(name, 1, "core", timeout=120)
        f.wait_until(lambda: os.path.islink(self.fleet.current("core", name)), what="laid out")
        self.assertFalse(f.differences(source, self.fleet.current("core", name)))
        self.fleet.verify(name, "core")
        done = [t for t in self.fleet.transfers(name) if t["state"] == "done"]
        self.assertEqual(len(done), 1, done)
        self.assertLess(int(done[0]["wireBytes"]), TOTAL - arrived + SLACK, f"sent again what had arrived ({already} before)")
        return done[0]

    def kill_in_the_middle(self, name, victim):
        source, base = self.start_transfer(name)
        self.fleet.dev("kill", victim)
        arrived = f.pack_bytes(self.fleet, "core") - base
        self.assertLess(arrived, TOTAL, "the kill came too late to prove anything")
        self.fleet.dev("start", victim)
        return self.finish(name, source, base, arrived)

    def test_receiver_killed(self):
        self.kill_in_the_middle("receiver", "core")

    def test_source_killed(self):
        self.kill_in_the_middle("source", "factory")

    def test_coordinator_killed(self):
        source, base = self.start_transfer("director")
        self.fleet.dev("kill", "coordinator")
        arrived = f.pack_bytes(self.fleet, "core") - base
        time.sleep(1)   # flows go on without it: their grant has not expired
        went_on = f.pack_bytes(self.fleet, "core") - base
        self.assertTrue(went_on > arrived or went_on >= TOTAL, "the flow stopped with the coordinator")
        self.fleet.dev("start", "coordinator")
        self.fleet.wait_version("director", 1, "core", timeout=120)
        f.wait_until(lambda: os.path.islink(self.fleet.current("core", "director")), what="laid out")
        self.assertFalse(f.differences(source, self.fleet.current("core", "director")))
        self.fleet.verify("director", "core")
        sent = sum(int(t.get("wireBytes", 0)) for t in self.fleet.transfers("director"))
        self.assertLess(sent, TOTAL + SLACK)

    def test_home_killed_while_committing(self):
        name, source = "halfway", self.fleet.path("halfway")
        for n in range(4):
            random_file(os.path.join(source, f"part-{n}"), TOTAL // 4, n)
        self.fleet.apply(f.dataset_yaml(name, source))
        base = f.pack_bytes(self.fleet, "factory")
        commit = subprocess.Popen([f.CLI, "dataset", "commit", name], env=self.fleet.env, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
        self.addCleanup(commit.wait)
        self.addCleanup(commit.stdout.close)
        f.wait_until(lambda: f.pack_bytes(self.fleet, "factory") - base > TOTAL // 8 or commit.poll() is not None,
                     timeout=60, what="the commit reads", step=0.005)
        self.fleet.dev("kill", "factory")
        self.assertEqual(commit.wait(timeout=60), f.UNAVAILABLE, commit.stdout.read())
        self.fleet.dev("start", "factory")
        self.assertEqual(f.rows_of(self.fleet.json("dataset", "versions", name)), [])
        self.fleet.commit(name)
        self.fleet.wait_version(name, 1, "core", timeout=120)
        self.assertFalse(f.differences(source, self.fleet.current("core", name)))
        self.fleet.verify(name, "factory")

    def test_everything_killed_at_once(self):
        source, base = self.start_transfer("blackout")
        for name in ("coordinator", "factory", "core"):
            self.fleet.dev("kill", name)
        arrived = f.pack_bytes(self.fleet, "core") - base
        for name in ("core", "factory", "coordinator"):
            self.fleet.dev("start", name, timeout=60, expect=None)
        f.wait_until(lambda: self.fleet.cli("status", expect=None).code == f.OK, what="the coordinator answers")
        self.finish("blackout", source, base, arrived)

    def test_sites_work_on_without_the_coordinator(self):
        source = f.make_tree(self.fleet.path("alone"), files=10)
        self.fleet.apply(f.dataset_yaml("alone", source))
        self.fleet.commit("alone")
        self.fleet.wait_version("alone", 1, "core")
        self.fleet.dev("stop", "coordinator")
        self.addCleanup(self.fleet.dev, "start", "coordinator")
        self.fleet.cli("status", expect=f.UNAVAILABLE)
        read = f.run([f.AGENT, "exec", "alone", "--data-dir", self.fleet.data("core"), "--", "cat", "link-to-bytes"])
        self.assertEqual(read.code, 0, read)


if __name__ == "__main__":
    f.main()
