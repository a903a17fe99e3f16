"""Datasets with very many versions: the list does not end where an answer does, and what nobody holds any more is forgotten without harm."""
import contextlib
import glob
import os
import shutil

import fleet as f
import wire as w


class Versions(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def make(self, name, count, message, retain):
        """So many versions, by as many commits; the home's agent is asked at once, without a process for each."""
        source = self.fleet.path(name)
        f.write(os.path.join(source, "n"), b"0")
        self.fleet.apply(f.dataset_yaml(name, source, spec=f"retain: {{last: {retain}, hourly: 0, daily: 0}}",
                                        labels=f'class: telemetry, pii: "no", set: {name}'))
        site = f.wait_until(lambda: (lambda s: s if s.connected else None)(w.sites(self.fleet)["factory"]), what="the home is there")
        with w.admin(self.fleet).channel(site.admin_endpoint, site.agent) as channel:
            commit = channel.unary_stream("/bailiwick.agent.v1.AgentAdmin/Commit",
                                          request_serializer=lambda m: m.SerializeToString(),
                                          response_deserializer=w.admin_pb2.CommitEvent.FromString)
            for n in range(count):
                f.write(os.path.join(source, "n"), b"%d" % n)
                list(commit(w.admin_pb2.CommitRequest(dataset=name, message=message), timeout=60))

    def listed(self, name):
        return {int(v["number"]): v for v in self.fleet.json("dataset", "versions", name)["versions"]}

    def test_more_versions_than_an_answer_holds(self):
        self.make("long", 1100, "m" * 4000, retain=5000)
        f.wait_until(lambda: 1100 in self.listed("long"), what="all are announced")
        rows = self.fleet.json("dataset", "versions", "long")["versions"]
        self.assertEqual([int(v["number"]) for v in rows], list(range(1100, 0, -1)))
        self.assertGreater(sum(len(v["message"]) for v in rows), 4 << 20, "more than one answer may hold")
        self.assertEqual(self.fleet.json("get", "versions", "long")["versions"], rows)
        self.assertEqual(len(self.fleet.cli("dataset", "versions", "long").out.strip().split("\n")), 1101)
        self.fleet.cli("dataset", "checkout", "long", "3", self.fleet.path("out"))
        self.assertEqual(f.read(self.fleet.path("out", "n")), b"2")
        f.wait_until(lambda: self.most_packs() < 300, timeout=90, what="the small packs of small commits are merged")
        self.fleet.verify("long", "factory")

    def most_packs(self):
        return max(len(glob.glob(os.path.join(packs, "*.pack"))) for packs in glob.glob(self.fleet.data("factory") + "/datasets/*/packs"))

    def test_a_site_from_a_backup_holds_what_was_forgotten(self):
        self.fleet.apply(f.replication_yaml(to="[{site: core}]", select="set: back"))
        self.make("back", 3, "", retain=2)
        self.fleet.wait_version("back", 3, "core")
        before = self.listed("back")
        self.fleet.dev("stop", "core")
        backup = self.fleet.path("backup")
        shutil.copytree(self.fleet.data("core"), backup, symlinks=True)
        self.fleet.dev("start", "core")
        newest = 3
        for more in (260, 120, 120):  # many are forgotten at once; core may have held version 3 still when the first were
            self.make("back", more, "", retain=2)
            newest += more
            self.fleet.wait_version("back", newest, "core")
            with contextlib.suppress(AssertionError):
                f.wait_until(lambda: 3 not in self.listed("back"), timeout=20, what="nobody holds it, and it is forgotten")
                break
        self.assertNotIn(3, self.listed("back"))
        self.assertLess(len(self.listed("back")), 210)
        f.wait_until(lambda: self.fleet.json("audit", "report", "--dataset", "back", expect=None)["contradictions"] == [],
                     what="both ends say the same of how each transfer ended")

        self.fleet.dev("stop", "factory")
        self.fleet.dev("stop", "core")
        shutil.rmtree(self.fleet.data("core"))
        shutil.copytree(backup, self.fleet.data("core"), symlinks=True)
        self.fleet.dev("start", "core")
        known = f.wait_until(lambda: self.listed("back").get(3), what="it is known again, by its record")
        self.assertEqual(known["sites"], ["core"])
        self.assertEqual({k: v for k, v in known.items() if k != "sites"}, {k: v for k, v in before[3].items() if k != "sites"})
        self.fleet.cli("dataset", "checkout", "back", "3", self.fleet.path("old"), "--site", "core")
        self.assertEqual(f.read(self.fleet.path("old", "n")), b"2")
        self.fleet.dev("start", "factory")
        self.fleet.wait_version("back", newest, "core")
        replicas = {r["site"]: r for r in self.fleet.json("get", "replicas")["replicas"] if r["dataset"] == "back"}
        self.assertEqual(replicas["factory"]["state"], "current", replicas)


if __name__ == "__main__":
    f.main()
