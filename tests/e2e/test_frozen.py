"""What an older build left on disk (frozen/*.tar.xz, made by frozen/freeze.py) opens with this one, is whole, and goes on.

The clocks of the processes stand at the day on which it was frozen (BAILIWICK_TEST_CLOCK), so that its certificates and its law are as
old as they were then."""
import contextlib
import glob
import json
import os
import re
import sqlite3
import tempfile
import time
import unittest
from unittest import mock

import fleet as f

FROZEN = os.path.join(f.ROOT, "tests", "e2e", "frozen")
DATABASES = ("coordinator/catalog.db", "sites/factory/agent.db", "sites/core/agent.db")
# What lies in each archive, the newest last. Here so that an archive made anew, or a reader of formats that has become lax, is seen.
FORMATS = {"0.1.0": {
    "format": {"coordinator": 2, "sites/factory": 2, "sites/core": 2},
    "coordinator/catalog.db": 8, "sites/factory/agent.db": 9, "sites/core/agent.db": 9,
    "files": [".idx: BWPIDX0100", ".pack: BWPACK0100", ".sidx: BWPIDX0201", ".spack: BWPACK0201", "bailiwick chunk index 1",
              "bailiwick storage key 1", "bailiwick-slot 1", "key: BWDKEY0101", "run: BWIRUN1", "scan-cache.changes: BWSCHG0001",
              "scan-cache: BWSCAN0001"],
    "audit": {"coordinator": {"format": 2}, "sites/core": {"format": 2}}}}
# The changes of the scan cache are appended, commit by commit.
FORMATS["0.1.0-2"] = {**FORMATS["0.1.0"], "files": [n.replace("BWSCHG0001", "BWSCHG0002").replace("BWSCAN0001", "BWSCAN0002")
                                                    for n in FORMATS["0.1.0"]["files"]]}
# The coordinator knows of machines that wait and of orders that were never given; spent grants are found by their end.
FORMATS["0.1.0-3"] = {**FORMATS["0.1.0-2"], "coordinator/catalog.db": 9, "sites/factory/agent.db": 10, "sites/core/agent.db": 10}
# Receipts of erasures are found by dataset, site and order.
FORMATS["0.1.0-4"] = {**FORMATS["0.1.0-3"], "coordinator/catalog.db": 10}


def kind_of(path):
    """What a file of an agent's is by its name, and by the magic and number in it; empty: no format of ours."""
    folder, name = os.path.split(path)
    text = f.read(path)
    if os.path.basename(folder) == "packs" or name in ("key", "scan-cache", "scan-cache.changes"):
        return f"{os.path.splitext(name)[1] if folder.endswith('packs') else name}: {text[:6].decode()}{text[6:8].hex()}"
    if name.startswith("run-"):
        return f"run: {text[-8:].decode().strip()}"
    if name == "RUNS" or name.endswith(".key") or name.startswith(".slot-"):
        return text.split(b"\n")[0].decode()
    return ""


def formats(directory):
    """{what: format number} of all that lies below a fleet's directory, by the bytes themselves."""
    found = {"format": {n: int(f.read(os.path.join(directory, n, "format"))) for n in ("coordinator", "sites/factory", "sites/core")}}
    for name in DATABASES:
        with sqlite3.connect(f"file:{os.path.join(directory, name)}?mode=ro&immutable=1", uri=True) as db:
            found[name] = db.execute("PRAGMA user_version").fetchone()[0]
        db.close()
    found["files"] = sorted({kind_of(path) for site in ("factory", "core") for path in map(os.fsdecode, f.files_under(
        os.path.join(directory, "sites", site))) if kind_of(path)})
    found["audit"] = {n: json.loads(f.read(os.path.join(directory, n, "audit", "payload", "000")).split(b"\n")[0])["detail"]
                      for n in ("coordinator", "sites/core")}
    return found


def tree(root):
    """{name: what is there} of a directory, whoever may write: to a copy nobody."""
    found = {}
    for folder, folders, names in os.walk(os.fsencode(root)):
        for name in folders + names:
            path = os.path.join(folder, name)
            about = os.lstat(path)
            found[os.path.relpath(path, os.fsencode(root))] = (
                oct(about.st_mode & ~0o222), os.readlink(path) if os.path.islink(path) else f.read(path) if os.path.isfile(path) else None)
    return found


class Frozen(unittest.TestCase):
    def archives(self):
        return sorted(os.path.splitext(os.path.splitext(os.path.basename(p))[0])[0] for p in glob.glob(os.path.join(FROZEN, "*.tar.xz")))

    @classmethod
    def setUpClass(cls):
        """Directories of today's build to compare with."""
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            for process in ("factory", "core", "coordinator"):
                fleet.dev("stop", process)
            cls.today = {k: v for k, v in formats(fleet.dir).items() if k in ("format", *DATABASES)}

    def thaw(self, name):
        base = self.enterContext(tempfile.TemporaryDirectory(prefix="bw-frozen-"))
        unpacked = f.run(["tar", "-xJf", os.path.join(FROZEN, name + ".tar.xz"), "-C", base])
        self.assertEqual(unpacked.code, 0, unpacked)
        return f.Fleet(directory=base), json.loads(f.read(os.path.join(base, "facts.json")))

    @contextlib.contextmanager
    def running(self, fleet, facts):
        """The processes by hand, at ports that are free here, on the day on which it was frozen."""
        clock = f.write(fleet.path("clock"), str(facts["frozenAt"] - int(time.time())))
        coordinator = os.path.join(fleet.dir, "coordinator")
        with mock.patch.dict(os.environ, BAILIWICK_TEST_CLOCK=clock), contextlib.ExitStack() as processes:
            def background(place, *command):
                told = os.path.join(place, "endpoints.json")
                os.remove(told)
                process = processes.enter_context(f.background([*command, "--data-dir", place], place + ".log"))
                f.wait_until(lambda: process.poll() is not None or os.path.exists(told), what="it serves")
                self.assertIsNone(process.poll(), f.read(place + ".log").decode())
                return json.loads(f.read(told))
            control = background(coordinator, f.COORDINATOR, "serve", "--control-listen", "127.0.0.1:0", "--join-listen", "127.0.0.1:0")["control"]
            context = os.path.join(fleet.dir, "context.yaml")
            f.write(context, re.sub(r"(?m)^coordinator:.*$", f"coordinator: {control}", f.read(context).decode()))
            for site in ("factory", "core"):
                background(fleet.data(site), f.AGENT, "run", "--listen", "127.0.0.1:0", "--coordinator", control)
            for site in ("factory", "core"):
                fleet.cli("wait", "site", site, "--timeout", "60s")
            yield

    def test_it_opens_and_goes_on(self):
        self.assertEqual(self.archives(), sorted(FORMATS))
        for name in self.archives():
            with self.subTest(name):
                fleet, facts = self.thaw(name)
                self.assertEqual(formats(fleet.dir), FORMATS[name])
                with self.running(fleet, facts):
                    self.is_whole(fleet, facts)
                    self.goes_on(fleet)
                    self.logs_are_true(fleet)
                self.is_of_today(fleet, name)

    def is_whole(self, fleet, facts):
        for dataset, versions in facts["versions"].items():
            self.assertEqual([{k: v[k] for k in versions[0]} for v in fleet.json("dataset", "versions", dataset)["versions"]], versions)
            for site in ("factory", "core"):
                fleet.verify(dataset, site)
        shown = {(r["dataset"], r["site"]): (r["state"], r["versions"]) for r in f.rows_of(fleet.json("get", "replicas"))}
        self.assertEqual(shown["open", "core"], ("current", [1, 2]), shown)
        out = fleet.path("out")
        fleet.cli("dataset", "checkout", "open", "2", out, "--site", "core")
        wanted = tree(fleet.path("open"))
        self.assertNotIn(b"deep/secret", tree(out))
        del wanted[b"deep/secret"]
        self.assertEqual(tree(out), wanted)
        self.assertEqual(tree(fleet.current("core", "open") + "/"), wanted)
        self.assertIn("raw too", fleet.cli("dataset", "diff", "open", "1", "2", "--site", "core").out)
        self.assertIn("case 4711", fleet.cli("dataset", "holds", "open").out)
        (redaction,) = f.rows_of(fleet.json("get", "redactions"))
        self.assertEqual(redaction["order"], facts["redaction"])
        self.assertEqual([s["state"] for s in redaction["sites"] if s["site"] == "factory"], ["done"])
        explained = fleet.json("policy", "explain", "--dataset", "sealed", "--from", "factory", "--to", "core")
        self.assertEqual((explained["permitted"], explained["actions"][0]["rule"]), (True, "health/health-within-the-eu"))

    def logs_are_true(self, fleet):
        """From the first record on, which was signed then, to what was added now."""
        for more, logs in (((), ["coordinator"]), (("--agents",), ["factory", "core"])):
            trust = fleet.path("trust" + "".join(more))
            f.write(trust, fleet.cli("audit", "trust", *more).out)
            for log in logs:
                out = fleet.path("export-" + log)
                fleet.cli("audit", "export", "--site", log, "--out", out)
                verdict = fleet.json("audit", "verify", out, "--trust", trust, expect=None)
                self.assertIn(verdict["finding"], ("true", "unwitnessed"), verdict)
                self.assertGreater(verdict["records"], 5)

    def goes_on(self, fleet):
        """A version more, of which only what is new travels: what lies there is found and built on."""
        source = fleet.path("open")
        f.write(os.path.join(source, "new"), os.urandom(5000), mtime=1_700_000_002)
        os.remove(os.path.join(source, "deep", "secret"))
        fleet.apply(f.dataset_yaml("open", source))
        fleet.commit("open")
        self.assertLess(fleet.wire_bytes("open", 3, "core"), 12_000)
        self.assertEqual(tree(fleet.current("core", "open") + "/"), tree(source))
        sealed = fleet.path("sealed")
        f.write(os.path.join(sealed, "record"), b"another record\n" * 10, mtime=1_700_000_002)
        fleet.apply(f.dataset_yaml("sealed", sealed, labels="class: health"))
        fleet.commit("sealed", wait=False)
        f.wait_until(lambda: [r["versions"] for r in f.rows_of(fleet.json("get", "replicas", "sealed")) if r["site"] == "core"] == [[1, 2]],
                     what="another sealed version")
        for dataset in ("open", "sealed"):
            for site in ("factory", "core"):
                fleet.verify(dataset, site)

    def is_of_today(self, fleet, name):
        """Its databases are those of this build now. And as long as this one writes what the newest of the archives holds, the build that
        made that one reads it too: a downgrade keeps data."""
        now = formats(fleet.dir)
        for what in DATABASES:
            self.assertEqual(now[what], self.today[what], what)
        if name == list(FORMATS)[-1]:
            frozen = FORMATS[name]
            self.assertLessEqual(set(now.pop("files")), set(frozen["files"]))
            self.assertEqual(now, {k: v for k, v in frozen.items() if k != "files"}, "a format has changed: freeze an archive of this build")


if __name__ == "__main__":
    f.main()
