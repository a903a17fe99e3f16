"""Every answer with -o json is as schemas.py describes it: the table and the tree of commands name the same, and a live fleet's answers fit."""
import json
import os
import re
import subprocess

import jsonschema
import yaml

import fleet as f
import schemas
from test_signing import Signer

TWO_ADMINS = """
apiVersion: bailiwick/v1
kind: RoleBinding
metadata: {name: admins}
spec: {roles: [policy-admin], people: [admin, bob]}
"""
REGION = "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: ap}\nspec: {}\n"


def commands_of(directory):
    """Of the manual, which is made from the tree: the name of each command that is not a group."""
    found = set()
    for name in os.listdir(directory):
        for usage in re.findall(r'(?m)^\.SS "bailiwick (.*)"$', f.read(os.path.join(directory, name)).decode()):
            words = usage.replace("\\-", "-").split()
            end = next((n for n, word in enumerate(words) if not re.fullmatch(r"[a-z][a-z-]*", word)), len(words))
            if words[-1] != "COMMAND":
                found.add(" ".join(words[:end]))
    return found


def things_in(answer):
    """How many names -o name gives of it: those of its first list of things, else one. Evictions: the receipts that there are."""
    if "evictions" in answer and "more" in answer:
        return sum(1 for eviction in answer["evictions"] if eviction["receipt"])
    for value in answer.values():
        if isinstance(value, list) and (not value or isinstance(value[0], dict)):
            return len(value)
    return 1


# Of those without --dry-run: what makes a directory, and what ends when it is told to.
ACT_OR_GO_ON = {"audit export", "console"}
# As YAML these print what can be applied.
AS_APPLIED = {"get", "describe", "policy show"}


class Schemas(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        helps = {" ".join(words): shown for words, shown in f.helps_of(f.CLI)}
        cls.looks = {command for command in schemas.SCHEMAS if "--dry-run" not in helps[command]} - ACT_OR_GO_ON

    def ask(self, command, *arguments, context=None, **options):
        """The answer of a command, which its schema describes."""
        more = ["--context", context] if context else []
        answer = self.fleet.json(*command.split(), *arguments, *more, **options)
        self.fits(command, answer)
        if command in self.looks:
            with self.subTest(command, arguments=arguments):
                self.fits_otherwise(command, [*command.split(), *arguments, *more], answer, options)
        return answer

    def fits_otherwise(self, command, words, answer, options):
        """The same as YAML, and a line for each of its things, or the sentence that there are no names."""
        yaml_out = self.fleet.cli(*words, "-o", "yaml", **options).out
        documents = [d for d in yaml.safe_load_all(yaml_out) if d is not None]
        if command in AS_APPLIED and "version" not in (documents or [{}])[0]:
            for document in documents:
                self.fits(command, document, schemas.RESOURCE)
        else:
            self.assertEqual(len(documents), 1, yaml_out)
            self.fits(command, documents[0])
        names = self.fleet.cli(*words, "-o", "name", **dict(options, expect=None))
        if names.code == f.USAGE:
            self.assertEqual(names.out, "")
            self.assertIn("-o name", names.err)
            return
        lines = names.out.splitlines()
        self.assertTrue(all(line.strip() for line in lines), names)
        self.assertEqual(names.code, self.fleet.cli(*words, "-o", "json", **dict(options, expect=None)).code)
        if "checks" in answer:   # only those that somebody has to look at, now
            return self.assertLessEqual(set(lines), {check["name"] for check in answer["checks"]})
        # What is recorded meanwhile, the asking itself included, makes some of them longer.
        self.assertLessEqual(things_in(answer), len(lines), names)
        self.assertLessEqual(len(lines), things_in(self.fleet.json(*words, **options)), names)

    def fits(self, command, answer, schema=None):
        try:
            jsonschema.validate(answer, schema or schemas.SCHEMAS[command], cls=jsonschema.Draft202012Validator)
        except jsonschema.ValidationError as error:
            best = jsonschema.exceptions.best_match([error]) if not error.context else min(
                (c for c in error.context), key=lambda c: -len(c.absolute_path))
            self.fail(f"{command}: {best.message[:500]}\n{json.dumps(answer)[:2000]}")
        self.seen.add(command)

    def first_line(self, command, *arguments):
        """Of one that goes on until it is stopped."""
        process = subprocess.Popen([f.CLI, *command.split(), *arguments, "-o", "json"], env=self.fleet.env, stdout=subprocess.PIPE, text=True)
        try:
            self.fits(command, json.loads(process.stdout.readline()))
        finally:
            process.terminate()
            process.wait(timeout=20)
            process.stdout.close()

    def test_the_table_names_what_the_tree_has(self):
        pages = self.fleet.path("man")
        os.makedirs(pages)
        self.fleet.cli("__manual", pages)
        named = set(schemas.SCHEMAS) | set(schemas.NO_JSON)
        self.assertEqual(commands_of(pages) - named, set(), "commands without a schema")
        self.assertEqual(named - commands_of(pages), set(), "schemas of no command")
        for schema in schemas.SCHEMAS.values():
            jsonschema.Draft202012Validator.check_schema(schema)

    def test_the_services_table_names_what_they_have(self):
        self.seen = set()
        answer = {" ".join([os.path.basename(program), *words]) for program in (f.AGENT, f.COORDINATOR) for words in f.commands_of(program)
                  if re.search(r"(?m)^ +(-o,)?--(output|json)\b", f.run([program, *words, "--help"]).out)}
        self.assertEqual(answer, set(schemas.SERVICES))
        for schema in schemas.SERVICES.values():
            jsonschema.Draft202012Validator.check_schema(schema)

    def test_every_answer_of_the_services_fits(self):
        self.seen = set()
        data, keys = self.fleet.data("core"), self.fleet.path("keys-of-core")
        for _ in range(2):
            f.run([f.AGENT, "key", "rotate" if os.path.exists(keys) else "generate", "--data-dir", keys])
        coordinator = os.path.join(self.fleet.dir, "coordinator")
        asked = {"bailiwick-agent key list": keys, "bailiwick-coordinator doctor": coordinator}
        for command, schema in schemas.SERVICES.items():
            program, *words = command.split()
            words = [os.path.join(f.BIN, program), *words, "--data-dir", asked.get(command, data)]
            with self.subTest(command):
                whole = f.run([*words, "-o", "json"])
                self.fits(command, json.loads(whole.out), schema)
                self.fits(command, yaml.safe_load(f.run([*words, "-o", "yaml"]).out), schema)
                names = f.run([*words, "-o", "name"])
                if command == "bailiwick-agent key list":
                    self.assertEqual(names.out.splitlines(), [key["id"] for key in json.loads(whole.out)["keys"]])
                    self.assertEqual(len(names.out.splitlines()), 2)
                elif "doctor" in command:
                    self.assertLessEqual(set(names.out.splitlines()), {c["name"] for c in json.loads(whole.out)["checks"]})
                else:
                    self.assertEqual((names.code, names.out), (f.USAGE, ""))
                    self.assertIn("name not in {table,json,yaml}", names.err)
                if "doctor" in command:
                    continue
                before = f.run([*words, "--json"])
                self.assertEqual(json.loads(before.out).keys(), json.loads(whole.out).keys())
                self.assertEqual(f.run([*words, "--json", "-o", "yaml"]).code, f.USAGE)

    def test_every_answer_fits(self):
        self.seen = set()
        for part in (self.declare, self.work, self.look, self.judge, self.keep, self.redact, self.evict, self.record, self.two_people,
                     self.sign, self.identities):
            with self.subTest(part.__name__):
                part()
        self.assertEqual(set(schemas.SCHEMAS) - self.seen, set(), "never answered here")
        self.assertGreater(len(self.looks), 40)

    def declare(self):
        fleet, path = self.fleet, self.fleet.path
        for name in ("data", "gone", "patients"):
            os.makedirs(path(name))
            f.write(path(name, "one"), b"1")
        fleet.law = path("law.yaml")
        f.write(fleet.law, f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("data", path("data")),
                                       f.dataset_yaml("patients", path("patients"))))
        self.ask("diff", "-f", fleet.law, expect=f.FAILED)
        self.ask("apply", "-f", fleet.law, "--dry-run")
        self.ask("apply", "-f", fleet.law)
        self.ask("apply", "-f", "-", stdin=f.dataset_yaml("spare", path("data")))
        self.ask("delete", "dataset", "spare", "--dry-run")
        self.ask("delete", "dataset", "spare", "--yes")
        for kind in ("site", "dataset", "region", "sovereigntypolicy", "replicationpolicy"):
            listed = self.ask("get", kind)["resources"]
            self.ask("describe", kind, listed[0]["metadata"]["name"])

    def work(self):
        self.ask("dataset commit", "data", "--dry-run")
        self.ask("dataset commit", "data", "--wait")
        f.write(self.fleet.path("data", "two"), b"2")
        self.ask("dataset commit", "data", "--wait", "-m", "two")
        self.ask("dataset commit", "patients", "--wait")
        self.ask("wait dataset", "data", "--site", "core")
        self.ask("wait site", "core")
        self.ask("wait policy")
        self.ask("dataset diff", "data", "1", "2")
        self.ask("dataset verify", "data")
        self.ask("dataset checkout", "data", "1", self.fleet.path("out"), "--dry-run")
        self.ask("dataset checkout", "data", "1", self.fleet.path("out"))
        self.ask("dataset rollback", "data", "1", "--dry-run")
        self.ask("dataset rollback", "data", "1")
        self.ask("dataset rollback", "data", "latest")

    def look(self):
        for command in ("status", "dataset list", "version", "whoami", "doctor", "agent list", "dev status", "transfer list", "events"):
            self.ask(command, *(["--dir", self.fleet.dir] if command == "dev status" else []))
        self.ask("dataset versions", "data")
        for kind in ("replicas", "evictions", "redactions"):
            self.ask("get", kind)
        self.ask("get", "versions", "data")
        self.ask("why", "data", "core")
        self.ask("transfer watch", f.wait_until(self.fleet.transfers, what="a transfer")[0]["id"])
        self.ask("context list")
        self.ask("context show")
        self.ask("context use", self.fleet.dir, "--dry-run")
        self.first_line("events", "-w")
        self.first_line("console")

    def judge(self):
        flow = ("--dataset", "data", "--from", "factory", "--to", "core")
        self.ask("policy explain", *flow)
        self.ask("policy can-i", *flow)
        self.ask("policy reach", "--dataset", "data", "--to", "eu/de", expect=f.DENIED)
        self.ask("policy reach", "--label", "class=telemetry", "--from", "eu/de", "--to", "us", "-f",
                 self.written("us.yaml", f.LAW + self.regions()))
        self.ask("policy check")
        self.ask("policy check", "-f", self.written("bad.yaml", "kind: Nothing\n"), expect=f.FAILED)
        self.ask("policy test", self.written("tested.yaml", self.regions() + "---\n" + f.LAW + (
            "  tests:\n  - {name: home, data: {class: telemetry}, from: eu/de, to: eu/de/fra, expect: permit}\n")), expect=None)
        self.ask("policy history")
        self.ask("policy show")
        self.ask("policy keygen", "--out", self.fleet.path("new.pem"), "--dry-run")
        self.ask("policy keygen", "--out", self.fleet.path("new.pem"))

    def written(self, name, text):
        f.write(self.fleet.path(name), text)
        return self.fleet.path(name)

    def regions(self):
        return "\n---\n" + "---\n".join(f"apiVersion: bailiwick/v1\nkind: Region\nmetadata: {{name: {name}}}\nspec: {{}}\n"
                                        for name in ("eu", "eu/de", "eu/de/fra", "us"))

    def keep(self):
        self.ask("dataset hold", "data", "--reason", "case 1", "--dry-run")
        hold = self.ask("dataset hold", "data", "--reason", "case 1")["hold"]
        self.ask("dataset holds")
        self.ask("dataset release", "data", "--hold", hold, "--dry-run")
        self.ask("dataset release", "data", "--hold", hold)

    def redact(self):
        self.ask("dataset redact", "patients", "one", "--reason", "request 1", "--copies", "--dry-run")
        order = self.ask("dataset redact", "patients", "one", "--reason", "request 1", "--copies", "--yes")["orders"][0]["order"]
        f.wait_until(lambda: self.ask("redaction show", order)["redaction"]["state"] == "done", what="it is done")
        self.ask("redaction list")
        self.ask("get", "redactions")
        self.ask("redaction verify", order)

    def evict(self):
        source = self.fleet.path("gone")
        self.fleet.apply(f.dataset_yaml("gone", source, labels="class: telemetry, kind: gone"))
        self.fleet.commit("gone")
        forbid = f.LAW + "  - {id: none-of-it, effect: forbid, data: {matchLabels: {kind: gone}}, to: {in: [eu/de], notIn: [eu/de/fra]}}\n"
        draft = self.written("forbid.yaml", forbid)
        self.ask("policy diff", draft, expect=f.FAILED)
        self.ask("apply", "-f", draft, "--dry-run")
        self.ask("apply", "-f", draft)
        erased = f.wait_until(lambda: [e for e in self.ask("eviction list")["evictions"] if e["state"] == "erased"], what="it is erased")
        self.ask("eviction show", erased[0]["receipt"])
        self.ask("eviction verify", erased[0]["receipt"])
        self.ask("get", "evictions")

    def record(self):
        out, trust = self.fleet.path("log"), self.fleet.path("trust.txt")
        self.ask("audit list", "--limit", "50")
        self.ask("audit list", "--site", "core")
        self.ask("audit logs")
        self.ask("audit report", "--dataset", "data", expect=None)
        self.ask("audit report", "--transfers", expect=None)
        self.ask("audit export", "--site", "core", "--out", out)
        f.wait_until(lambda: "/site/core/" in self.fleet.cli("audit", "trust", "--agents", expect=None).out, what="core's log is known")
        self.fleet.cli("audit", "trust", "--agents", "--out", trust)
        self.ask("audit verify", out, "--trust", trust, expect=None)
        self.ask("audit consistency", out, out, "--trust", trust, expect=None)

    def two_people(self):
        bob = self.fleet.path("bob")
        self.ask("login-token", "bob", "--dry-run")
        login = self.ask("login-token", "bob")["login"]
        self.ask("login", "--token", "-", "--to", bob, "--dry-run", stdin=login + "\n")
        self.ask("login", "--token", "-", "--to", bob, stdin=login + "\n")
        self.fleet.apply(TWO_ADMINS)
        self.ask("login-token", "bob", "--dry-run")
        first, second = (self.ask("login-token", "bob")["proposal"] for _ in range(2))
        self.ask("proposals")
        self.ask("approve", first, "--yes", "--dry-run", context=bob)
        self.ask("approve", first, "--yes", context=bob)
        self.ask("withdraw", second, "--dry-run")
        self.ask("withdraw", second)
        self.ask("agent allow-recoveries", "core", "50", "--dry-run")
        self.ask("agent allow-recoveries", "core", "50")

    def sign(self):
        alice = Signer(self.fleet, "alice")
        for command, *more in (("policy refresh",), ("policy delegate", alice.public, "--label", "class=telemetry"),
                               ("policy rotate", "--add", alice.public, "--yes")):
            self.ask(command, *more, "--dry-run")
            self.ask(command, *more)
        self.ask("policy rotate", "--threshold", "2", "--yes")
        self.ask("policy pending")
        self.ask("policy approve", "--yes", "--dry-run", context=alice.dir)
        self.ask("policy approve", "--yes", context=alice.dir)
        self.fleet.apply(REGION)
        change = self.fleet.path("change.bin")
        self.ask("policy pending", "--out", change)
        self.ask("policy sign", change, "--dry-run", context=alice.dir)
        self.ask("policy sign", change, "--yes", context=alice.dir)
        self.ask("policy reject", "--yes", "--dry-run")
        self.ask("policy reject", "--yes")
        order = self.ask("dataset redact", "data", "one", "--reason", "request 2", "--copies", "--yes")["orders"][0]["order"]
        self.ask("redaction approve", order, "--yes", "--dry-run", context=alice.dir)
        self.ask("redaction approve", order, "--yes", context=alice.dir)
        revision = self.ask("policy show")["revision"]
        self.ask("policy rollback", str(revision), "--dry-run")

    def identities(self):
        self.ask("ca list")
        for command, *more in (("ca rotate", "--yes"), ("site join-token", "core"), ("site approve", "core"),
                               ("agent revoke", "core", "--reason", "lost", "--yes")):
            self.ask(command, *more, "--dry-run")
            self.ask(command, *more)


if __name__ == "__main__":
    f.main()
