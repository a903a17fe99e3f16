"""Completion in real shells, manual pages as man shows them, -o name and --no-input."""
import os
import re
import subprocess
import unittest

import fleet as f


def shell(fleet, *command):
    """Runs a shell that finds the command line by its name."""
    env = dict(os.environ, PATH=f.BIN + os.pathsep + os.environ["PATH"], BAILIWICK_CONTEXT=fleet.dir, HOME=fleet.path("home"))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split(), done


class Shells(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.makedirs(cls.fleet.path("home"))
        os.makedirs(cls.fleet.path("telemetry"))
        f.write(cls.fleet.path("telemetry", "one"), b"1")
        cls.fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"),
                                    f.dataset_yaml("telemetry", cls.fleet.path("telemetry"))))

    def bash(self, line):
        words = line.split(" ")
        script = ("source <(bailiwick completion bash); COMP_WORDS=(" + " ".join(f"'{w}'" for w in words) + ");"
                  f"COMP_CWORD={len(words) - 1}; _bailiwick 2>/dev/null; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        return shell(self.fleet, "bash", "--norc", "-c", script)[0]

    def fish(self, line):
        out, done = shell(self.fleet, "fish", "--no-config", "-c", f"bailiwick completion fish | source; complete -C '{line}'")
        self.assertEqual(done.returncode, 0, done)
        return [row.split("\t")[0] for row in done.stdout.splitlines()] if out else []

    def zsh(self, line):
        words = " ".join(f"'{w}'" for w in line.split(" "))
        script = ("compdef() { :; }; _files() { print FILES; }; _describe() { print -rl -- ${(P)2}; };"
                  f"source <(bailiwick completion zsh); words=({words}); CURRENT=$#words; _bailiwick")
        return [row.split(":")[0] for row in shell(self.fleet, "zsh", "-f", "-c", script)[1].stdout.splitlines()]

    def test_commands_flags_and_names_of_what_is_there_complete_in_every_shell(self):
        for complete in (self.bash, self.fish, self.zsh):
            with self.subTest(complete.__name__):
                self.assertEqual(complete("bailiwick dataset comm"), ["commit"])
                self.assertEqual(complete("bailiwick dataset commit tele"), ["telemetry"])
                self.assertEqual(complete("bailiwick why telemetry co"), ["core"])
                self.assertEqual(sorted(complete("bailiwick describe site ")), ["core", "factory"])
                self.assertEqual(complete("bailiwick status --outp"), ["--output"])
                self.assertEqual(complete("bailiwick nonsense x"), [])

    def test_files_are_left_to_the_shell(self):
        self.assertEqual(self.zsh("bailiwick apply -f "), ["FILES"])
        path = self.fleet.path("home", "fleet.yaml")
        f.write(path, b"")
        self.assertEqual(self.fish("bailiwick apply -f " + path[:-6]), [path])

    def test_nobody_waits_for_a_coordinator_that_is_away(self):
        self.fleet.dev("stop", "coordinator")
        self.addCleanup(self.fleet.dev, "start", "coordinator")
        self.assertEqual(self.bash("bailiwick dataset commit tele"), [])
        self.assertEqual(self.bash("bailiwick stat"), ["status"])

    def test_manual_pages_show_without_a_warning(self):
        pages = self.fleet.path("man")
        os.makedirs(pages)
        for program in (f.CLI, f.AGENT, f.COORDINATOR):
            self.assertEqual(f.run([program, "__manual", pages]).code, f.OK)
        names = sorted(os.listdir(pages))
        self.assertTrue({"bailiwick.1", "bailiwick-dataset.1", "bailiwick-audit.1", "bailiwick-agent.8", "bailiwick-coordinator.8"}
                        <= set(names), names)
        for name in names:
            shown = subprocess.run(["groff", "-man", "-Tutf8", "-ww", os.path.join(pages, name)], capture_output=True, text=True,
                                   timeout=60, check=False)
            self.assertEqual((shown.returncode, shown.stderr), (0, ""), name)
            self.assertIn(name.split(".")[0], shown.stdout)
            if name == "bailiwick-get.1":
                self.assertIn("-w, --watch", re.sub(r".\x08", "", shown.stdout))

    def test_names_alone_are_for_the_next_command(self):
        self.assertEqual(self.fleet.cli("get", "sites", "-o", "name").out, "core\nfactory\n")
        self.assertEqual(self.fleet.cli("dataset", "list", "-o", "name").out, "telemetry\n")

    def test_names_with_their_kind_go_from_command_to_command(self):
        everything = self.fleet.cli("get", "all", "-o", "name").out.splitlines()
        self.assertLessEqual({"Dataset/telemetry", "Site/core", "Region/eu/de"}, set(everything))
        spare = f.replication_yaml(name="passing", to="[{site: core}]")
        self.assertEqual(self.fleet.cli("apply", "-f", "-", "-o", "name", stdin=spare).out, "ReplicationPolicy/passing\n")
        self.assertEqual(self.fleet.cli("describe", "ReplicationPolicy/passing", "-o", "name").out, "passing\n")
        self.assertEqual(self.fleet.cli("get", "ReplicationPolicy/passing", "-o", "name").out, "passing\n")
        self.fleet.cli("delete", "ReplicationPolicy/passing", "--yes")
        self.fleet.cli("get", "replicationpolicy", "passing", expect=f.NOT_FOUND)
        self.assertIn("Region/eu/de", self.fleet.cli("diff", "-f", "-", stdin="apiVersion: bailiwick/v1\nkind: Region\n"
                                                     "metadata: {name: eu/de}\nspec: {description: x}\n", expect=f.FAILED).out)
        self.assertIn("KIND/NAME", self.fleet.cli("delete", "site", "--yes", expect=f.USAGE).err)

    def test_what_names_nothing_refuses_to_be_a_list_of_names(self):
        way = ("--dataset", "telemetry", "--from", "factory", "--to", "core")
        for question in (("why", "telemetry", "core"), ("policy", "can-i", *way), ("policy", "explain", *way), ("policy", "show")):
            with self.subTest(question):
                refused = self.fleet.cli(*question, "-o", "name", expect=f.USAGE)
                self.assertEqual(refused.out, "")
                self.assertIn("-o name", refused.err)

    def test_help_of_a_command_is_what_its_flag_says(self):
        self.assertEqual(self.fleet.cli("help", "dataset", "commit").out, self.fleet.cli("dataset", "commit", "--help").out)
        self.assertEqual(self.fleet.cli("help").out, self.fleet.cli("--help").out)
        self.assertIn("did you mean commit?", self.fleet.cli("help", "dataset", "comit", expect=f.USAGE).err)

    def test_versions_and_proposals_complete_and_a_flag_is_offered_once(self):
        self.fleet.commit("telemetry")
        self.assertEqual(self.bash("bailiwick dataset rollback telemetry "), ["latest", "1"])
        self.assertEqual(self.bash("bailiwick dataset diff telemetry "), ["1"])
        self.assertEqual(self.bash("bailiwick dataset diff telemetry 1 "), ["1"])
        self.assertEqual(self.bash("bailiwick approve "), [])
        self.assertEqual(self.bash("bailiwick dataset commit --hel"), ["--help"])

    def test_a_file_is_checked_whichever_way_it_is_named(self):
        bad = self.fleet.path("bad.yaml")
        f.write(bad, b"kind: Nothing\n")
        named, flagged = (self.fleet.cli("policy", "check", *way, expect=f.FAILED).out for way in ((bad,), ("-f", bad)))
        self.assertEqual(named, flagged)
        for service in (f.AGENT, f.COORDINATOR):
            settings = self.fleet.path("settings.yaml")
            f.write(settings, f.run([service, "check-config", "--example"]).out.encode())
            for way in ((settings,), ("--config", settings)):
                checked = f.run([service, "check-config", *way])
                self.assertIn(settings, checked.out + checked.err)

    def test_a_trust_file_is_no_json(self):
        self.assertIn("trust file", self.fleet.cli("audit", "trust", "-o", "json", expect=f.USAGE).err)

    def test_a_mistyped_site_is_told_the_nearest(self):
        for command in (("describe", "site", "cor"), ("get", "site", "cor"), ("describe", "site/cor")):
            self.assertIn("did you mean core?", self.fleet.cli(*command, expect=f.NOT_FOUND).err)

    def test_no_input_never_asks_and_never_guesses(self):
        refused = self.fleet.cli("delete", "replicationpolicy", "nothing", "--no-input", expect=f.USAGE)
        self.assertIn("--yes", refused.err)
        self.fleet.cli("delete", "replicationpolicy", "nothing", "--no-input", "--yes", expect=f.NOT_FOUND)

    def test_without_a_terminal_nothing_dangerous_goes_through_unasked(self):
        for act in (("delete", "dataset", "telemetry"), ("ca", "rotate"), ("policy", "rotate", "--threshold", "1"),
                    ("dataset", "release", "telemetry", "--all"), ("agent", "revoke", "core", "--reason", "x"),
                    ("dev", "down", "--purge", "--dir", self.fleet.dir)):
            for said in ("", "n\n", "y\n"):
                with self.subTest(" ".join(act), said=said):
                    refused = self.fleet.cli(*act, stdin=said, expect=f.USAGE)
                    self.assertRegex(refused.err, r"terminal.*--yes")
        self.assertEqual(self.fleet.cli("get", "dataset", "telemetry", "-o", "name").out, "telemetry\n")
        self.assertEqual(self.fleet.json("agent", "list")["agents"][0]["state"], "connected")

    def test_at_a_terminal_it_asks_and_does_as_told(self):
        self.fleet.apply(f.replication_yaml(name="spare", to="[{site: core}]"))
        for answer, code, stays in (("n", f.CONFLICT, True), ("y", f.OK, False)):
            master, slave = os.openpty()
            os.write(master, answer.encode() + b"\n")
            asked = subprocess.run([f.CLI, "delete", "replicationpolicy", "spare"], env=self.fleet.env, stdin=slave, capture_output=True,
                                   text=True, timeout=60, check=False)
            os.close(master)
            os.close(slave)
            self.assertIn("Delete ReplicationPolicy spare? [y/N]", asked.stderr)
            self.assertEqual(asked.returncode, code, asked.stderr)
            left = self.fleet.cli("get", "replicationpolicies", "-o", "name").out
            self.assertEqual("spare" in left, stays, left)


if __name__ == "__main__":
    f.main()
