"""No change of a source is lost: whatever people and programs do to files, the next version holds it. Random worlds; a failure names its seed
(BAILIWICK_SEED), more of them with BAILIWICK_ROUNDS."""
import mmap
import os
import random
import shutil
import threading
import unittest

import fleet as f

ROUNDS = int(os.environ.get("BAILIWICK_ROUNDS", "25"))
SEED = int(os.environ.get("BAILIWICK_SEED", random.randrange(1 << 32)))


class Hands:
    """Does to a tree what people and programs do."""

    def __init__(self, root, rng):
        self.root, self.rng, self.made = root, rng, 0
        os.makedirs(root, exist_ok=True)

    def content(self, size=None):
        size = self.rng.choice([0, 1, 30, 4096, self.rng.randrange(20_000), self.rng.randrange(400_000)]) if size is None else size
        return self.rng.randbytes(size)

    def paths(self, kind):
        found = []
        for folder, folders, names in os.walk(self.root):
            if kind == "directory":
                found += [os.path.join(folder, n) for n in folders if not os.path.islink(os.path.join(folder, n))]
            else:
                found += [os.path.join(folder, n) for n in names if not os.path.islink(os.path.join(folder, n))]
        return sorted(found)

    def file(self):
        return self.rng.choice(self.paths("file") or [self.create()])

    def directory(self):
        return self.rng.choice(self.paths("directory") + [self.root])

    def new_name(self):
        self.made += 1
        return os.path.join(self.directory(), self.rng.choice(["f", "x.log", "a b", "\xe9"]) + str(self.made % 40) + self.rng.choice(["", "", ".tmp"]))

    def write(self, path, data):
        with open(path, "wb") as out:
            out.write(data)

    # --- acts
    def create(self):
        path = self.new_name()
        while os.path.lexists(path):
            path += "_"
        self.write(path, self.content())
        return path

    def make_directory(self):
        path = self.new_name()
        if not os.path.lexists(path):
            os.makedirs(os.path.join(path, "deep", "deeper"))
            self.write(os.path.join(path, "deep", "inside"), self.content())

    def overwrite_and_restore_its_time(self):
        path = self.file()
        before = os.stat(path)
        with open(path, "r+b") as out:
            out.write(self.content(before.st_size))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def change_one_byte(self):
        path = self.file()
        if size := os.path.getsize(path):
            with open(path, "r+b") as out:
                out.seek(self.rng.randrange(size))
                out.write(self.content(1))

    def append(self):
        with open(self.file(), "ab") as out:
            out.write(self.content())

    def truncate(self):
        path = self.file()
        os.truncate(path, self.rng.randrange(os.path.getsize(path) + 1))

    def write_through_memory(self):
        path = self.file()
        if os.path.getsize(path):
            with open(path, "r+b") as out, mmap.mmap(out.fileno(), 0) as memory:
                memory[self.rng.randrange(len(memory))] = self.rng.randrange(256)

    def replace_at_once(self):
        path = self.file()
        self.write(path + ".new~", self.content())
        os.rename(path + ".new~", path)

    def swap_two_files(self):
        one, other = self.file(), self.file()
        if one == other:
            return
        os.rename(one, one + ".swap")
        os.rename(other, one)
        os.rename(one + ".swap", other)

    def swap_two_directories(self):
        one, other = self.directory(), self.directory()
        if one == other or self.root in (one, other) or (one + "/").startswith(other + "/") or (other + "/").startswith(one + "/"):
            return
        os.rename(one, one + ".swap")
        os.rename(other, one)
        os.rename(one + ".swap", other)

    def move_file(self):
        to = self.new_name()
        if not os.path.isdir(to) or os.path.islink(to):
            os.rename(self.file(), to)

    def move_directory(self):
        path, to = self.directory(), self.new_name()
        if path != self.root and not os.path.lexists(to) and not (to + "/").startswith(path + "/"):
            os.rename(path, to)

    def hard_link(self):
        to = self.new_name()
        if not os.path.lexists(to):
            os.link(self.file(), to)

    def file_becomes_directory(self):
        path = self.file()
        os.remove(path)
        os.makedirs(path)
        self.write(os.path.join(path, "was a file"), self.content())

    def directory_becomes_file(self):
        path = self.directory()
        if path != self.root:
            shutil.rmtree(path)
            self.write(path, self.content())

    def file_becomes_symlink(self):
        path = self.file()
        os.remove(path)
        os.symlink(self.rng.choice(["nowhere", "/etc/hostname", "..", "f1"]), path)

    def symlinks_turn(self):
        for folder, folders, names in os.walk(self.root):
            for name in folders + names:
                path = os.path.join(folder, name)
                if os.path.islink(path):
                    os.remove(path)
                    os.symlink("turned" + str(self.rng.randrange(9)), path) if self.rng.random() < 0.5 else self.write(path, self.content())
                    return

    def remove_file(self):
        os.remove(self.file())

    def remove_and_make_again(self):
        path = self.file()
        data = f.read(path)
        os.remove(path)
        self.write(path, data if self.rng.random() < 0.5 else self.content(len(data)))

    def remove_directory(self):
        path = self.directory()
        if path != self.root:
            shutil.rmtree(path)

    def change_mode(self):
        os.chmod(self.file(), self.rng.choice([0o644, 0o600, 0o755, 0o444, 0o400]))

    def change_mode_of_directory(self):
        path = self.directory()
        if path != self.root:
            os.chmod(path, self.rng.choice([0o755, 0o700, 0o750]))

    def change_time(self):
        os.utime(self.file(), ns=(0, self.rng.randrange(1 << 60)))

    ACTS = (create, create, create, make_directory, overwrite_and_restore_its_time, change_one_byte, append, truncate, write_through_memory,
            replace_at_once, swap_two_files, swap_two_directories, move_file, move_directory, hard_link, file_becomes_directory,
            directory_becomes_file, file_becomes_symlink, symlinks_turn, remove_file, remove_and_make_again, remove_directory, change_mode,
            change_mode_of_directory, change_time)

    def act(self):
        act = self.rng.choice(self.ACTS)
        act(self)
        return act.__name__


class LostChanges(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def world(self, name, spec="commit: {onRequest: true}"):
        rng = random.Random(f"{SEED} {name}")
        hands = Hands(self.fleet.path(name), rng)
        for _ in range(40):
            hands.act()
        hands.create()
        self.fleet.apply(f.dataset_yaml(name, hands.root, spec=spec))
        return hands

    def number(self, name):
        return int(f.rows_of(self.fleet.json("dataset", "versions", name))[0]["number"])

    def assertHeld(self, name, hands, done):
        """The newest version, at the replica, is what the source is."""
        self.fleet.commit(name)
        self.fleet.wait_version(name, self.number(name), "core")
        differences = f.differences(hands.root, self.fleet.current("core", name))
        self.assertFalse(differences, f"BAILIWICK_SEED={SEED}; since the version before: {done}; versions: {self.number(name)}")

    def test_between_commits(self):
        hands = self.world("between")
        done = ["the beginning"]
        for n in range(ROUNDS):
            self.assertHeld("between", hands, done)
            done = [hands.act() for _ in range(hands.rng.choice([1, 1, 2, 5, 30]))]
            hands.create()   # something is new in every round, so that a version is made
            if n % 8 == 5:
                self.fleet.restart("factory", how=hands.rng.choice(["stop", "kill"]))
                done.append("restarted")
                done += [hands.act() for _ in range(2)]
        self.assertHeld("between", hands, done)
        self.fleet.verify("between", "core")

    def test_while_commits_run(self):
        hands = self.world("meanwhile", spec="commit: {every: 1s}")
        for n in range(max(3, ROUNDS // 6)):
            done, stop = [], threading.Event()

            def work():
                while not stop.is_set():
                    done.append(hands.act())
                    hands.create()
                    stop.wait(hands.rng.random() * 0.02)
            thread = threading.Thread(target=work)
            thread.start()
            try:
                for _ in range(4):   # a file that changes while it is read may fail it
                    self.fleet.commit("meanwhile", wait=False, expect=None)
            finally:
                stop.set()
                thread.join()
            self.assertHeld("meanwhile", hands, done[-60:])


if __name__ == "__main__":
    f.main()
