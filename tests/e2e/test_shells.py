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
        for question in (("why", "telemetry", "core"), ("policy", "can-i", *way), ("policy", "explain", *way), ("policy", "show"),
                         ("policy", "diff", "tighter.yaml")):
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

    def test_a_mistyped_name_is_told_the_nearest(self):
        for command in (("describe", "site", "cor"), ("get", "site", "cor"), ("describe", "site/cor"), ("wait", "site", "cor"),
                        ("doctor", "--site", "cor"), ("site", "join-token", "cor"), ("get", "replicas", "--site", "cor"),
                        ("get", "evictions", "--site", "cor")):
            self.assertIn("did you mean core?", self.fleet.cli(*command, expect=f.NOT_FOUND).err)
        for command in (("why", "telemetri", "core"), ("dataset", "holds", "telemetri"), ("get", "redactions", "telemetri")):
            self.assertIn("did you mean telemetry?", self.fleet.cli(*command, expect=f.NOT_FOUND).err)

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

    FORBIDS = f.LAW + "  - {id: none-of-it, effect: forbid, data: {matchLabels: {pii: 'yes'}}, to: {in: [eu/de], notIn: [eu/de/fra]}}\n"

    def law_and_copies(self):
        return (self.fleet.json("policy", "show")["revision"],
                {r["site"]: r["versions"] for r in self.fleet.json("get", "replicas", "gone")["replicas"]})

    def lawful_copy(self):
        """A dataset of one byte with a copy at core."""
        self.fleet.apply(f.LAW)
        self.fleet.wait_version("gone", 1, "core")

    def has_gone(self):
        f.wait_until(lambda: not os.path.lexists(self.fleet.current("core", "gone")), what="the copy at core is erased")

    def test_at_a_terminal_it_asks_before_copies_are_erased(self):
        fleet, draft = self.fleet, self.fleet.path("forbids.yaml")
        f.write(draft, self.FORBIDS)
        f.write(fleet.path("gone", "one"), b"1")
        fleet.apply(self.FORBIDS)
        forbids = str(fleet.json("policy", "show")["revision"])
        fleet.apply(f.documents(f.LAW, f.dataset_yaml("gone", fleet.path("gone"), labels='class: telemetry, pii: "yes"')))
        self.addCleanup(fleet.cli, "delete", "dataset", "gone", "--yes")
        self.addCleanup(fleet.apply, f.LAW)
        fleet.commit("gone")
        self.lawful_copy()
        says = "1 copy (1 B) at core becomes unlawful and is erased. "
        for question, *act in (("Apply?", "apply", "-f", draft), ("Roll back?", "policy", "rollback", forbids)):
            with self.subTest(act):
                before = self.law_and_copies()
                self.assertIn(says + question + " [y/N] ", fleet.at_terminal(*act, answer="n\n", expect=f.CONFLICT).err)
                self.assertEqual(self.law_and_copies(), before)
                asked = fleet.at_terminal(*act, answer="y\n")
                self.assertIn(says + question + " [y/N] ", asked.err)
                self.assertIn("policy revision ", asked.out)
                self.has_gone()
                self.lawful_copy()
        for unasked in (("apply", "-f", draft, "--yes"), ("apply", "-f", draft, "--expect-evictions", "1"), ("apply", "-f", draft, "--no-input"),
                        ("policy", "rollback", forbids, "--yes"), ("policy", "rollback", forbids, "--no-input")):
            with self.subTest(unasked):
                self.assertNotIn("[y/N]", fleet.at_terminal(*unasked).err)
                self.has_gone()
                self.lawful_copy()
        for harmless in (("apply", "-f", draft, "--dry-run"), ("policy", "rollback", forbids, "--dry-run")):
            with self.subTest(harmless):
                before = self.law_and_copies()
                shown = fleet.at_terminal(*harmless)
                self.assertNotIn("[y/N]", shown.err)
                self.assertIn("1 copy becomes unlawful", shown.out)
                self.assertEqual(self.law_and_copies(), before)
        loose = fleet.path("loose.yaml")
        f.write(loose, f.LAW + "  - {id: more, effect: permit, data: {matchLabels: {class: other}}}\n")
        self.assertNotIn("[y/N]", fleet.at_terminal("apply", "-f", loose).err)

    def test_at_a_terminal_a_deletion_says_how_many_copies_go(self):
        self.fleet.commit("telemetry")
        before = self.fleet.json("get", "all")
        number = len(self.fleet.json("delete", "sovereigntypolicy", "acme", "--dry-run")["impact"]["evictions"])
        self.assertGreaterEqual(number, 1)
        asked = self.fleet.at_terminal("delete", "sovereigntypolicy", "acme", answer="n\n", expect=f.CONFLICT)
        self.assertRegex(asked.err, rf"(?m)^{number} cop(y|ies) \(.*\) at core becomes? unlawful and (is|are) erased\. Delete SovereigntyPolicy acme\? \[y/N\] ")
        self.assertEqual(self.fleet.json("get", "all"), before)

    def test_answers_have_no_colours_and_start_no_pager(self):
        pager, started = self.fleet.path("home", "pager"), self.fleet.path("home", "paged")
        f.write(pager, f"#!/bin/sh\ntouch {started}\ncat\n", mode=0o755)
        plain = {k: v for k, v in self.fleet.env.items() if k != "NO_COLOR"}
        plain |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PAGER": pager, "MANPAGER": pager, "LESS": "-R"}
        for env in (plain, plain | {"NO_COLOR": "1"}):
            for command in ([f.CLI, "status"], [f.CLI, "get", "datasets"], [f.CLI, "--help"], [f.AGENT, "--help"], [f.COORDINATOR, "--help"],
                            [f.CLI, "statsu"], [f.AGENT, "status", "--data-dir", self.fleet.data("core")]):
                with self.subTest(command[1:], no_color="NO_COLOR" in env):
                    shown = f.at_terminal(command, env=env, whole=True).err
                    self.assertGreater(len(shown.strip()), 20, shown)
                    self.assertNotRegex(shown, "[\x1b\x9b]")
        self.assertFalse(os.path.exists(started))

    def test_every_command_explains_itself_and_shows_an_example(self):
        for program in (f.CLI, f.AGENT, f.COORDINATOR):
            for words, shown in f.helps_of(program):
                line = " ".join([os.path.basename(program), *words])
                with self.subTest(line):
                    self.assertRegex(shown, r"\A(?!Usage).*\S", "what it does comes first")
                    self.assertRegex(shown, rf"(?m)^  {re.escape(line)}( |$)")


if __name__ == "__main__":
    f.main()
