"""Names are content: whatever happens to a dataset, what its files are called reaches only who may receive the dataset."""
import contextlib
import os
import random
import subprocess
import threading
import unittest

import fleet as f

# One word a kind of name or content; none is part of another, or of anything that an admin declares.
WORDS = {kind: f"{kind}-zq7x-{random.Random(kind).randbytes(6).hex()}" for kind in (
    "folder", "file", "target", "text", "xattr", "fifo", "ignored", "changing", "deep", "rotten", "renamed", "twin", "later")}


class Names(unittest.TestCase):
    @contextlib.contextmanager
    def mounted(self, path, options):
        if os.geteuid() != 0:
            self.fail("run as root: mounting a small file system needs it")
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
        try:
            yield path
        finally:
            subprocess.run(["umount", "-l", path], check=True)

    def make_source(self, root):
        folder = os.path.join(root, WORDS["folder"])
        f.write(os.path.join(folder, WORDS["file"]), (WORDS["text"] + "\n") * 200)
        f.write(os.path.join(folder, "big-" + WORDS["rotten"]), random.Random(1).randbytes(300_000))
        f.write(os.path.join(folder, "a-" + WORDS["twin"]), b"one")
        f.write(os.path.join(root, WORDS["ignored"] + ".tmp"), b"left out")
        os.symlink(WORDS["target"], os.path.join(folder, "link"))
        os.mkfifo(os.path.join(root, WORDS["fifo"]))
        f.write(os.path.join(folder, "with-attribute"), b"x")
        os.setxattr(os.path.join(folder, "with-attribute"), "user." + WORDS["xattr"], WORDS["xattr"].encode())
        return folder

    def fail_to_commit(self, fleet, name, source, folder):
        """Everything that a source can do wrong; who asks is told the name, at the home."""
        shown = fleet.commit(name, wait=False)
        self.assertIn(WORDS["fifo"], shown.text, "who commits is told what was left out")
        os.mkdir(os.path.join(source, WORDS["deep"]))
        descent = os.open(os.path.join(source, WORDS["deep"]), os.O_RDONLY)
        for _ in range(100):                       # more than a path may be long
            os.mkdir(WORDS["deep"], dir_fd=descent)
            deeper = os.open(WORDS["deep"], os.O_RDONLY, dir_fd=descent)
            os.close(descent)
            descent = deeper
        long_name = "n" * 200
        for _ in range(10):
            os.mkdir(long_name, dir_fd=descent)
            deeper = os.open(long_name, os.O_RDONLY, dir_fd=descent)
            os.close(descent)
            descent = deeper
        os.close(descent)
        refused = fleet.commit(name, wait=False, expect=None)
        self.assertNotEqual(refused.code, f.OK)
        self.assertIn(WORDS["deep"], refused.text, "who commits is told which path is too long")
        subprocess.run(["rm", "-rf", os.path.join(source, WORDS["deep"])], check=True)

        with self.always_changing(os.path.join(source, WORDS["changing"])):
            refused = fleet.commit(name, wait=False, expect=None)
        self.assertNotEqual(refused.code, f.OK)
        self.assertIn(WORDS["changing"], refused.text, "who commits is told which file does not hold still")
        os.rename(folder, folder + WORDS["renamed"])
        fleet.commit(name, wait=False)
        os.rename(folder + WORDS["renamed"], folder)

    @contextlib.contextmanager
    def always_changing(self, path):
        stop = threading.Event()

        def change():
            with open(path, "r+b", buffering=0) as file:
                while not stop.is_set():
                    file.seek(0)
                    file.write(os.urandom(16))
        f.write(path, random.Random(3).randbytes(1 << 20) * 48)
        thread = threading.Thread(target=change)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            os.unlink(path)

    def rot(self, fleet, site):
        """Damages every pack of the site in its middle."""
        base = os.path.join(fleet.data(site), "datasets")
        for pack in f.files_under(base):
            if pack.endswith(b".pack") and os.path.getsize(pack) > 200_000:
                with open(pack, "r+b") as file:
                    file.seek(os.path.getsize(pack) // 2)
                    file.write(b"\0" * 64)

    def outputs(self, fleet, name):
        """What the coordinator says to whoever asks it."""
        commands = [["status"], ["get", "datasets"], ["get", "dataset", name], ["get", "replicas"], ["get", "sites"], ["get", "transfers"],
                    ["describe", "dataset", name], ["describe", "site", "core"], ["describe", "site", "cloud-us"], ["events", "--limit", "1000"],
                    ["transfer", "list"], ["dataset", "versions", name], ["why", name, "core"], ["why", name, "cloud-us"],
                    ["get", "evictions"], ["dataset", "holds"], ["policy", "history"]]
        for command in commands:
            for form in ([], ["-o", "json"]):
                result = fleet.cli(*command, *form, expect=None)
                yield " ".join(command + form), result.text

    def found(self, fleet, places, word):
        needle = word.encode()
        hits = []
        for place in places:
            hits += f.contains(place, needle) if os.path.isdir(place) else ([place] if needle in f.read(place) else [])
            if os.path.isdir(place):
                hits += [os.path.join(os.fsdecode(d), os.fsdecode(n)) for d, folders, files in os.walk(os.fsencode(place))
                         for n in folders + files if needle in n]
        return hits

    def test_planted_names_stay_with_who_may_have_them(self):
        # Too small a place at core: laying out fails in the middle of a file.
        with f.Fleet() as fleet, self.mounted(os.path.join(fleet.data("core"), "replicas"), "size=128k") as small:
            name = "charts"
            source = fleet.path("source")
            folder = self.make_source(source)
            f.write(os.path.join(fleet.data("core"), "hooks", "on-version"), "#!/bin/sh\nexit 3\n", mode=0o755)
            fleet.apply(f.documents(f.TIGHT_LAW, f.replication_yaml(),
                                    f.dataset_yaml(name, source, spec="commit: {onRequest: true}\nignore: ['*.tmp']")))
            self.fail_to_commit(fleet, name, source, folder)
            last = max(int(v["number"]) for v in f.rows_of(fleet.json("dataset", "versions", name)))
            # A place that is denied, a tree that cannot be laid out: told by count and code, the name to who asks at the site.
            f.wait_until(lambda: "layout-failed" in fleet.log("core"), what="laying out failed")
            self.assertIn("acme/eu-data-stays", fleet.cli("why", name, "cloud-us", expect=None).text)
            found = fleet.cli("dataset", "verify", name, "--site", "core", expect=None)
            self.assertIn(WORDS["rotten"], found.text, "who asks the agent is told which file it was")
            subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
            f.wait_until(lambda: os.path.islink(fleet.current("core", name)), timeout=90, what="laid out once there is room")
            f.wait_until(lambda: "hook-failed" in fleet.log("core"), what="the hook failed")

            # Everything one does with a dataset.
            f.write(os.path.join(folder, WORDS["later"]), random.Random(2).randbytes(50_000))
            fleet.commit(name, wait=False)
            fleet.wait_version(name, last + 1, "core")
            fleet.cli("dataset", "diff", name, str(last), str(last + 1))
            fleet.cli("dataset", "checkout", name, str(last), fleet.path("out"), "--site", "core")
            fleet.cli("dataset", "checkout", name, str(last), fleet.path("out"), "--site", "core", expect=None)  # not empty
            fleet.cli("dataset", "rollback", name, str(last), "--site", "core", expect=None)
            fleet.cli("dataset", "verify", name, "--site", "factory")
            twin = [p for p in f.files_under(fleet.current("core", name) + "/") if os.fsencode("a-" + WORDS["twin"]) in p]
            with open(twin[0], "r+b") as file:
                file.write(b"two")
            spoilt = fleet.cli("dataset", "verify", name, "--site", "core", expect=None)
            self.assertIn(WORDS["twin"], spoilt.text)

            # A site that had it and lost the right to it keeps no name of it either.
            fleet.apply(f.LOOSE_LAW)
            fleet.wait_version(name, last + 1, "cloud-us")
            f.wait_until(lambda: os.path.islink(fleet.current("cloud-us", name)), what="laid out in the us")
            self.assertTrue(self.found(fleet, [os.path.join(fleet.data("cloud-us"), "replicas")], WORDS["file"]), "the search finds names")
            self.rot(fleet, "cloud-us")
            fleet.cli("dataset", "verify", name, "--site", "cloud-us", expect=f.FAILED)
            fleet.apply(f.TIGHT_LAW)
            f.wait_until(lambda: [e for e in f.rows_of(fleet.json("get", "evictions", name, "--site", "cloud-us"))
                                  if e["state"] == "erased"], what="erased in the us")

            logs = [os.path.join(fleet.dir, "coordinator.log")] + [
                os.path.join(fleet.dir, "sites", site + ".log") for site in ("factory", "core", "cloud-us")]
            nameless = logs + [os.path.join(fleet.dir, "coordinator"), fleet.data("cloud-us")] + [
                os.path.join(fleet.data(site), "audit") for site in ("factory", "core")]
            outputs = list(self.outputs(fleet, name))
            for place in nameless:
                self.assertTrue(os.path.exists(place), place)
            self.assertTrue(f.contains(os.path.join(fleet.dir, "coordinator"), name.encode()), "the search reads contents")
            self.assertTrue(any(name in text for _, text in outputs))
            for kind, word in WORDS.items():
                with self.subTest(kind=kind):
                    self.assertEqual(self.found(fleet, nameless, word), [])
                    self.assertEqual([command for command, text in outputs if word in text], [])
            fleet.dev("stop", "coordinator")                              # whatever it writes at its end
            for kind, word in WORDS.items():
                self.assertEqual(self.found(fleet, [os.path.join(fleet.dir, "coordinator"), logs[0]], word), [], kind)


if __name__ == "__main__":
    f.main()
