"""People: how they log in, what each role may, and what takes two of them."""
import os
import re
import unittest

import fleet as f
import identities as i
import wire as w

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
---
apiVersion: bailiwick/v1
kind: RoleBinding
metadata: {name: operators}
spec: {roles: [operator], people: [olga]}
---
apiVersion: bailiwick/v1
kind: RoleBinding
metadata: {name: auditors}
spec: {roles: [auditor], people: [adam]}
"""
ROLES = {"vera": "kViewer", "olga": "kOperator", "bob": "kPolicyAdmin", "adam": "kAuditor", "nora": "none"}


def table():
    """{rpc: names of the bits that may}, as the sources have it."""
    text = w.read(os.path.join(f.ROOT, "common", "rpc", "access.cc")).decode()
    found = {}
    for rpc, who in re.findall(r'\{"(bailiwick[^"]+)", ([^}]+)\}', text):
        names = {n.strip() for n in who.split("|")}
        if "kAnyAdmin" in names:
            names = {"kAnyRole", "none"}
        found[rpc] = names - {"kAnyRole"} | {"kViewer", "kOperator", "kPolicyAdmin", "kAuditor"} if "kAnyRole" in names else names
    return found


class People(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in ROLES:
            login = cls.fleet.json("login-token", name)["login"]
            cls.as_(None, "login", "--token", "-", "--to", cls.home(name), stdin=login + "\n")
        os.makedirs(cls.fleet.path("data"))
        f.write(cls.fleet.path("data", "one"), b"1")
        cls.fleet.apply(f.documents(f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("data", cls.fleet.path("data"))))
        cls.fleet.apply(BINDINGS)

    @classmethod
    def home(cls, name):
        return cls.fleet.path("home", name)

    @classmethod
    def as_(cls, name, *arguments, expect=f.OK, stdin=None):
        more = ["--context", cls.home(name)] if name else []
        return cls.fleet.cli(*arguments, *more, expect=expect, stdin=stdin)

    def test_each_rpc_is_for_whom_the_table_says(self):
        rules = table()
        self.assertGreater(len(rules), 35)
        known = w.sites(self.fleet)["factory"]
        f.wait_until(lambda: self.denied("nora", "bailiwick.agent.v1.AgentAdmin/Verify", known), what="the agent knows the people")
        for rpc, allowed in sorted(rules.items()):
            if not re.search(r"Control/|AgentAdmin/", rpc):
                continue
            for name, role in ROLES.items():
                with self.subTest(rpc, who=name):
                    self.assertEqual(self.denied(name, rpc, known), role not in allowed)

    def denied(self, name, rpc, site):
        """Whether the answer to an empty request is that it is not for this person; any other answer is one to who may."""
        me = w.Identity.of_directory(os.path.join(self.home(name), "identity", "live"))
        control = ".Control/" in rpc
        where = (w.context(self.fleet)["coordinator"], w.coordinator_id(self.fleet)) if control else (site.admin_endpoint, site.agent)
        with me.channel(*where) as channel:
            call = channel.unary_stream("/" + rpc, request_serializer=lambda b: b, response_deserializer=lambda b: b)
            try:
                for _ in call(b"", timeout=20):
                    return False
                return False
            except w.grpc.RpcError as error:
                return error.code() == w.grpc.StatusCode.PERMISSION_DENIED and "needs the role" in error.details()

    def test_the_command_line_says_what_is_missing(self):
        self.assertIn("data", self.as_("vera", "get", "datasets").out)
        out = self.as_("vera", "dataset", "commit", "data", expect=f.DENIED).err
        self.assertIn("operator or policy-admin", out)
        f.write(self.fleet.path("data", "two"), b"2")
        self.as_("olga", "dataset", "commit", "data")
        self.assertIn("policy-admin", self.as_("olga", "agent", "allow-recoveries", "core", "30", expect=f.DENIED).err)
        self.assertIn("roles: operator", self.as_("olga", "whoami").out)
        self.assertIn("roles: none", self.as_("nora", "whoami").out)
        self.as_("nora", "get", "datasets", expect=f.DENIED)
        refused = [r for r in i.records(self.fleet, "coordinator") if r["kind"] == "peer-refused" and "nora" in r["subject"]]
        self.assertTrue(refused and refused[0]["detail"]["code"] == "NOT_ALLOWED")

    def test_a_login_string_counts_once(self):
        login = self.fleet.json("login-token", "zoe")["login"]
        self.as_(None, "login", "--token", login, "--to", self.home("zoe"))
        self.assertIn("used already", self.as_(None, "login", "--token", login, "--to", self.home("zoe2"), expect=None).err)
        self.as_(None, "login", "--token", "bwl1.x", "--to", self.home("zoe3"), expect=f.USAGE)
        self.assertEqual(os.stat(os.path.join(self.home("zoe"), "identity", "live", "key.pem")).st_mode & 0o077, 0)
        self.fleet.cli("agent", "revoke", "--admin", "zoe", "--reason", "left", "--yes")
        self.assertIn("revoked", self.as_("zoe", "whoami", expect=None).err)

    def test_what_takes_two(self):
        hold = self.fleet.json("dataset", "hold", "data", "--reason", "court")
        self.assertTrue(hold)
        proposed = self.fleet.cli("dataset", "release", "data", "--all", "--yes")
        self.assertIn("bailiwick approve", proposed.out, proposed)
        ident = re.search(r"approve (\w+)", proposed.out).group(1)
        self.assertIn("own proposal", self.fleet.cli("approve", ident, "--yes", expect=None).err)
        self.as_("olga", "approve", ident, "--yes", expect=f.DENIED)
        self.assertIn("court", self.fleet.cli("dataset", "holds", "data").out)
        self.as_("bob", "approve", ident, "--yes")
        self.assertNotIn("court", self.fleet.cli("dataset", "holds", "data").out)
        self.assertIn("did you mean olga", self.fleet.cli("agent", "revoke", "--admin", "olgo", "--reason", "x", "--yes",
                                                          expect=f.NOT_FOUND).err)

        shorter = f.dataset_yaml("data", self.fleet.path("data"), spec="commit: {onRequest: true}\nretain: {last: 1}")
        told = self.fleet.apply(shorter, expect=None).text
        self.assertIn("shortens the retention", told)
        self.assertNotIn("last: 1", self.fleet.cli("get", "dataset", "data", "-o", "yaml").out)
        waiting = self.fleet.json("proposals")["proposals"]
        self.assertEqual(len(waiting), 1)
        for said in (told, self.fleet.cli("policy", "pending").out):
            self.assertRegex(said, rf"(?m): bailiwick approve {waiting[0]['id']}$", "what it says can be typed as it is")
        self.as_("bob", "approve", waiting[0]["id"], "--yes")
        self.assertIn("last: 1", self.fleet.cli("get", "dataset", "data", "-o", "yaml").out)

        # The second person sees what a change does that no key signs, and may drop it by the id that is listed.
        more = BINDINGS.split("---")[0].replace("[admin, bob]", "[admin, bob, zed]")
        elsewhere = f.dataset_yaml("data", "/etc", spec="commit: {onRequest: true}\nretain: {last: 1}")
        self.assertIn("who is policy-admin", self.fleet.apply(f.documents(more, elsewhere), expect=None).text)
        shown = self.as_("bob", "policy", "pending").out
        for words in ("RoleBinding/admins changed", "zed", "Dataset/data changed", "+     path: /etc", "no copy becomes unlawful"):
            self.assertIn(words, shown)
        waiting, = self.fleet.json("proposals")["proposals"]
        self.as_("bob", "withdraw", waiting["id"])
        self.assertEqual(self.fleet.json("proposals")["proposals"], [])
        self.assertNotIn("zed", self.fleet.cli("get", "rolebinding", "admins", "-o", "yaml").out)

        relabelled = f.dataset_yaml("data", self.fleet.path("data"), spec="commit: {onRequest: true}\nretain: {last: 1}",
                                    labels='class: telemetry, pii: "yes"')
        self.assertIn("relabels dataset data", self.fleet.apply(relabelled, expect=None).text)
        self.fleet.cli("policy", "reject", "--yes")
        left = lambda: i.agents(self.fleet)["core"]["recoveriesLeft"]  # noqa: E731
        before = left()
        for again in (False, True):
            self.fleet.cli("agent", "allow-recoveries", "core", "100")
            self.assertEqual(left(), before)
            proposal, = self.fleet.json("proposals")["proposals"]
            if not again:
                self.fleet.cli("withdraw", proposal["id"])
                self.assertEqual(self.fleet.json("proposals")["proposals"], [])
        self.as_("bob", "approve", proposal["id"], "--yes")
        self.assertEqual(left(), 100)

        # Each of these acts is on record, with who did it.
        admin, bob = (f"spiffe://{w.context(self.fleet)['trustDomain']}/admin/{name}" for name in ("admin", "bob"))
        said, both = i.records(self.fleet, "coordinator"), f"{admin} and {bob}"
        for kind, who, times in (("hold-set", admin, 1), ("proposal-made", admin, 3), ("proposal-approved", bob, 2),
                                 ("proposal-withdrawn", admin, 1), ("hold-released", both, 1), ("recoveries-allowed", both, 1),
                                 ("policy-change-rejected", None, 2)):
            found = [r for r in said if r["kind"] == kind]
            self.assertEqual(len(found), times, (kind, found))
            self.assertTrue(all(who in (None, r["detail"]["by"]) for r in found), (kind, found))


if __name__ == "__main__":
    f.main()
