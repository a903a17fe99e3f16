"""The released packages on a fresh Debian 12 under its own systemd: installed, set up as the README says, watched, upgraded, purged.

The fresh Debian is made once by debootstrap, with what the packages depend on, and kept under build/roots. It boots in a container
(systemd-nspawn) without any network; every change lies in memory.
"""
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import machine as m
from machine import f
from story import Story

ROOTS = os.path.join(m.ROOT, "build", "roots")
MIRROR = [m for m in [os.environ.get("BAILIWICK_DEBIAN_MIRROR")] if m]   # else debootstrap's own
SERVICES = ("bailiwick-agent", "bailiwick-coordinator")


def call(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed\n{done.stdout[-3000:]}")
    return done.stdout


def fresh_debian(packages):
    """A root with systemd and all that the packages depend on, but not them. Made once for each set of dependencies."""
    needs = sorted({part.split("|")[0].split("(")[0].strip() for p in packages
                    for part in call("dpkg-deb", "-f", p, "Depends").split(",")})
    root = os.path.join(ROOTS, "bookworm-" + hashlib.sha256("\n".join(needs).encode()).hexdigest()[:12])
    if not os.path.isdir(root):
        os.makedirs(ROOTS, exist_ok=True)
        making = tempfile.mkdtemp(prefix="making-", dir=ROOTS)
        call("debootstrap", "--variant=minbase", "bookworm", making, *MIRROR)
        call("chroot", making, "apt-get", "install", "-y", "-q", "--no-install-recommends", "systemd-sysv", *needs,
             env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
        call("chroot", making, "apt-get", "clean")
        os.rename(making, root)
    return root


class Booted(m.Machine):
    """A machine whose own systemd runs."""

    def __init__(self, lower):
        super().__init__(lower)
        for place in ("dev", "tmp", "run", "sys", "proc"):  # the container makes its own
            subprocess.run(["umount", "-R", "-l", self.path(place)], check=True)
        self.console = open(os.path.join(self.base, "console"), "wb")
        self.container = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--directory", self.root, "--machine", "bailiwick-test", "--register=no", "--keep-unit",
             "--private-network", "--console=pipe", "--boot"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console)
        self.leader = f.wait_until(self.first_process, what="the container's first process", timeout=60)
        f.wait_until(lambda: self.run("systemctl", "is-system-running", expect=None).out.strip() in ("running", "degraded"),
                     timeout=120, what="the machine is up")

    def first_process(self):
        with open(f"/proc/{self.container.pid}/task/{self.container.pid}/children") as children:
            pids = children.read().split()
        for pid in pids:
            try:
                if f.read(f"/proc/{pid}/comm").strip() == b"systemd":
                    return pid
            except OSError:
                pass
        return None

    def close(self):
        if self.container.poll() is None:
            self.run("systemctl", "poweroff", "--force", "--force", expect=None)
            try:
                self.container.wait(30)
            except subprocess.TimeoutExpired:
                self.container.kill()
                self.container.wait()
        self.console.close()
        super().close()

    def run(self, *command, expect=0, timeout=90, stdin=None):
        enter = ["nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--", "env", "-i"]
        env = [f"{key}={value}" for key, value in self.inside()["env"].items()]
        result = f.run(enter + env + list(command), timeout=timeout, stdin=stdin)
        if expect is not None and result.code != expect:
            raise AssertionError(f"exit code {result.code}, expected {expect}\n{result}\n{self.logs()}")
        return result

    def property(self, name, what):
        return self.run("systemctl", "show", "-P", what, name).out.strip()

    def start(self, name):
        self.run("systemctl", "start", name)

    def stop(self, name):
        self.run("systemctl", "stop", name)

    def logs(self):
        return self.run("journalctl", "--no-pager", "-n", "60", expect=None).text if getattr(self, "leader", None) else ""


class CleanMachine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            sys.exit("run as root or with sudo: booting a container needs it")
        given = os.environ.get("BAILIWICK_PACKAGES")  # a directory of them; else they are built
        cls.folder = given or os.path.join(m.ROOT, "build", "packages")
        if not given:
            cls.build()
        cls.packages = sorted(glob.glob(os.path.join(cls.folder, "*.deb")))
        assert len(cls.packages) == 3, cls.packages
        cls.root = fresh_debian(cls.packages)
        cls.next = tempfile.mkdtemp(prefix="bw-packages-")
        cls.addClassCleanup(shutil.rmtree, cls.next)
        for package in cls.packages:
            m.other_version(package, "0.2.0", cls.next)
        m.leave_the_machine()

    @staticmethod
    def build():
        """Twice: the same source gives the same bytes."""
        script = os.path.join(m.ROOT, "deploy", "packages", "build.sh")
        again = os.path.join(m.ROOT, "build", "packages-again")
        call(script)
        call(script, "--output", again)
        sums = [f.read(os.path.join(folder, "SHA256SUMS")).decode() for folder in (os.path.join(m.ROOT, "build", "packages"), again)]
        assert sums[0] == sums[1] and len(sums[0].splitlines()) == 4, sums
        shutil.rmtree(again)

    def setUp(self):
        self.machine = Booted(self.root)
        self.addCleanup(self.machine.close)
        self.ours = self.machine.copy_in(self.packages)
        self.theirs = self.machine.copy_in(glob.glob(os.path.join(self.next, "*.deb")))

    def test_programs_are_hardened(self):
        for package in self.packages:
            with tempfile.TemporaryDirectory() as folder:
                call("dpkg-deb", "--extract", package, folder)
                (program,) = glob.glob(os.path.join(folder, "usr", "bin", "*"))
                self.assertEqual(m.weaknesses(program), [], program)

    def state(self, name):
        return tuple(self.machine.property(name, what) for what in ("ActiveState", "SubState"))

    def test_set_up_watched_upgraded_and_purged(self):
        machine, story = self.machine, Story(self.machine)
        machine.run("dpkg", "-i", *self.ours)
        for name in SERVICES:
            self.assertEqual(machine.run("systemctl", "is-enabled", name).out.strip(), "enabled")
            self.assertEqual(self.state(name), ("inactive", "dead"), "nothing to run, nothing to complain about")
            self.assertEqual(machine.property(name, "ConditionResult"), "no")
        self.assertEqual(machine.run("systemctl", "is-system-running", expect=None).out.strip(), "running", machine.logs())

        story.make_coordinator()
        machine.start("bailiwick-coordinator")
        self.assertEqual(self.state("bailiwick-coordinator"), ("active", "running"))
        story.declare()
        self.joins_once_the_coordinator_is_there(story)
        self.assertIn("serving site core", machine.property("bailiwick-agent", "StatusText"))
        for name in SERVICES:
            shown = machine.run("systemd-analyze", "security", "--threshold=20", name + ".service")
            self.assertIn("Overall exposure level", shown.out)

        machine.run("mkdir", "-p", "/srv/factory")
        machine.run("bailiwick-agent", "join", "--data-dir", "/srv/factory", "--join-file", "-", stdin=story.join_string("factory"))
        machine.run("systemd-run", "--unit=factory", "bailiwick-agent", "run", "--data-dir", "/srv/factory")
        story.cli("site", "approve", "--all")
        machine.write("/srv/source/file", "")
        story.apply(f.dataset_yaml("tools", "/srv/source"))
        story.commit(1, "first\n")
        self.hung_is_started_anew()
        story.commit(2, "second\n")

        # Upgrade and downgrade: dpkg itself starts the services anew.
        for number, packages in ((3, self.theirs), (4, self.ours)):
            before = [machine.property(name, "MainPID") for name in SERVICES]
            machine.run("dpkg", "-i", *packages)
            for name, pid in zip(SERVICES, before):
                self.assertEqual(self.state(name), ("active", "running"), machine.logs())
                self.assertNotEqual(machine.property(name, "MainPID"), pid)
            story.commit(number, f"version {number}\n")
            story.verify()
        self.assertEqual(sorted(story.versions()), [1, 2, 3, 4])
        purged = machine.run("dpkg", "-P", "bailiwick", *SERVICES)
        self.assertIn("the data in /var/lib/bailiwick-agent is kept", purged.text)
        for name in SERVICES:
            self.assertEqual(self.state(name), ("inactive", "dead"))
        self.assertEqual(machine.run("cat", "/var/lib/bailiwick-agent/replicas/tools/current/file").out, "version 4\n")

    def joins_once_the_coordinator_is_there(self, story):
        machine = self.machine
        machine.write("/etc/systemd/system/bailiwick-agent-join.service.d/quick.conf", "[Service]\nRestartSec=1s\n")
        machine.run("systemctl", "daemon-reload")
        machine.write("/etc/bailiwick/join-string", story.join_string("core") + "\n", 0o600)
        machine.stop("bailiwick-coordinator")
        machine.start("bailiwick-agent")
        self.assertEqual(self.state("bailiwick-agent"), ("inactive", "dead"), "nothing to run yet")
        machine.start("bailiwick-coordinator")
        f.wait_until(lambda: self.state("bailiwick-agent") == ("active", "running"), timeout=90, what="joined and started by itself")
        # A start anew leaves the identity as it is: the string is spent.
        before = machine.run("readlink", "/var/lib/bailiwick-agent/identity/live").out
        machine.run("systemctl", "restart", "bailiwick-agent")
        self.assertEqual(machine.run("readlink", "/var/lib/bailiwick-agent/identity/live").out, before)

    def hung_is_started_anew(self):
        """A process that does not come round any more is ended by systemd's watchdog and started again."""
        machine = self.machine
        for name in SERVICES:
            machine.write(f"/etc/systemd/system/{name}.service.d/quick.conf", "[Service]\nWatchdogSec=4s\nRestartSec=100ms\n")
        machine.run("systemctl", "daemon-reload")
        for name in SERVICES:
            machine.run("systemctl", "restart", name)
            pid = machine.property(name, "MainPID")
            machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGSTOP", name)
            f.wait_until(lambda: machine.property(name, "MainPID") not in (pid, "0") and self.state(name) == ("active", "running"),
                         timeout=90, what=f"{name} is started anew")
            self.assertEqual(machine.property(name, "NRestarts"), "1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
