"""Lag and RPO: an alarm for each breach, once, and its end, once, also over restarts of the coordinator."""
import fleet as f


class Rpo(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def replica(self, dataset):
        return next(r for r in f.rows_of(self.fleet.json("get", "replicas", dataset)) if r["site"] == "core")

    def alarms(self, dataset):
        events = f.rows_of(self.fleet.json("events", "--limit", "1000"))
        return [e["kind"] for e in events if e["dataset"] == dataset and e["kind"].startswith("rpo-")]

    def test_a_breach_is_told_once_and_so_is_its_end(self):
        name = "late"
        source = self.fleet.path(name)
        f.make_tree(source, files=5, largest=2000)
        self.fleet.apply(f.dataset_yaml(name, source))
        self.fleet.commit(name)
        self.assertEqual(int(self.replica(name)["lagSeconds"]), 0)

        self.fleet.dev("stop", "core")
        f.write(source + "/more", b"more")
        self.fleet.commit(name, wait=False)
        self.assertEqual(self.alarms(name), [], "nobody asked for one")
        self.fleet.apply(f.replication_yaml(to="[{site: core}]", more="  rpo: 2s\n"))
        f.wait_until(lambda: self.alarms(name), what="the alarm")
        row = self.replica(name)
        self.assertTrue(row["rpoBreached"], row)
        self.assertEqual(int(row["rpoSeconds"]), 2)
        self.assertGreaterEqual(int(row["lagSeconds"]), 2)
        self.assertTrue(row["rpoBreachedSince"], row)
        self.assertRegex(self.fleet.cli("get", "replicas", name).out, r"core .*offline .*\(over RPO 2s\)")
        self.assertRegex(self.fleet.cli("status").out, rf"{name} .*\(1 over RPO\)")
        why = self.fleet.cli("why", name, "core", expect=None)
        self.assertRegex(why.out, r"offline.*\nmissing for .*, over the RPO of 2s")
        self.assertTrue(self.fleet.json("why", name, "core", expect=None)["rpoBreached"])
        self.assertRegex(self.fleet.log("coordinator"), rf"rpo-breached.*{name}")

        self.fleet.restart("coordinator", how="kill")
        lag = int(self.replica(name)["lagSeconds"])
        f.wait_until(lambda: int(self.replica(name)["lagSeconds"]) > lag + 2, what="rounds of its planner")
        self.assertEqual(self.alarms(name), ["rpo-breached"], "the same breach")

        self.fleet.dev("start", "core")
        self.fleet.wait_version(name, 2, "core")
        f.wait_until(lambda: self.alarms(name) == ["rpo-breached", "rpo-recovered"], what="the end of the alarm")
        row = self.replica(name)
        self.assertFalse(row["rpoBreached"], row)
        self.assertEqual(int(row["lagSeconds"]), 0)
        self.assertEqual(self.fleet.cli("why", name, "core").out.count("RPO"), 0)


if __name__ == "__main__":
    f.main()
