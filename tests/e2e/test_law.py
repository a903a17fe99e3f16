"""Sovereignty: what is denied never leaves, the reason is named, a tighter law holds, a looser one lets go."""
import json
import os
import random
import unittest

import fleet as f
import identities as i

CAP = "apiVersion: bailiwick/v1\nkind: BandwidthPolicy\nmetadata: {name: line}\nspec: {caps: [{site: factory, limit: 2MiB}]}\n"


class Law(unittest.TestCase):
    def test_not_a_chunk_reaches_a_denied_site(self):
        with f.Fleet() as fleet:
            marker = random.Random(4711).randbytes(64 << 10)
            name_marker = "name-marker-9b1f0c"
            source = f.make_tree(fleet.path("secret"), files=30)
            f.write(os.path.join(source, name_marker), marker)
            fleet.apply(f.documents(f.LAW, f.replication_yaml(), f.dataset_yaml("secret", source)))
            fleet.commit("secret")
            fleet.wait_version("secret", 1, "core")
            f.wait_until(lambda: os.path.islink(fleet.current("core", "secret")), what="laid out at core")
            fleet.wait_version("secret", 1, "cloud-us", timeout=3, expect=None)

            needle = marker[20_000:20_032]
            self.assertTrue(f.contains(os.path.join(fleet.data("core"), "datasets"), needle), "the search finds it where it is")
            self.assertEqual(f.contains(fleet.data("cloud-us"), needle), [])
            self.assertEqual(f.contains(fleet.data("cloud-us"), name_marker.encode()), [])
            self.assertEqual(f.pack_bytes(fleet, "cloud-us"), 0)
            self.assertFalse(os.path.lexists(fleet.current("cloud-us", "secret")))
            self.assertNotIn(name_marker, fleet.log("cloud-us"))

            why = fleet.cli("why", "secret", "cloud-us", expect=None)
            self.assertIn(why.code, (f.OK, f.DENIED), why)
            self.assertIn("acme/eu-data-stays", why.out)
            self.assertEqual(len(why.out.strip().split("\n")), 1, why.out)
            explained = fleet.cli("policy", "explain", "--dataset", "secret", "--from", "factory", "--to", "cloud-us",
                                  expect=f.DENIED)
            for rule in ("eu-data-stays", "telemetry-within-the-eu", "no-pii-abroad"):
                self.assertIn(rule, explained.out)
            fleet.cli("policy", "explain", "--dataset", "secret", "--from", "factory", "--to", "core", expect=f.OK)
            fleet.cli("wait", "dataset", "secret", "--version", "1", "--site", "cloud-us", "--timeout", "2s",
                      expect=None)

    def test_nothing_is_permitted_without_a_rule(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = f.make_tree(fleet.path("none"), files=5)
            fleet.apply(f.documents(f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("none", source)))
            fleet.commit("none", wait=False)
            why = f.wait_until(lambda: (lambda r: r if "denies" in r.text else None)(
                fleet.cli("why", "none", "core", expect=None)), timeout=15, what="why says that no rule permits it")
            self.assertIn("no sovereignty policy is declared", why.text)
            fleet.cli("policy", "explain", "--dataset", "none", "--from", "factory", "--to", "core", expect=f.DENIED)
            self.assertEqual(f.pack_bytes(fleet, "core"), 0)
            fleet.apply(f.LAW)                                  # loosened: it goes by itself
            fleet.wait_version("none", 1, "core")

    def test_forbid_beats_permit_whatever_the_order(self):
        with f.Fleet() as fleet:
            source = f.make_tree(fleet.path("both"), files=5)
            fleet.apply(f.documents(f.TIGHT_LAW, f.replication_yaml(), f.dataset_yaml("both", source)))
            fleet.commit("both")
            fleet.wait_version("both", 1, "core")
            denied = fleet.cli("policy", "explain", "--dataset", "both", "--from", "factory", "--to", "cloud-us", expect=f.DENIED)
            self.assertIn("eu-data-stays", denied.out)
            self.assertEqual(f.pack_bytes(fleet, "cloud-us"), 0)

            fleet.apply(f.LOOSE_LAW)             # loosened
            fleet.wait_version("both", 1, "cloud-us")
            self.assertFalse(f.differences(source, fleet.current("cloud-us", "both")))
            fleet.cli("policy", "explain", "--dataset", "both", "--from", "factory", "--to", "cloud-us", expect=f.OK)

            fleet.apply(f.TIGHT_LAW)                      # tightened: nothing more goes there, and nothing stays
            f.write(os.path.join(source, "later"), random.Random(5).randbytes(64 << 10))
            fleet.commit("both")
            fleet.wait_version("both", 2, "core")
            f.wait_until(lambda: f.pack_bytes(fleet, "cloud-us") == 0, what="what lay there is gone, and nothing more came")
            needle = random.Random(5).randbytes(64 << 10)[100:132]
            self.assertEqual(f.contains(fleet.data("cloud-us"), needle), [])

    def test_a_missing_label_denies_as_an_error(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = f.make_tree(fleet.path("bare"), files=5)
            law = f.LAW.replace("    to: {notIn: [eu]}\n", "    to: {in: [eu]}\n")
            law = law.replace("  - id: eu-data-stays\n    effect: forbid\n    from: {in: [eu]}\n    to: {in: [eu]}\n", "")
            fleet.apply(f.documents(law, f.replication_yaml(to="[{site: core}]"),
                                    f.dataset_yaml("bare", source, labels="class: telemetry")))
            fleet.commit("bare", wait=False)
            explained = fleet.cli("policy", "explain", "--dataset", "bare", "--from", "factory", "--to", "core", expect=f.DENIED)
            self.assertRegex(explained.out, r"(?i)error")
            self.assertRegex(explained.out, r"pii")
            self.assertEqual(f.pack_bytes(fleet, "core"), 0)

    def test_relabelling_to_personal_stops_the_flow(self):
        with f.Fleet() as fleet:
            source = f.make_tree(fleet.path("relabel"), files=5)
            fleet.apply(f.documents(f.LOOSE_LAW, f.replication_yaml(), f.dataset_yaml("relabel", source)))
            fleet.commit("relabel")
            fleet.wait_version("relabel", 1, "cloud-us")
            fleet.apply(f.dataset_yaml("relabel", source, labels='class: telemetry, pii: "yes"'))
            f.write(os.path.join(source, "later"), b"personal now")
            fleet.commit("relabel")
            fleet.wait_version("relabel", 2, "core")
            why = f.wait_until(lambda: (lambda r: r if "no-pii-abroad" in r.text else None)(
                fleet.cli("why", "relabel", "cloud-us", expect=None)), timeout=15, what="why names the rule")
            self.assertIn("acme/no-pii-abroad", why.text)
            f.wait_until(lambda: f.pack_bytes(fleet, "cloud-us") == 0, what="the copy that became unlawful is erased")
            rows = {r["site"]: r for r in f.rows_of(fleet.json("get", "replicas"))}
            self.assertEqual(rows.get("cloud-us", {"versions": []})["versions"], [], json.dumps(rows))

    def test_each_grant_of_a_transfer_is_one_record_and_a_window_is_none(self):
        """A law that changes means new grants for what runs; each is on record at both ends, and nothing else is."""
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = fleet.path("long")
            f.write(os.path.join(source, "big"), random.Random(7).randbytes(24 << 20))
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("long", source), CAP))
            fleet.commit("long", wait=False)

            def records(site, *kinds):
                return [r for r in i.records(fleet, site) if r["kind"] in kinds and r["subject"].startswith("long/")]
            f.wait_until(lambda: records("factory", "grant-accepted"), what="it runs")
            for n in range(3):
                known = len(records("core", "grant-renewed"))
                fleet.apply(f.LAW + f"  - id: again-{n}\n    effect: permit\n    data: {{matchLabels: {{class: telemetry}}}}\n    to: {{in: [eu]}}\n")
                f.wait_until(lambda: len(records("core", "grant-renewed")) > known, what="it goes on by a new grant")
            fleet.wait_version("long", 1, "core", timeout=90)
            f.wait_until(lambda: records("factory", "transfer-ended"), what="its end is on record")
            issued = [r["detail"]["grant"] for r in records("coordinator", "grant-issued")]
            self.assertGreaterEqual(len(issued), 4)
            for site in ("factory", "core"):
                with self.subTest(site):
                    self.assertEqual([r["detail"]["grant"] for r in records(site, "grant-accepted", "grant-renewed")], issued)
                    self.assertEqual(len(records(site, "grant-accepted")), 1)
                    kinds = [r["kind"] for r in i.records(fleet, site) if r["subject"].startswith("long/")]
                    self.assertLess(len(kinds), len(issued) + 5, kinds)

    def test_a_law_that_fails_its_own_tests_is_not_applied(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            fleet.apply(f.LAW)
            before = fleet.cli("get", "sovereigntypolicy", "acme", "-o", "yaml").out
            wrong = f.LAW + ("  tests:\n  - {name: nothing to core, data: {class: telemetry, pii: \"no\"}, from: eu/de/fra, "
                             "to: eu/de, expect: deny}\n")
            refused = fleet.apply(wrong, expect=None)
            self.assertNotEqual(refused.code, f.OK)
            self.assertIn("nothing to core", refused.text)
            self.assertEqual(fleet.cli("get", "sovereigntypolicy", "acme", "-o", "yaml").out, before)


if __name__ == "__main__":
    f.main()
