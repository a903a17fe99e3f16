"""Eviction: an unlawful copy is fenced, repaired elsewhere where policies ask for it, erased and receipted; holds and silence are told."""
import contextlib
import glob
import os
import random
import unittest

import fleet as f


def evictions(fleet, dataset, site, state=None):
    rows = [e for e in f.rows_of(fleet.json("get", "evictions", dataset, "--site", site))]
    return [e for e in rows if state is None or e["state"] == state]


def replica(fleet, dataset, site):
    rows = [r for r in f.rows_of(fleet.json("get", "replicas", dataset)) if r["site"] == site]
    return rows[0] if rows else None


def receipts_in(answer):
    return [e for e in answer["evictions"] if e["receipt"]]


def erased(fleet, dataset, site, timeout=60):
    return f.wait_until(lambda: evictions(fleet, dataset, site, "erased"), timeout=timeout,
                        what=f"{dataset} is erased at {site} with a receipt")


def events(fleet, kind):
    return [e for e in f.rows_of(fleet.json("events", "--limit", "1000")) if e["kind"] == kind]


class Eviction(unittest.TestCase):
    def start(self, fleet, name, files=30, law=f.LOOSE_LAW, to="[{site: core}, {site: cloud-us}]", **more):
        source = f.make_tree(fleet.path(name), files=files)
        self.needle = random.Random(4711).randbytes(64 << 10)
        f.write(os.path.join(source, "needle"), self.needle)
        fleet.apply(f.documents(law, f.replication_yaml(to=to), f.dataset_yaml(name, source, **more)))
        fleet.commit(name)
        return source

    def gone(self, fleet, name, site):
        """Nothing of the dataset is on the site's disk: no pack, no chunk, no tree."""
        self.assertEqual(f.contains(fleet.data(site), self.needle[20_000:20_032]), [])
        self.assertEqual(glob.glob(os.path.join(fleet.data(site), "datasets", "*", "packs", "*")), [])
        self.assertFalse(os.path.lexists(fleet.replica(site, name)), "its trees are gone")

    def test_an_unlawful_copy_is_fenced_erased_and_receipted(self):
        with f.Fleet() as fleet:
            source = self.start(fleet, "evicted")
            fleet.wait_version("evicted", 1, "cloud-us")
            f.wait_until(lambda: os.path.islink(fleet.current("cloud-us", "evicted")), what="laid out")
            identity = f.rows_of(fleet.json("dataset", "versions", "evicted"))[0]["identity"]
            self.assertEqual(evictions(fleet, "evicted", "cloud-us"), [])

            fleet.apply(f.TIGHT_LAW)
            receipt = erased(fleet, "evicted", "cloud-us")[0]
            self.gone(fleet, "evicted", "cloud-us")
            self.assertEqual((receipt["cause"], receipt["rule"], receipt["versions"]), ("unlawful", "acme/eu-data-stays", [1]))
            self.assertGreater(int(receipt["bytes"]), 64 << 10)
            shown = fleet.json("eviction", "show", receipt["receipt"])
            self.assertIs(shown["verified"], True)
            self.assertEqual(shown["eviction"]["versions"], [{"number": 1, "identity": identity}])
            self.assertIs(shown["eviction"]["everything"], True)
            self.assertIn("is signed by", fleet.cli("eviction", "verify", receipt["receipt"]).out)
            fleet.cli("eviction", "verify", "00" * 16, expect=f.NOT_FOUND)

            why = fleet.cli("why", "evicted", "cloud-us", expect=f.DENIED)
            self.assertIn("acme/eu-data-stays", why.out)
            self.assertEqual(f.differences(source, fleet.current("core", "evicted")), [], "the lawful copy is untouched")
            fleet.verify("evicted", "core")
            log = fleet.audit("cloud-us")
            order = [log.index(f'"kind":"{kind}"') for kind in ("replica-fenced", "erasure-started", "replica-erased")]
            self.assertEqual(order, sorted(order), "each step was recorded, in order")

            fleet.apply(f.LOOSE_LAW)                  # lawful again: it comes back by itself
            fleet.wait_version("evicted", 1, "cloud-us")
            f.wait_until(lambda: os.path.islink(fleet.current("cloud-us", "evicted")), what="laid out again")
            self.assertEqual(f.differences(source, fleet.current("cloud-us", "evicted")), [])

    def test_killed_at_any_moment_the_erasure_ends_in_one_receipt(self):
        with f.Fleet() as fleet:
            source = f.make_tree(fleet.path("killed"), files=400)
            for n in range(12):
                f.write(os.path.join(source, f"big-{n}"), random.Random(n).randbytes(8 << 20))
            self.needle = random.Random(0).randbytes(8 << 20)
            fleet.apply(f.documents(f.LOOSE_LAW, f.replication_yaml(), f.dataset_yaml("killed", source)))
            fleet.commit("killed")
            fleet.wait_version("killed", 1, "cloud-us", timeout=120)
            fleet.dev("kill", "coordinator")     # nothing is ordered yet: the fence comes first, the order with its return
            fleet.dev("start", "coordinator")
            fleet.apply(f.TIGHT_LAW)
            for round_ in range(6):              # wherever it is by then
                f.wait_until(lambda: "erasure" in fleet.audit("cloud-us") or
                             "replica-fenced" in fleet.audit("cloud-us"),
                             what="the site knows")
                with contextlib.suppress(AssertionError):
                    f.wait_until(lambda: False, timeout=0.05 * round_, step=0.01)
                fleet.restart("cloud-us", how="kill")
            receipts = erased(fleet, "killed", "cloud-us", timeout=90)
            self.assertEqual(len(receipts), 1)
            self.assertEqual(receipts[0]["versions"], [1])
            fleet.cli("eviction", "verify", receipts[0]["receipt"])
            self.gone(fleet, "killed", "cloud-us")
            fleet.restart("cloud-us", how="kill")
            self.gone(fleet, "killed", "cloud-us")

    def test_a_silent_site_is_unconfirmed_until_it_says_so(self):
        with f.Fleet() as fleet:
            self.start(fleet, "silent")
            fleet.wait_version("silent", 1, "cloud-us")
            fleet.dev("kill", "cloud-us")
            fleet.apply(f.TIGHT_LAW)
            row = f.wait_until(lambda: evictions(fleet, "silent", "cloud-us", "unconfirmed"), what="unconfirmed")[0]
            self.assertRegex(row["reason"], r"has been silent for \d+")
            self.assertIn("eu-data-stays", row["rule"])
            self.assertEqual(replica(fleet, "silent", "cloud-us")["state"], "unconfirmed")
            self.assertRegex(fleet.cli("why", "silent", "cloud-us", expect=f.DENIED).out, r"silent for")
            self.assertIn("unconfirmed", fleet.cli("status").out)
            self.assertEqual(evictions(fleet, "silent", "cloud-us", "erased"), [])
            self.assertTrue(f.contains(fleet.data("cloud-us"), self.needle[20_000:20_032]), "it is still there")
            fleet.restart("coordinator")         # known after a restart as well
            f.wait_until(lambda: evictions(fleet, "silent", "cloud-us", "unconfirmed"), what="unconfirmed after a restart")

            fleet.dev("start", "cloud-us")
            erased(fleet, "silent", "cloud-us")
            self.assertEqual(evictions(fleet, "silent", "cloud-us", "unconfirmed"), [])
            self.gone(fleet, "silent", "cloud-us")

    def test_a_hold_of_a_dataset_that_was_deleted_is_none_of_the_next_of_its_name(self):
        with f.Fleet(f.FACTORY) as fleet:
            f.write(fleet.path("case", "file"), b"x")
            fleet.apply(f.documents(f.LAW, f.dataset_yaml("case", fleet.path("case"))))
            fleet.commit("case")
            hold = fleet.json("dataset", "hold", "case", "--version", "1", "--reason", "case 4711")["hold"]
            fleet.cli("delete", "dataset", "case", "--yes")
            self.assertEqual([h["dataset"] for h in fleet.json("dataset", "holds")["holds"]], ["case"])
            fleet.apply(f.dataset_yaml("case", fleet.path("case")))
            fleet.commit("case")
            self.assertEqual([h["dataset"] for h in fleet.json("dataset", "holds")["holds"]], ["case (deleted)"])
            none = fleet.cli("dataset", "release", "case", "--all", "--yes", expect=f.NOT_FOUND)
            self.assertIn(f"of one of that name that was deleted there is {hold}, released only by --hold", none.err)
            fleet.json("dataset", "hold", "case", "--reason", "case 4712")
            self.assertEqual(fleet.json("dataset", "release", "case", "--all", "--yes")["released"], 1)
            self.assertEqual([h["hold"] for h in fleet.json("dataset", "holds")["holds"]], [hold])
            fleet.cli("dataset", "release", "case", "--hold", hold)
            self.assertEqual(fleet.json("dataset", "holds")["holds"], [])

    def test_a_hold_keeps_the_copy_fenced(self):
        with f.Fleet() as fleet:
            source = self.start(fleet, "evidence")
            fleet.wait_version("evidence", 1, "cloud-us")
            f.write(os.path.join(source, "later"), b"later")
            fleet.commit("evidence")
            fleet.wait_version("evidence", 2, "cloud-us")
            f.wait_until(lambda: os.path.islink(fleet.current("cloud-us", "evidence")), what="laid out")
            fleet.cli("dataset", "hold", "evidence", "--version", "1", "--reason", "", expect=None)
            hold = fleet.json("dataset", "hold", "evidence", "--version", "1", "--site", "cloud-us", "--reason", "case 4711")["hold"]
            self.assertIn("case 4711", fleet.cli("dataset", "holds", "evidence").out)
            fleet.apply(f.TIGHT_LAW)
            f.wait_until(lambda: evictions(fleet, "evidence", "cloud-us", "held"), what="the hold is named")
            receipts = erased(fleet, "evidence", "cloud-us")     # what no hold keeps goes
            self.assertEqual([r["versions"] for r in receipts], [[2]])
            self.assertFalse(fleet.json("eviction", "show", receipts[0]["receipt"])["eviction"]["everything"])
            self.assertFalse(os.path.lexists(fleet.current("cloud-us", "evidence")), "withdrawn")
            self.assertTrue(f.contains(fleet.data("cloud-us"), self.needle[20_000:20_032]), "and kept")
            self.assertIn("a hold keeps version 1", fleet.cli("why", "evidence", "cloud-us", expect=f.DENIED).out)
            self.assertTrue(events(fleet, "eviction-hindered"))
            fleet.cli("dataset", "checkout", "evidence", "1", fleet.path("out"), "--site", "cloud-us", expect=f.DENIED)
            fleet.restart("cloud-us", how="kill")
            self.assertTrue(f.contains(fleet.data("cloud-us"), self.needle[20_000:20_032]), "kept over a restart")

            fleet.cli("dataset", "release", "evidence", "--hold", hold)
            f.wait_until(lambda: len(evictions(fleet, "evidence", "cloud-us", "erased")) == 2, what="the rest goes")
            self.gone(fleet, "evidence", "cloud-us")
            self.assertEqual(f.rows_of(fleet.json("dataset", "holds")), [])
            every, newest = (fleet.json("eviction", "list", "--limit", n) for n in "01")
            self.assertEqual(([r["versions"] for r in receipts_in(every)], every["more"]), ([[1], [2]], False))
            self.assertEqual((receipts_in(newest), newest["more"]), (receipts_in(every)[:1], True))
            said = fleet.cli("eviction", "list", "--limit", "1").err
            self.assertIn("only the newest 1 are listed; bailiwick eviction list --limit 0 lists all", said)
            self.assertEqual(fleet.cli("eviction", "list", "--limit", "2").err, "")
            named = fleet.cli("eviction", "list", "-o", "name").out.splitlines()
            self.assertEqual(named, [r["receipt"] for r in receipts_in(every)])
            self.assertEqual(fleet.cli("get", "evictions", "-o", "name").out.splitlines(), named)
            for receipt in named:
                fleet.cli("eviction", "verify", receipt)

    def test_repaired_elsewhere_first(self):
        with f.Fleet(f.FACTORY, f.CORE, f.CLOUD_US, "lab=eu/fr,tier=lab") as fleet:
            # One copy at a cloud or a lab: the holder comes first while it is lawful.
            source = self.start(fleet, "moved", to="[{site: core}]")
            fleet.apply(f.replication_yaml(name="one-more", to="[{site: cloud-us}]"))
            fleet.wait_version("moved", 1, "cloud-us")
            fleet.apply(f.replication_yaml(
                name="one-more", to="[{siteSelector: {matchExpressions: [{key: tier, operator: In, values: [cloud, lab]}]}, copies: 1}]"))
            fleet.dev("stop", "lab")
            fleet.apply(f.TIGHT_LAW)
            erased(fleet, "moved", "cloud-us")   # nobody who could stand in is there: home and core have it
            fleet.apply(f.LOOSE_LAW)
            fleet.wait_version("moved", 1, "cloud-us")
            fleet.dev("start", "lab")
            f.wait_until(lambda: any(r["name"] == "lab" and r["connected"] for r in fleet.json("status")["sites"]), what="lab is back")
            before = len(evictions(fleet, "moved", "cloud-us", "erased"))
            fleet.apply(f.TIGHT_LAW)
            f.wait_until(lambda: len(evictions(fleet, "moved", "cloud-us", "erased")) > before, what="erased")
            kinds = [(e["kind"], e["site"]) for e in f.rows_of(fleet.json("events", "--limit", "1000"))]
            arrived = kinds.index(("transfer-done", "lab"))
            ordered = len(kinds) - 1 - kinds[::-1].index(("eviction-ordered", "cloud-us"))
            self.assertLess(arrived, ordered, "the lab had it before the cloud was told to erase")
            self.assertEqual(f.differences(source, fleet.current("lab", "moved")), [])
            self.gone(fleet, "moved", "cloud-us")

    def test_a_broken_law_fences_and_erases_nothing(self):
        with f.Fleet() as fleet:
            self.start(fleet, "judged")
            fleet.wait_version("judged", 1, "cloud-us")
            f.wait_until(lambda: os.path.islink(fleet.current("cloud-us", "judged")), what="laid out")
            missing = f.LOOSE_LAW + ("  - id: no-export\n    effect: forbid\n    data: {matchLabels: {export: \"no\"}}\n"
                               "    to: {in: [us]}\n")
            fleet.apply(missing)                 # the dataset has no label export
            row = f.wait_until(lambda: evictions(fleet, "judged", "cloud-us", "unjudged"), what="fenced, not judged")[0]
            self.assertIn("cannot be evaluated", row["reason"])
            f.wait_until(lambda: not os.path.lexists(fleet.current("cloud-us", "judged")), what="withdrawn")
            self.assertTrue(f.contains(fleet.data("cloud-us"), self.needle[20_000:20_032]), "kept")
            fleet.apply(f.LOOSE_LAW)
            f.wait_until(lambda: os.path.islink(fleet.current("cloud-us", "judged")), what="shown again, without a transfer")
            self.assertEqual(evictions(fleet, "judged", "cloud-us"), [])
            self.assertEqual(len(fleet.transfers("judged", 1, "cloud-us")), 1)


class MidTransfer(unittest.TestCase):
    def test_tightened_it_stops_and_holds_nothing_loosened_it_completes(self):
        size = int(os.environ.get("BAILIWICK_EVICT_MIB", "300")) << 20
        with f.Fleet() as fleet:
            source = fleet.path("big")
            for n in range(0, size, 32 << 20):
                f.write(os.path.join(source, f"part-{n >> 20}"), random.Random(n).randbytes(32 << 20))
            fleet.apply(f.documents(f.LOOSE_LAW, f.replication_yaml(to="[{site: cloud-us}]"), f.dataset_yaml("big", source)))
            fleet.commit("big", wait=False)

            def arriving():
                rows = fleet.transfers("big", 1, "cloud-us")
                return rows and f.pack_bytes(fleet, "cloud-us") > 0 and rows[-1]["state"] == "running"
            f.wait_until(arriving, timeout=60, step=0.01, what="bytes arrive")
            fleet.apply(f.TIGHT_LAW)
            receipt = erased(fleet, "big", "cloud-us", timeout=90)[0]
            self.assertIsNone(next((r for r in evictions(fleet, "big", "cloud-us") if r["state"] != "erased"), None))
            self.assertEqual(glob.glob(os.path.join(fleet.data("cloud-us"), "datasets", "*", "packs", "*")), [])
            self.assertEqual((receipt["versions"], receipt["cause"]), ([], "unlawful"))
            fleet.cli("eviction", "verify", receipt["receipt"])
            self.assertEqual(replica(fleet, "big", "cloud-us")["versions"], [])

            fleet.apply(f.LOOSE_LAW)
            fleet.wait_version("big", 1, "cloud-us", timeout=300)
            f.wait_until(lambda: os.path.islink(fleet.current("cloud-us", "big")), timeout=120, what="laid out")
            self.assertEqual(f.differences(source, fleet.current("cloud-us", "big")), [])
            fleet.verify("big", "cloud-us")


if __name__ == "__main__":
    f.main()
