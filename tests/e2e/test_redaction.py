"""Redaction: what files held goes from every version, pack and tree at every site, by a signed order, with receipts; all else stays."""
import hashlib
import os
import random
import time
import unittest

import fleet as f
import wire as w
from prometheus import told
from test_signing import Signer

PERMIT = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  rules: [{id: everywhere, effect: permit, data: {matchLabels: {class: telemetry}}}]
"""
OVERRIDES = PERMIT + "  redaction: {overridesLocks: true, data: {matchLabels: {class: telemetry}}}\n"
SITES = ("factory", "core", "cloud-us")
VICTIM = "patients/4711-zq7x.json"
WAITING = "bailiwick_coordinator_waiting_redactions"


def redaction(fleet, order):
    return fleet.json("redaction", "show", order)["redaction"]


def states(fleet, order):
    return {s["site"]: s["state"] for s in redaction(fleet, order)["sites"]}


def done(fleet, order, *sites):
    return f.wait_until(lambda: (lambda r: r if all({s["site"]: s["state"] for s in r["sites"]}.get(site) == "done" for site in sites)
                                 else None)(redaction(fleet, order)), timeout=90, what=f"{order} is done at {sites}")


def sums(root):
    """{relative path: SHA-256} of the files in a tree."""
    root = root + "/"
    return {os.fsdecode(p)[len(root):]: hashlib.sha256(f.read(p)).hexdigest() for p in f.files_under(root)}


class Redaction(unittest.TestCase):
    def start(self, fleet, name, law=PERMIT, to="[{site: core}, {site: cloud-us}]", versions=2):
        """Every version has another content of the victim; the first of them is found by self.needles."""
        source = f.make_tree(fleet.path(name), files=30)
        self.needles = []
        fleet.apply(f.documents(law, f.replication_yaml(to=to), f.dataset_yaml(name, source)))
        for version in range(1, versions + 1):
            content = random.Random(f"{name}{version}").randbytes(200_000)
            self.needles.append(content[70_000:70_064])
            f.write(os.path.join(source, VICTIM), content)
            f.write(os.path.join(source, "patients", "other.json"), random.Random(version + 77).randbytes(100_000))
            fleet.commit(name)
        return source

    def holders(self, fleet, site):
        return [p for needle in self.needles for p in f.contains(fleet.data(site), needle)]

    def redact(self, fleet, name, *more, path=VICTIM):
        answer = fleet.json("dataset", "redact", name, path, "--reason", "request 12", "--yes", *more)
        return answer["orders"][0]["order"], answer

    def gone(self, fleet, name, site):
        self.assertEqual(self.holders(fleet, site), [], f"nothing of it is left at {site}")
        for slot in ("0", "1", "2"):
            self.assertFalse(os.path.lexists(fleet.replica(site, name, "trees", slot, VICTIM)))

    def test_gone_everywhere_and_all_else_stays(self):
        with f.Fleet() as fleet:
            source = self.start(fleet, "charts")
            for site in ("core", "cloud-us"):
                fleet.wait_version("charts", 2, site)
                self.assertTrue(self.holders(fleet, site), "the search finds it where it is")
            before = sums(fleet.current("core", "charts"))
            self.assertIn(VICTIM, before)
            identities = [v["identity"] for v in f.rows_of(fleet.json("dataset", "versions", "charts"))]

            plan = fleet.json("dataset", "redact", "charts", VICTIM, "--reason", "request 12", "--dry-run")
            self.assertEqual((int(plan["files"]), int(plan["contents"]), plan["orders"]), (1, 2, []))
            self.assertEqual(f.rows_of(fleet.json("get", "redactions")), [])
            fleet.cli("dataset", "redact", "charts", "no/such", "--reason", "x", "--yes", expect=f.NOT_FOUND)

            order, answer = self.redact(fleet, "charts")
            self.assertGreater(int(answer["chunks"]), 4)
            shown = done(fleet, order, *SITES)
            self.assertEqual((shown["state"], shown["reason"]), ("done", "request 12"))
            os.unlink(os.path.join(source, VICTIM))
            for site in SITES:
                self.gone(fleet, "charts", site)
            expected = {path: digest for path, digest in before.items() if path != VICTIM}
            for site in ("core", "cloud-us"):
                self.assertTrue(os.path.islink(fleet.current(site, "charts")), "current stays")
                self.assertEqual(sums(fleet.current(site, "charts")), expected)
            self.assertEqual([v["identity"] for v in f.rows_of(fleet.json("dataset", "versions", "charts"))], identities)

            # Redacted, not rotten; readers are told; receipts verify.
            for site in SITES:
                report = fleet.json("dataset", "verify", "charts", "--site", site)["sites"][0]
                self.assertEqual(int(report["problemCount"]), 0, report)
                self.assertGreater(int(report["redactedChunks"]), 4)
            out = fleet.path("out")
            checked_out = fleet.cli("dataset", "checkout", "charts", "1", out, "--site", "core")
            self.assertIn("1 files are redacted", checked_out.out)
            self.assertFalse(os.path.lexists(os.path.join(out, VICTIM)))
            self.assertTrue(os.path.exists(os.path.join(out, "patients", "other.json")))
            verified = fleet.json("redaction", "verify", order)
            self.assertEqual([(s["site"], s["verified"]) for s in verified["sites"]], sorted((s, True) for s in SITES))
            self.assertEqual((len(verified["signedKeyIds"]), verified["signaturesNeeded"]), (1, 1))
            self.assertRegex(fleet.cli("redaction", "verify", order).out,
                             rf"^order: signed by 1 of 1 keys of the policy root, 1 needed; by keys with id {verified['signedKeyIds'][0]}\n")
            for site in shown["sites"]:
                fleet.cli("eviction", "verify", site["receipt"])

            # No name passed the coordinator.
            self.assertEqual(f.contains(os.path.join(fleet.dir, "coordinator"), b"4711-zq7x"), [])
            self.assertNotIn("4711-zq7x", fleet.log("coordinator") + fleet.cli("events", "--limit", "1000").out)

            # It does not come back, neither under its name nor under another.
            content = random.Random("charts2").randbytes(200_000)
            f.write(os.path.join(source, "again.json"), content)
            refused = fleet.commit("charts", wait=False, expect=None)
            self.assertNotEqual(refused.code, f.OK)
            self.assertIn("again.json", refused.text)
            self.assertIn(order, refused.text)
            self.assertEqual(self.holders(fleet, "factory"), [])
            os.unlink(os.path.join(source, "again.json"))
            f.write(os.path.join(source, "later"), b"later")
            fleet.commit("charts")
            fleet.wait_version("charts", 3, "core")
            self.assertEqual(sums(fleet.current("core", "charts")), {**expected, "later": hashlib.sha256(b"later").hexdigest()})
            for site in SITES:
                fleet.restart(site, how="kill")
            fleet.cli("dataset", "rollback", "charts", "1", "--site", "core")
            self.assertFalse(os.path.lexists(os.path.join(fleet.current("core", "charts"), VICTIM)))
            for site in SITES:
                self.gone(fleet, "charts", site)

    def test_the_search_says_how_far_it_is(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            self.start(fleet, "long", to="[{site: core}]", versions=3)
            [dataset] = w.control(fleet, w.admin(fleet), "ListDatasets", w.control_pb2.ListDatasetsRequest(),
                                  w.control_pb2.ListDatasetsResponse).datasets
            asked = w.admin_pb2.FindContentRequest(dataset="long", dataset_id=dataset.dataset_id, paths=[VICTIM.encode()])
            site = w.sites(fleet)["factory"]
            with w.admin(fleet).channel(site.admin_endpoint, site.agent) as channel:
                call = channel.unary_stream("/bailiwick.agent.v1.AgentAdmin/FindContent", request_serializer=lambda m: m.SerializeToString(),
                                            response_deserializer=w.admin_pb2.FoundContent.FromString)
                parts = list(call(asked, timeout=30))
            self.assertEqual([(p.searched, p.to_search) for p in parts[:6]], [(n, 6) for n in range(6)])
            self.assertEqual([p.last for p in parts], [False] * 6 + [True])

    def test_a_site_that_was_away_and_a_new_one(self):
        with f.Fleet() as fleet:
            source = self.start(fleet, "logs", to="[{site: core}]")
            fleet.wait_version("logs", 2, "core")
            fleet.dev("kill", "core")
            order, _ = self.redact(fleet, "logs")
            done(fleet, order, "factory")
            os.unlink(os.path.join(source, VICTIM))
            row = f.wait_until(lambda: [s for s in redaction(fleet, order)["sites"] if s["state"] == "unconfirmed"], what="unconfirmed")[0]
            self.assertEqual(row["site"], "core")
            self.assertIn("silent for", row["reason"])
            self.assertTrue(self.holders(fleet, "core"))
            fleet.restart("coordinator")
            self.assertEqual(states(fleet, order)["factory"], "done")
            fleet.dev("start", "core")
            done(fleet, order, "core")
            self.gone(fleet, "logs", "core")
            fleet.verify("logs", "core")

            # A site that comes to it afterwards takes redacted versions as complete, with an order of its own.
            fleet.apply(f.replication_yaml(to="[{site: core}, {site: cloud-us}]"))
            fleet.wait_version("logs", 2, "cloud-us")
            done(fleet, order, "cloud-us")
            self.gone(fleet, "logs", "cloud-us")
            report = fleet.json("dataset", "verify", "logs", "--site", "cloud-us")["sites"][0]
            self.assertEqual(int(report["problemCount"]), 0, report)
            self.assertEqual(sums(fleet.current("cloud-us", "logs")), sums(fleet.current("core", "logs")))

    def test_holds_win_unless_the_law_says_otherwise(self):
        with f.Fleet() as fleet:
            self.start(fleet, "evidence")
            for site in ("core", "cloud-us"):
                fleet.wait_version("evidence", 2, site)
            hold = fleet.json("dataset", "hold", "evidence", "--version", "1", "--site", "core", "--reason", "case 4")["hold"]
            order, _ = self.redact(fleet, "evidence", "--override-locks")     # no policy lets it
            f.wait_until(lambda: states(fleet, order).get("core") == "held", what="held at core")
            done(fleet, order, "factory", "cloud-us")
            self.assertEqual(redaction(fleet, order)["state"], "held")
            row = [s for s in redaction(fleet, order)["sites"] if s["site"] == "core"][0]
            self.assertIn("a hold keeps version 1", row["reason"])
            f.wait_until(lambda: "agent-redaction-hindered" in fleet.cli("events", "--limit", "1000").out, what="an alarm")
            self.assertTrue(self.holders(fleet, "core"), "kept")
            for slot in ("0", "1", "2", ):
                self.assertFalse(os.path.lexists(fleet.replica("core", "evidence", "trees", slot, VICTIM)), "but not to be read")
            fleet.restart("core", how="kill")
            self.assertTrue(self.holders(fleet, "core"), "kept over a restart")

            fleet.apply(OVERRIDES)                                           # the order asked for it; now the law lets it
            done(fleet, order, "core")
            self.gone(fleet, "evidence", "core")
            self.assertIn(hold, fleet.cli("dataset", "holds", "evidence").out, "the hold itself stays")

    def test_copies_are_named_and_shared_content_stays(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = fleet.path("twins")
            block = random.Random(1).randbytes(3 << 20)
            f.write(os.path.join(source, "a"), block + b"a" * 10)
            f.write(os.path.join(source, "b"), block + b"b" * 10)            # nearly all of its chunks are a's
            f.write(os.path.join(source, "copy-of-a"), block + b"a" * 10)
            fleet.apply(f.documents(PERMIT, f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("twins", source)))
            fleet.commit("twins")
            fleet.wait_version("twins", 1, "core")
            refused = fleet.cli("dataset", "redact", "twins", "a", "--reason", "r", "--yes", expect=None)
            self.assertNotEqual(refused.code, f.OK)
            self.assertIn("copy-of-a", refused.text)
            order, answer = self.redact(fleet, "twins", "--copies", path="a")
            self.assertGreater(int(answer["sharedChunks"]), 10)
            done(fleet, order, "factory", "core")
            self.assertEqual(sums(fleet.current("core", "twins")), {"b": hashlib.sha256(block + b"b" * 10).hexdigest()})
            fleet.verify("twins", "core")

    def test_one_that_was_declared_again_is_not_the_one_before(self):
        """Under one name: what is checked out, verified and redacted is of the dataset that has it now."""
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.documents(PERMIT, f.replication_yaml(to="[{site: core}]")))
            source = fleet.path("twice")
            for generation in range(5):     # whichever comes first by its id
                content = random.Random(f"generation {generation}").randbytes(50_000)
                f.write(os.path.join(source, "file"), content)
                fleet.apply(f.dataset_yaml("twice", source))
                fleet.commit("twice")
                for site in ("factory", "core"):
                    out = fleet.path(f"out-{site}-{generation}")
                    fleet.cli("dataset", "checkout", "twice", "1", out, "--site", site)
                    self.assertEqual(f.read(os.path.join(out, "file")), content)
                    report = fleet.json("dataset", "verify", "twice", "--site", site)["sites"][0]
                    self.assertEqual((int(report["versions"]), int(report["problemCount"])), (1, 0), report)
                if generation < 4:
                    fleet.cli("delete", "dataset", "twice", "--yes")
            self.needles = [content[20_000:20_064]]
            self.assertTrue(self.holders(fleet, "factory"))
            order, _ = self.redact(fleet, "twice", path="file")
            done(fleet, order, "factory", "core")
            for site in ("factory", "core"):
                self.assertEqual(self.holders(fleet, site), [], f"nothing of it is left at {site}")

    def test_two_keys_and_nobody_else(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            self.start(fleet, "signed", to="[{site: core}]", versions=1)
            fleet.wait_version("signed", 1, "core")
            bob, eve = Signer(fleet, "bob"), Signer(fleet, "eve")
            fleet.cli("policy", "rotate", "--add", bob.public, "--yes")
            fleet.cli("policy", "rotate", "--threshold", "2", "--yes")
            bob.cli("policy", "approve", "--yes")
            refused = eve.cli("dataset", "redact", "signed", VICTIM, "--reason", "mine", "--yes", expect=None)
            self.assertNotEqual(refused.code, f.OK)
            order, answer = self.redact(fleet, "signed")
            self.assertIn("1 of 2", answer["orders"][0]["missing"])
            self.assertEqual(redaction(fleet, order)["state"], "waiting")
            fleet.restart("coordinator")
            self.assertEqual(redaction(fleet, order)["state"], "waiting", "known after a restart")
            self.assertEqual(told(fleet, WAITING), 1)
            self.assertTrue(self.holders(fleet, "core"), "nothing happens before the last signature")
            self.assertNotIn("redaction-ordered", fleet.audit("core"))
            self.assertNotEqual(eve.cli("redaction", "approve", order, "--yes", expect=None).code, f.OK)
            self.assertIn(order, fleet.cli("proposals").out)
            again = fleet.cli("dataset", "redact", "signed", VICTIM, "--reason", "once more", "--yes", expect=None)
            self.assertIn(order, again.err, "the same twice is one order")
            tried = fleet.cli("dataset", "redact", "signed", "patients/other.json", "--reason", "x", "--dry-run")
            self.assertIn("1 of 2", tried.out)

            # An order that nobody else wanted is dropped, and does not come to count when the law asks for less.
            mistyped = fleet.json("dataset", "redact", "signed", "patients/other.json", "--reason", "slip", "--yes")["orders"][0]["order"]
            fleet.cli("withdraw", mistyped)
            fleet.cli("redaction", "show", mistyped, expect=f.NOT_FOUND)
            fleet.cli("policy", "rotate", "--threshold", "1", "--yes")
            bob.cli("policy", "approve", "--yes")
            self.assertIn("asks for fewer", redaction(fleet, order)["missing"])
            time.sleep(2)
            self.assertTrue(self.holders(fleet, "core"), "it waits for somebody's yes")

            # Who signs can have it checked that the order is about the files it is said to be about.
            other = bob.cli("redaction", "approve", order, "--path", "patients/other.json", "--yes", expect=None)
            self.assertIn("in none of the paths", other.err)
            bob.cli("redaction", "approve", order, "--path", VICTIM, "--yes")
            self.assertEqual(told(fleet, WAITING), 0)
            done(fleet, order, "core", "factory")
            self.gone(fleet, "signed", "core")
            self.assertIn("cannot be taken back", fleet.cli("withdraw", order, expect=None).err)


if __name__ == "__main__":
    f.main()
