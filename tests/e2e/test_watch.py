"""get -w: what is there, then what is new, what changes and what goes, of every kind; through a restart of the coordinator."""
import contextlib
import json
import os
import queue
import subprocess
import threading

import fleet as f


class Watched:
    """A command that goes on; its lines as they come."""

    def __init__(self, fleet, *arguments):
        self.process = subprocess.Popen([f.CLI, *arguments], env=fleet.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True).start()

    def until(self, condition, timeout=60):
        """The first line, as JSON where it is, that the condition holds for."""
        seen = []
        deadline = f.time.monotonic() + timeout
        while f.time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                line = self.lines.get(timeout=1)
                seen.append(line)
                value = json.loads(line) if line.startswith("{") else line
                if condition(value):
                    return value
        raise AssertionError(f"not among the lines: {seen}")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.process.stdout.close()
        self.process.stderr.close()


class Watch(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fleet.apply(f.replication_yaml(to="[{site: core}]"))

    def watch(self, *arguments):
        watched = Watched(self.fleet, "get", *arguments, "-w")
        self.addCleanup(watched.stop)
        return watched

    def dataset(self, name):
        path = self.fleet.path(name)
        os.makedirs(path, exist_ok=True)
        f.write(os.path.join(path, "one"), name.encode())
        self.fleet.apply(f.dataset_yaml(name, path))

    def test_sites_say_how_they_are_and_names_are_names(self):
        watched, names = self.watch("sites", "-o", "json"), self.watch("sites", "-o", "name")
        for name in ("core", "factory"):
            self.assertEqual(names.until(lambda line: True), name + "\n")
        watched.until(lambda a: a["resource"]["metadata"]["name"] == "core" and a["resource"]["state"] == "connected")
        self.fleet.dev("stop", "core")
        self.addCleanup(self.fleet.dev, "start", "core")
        watched.until(lambda a: a["resource"]["metadata"]["name"] == "core" and a["resource"]["state"] == "offline")

    def test_a_replica_that_is_offline_is_told_once(self):
        self.dataset("away")
        self.fleet.commit("away")
        self.fleet.dev("stop", "core")
        self.addCleanup(self.fleet.dev, "start", "core")
        f.write(self.fleet.path("away", "two"), b"2")
        self.fleet.commit("away", wait=False)
        watched, clock = self.watch("replicas", "away"), self.watch("region", "-o", "name")
        watched.until(lambda line: " core " in line and "offline since" in line)
        since = self.offline("away")
        f.wait_until(lambda: self.offline("away") not in ("", since), what="its reason counts on")
        self.fleet.apply("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: later}\nspec: {}\n")
        clock.until(lambda line: line == "later\n")   # the watch has looked several times by now
        told = [watched.lines.get() for _ in range(watched.lines.qsize())]
        self.assertEqual([line for line in told if " core " in line], [])

    def offline(self, dataset):
        return "".join(r["reason"] for r in f.rows_of(self.fleet.json("get", "replicas", dataset)) if r["site"] == "core")

    def test_resources_come_change_and_go(self):
        watched, table = self.watch("regions", "-o", "json"), self.watch("region")
        watched.until(lambda a: a["resource"]["metadata"]["name"] == "eu")
        table.until(lambda line: line.startswith("KIND"))
        region = "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: ap}\nspec: {description: %s}\n"
        for text in ("far", "farther"):
            self.fleet.apply(region % text)
            self.assertEqual(watched.until(lambda a: a["resource"].get("metadata", {}).get("name") == "ap")["resource"]["spec"]["description"],
                             text)
        self.fleet.cli("delete", "region", "ap", "--yes")
        self.assertEqual(watched.until(lambda a: "state" in a["resource"])["resource"], {"kind": "Region", "name": "ap", "state": "gone"})
        self.assertRegex(table.until(lambda line: "gone" in line), r"^Region +ap +gone$")

    def test_sites_are_told_by_their_state(self):
        watched = self.watch("sites")
        watched.until(lambda line: line.startswith("core") and "connected" in line)
        self.fleet.dev("stop", "core")
        try:
            watched.until(lambda line: line.startswith("core") and "offline" in line)
        finally:
            self.fleet.dev("start", "core")
        watched.until(lambda line: line.startswith("core") and "connected" in line)

    def test_versions_and_replicas_through_a_restart(self):
        self.dataset("walked")
        versions, replicas = self.watch("versions", "walked", "-o", "json"), self.watch("replicas", "walked", "-o", "json")
        self.fleet.commit("walked")
        self.assertEqual(versions.until(lambda a: a["committed"]["number"] == 1)["version"], 1)
        replicas.until(lambda a: a["replica"]["site"] == "core" and a["replica"]["state"] == "current")
        self.fleet.restart("coordinator", "kill")
        f.write(self.fleet.path("walked", "two"), b"2")
        self.fleet.commit("walked")
        versions.until(lambda a: a["committed"]["number"] == 2)
        replicas.until(lambda a: a["replica"]["site"] == "core" and a["replica"]["version"] == 2)

    def test_redactions_and_evictions(self):
        self.dataset("wiped")
        self.fleet.commit("wiped")
        redactions, evictions = self.watch("redactions", "-o", "json"), self.watch("evictions")
        evictions.until(lambda line: line.startswith("DATASET"))
        self.fleet.cli("dataset", "redact", "wiped", "one", "--reason", "request 1", "--yes")
        redactions.until(lambda a: a["redaction"]["dataset"] == "wiped" and a["redaction"]["state"] == "done")
        self.fleet.apply(f.LAW + "  - {id: not-there, effect: forbid, to: {in: [eu/de], notIn: [eu/de/fra]}}\n")
        evictions.until(lambda line: line.startswith("wiped") and "erased" in line)
        self.fleet.apply(f.LAW)


if __name__ == "__main__":
    f.main()
