"""`doctor` on the three sides: a well fleet passes; each thing that goes wrong is provoked, found under its name, and has a remedy."""
import contextlib
import json
import os
import re
import resource
import socket
import subprocess

import fleet as f
import wire as w
from test_skew import Session


class Doctor(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"),
                                    f.dataset_yaml("telemetry", cls.fleet.path("telemetry"))))

    def setUp(self):
        # What other tests stopped and started finds its way back within seconds. An agent's own word of its session is up to a
        # second old: the coordinator is asked first, or the session that was lost passes for the one that is to come.
        f.wait_until(self.all_connected, what="a coordinator that has its agents")
        f.wait_until(lambda: f.run([f.AGENT, "doctor", "--data-dir", self.fleet.data("core")]).code == f.OK, what="an agent that is well")

    def all_connected(self):
        rows = self.cli(code=None)
        return all(rows.get(f"agent {site}", {}).get("result") == "ok" for site in ("core", "factory"))

    def examine(self, *command, code=f.OK, **options):
        """{check: row} of a doctor's JSON."""
        done = f.run([*command, "-o", "json"], **options)
        if code is not None:
            self.assertEqual(done.code, code, done)
        answer = json.loads(done.out)
        self.assertEqual(answer["ok"], done.code == f.OK, done)
        for row in answer["checks"]:
            self.assertEqual(row["result"] == "ok", not row["remedy"], row)
        return {row["name"]: row for row in answer["checks"]}

    def cli(self, *arguments, context=None, env=None, **options):
        return self.examine(f.CLI, "doctor", "--context", context or self.fleet.dir, *arguments, env=env, **options)

    def agent(self, *arguments, site="core", **options):
        return self.examine(f.AGENT, "doctor", "--data-dir", self.fleet.data(site), *arguments, **options)

    def coordinator(self, **options):
        return self.examine(f.COORDINATOR, "doctor", "--data-dir", os.path.join(self.fleet.dir, "coordinator"), **options)

    def assertFound(self, rows, check, result, found="", remedy=""):
        self.assertEqual(rows[check]["result"], result, rows)
        self.assertRegex(rows[check]["found"], found or ".")
        if remedy:
            self.assertRegex(rows[check]["remedy"], remedy)

    def clock(self, seconds):
        path = self.fleet.path("clock")
        f.write(path, str(seconds))
        return dict(os.environ, BAILIWICK_TEST_CLOCK=path)

    def context(self, **changes):
        """A copy of the fleet's context that says something else."""
        self.copies = getattr(self, "copies", 0) + 1
        copy = self.fleet.path(f"{self._testMethodName}-{self.copies}")
        os.makedirs(copy)
        text = w.read(os.path.join(self.fleet.dir, "context.yaml")).decode()
        for field, value in changes.items():
            text = re.sub(rf"(?m)^{field}:.*$", f"{field}: {value}", text)
        for folder in ("admin", "policy.pem", "keys"):
            there = os.path.join(self.fleet.dir, folder)
            if os.path.exists(there):
                os.symlink(there, os.path.join(copy, folder))
        f.write(os.path.join(copy, "context.yaml"), text)
        return copy

    def disk_here(self):
        """What doctor should say of the disk that this machine gives to tests: it may be nearly full."""
        space = os.statvfs(self.fleet.dir)
        return "ok" if space.f_bavail >= space.f_blocks / 20 else "warn"

    # --- well
    def test_a_well_fleet_passes_on_every_side(self):
        self.maxDiff = None
        machine = ("memory", "processes", "time source")   # what this machine, or who runs tests in it, gives: asked for, not judged
        rows = self.cli()
        self.assertLessEqual(set(machine), set(rows))
        for check in ("context", "owner", "disk", "open files", "certificate", "key certificate", "key policy", "dns coordinator", "tcp coordinator",
                      "tls coordinator", "clock", "version coordinator", "law", "audit logs", *(f"{what} {site}" for site in ("core", "factory")
                                                                                for what in ("agent", "dns agent", "tcp agent", "tls agent", "version agent"))):
            self.assertFound(rows, check, "ok")
        f.wait_until(lambda: "connected" in self.agent(code=None)["agent"]["found"], what="the agent says so")
        rows = self.agent()
        self.assertFound(rows, "disk", self.disk_here())
        self.assertLessEqual({*machine, "inotify"}, set(rows))
        for check in ("owner", "inodes", "file system", "reflink", "open files", "certificate", "key certificate", "key enrolment", "agent",
                      "dns this agent", "tcp this agent", "dns coordinator", "tcp coordinator", "tls coordinator", "clock", "version coordinator"):
            self.assertFound(rows, check, "ok")
        rows = self.coordinator()
        self.assertFound(rows, "disk", self.disk_here())
        self.assertLessEqual(set(machine), set(rows))
        for check in ("data", "owner", "inodes", "file system", "reflink", "open files", "certificate", "key certificate", "ca", "key ca", "key grant",
                      "key timestamp", "coordinator", "version coordinator", "dns control port", "tcp control port", "dns join port", "tcp join port",
                      "tls join port"):
            self.assertFound(rows, check, "ok")
        table = f.run([f.CLI, "doctor", "--context", self.fleet.dir])
        self.assertRegex(table.out, r"(?m)^RESULT +CHECK +FOUND$")
        self.assertRegex(table.out, r"(?m)^nothing fails")
        self.assertRegex(f.run([f.AGENT, "doctor", "--data-dir", self.fleet.data("core"), "-o", "yaml"]).out, r"(?m)^checks:$")

    def test_it_leaves_nothing_behind(self):
        before = sorted(os.listdir(self.fleet.data("core")))
        self.agent()
        self.assertEqual(sorted(os.listdir(self.fleet.data("core"))), before)

    # --- the way there
    def test_names_and_ports_that_lead_nowhere(self):
        rows = self.cli(context=self.context(coordinator="no-such-name.invalid:7440"), code=f.UNAVAILABLE)
        self.assertFound(rows, "dns coordinator", "fail", "no-such-name.invalid", "resolv.conf")
        self.assertNotIn("tcp coordinator", rows)
        rows = self.agent("--coordinator", "no-such-name.invalid:7440", code=f.UNAVAILABLE)
        self.assertFound(rows, "dns coordinator", "fail")
        rows = self.cli(context=self.context(coordinator="127.0.0.1:1"), code=f.UNAVAILABLE)
        self.assertFound(rows, "tcp coordinator", "fail", "refused", "start it")
        rows = self.cli(context=self.context(coordinator="nonsense"), code=f.FAILED)
        self.assertFound(rows, "context", "fail", "HOST:PORT")

    def test_somebody_else_at_the_port(self):
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            address = f"127.0.0.1:{stranger.getsockname()[1]}"
            rows = self.cli(context=self.context(coordinator=address), code=f.UNAVAILABLE)
            self.assertFound(rows, "tcp coordinator", "ok")
            self.assertFound(rows, "tls coordinator", "fail", remedy="not who is expected")
        # An agent of ours is no coordinator.
        endpoint = json.loads(w.read(os.path.join(self.fleet.data("core"), "endpoints.json")))["transfer"]
        rows = self.cli(context=self.context(coordinator=endpoint), code=f.UNAVAILABLE)
        self.assertFound(rows, "tls coordinator", "fail", "certificate")
        self.assertFound(self.agent("--coordinator", endpoint, site="factory", code=f.UNAVAILABLE), "tls coordinator", "fail")

    def test_while_the_coordinator_is_down(self):
        self.fleet.dev("stop", "coordinator")
        try:
            rows = self.cli(code=f.UNAVAILABLE)
            self.assertFound(rows, "tcp coordinator", "fail", "refused")
            self.assertFound(rows, "certificate", "ok")
            rows = self.agent(code=f.UNAVAILABLE)
            self.assertFound(rows, "tcp coordinator", "fail", "refused")
            f.wait_until(lambda: self.agent(code=f.UNAVAILABLE)["agent"]["result"] == "fail", what="the agent noticed")
            rows = self.coordinator()
            self.assertFound(rows, "coordinator", "warn", "none serves", "bailiwick-coordinator serve")
            self.assertFound(rows, "version coordinator", "ok", "this program")
            self.before_it_serves()
        finally:
            self.fleet.dev("start", "coordinator")
            f.wait_until(lambda: self.agent(code=None)["agent"]["result"] == "ok", what="the agent is connected again")

    def before_it_serves(self):
        """What it would listen at and tell agents, as it stands in the settings."""
        def look(control, **options):
            config = f.write(self.fleet.path("coordinator.yaml"), f"dataDir: {os.path.join(self.fleet.dir, 'coordinator')}\n"
                             f"controlListen: {control}\njoinListen: 127.0.0.1:0\nadvertise: {options.pop('advertise', 'localhost')}\n")
            return self.examine(f.COORDINATOR, "doctor", "--config", config, **options)
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            taken = "127.0.0.1:%d" % stranger.getsockname()[1]
            rows = look(taken)
            self.assertFound(rows, "dns control port", "ok", "localhost is ")
            self.assertFound(rows, "tcp control port", "warn", f"another process listens at {taken}", "--control-listen")
        self.assertFound(look(taken), "tcp control port", "ok", "free")
        self.assertFound(look(taken), "tcp join port", "ok", "chosen when it serves")
        rows = look(taken, advertise="no-such-name.invalid", code=f.UNAVAILABLE)
        self.assertFound(rows, "dns join port", "fail", "no-such-name.invalid", "--advertise")

    def test_an_agent_that_is_down(self):
        self.fleet.dev("stop", "core")
        try:
            f.wait_until(lambda: self.cli("--site", "core")["agent core"]["result"] == "warn", what="it is known to be offline")
            rows = self.cli("--site", "core")
            self.assertFound(rows, "agent core", "warn", "offline", "bailiwick-agent doctor")
            self.assertNotIn("agent factory", rows)
            self.assertFound(self.agent(), "agent", "warn", "none runs", "bailiwick-agent run")
        finally:
            self.fleet.dev("start", "core")
        self.assertIn("nowhere does not exist", f.run([f.CLI, "doctor", "--site", "nowhere"], env=self.fleet.env).err)

    # --- time
    def test_a_clock_that_is_wrong(self):
        for off, result, code in ((300, "fail", f.FAILED), (20, "warn", f.OK)):
            env = self.clock(off)
            self.assertFound(self.cli(env=env, code=code), "clock", result, "ahead of the coordinator's", "chrony")
            self.assertFound(self.agent(env=env, code=code), "clock", result, "ahead of the coordinator's")
        self.assertFound(self.agent(env=self.clock(-200), code=f.FAILED), "clock", "fail", "behind")

    def test_certificates_that_age(self):
        rows = self.agent(env=self.clock(18 * 3600), code=f.FAILED)   # so late nobody has renewed it
        self.assertFound(rows, "certificate", "warn", "half life", "--renew")
        rows = self.agent(env=self.clock(2 * 86400), code=f.FAILED)
        self.assertFound(rows, "certificate", "fail", "expired")
        rows = self.cli(env=self.clock(400 * 86400), code=f.FAILED)
        self.assertFound(rows, "certificate", "fail", "expired", "bailiwick login")
        self.assertFound(self.coordinator(env=self.clock(3640 * 86400), code=f.FAILED), "ca", "warn", "until", "ca rotate")

    # --- keys, owners, law
    def test_keys_that_others_can_read(self):
        for look, path, check in ((self.cli, os.path.join(self.fleet.dir, "admin", "key.pem"), "key certificate"),
                                  (self.agent, os.path.join(self.fleet.data("core"), "identity", "enrolment.pem"), "key enrolment"),
                                  (self.coordinator, os.path.join(self.fleet.dir, "coordinator", "grant.pem"), "key grant"),
                                  (self.coordinator, os.path.join(self.fleet.dir, "coordinator", "ca", "key.pem"), "key ca")):
            with self.subTest(check):
                os.chmod(path, 0o644)
                try:
                    self.assertFound(look(code=f.FAILED), check, "fail", "read by others", f"chmod 600 {path}")
                finally:
                    os.chmod(path, 0o600)

    def test_files_of_somebody_else(self):
        path = os.path.join(self.fleet.data("core"), "agent.db")
        os.chown(path, 65534, 65534)
        try:
            self.assertFound(self.agent(code=f.FAILED), "owner", "fail", "agent.db belongs to nobody", "chown -R root")
        finally:
            os.chown(path, 0, 0)
        os.chmod(self.fleet.data("core"), 0o777)
        try:
            self.assertFound(self.agent(code=f.FAILED), "owner", "fail", "written by others", "chmod go-w")
        finally:
            os.chmod(self.fleet.data("core"), 0o700)

    def test_a_context_that_pins_another_law(self):
        rows = self.cli(context=self.context(policyRootSha256="ab" * 32), code=f.FAILED)
        self.assertFound(rows, "law", "fail", remedy="policyRootSha256")
        rows = self.examine(f.CLI, "doctor", "--context", self.fleet.path("nowhere"), code=f.FAILED)
        self.assertFound(rows, "context", "fail", "no context", "bailiwick login")

    def test_places_where_nothing_is(self):
        empty = self.fleet.path("empty")
        os.makedirs(empty)
        rows = self.examine(f.AGENT, "doctor", "--data-dir", empty, code=f.FAILED)
        self.assertFound(rows, "certificate", "fail", "has not joined", "--join-file")
        rows = self.examine(f.COORDINATOR, "doctor", "--data-dir", empty, code=f.FAILED)
        self.assertFound(rows, "data", "fail", "no coordinator", "init")
        rows = self.examine(f.AGENT, "doctor", "--data-dir", self.fleet.path("nothing"), code=f.FAILED)
        self.assertFound(rows, "disk", "fail")

    def test_a_catalog_that_is_gone(self):
        """Also of the start: a coordinator that forgot everything would be worse than one that does not serve."""
        catalog = os.path.join(self.fleet.dir, "coordinator", "catalog.db")
        self.fleet.dev("stop", "coordinator")
        aside = {name: name + ".aside" for name in (catalog, catalog + "-wal", catalog + "-shm") if os.path.exists(name)}
        try:
            for name, to in aside.items():
                os.rename(name, to)
            for what in ("gone", "empty"):
                if what == "empty":
                    f.write(catalog)
                serve = self.serve()
                self.assertEqual(serve.code, f.FAILED, serve)
                self.assertRegex(serve.err, rf"catalog.db is {what}.*served before; bring .* back from a backup.* init in an empty directory")
                self.assertFound(self.coordinator(code=f.FAILED), "catalog", "fail", f"catalog.db is {what}", "backup")
                self.assertEqual(os.path.exists(catalog), what == "empty")
        finally:
            for name, to in aside.items():
                os.rename(to, name)
            self.fleet.dev("start", "coordinator")
        self.assertFound(self.coordinator(), "catalog", "ok")

    def serve(self):
        return f.run([f.COORDINATOR, "serve", "--data-dir", os.path.join(self.fleet.dir, "coordinator"), "--control-listen", "127.0.0.1:0",
                      "--join-listen", "127.0.0.1:0"], timeout=30)

    def test_who_does_not_start_says_which_file_and_what_to_do(self):
        def agent():
            return f.run([f.AGENT, "run", "--data-dir", self.fleet.data("core")], timeout=30)

        def last_record(path):
            return f.read(path)[:-50]
        coordinator = os.path.join(self.fleet.dir, "coordinator")
        self.fleet.dev("stop", "core")
        self.fleet.dev("stop", "coordinator")
        try:
            for start, directory, name, damage in (
                    (agent, self.fleet.data("core"), "agent.db", lambda path: b"x" * 4096 + f.read(path)[4096:]),
                    (agent, self.fleet.data("core"), "format", lambda path: b""),
                    (agent, self.fleet.data("core"), "audit/payload/000", last_record),
                    (self.serve, coordinator, "catalog.db", lambda path: b"x" * 4096 + f.read(path)[4096:]),
                    (self.serve, coordinator, "format", lambda path: b""),
                    (self.serve, coordinator, "audit/payload/000", last_record)):
                path = os.path.join(directory, name)
                before = f.read(path)
                f.write(path, damage(path))
                try:
                    said = start()
                finally:
                    f.write(path, before)
                self.assertEqual(said.code, f.FAILED, said)
                self.assertIn(path, said.err)
                self.assertIn("back from a backup", said.err)
        finally:
            self.fleet.dev("start", "coordinator")
            self.fleet.dev("start", "core")

    def test_a_context_that_others_can_change(self):
        place = self.context()
        self.assertFound(self.cli(context=place), "owner", "ok", "root alone")
        os.chmod(os.path.join(place, "context.yaml"), 0o666)
        self.assertFound(self.cli(context=place, code=f.FAILED), "owner", "fail", "written by others", "chmod go-w .*context.yaml")
        with self.mounted(self.fleet.path("full"), "size=1m") as path:
            f.write(os.path.join(path, "context.yaml"), w.read(os.path.join(place, "context.yaml")), mode=0o600)
            for folder in ("admin", "policy.pem", "keys"):
                if os.path.lexists(os.path.join(place, folder)):
                    os.symlink(os.path.join(place, folder), os.path.join(path, folder))
            self.assertFound(self.cli(context=path), "disk", "warn", "of 1.00 MiB free", "login could not be stored")

    # --- versions
    def test_a_process_that_is_older_than_what_is_installed(self):
        path = os.path.join(self.fleet.dir, "coordinator", "endpoints.json")
        before = w.read(path)
        told = json.loads(before)
        for build, result in ((None, "warn"), ("0.9.0", "fail")):
            changed = {k: v for k, v in told.items() if k != "build"} | ({"build": build} if build else {})
            f.write(path, json.dumps(changed))
            try:
                self.assertFound(self.coordinator(code=None), "version coordinator", result, remedy="restart it|upgrade")
            finally:
                f.write(path, before)

    def test_builds_that_are_too_far_apart(self):
        self.fleet.dev("stop", "core")
        try:
            session = Session(self.fleet, "core")
            self.addCleanup(session.close)
            session.send(w.session_pb2.AgentMessage(hello=w.session_pb2.AgentHello(
                protocol_min=1, protocol_max=1, build="9.0.0", incarnation=os.urandom(16))))
            next(session.call)
            rows = self.cli("--site", "core", code=f.FAILED)
            self.assertFound(rows, "version agent core", "fail", "9.0.0", "upgrade")
            session.close()
        finally:
            self.fleet.dev("start", "core")

    # --- the machine
    def test_limits_that_are_low(self):
        def few_files():
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        empty = self.fleet.path("limits")
        os.makedirs(empty)
        rows = self.examine(f.AGENT, "doctor", "--data-dir", empty, code=f.FAILED, preexec_fn=few_files)
        self.assertFound(rows, "open files", "fail", "at most 256", "LimitNOFILE")
        script = f"echo 4 >/proc/sys/user/max_inotify_instances && exec {f.AGENT} doctor --data-dir '{empty}' \"$@\""
        rows = self.examine("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", code=f.FAILED)
        self.assertFound(rows, "inotify", "warn", "4 instances", "max_inotify_instances")

    @contextlib.contextmanager
    def mounted(self, path, options):
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
        try:
            yield path
        finally:
            subprocess.run(["umount", "-l", path], check=True)

    def test_disks_that_are_small_or_take_nothing(self):
        with self.mounted(self.fleet.path("small"), "size=64m,nr_inodes=500") as path:
            rows = self.examine(f.AGENT, "doctor", "--data-dir", path, code=f.FAILED)
            self.assertFound(rows, "disk", "fail", "MiB of 64", "larger disk")
            self.assertFound(rows, "inodes", "fail", "of 500", "inodes")
            self.assertFound(rows, "file system", "ok", "tmpfs")
        with self.mounted(self.fleet.path("fixed"), "ro") as path:
            rows = self.examine(f.AGENT, "doctor", "--data-dir", path, code=f.FAILED)
            self.assertFound(rows, "file system", "fail", "tmpfs: ", "writable")
        rows = self.agent("--disk-reserve", "900TiB", code=f.FAILED)
        self.assertFound(rows, "disk", "fail", remedy="lower diskReserve")
        rows = self.agent("--replica-path", self.fleet.path("nothing"), code=f.FAILED)
        self.assertFound(rows, "disk of replicas", "fail")


if __name__ == "__main__":
    f.main()
