"""Configuration files and the service manager: what a file may say, and what real processes tell who started them."""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import fleet as f  # noqa: E402

PROCESSES = ((f.AGENT, "run", "agent.yaml"), (f.COORDINATOR, "serve", "coordinator.yaml"))


def keys(text):
    return re.findall(r"(?m)^#?([a-z][A-Za-z]*):(?: |$)", text)


def flag_of(key):
    return "--" + re.sub(r"[A-Z]", lambda c: "-" + c.group().lower(), key)


class Files(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="bw-config-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def file(self, text):
        return f.write(os.path.join(self.directory, "x.yaml"), text)

    def test_the_shipped_file_is_the_table_of_settings(self):
        for program, command, name in PROCESSES:
            shipped = os.path.join(ROOT, "deploy", "packages", name)
            printed = f.run([program, "check-config", "--example"])
            self.assertEqual(printed.out, f.read(shipped).decode(), f"write it anew: {program} check-config --example > {shipped}")
            self.assertEqual(f.run([program, "check-config", shipped]).code, f.OK)

    def test_every_flag_is_a_key_and_every_key_a_flag(self):
        for program, command, name in PROCESSES:
            known = keys(f.read(os.path.join(ROOT, "deploy", "packages", name)).decode())
            flags = re.findall(r"(?m)^\s+(?:-h,)?(--[a-z-]+)", f.run([program, command, "--help"]).out)
            self.assertEqual(sorted(set(flags) - {"--help", "--config"}), sorted(flag_of(k) for k in known))

    def test_each_key_is_taken(self):
        values = {"listen": "127.0.0.1:1", "controlListen": "127.0.0.1:1", "joinListen": "127.0.0.1:2", "healthListen": "a:3", "metricsListen": "127.0.0.1:4",
                  "coordinator": "a.example:2", "certificateLife": "1h", "caRotateEvery": "30d", "diskReserve": "2GiB", "proxy": "http://a.example:3", "noProxy": "b.example",
                  "logFormat": "json", "logLevel": "debug"}
        for program, _, name in PROCESSES:
            for key in keys(f.read(os.path.join(ROOT, "deploy", "packages", name)).decode()):
                more = "" if key == "dataDir" else "dataDir: /d\n"
                values["advertise"] = "a.example:1" if program == f.AGENT else "a.example"
                checked = f.run([program, "check-config", self.file(f"{more}{key}: {values.get(key, '/somewhere')}\n")])
                self.assertEqual(checked.code, f.OK, checked)

    def test_what_is_wrong_is_said_with_its_place(self):
        agent, coordinator = f.AGENT, f.COORDINATOR
        for program, text, code, said in (
                (agent, "dataDir: /d\nlistne: a:1\n", f.USAGE, 'x.yaml:2:1: unknown setting "listne"; did you mean "listen"?'),
                (agent, "dataDir: /d\nlisten: 7443\n", f.USAGE, 'x.yaml:2:9: listen: "7443" is not HOST:PORT'),
                (agent, "dataDir: d\n", f.USAGE, "x.yaml:1:10: dataDir"),
                (agent, "listen: a:1\n", f.USAGE, "needs --data-dir, or dataDir in the file"),
                (agent, "dataDir: /d\nlisten: 0.0.0.0:7443\n", f.USAGE, "needs --advertise"),
                (agent, "dataDir: /d\nadvertise: \"[::]:7443\"\n", f.USAGE, "needs --advertise"),
                (coordinator, "dataDir: /d\ncontrolListen: 0.0.0.0:7440\n", f.USAGE, "needs --advertise"),
                (coordinator, "dataDir: /d\ncertificateLife: 48h\n", f.USAGE, "from 5s to 24h"),
                (coordinator, "dataDir: /d\nlogLevel: warn\n", f.USAGE, "did you mean warning?")):
            checked = f.run([program, "check-config", self.file(text)])
            self.assertEqual(checked.code, code, checked)
            self.assertIn(said, checked.err)
        missing = f.run([agent, "check-config", os.path.join(self.directory, "none.yaml")])
        self.assertEqual(missing.code, f.NOT_FOUND, missing)

    def test_all_problems_at_once_and_run_says_the_same(self):
        path = self.file("colour: red\nlogLevel: loud\n")
        checked, ran = f.run([f.AGENT, "check-config", path]), f.run([f.AGENT, "run", "--config", path])
        self.assertEqual((checked.code, checked.err), (f.USAGE, ran.err))
        self.assertEqual(ran.code, f.USAGE)
        self.assertIn("x.yaml:1:1", ran.err)
        self.assertIn("x.yaml:2:11", ran.err)


class Manager:
    """The service manager's end of the protocol: a datagram socket."""

    def __init__(self, path, watchdog_seconds):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(60)
        self.env = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC=str(watchdog_seconds * 1000000))

    def hears(self):
        return self.socket.recv(4096).decode()


class Services(unittest.TestCase):
    @contextlib.contextmanager
    def started(self, base, name, command):
        manager = Manager(os.path.join(base, name + ".notify"), watchdog_seconds=2)
        with open(os.path.join(base, name + ".out"), "wb") as log, contextlib.closing(manager.socket):
            process = subprocess.Popen(command, env=manager.env, stdout=log, stderr=log)
            try:
                yield manager, process
            finally:
                process.kill()
                process.wait()

    def test_both_run_from_a_file_and_tell_the_manager(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = f.make_tree(fleet.path("src"), files=20)
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("tools", source)))
            fleet.commit("tools")
            fleet.wait_version("tools", 1, "core")
            fleet.dev("stop", "core")
            config = f.write(fleet.path("agent.yaml"), f"dataDir: {fleet.data('core')}\nlogFormat: json\nlogLevel: error\n")
            command = [f.AGENT, "run", "--config", config, "--log-level", "info"]
            with self.started(fleet.base, "agent", command) as (manager, process):
                self.assertRegex(manager.hears(), r"^(WATCHDOG=1|READY=1\nSTATUS=serving site core at 127\.0\.0\.1:\d+)$")
                while manager.hears() != "WATCHDOG=1":
                    pass
                f.write(os.path.join(source, "new"), b"second")
                fleet.commit("tools")
                fleet.wait_version("tools", 2, "core")
                process.send_signal(signal.SIGTERM)
                while manager.hears() != "STOPPING=1\nSTATUS=stopping":
                    pass
                self.assertEqual(process.wait(60), 0)
            said = f.read(fleet.path("agent.out")).decode()
            self.assertIn('"serving"', said, "the flag's level wins, the file's format stays")
            fleet.dev("start", "core")

    def test_the_coordinator_is_ready_once_it_serves(self):
        base = tempfile.mkdtemp(prefix="bw-config-")
        self.addCleanup(shutil.rmtree, base, ignore_errors=True)
        data = os.path.join(base, "data")
        made = f.run([f.COORDINATOR, "init", "--data-dir", data, "--trust-domain", "acme.example", "--admin-dir",
                      os.path.join(base, "admin")])
        self.assertEqual(made.code, f.OK, made)
        config = f.write(os.path.join(base, "c.yaml"), f"dataDir: {data}\ncontrolListen: 127.0.0.1:0\njoinListen: 127.0.0.1:0\n")
        with self.started(base, "coordinator", [f.COORDINATOR, "serve", "--config", config]) as (manager, process):
            self.assertRegex(manager.hears(), r"^READY=1\nSTATUS=serving acme.example at 127.0.0.1:\d+$")
            self.assertEqual(manager.hears(), "WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            while manager.hears() != "STOPPING=1\nSTATUS=stopping":
                pass
            self.assertEqual(process.wait(60), 0)

    def test_a_socket_that_is_none_is_an_error(self):
        ran = f.run([f.COORDINATOR, "serve", "--data-dir", "/nowhere"], env=dict(os.environ, NOTIFY_SOCKET="notify"))
        self.assertEqual(ran.code, f.USAGE, ran)
        self.assertIn("NOTIFY_SOCKET", ran.err)


if __name__ == "__main__":
    f.main()
