"""Asking about the law: check, test, can-i, reach, diff, offline from files and against a fleet that runs."""
import json
import os
import tempfile
import unittest
import xml.etree.ElementTree

import fleet as f

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
EXAMPLES = os.path.join(ROOT, "deploy", "policies")
HEALTH = os.path.join(EXAMPLES, "eu-health")
OPEN = f.LAW.replace("""  - id: eu-data-stays
    effect: forbid
    from: {in: [eu]}
    to: {notIn: [eu]}
""", "") + """
  - id: telemetry-to-the-us
    effect: permit
    data: {matchLabels: {class: telemetry}}
    to: {in: [us]}
"""


def cli(*arguments, expect=f.OK):
    """Without any context: nothing can ask a coordinator."""
    with tempfile.TemporaryDirectory() as nowhere:
        result = f.run([f.CLI, *arguments], env={**os.environ, "BAILIWICK_CONTEXT": os.path.join(nowhere, "none")})
    if expect is not None:
        assert result.code == expect, result
    return result


class Offline(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def file(self, name, text):
        path = os.path.join(self.directory.name, name)
        f.write(path, text)
        return path

    def law(self, name, rules, tests=""):
        regions = "".join(f"---\napiVersion: bailiwick/v1\nkind: Region\nmetadata: {{name: {r}}}\nspec: {{}}\n" for r in ("eu", "us"))
        return self.file(name, f"apiVersion: bailiwick/v1\nkind: SovereigntyPolicy\nmetadata: {{name: p}}\nspec:\n  rules:\n{rules}"
                               f"{tests}{regions}")

    def test_the_examples_pass_their_tests_and_every_rule_has_a_case(self):
        result = json.loads(cli("policy", "test", EXAMPLES, "-o", "json").out)
        self.assertEqual(result["failed"], 0, result)
        self.assertGreater(result["tests"], 40)
        self.assertEqual({p["policy"] for p in result["policies"]},
                         {"eu-health", "cn-localization", "export-control", "programme", "telemetry", "checkpoints", "group", "companies"})
        self.assertEqual([p["rulesWithoutCase"] for p in result["policies"] if p["rulesWithoutCase"]], [])

    def test_check_finds_nothing_in_the_examples(self):
        result = json.loads(cli("policy", "check", "-f", EXAMPLES, "-o", "json").out)
        self.assertEqual((result["errors"], result["findings"]), (0, []), result)

    def test_check_names_file_line_and_column(self):
        bad = self.law("bad.yaml", "  - {id: a, effect: permit, to: {in: [eu, mars]}}\n")
        refused = cli("policy", "check", "-f", bad, expect=f.FAILED)
        self.assertIn(f"{bad}:6:43: spec.rules[0].to.in[1]: region mars is not declared", refused.out)
        vain = self.law("vain.yaml", "  - {id: closed, effect: forbid, to: {in: [us]}}\n  - {id: a, effect: permit, to: {in: [us]}}\n"
                                     "  - {id: b, effect: permit, to: {in: [eu]}}\n")
        told = cli("policy", "check", "-f", vain)
        self.assertIn(f"{vain}:7:21: warning: SovereigntyPolicy/p spec.rules[1].effect: rule a: it never decides", told.out)
        self.assertIn("0 errors, 1 warning", told.out)

    def test_a_test_that_fails_is_told_and_written_as_junit(self):
        law = self.law("law.yaml", "  - {id: a, effect: permit}\n",
                       "  tests:\n  - {name: good, data: {class: x}, from: eu, to: us, expect: permit}\n"
                       "  - {name: bad & ugly, data: {class: x}, from: eu, to: us, expect: deny}\n"
                       "  - {name: never, never: {data: {class: x}, reach: us}}\n")
        junit = os.path.join(self.directory.name, "junit.xml")
        result = cli("policy", "test", law, "--junit", junit, expect=f.FAILED)
        self.assertIn("1 of 3 tests passed", result.out)
        self.assertIn(f"{law}:9:5: test \"bad & ugly\" fails: expected deny, but policy p/a permits", result.out)
        suite = xml.etree.ElementTree.parse(junit).getroot().find("testsuite")
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("3", "2"))
        self.assertEqual([c.get("name") for c in suite if c.find("failure") is not None], ["bad & ugly", "never"])

    def test_can_i(self):
        yes = cli("policy", "can-i", "-f", HEALTH, "--dataset", "scans", "--from", "hospital", "--to", "archive")
        self.assertRegex(yes.out, r"^yes: policy eu-health/within-the-eu permits")
        no = cli("policy", "can-i", "-f", HEALTH, "--dataset", "scans", "--from", "hospital", "--to", "cloud-us", expect=f.DENIED)
        self.assertIn("eu-health/health-data-stays-among-the-trusted", no.out)
        self.assertIn("to allow it:", no.out)
        near = cli("policy", "can-i", "-f", HEALTH, "--dataset", "scan", "--from", "hospital", "--to", "us", expect=f.NOT_FOUND)
        self.assertIn("did you mean scans?", near.err)
        for purpose, code in (("research", f.OK), ("billing", f.DENIED)):
            cli("policy", "can-i", "-f", HEALTH, "--dataset", "study", "--from", "hospital", "--to", "university",
                "--purpose", purpose, expect=code)

    def test_reach_says_no_with_the_cut_and_yes_with_the_way(self):
        no = cli("policy", "reach", "-f", HEALTH, "--dataset", "scans", "--to", "us")
        self.assertIn("NO: data with class=health,pseudonymized=no can never get to us", no.out)
        self.assertIn("eu-health/health-data-stays-among-the-trusted forbids transfer", no.out)
        yes = cli("policy", "reach", "-f", HEALTH, "--dataset", "scans", "--to", "ch", expect=f.DENIED)   # relabelled, then for research
        self.assertRegex(yes.out, r"1\. relabelled at hospital \(eu/de\) to class=health,pseudonymized=yes")
        self.assertRegex(yes.out, r"hospital \(eu/de\) to university \(ch\) for the purpose research: transfer by "
                                  r"eu-health/research-in-adequate-countries")
        value = json.loads(cli("policy", "reach", "-f", HEALTH, "--dataset", "scans", "--to", "ch", "-o", "json", expect=f.DENIED).out)
        self.assertTrue(value["reaches"])
        self.assertEqual([s["kind"] for s in value["path"]], ["relabel", "copy"])

    def test_reach_over_several_hops_and_at_a_time(self):
        def window(hours):
            return f'when: {{daily: [{{hours: "{hours}", tz: UTC}}]}}'
        sites = "".join(f"---\napiVersion: bailiwick/v1\nkind: Site\nmetadata: {{name: {s}}}\nspec: {{region: {r}}}\n"
                        for s, r in (("a", "eu"), ("b", "eu/hub"), ("c", "us")))
        hub = "---\napiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: eu/hub}\nspec: {}\n"
        law = self.law("hops.yaml", f"  - {{id: one, effect: permit, from: {{in: [eu]}}, to: {{in: [eu/hub]}}, {window('08:00-09:00')}}}\n"
                                    "  - {id: two, effect: permit, from: {in: [eu/hub]}, to: {in: [us]}}\n"
                                    "  - {id: onward, effect: permit, actions: [transit]}\n")
        with open(law, "a", encoding="utf-8") as more:
            more.write(hub + sites)
        ask = ("policy", "reach", "-f", law, "--label", "class=x", "--from", "a", "--to", "us")
        self.assertIn("in 2 steps", cli(*ask, expect=f.DENIED).out)
        self.assertIn("in 2 steps", cli(*ask, "--at", "2027-01-01T08:30:00Z", expect=f.DENIED).out)
        self.assertIn("cannot get to us at 2027-01-01T12:00:00Z", cli(*ask, "--at", "2027-01-01T12:00:00Z").out)

    def test_diff_of_two_laws(self):
        old = self.law("old.yaml", "  - {id: a, effect: permit, data: {matchLabels: {class: x}}}\n")
        new = self.law("new.yaml", "  - {id: a, effect: permit, data: {matchLabels: {class: x}}}\n"
                                   "  - {id: closed, effect: forbid, from: {in: [eu]}, to: {in: [us]}}\n")
        self.assertIn("no decision changes", cli("policy", "diff", old, old).out)
        told = cli("policy", "diff", old, new, expect=f.FAILED).out
        self.assertIn("class=x", told)
        self.assertIn("- permitted by p/a", told)
        self.assertIn("+ denied: p/closed forbids transfer", told)
        value = json.loads(cli("policy", "diff", old, new, "-o", "json", expect=f.FAILED).out)
        self.assertEqual([d["after"]["rule"] for d in value["decisions"]], ["p/closed"])


class Live(unittest.TestCase):
    def test_what_a_tighter_law_would_do_to_what_exists(self):
        with f.Fleet() as fleet:
            source = f.make_tree(fleet.path("t"), files=10)
            fleet.apply(f.documents(OPEN, f.replication_yaml(), f.dataset_yaml("t", source)))
            fleet.commit("t")
            fleet.wait_version("t", 1, "cloud-us")
            fleet.wait_version("t", 1, "core")

            self.assertEqual(fleet.json("policy", "check")["errors"], 0)
            fleet.cli("policy", "test")
            fleet.cli("policy", "can-i", "--dataset", "t", "--from", "factory", "--to", "cloud-us")
            fleet.cli("policy", "reach", "--dataset", "t", "--to", "us", expect=f.DENIED)
            self.assertIn("NO:", fleet.cli("policy", "reach", "--label", "class=telemetry,pii=yes", "--to", "us").out)

            tighter = fleet.path("tighter.yaml")
            f.write(tighter, f.LAW)
            told = fleet.cli("policy", "diff", tighter, expect=f.FAILED).out
            self.assertIn("1 copy becomes unlawful", told)
            self.assertRegex(told, r"t at cloud-us \(.*\): acme/eu-data-stays forbids reside")
            self.assertNotIn("the last copy", told)
            dry = fleet.cli("apply", "-f", tighter, "--dry-run")
            self.assertIn("1 copy becomes unlawful", dry.out)
            self.assertEqual(fleet.json("apply", "-f", tighter, "--dry-run")["impact"]["evictions"][0]["site"], "cloud-us")

            self.assertNotIn("under a hold", dry.out)
            fleet.cli("dataset", "hold", "t", "--version", "1", "--site", "core", "--reason", "another copy")
            self.assertNotIn("under a hold", fleet.cli("apply", "-f", tighter, "--dry-run").out)
            fleet.cli("dataset", "hold", "t", "--version", "1", "--site", "cloud-us", "--reason", "case 4711")
            self.assertIn("1 under a hold: fenced, not erased", fleet.cli("apply", "-f", tighter, "--dry-run").out)
            self.assertRegex(fleet.cli("policy", "diff", tighter, expect=f.FAILED).out, r"forbids reside; held")
            self.assertEqual(fleet.json("apply", "-f", tighter, "--dry-run")["impact"]["held"], 1)

            revision = fleet.json("status")["policyRevision"]
            refused = fleet.cli("apply", "-f", tighter, "--expect-evictions", "0", expect=None)
            self.assertNotEqual(refused.code, f.OK)
            self.assertIn("makes 1 copy unlawful, and --expect-evictions says 0", refused.err)
            self.assertEqual(fleet.json("status")["policyRevision"], revision)
            fleet.cli("apply", "-f", tighter, "--expect-evictions", "1")
            self.assertGreater(fleet.json("status")["policyRevision"], revision)
            self.assertIn("NO:", fleet.cli("policy", "reach", "--dataset", "t", "--to", "us").out)

    def test_a_script_holds_a_rollback_to_the_copies_that_it_expects(self):
        with f.Fleet() as fleet:
            source = f.make_tree(fleet.path("t"), files=5)
            fleet.apply(f.documents(f.TIGHT_LAW, f.replication_yaml(to="[{site: cloud-us}]"), f.dataset_yaml("t", source)))
            tight = fleet.json("status")["policyRevision"]
            fleet.apply(f.LOOSE_LAW)
            fleet.commit("t")
            fleet.wait_version("t", 1, "cloud-us")
            loose = fleet.json("status")["policyRevision"]
            refused = fleet.cli("policy", "rollback", str(tight), "--expect-evictions", "0", expect=f.CONFLICT)
            self.assertIn("makes 1 copy unlawful, and --expect-evictions says 0", refused.err)
            self.assertIn(f"bailiwick policy rollback {tight} --dry-run", refused.err)
            self.assertEqual(fleet.json("status")["policyRevision"], loose)
            fleet.cli("policy", "rollback", str(tight), "--expect-evictions", "1")
            self.assertEqual(fleet.json("status")["policyRevision"], loose + 1)


if __name__ == "__main__":
    f.main()
