#!/usr/bin/env python3
"""deploy/docker without a container engine: the Dockerfile is linted, and the compose file's services run as real processes, command
lines and mounts to the letter (cluster.py)."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import yaml

import chart
import cluster

DOCKER = os.path.join(chart.ROOT, "deploy", "docker")
BIN = os.path.abspath(os.environ.get("BAILIWICK_BIN", os.path.join(chart.ROOT, "build", "dev", "bin")))
USER = 65532


def compose():
    with open(os.path.join(DOCKER, "compose.yaml")) as file:
        return yaml.safe_load(file)


def dockerfile():
    with open(os.path.join(DOCKER, "Dockerfile")) as file:
        return file.read()


class Files(unittest.TestCase):
    def lint(self, text, composed):
        path = os.path.join(chart.TOOLS, "Dockerfile")
        with open(path, "w") as file:
            file.write(text)
        done = subprocess.run(["node", os.path.join(chart.HERE, "docker_lint.mjs"), path], input=json.dumps(composed), cwd=chart.TOOLS,
                              capture_output=True, text=True)
        self.assertFalse(done.stderr, done.stderr)
        return done.stdout

    def test_linters_find_nothing(self):
        composed = compose()
        self.assertEqual(composed.pop("name"), "bailiwick")   # newer than the schema
        self.assertEqual(self.lint(dockerfile(), composed), "")

    def test_linters_find_what_is_wrong(self):
        wrong = compose()
        wrong["services"]["core"]["comand"] = ["x"]
        said = self.lint(dockerfile().replace("WORKDIR /src", "WORKDIR src\nRUNN x"), wrong)
        for part in ("Unknown instruction: RUNN", "comand", "WORKDIR"):
            self.assertIn(part, said)

    def test_the_image_that_serves_is_from_scratch_and_nobodys_root(self):
        stages = re.split(r"(?m)^FROM ", dockerfile())[1:]
        runtime = stages[-1]
        self.assertTrue(runtime.startswith("scratch AS runtime"))
        self.assertNotIn("RUN ", runtime)
        for stage in stages[1:]:
            self.assertIn(f"USER {USER}:{USER}", stage)
        with open(os.path.join(chart.CHART, "values.yaml")) as file:
            self.assertEqual(yaml.safe_load(file)["runAs"]["user"], USER)

    def test_what_the_build_stage_takes_is_what_the_build_needs(self):
        """cmake is content with the files that the build gets to see; no test is among them."""
        seen = self.enterContext(tempfile.TemporaryDirectory(prefix="bw-context-"))
        for name in chart.docker_context():
            self.assertFalse(name.startswith("tests/") or name.endswith("_test.cc"), name)
            os.makedirs(os.path.join(seen, os.path.dirname(name)), exist_ok=True)
            shutil.copy(os.path.join(chart.ROOT, name), os.path.join(seen, name))
        done = subprocess.run(["cmake", "--preset", "static"], cwd=seen, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(chart.ROOT, "CMakePresets.json")) as file:
            (static,) = [p for p in json.load(file)["buildPresets"] if p["name"] == "static"]
        installed = re.search(r"install -D -s -t /image/usr/bin ([^\\\\]*)", dockerfile()).group(1).split()
        self.assertEqual(sorted(os.path.basename(p) for p in installed), sorted(static["targets"]))

    def test_versions_are_one(self):
        with open(os.path.join(chart.ROOT, "CMakeLists.txt")) as file:
            version = re.search(r"project\(bailiwick VERSION (\S+)", file.read()).group(1)
        with open(os.path.join(chart.CHART, "Chart.yaml")) as file:
            self.assertEqual(yaml.safe_load(file)["appVersion"], version)
        self.assertEqual({s["image"].split(":")[1] for s in compose()["services"].values()}, {version})

    def test_services_are_restricted(self):
        for name, service in compose()["services"].items():
            with self.subTest(service=name):
                self.assertEqual((service["user"], service["read_only"], service["cap_drop"], service["security_opt"]),
                                 (f"{USER}:{USER}", True, ["ALL"], ["no-new-privileges:true"]))
                self.assertNotIn("ports", service)


class Toolbox(cluster.Pod):
    PATH = "/opt/bin:/usr/bin"


class Fleet:
    """The services of compose.yaml; each runs once what it depends on has done as it says."""

    def __init__(self, case):
        self.cluster = cluster.Cluster(BIN)
        case.addCleanup(self.cluster.close)
        self.folder = os.path.dirname(self.cluster.path("compose", "x"))
        shutil.copytree(DOCKER, self.folder, dirs_exist_ok=True)
        self.services, self.pods, self.said = compose()["services"], {}, {}
        for volume in compose()["volumes"]:   # as docker makes one: like the image's directory where it is first mounted
            path = self.cluster.path("claims", volume)
            os.mkdir(path, 0o750)
            os.chown(path, USER, USER)
        for name, service in self.services.items():
            self.pods[name] = self._pod(name, service)
            self.cluster.names.known[name] = self.pods[name].address

    def _pod(self, name, service):
        mounts, volumes = [], []
        for number, text in enumerate(service["volumes"]):
            source, target, *options = text.split(":")
            kind = ({"hostPath": {"path": os.path.normpath(os.path.join(self.folder, source))}} if source.startswith(".")
                    else {"persistentVolumeClaim": {"claimName": source}})
            volumes.append(dict(kind, name=f"v{number}"))
            mounts.append({"name": f"v{number}", "mountPath": target, "readOnly": options == ["ro"]})
        user, group = (int(x) for x in service["user"].split(":"))
        made = Toolbox if "toolbox" in service["image"] else cluster.Pod
        pod = made(self.cluster, name, {"metadata": {"labels": {}}, "spec": {
            "securityContext": {"runAsUser": user, "runAsGroup": group, "fsGroup": group}, "volumes": volumes,
            "terminationGracePeriodSeconds": int(service.get("stop_grace_period", "10s").rstrip("s")),
            "containers": [{"name": name, "command": service["command"], "args": [], "volumeMounts": mounts,
                            "env": [{"name": k, "value": v} for k, v in service.get("environment", {}).items()]}]}}, [], host_root="")
        self.cluster.pods.append(pod)
        return pod

    def up(self):
        """docker compose up -d."""
        started = set()

        def start(name):
            if name in started:
                return
            started.add(name)
            for needed, how in self.services[name].get("depends_on", {}).items():
                start(needed)
                ends = "restart" not in self.services[needed]
                assert how["condition"] == ("service_completed_successfully" if ends else "service_started"), (name, needed)
            if "restart" in self.services[name]:
                self.pods[name].launch()
            else:
                self.said[name] = self.pods[name].run()[0]
        for name, service in self.services.items():
            if "profiles" not in service:
                start(name)

    def cli(self, *arguments):
        return self.pods["cli"].exec("bailiwick", *arguments)


class ThreeSites(unittest.TestCase):
    def test_up_replicates_what_the_law_permits_and_up_again_changes_nothing(self):
        fleet = Fleet(self)
        os.chmod(os.path.join(fleet.folder, "data"), 0o755)
        fleet.up()
        fleet.cli("wait", "dataset", "telemetry", "--version", "1", "--site", "core", "--timeout", "60s")
        with open(os.path.join(fleet.cluster.base, "claims", "core", "replicas", "telemetry", "current", "README")) as file:
            self.assertIn("Put files here", file.read())
        with self.assertRaises(cluster.Ended) as why:
            fleet.cli("why", "telemetry", "cloud-us")
        self.assertIn("no rule permits", why.exception.said)
        with open(os.path.join(fleet.folder, "data", "more"), "w") as file:
            file.write("by itself\n")
        fleet.cli("wait", "dataset", "telemetry", "--version", "2", "--site", "core", "--timeout", "60s")
        for name in ("factory", "core", "cloud-us", "coordinator"):
            self.assertEqual(fleet.pods[name].stop()[0], 0, fleet.pods[name].logs())
        fleet.up()
        self.assertIn("unchanged", fleet.said["setup"])
        self.assertNotIn("created", fleet.said["setup"])
        self.assertIn("already", fleet.said["init"])
        self.assertIn("nothing to approve", fleet.said["approve"])
        deadline = time.monotonic() + 60
        while fleet.cli("agent", "list").count("connected") < 3:
            self.assertLess(time.monotonic(), deadline, fleet.cli("agent", "list"))
            time.sleep(0.2)


if __name__ == "__main__":
    chart.install()
    cluster.isolate()
    unittest.main(verbosity=2)
