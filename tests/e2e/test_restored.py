"""A coordinator whose data directory was put back from a backup: what was held since stays held where it was known, is shown and ends when
somebody says so; what was committed since is announced again."""
import os
import shutil
import unittest

import fleet as f
from test_eviction import events, replica

MORE = f.LAW + '  - {id: open-too, effect: permit, data: {matchLabels: {class: open}}, from: {in: [eu]}, to: {in: [eu]}}\n'


class Restored(unittest.TestCase):
    def start(self, fleet, spec):
        self.source = fleet.path("tele")
        self.change()
        fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"), f.dataset_yaml("tele", self.source, spec=spec)))
        fleet.commit("tele")
        fleet.wait_version("tele", 1, "core")

    def change(self, number=1):
        f.write(os.path.join(self.source, "n"), b"%d" % number)

    def commit(self, fleet, number):
        self.change(number)
        fleet.commit("tele")
        fleet.wait_version("tele", number, "core")

    def back_up(self, fleet):
        fleet.dev("stop", "coordinator")
        shutil.copytree(os.path.join(fleet.dir, "coordinator"), fleet.path("backup"), symlinks=True)
        fleet.dev("start", "coordinator")
        f.wait_until(lambda: all(s["connected"] for s in fleet.json("status")["sites"]), what="both are back")

    def put_back(self, fleet):
        fleet.dev("stop", "coordinator")
        shutil.rmtree(os.path.join(fleet.dir, "coordinator"))
        shutil.copytree(fleet.path("backup"), os.path.join(fleet.dir, "coordinator"), symlinks=True)
        fleet.dev("start", "coordinator")

    def holds(self, fleet):
        return {h["hold"]: h for h in fleet.json("dataset", "holds")["holds"]}

    def versions(self, fleet, site):
        return replica(fleet, "tele", site)["versions"]

    def test_what_was_held_since_stays_until_it_is_released(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            self.start(fleet, "commit: {onRequest: true}\nretain: {last: 1, hourly: 0, daily: 0}")
            self.back_up(fleet)
            hold = fleet.json("dataset", "hold", "tele", "--version", "1", "--reason", "litigation")["hold"]
            ended = fleet.json("dataset", "hold", "tele", "--version", "1", "--reason", "a mistake")["hold"]
            fleet.cli("dataset", "release", "tele", "--hold", ended)
            for site in ("factory", "core"):
                f.wait_until(lambda s=site: fleet.audit(s).count("holds-changed") >= 3, what=f"{site} knows what is held")
            self.put_back(fleet)

            f.wait_until(lambda: self.holds(fleet).get(hold, {}).get("onlyAt") == ["core", "factory"], what="both sites keep it")
            self.assertEqual(list(self.holds(fleet)), [hold])
            self.assertIn("known only at core, factory", fleet.cli("dataset", "holds", "tele").out)
            said = events(fleet, "hold-kept")
            self.assertEqual(sorted(e["site"] for e in said), ["core", "factory"])
            for words in (hold, "of dataset tele", "'litigation'", "was it restored from a backup?"):
                self.assertIn(words, said[0]["message"])
            for number in (2, 3, 4, 5):  # a replica has the two before the newest laid out, too
                self.commit(fleet, number)
            for site in ("factory", "core"):
                f.wait_until(lambda s=site: 2 not in self.versions(fleet, s), timeout=90, what=f"retention at {site}")
                self.assertEqual(self.versions(fleet, site)[0], 1, "it spares what is held")

            none = fleet.cli("dataset", "release", "tele", "--all", "--yes", expect=f.NOT_FOUND)
            self.assertIn(f"only sites know {hold}, released only by --hold", none.err)
            anew = fleet.json("dataset", "hold", "tele", "--version", "1", "--reason", "litigation, anew")["hold"]
            fleet.dev("stop", "core")     # who is away hears of it later
            self.assertEqual(fleet.json("dataset", "release", "tele", "--hold", hold)["released"], 1)
            self.assertEqual(list(self.holds(fleet)), [anew])
            fleet.cli("dataset", "release", "tele", "--hold", anew)
            fleet.dev("start", "core")
            self.commit(fleet, 6)
            for site in ("factory", "core"):
                f.wait_until(lambda s=site: 1 not in self.versions(fleet, s), timeout=90, what=f"nothing holds it at {site}")
            self.assertEqual(self.holds(fleet), {})
            fleet.restart("coordinator")
            f.wait_until(lambda: all(s["connected"] for s in fleet.json("status")["sites"]), what="both are back")
            self.assertEqual(self.holds(fleet), {})
            self.assertEqual(len(events(fleet, "hold-kept")), 2, "each once")

    def test_what_was_committed_since_is_announced_again_whatever_the_law(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            self.start(fleet, "commit: {onRequest: true}")
            sites = lambda: fleet.json("status")["sites"]  # noqa: E731
            self.back_up(fleet)
            before = max(s["policyRevision"] for s in sites())
            fleet.apply(MORE)
            f.wait_until(lambda: all(s["policyRevision"] > before for s in sites()), what="both have the newer law")
            self.commit(fleet, 2)
            self.put_back(fleet)
            f.wait_until(lambda: all("is older than the installed" in s["policyError"] for s in sites()),
                         what="both keep to the newer law")
            f.wait_until(lambda: [v["number"] for v in fleet.json("dataset", "versions", "tele")["versions"]] == [2, 1],
                         what="the home announces what this coordinator does not know")

            fleet.apply(MORE)   # above what the agents have, though this coordinator knows none of it
            f.wait_until(lambda: all(s["policyRevision"] == before + 2 and not s["policyError"] for s in sites()),
                         what="a law that is newer than what they have")
            fleet.wait_version("tele", 2, "core")
            f.wait_until(lambda: replica(fleet, "tele", "core")["current"] == 2, what="and the copy counts again")
            self.commit(fleet, 3)


if __name__ == "__main__":
    f.main()
