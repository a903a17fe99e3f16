"""Damage at a home and in laid-out trees: what is whole elsewhere, or in the source, mends it, and nobody is told something else."""
import contextlib
import glob
import os
import random
import shutil
import stat
import subprocess
import unittest

import fleet as f


class Damaged(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def new(self, name, spec="commit: {onRequest: true}", files=40):
        source = f.make_tree(self.fleet.path(name), files=files)
        self.fleet.apply(f.dataset_yaml(name, source, spec=spec))
        self.fleet.commit(name)
        self.fleet.wait_version(name, 1, "core")
        self.arrives(name, source)
        return source

    def arrives(self, name, source, **how):
        f.wait_until(lambda: os.path.islink(self.fleet.current("core", name)) and not f.differences(source, self.fleet.current("core", name)),
                     what=f"{name} laid out as it is in the source", step=0.2, **how)

    def newest_pack(self, site):
        """The newest pack of the site: of what was committed last."""
        return max(glob.glob(os.path.join(self.fleet.data(site), "datasets", "*", "packs", "*.pack")), key=os.path.getmtime)

    @contextlib.contextmanager
    def stopped(self, site):
        self.fleet.dev("stop", site)
        yield
        self.fleet.dev("start", site)

    def rot_nodes(self):
        """The end of the newest pack at the home: there lies the manifest."""
        with self.stopped("factory"):
            pack = self.newest_pack("factory")
            with open(pack, "r+b") as file:
                file.seek(os.path.getsize(pack) - 600)
                file.write(random.Random(3).randbytes(590))

    def events(self, kind, name):
        return [e for e in f.rows_of(self.fleet.json("events", "--limit", "1000")) if e["kind"] == kind and e["dataset"] == name]

    def told(self, kind, name):
        return f.wait_until(lambda: self.events(kind, name), what=f"the event {kind}")[-1]

    def rot_content(self, site, pack=None):
        pack = pack or self.newest_pack(site)
        with open(pack, "r+b") as file:
            file.seek(os.path.getsize(pack) // 3)
            file.write(random.Random(4).randbytes(64))


class Healing(Damaged):
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    # --- homes
    def test_a_home_with_a_rotten_manifest_commits_and_heals(self):
        source = self.new("rotten")
        self.rot_nodes()
        f.write(os.path.join(source, "new"), b"n")
        done = self.fleet.commit("rotten")
        self.assertIn("version 2", done.text)
        self.arrives("rotten", source)
        self.assertIn("read every file", self.told("agent-source-reread", "rotten")["message"])
        self.fleet.cli("dataset", "verify", "rotten", "--version", "2", "--site", "factory")
        self.fleet.verify("rotten", "core")  # version 1 as well
        f.write(os.path.join(source, "more"), b"m")
        self.assertIn("version 3", self.fleet.commit("rotten").text)
        self.arrives("rotten", source)

    def test_a_rotten_manifest_heals_by_a_commit_of_the_same(self):
        self.new("same")
        self.rot_nodes()
        self.assertIn("nothing changed", self.fleet.commit("same").text)
        self.assertIn("stored anew", self.told("agent-data-healed", "same")["message"])
        self.fleet.verify("same", "factory")

    def test_a_home_that_lost_its_packs_stores_them_again_as_the_same_version(self):
        source = self.new("lost")
        with self.stopped("factory"):
            os.remove(self.newest_pack("factory"))
        self.assertIn("nothing changed", self.fleet.commit("lost").text)
        self.fleet.verify("lost", "factory")
        f.write(os.path.join(source, "new"), b"n")
        self.fleet.commit("lost")
        self.arrives("lost", source)

    def test_content_that_a_verification_finds_damaged_heals_with_the_next_commit(self):
        self.new("content")
        self.rot_content("factory")
        self.fleet.verify("content", "factory", expect=f.FAILED)
        self.assertIn("nothing changed", self.fleet.commit("content").text)
        self.fleet.verify("content", "factory")

    def test_what_the_source_has_no_more_comes_back_from_a_replica(self):
        source = self.new("back")
        pack = self.newest_pack("factory")
        shutil.rmtree(source)
        f.write(os.path.join(source, "other"), b"other")
        self.fleet.commit("back")
        self.fleet.wait_version("back", 2, "core")
        self.rot_content("factory", pack)   # nobody meets it before the verification
        self.fleet.verify("back", "factory", expect=f.FAILED)
        self.assertIn("is whole again", self.told("agent-data-healed", "back")["message"])
        self.fleet.verify("back", "factory")
        (transfer,) = self.fleet.transfers("back", 1, "factory")
        self.assertEqual((transfer["source"], transfer["state"]), ("core", "done"))
        versions = self.fleet.json("dataset", "versions", "back")["versions"]
        self.assertEqual([v["sites"] for v in versions], [["core", "factory"]] * 2)

    def test_damage_that_a_transfer_meets_is_told_and_mended(self):
        source = f.make_tree(self.fleet.path("met"), files=40)
        with self.stopped("core"):
            self.fleet.apply(f.dataset_yaml("met", source, spec="commit: {onRequest: true}"))
            self.fleet.commit("met", wait=False)
            self.rot_content("factory")
        self.assertIn("damaged or gone", self.told("agent-data-damaged", "met")["message"])
        why = f.wait_until(lambda: (lambda r: r if "damaged" in r.text else None)(self.fleet.cli("why", "met", "core", expect=None)),
                           what="why tells of the damage")
        self.assertIn("bailiwick dataset commit met stores anew what the source still has", why.text)
        reason = [r["reason"] for r in f.rows_of(self.fleet.json("get", "replicas", "met")) if r["site"] == "factory"]
        self.assertEqual(reason, ["version 1 is damaged here; no site is known to hold version 1"])
        problem = [d["problem"] for d in self.fleet.json("status")["datasets"] if d["name"] == "met"]
        self.assertEqual(problem, ["version 1 is damaged at factory; no site is known to hold version 1"])
        home = self.fleet.cli("why", "met", "factory", expect=None).text
        self.assertIn("what it has of version 1 is damaged; no site is known to hold version 1", home)
        with self.stopped("factory"):  # it does not forget what it met
            pass
        self.assertIn("nothing changed", self.fleet.commit("met", wait=False).text)
        self.fleet.wait_version("met", 1, "core")
        self.fleet.verify("met", "core")

    def test_a_home_and_its_only_replica_heal_each_other(self):
        source = self.new("both", files=0)
        for n in range(30):
            f.write(os.path.join(source, f"f{n}"), random.Random(n).randbytes(100_000))
        self.fleet.commit("both")
        self.fleet.wait_version("both", 2, "core")
        shutil.rmtree(source)
        f.write(os.path.join(source, "other"), b"other")
        for site, other, part in (("factory", "core", 0.2), ("core", "factory", 0.7)):
            with self.stopped(other):
                with open(self.newest_pack(site), "r+b") as file:
                    file.seek(int(os.path.getsize(self.newest_pack(site)) * part))
                    file.write(random.Random(5).randbytes(64))
                self.fleet.verify("both", site, expect=f.FAILED)
        for site in ("core", "factory"):
            f.wait_until(lambda: self.fleet.verify("both", site, expect=None).code == f.OK, what=f"{site} heals", step=0.5)

    def test_damage_at_a_new_home_is_not_taken_for_what_it_gave_up(self):
        spec = "commit: {onRequest: true}\ningest: consume\nabsent: keep\ndropAfterCopies: 1\nretain: {last: 2}"
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(self.SETUP)
            source, moved = fleet.path("drive"), fleet.path("moved")
            for n in range(3):
                f.write(os.path.join(source, f"clip{n}"), random.Random(n).randbytes(1 << 20))
            fleet.apply(f.dataset_yaml("drive", source, spec=spec))
            fleet.commit("drive", wait=False)
            fleet.wait_version("drive", 1, "core")
            f.wait_until(lambda: f.pack_bytes(fleet, "factory") < 600 << 10, timeout=120, what="the home gave it up")
            f.write(os.path.join(moved, "note"), b"n")
            fleet.apply(f.dataset_yaml("drive", moved, site="core", spec=spec))
            core = lambda: next(r for r in f.rows_of(fleet.json("get", "replicas", "drive")) if r["site"] == "core")
            f.wait_until(lambda: core()["role"] == "home", what="core is the home")
            pack = max(glob.glob(os.path.join(fleet.data("core"), "datasets", "*", "packs", "*.pack")), key=os.path.getsize)
            with open(pack, "r+b") as file:
                file.seek(os.path.getsize(pack) // 2)
                file.write(random.Random(6).randbytes(64))
            fleet.verify("drive", "core", expect=f.FAILED)
            f.wait_until(lambda: "damaged here" in core()["reason"], what="the damage is told")
            for n in range(3):
                f.write(os.path.join(moved, f"new{n}"), b"%d" % n)
                fleet.commit("drive", wait=False)
            self.assertEqual(core()["givenUp"], [])
            self.assertGreater(f.pack_bytes(fleet, "core"), 2 << 20)

    def test_what_a_home_of_then_has_damaged_is_not_taken_for_here(self):
        """Its own old version stays announced; a new one that shares what is rotten there comes whole all the same."""
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}, {site: factory}]", more="  materialize: false\n")))
            source, moved = fleet.path("then"), fleet.path("now")
            for n in range(4000):  # a manifest of some nodes
                f.write(os.path.join(source, f"f{n}"), random.Random(n).randbytes(400), mtime=1_700_000_000)
            fleet.apply(f.dataset_yaml("home", source))
            fleet.commit("home")
            fleet.wait_version("home", 1, "core")
            shutil.copytree(source, moved)
            fleet.apply(f.dataset_yaml("home", moved, site="core"))
            replicas = lambda: {r["site"]: r["role"] for r in f.rows_of(fleet.json("get", "replicas", "home"))}
            f.wait_until(lambda: replicas() == {"core": "home", "factory": "replica"}, what="core is the home")
            pack = max(glob.glob(os.path.join(fleet.data("factory"), "datasets", "*", "packs", "*.pack")), key=os.path.getsize)
            with open(pack, "r+b") as file:
                file.seek(os.path.getsize(pack) // 3)
                file.write(random.Random(6).randbytes(64))
            fleet.verify("home", "factory", expect=f.FAILED)
            for again in (False, True):  # a restart forgets nothing of it
                f.write(os.path.join(moved, f"new-{again}"), b"n")
                if again:
                    fleet.restart("factory")
                version = fleet.json("dataset", "commit", "home")["version"]
                fleet.wait_version("home", int(version), "factory")
                fleet.cli("dataset", "verify", "home", "--version", str(version), "--site", "factory")
            fleet.verify("home", "factory")  # nor is anything of the old one missing any more

    def test_what_only_a_damaged_version_keeps_is_not_lost_and_the_cause_is_said(self):
        source = self.new("kept", spec="absent: keep")
        gone = sorted(n for n in os.listdir(source) if n.startswith("file-"))[0]
        os.remove(os.path.join(source, gone))
        self.rot_nodes()
        refused = self.fleet.commit("kept", expect=None)
        self.assertNotEqual(refused.code, f.OK)
        self.assertIn("version 1 of kept is damaged here", refused.text)
        self.assertIn("bailiwick dataset verify kept", refused.text)
        status = f.wait_until(lambda: (lambda r: r if "last commit failed" in r.text else None)(self.fleet.cli("get", "replicas", "kept")),
                              what="the table tells of the commit")
        self.assertIn("is damaged", status.text)
        self.assertNotIn("source directory is missing", status.text)
        self.assertTrue(os.path.lexists(os.path.join(self.fleet.current("core", "kept"), gone)))

    # --- laid-out trees
    def test_a_chunk_index_that_rots_is_made_anew_without_anybody(self):
        source = self.new("index", files=600)
        with self.stopped("factory"):
            for run in glob.glob(os.path.join(self.fleet.data("factory"), "index", "run-*")):
                with open(run, "r+b") as file:
                    file.seek(min(os.path.getsize(run) // 3, 2000))
                    file.write(random.Random(5).randbytes(64))
        # It is found by what is looked up in it. From then on nothing can be, until the agent has made it anew.
        f.wait_until(lambda: self.fleet.verify("index", "factory", expect=None).code == f.OK and
                     "index-damaged" in self.fleet.log("factory"), what="the agent mends its index by itself")
        f.write(os.path.join(source, "new"), b"committed with the new index")
        self.fleet.commit("index")
        self.fleet.wait_version("index", 2, "core")
        self.arrives("index", source)
        self.assertEqual(self.fleet.log("factory").count("index-damaged"), 1)

    def test_a_laid_out_tree_that_is_found_damaged_is_laid_out_anew(self):
        source = self.new("tree")
        current = os.path.realpath(self.fleet.current("core", "tree"))
        names = sorted(n for n in os.listdir(source) if n.startswith("file-") and os.path.getsize(os.path.join(source, n)) > 100)
        changed, gone, link = (os.path.join(current, n) for n in names[:3])
        info = os.stat(changed)
        os.chmod(changed, 0o644)
        with open(changed, "r+b") as file:
            file.write(b"TAMPER")
        os.chmod(changed, stat.S_IMODE(info.st_mode))
        os.utime(changed, ns=(info.st_atime_ns, info.st_mtime_ns))
        os.remove(gone)
        os.remove(link)
        os.symlink("/etc/passwd", link)
        f.write(os.path.join(current, "added"), b"junk")
        self.fleet.verify("tree", "core", expect=f.FAILED)
        self.arrives("tree", source, timeout=30)
        self.assertIn("laid out anew", self.told("agent-layout-damaged", "tree")["message"])
        self.fleet.verify("tree", "core")
        f.wait_until(lambda: "anew" not in self.fleet.cli("get", "replicas", "tree").text, what="nothing more to tell of it")
        for version in range(2, 6):  # and nothing of it comes back by a slot that is used again
            f.write(os.path.join(source, "version"), b"%d" % version)
            self.fleet.commit("tree")
            self.arrives("tree", source)
            self.fleet.verify("tree", "core")

    def test_a_volume_with_room_for_two_trees_shows_version_after_version(self):
        volume = self.fleet.path("volume")
        os.makedirs(volume)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", volume], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", volume], check=True)
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(self.SETUP)
            site = fleet.cli("get", "site", "core", "-o", "yaml").out
            fleet.apply(site.replace("spec:", f"spec:\n  replicaPath: {volume}", 1))
            fleet.restart("core")
            source = fleet.path("tight")
            current = os.path.join(volume, "tight", "current")
            for version in range(1, 6):
                f.write(os.path.join(source, "a"), random.Random(version).randbytes(9_000_000))
                if version == 1:
                    fleet.apply(f.dataset_yaml("tight", source))
                fleet.commit("tight")
                f.wait_until(lambda: os.path.islink(current) and not f.differences(source, current), timeout=30, step=0.2,
                             what=f"version {version} laid out")
            self.assertNotIn("full", fleet.cli("why", "tight", "core").text)
            # What has no room at all leaves no half tree behind, and what is shown stays.
            shown = f.read(os.path.join(current, "a"))
            f.write(os.path.join(source, "a"), random.Random(9).randbytes(20_000_000))
            fleet.commit("tight", wait=False)
            f.wait_until(lambda: "full" in fleet.cli("why", "tight", "core", expect=None).text, what="why says that the disk is full")
            self.assertEqual(f.read(os.path.join(current, "a")), shown)
            f.wait_until(lambda: (lambda room: room.f_bavail * room.f_frsize)(os.statvfs(volume)) > 14_000_000, what="the half tree gone")


class OfTheNewest(Damaged):
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]", more="  history: newest\n"))

    def test_a_version_that_comes_while_an_older_one_is_damaged_is_whole(self):
        """What the two share is rotten here, and nobody sends the older one again."""
        source = self.fleet.path("share")
        for n in range(4000):  # a manifest of some nodes, most of which the two share
            f.write(os.path.join(source, f"f{n}"), random.Random(n).randbytes(400))
        self.fleet.apply(f.dataset_yaml("share", source))
        self.fleet.commit("share")
        self.fleet.wait_version("share", 1, "core")
        with self.stopped("core"):
            f.write(os.path.join(source, "new"), b"n")
            self.fleet.commit("share", wait=False)
            self.rot_content("core")
            self.fleet.dev("stop", "factory")
        self.fleet.verify("share", "core", expect=f.FAILED)
        self.fleet.dev("start", "factory")
        self.fleet.wait_version("share", 2, "core")
        checked_out = self.fleet.path("share-2")
        self.fleet.cli("dataset", "checkout", "share", "2", checked_out, "--site", "core")
        self.assertEqual(f.differences(source, checked_out), [])
        self.fleet.cli("dataset", "verify", "share", "--version", "2", "--site", "core")


if __name__ == "__main__":
    f.main()
