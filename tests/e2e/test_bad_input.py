"""What people get wrong, and what they read then: one clear sentence, the documented exit code, nothing lost."""
import ctypes
import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import fleet as f

# arguments, exit code, what the message must say (a regular expression over stdout and stderr together)
COMMANDS = [
    ([], f.USAGE, r"(?i)usage|subcommand|command"),
    (["frobnicate"], f.USAGE, r"frobnicate"),
    (["get"], f.USAGE, r"(?i)kind"),
    (["get", "unicorns"], f.USAGE, r"unicorns"),
    (["get", "datset"], f.USAGE, r"(?i)dataset"),
    (["status", "--nonsense"], f.USAGE, r"--nonsense"),
    (["status", "-o", "xml"], f.USAGE, r"xml.*json|json.*xml"),
    (["get", "dataset", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["describe", "site", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["delete", "dataset", "nosuch", "--yes"], f.NOT_FOUND, r"nosuch"),
    (["dataset"], f.USAGE, r"(?i)commit|subcommand"),
    (["dataset", "commit"], f.USAGE, r"(?i)name|required"),
    (["dataset", "commit", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["dataset", "versions", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["dataset", "verify", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["dataset", "rollback", "good", "minus-one"], f.USAGE, r"minus-one"),
    (["dataset", "rollback", "good", "42"], f.NOT_FOUND, r"42"),
    (["dataset", "diff", "good", "1", "42"], f.NOT_FOUND, r"42"),
    (["dataset", "checkout", "good", "42", "/tmp/bw-nowhere"], f.NOT_FOUND, r"42"),
    (["wait", "dataset", "good", "--version", "42", "--site", "core", "--timeout", "1s"], f.UNAVAILABLE, r"(?i)42|time"),
    (["wait", "dataset", "good", "--version", "1", "--site", "nosuch", "--timeout", "1s"], f.NOT_FOUND, r"nosuch"),
    (["wait", "dataset", "good", "--version", "1", "--site", "core", "--timeout", "soon"], f.USAGE, r"soon"),
    (["why", "nosuch", "core"], f.NOT_FOUND, r"nosuch"),
    (["why", "good", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["policy", "explain", "--dataset", "nosuch", "--from", "factory", "--to", "core"], f.NOT_FOUND, r"nosuch"),
    (["policy", "explain", "--dataset", "good", "--from", "factory", "--to", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["policy", "explain", "--dataset", "good"], f.USAGE, r"--from|--to"),
    (["apply", "-f", "/nonexistent/file.yaml"], f.NOT_FOUND, r"/nonexistent/file.yaml"),
    (["apply"], f.USAGE, r"-f|--file"),
    (["site", "join-token", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["--context", "/nonexistent", "status"], f.NOT_FOUND, r"/nonexistent"),
    (["dev", "up", "--dir", "/tmp/bw-never", "--site", "nonsense"], f.USAGE, r"nonsense"),
    (["dev", "kill", "nosuch"], f.NOT_FOUND, r"nosuch"),
    (["dev", "status", "--dir", "/nonexistent"], f.NOT_FOUND, r"/nonexistent"),
]

HEAD = "apiVersion: bailiwick/v1\n"
SITE_HEAD = HEAD + "kind: Site\nmetadata: {name: extra}\n"
DATASET_HEAD = HEAD + 'kind: Dataset\nmetadata: {name: extra, labels: {class: telemetry, pii: "no"}}\n'
LAW_HEAD = HEAD + "kind: SovereigntyPolicy\nmetadata: {name: extra}\nspec:\n  rules:\n"
# YAML, what the message must say. Each is exit 2 (usage) or 1, and the catalog stays as it was.
YAML = [
    ("kind: [unclosed", r":\d+:\d+: "),
    ("just text", r":\d+:\d+: "),
    ("\tkind: tab", r":\d+:\d+: "),
    ("kind: Region\nmetadata: {name: x}\n", r"apiVersion"),
    ("apiVersion: bailiwick/v9\nkind: Region\nmetadata: {name: x}\n", r":1:\d+: .*bailiwick/v1"),
    (HEAD + "kind: Regoin\nmetadata: {name: x}\n", r":2:\d+: .*Region"),
    (HEAD + "kind: Region\n", r"metadata"),
    (HEAD + "kind: Region\nmetadata: {name: \"\"}\nspec: {}\n", r"name"),
    (HEAD + "kind: Region\nmetadata: {name: eu//x}\nspec: {}\n", r"eu//x"),
    (HEAD + "kind: Region\nmetadata: {name: nowhere/child}\nspec: {}\n", r"nowhere"),
    (SITE_HEAD + "spec: {region: eu/atlantis}\n", r"eu/atlantis"),
    (SITE_HEAD + "spec: {region: eu/de, regoin: eu}\n", r":4:\d+: .*regoin.*region"),
    (SITE_HEAD + "spec: {region: eu/de, dial: sideways}\n", r"sideways.*outbound-only"),
    (SITE_HEAD + "spec: {region: eu/de, region: eu}\n", r"(?i)twice|duplicate"),
    (SITE_HEAD + "spec: {region: eu/de, replicaPath: relative/path}\n", r"(?i)absolute"),
    (SITE_HEAD + "spec: [not, a, map]\n", r":4:\d+: "),
    (DATASET_HEAD + "spec: {home: {site: factory, path: relative}}\n", r"(?i)absolute"),
    (DATASET_HEAD + "spec: {home: {site: nosuch, path: /x}}\n", r"nosuch"),
    (DATASET_HEAD + "spec: {home: {path: /x}}\n", r"site"),
    (DATASET_HEAD + "spec: {home: {site: factory, siteSelector: {}, path: /x}}\n", r"siteSelector|site"),
    (DATASET_HEAD + "spec: {home: {site: factory, path: /x}, chunkSize: 3 parsecs}\n", r"parsecs"),
    (DATASET_HEAD + "spec: {home: {site: factory, path: /x}, chunkSize: 1KiB}\n", r"16 ?KiB"),
    (DATASET_HEAD + "spec: {home: {site: factory, path: /x}, commit: {every: soon}}\n", r"soon"),
    (DATASET_HEAD + "spec: {home: {site: factory, path: /x}, ingest: teleport}\n", r"teleport"),
    (DATASET_HEAD.replace("name: extra", "name: \"../../etc\"") + "spec: {home: {site: factory, path: /x}}\n", r"name"),
    (HEAD + "kind: ReplicationPolicy\nmetadata: {name: extra}\nspec: {select: {}, to: [{site: nosuch}]}\n", r"nosuch"),
    (HEAD + "kind: ReplicationPolicy\nmetadata: {name: extra}\nspec: {select: {}, to: [{region: mars}]}\n", r"mars"),
    (HEAD + "kind: ReplicationPolicy\nmetadata: {name: extra}\nspec: {select: {}, to: [{site: core, region: eu}]}\n", r"site|region"),
    (HEAD + "kind: ReplicationPolicy\nmetadata: {name: extra}\nspec: {select: {}, to: [{site: core, copies: -1}]}\n", r"-1|copies"),
    (LAW_HEAD + "  - {id: a, effect: allow}\n", r"allow.*permit"),
    (LAW_HEAD + "  - {id: a, effect: permit, to: {in: [mars]}}\n", r"mars"),
    (LAW_HEAD + "  - {id: a, effect: permit, to: {in: ['set:nosuch']}}\n", r"nosuch"),
    (LAW_HEAD + "  - {id: a, effect: permit, obligations: [{maxJumps: 2}]}\n", r"maxJumps"),
    (LAW_HEAD + "  - {id: a, effect: permit, actions: [teleport]}\n", r"teleport"),
    (LAW_HEAD + "  - {id: a, effect: permit}\n  - {id: a, effect: forbid}\n", r"(?i)\ba\b"),
    (LAW_HEAD + "  - {effect: permit}\n", r"\bid\b"),
]


class Commands(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = f.make_tree(cls.fleet.path("good"), files=8)
        cls.fleet.apply(f.dataset_yaml("good", cls.source))
        cls.fleet.commit("good")

    def one_sentence(self, result):
        """No stack of prefixes, no page of text: at most a few lines on stderr, none of them a dump."""
        self.assertNotRegex(result.text, r"terminate called|Segmentation|absl::|INTERNAL:|UNKNOWN:|(?i:assert)")
        self.assertLessEqual(len(result.err.strip().split("\n")), 12, result)

    def test_command_lines(self):
        for arguments, code, message in COMMANDS:
            with self.subTest(arguments=" ".join(arguments)):
                if arguments[:1] == ["dev"] and "--dir" not in arguments:
                    arguments = arguments + ["--dir", self.fleet.dir]
                result = self.fleet.cli(*arguments, expect=None)
                self.assertEqual(result.code, code, result)
                self.assertRegex(result.text, message)
                self.one_sentence(result)

    def test_yaml(self):
        before = self.fleet.cli("get", "all", "-o", "yaml", expect=None).out
        for text, message in YAML:
            with self.subTest(yaml=text):
                result = self.fleet.apply(text, expect=None)
                self.assertIn(result.code, (f.FAILED, f.USAGE), result)
                self.assertRegex(result.text, message)
                self.assertNotRegex(result.text, r"terminate called|absl::|INTERNAL:")
        self.assertEqual(self.fleet.cli("get", "all", "-o", "yaml", expect=None).out, before)

    def test_every_error_of_a_file_has_its_place(self):
        path = self.fleet.path("two-errors.yaml")
        f.write(path, SITE_HEAD + "spec:\n  region: eu/de\n  regoin: eu\n  dial: sideways\n")
        result = self.fleet.cli("apply", "-f", path, expect=None)
        self.assertRegex(result.text, r"two-errors\.yaml:6:\d+: .*regoin")
        self.assertRegex(result.text, r"two-errors\.yaml:7:\d+: .*sideways")

    def test_versions_and_help(self):
        for binary in (f.CLI, f.AGENT, f.COORDINATOR):
            version = f.run([binary, "--version"])
            self.assertEqual(version.code, f.OK)
            self.assertRegex(version.out, r"\d+\.\d+\.\d+")
            helped = f.run([binary, "--help"])
            self.assertEqual(helped.code, f.OK)
            self.assertGreater(len(helped.out.split("\n")), 5)
            wrong = f.run([binary, "--nonsense"])
            self.assertEqual(wrong.code, f.USAGE, wrong)
            self.assertRegex(wrong.text, "--nonsense|(?i:subcommand)")

    def test_what_cannot_be_written_is_no_success(self):
        site = os.path.join(self.fleet.dir, "sites", "core")
        for command in ((f.CLI, "status"), (f.CLI, "--help"), (f.AGENT, "--version"), (f.AGENT, "check-config", "--example"),
                        (f.AGENT, "status", "--json", "--data-dir", site), (f.AGENT, "certificate", "--data-dir", site),
                        (f.AGENT, "key", "list", "--data-dir", site), (f.AGENT, "doctor", "--data-dir", site),
                        (f.COORDINATOR, "check-config", "--example"), (f.COORDINATOR, "--help")):
            with self.subTest(command[1:]), open("/dev/full", "wb") as full:
                done = subprocess.run(command, env=self.fleet.env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
                self.assertEqual(done.returncode, f.FAILED, done.stderr)
                if "doctor" not in command:
                    self.assertEqual(done.stderr, f"{os.path.basename(command[0])}: cannot write to standard output\n")

    def test_no_context(self):
        env = {k: v for k, v in os.environ.items() if k not in ("BAILIWICK_CONTEXT",)}
        env["HOME"] = self.fleet.path("nobody")
        result = f.run([f.CLI, "status"], env=env)
        self.assertEqual(result.code, f.NOT_FOUND, result)
        self.assertRegex(result.err, r"BAILIWICK_CONTEXT|--context")


class Sources(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def dataset(self, name, files=6):
        source = self.fleet.path(name)
        f.make_tree(source, files=files)
        self.fleet.apply(f.dataset_yaml(name, source))
        return source

    def refused(self, name, message, codes=(f.CONFLICT,), *arguments):
        result = self.fleet.commit(name, *arguments, wait=False, expect=None)
        self.assertIn(result.code, codes, result)
        self.assertRegex(result.text, message)
        return result

    def untouched(self, name, number):
        rows = f.rows_of(self.fleet.json("dataset", "versions", name))
        self.assertEqual([int(r["number"]) for r in rows][:1], [number] if number else [])

    def test_missing_source(self):
        self.fleet.apply(f.dataset_yaml("missing", "/nonexistent/source"))
        self.refused("missing", r"/nonexistent/source", (f.NOT_FOUND,))
        self.untouched("missing", 0)

    def test_vanished_source_deletes_nothing(self):
        source = self.dataset("vanished")
        self.fleet.commit("vanished")
        self.fleet.wait_version("vanished", 1, "core")
        os.rename(source, source + ".away")
        self.refused("vanished", re.escape(source), (f.NOT_FOUND,))
        os.mkdir(source)                                        # as an unmounted disk leaves it
        self.refused("vanished", r"(?i)empty")
        self.untouched("vanished", 1)
        self.assertFalse(f.differences(source + ".away", self.fleet.current("core", "vanished")))
        self.assertEqual(self.fleet.commit("vanished", "--allow-empty").code, f.OK)
        os.rmdir(source)
        os.rename(source + ".away", source)
        self.fleet.commit("vanished")
        self.fleet.wait_version("vanished", 3, "core")
        f.wait_until(lambda: not f.differences(source, self.fleet.current("core", "vanished")), what="it is all back")

    def test_empty_source_never_becomes_a_first_version(self):
        os.makedirs(self.fleet.path("void"))
        self.fleet.apply(f.dataset_yaml("void", self.fleet.path("void")))
        self.refused("void", r"(?i)empty")
        self.untouched("void", 0)

    def test_the_agents_own_directories_are_no_source(self):
        data = self.fleet.data("factory")
        os.symlink(data, self.fleet.path("link"))
        own = {"itself": data, "in-it": os.path.join(data, "identity"), "above-it": self.fleet.dir, "linked": self.fleet.path("link"),
               "replicas": os.path.join(data, "replicas")}
        for name, path in own.items():
            os.makedirs(path, exist_ok=True)
            self.fleet.apply(f.dataset_yaml(name, path))
            said = self.refused(name, r"agent's own")
            self.assertIn(path, said.text)
            self.assertIn(data, said.text)
            self.untouched(name, 0)
        # The path is no law: neither is it of a dataset that there is already.
        source = self.dataset("turned")
        self.fleet.commit("turned")
        self.fleet.wait_version("turned", 1, "core")
        self.fleet.apply(f.dataset_yaml("turned", data))
        self.refused("turned", r"agent's own")
        self.untouched("turned", 1)
        self.fleet.apply(f.dataset_yaml("turned", self.fleet.base,
                                        spec=f'commit: {{onRequest: true}}\nignore: ["/*", "!/{os.path.basename(source)}/"]'))
        self.assertEqual(self.fleet.commit("turned").code, f.OK)     # what is left out is not in the way
        self.fleet.wait_version("turned", 2, "core")
        self.assertEqual(os.listdir(self.fleet.current("core", "turned")), [os.path.basename(source)])

    def test_a_mount_leads_nowhere_else(self):
        source = self.dataset("mounted")
        self.fleet.commit("mounted")
        inside = os.path.join(source, "inside")
        os.makedirs(inside)
        subprocess.run(["mount", "--bind", os.path.join(self.fleet.data("factory"), "identity"), inside], check=True)
        try:
            for more in ((), ("--scan",), ("--dry-run", "--scan")):
                said = self.fleet.cli("dataset", "commit", "mounted", *more, expect=f.CONFLICT)
                self.assertIn(inside, said.text)
                self.assertIn("agent's own", said.text)
        finally:
            subprocess.run(["umount", inside], check=True)
        self.fleet.commit("mounted")

    def test_directories_without_files_are_as_empty(self):
        source = self.dataset("hollow")
        self.fleet.commit("hollow")
        self.fleet.wait_version("hollow", 1, "core")
        subprocess.run(["find", source, "-not", "-type", "d", "-delete"], check=True)
        for more in ((), ("--scan",), ("--dry-run",)):
            self.refused("hollow", r"--allow-empty", (f.CONFLICT,), *more)
        f.remove_tree(source)
        os.makedirs(os.path.join(source, "lost+found"))      # a new disk
        self.refused("hollow", r"--allow-empty")
        self.untouched("hollow", 1)
        self.fleet.commit("hollow", "--allow-empty")
        self.fleet.wait_version("hollow", 2, "core")
        self.assertEqual(os.listdir(self.fleet.current("core", "hollow")), ["lost+found"])

    def test_a_file_system_inside_that_is_not_mounted_deletes_nothing(self):
        source = self.dataset("disks")
        inside = os.path.join(source, "disk2")
        os.makedirs(inside)

        def mount():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", inside], check=True)

        def unmount():
            subprocess.run(["umount", inside], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", inside], stderr=subprocess.DEVNULL)
        mount()
        f.write(os.path.join(inside, "drive"), b"1")
        self.fleet.commit("disks")
        self.fleet.wait_version("disks", 1, "core")
        f.write(os.path.join(source, "beside"), b"1")
        unmount()
        for more in ((), ("--scan",), ("--dry-run",)):
            self.refused("disks", re.escape(inside) + ".*--allow-empty", (f.CONFLICT,), *more)
        f.write(os.path.join(inside, ".placeholder"))
        self.refused("disks", re.escape(inside) + ".*--allow-empty", (f.CONFLICT,))
        os.remove(os.path.join(inside, ".placeholder"))
        self.fleet.restart("factory")
        self.refused("disks", re.escape(inside))
        self.untouched("disks", 1)
        mount()
        f.write(os.path.join(inside, "drive"), b"2")
        self.fleet.commit("disks", "--scan")
        self.fleet.wait_version("disks", 2, "core")
        unmount()
        self.fleet.commit("disks", "--allow-empty")
        self.fleet.wait_version("disks", 3, "core")
        f.wait_until(lambda: not f.differences(source, self.fleet.current("core", "disks")), what="it was meant")
        mount()   # over what is watched
        f.write(os.path.join(inside, "drive"), b"3")
        self.fleet.commit("disks")
        self.fleet.wait_version("disks", 4, "core")
        f.wait_until(lambda: not f.differences(source, self.fleet.current("core", "disks")), what="it came")

    def test_a_part_of_the_same_disk_that_is_mounted_inside(self):
        """As bind mounts and volumes of containers are: no other device says so."""
        source = self.dataset("bound")
        beside = self.fleet.path("beside")
        inside, one = os.path.join(source, "part"), os.path.join(source, "one")
        os.makedirs(inside)
        for path in (os.path.join(beside, "part", "drive"), os.path.join(beside, "one")):
            f.write(path, b"1")
        f.write(one, b"under it")
        for name, at in (("part", inside), ("one", one)):
            subprocess.run(["mount", "--bind", os.path.join(beside, name), at], check=True)
            self.addCleanup(subprocess.run, ["umount", "-l", at], stderr=subprocess.DEVNULL)
        self.fleet.commit("bound")
        self.fleet.wait_version("bound", 1, "core")
        f.write(os.path.join(beside, "one"), b"2")
        f.write(os.path.join(beside, "part", "drive"), b"2")
        self.fleet.commit("bound")
        self.fleet.wait_version("bound", 2, "core")
        f.wait_until(lambda: not f.differences(source, self.fleet.current("core", "bound")), what="what was written beside it is there")
        subprocess.run(["umount", inside], check=True)
        for more in ((), ("--scan",)):
            self.refused("bound", re.escape(inside) + ".*--allow-empty", (f.CONFLICT,), *more)
        self.untouched("bound", 2)
        subprocess.run(["mount", "--bind", os.path.join(beside, "part"), inside], check=True)
        f.write(os.path.join(source, "more"), b"3")
        self.fleet.commit("bound")
        self.fleet.wait_version("bound", 3, "core")

    def test_a_source_with_a_file_system_that_does_not_tell_all_is_scanned(self):
        source = self.dataset("remote")
        inside = os.path.join(source, "share")
        os.makedirs(inside)
        subprocess.run(["mount", "-t", "ramfs", "ramfs", inside], check=True)   # of a kind that nobody answers for
        self.addCleanup(subprocess.run, ["umount", "-l", inside], stderr=subprocess.DEVNULL)
        f.write(os.path.join(inside, "drive"), b"1")
        self.fleet.commit("remote")
        self.assertRegex(self.fleet.log("factory"), "source-not-watched.*mounted in the source does not tell all changes")

    def test_a_file_system_that_goes_while_it_is_read_deletes_nothing(self):
        source = self.dataset("going")
        inside = os.path.join(source, "z")  # comes last
        os.makedirs(inside)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", inside], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", inside], stderr=subprocess.DEVNULL)
        f.write(os.path.join(inside, "drive"), b"1")
        self.fleet.commit("going")
        self.fleet.wait_version("going", 1, "core")
        for n in range(40_000):
            f.write(os.path.join(source, "a", str(n)), b"%d " % n * 200)
        before = f.pack_bytes(self.fleet, "factory")
        with subprocess.Popen([f.CLI, "dataset", "commit", "going", "--scan"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env=self.fleet.env) as commit:
            f.wait_until(lambda: f.pack_bytes(self.fleet, "factory") > before, what="the commit reads", step=0.005)
            subprocess.run(["umount", inside], check=True)
            said = commit.communicate()[0]
        self.assertEqual(commit.returncode, f.CONFLICT, said)
        self.assertRegex(said, re.escape(inside) + " was unmounted while it was read")
        self.untouched("going", 1)

    def test_a_source_on_a_disk_that_is_not_mounted_deletes_nothing_whatever_lies_in_its_place(self):
        disk = self.fleet.path("disk")
        source = os.path.join(disk, "recordings")
        f.write(os.path.join(source, "early"), b"of a recorder that did not wait for the mount")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", disk], stderr=subprocess.DEVNULL)
        for name in ("a", "b"):
            f.write(os.path.join(source, name), b"1")
        self.fleet.apply(f.dataset_yaml("recordings", source))
        self.fleet.commit("recordings")
        self.fleet.wait_version("recordings", 1, "core")
        subprocess.run(["umount", disk], check=True)
        for more in ((), ("--scan",), ("--dry-run",)):
            self.refused("recordings", "mounted at " + re.escape(disk) + " .*--allow-empty", (f.CONFLICT,), *more)
        self.fleet.restart("factory")
        self.refused("recordings", "mounted at " + re.escape(disk))
        self.untouched("recordings", 1)
        self.fleet.commit("recordings", "--allow-empty")
        self.fleet.wait_version("recordings", 2, "core")
        f.wait_until(lambda: not f.differences(source, self.fleet.current("core", "recordings")), what="it was meant")

    def test_a_source_that_is_not_mounted_deletes_nothing_whatever_lies_in_its_place(self):
        source = self.dataset("volume")

        def mount():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", source], check=True)

        def unmount():
            subprocess.run(["umount", source], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", source], stderr=subprocess.DEVNULL)
        files = [os.path.join(source, name) for name in ("drive", "log")]
        for path in f.files_under(source):
            os.remove(path)
        mount()
        for path in files:
            f.write(path, b"1")
        self.fleet.commit("volume")
        self.fleet.wait_version("volume", 1, "core")
        unmount()
        f.write(files[1], b"of a service that did not wait for the mount")
        for more in ((), ("--scan",), ("--dry-run",)):
            self.refused("volume", "mounted at source " + re.escape(source) + ".*--allow-empty", (f.CONFLICT,), *more)
        self.fleet.restart("factory")
        self.refused("volume", re.escape(source))
        self.untouched("volume", 1)
        f.write(files[0], b"2")   # all of it is there again, without the mount
        self.fleet.commit("volume")
        self.fleet.wait_version("volume", 2, "core")
        os.remove(files[0])       # from here on it is a directory like any other
        self.fleet.commit("volume")
        self.fleet.wait_version("volume", 3, "core")

    def test_a_link_in_the_place_of_the_source_is_not_followed(self):
        source = self.dataset("swapped")
        self.fleet.commit("swapped")
        self.fleet.wait_version("swapped", 1, "core")
        os.rename(source, source + ".away")
        os.symlink("/etc/ssl", source)
        for more in ((), ("--scan",), ("--dry-run",)):
            self.refused("swapped", re.escape(source) + ".*symbolic link", (f.CONFLICT,), *more)
        self.untouched("swapped", 1)
        os.remove(source)
        os.symlink(source + ".away", source)
        self.refused("swapped", re.escape(source) + ".*symbolic link")
        self.fleet.apply(f.dataset_yaml("swapped", source + ".away"))
        f.write(os.path.join(source, "more"), b"1")
        self.fleet.commit("swapped")
        self.fleet.wait_version("swapped", 2, "core")

    def test_a_message_that_is_too_long_is_the_callers_mistake(self):
        self.dataset("talkative")
        for more in ((), ("--dry-run",)):
            self.refused("talkative", r"message .* at most 4096 bytes, not 4097", (f.USAGE,), "-m", "m" * 4097, *more)
        self.untouched("talkative", 0)
        self.fleet.commit("talkative", "-m", "m" * 4096)
        self.refused("talkative", r"at most 4096 bytes", (f.USAGE,), "-m", "ü" * 2049)
        self.assertNotIn("failed", self.fleet.cli("get", "replicas", "talkative").out)    # it is no problem of the dataset's

    def test_source_that_is_a_file(self):
        path = f.write(self.fleet.path("plain"), b"x")
        self.fleet.apply(f.dataset_yaml("plain", path))
        self.refused("plain", r"(?i)not a directory")

    def test_changing_file_is_named(self):
        source = self.dataset("busy", files=2)
        path = os.path.join(source, "growing.log")
        f.write(path, random.Random(1).randbytes(48 << 20))   # takes a while to read
        stop = threading.Event()

        def grow():
            with open(path, "ab", buffering=0) as file:
                while not stop.is_set():
                    file.write(b"x" * 4096)
                    time.sleep(0.0005)
        writer = threading.Thread(target=grow)
        writer.start()
        try:
            result = self.refused("busy", r"growing\.log")
            self.assertRegex(result.text, r"--allow-changing")
            self.untouched("busy", 0)
            self.fleet.commit("busy", "--allow-changing", wait=False)
            self.untouched("busy", 1)
        finally:
            stop.set()
            writer.join()

    def test_times_that_have_no_number_become_the_nearest(self):
        source = self.dataset("times", files=1)
        for name, year in (("far", 3000), ("long-ago", 1)):
            f.write(os.path.join(source, name), b"x")
            os.utime(os.path.join(source, name), ns=(0, (year - 1970) * 31_556_952 * 10**9))
        kept = [name for name in ("far", "long-ago") if abs(os.stat(os.path.join(source, name)).st_mtime) > 10**10]
        self.assertTrue(kept, "the file system knows such times")
        self.fleet.commit("times")
        self.fleet.verify("times", "core")
        copies = {name: os.stat(self.fleet.replica("core", "times", "current", name)).st_mtime_ns for name in kept}
        self.assertEqual(copies, {name: {"far": 2**63 - 1, "long-ago": -2**63}[name] for name in kept})

    def test_what_the_file_system_keeps_from_the_agent_is_no_law(self):
        source = self.dataset("closed", files=2)
        secret = f.write(os.path.join(source, "secret"), b"x", mode=0)

        def as_others():   # what root may beyond that is not for services
            for capability in (1, 2):    # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
                ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)    # PR_CAPBSET_DROP
        self.fleet.dev("stop", "factory")
        try:
            with f.background([f.AGENT, "run", "--data-dir", self.fleet.data("factory")], self.fleet.path("factory.log"),
                              preexec_fn=as_others):
                f.wait_until(lambda: self.fleet.cli("wait", "site", "factory", "--timeout", "1s", expect=None).code == f.OK, what="it is there")
                f.wait_until(lambda: self.fleet.commit("closed", wait=False, expect=None).code != f.UNAVAILABLE, what="it answers")
                self.refused("closed", re.escape(secret) + ".*Permission denied", (f.FAILED,))
        finally:
            self.fleet.dev("start", "factory")
        self.untouched("closed", 0)

    def test_delete_of_a_dataset_leaves_the_source_alone(self):
        source = self.dataset("deleted")
        self.fleet.commit("deleted")
        before = f.fingerprint(source)
        self.fleet.cli("delete", "dataset", "deleted", "--yes")
        self.fleet.cli("get", "dataset", "deleted", expect=f.NOT_FOUND)
        self.assertEqual(f.fingerprint(source), before)


class Machines(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def test_coordinator_down(self):
        self.fleet.dev("stop", "coordinator")
        try:
            result = self.fleet.cli("status", expect=f.UNAVAILABLE)
            self.assertRegex(result.err, r"(?i)coordinator")
            self.assertLess(result.seconds, 40)
        finally:
            self.fleet.dev("start", "coordinator")

    def test_home_agent_down(self):
        source = f.make_tree(self.fleet.path("downhome"), files=3)
        self.fleet.apply(f.dataset_yaml("downhome", source))
        self.fleet.dev("stop", "factory")
        try:
            result = self.fleet.commit("downhome", expect=f.UNAVAILABLE)
            self.assertIn("factory", result.err)
        finally:
            self.fleet.dev("start", "factory")

    def test_a_second_agent_on_the_same_data_directory(self):
        result = f.run([f.AGENT, "run", "--data-dir", self.fleet.data("core")], timeout=30)
        self.assertEqual(result.code, f.CONFLICT, result)
        self.assertRegex(result.text, r"(?i)lock|another|in use|running")

    def test_token_works_once(self):
        self.fleet.apply(HEAD + "kind: Site\nmetadata: {name: new}\nspec: {region: eu/de}\n")
        token = self.fleet.cli("site", "join-token", "new").out.strip().split("\n")[-1].split()[-1]
        self.assertRegex(token, r"^bwj1\.")
        one, two = self.fleet.path("join-1"), self.fleet.path("join-2")
        first = f.run([f.AGENT, "join", "--data-dir", one, "--join", token], timeout=30)
        self.assertEqual(first.code, f.OK, first)
        second = f.run([f.AGENT, "join", "--data-dir", two, "--join", token], timeout=30)
        self.assertIn(second.code, (f.FAILED, f.DENIED, f.CONFLICT), second)
        self.assertRegex(second.text, r"(?i)token")

    def test_tokens_that_are_no_tokens(self):
        for token in ("nonsense", "bwj1.", "bwj1.AAAA", "bwj1.!!!!"):
            with self.subTest(token=token):
                result = f.run([f.AGENT, "join", "--data-dir", self.fleet.path("join-bad"), "--join", token], timeout=30)
                self.assertIn(result.code, (f.FAILED, f.USAGE), result)
                self.assertRegex(result.text, r"(?i)join string|token")

    def test_expired_token(self):
        self.fleet.apply(HEAD + "kind: Site\nmetadata: {name: late}\nspec: {region: eu/de}\n")
        token = self.fleet.cli("site", "join-token", "late", "--ttl", "1s").out.strip().split("\n")[-1].split()[-1]
        time.sleep(1.5)
        result = f.run([f.AGENT, "join", "--data-dir", self.fleet.path("join-late"), "--join", token], timeout=30)
        self.assertIn(result.code, (f.FAILED, f.DENIED), result)
        self.assertRegex(result.text, r"(?i)expired")

    def test_agent_that_never_joined(self):
        never, empty = self.fleet.path("never"), self.fleet.path("empty")
        os.makedirs(empty)
        for directory in (never, empty):
            result = f.run([f.AGENT, "run", "--data-dir", directory], timeout=30)
            self.assertEqual(result.code, f.NOT_FOUND, result)
            self.assertIn("run: bailiwick-agent join --data-dir " + directory, result.text)
        self.assertFalse(os.path.exists(never))     # a mistyped path leaves nothing behind
        self.assertEqual(os.listdir(empty), [])

    def test_port_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            directory = self.fleet.path("coordinator-2")
            made = f.run([f.COORDINATOR, "init", "--data-dir", directory, "--trust-domain", "second.test", "--admin-dir",
                          self.fleet.path("admin-2")], timeout=30)
            self.assertEqual(made.code, f.OK, made)
            result = f.run([f.COORDINATOR, "serve", "--data-dir", directory, "--join-listen", "127.0.0.1:0", "--control-listen",
                            f"127.0.0.1:{port}"], timeout=30)
            self.assertEqual(result.code, f.UNAVAILABLE, result)
            self.assertRegex(result.text, rf"{port}")
            self.assertRegex(result.text, r"(?i)port|address|in use|listen")

    def test_status_of_an_agent_that_is_silent(self):
        """What it said last is shown, and that it may not run any more."""
        with tempfile.TemporaryDirectory() as data:
            never = f.run([f.AGENT, "status", "--data-dir", data])
            self.assertEqual(never.code, f.NOT_FOUND, never)
            for minutes in (0, 10):
                at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60 * minutes))
                f.write(os.path.join(data, "status.json"), '{"site":"core","written":"%s","connected":true}' % at)
                shown = f.run([f.AGENT, "status", "--data-dir", data])
                self.assertEqual(shown.code, f.UNAVAILABLE, shown)
                self.assertIn("site core", shown.out)
                self.assertIn("is it running?" if minutes > 0 else f"no agent runs in {data}", shown.err)
        self.assertEqual(f.run([f.AGENT, "status", "--data-dir", self.fleet.data("core")]).code, f.OK)

    def test_dev_up_again(self):
        """Grows a running fleet; what is there stays as it is."""
        moved = f.run([f.CLI, "dev", "up", "--dir", self.fleet.dir, "--site", "core=us/east"], timeout=60)
        self.assertEqual(moved.code, f.CONFLICT, moved)
        self.assertIn("eu/de", moved.err)
        before = self.fleet.cli("get", "sites").out
        grown = f.run([f.CLI, "dev", "up", "--dir", self.fleet.dir, "--site", "other=eu/de"], timeout=60)
        self.assertEqual(grown.code, f.OK, grown)
        after = self.fleet.cli("get", "sites").out
        self.assertNotIn("other", before)
        self.assertRegex(after, r"other +eu/de .*connected")


if __name__ == "__main__":
    f.main()
