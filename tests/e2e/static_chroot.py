"""The static agent: no dynamic linker, and at work in a chroot that holds nothing but it, its data and a hosts file."""
import base64
import os
import shutil
import subprocess
import unittest

import fleet as f
import wire as w

STATIC = os.environ.get("BAILIWICK_STATIC_AGENT", os.path.join(f.ROOT, "build", "static", "bin", "bailiwick-agent"))
HOST = "coordinator.bailiwick.test"


def by_host_name(token):
    """The same join string with the coordinator's address as a name that only the chroot's hosts file knows."""
    body = token[len("bwj1."):]
    join = w.enroll_pb2.JoinString.FromString(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    join.join_address = f"{HOST}:{join.join_address.rsplit(':', 1)[1]}"
    return "bwj1." + base64.urlsafe_b64encode(join.SerializeToString()).decode().rstrip("=")


class Static(unittest.TestCase):
    def setUp(self):
        if not os.access(STATIC, os.X_OK):
            self.fail(f"{STATIC} is not there; build it: cmake --preset static && cmake --build --preset static")

    def test_it_is_not_a_dynamic_executable(self):
        segments = subprocess.run(["readelf", "--program-headers", STATIC], capture_output=True, text=True, check=True).stdout
        self.assertNotIn("INTERP", segments)
        self.assertNotIn("NEEDED", subprocess.run(["readelf", "--dynamic", STATIC], capture_output=True, text=True, check=True).stdout)

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
            token = by_host_name(token)
            control = f"{HOST}:{w.context(fleet)['coordinator'].rsplit(':', 1)[1]}"
            into = dict(preexec_fn=lambda: (os.chroot(root), os.chdir("/")))
            joined = f.run(["/agent", "join", "--data-dir", "/data", "--join", token], env={}, timeout=30, **into)
            self.assertEqual(joined.code, f.OK, joined)
            run = ["/agent", "run", "--data-dir", "/data", "--coordinator", control]
            with f.background(run, fleet.path("box.log"), env={}, **into):
                fleet.cli("site", "approve", "box")
                source = f.make_tree(fleet.path("src"), files=20)
                fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: box}]"), f.dataset_yaml("tostatic", source)))
                fleet.commit("tostatic")
                fleet.wait_version("tostatic", 1, "box")
                current = os.path.join(root, "data", "replicas", "tostatic", "current")
                f.wait_until(lambda: os.path.lexists(current), what="laid out in the chroot")
                tree = os.path.join(os.path.dirname(current), os.readlink(current))
                self.assertFalse(f.differences(source, tree))


if __name__ == "__main__":
    f.main()
