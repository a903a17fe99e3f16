"""A dataset's life between sites: first version, later ones, every kind of change, rollback, verify, diff, checkout, leases, hooks."""
import json
import os
import random
import shutil
import stat
import subprocess
import time
import unittest

import fleet as f


class Story(f.FleetTest):
    SETUP = f.documents(f.LAW, f.replication_yaml())

    def new(self, name, seed=1, files=120, spec="commit: {onRequest: true}"):
        source = f.make_tree(self.fleet.path(name), seed, files)
        self.fleet.apply(f.dataset_yaml(name, source, spec=spec))
        return source

    def committed(self, name, number, site="core"):
        self.fleet.commit(name)
        self.fleet.wait_version(name, number, site)
        return self.fleet.current(site, name)

    def test_first_version_arrives_equal_in_every_detail(self):
        source = self.new("first")
        current = self.committed("first", 1)
        self.assertTrue(os.path.islink(current))
        self.assertSame(source, current)
        self.assertEqual(os.readlink(os.fsencode(current) + b"/link-to-bytes"), b"\xff\xfe not utf-8")
        self.assertTrue(os.path.isdir(os.path.join(current, "empty", "nested-empty")))

    def test_holes_stay_holes(self):
        source = self.new("holes", files=3)
        current = self.committed("holes", 1)
        for name in ("sparse", "all-hole"):
            info = os.stat(os.path.join(current, name))
            self.assertLess(info.st_blocks * 512, info.st_size // 4, name)
        self.assertSame(source, current)

    def test_laid_out_files_cannot_be_written_by_mistake(self):
        self.new("readonly", files=20)
        current = self.committed("readonly", 1)
        for path in f.files_under(os.path.realpath(current)):
            self.assertFalse(os.stat(path).st_mode & 0o222, path)

    def test_every_kind_of_change_arrives_as_such(self):
        source = self.new("changes", seed=2)
        current = self.committed("changes", 1)
        join = os.path.join
        names = sorted(n for n in os.listdir(source) if n.startswith("file-"))
        os.remove(join(source, names[0]))
        os.rename(join(source, names[1]), join(source, "renamed"))
        os.chmod(join(source, names[2]), 0o711)
        f.write(join(source, names[3]), b"other content")
        os.utime(join(source, names[4]), (1, 1))
        f.write(join(source, "new", "deep", "er", "file"), b"new")
        os.rmdir(join(source, "empty", "nested-empty"))
        os.remove(join(source, "link"))
        os.symlink("elsewhere", join(source, "link"))
        os.remove(join(source, "dangling"))                      # link becomes directory
        os.makedirs(join(source, "dangling", "inside"))
        folder = next(n for n in os.listdir(source) if n.startswith("dir-"))
        shutil.rmtree(join(source, folder))                      # directory becomes file
        f.write(join(source, folder), b"was a directory")
        self.committed("changes", 2)
        self.assertSame(source, current)
        self.assertTrue(stat.S_ISREG(os.lstat(join(current, folder)).st_mode))
        listed = self.fleet.cli("dataset", "diff", "changes", "1", "2").out
        for name in (names[0], "renamed", names[3], "new/deep/er/file"):
            self.assertIn(name, listed)
        self.fleet.verify("changes", "core")
        self.fleet.verify("changes", "factory")

    def test_nothing_changed_makes_no_version(self):
        self.new("still", files=10)
        self.committed("still", 1)
        result = self.fleet.commit("still")
        self.assertRegex(result.text, r"(?i)nothing changed|unchanged|no change")
        versions = f.rows_of(self.fleet.json("dataset", "versions", "still"))
        self.assertEqual([int(v["number"]) for v in versions], [1])

    def test_second_version_costs_what_changed(self):
        source = self.new("delta", seed=3, files=10)
        big = os.path.join(source, "big")
        f.write(big, random.Random(5).randbytes(24 << 20))
        self.committed("delta", 1)
        first = self.fleet.wire_bytes("delta", 1, "core")
        self.assertGreater(first, 24 << 20)
        with open(big, "r+b") as file:
            file.seek(9 << 20)
            file.write(b"twenty bytes changed")
        current = self.committed("delta", 2)
        second = self.fleet.wire_bytes("delta", 2, "core")
        self.assertGreater(second, 20)
        self.assertLess(second, 1 << 20)
        self.assertSame(source, current)

    def test_a_shift_by_one_byte_does_not_resend_the_file(self):
        source = self.fleet.path("shift")
        body = random.Random(6).randbytes(16 << 20)
        f.write(os.path.join(source, "log"), body)
        self.fleet.apply(f.dataset_yaml("shift", source))
        self.committed("shift", 1)
        f.write(os.path.join(source, "log"), b"!" + body)
        self.committed("shift", 2)
        self.assertLess(self.fleet.wire_bytes("shift", 2, "core"), 1 << 20)

    def test_the_largest_chunks_travel_whichever_side_dials(self):
        for dial in ("any", "outbound-only"):
            with self.subTest(dial=dial):
                self.fleet.set_dial("factory", dial)
                name = f"largest-{dial}"
                source = self.fleet.path(name)
                f.write(os.path.join(source, "noise"), random.Random(9).randbytes(48 << 20))   # chunks of 4 MiB and more
                f.write(os.path.join(source, "even"), b"x" * (33 << 20))                       # no place to cut: 16 MiB
                self.fleet.apply(f.dataset_yaml(name, source, spec="chunkSize: 4MiB"))
                self.assertSame(source, self.committed(name, 1))
        self.fleet.set_dial("factory", "any")

    def test_rollback_and_forward_at_one_site_and_everywhere(self):
        source = self.new("back", seed=4, files=30)
        current = self.committed("back", 1)
        before = self.fleet.path("back-1")
        subprocess.run(["cp", "-a", source, before], check=True)
        f.write(os.path.join(source, "added"), b"in version 2")
        self.committed("back", 2)
        sent = self.fleet.wire_bytes("back", 1, "core") + self.fleet.wire_bytes("back", 2, "core")

        self.fleet.cli("dataset", "rollback", "back", "1", "--site", "core")
        f.wait_until(lambda: not os.path.exists(os.path.join(current, "added")), what="core shows version 1")
        self.assertSame(before, current)
        f.write(os.path.join(source, "later"), b"in version 3")
        self.fleet.commit("back", wait=False)
        self.fleet.wait_version("back", 3, "core")              # held, though not shown
        self.assertSame(before, current)

        self.fleet.cli("dataset", "rollback", "back", "2")
        f.wait_until(lambda: os.path.exists(os.path.join(current, "added")), what="core shows version 2")
        self.assertFalse(os.path.exists(os.path.join(current, "later")))
        self.fleet.cli("dataset", "rollback", "back", "latest", "--site", "core")   # one site leaves a rollback of all
        f.wait_until(lambda: os.path.exists(os.path.join(current, "later")), what="core alone follows the newest again")
        self.fleet.cli("dataset", "rollback", "back", "2")
        f.wait_until(lambda: not os.path.exists(os.path.join(current, "later")), what="core shows version 2 again")
        self.fleet.cli("dataset", "rollback", "back", "latest")
        f.wait_until(lambda: os.path.exists(os.path.join(current, "later")), what="core follows the newest again")
        self.assertSame(source, current)
        self.assertLess(sum(self.fleet.wire_bytes("back", n, "core") for n in (1, 2, 3)) - sent, 1 << 20,
                        "a rollback sends nothing again")
        self.assertEqual(len(self.fleet.transfers("back", 2, "core")), 1)
        self.fleet.cli("dataset", "rollback", "back", "99", expect=f.NOT_FOUND)

    def test_checkout_lays_out_any_version_in_an_empty_directory_only(self):
        source = self.new("checkout", seed=5, files=25)
        self.committed("checkout", 1)
        before = self.fleet.path("checkout-1")
        subprocess.run(["cp", "-a", source, before], check=True)
        f.write(os.path.join(source, "added"), b"2")
        self.committed("checkout", 2)
        there = self.fleet.path("out", "here")
        os.makedirs(os.path.dirname(there))
        self.fleet.cli("dataset", "checkout", "checkout", "1", there)
        self.assertSame(before, there)
        full = self.fleet.path("full")
        f.write(os.path.join(full, "mine"), b"keep me")
        refused = self.fleet.cli("dataset", "checkout", "checkout", "1", full, expect=None)
        self.assertIn(refused.code, (f.FAILED, f.CONFLICT))
        self.assertEqual(os.listdir(full), ["mine"])
        self.fleet.cli("dataset", "checkout", "checkout", "7", self.fleet.path("nowhere"), expect=f.NOT_FOUND)

    def test_verify_finds_rot_in_a_pack_and_in_a_laid_out_tree(self):
        source = self.new("rot", seed=6, files=25)
        f.write(os.path.join(source, "payload"), random.Random(9).randbytes(2 << 20))
        self.committed("rot", 1)
        self.fleet.verify("rot", "core")
        tree = os.path.realpath(self.fleet.current("core", "rot"))
        victim = os.path.join(tree, "payload")
        info = os.stat(victim)
        os.chmod(victim, 0o644)
        with open(victim, "r+b") as file:
            file.seek(1 << 20)
            file.write(b"rotten")
        os.chmod(victim, stat.S_IMODE(info.st_mode))
        os.utime(victim, ns=(info.st_atime_ns, info.st_mtime_ns))
        result = self.fleet.verify("rot", "core", expect=f.FAILED)
        self.assertIn("payload", result.text)

        self.new("rotpack", seed=7, files=5)
        self.committed("rotpack", 1)
        info = self.fleet.json("get", "dataset", "rotpack")
        packs = []
        for dataset in os.scandir(os.path.join(self.fleet.data("core"), "datasets")):
            folder = os.path.join(dataset.path, "packs")
            if os.path.isdir(folder):
                packs += [p.path for p in os.scandir(folder) if p.stat().st_size > 4096]
        self.assertTrue(packs, info)
        newest = max((p for p in packs if not p.endswith((".idx", ".index"))), key=os.path.getmtime)
        size = os.path.getsize(newest)
        with open(newest, "r+b") as file:
            file.seek(size // 2)
            old = file.read(8)
            file.seek(size // 2)
            file.write(bytes(b ^ 0x55 for b in old))
        self.fleet.verify("rotpack", "core", expect=f.FAILED)
        told = f.wait_until(lambda: [e for e in f.rows_of(self.fleet.json("events", "--limit", "1000")) if e["kind"] == "agent-data-damaged"],
                            what="the damage to be told of")[-1]
        self.assertEqual((told["dataset"], told["site"]), ("rotpack", "core"))
        self.assertIn("1 chunk is damaged; bailiwick dataset verify rotpack --site core says what", told["message"])
        self.fleet.verify("rotpack", "factory")
        # It heals: the chunk comes anew, and nothing else does.
        self.fleet.wait_version("rotpack", 1, "core")
        f.wait_until(lambda: [e for e in f.rows_of(self.fleet.json("events", "--limit", "1000")) if e["kind"] == "agent-data-healed"],
                     what="the news that it healed")
        self.fleet.verify("rotpack", "core")
        healed = self.fleet.transfers("rotpack", 1, "core")[-1]
        whole = self.fleet.transfers("rotpack", 1, "core")[0]
        self.assertLess(healed["wireBytes"], whole["wireBytes"])

    def test_exec_holds_a_lease_while_versions_go_by(self):
        source = self.new("lease", seed=8, files=15)
        f.write(os.path.join(source, "n"), b"1")
        self.committed("lease", 1)
        go = self.fleet.path("go")
        script = f'cat n; while [ ! -e "{go}" ]; do sleep 0.05; done; cat n; echo "v$BAILIWICK_VERSION"; test -d "$BAILIWICK_TREE"'
        reader = subprocess.Popen([f.AGENT, "exec", "lease", "--data-dir", self.fleet.data("core"), "--", "sh", "-c", script],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(reader.kill)
        self.assertEqual(reader.stdout.read(1), b"1")
        for n in range(2, 7):
            f.write(os.path.join(source, "n"), b"%d" % n)
            self.committed("lease", n)
            f.wait_until(lambda: f.read(os.path.join(self.fleet.current("core", "lease"), "n")) == b"%d" % n,
                         what=f"current shows {n}")
        open(go, "w").close()
        out, err = reader.communicate(timeout=20)
        self.assertEqual(reader.returncode, 0, err)
        self.assertEqual(out, b"1v1\n")
        self.assertSame(source, self.fleet.current("core", "lease"))

    def test_exec_passes_the_exit_code_on_and_names_what_is_missing(self):
        self.new("codes", files=3)
        self.committed("codes", 1)
        command = [f.AGENT, "exec", "codes", "--data-dir", self.fleet.data("core"), "--", "sh", "-c", "exit 37"]
        self.assertEqual(f.run(command).code, 37)
        command[2] = "nosuch"
        missing = f.run(command)
        self.assertEqual(missing.code, f.NOT_FOUND, missing)
        self.assertIn("nosuch", missing.err)

    def test_hook_runs_when_a_version_is_there(self):
        hooks = os.path.join(self.fleet.data("core"), "hooks")
        log = self.fleet.path("hook.log")
        f.write(os.path.join(hooks, "on-version"), f'#!/bin/sh\nenv | grep ^BAILIWICK_ | sort >> "{log}"\necho "$@" >> "{log}"\n', 0o755)
        self.addCleanup(os.remove, os.path.join(hooks, "on-version"))
        self.new("hooked", files=5)
        self.committed("hooked", 1)
        f.wait_until(lambda: os.path.exists(log) and b"hooked" in f.read(log), timeout=20, what="the hook ran")

    def test_a_hook_that_a_stop_interrupted_runs_again(self):
        hook = os.path.join(self.fleet.data("core"), "hooks", "on-version")
        log, hold = self.fleet.path("hook-again.log"), self.fleet.path("hold")
        f.write(hold)
        f.write(hook, f'#!/bin/sh\n[ "$BAILIWICK_DATASET" = again ] || exit 0\necho begin >> "{log}"\n'
                f'while [ -e "{hold}" ]; do sleep 0.05; done\necho "end $BAILIWICK_VERSION" >> "{log}"\n', 0o755)
        self.addCleanup(os.remove, hook)
        source = self.new("again", files=5)
        self.committed("again", 1)
        f.wait_until(lambda: os.path.exists(log), timeout=20, what="the hook runs")
        f.write(os.path.join(source, "more"))
        self.committed("again", 2)    # which does not wait for it
        f.write(os.path.join(source, "most"))
        self.committed("again", 3)
        self.fleet.dev("stop", "core")
        os.remove(hold)
        self.fleet.dev("start", "core")
        f.wait_until(lambda: f.read(log) == b"begin\nbegin\nend 3\n", timeout=20, what="the hook ran for what is there now")

    def test_special_files_are_skipped_and_listed(self):
        source = self.new("special", files=5)
        os.mkfifo(os.path.join(source, "a-pipe"))
        result = self.fleet.commit("special")
        self.assertIn("a-pipe", result.text)
        self.fleet.wait_version("special", 1, "core")
        os.remove(os.path.join(source, "a-pipe"))
        self.assertSame(source, self.fleet.current("core", "special"))

    def test_owner_travels_only_where_asked(self):
        if os.geteuid() != 0:
            self.fail("run as root or with sudo: changing owners needs it")
        source = self.fleet.path("owned")
        f.write(os.path.join(source, "file"), b"x")
        os.chown(os.path.join(source, "file"), 1234, 2345)
        self.fleet.apply(f.documents(f.dataset_yaml("owned", source, spec="owner: true"), f.dataset_yaml("unowned", source)))
        for name, expected in (("owned", (1234, 2345)), ("unowned", (os.geteuid(), os.getegid()))):
            current = self.committed(name, 1)
            info = os.stat(os.path.join(current, "file"))
            self.assertEqual((info.st_uid, info.st_gid), expected, name)

    def test_ignore_and_include(self):
        source = self.fleet.path("patterns")
        for name in ("keep.mcap", "drop.tmp", "a/keep.mcap", "a/drop.txt", "build/keep.mcap"):
            f.write(os.path.join(source, name), name)
        self.fleet.apply(f.dataset_yaml("patterns", source, spec='include: ["**/*.mcap"]\nignore: ["/build/"]'))
        current = self.committed("patterns", 1)
        found = sorted(os.path.relpath(os.fsdecode(p), os.path.realpath(current)) for p in f.files_under(os.path.realpath(current)))
        self.assertEqual(found, ["a/keep.mcap", "keep.mcap"])

    def test_absent_keep_only_grows(self):
        source = self.fleet.path("growing")
        f.write(os.path.join(source, "one"), b"1")
        self.fleet.apply(f.dataset_yaml("growing", source, spec="absent: keep"))
        self.committed("growing", 1)
        os.remove(os.path.join(source, "one"))
        f.write(os.path.join(source, "two"), b"2")
        current = self.committed("growing", 2)
        self.assertEqual(sorted(os.listdir(current)), ["one", "two"])

    def test_message_and_versions_are_listed(self):
        source = self.new("listed", files=4)
        self.fleet.commit("listed", "--message", "the first one")
        f.write(os.path.join(source, "x"), b"x")
        self.fleet.commit("listed", "--message", "the second one")
        out = self.fleet.cli("dataset", "versions", "listed").out
        self.assertLess(out.index("the second one"), out.index("the first one"))
        rows = f.rows_of(self.fleet.json("dataset", "versions", "listed"))
        self.assertEqual([int(r["number"]) for r in rows], [2, 1])
        self.assertGreater(int(rows[0]["files"]), int(rows[1]["files"]))

    def test_status_replicas_and_events_tell_what_happened(self):
        self.new("seen", files=5)
        self.committed("seen", 1)
        status = self.fleet.cli("status").out
        for site in ("factory", "core", "cloud-us"):
            self.assertIn(site, status)
        replicas = {(r["dataset"], r["site"]): r for r in f.rows_of(self.fleet.json("get", "replicas"))}
        self.assertEqual(replicas["seen", "core"]["state"], "current")
        self.assertEqual(replicas["seen", "cloud-us"]["state"], "denied")
        self.assertIn("eu-data-stays", json.dumps(replicas["seen", "cloud-us"]))
        events = self.fleet.cli("events").out
        self.assertIn("seen", events)
        document = self.fleet.json("status")
        self.assertTrue(any("version" in k.lower() for k in document), "JSON has a version field")

    def test_names_of_files_never_reach_the_coordinator(self):
        source = self.fleet.path("private")
        secret = "patient-4711-mueller"
        f.write(os.path.join(source, secret), b"x" * 100)
        self.fleet.apply(f.dataset_yaml("private", source))
        self.committed("private", 1)
        time.sleep(0.2)
        needle = secret.encode()
        leaked = [p for p in f.contains(self.fleet.dir, needle)
                  if not os.path.relpath(p, self.fleet.dir).startswith(("sites/factory", "sites/core"))]
        self.assertEqual(leaked, [])
        self.assertNotIn(secret, self.fleet.cli("events").out)


class Hourglass(unittest.TestCase):
    def test_fleet_outlives_its_shell_and_starts_again(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"),
                                    f.dataset_yaml("kept", f.make_tree(fleet.path("kept"), files=10))))
            fleet.commit("kept")
            status = fleet.dev("status").out
            for name in ("coordinator", "factory", "core"):
                self.assertIn(name, status)
            f.run([f.CLI, "dev", "down", "--dir", fleet.dir])
            self.assertEqual(sorted(fleet.died()), ["coordinator", "core", "factory"])
            fleet.cli("status", expect=f.UNAVAILABLE)
            f.run([f.CLI, "dev", "up", "--dir", fleet.dir, "--site", f.FACTORY, "--site", f.CORE], timeout=90)
            self.assertFalse(f.differences(fleet.path("kept"), fleet.current("core", "kept")))
            f.write(fleet.path("kept", "more"), b"after the restart")
            fleet.commit("kept")
            fleet.wait_version("kept", 2, "core")
            f.run([f.CLI, "dev", "down", "--dir", fleet.dir, "--purge", "--yes"])
            self.assertFalse(os.path.exists(os.path.join(fleet.dir, "sites")))
            self.assertTrue(os.path.exists(fleet.path("kept", "more")), "the source is nobody's to delete")


if __name__ == "__main__":
    f.main()
