"""The static agent: no dynamic linker, and at work in a chroot that holds nothing but it, its data and a hosts file."""
import os
import shutil
import subprocess
import time
import unittest

import fleet as f

STATIC = os.environ.get("BAILIWICK_STATIC_AGENT", os.path.join(f.ROOT, "build", "static", "bin", "bailiwick-agent"))
HOST = "coordinator.bailiwick.test"


class Static(unittest.TestCase):
    def setUp(self):
        if not os.access(STATIC, os.X_OK):
            self.fail(f"{STATIC} is not there; build it: cmake --preset static && cmake --build --preset static")

    def test_it_is_not_a_dynamic_executable(self):
        listed = subprocess.run(["ldd", STATIC], capture_output=True, text=True)
        self.assertIn("not a dynamic executable", listed.stdout + listed.stderr)
        self.assertNotEqual(listed.returncode, 0)

    def test_it_joins_and_replicates_from_an_empty_chroot(self):
        if os.geteuid() != 0:
            self.fail("run as root or with sudo: chroot needs it")
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            root = fleet.path("chroot")
            for folder in ("etc", "data", "tmp"):
                os.makedirs(os.path.join(root, folder))
            shutil.copy(STATIC, os.path.join(root, "agent"))
            f.write(os.path.join(root, "etc", "hosts"), f"127.0.0.1 {HOST}\n")

            fleet.apply('apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: box, labels: {tier: edge}}\n'
                        "spec: {region: eu/de, dial: outbound-only}\n")
            token = fleet.cli("site", "join-token", "box").out.strip().split("\n")[-1].split()[-1]
            token, control = self.by_host_name(fleet, token)
            into = dict(preexec_fn=lambda: (os.chroot(root), os.chdir("/")))
            joined = f.run(["/agent", "join", "--data-dir", "/data", "--join", token] + control, env={}, timeout=30, **into)
            self.assertEqual(joined.code, f.OK, joined)
            with open(fleet.path("box.log"), "wb") as log:
                agent = subprocess.Popen(["/agent", "run", "--data-dir", "/data"], env={}, stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, **into)
            self.addCleanup(agent.wait)
            self.addCleanup(agent.terminate)
            fleet.cli("site", "approve", "box")
            source = f.make_tree(fleet.path("src"), files=20)
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: box}]"), f.dataset_yaml("tostatic", source)))
            fleet.commit("tostatic")
            fleet.wait_version("tostatic", 1, "box")
            current = os.path.join(root, "data", "replicas", "tostatic", "current")
            f.wait_until(lambda: os.path.lexists(current), what="laid out in the chroot")
            tree = os.path.join(os.path.dirname(current), os.readlink(current))
            self.assertFalse(f.differences(source, tree))
            with open(fleet.path("box.log"), errors="replace") as log:
                self.assertIn(HOST, log.read() + joined.text + open(os.path.join(root, "data", "agent.yaml"), errors="replace").read()
                              if os.path.exists(os.path.join(root, "data", "agent.yaml")) else log.read() + joined.text)


if __name__ == "__main__":
    f.main()
