#!/usr/bin/env python3
"""Audit logs verify with an implementation that shares no code with ours: Go's sumdb, of Debian's golang-golang-x-mod-dev.

First argument: the program that makes a log (sample.cc). The second: a directory for what Go builds.
"""
import os
import subprocess
import sys
import tempfile
import unittest

SAMPLE, BUILT = os.path.abspath(sys.argv.pop(1)), os.path.abspath(sys.argv.pop(1))
HERE = os.path.dirname(os.path.abspath(__file__))


class SecondOpinion(unittest.TestCase):
    def setUp(self):
        self.check = os.path.join(BUILT, "tlog-check")
        env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOCACHE=os.path.join(BUILT, "gocache"))
        subprocess.run(["go", "build", "-o", self.check, "main.go"], env=env, cwd=HERE, check=True)
        made = tempfile.TemporaryDirectory(prefix="bw-tlog-")
        self.addCleanup(made.cleanup)
        self.log = os.path.join(made.name, "audit")
        self.keys = subprocess.run([SAMPLE, self.log], capture_output=True, text=True, check=True).stdout.split()

    def judge(self):
        return subprocess.run([self.check, self.log] + self.keys, capture_output=True, text=True)

    def test_it_finds_the_log_true_and_a_changed_one_false(self):
        said = self.judge()
        self.assertEqual(said.returncode, 0, said)
        self.assertEqual(said.stdout, "true: 301 entries, 301 records, 1 cosignatures\n")
        for name, at in (("payload/000", 40), ("payload/000", -20), ("tile/entries/000", 60), ("tile/entries/001.p/45", -1),
                         ("tile/0/000", 100), ("tile/0/001.p/45", 7), ("tile/1/000.p/1", 3), ("checkpoint", 60), ("checkpoint", -9),
                         ("witnessed", 60), ("witnessed", -9)):
            with self.subTest(file=name, byte=at):
                path = os.path.join(self.log, name)
                with open(path, "rb") as file:
                    whole = file.read()
                changed = bytearray(whole)
                changed[at] ^= 0x11
                with open(path, "wb") as file:
                    file.write(changed)
                self.assertEqual(self.judge().returncode, 1)
                with open(path, "wb") as file:
                    file.write(whole)
        self.assertEqual(self.judge().returncode, 0)


if __name__ == "__main__":
    unittest.main()
