"""Keys and tokens: not in process lists, not in logs, not in core dumps, not for other users; and an agent that runs as nobody much."""
import base64
import contextlib
import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import unittest

import fleet as f
import identities as i
import wire as w

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]


class Secrets(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def setUp(self):
        super().setUp()
        f.wait_until(lambda: all(i.agents(self.fleet)[site]["connected"] for site in ("factory", "core")),
                     what="both are there, whatever the test before restarted")

    def token(self, site):
        return self.fleet.json("site", "join-token", site)

    def site(self, name):
        self.fleet.apply(f"apiVersion: bailiwick/v1\nkind: Site\nmetadata: {{name: {name}}}\nspec: {{region: eu/de}}\n")
        return self.fleet.path("data-" + name)

    def command_line(self, process):
        return f.read(f"/proc/{process.pid}/cmdline").decode().replace("\0", " ")

    # --- process lists
    def test_a_token_need_not_stand_on_a_command_line(self):
        data, token = self.site("quiet"), self.token("quiet")
        process = subprocess.Popen([f.AGENT, "join", "--data-dir", data, "--join-file", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
        shown = f.wait_until(lambda: self.command_line(process), what="its command line")
        self.assertIn("join --data-dir", shown)
        self.assertNotIn(token["token"], shown)
        out, _ = process.communicate(token["join"].encode() + b"\n", timeout=60)
        self.assertEqual(process.returncode, f.OK, out)

    def test_a_token_on_a_command_line_does_not_stay_there(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for n, form in enumerate((["--token", "s3cret-token"], ["--token=s3cret-token"])):
                process = subprocess.Popen([f.AGENT, "join", "--data-dir", self.fleet.path(f"nowhere{n}"), *form, "--ca-sha256", "ab" * 32,
                                            "--policy-root-sha256", "cd" * 32, "--coordinator", f"127.0.0.1:{silent.getsockname()[1]}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.addCleanup(process.wait)
                self.addCleanup(process.kill)
                shown = f.wait_until(lambda: "xxxxxxxxxxxx" in (line := self.command_line(process)) and line, what="it is overwritten")
                self.assertNotIn("s3cret", shown)
                self.assertIn("--token", shown)
                connection, _ = silent.accept()   # it went on with what it had read
                connection.close()

    # --- logs
    def secrets(self, tokens):
        """Everything on the fleet's disk that nobody must see, in the forms in which it could be printed; each with what it is."""
        for token in tokens:
            yield "token", token["token"].encode()
            yield "join string", token["join"].encode()
        for path in f.files_under(self.fleet.dir):
            text = f.read(path) if os.path.getsize(path) < 8192 else b""
            for body in re.findall(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END", text, re.S):
                der = base64.b64decode(body)
                seed = der[-32:]
                for form in (body.split(b"\n")[0], seed, seed.hex().encode(), base64.b64encode(seed)[:40]):
                    yield os.fsdecode(path), form
            for secret in re.findall(rb"(?m)^secret ([0-9a-f]{64})$", text):
                for form in (secret, bytes.fromhex(secret.decode())):
                    yield os.fsdecode(path), form

    def test_no_log_holds_a_key_or_a_token(self):
        fleet = self.fleet
        data = self.site("late")
        tokens = [self.token("late"), self.token("late")]
        fleet.dev("stop", "core")
        self.addCleanup(fleet.dev, "start", "core", expect=None)
        made = f.run([f.AGENT, "key", "generate", "--data-dir", fleet.data("core")])
        self.assertIn(made.code, (f.OK, f.CONFLICT), "there is one, or now there is")
        with i.coordinator_with(fleet, "--log-level", "debug"), i.agent_with(fleet, "core", "--log-level", "debug"):
            self.assertEqual(f.run([f.AGENT, "join", "--data-dir", data, "--join-file", "-"], stdin=tokens[0]["join"]).code, f.OK)
            wrong = f.run([f.AGENT, "join", "--data-dir", self.fleet.path("data-again"), "--join-file", "-"], stdin=tokens[0]["join"])
            self.assertNotEqual(wrong.code, f.OK, "it was spent")
            self.assertNotIn(tokens[0]["token"], wrong.text)
            source = f.make_tree(fleet.path("noted"), files=20)
            fleet.apply(f.dataset_yaml("noted", source))
            fleet.commit("noted")
            fleet.wait_version("noted", 1, "core")
            fleet.cli("site", "approve", "late")
            i.agents(fleet)
            logs = {"coordinator.log": fleet.log("coordinator"), "core.log": fleet.log("core"), "factory.log": fleet.log("factory")}
        fleet.dev("start", "core")
        logs["audit"] = fleet.audit("core") + f.audit_text(os.path.join(fleet.dir, "coordinator", "audit"))
        logs["events"] = fleet.cli("events", "-o", "json").out
        self.assertIn(" debug ", logs["coordinator.log"])
        found, seen = [], set()
        for what, form in self.secrets(tokens):
            seen.add(os.path.basename(what))
            found += [f"{what} in {name}" for name, text in logs.items() if form in text.encode("utf-8", "surrogateescape")]
        self.assertFalse(found)
        self.assertLessEqual({"token", "key.pem", "enrolment.pem"}, seen, "the test knows what to look for")
        self.assertTrue(any(name.endswith(".key") for name in seen))
        # Nor is a token anywhere on the coordinator's disk: only its hash.
        for token in tokens:
            self.assertEqual(f.contains(os.path.join(fleet.dir, "coordinator"), token["token"].encode()), [])

    # --- files
    def test_state_is_for_its_owner_alone(self):
        fleet = self.fleet
        source = f.make_tree(fleet.path("kept"), files=20)
        fleet.apply(f.dataset_yaml("kept", source))
        fleet.commit("kept")
        fleet.wait_version("kept", 1, "core")
        open_to_others, looked_at = [], 0
        for root in (os.path.join(fleet.dir, "coordinator"), fleet.data("core"), fleet.data("factory")):
            self.assertEqual(stat.S_IMODE(os.lstat(root).st_mode), 0o700, root)
            for folder, folders, names in os.walk(root):
                folders[:] = [d for d in folders if os.path.join(folder, d) != os.path.join(root, "replicas")]   # what readers read
                for name in folders + names:
                    path = os.path.join(folder, name)
                    info = os.lstat(path)
                    looked_at += 1
                    if not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o77:
                        open_to_others.append((oct(info.st_mode), path))
        self.assertFalse(open_to_others)
        self.assertGreater(looked_at, 60)

    # --- memory
    def test_an_agent_that_runs_as_nobody_and_keeps_its_memory_to_itself(self):
        fleet = self.fleet
        fleet.dev("stop", "core")
        self.addCleanup(fleet.dev, "start", "core")
        for folder in (fleet.base, fleet.dir, os.path.join(fleet.dir, "sites")):
            os.chmod(folder, 0o711)
        self.addCleanup(f.run, ["chown", "-R", f"{os.geteuid()}:{os.getegid()}", fleet.data("core")])
        f.run(["chown", "-R", f"{NOBODY}:{NOBODY}", fleet.data("core")])
        log = os.path.join(fleet.dir, "sites", "core.log")
        dumps = resource.getrlimit(resource.RLIMIT_CORE)
        with f.background([*AS_NOBODY, f.AGENT, "run", "--data-dir", fleet.data("core")], log,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (dumps[1], dumps[1]))) as process:
            source = f.make_tree(fleet.path("modest"), files=30)
            fleet.apply(f.dataset_yaml("modest", source))
            fleet.commit("modest")
            fleet.wait_version("modest", 1, "core")
            f.wait_until(lambda: os.path.islink(fleet.current("core", "modest")), what="laid out")
            self.assertFalse([p for p in f.differences(source, fleet.current("core", "modest")) if "suid" not in p])
            for secret in ("environ", "mem", "auxv"):
                mine = f.run([*AS_NOBODY, "head", "-c1", f"/proc/{process.pid}/{secret}"])
                self.assertRegex(mine.err, "(?i)permission denied", f"{secret}: of the same user, who may not")
            limits = f.read(f"/proc/{process.pid}/limits").decode()
            self.assertRegex(limits, r"Max core file size\s+0 ")
            sleeper = subprocess.Popen([*AS_NOBODY, "sleep", "60"])   # that these files are open to who is not so careful
            self.addCleanup(sleeper.wait)
            self.addCleanup(sleeper.kill)
            f.wait_until(lambda: f.run([*AS_NOBODY, "head", "-c1", f"/proc/{sleeper.pid}/environ"]).code == 0, what="a process that may be read")
            process.send_signal(signal.SIGSEGV)
            process.wait(timeout=20)
            self.assertEqual(process.returncode, -signal.SIGSEGV)
        with contextlib.suppress(FileNotFoundError):
            self.assertEqual([n for n in os.listdir(fleet.data("core")) if n.startswith("core")], [])

    def test_the_coordinator_too(self):
        processes = json.loads(self.fleet.dev("status", "-o", "json").out)["processes"]
        pid = next(p["pid"] for p in processes if p["name"] == "coordinator")
        limits = f.read(f"/proc/{pid}/limits").decode()
        self.assertRegex(limits, r"Max core file size\s+0 ")
        soft, hard = re.search(r"Max open files\s+(\S+)\s+(\S+)", limits).groups()
        self.assertEqual(soft, hard, "as many connections as the system allows")


if __name__ == "__main__":
    f.main()
