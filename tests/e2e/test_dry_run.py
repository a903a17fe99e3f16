"""--dry-run: what an act would do, by the coordinator's own checks; nothing of it is done or recorded, and who may not act may not try."""
import json
import os

import fleet as f
import identities as i

BINDINGS = """
apiVersion: bailiwick/v1
kind: RoleBinding
metadata: {name: admins}
spec: {roles: [policy-admin], people: [admin, bob]}
---
apiVersion: bailiwick/v1
kind: RoleBinding
metadata: {name: others}
spec: {roles: [viewer], people: [vera]}
"""
REGION = "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: ap}\nspec: {}\n"


class DryRun(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.makedirs(cls.fleet.path("data"))
        f.write(cls.fleet.path("data", "one"), b"1")
        cls.fleet.apply(f.documents(f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("data", cls.fleet.path("data"))))
        cls.fleet.commit("data")
        f.write(cls.fleet.path("data", "two"), b"2")
        cls.fleet.commit("data")
        f.write(cls.fleet.path("data", "three"), b"new")
        for name in ("vera", "bob"):
            login = cls.fleet.json("login-token", name)["login"]
            cls.fleet.cli("login", "--token", "-", "--to", cls.fleet.path(name), stdin=login + "\n")
        cls.login = cls.fleet.json("login-token", "carl")["login"]          # nobody spends it
        cls.fleet.apply(BINDINGS)
        cls.hold = cls.fleet.json("dataset", "hold", "data", "--reason", "case 1")["hold"]
        cls.fleet.cli("dataset", "release", "data", "--hold", cls.hold)     # waits for bob
        cls.proposal = cls.fleet.json("proposals")["proposals"][0]["id"]
        cls.law = cls.fleet.path("region.yaml")
        f.write(cls.law, REGION)

    def recorded(self):
        """What the coordinator wrote down, but for who read and who was refused."""
        return [r["kind"] for r in i.records(self.fleet, "coordinator") if r["kind"] not in ("peer-refused", "audit-read")]

    def state(self):
        """All that an act could leave behind."""
        shown = [self.fleet.json(*command.split()) for command in
                 ("get all", "dataset holds", "proposals", "policy history", "events", "get redactions")]
        agents = [{k: a[k] for k in ("site", "state", "recoveriesLeft", "revokedAt")} for a in self.fleet.json("agent", "list")["agents"]]
        pinned = [(r["site"], r["current"], r["pinned"]) for r in self.fleet.json("get", "replicas")["replicas"]]
        versions = self.fleet.json("dataset", "versions", "data")
        return json.dumps([shown, agents, pinned, versions, os.path.exists(self.fleet.path("out")), self.recorded()], sort_keys=True)

    ACTS = (
        (("apply", "-f", "LAW"), r"Region/ap created"),
        (("delete", "replicationpolicy", "everywhere"), r"deleted"),
        (("dataset", "commit", "data"), r"(?s)\+ three  added.*version 3 of data: 1 added, .* 0 removed.*would read 1 files, 3 B"),
        (("dataset", "checkout", "data", "1", "OUT"), r"version 1 of data \(1 entries, 1 B\) lies in .*/out on the machine of site factory"),
        (("context", "use", "HERE"), r"commands go by context /"),
        (("dataset", "rollback", "data", "1"), r"site core shows version 1 of data"),
        (("dataset", "rollback", "data", "latest"), r"site core follows the newest"),
        (("dataset", "hold", "data", "--version", "1", "--reason", "x"), r"version 1 of data at every site is held"),
        (("dataset", "release", "data", "--all"), r"(?s)release holds? .* of data.*not at once: .*another policy-admin"),
        (("dataset", "redact", "data", "one", "--reason", "x"), r"1 file, 1 content"),
        (("site", "join-token", "core"), r"one agent can join as site core within 1h"),
        (("site", "approve", "core"), r"nothing was changed"),
        (("agent", "revoke", "core", "--reason", "x"), r"spiffe://.*/site/core/.* is out"),
        (("agent", "revoke", "--admin", "vera", "--reason", "x"), r"admin/vera is out"),
        (("agent", "allow-recoveries", "core", "2"), r"core may come back 2 times by itself"),
        (("ca", "rotate"), r"a new CA is trusted"),
        (("login-token", "carl"), r"carl can log in once"),
        (("withdraw", "PROPOSAL"), r"the proposal by .*admin/admin is dropped"),
        (("policy", "refresh"), r"the law is revision \d+"),
        (("policy", "delegate", "ab" * 32, "--label", "class=telemetry"), r"the law is revision \d+"),
        (("policy", "rotate", "--add", "ab" * 32), r"the law is revision \d+"),
        (("policy", "rollback", "1"), r"nothing was changed"),
        (("policy", "keygen", "--out", "OUT"), r"a new policy key is in .*/out"),
        (("login", "--token", "LOGIN", "--to", "OUT"), r"(?s)coordinator that it pins answers.*credentials of carl are in .*/out"),
        (("dev", "up", "--dir", "HERE", "--site", "new=eu/fr"), r"(?s)site new is declared in eu/fr.*the agent of new is started"),
        (("dev", "up", "--dir", "OUT", "--site", "new=eu/fr"), r"(?s)a coordinator and a policy key are made in .*/out\n.*coordinator is started"),
        (("dev", "start", "core", "--dir", "HERE"), r"core is running"),
        (("dev", "stop", "core", "--dir", "HERE"), r"core is stopped"),
        (("dev", "kill", "coordinator", "--dir", "HERE"), r"coordinator is killed"),
        (("dev", "down", "--purge", "--dir", "HERE"), r"(?s)core is stopped\n.*coordinator is stopped\n.*/fleet is removed, with all data"),
    )

    # What needs another to act before it can be tried: tried beside the real act, in test_schemas.py.
    TRIED_ELSEWHERE = {"policy approve", "policy sign", "policy reject", "redaction approve"}

    def test_whatever_can_be_tried_is(self):
        can = {" ".join(words) for words, shown in f.helps_of(f.CLI) if "--dry-run" in shown}
        tried = {"approve", *(" ".join(act[:n]) for act, _ in self.ACTS for n in (1, 2))} | self.TRIED_ELSEWHERE
        self.assertGreater(len(can), 15)
        self.assertEqual(can - tried, set(), "say in ACTS what it would do")

    def words(self, act):
        return [{"LAW": self.law, "PROPOSAL": self.proposal, "LOGIN": self.login, "OUT": self.fleet.path("out"), "HERE": self.fleet.dir}.get(word, word) for word in act]

    def test_nothing_of_it_is_done(self):
        f.wait_until(lambda: all(a["state"] == "connected" for a in self.fleet.json("agent", "list")["agents"]), what="all is calm")
        f.wait_until(lambda: self.recorded().count("agent-log-seen") >= len(self.SITES), what="the logs of both sites are known")
        before, recorded = self.state(), self.recorded()
        for act, said in self.ACTS:
            with self.subTest(" ".join(act)):
                self.assertRegex(self.fleet.cli(*self.words(act), "--dry-run").out, said)
                self.assertEqual(self.recorded(), recorded)
        for act in (("site", "join-token", "core"), ("login-token", "carl"), ("policy", "keygen", "--out", "OUT"), ("dev", "kill", "core", "--dir", "HERE")):
            self.assertEqual(self.fleet.cli(*self.words(act), "--dry-run", "-o", "name").out, "", act)
        bob = self.fleet.cli("approve", self.proposal, "--dry-run", "--context", self.fleet.path("bob"))
        self.assertIn("case 1", bob.out)
        self.assertEqual(self.state(), before)
        self.fleet.cli("login", "--token", "-", "--to", self.fleet.path("carl"), stdin=self.login + "\n")   # it is still worth something

    def test_what_would_be_refused_is_refused(self):
        for act, code in ((("dataset", "rollback", "data", "9"), f.NOT_FOUND), (("dataset", "rollback", "nothing", "1"), f.NOT_FOUND),
                          (("dataset", "release", "data", "--hold", "00"), None), (("site", "join-token", "nowhere"), f.NOT_FOUND),
                          (("agent", "revoke", "--admin", "admin", "--reason", "x"), f.CONFLICT), (("withdraw", "00"), f.NOT_FOUND),
                          (("policy", "keygen", "--out", self.law), f.CONFLICT), (("login", "--token", "bwl1.x", "--to", "OUT"), f.USAGE),
                          (("login", "--token", self.login, "--to", self.fleet.path("vera")), f.CONFLICT),
                          (("dev", "down", "--dir", "/nowhere"), f.NOT_FOUND), (("dev", "stop", "nobody", "--dir", "HERE"), f.NOT_FOUND),
                          (("dev", "up", "--dir", "HERE", "--site", "core=us"), f.CONFLICT), (("dev", "up", "--dir", self.fleet.path("data"), "--site", "a=eu"), f.CONFLICT), (("approve", self.proposal), f.CONFLICT), (("policy", "reject"), f.NOT_FOUND),
                          (("delete", "region", "eu"), f.CONFLICT), (("dataset", "commit", "nothing"), f.NOT_FOUND),
                          (("dataset", "checkout", "data", "9", "OUT"), f.NOT_FOUND),
                          (("dataset", "checkout", "data", "1", self.fleet.path("data")), f.CONFLICT)):
            with self.subTest(" ".join(act)):
                tried = self.fleet.cli(*self.words(act), "--dry-run", expect=code)
                self.assertNotEqual((tried.code, tried.out), (f.OK, ""))

    # Of the services' own commands: those that change nothing, and why the others cannot be tried.
    SERVICES = {
        "bailiwick-agent run": "serves until it is told to stop",
        "bailiwick-agent exec": "runs a command of yours",
        "bailiwick-coordinator serve": "serves until it is told to stop",
        **{f"bailiwick-{service} {command}": "changes nothing" for service, command in (
            ("agent", "check-config"), ("agent", "doctor"), ("agent", "status"), ("agent", "key list"),
            ("coordinator", "check-config"), ("coordinator", "doctor"))},
    }

    def test_what_the_services_do_for_themselves_can_be_tried_or_says_why_not(self):
        for program in (f.AGENT, f.COORDINATOR):
            for words in f.commands_of(program):
                with self.subTest(" ".join(words)):
                    name = " ".join([os.path.basename(program), *words])
                    self.assertNotEqual("--dry-run" in f.run([program, *words, "--help"]).out, name in self.SERVICES)

    def test_a_machine_tries_what_it_would_do_for_itself(self):
        new, admin, kept = self.fleet.path("new"), self.fleet.path("new-admin"), self.fleet.path("kept.key")

        def tried(*command, says, code=f.OK):
            done = f.run([*command, "--dry-run"])
            self.assertEqual(done.code, code, done)
            self.assertRegex(done.out + done.err, says)

        core = self.fleet.data("core")
        shown = f.run([f.AGENT, "certificate", "--data-dir", core]).out
        tried(f.AGENT, "certificate", "--renew", "--data-dir", core, says=r"/site/core/agent/.* gets a new key and certificate; .* valid until 20")
        self.assertEqual(f.run([f.AGENT, "certificate", "--data-dir", core]).out, shown)
        tried(f.AGENT, "certificate", "--data-dir", core, says="--renew", code=f.USAGE)
        tried(f.AGENT, "certificate", "--renew", "--data-dir", new, says="no agent runs in", code=f.UNAVAILABLE)
        init = (f.COORDINATOR, "init", "--data-dir", new, "--trust-domain", "acme.example", "--admin-dir", admin)
        tried(*init, says=r"dry run: nothing was changed(?s:.*)a CA of its own is in .*/new\n")
        tried(*init[:5], "Not A Domain", *init[6:], says="Not A Domain", code=f.USAGE)
        tried(f.COORDINATOR, "new-audit-log", "--data-dir", os.path.join(self.fleet.dir, "coordinator"), "--reason", "x", says="lock", code=f.CONFLICT)
        tried(f.COORDINATOR, "new-audit-log", "--data-dir", new, "--reason", "x", says="no coordinator", code=f.NOT_FOUND)
        join = self.fleet.json("site", "join-token", "core")["join"]
        tried(f.AGENT, "join", "--data-dir", new, "--join", join, says=r"coordinator that it pins answers(?s:.*)an agent is made in .*/new\n")
        tried(f.AGENT, "join", "--data-dir", new, "--join", "bwj1.x", says="bailiwick-agent: ", code=f.USAGE)
        tried(f.AGENT, "key", "generate", "--data-dir", new, says=r"a new storage key is in .*/new/keys")
        tried(f.AGENT, "key", "rotate", "--data-dir", new, says="holds no storage key", code=f.NOT_FOUND)
        self.assertFalse(os.path.exists(new) or os.path.exists(admin))
        self.assertEqual(f.run([f.AGENT, "key", "generate", "--data-dir", new]).code, f.OK)
        tried(f.AGENT, "key", "rotate", "--data-dir", new, says="a new storage key is in ")
        tried(f.AGENT, "key", "export", "--data-dir", new, "--to", kept, says="kept.key too")
        self.assertFalse(os.path.exists(kept))
        f.run([f.AGENT, "key", "export", "--data-dir", new, "--to", kept])
        tried(f.AGENT, "key", "export", "--data-dir", new, "--to", kept, says="exists; name a new file", code=f.CONFLICT)
        other = self.fleet.path("other")
        tried(f.AGENT, "key", "import", kept, "--data-dir", other, says="storage key [0-9a-f]{64} is in .*/other/keys")
        self.assertFalse(os.path.exists(other))
        self.assertEqual(len(os.listdir(os.path.join(new, "keys"))), 1)

    def test_who_may_not_act_may_not_try(self):
        vera = ("--context", self.fleet.path("vera"))
        for act in (("dataset", "commit", "data"), ("dataset", "checkout", "data", "1", "/nowhere"),
                    ("dataset", "rollback", "data", "1"), ("dataset", "hold", "data", "--reason", "x"), ("ca", "rotate"),
                    ("agent", "revoke", "core", "--reason", "x"), ("withdraw", self.proposal), ("login-token", "carl"),
                    ("delete", "replicationpolicy", "everywhere")):
            with self.subTest(" ".join(act)):
                refused = self.fleet.cli(*act, "--dry-run", *vera, expect=f.DENIED)
                self.assertRegex(refused.err, r"vera.*(policy-admin|operator)")


if __name__ == "__main__":
    f.main()
