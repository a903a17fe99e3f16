"""Who signs the law: two of three keys, changes that wait, keys that change hands, delegated classifiers, the age of the law, its
history and the way back."""
import os
import re

import fleet as f
import identities as i

FORBID_ALL = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  rules:
  - {id: nothing, effect: forbid}
"""


class Signer:
    """Another admin: the same coordinator, a key of their own."""

    def __init__(self, fleet, name):
        self.fleet, self.dir = fleet, fleet.path(name)
        os.makedirs(self.dir, exist_ok=True)
        self.key = os.path.join(self.dir, "policy.pem")
        made = fleet.json("policy", "keygen", "--out", self.key)
        self.public = made["publicKey"]
        self.write_context()

    def write_context(self):
        text = f.read(os.path.join(self.fleet.dir, "context.yaml")).decode()
        text = re.sub(r"(?m)^credentials:.*$", f"credentials: {self.fleet.dir}/admin", text)
        text = re.sub(r"(?ms)^policyKeys:.*?(?=^\w)", f"policyKeys: [{self.key}]\n", text)
        f.write(os.path.join(self.dir, "context.yaml"), text)

    def cli(self, *arguments, expect=f.OK):
        return self.fleet.cli("--context", self.dir, *arguments, expect=expect)


class Signing(f.FleetTest):
    SITES = ("factory=eu/de/fra,tier=edge", "core=eu/de,tier=onprem")
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def revision(self):
        return int(self.fleet.json("policy", "show")["revision"])

    def installed(self, revision):
        f.wait_until(lambda: all(self.site_revision(n) == revision for n in ("factory", "core")),
                     what=f"both agents have revision {revision}")

    def site_revision(self, name):
        return int(re.search(r"(?m)^Policy:\s+revision (\d+)", self.fleet.cli("describe", "site", name).out).group(1))

    def test_a_history_and_the_way_back(self):
        before = self.revision()
        self.fleet.apply(FORBID_ALL)
        self.assertEqual(self.revision(), before + 1)
        history = f.rows_of(self.fleet.json("policy", "history"))
        self.assertEqual([int(p["revision"]) for p in history[:2]], [before + 1, before])
        self.assertIn("SovereigntyPolicy/acme", history[0]["summary"])
        self.assertIn("eu-data-stays", self.fleet.cli("policy", "show", str(before)).out)
        self.assertNotIn("eu-data-stays", self.fleet.cli("policy", "show").out)
        self.fleet.cli("policy", "show", "999", expect=f.NOT_FOUND)
        tried = self.fleet.cli("policy", "rollback", str(before), "--dry-run").out
        self.assertIn(f"nothing was changed; the policy revision would be {before + 2}\n", tried)
        self.assertEqual(self.revision(), before + 1)
        self.fleet.cli("policy", "rollback", str(before))
        self.assertEqual(self.revision(), before + 2)
        self.assertIn("eu-data-stays", self.fleet.cli("policy", "show").out)
        self.installed(before + 2)
        self.assertIn("already", self.fleet.cli("policy", "rollback", str(before)).out)

    def test_a_who_joins_anew_after_a_slept_rotation_goes_on(self):
        """The new join string pins the new root, to which the law that the agent holds does not lead: it waits for the new one."""
        carol = Signer(self.fleet, "carol")
        source = f.make_tree(self.fleet.path("slept"), files=10)
        self.fleet.apply(f.dataset_yaml("slept", source))
        self.fleet.commit("slept")
        self.fleet.wait_version("slept", 1, "core")
        self.fleet.dev("stop", "core")
        self.fleet.cli("policy", "rotate", "--add", carol.public, "--yes")
        i.rejoin(self.fleet, "core")
        self.fleet.dev("start", "core")
        self.assertIn("policy-set-aside", self.fleet.log("core"))
        self.installed(self.revision())
        f.write(os.path.join(source, "more"), b"after the rotation")
        self.fleet.commit("slept")
        self.fleet.wait_version("slept", 2, "core")
        self.assertSame(source, self.fleet.current("core", "slept"))
        self.fleet.restart("core")  # under the law that it holds now, of the root that is pinned now
        self.assertEqual(self.fleet.log("core").count("policy-set-aside"), 1)
        self.fleet.cli("policy", "rotate", "--remove", carol.public, "--yes")
        self.installed(self.revision())

    def test_b_two_of_three(self):
        """One signature changes nothing; two do; an agent that slept through every rotation follows."""
        alice, bob = Signer(self.fleet, "alice"), Signer(self.fleet, "bob")
        source = f.make_tree(self.fleet.path("guarded"), files=10)
        self.fleet.apply(f.dataset_yaml("guarded", source))
        self.fleet.commit("guarded")
        self.fleet.wait_version("guarded", 1, "core")
        self.fleet.dev("stop", "core")
        self.fleet.cli("policy", "rotate", "--add", alice.public, "--add", bob.public, "--yes")
        before = self.revision()
        self.fleet.cli("policy", "rotate", "--threshold", "2", "--yes")
        self.assertEqual(self.revision(), before, "the new root asks for two, its own signatures too")
        pending = self.fleet.json("policy", "pending")
        self.assertEqual(int(pending["policyRevision"]), before + 1)
        self.assertIn("1 of 2", pending["missing"])
        self.fleet.restart("coordinator", "kill")
        alice.cli("policy", "approve", "--yes")
        self.assertEqual(self.revision(), before + 1)

        # From now on neither law nor label changes by one admin alone.
        self.fleet.apply(FORBID_ALL)
        self.assertEqual(self.revision(), before + 1)
        self.assertIn("eu-data-stays", self.fleet.cli("get", "sovereigntypolicy", "acme", "-o", "yaml").out)
        self.assertIn("SovereigntyPolicy/acme changed", self.fleet.cli("policy", "pending").out)
        refused = self.fleet.cli("apply", "-f", "-", stdin="apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: ap}\nspec: {}\n",
                                 expect=None)
        self.assertNotEqual(refused.code, f.OK)
        self.assertIn("policy pending", refused.err)
        again = self.fleet.cli("policy", "approve", "--yes", expect=None)
        self.assertNotEqual(again.code, f.OK, "one's own signature twice is one")
        self.fleet.cli("policy", "reject", "--yes")
        self.fleet.cli("policy", "pending", expect=f.NOT_FOUND)
        self.fleet.apply(f.dataset_yaml("guarded", source, labels='class: secret, pii: "yes"'))
        self.assertIn("class=secret", self.fleet.cli("policy", "pending").out)
        self.assertIn("class: telemetry", self.fleet.cli("get", "dataset", "guarded", "-o", "yaml").out)
        self.fleet.cli("policy", "reject", "--yes")

        # Signed where there is no network.
        self.fleet.apply("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: ap}\nspec: {}\n")
        change = self.fleet.path("change.bin")
        self.fleet.cli("policy", "pending", "--out", change)
        self.fleet.cli("policy", "pending", "--out", change)   # the same once more is no loss
        bob.write_context()
        unsigned = f.read(change)
        bob.cli("policy", "sign", change, "--yes")
        signed = f.read(change)
        refused = self.fleet.cli("policy", "pending", "--out", change, expect=f.CONFLICT)
        self.assertIn("change.bin is there already; name a new file", refused.err)
        self.assertNotEqual(signed, unsigned)
        self.assertEqual(f.read(change), signed, "a signature that was made elsewhere stays")
        self.fleet.cli("policy", "approve", "--file", change, "--yes")
        self.assertEqual(self.revision(), before + 2)

        # The first key goes. Its holder may begin it; the other two must sign.
        alice.write_context()
        own = re.search(r"policyKeys:\s*\n?\s*-?\s*\[?\"?([^\]\"\n]+)", f.read(os.path.join(self.fleet.dir, "context.yaml")).decode())
        first_key = os.path.join(self.fleet.dir, own.group(1).strip())
        alice.cli("policy", "rotate", "--remove", first_key, "--yes")
        self.assertEqual(self.revision(), before + 2)
        bob.cli("policy", "approve", "--yes")
        self.assertEqual(self.revision(), before + 3)
        alone = self.fleet.apply(FORBID_ALL, expect=None)
        self.assertNotEqual(alone.code, f.OK)
        self.assertIn("none of the context's policyKeys", alone.err)

        self.fleet.dev("start", "core")
        self.installed(before + 3)
        f.write(os.path.join(source, "more"), b"after every rotation")
        self.fleet.commit("guarded")
        self.fleet.wait_version("guarded", 2, "core")
        self.assertSame(source, self.fleet.current("core", "guarded"))

    def test_a_delegated_classifier(self):
        """A key that may call robots' data telemetry calls nothing else anything."""
        robots = Signer(self.fleet, "robots")
        self.fleet.cli("policy", "delegate", robots.key, "--name", "robots", "--label", "class=telemetry", "--label", "pii=no",
                       "--dataset", "robot-*", "--home-region", "eu")
        self.assertEqual(int(self.fleet.json("policy", "show")["classifiers"]), 1)
        source = f.make_tree(self.fleet.path("robot-1"), files=5)
        denied = robots.cli("apply", "-f", self.yaml(f.dataset_yaml("robot-1", source, labels='class: secret, pii: "no"')), expect=None)
        self.assertNotEqual(denied.code, f.OK)
        self.assertIn("may not set label class", denied.err)
        other = robots.cli("apply", "-f", self.yaml(f.dataset_yaml("planner", source)), expect=None)
        self.assertIn("datasets of that name", other.err)
        robots.cli("apply", "-f", self.yaml(f.dataset_yaml("robot-1", source)))
        self.fleet.commit("robot-1")
        self.fleet.wait_version("robot-1", 1, "core")
        law = robots.cli("apply", "-f", self.yaml(FORBID_ALL), expect=None)
        self.assertNotEqual(law.code, f.OK)

    def yaml(self, text):
        path = self.fleet.path("declared.yaml")
        f.write(path, text)
        return path


class Age(f.FleetTest):
    SITES = ("factory=eu/de/fra,tier=edge", "core=eu/de,tier=onprem")
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def test_nothing_flows_under_a_law_that_nobody_calls_current(self):
        """The coordinator stays away: what it said last runs out, and both ends say so. It comes back: it heals."""
        source = f.make_tree(self.fleet.path("aged"), files=5)
        self.fleet.apply(f.dataset_yaml("aged", source))
        self.fleet.commit("aged")
        self.fleet.cli("policy", "refresh", "--timestamp-life", "4s", "--yes")
        self.assertEqual(int(self.fleet.json("policy", "show")["timestampLifeSeconds"]), 4)
        f.write(os.path.join(source, "fresh"), b"1")
        self.fleet.commit("aged")                     # renewed all the time, it flows
        self.fleet.wait_version("aged", 2, "core")
        self.fleet.dev("stop", "coordinator")
        for site in ("factory", "core"):
            f.wait_until(lambda s=site: "nothing-may-flow" in self.fleet.log(s) and "POLICY_STALE" in self.fleet.log(s), timeout=60,
                         what=f"{site} says that its law is stale")
        self.fleet.dev("start", "coordinator")
        f.write(os.path.join(source, "healed"), b"2")
        f.wait_until(lambda: self.fleet.commit("aged", wait=False, expect=None).code == f.OK, what="a commit after the return")
        self.fleet.wait_version("aged", 3, "core")
        self.fleet.cli("policy", "refresh", "--timestamp-life", "24h")

    def test_the_law_itself_ends(self):
        source = f.make_tree(self.fleet.path("ended"), files=5)
        self.fleet.apply(f.dataset_yaml("ended", source))
        self.fleet.cli("policy", "refresh", "--max-age", "1s", "--yes")
        f.wait_until(lambda: "policy refresh" in self.fleet.cli("describe", "site", "core").out, what="core says that its law ended")
        self.fleet.commit("ended", wait=False)
        why = f.wait_until(lambda: (lambda r: r if "policy refresh" in r.text else None)(
            self.fleet.cli("why", "ended", "core", expect=None)), what="why names the end of the law")
        self.assertIn("came to its end", why.text)
        law, = [row for row in self.fleet.json("doctor", expect=None)["checks"] if row["name"] == "law"]
        self.assertEqual(law["result"], "fail", law)
        self.assertIn("came to its end", law["found"])
        self.assertIn("policy refresh", law["remedy"])
        self.assertEqual(f.contains(self.fleet.replica("core", "ended"), b"odd 1"), [])
        self.fleet.cli("policy", "refresh", "--max-age", "365d")
        self.fleet.wait_version("ended", 1, "core")
        until = self.fleet.json("status")["policyExpires"]
        self.assertIn(f"good until {until}", self.fleet.cli("status").out)
        law, = [row for row in self.fleet.json("doctor", expect=None)["checks"] if row["name"] == "law"]
        self.assertEqual(law["result"], "ok", law)
        self.assertIn(f"good until {until}", law["found"])


if __name__ == "__main__":
    f.main()
