"""The Debian packages of this build, installed for real on a root of their own, run as their units say, upgraded, purged.

No service manager runs here: each service is started by hand, from what its unit says. clean_machine.py does the same under
systemd on a fresh Debian.
"""
import contextlib
import glob
import os
import re
import shutil
import sqlite3
import tempfile
import unittest

import machine as m
from machine import f
from story import Story

BUILD = os.path.dirname(f.BIN)
SERVICES = ("bailiwick-agent", "bailiwick-coordinator")
UNITS = sorted(glob.glob(os.path.join(m.ROOT, "deploy", "packages", "systemd", "*.service")))
# What lintian may say, and why.
ACCEPTED = {"bogus-mail-host": "whoever publishes packages sets BAILIWICK_MAINTAINER",
            "bogus-mail-host-in-debian-changelog": "the same"}


def tarball(folder, agent=m.STATIC, **options):
    packed = f.run([os.path.join(m.ROOT, "deploy", "packages", "tarball.sh"), "--agent", agent, "--output", folder], **options)
    if packed.code != 0:
        raise AssertionError(packed)
    return packed.out.strip().splitlines()[-1]


class Units(unittest.TestCase):
    def test_exposure_is_below_two(self):
        self.assertEqual(len(UNITS), 3)
        for unit in UNITS:
            shown = f.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit], env=dict(os.environ, LC_ALL="C"))
            self.assertEqual(shown.code, 0, shown)
            self.assertIn("Overall exposure level", shown.out)

    def test_a_unit_without_its_hardening_would_not_pass(self):
        with tempfile.TemporaryDirectory() as folder:
            text = f.read(UNITS[0]).decode().replace("ProtectSystem=strict", "").replace("CapabilityBoundingSet=", "")
            unit = f.write(os.path.join(folder, "bailiwick-agent.service"), text)
            self.assertNotEqual(f.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit]).code, 0)

    def test_no_unit_runs_as_root_or_names_a_secret(self):
        for unit in UNITS:
            text = m.Unit(f.read(unit).decode())
            self.assertRegex(text.one("User"), "^bailiwick-")
            self.assertNotRegex(text.one("ExecStart"), "--token|--join |bwj1")
            self.assertEqual(text.all("NoNewPrivileges"), ["yes"])

    def test_services_say_when_they_are_ready_and_that_they_live(self):
        """That the processes do is in test_config.py and Story; that systemd is told to listen is here alone."""
        for unit in UNITS:
            text = m.Unit(f.read(unit).decode())
            serves = not unit.endswith("-join.service")
            self.assertEqual(text.all("Type"), ["notify" if serves else "oneshot"], unit)
            self.assertEqual(text.all("WatchdogSec"), ["3min"] if serves else [], unit)
            self.assertEqual(text.all("Restart"), ["always" if serves else "on-failure"], unit)


class Hardening(unittest.TestCase):
    """The static agent here; what the packages carry, which a release build makes, in clean_machine.py."""

    def test_the_static_agent_has_no_weakness_that_a_toolchain_can_prevent(self):
        self.assertEqual(m.weaknesses(m.STATIC), [])
        self.assertNotIn("INTERP", f.run(["readelf", "-lW", m.STATIC]).out)
        ours = re.search(r"\S+5agent\S+4MainEiPPc$", f.run(["nm", m.STATIC]).out, re.M).group()
        self.assertIn("%fs:0x28", f.run(["objdump", f"--disassemble={ours}", m.STATIC]).out, "the stack protector's canary")

    def test_that_is_seen_where_it_is_so(self):
        with tempfile.TemporaryDirectory() as folder:
            source = f.write(os.path.join(folder, "weak.c"), "#include <string.h>\nint main(int n, char** a) { char b[9]; strcpy(b, a[n - 1]); return b[0]; }\n")
            program = os.path.join(folder, "weak")
            for flags, expected in (
                    (["-no-pie", "-Wl,-z,lazy,-z,norelro,-z,execstack", "-fno-stack-protector", "-U_FORTIFY_SOURCE"],
                     ["C library is not fortified", "at a fixed address", "bound lazily", "memory that is writable and executable",
                      "no stack protector", "relocations stay writable"]),
                    (["-fPIE", "-pie", "-Wl,-z,now,-z,relro", "-O2", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"], [])):
                built = f.run(["gcc", *flags, source, "-o", program])
                self.assertEqual(built.code, 0, built)
                self.assertEqual(m.weaknesses(program), expected)


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="bw-packages-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        packed = f.run(["cpack", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", cls.folder, "-D",
                        "CPACK_DEBIAN_COMPRESSION_TYPE=gzip"], timeout=300)
        if packed.code != 0:
            raise AssertionError(packed)
        cls.packages = sorted(glob.glob(os.path.join(cls.folder, "*.deb")))
        cls.next = os.path.join(cls.folder, "next")
        os.mkdir(cls.next)
        for package in cls.packages:
            m.other_version(package, "0.2.0", cls.next)
        cls.archive = tarball(cls.folder)
        m.leave_the_machine()

    def setUp(self):
        self.machine = m.Machine()
        self.addCleanup(self.machine.close)
        self.ours = self.machine.copy_in(self.packages)
        self.theirs = self.machine.copy_in(glob.glob(os.path.join(self.next, "*.deb")))

    def test_lintian_has_nothing_to_say(self):
        said = f.run(["lintian", "--no-tag-display-limit", "--allow-root", *self.packages], timeout=300)
        tags = [line.split()[2] for line in said.out.splitlines() if line[:2] in ("E:", "W:")]
        self.assertEqual([t for t in tags if t not in ACCEPTED], [], said)
        self.assertEqual(len(self.packages), 3)

    COMPLETIONS = {"bash": "/usr/share/bash-completion/completions/bailiwick", "zsh": "/usr/share/zsh/vendor-completions/_bailiwick",
                   "fish": "/usr/share/fish/vendor_completions.d/bailiwick.fish"}   # where Debian's shells look

    def test_what_is_installed_and_what_is_left(self):
        machine = self.machine
        machine.run("dpkg", "-i", *self.ours)
        for shell, path in self.COMPLETIONS.items():
            self.assertEqual(f.read(machine.path(path)).decode(), machine.run("bailiwick", "completion", shell).out, shell)
            self.assertIn(f"bailiwick: {path}", machine.run("dpkg-query", "-S", path).out)
        verified = machine.run("systemd-analyze", "verify", "--man=no", *(f"/lib/systemd/system/{os.path.basename(u)}" for u in UNITS))
        self.assertNotIn("bailiwick", verified.text)
        for name, mode in zip(SERVICES, (0o711, 0o700)):
            user, data = m.pwd_of(machine, name), os.stat(machine.path("/var/lib/" + name))
            self.assertEqual((data.st_uid, data.st_gid, data.st_mode & 0o7777), (user.pw_uid, user.pw_gid, mode))
            self.assertGreater(user.pw_uid, 0)
            self.assertIn("nologin", user.pw_shell)
            self.assertTrue(os.path.islink(machine.path(f"/etc/systemd/system/multi-user.target.wants/{name}.service")))
            self.assertIsNone(machine.start(name), "there is nothing to run before a machine is set up")
            short = name.split("-")[1]
            machine.run(name, "check-config", f"/etc/bailiwick/{short}.yaml")
        # Again: nothing changes. Removed: settings stay. Purged: settings go, what was never used goes with them.
        machine.run("dpkg", "-i", *self.ours)
        machine.run("dpkg", "-r", "bailiwick", *SERVICES)
        self.assertFalse(os.path.exists(machine.path("/usr/bin/bailiwick-agent")))
        self.assertTrue(os.path.exists(machine.path("/etc/bailiwick/agent.yaml")))
        purged = machine.run("dpkg", "-P", "bailiwick", *SERVICES)
        self.assertNotIn("is kept", purged.text)
        for name in (*self.COMPLETIONS.values(), "/etc/bailiwick", "/var/lib/bailiwick-agent", "/usr/bin/bailiwick", "/usr/share/doc/bailiwick",
                     "/etc/systemd/system/multi-user.target.wants/bailiwick-agent.service"):
            self.assertFalse(os.path.lexists(machine.path(name)), name)

    def test_a_fleet_from_packages_upgraded_downgraded_and_purged(self):
        machine, story = self.machine, Story(self.machine)
        machine.run("dpkg", "-i", *self.ours)
        story.make_coordinator()
        self.assertIsNotNone(machine.start("bailiwick-coordinator"), machine.logs())
        story.declare()

        self.assertIsNone(machine.start("bailiwick-agent"))
        with self.two_sites(story, "bailiwick-agent"):
            story.commit(1, "first\n")
            self.assertNotEqual(machine.run_as("nobody", "ls", "/var/lib/bailiwick-agent", expect=None).code, 0)
            self.assertNotEqual(machine.run_as("nobody", "cat", "/var/lib/bailiwick-agent/agent.db", expect=None).code, 0)

            # A setting of the admin outlives upgrade and downgrade; so does the data, under each of the versions.
            machine.write("/etc/bailiwick/agent.yaml", "# ours\ndataDir: /var/lib/bailiwick-agent\nlisten: 127.0.0.1:7443\nlogFormat: json\n")
            for number, version, packages in ((2, "0.2.0", self.theirs), (3, None, self.ours)):
                for name in SERVICES:
                    machine.stop(name)
                machine.run("dpkg", "-i", *packages)
                if version:
                    self.assertEqual(machine.run("dpkg-query", "-Wf", "${Version}", "bailiwick-agent").out, version)
                for name in reversed(SERVICES):
                    self.assertIsNotNone(machine.start(name), machine.logs())
                story.commit(number, f"version {number}\n")
                self.assertEqual(sorted(story.versions()), list(range(1, number + 1)))
                story.verify()
            self.assertIn(b"# ours", f.read(machine.path("/etc/bailiwick/agent.yaml")))
            for name in SERVICES:
                machine.stop(name)

        self.refuses_what_is_newer("bailiwick-agent", "agent.db")
        self.refuses_what_is_newer("bailiwick-coordinator", "catalog.db")
        purged = machine.run("dpkg", "-P", "bailiwick", *SERVICES)
        for name in SERVICES:
            self.assertIn(f"{name}: the data in /var/lib/{name} is kept; to remove it for good: rm -r /var/lib/{name}", purged.out)
        self.assertEqual(f.read(machine.path("/var/lib/bailiwick-agent/replicas/tools/current/file")), b"version 3\n")
        self.assertFalse(os.path.exists(machine.path("/etc/bailiwick")))

        # Installed again the site is what it was.
        machine.run("dpkg", "-i", *self.ours)
        for name in reversed(SERVICES):
            self.assertIsNotNone(machine.start(name), machine.logs())
        self.assertEqual(sorted(story.versions()), [1, 2, 3])
        story.verify()

    @contextlib.contextmanager
    def two_sites(self, story, program):
        """core, as its units say, with a join string that root left for it; factory, the home, beside it by hand."""
        machine = self.machine
        machine.write("/etc/bailiwick/join-string", story.join_string("core") + "\n", 0o600)
        self.assertEqual(machine.start("bailiwick-agent-join"), 0, machine.logs())
        self.assertIsNotNone(machine.start("bailiwick-agent"), machine.logs())
        machine.run(program, "join", "--data-dir", "/srv/factory", "--join-file", "-", stdin=story.join_string("factory"))
        with f.background([program, "run", "--data-dir", "/srv/factory"], machine.path("/run/factory.log"), **machine.inside()):
            story.cli("site", "approve", "--all")
            machine.write("/srv/source/file", "")
            story.apply(f.dataset_yaml("tools", "/srv/source"))
            yield

    def test_the_tarball_on_an_edge_box(self):
        machine, story = self.machine, Story(self.machine)
        agent = "/opt/bailiwick/bin/bailiwick-agent"
        [archive] = machine.copy_in([self.archive], "/root")
        machine.run("tar", "-xzf", archive, "-C", "/root")
        installer = f"/root/{os.path.basename(archive)[:-len('.tar.gz')]}/install.sh"
        install = [installer, "--prefix", "/opt/bailiwick"]
        machine.run("dpkg", "-i", *(p for p in self.ours if "agent" not in p))
        story.make_coordinator()
        self.assertIsNotNone(machine.start("bailiwick-coordinator"), machine.logs())
        story.declare()

        before = machine.changed()
        would = machine.run(*install, "--dry-run")
        self.assertEqual(machine.changed(), before, "a dry run changes nothing")
        did = machine.run(*install)
        self.assertEqual(did.out, would.out, "and says what the real one does")
        self.assertIn(f"install {agent}", did.out)
        self.assertIn("user bailiwick-agent: made by systemd-sysusers", did.out)
        self.assertEqual(machine.unit("bailiwick-agent").one("ExecStart"), f"{agent} run --config /etc/bailiwick/agent.yaml")
        self.assertNotIn("bailiwick-agent", machine.run("systemd-analyze", "verify", "--man=no",
                                                        "/etc/systemd/system/bailiwick-agent.service").text)
        with self.two_sites(story, agent):
            story.commit(1, "first\n")
            # An upgrade is the same command; what the admin wrote stays.
            ours = "# ours\ndataDir: /var/lib/bailiwick-agent\nlisten: 127.0.0.1:7443\n"
            machine.write("/etc/bailiwick/agent.yaml", ours)
            self.assertIn("keep /etc/bailiwick/agent.yaml", machine.run(*install).out)
            machine.stop("bailiwick-agent")
            self.assertIsNotNone(machine.start("bailiwick-agent"), machine.logs())
            story.commit(2, "second\n")
            self.assertEqual(f.read(machine.path("/etc/bailiwick/agent.yaml")).decode(), ours)
            machine.stop("bailiwick-agent")
        gone = machine.run(*install, "--uninstall")
        self.assertIn("kept: /etc/bailiwick/agent.yaml, the data in /var/lib/bailiwick-agent", gone.out)
        for name in (agent, "/etc/systemd/system/bailiwick-agent.service", "/opt/bailiwick/share/doc/bailiwick-agent"):
            self.assertFalse(os.path.exists(machine.path(name)), name)
        self.assertEqual(f.read(machine.path("/var/lib/bailiwick-agent/replicas/tools/current/file")), b"second\n")

    def test_the_tarball_into_an_image_without_systemd_and_what_is_refused(self):
        machine = self.machine
        [archive] = machine.copy_in([self.archive], "/root")
        machine.run("tar", "-xzf", archive, "-C", "/root")
        installer = f"/root/{os.path.basename(archive)[:-len('.tar.gz')]}/install.sh"
        machine.run(installer, "--root", "/image", "--prefix", "/usr")
        self.assertTrue(os.access(machine.path("/image/usr/bin/bailiwick-agent"), os.X_OK))
        self.assertIn(b"ExecStart=/usr/bin/bailiwick-agent run", f.read(machine.path("/image/etc/systemd/system/bailiwick-agent.service")))
        self.assertNotIn("bailiwick-agent", f.read(machine.path("/etc/passwd")).decode())
        for arguments, code, said in ((["--prefix", "opt"], 2, "absolute"), (["--prefix", "/a b"], 2, "only letters"),
                                      (["--prefix"], 2, "needs a directory"), (["--force"], 2, "unknown argument")):
            refused = machine.run(installer, *arguments, expect=code)
            self.assertIn(said, refused.err)
        # Where there is no systemd at all: the user comes by useradd, and how to start it by hand is said.
        os.unlink(machine.path("/usr/bin/systemd-sysusers"))
        did = machine.run(installer)
        self.assertIn("user bailiwick-agent: made by useradd", did.out)
        self.assertIn("as bailiwick-agent: /usr/local/bin/bailiwick-agent run --config /etc/bailiwick/agent.yaml", did.out)
        data, user = os.stat(machine.path("/var/lib/bailiwick-agent")), m.pwd_of(machine, "bailiwick-agent")
        self.assertEqual((data.st_uid, data.st_gid, data.st_mode & 0o7777), (user.pw_uid, user.pw_gid, 0o711))
        machine.run("chmod", "755", "/root")
        refused = machine.run_as("nobody", installer, expect=3)
        self.assertIn("run it as root", refused.err)
        os.unlink(machine.path(os.path.dirname(installer) + "/agent.yaml"))
        self.assertIn("agent.yaml is missing", machine.run(installer, expect=4).err)

    def test_the_tarball_is_the_same_bytes_each_time(self):
        copied = shutil.copy(m.STATIC, os.path.join(self.folder, "agent-of-another-day"))
        os.utime(copied, (1, 1))
        again = tarball(os.path.join(self.folder, "again"), copied, preexec_fn=lambda: os.umask(0o077))
        self.assertEqual(f.read(self.archive), f.read(again))

    def refuses_what_is_newer(self, name, database):
        """A directory that a newer build has written: said so with exit code 5, and left as it is."""
        machine = self.machine
        command = m.as_user(name) + [w for w in machine.unit(name).one("ExecStart").split()]
        form, db = (machine.path(f"/var/lib/{name}/{n}") for n in ("format", database))
        before = f.read(form)
        with open(form, "wb") as out:
            out.write(b"99\n")
        refused = machine.run(*command, expect=f.CONFLICT)
        self.assertIn("was written by a newer Bailiwick (data format 99", refused.err)
        self.assertEqual(f.read(form), b"99\n")
        with open(form, "wb") as out:
            out.write(before)

        def schema(number=None):
            connection = sqlite3.connect(db)
            if number:
                connection.execute(f"PRAGMA user_version={number}")
                connection.commit()
            value = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.close()
            return value
        known = schema()
        schema(known + 1)
        refused = machine.run(*command, expect=f.CONFLICT)
        self.assertIn("Install the newer version again", refused.err)
        self.assertEqual(schema(), known + 1)
        schema(known)
        for path in (db, db + "-wal", db + "-shm"):
            if os.path.exists(path):
                os.chown(path, m.pwd_of(machine, name).pw_uid, m.pwd_of(machine, name).pw_gid)


if __name__ == "__main__":
    f.main()
