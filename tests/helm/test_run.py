#!/usr/bin/env python3
"""The chart and the programs, end to end: what `helm template` renders runs as real processes, command lines to the letter."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import yaml

import chart
import cluster

sys.path.insert(0, os.path.join(chart.ROOT, "tests", "e2e"))
from fleet import LAW, wait_until  # noqa: E402
from prometheus import Prometheus  # noqa: E402

BIN = os.path.abspath(os.environ.get("BAILIWICK_BIN", os.path.join(chart.ROOT, "build", "dev", "bin")))

FLEET = "\n---\n".join(f"apiVersion: bailiwick/v1\n{text}" for text in (
    "kind: Region\nmetadata: {name: eu}\nspec: {}",
    "kind: Region\nmetadata: {name: eu/de}\nspec: {}",
    "kind: Region\nmetadata: {name: eu/de/fra}\nspec: {}",
    "kind: Site\nmetadata: {name: factory}\nspec: {region: eu/de/fra}",
    "kind: Site\nmetadata: {name: core}\nspec: {region: eu/de}",
    "kind: Site\nmetadata: {name: node-1}\nspec: {region: eu/de/fra}"))
VALUES = {
    "trustDomain": "acme.example",
    "agents": {"factory": {"region": "eu/de/fra"}, "core": {"region": "eu/de"}},
    "deployer": {"identity": {"existingSecret": "admin"}, "policyKeys": {"existingSecret": "policy-keys", "keys": ["policy.pem"]}},
    "apply": {"enabled": True, "files": {"law.yaml": LAW}},
    "test": {"enabled": True, "from": "factory", "to": "core", "labels": {"class": "telemetry"}},
    "collector": {"enabled": True, "podSecurityExemption": "hostPath", "join": {"existingSecret": "nodes"},
                  "hostPaths": [{"name": "logs", "path": "/var/log/robot", "mountPath": "/data/logs"}]},
    "metrics": {"enabled": True, "serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
    "networkPolicy": {"scrapers": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
}
COLLECTED = """apiVersion: bailiwick/v1
kind: Dataset
metadata: {name: logs, labels: {class: telemetry}}
spec:
  home: {site: node-1, path: /data/logs}
---
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {name: logs}
spec:
  select: {matchLabels: {class: telemetry}}
  to: [{site: core}]
"""


class Release:
    """A cluster with the release in it, and Alice's own machine, where the policy key is."""

    def __init__(self, case, values):
        self.cluster = cluster.Cluster(BIN)
        case.addCleanup(self.cluster.close)
        self.alice = self.cluster.machine("alice")
        key = json.loads(self.alice.exec("bailiwick", "policy", "keygen", "--out", "/home/policy.pem", "-o", "json"))
        self.values = dict(values, policyRootSha256=key["policyRootSha256"])
        path = self.cluster.path("values.yaml")
        with open(path, "w") as file:
            yaml.safe_dump(self.values, file)
        self.documents = chart.render(path)
        self.pods = self.cluster.apply(self.documents)
        self.coordinator = self.pods["acme-bailiwick-coordinator"]

    def cli(self, *arguments, stdin=None):
        return self.alice.exec("bailiwick", "--context", "/home/context", *arguments, stdin=stdin)

    def read(self, name):
        with open(os.path.join(self.alice.home, name), "rb") as file:
            return file.read()

    def log_in(self):
        """By a string from whoever may exec into the coordinator's pod."""
        token = self.coordinator.exec("bailiwick", "login-token", "alice").strip()
        self.alice.exec("bailiwick", "login", "--token", token, "--to", "/home/context", "--policy-key", "/home/policy.pem")

    def join(self, site):
        """The Secret from which a site's agent joins."""
        self.cluster.put("Secret", f"acme-bailiwick-{site}-join", {"join": self.cli("site", "join-token", site)})

    def deployer_secrets(self):
        """kubectl create secret generic, from Alice's context."""
        self.cluster.put("Secret", "admin", {n: self.read(f"context/identity/live/{n}") for n in ("cert.pem", "key.pem", "ca.pem")})
        self.cluster.put("Secret", "policy-keys", {"policy.pem": self.read("policy.pem")})

    def certificate(self, site):
        """What the agent presents."""
        with open(self.claim(f"acme-bailiwick-{site}", "agent", "identity", "live", "cert.pem"), "rb") as file:
            return file.read()

    def claim(self, pod, *names):
        return os.path.join(self.cluster.base, "claims", f"data-{pod}-0", *names)

    def collect(self, case):
        """The DaemonSet's pod on node-1 is the home of a directory of that node."""
        logs = os.path.dirname(self.cluster.path("node", "var/log/robot", "x"))
        data = os.path.dirname(self.cluster.path("node", "var/lib/bailiwick-agent", "x"))
        os.chown(data, 65532, 65532)
        with open(os.path.join(logs, "robot.log"), "w") as file:
            file.write("moved\n")
        collector = self.pods["acme-bailiwick-collector"]
        self.cluster.put("Secret", "nodes", {"node-2": "another node's", "node-1": self.cli("site", "join-token", "node-1")})
        case.assertIn("/site/node-1/agent/node-1", collector.start()[0])
        self.cli("site", "approve", "--all")
        self.cli("apply", "-f", "-", stdin=COLLECTED)
        self.cli("dataset", "commit", "logs", "--wait", "--timeout", "60s")
        case.assertEqual(self.replica("core", "logs", "robot.log"), b"moved\n")
        case.assertEqual(os.listdir(logs), ["robot.log"])

    def replica(self, site, dataset, name):
        """As a consumer in another pod reads it, who is nobody here: through the parent of `current`."""
        path = self.claim(f"acme-bailiwick-{site}", "replicas", dataset, "current", name)
        return subprocess.run(["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", "cat", path], check=True,
                              capture_output=True).stdout


class Story(unittest.TestCase):
    def ends_well(self, pod):
        code, seconds = pod.stop()
        self.assertEqual(code, 0, pod.logs())
        self.assertLess(seconds, pod.spec["terminationGracePeriodSeconds"] / 2)

    def test_from_nothing_to_a_replicated_file(self):
        release = Release(self, VALUES)
        coordinator, factory, core = (release.pods[f"acme-bailiwick-{n}"] for n in ("coordinator", "factory", "core"))
        # The coordinator makes itself once, and finds itself again.
        self.assertIn("a coordinator of acme.example is in /var/lib/bailiwick/coordinator;", coordinator.start()[0])
        self.ends_well(coordinator)
        self.assertIn("is in /var/lib/bailiwick/coordinator already", coordinator.start()[0])
        self.assertIn("trust_domain", coordinator.logs())
        self.assertIn("policy revision 0", coordinator.exec("bailiwick", "status"))   # as kubectl exec, with the context there
        # Agents wait for their join strings, and say so.
        with self.assertRaises(cluster.Ended) as waiting:
            factory.start()
        self.assertIn("no join string (from: bailiwick site join-token SITE)", waiting.exception.said)
        release.log_in()
        release.cli("apply", "-f", "-", stdin=FLEET)
        for pod, site in ((factory, "factory"), (core, "core")):
            release.join(site)
            self.assertIn(f"/site/{site}/agent/{site}", pod.start()[0])
        approved = release.cli("site", "approve", "--all").strip().split("\n")
        self.assertEqual(sorted(line.split(", key ")[0] for line in approved), ["site core approved", "site factory approved"])
        # The hook applies the law; `helm test` brings a file from one site to the other.
        release.deployer_secrets()
        self.assertIn("SovereigntyPolicy/acme created", release.pods["acme-bailiwick-apply"].run()[0])
        said = release.pods["acme-bailiwick-test"].run()
        self.assertIn("all true", said[-1])
        self.assertEqual(release.replica("core", "acme-bailiwick-test", "hello.txt"), b"release acme, revision 1\n")
        self.assertIn("unchanged", release.pods["acme-bailiwick-apply"].run()[0])
        self.assertEqual(len(release.pods["acme-bailiwick-test"].run()), 4, "the test can be run again")
        # An upgrade of the release changes the file: the next test is the next version.
        release.cluster.put("ConfigMap", "acme-bailiwick-test-source", {"hello.txt": "release acme, revision 2\n"})
        release.pods["acme-bailiwick-test"].run()
        self.assertEqual(release.replica("core", "acme-bailiwick-test", "hello.txt"), b"release acme, revision 2\n")
        self.drain_and_return(release, factory, core)
        release.collect(self)
        self.watch(release, core)
        for pod in (release.pods["acme-bailiwick-collector"], factory, coordinator):
            self.ends_well(pod)

    def drain_and_return(self, release, factory, core):
        """A node is drained: agents end in time and come back as who they are, whatever became of their join strings."""
        fingerprint = release.certificate("core")
        release.cluster.delete("Secret", "acme-bailiwick-factory-join")
        release.coordinator.stop()
        for pod in (factory, core):
            self.ends_well(pod)
            self.assertIn("joined as", pod.start()[0])   # also while the coordinator is away
        release.coordinator.start()
        self.assertIn("all true", release.pods["acme-bailiwick-test"].run()[-1])
        self.assertEqual(release.certificate("core"), fingerprint)
        for string, said in (("bwj1.x", "goes on as spiffe://acme.example/region/eu/de/site/core/agent/core, without joining anew: that is not"),
                             (release.cli("site", "join-token", "core").split()[-1], "")):
            release.cluster.put("Secret", "acme-bailiwick-core-join", {"join": string})
            self.ends_well(core)
            again = core.start()[0]
            self.assertIn(said or "joined as", again)
            self.assertEqual("goes on as" in again, bool(said), again)
        self.assertNotEqual(release.certificate("core"), fingerprint, "another string in the Secret joins anew")
        release.cli("site", "approve", "--all")

    def watch(self, release, core):
        """A Prometheus that finds the pods as the ServiceMonitor says and judges by the PrometheusRule. The operator's part is played:
        what it makes of both, with the labels that it adds."""
        (monitor,), (rule,) = ([d for d in release.documents if d["kind"] == kind] for kind in ("ServiceMonitor", "PrometheusRule"))
        (endpoint,) = monitor["spec"]["endpoints"]
        snake = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
        pods = [p for p in release.pods.values() if p.labels.get("bailiwick/metrics") == "true"]
        rules = release.cluster.path("rules.yaml")
        with open(rules, "w") as file:
            yaml.safe_dump(rule["spec"], file)
        with Prometheus(release.cluster.path("prometheus"), rules, [{
                "job_name": "serviceMonitor/fleet/acme-bailiwick/0", "metrics_path": endpoint["path"],
                "relabel_configs": [{snake.get(k, k): v for k, v in r.items()} for r in endpoint["relabelings"]],
                "static_configs": [{"targets": [f"{pod.address}:9464"], "labels": {
                    "__meta_kubernetes_namespace": "fleet", "__meta_kubernetes_pod_name": pod.name,
                    "__meta_kubernetes_pod_label_app_kubernetes_io_component": pod.labels["app.kubernetes.io/component"],
                    "namespace": "fleet", "pod": pod.name, "service": "acme-bailiwick-metrics", "endpoint": endpoint["port"],
                    "job": "acme-bailiwick-metrics"}} for pod in pods]}]) as ask:
            def answer(query):
                return {(r["metric"]["job"], r["metric"]["instance"]) for r in ask("query", query=query)["result"]}
            everyone = {("bailiwick-coordinator", "fleet/acme-bailiwick-coordinator-0"), ("bailiwick-agent", "fleet/acme-bailiwick-core-0"),
                        ("bailiwick-agent", "fleet/acme-bailiwick-factory-0"), ("bailiwick-collector", "fleet/acme-bailiwick-collector-x7k2p")}
            wait_until(lambda: answer("up == 1") == everyone, what="every process to be scraped")
            wait_until(lambda: answer('bailiwick_grpc_server_handled_total{service="bailiwick.control.v1.Control"}'), what="calls by service")
            self.ends_well(core)
            (down,) = (r["expr"] for g in rule["spec"]["groups"] for r in g["rules"] if r.get("alert") == "BailiwickDown")
            wait_until(lambda: answer(down) == {("bailiwick-agent", "fleet/acme-bailiwick-core-0")}, what="the alert's condition")


class Proxied(unittest.TestCase):
    def test_agents_join_and_work_through_a_proxy_and_dial_each_other_directly(self):
        address = "proxy.plant.example:3128"
        release = Release(self, dict(VALUES, test=dict(VALUES["test"]), coordinator={"advertise": "coordinator.acme.example"},
                                     agentDefaults={"proxy": {"address": address, "existingSecret": "proxy-password"}},
                                     collector={}, metrics={}, networkPolicy={"proxies": [{"ipBlock": {"cidr": "10.244.0.0/24"}}]}))
        release.cluster.put("Secret", "proxy-password", {"credentials": "robot:s3cret\n"})
        plant = release.cluster.machine("plant")
        shutil.copy(os.path.join(chart.ROOT, "tests", "e2e", "connect_proxy.py"), plant.home)
        plant.spec["containers"][0].update(command=["/usr/bin/python3"], args=["/home/connect_proxy.py", "0.0.0.0:3128", "robot:s3cret", "/home/log"])
        plant.launch()
        release.cluster.names.known.update({"proxy.plant.example": plant.address, "coordinator.acme.example": release.coordinator.address})
        wait_until(lambda: "listening" in plant.logs(), what="the proxy")
        release.coordinator.start()
        release.log_in()
        release.cli("apply", "-f", "-", stdin=FLEET)
        for site in ("factory", "core"):
            release.join(site)
            release.pods[f"acme-bailiwick-{site}"].start()
        release.cli("site", "approve", "--all")
        release.deployer_secrets()
        release.pods["acme-bailiwick-apply"].run()
        self.assertIn("all true", release.pods["acme-bailiwick-test"].run()[-1])
        with open(os.path.join(plant.home, "log")) as log:
            asked = set(log.read().splitlines())
        self.assertEqual(asked, {f"CONNECT coordinator.acme.example:{port} HTTP/1.1 -> 200" for port in (7440, 7441)})


class CertManager(unittest.TestCase):
    KEYS = ("bailiwick-agent", "key", "list", "--json", "--data-dir")

    def test_certificates_of_cert_manager_are_those_that_are_needed(self):
        """cert-manager's part is played by openssl, from the Certificates of the chart: agents, coordinator and deployer use them."""
        release = Release(self, dict(VALUES, test={}, certManager={"enabled": True, "issuerRef": {"name": "ca"}},
                                     deployer=dict(VALUES["deployer"], identity={"certManagerName": "robot"}),
                                     agents={"core": {"region": "eu/de", "storageKey": {"existingSecret": "core-key"}}}))
        issuer = Issuer(release.cluster)
        certificates = [d for d in release.documents if d["kind"] == "Certificate"]
        self.assertEqual(len(certificates), 4, "none for the collector: each node has an identity of its own")
        for certificate in certificates:
            release.cluster.put("Secret", certificate["spec"]["secretName"], issuer.issue(certificate["spec"]["uris"]))
        release.coordinator.start()
        self.assertIn("policy revision 0", release.coordinator.exec("bailiwick", "status"))
        release.log_in()
        release.cli("apply", "-f", "-", stdin=FLEET)
        release.join("core")
        release.cluster.put("Secret", "core-key", {"storage.key": self.storage_key(release)})
        core = release.pods["acme-bailiwick-core"]
        core.start()
        before = release.certificate("core")
        self.assertIn("site core approved", release.cli("site", "approve", "--all"))
        release.cluster.put("Secret", "policy-keys", {"policy.pem": release.read("policy.pem")})
        self.assertIn("SovereigntyPolicy/acme created", release.pods["acme-bailiwick-apply"].run()[0])
        # A renewal is taken without a restart.
        (own,) = (c for c in certificates if "site/core" in c["spec"]["uris"][0])
        release.cluster.put("Secret", own["spec"]["secretName"], issuer.issue(own["spec"]["uris"]))
        deadline = time.monotonic() + 60
        while release.certificate("core") == before:
            self.assertLess(time.monotonic(), deadline, core.logs())
            time.sleep(0.1)
        self.assertIn("connected", release.cli("agent", "list"))
        # A node's agent has its certificate from the coordinator's own CA, and is understood by those who have theirs elsewhere.
        release.collect(self)
        core.stop()
        core.start()   # the storage key is there already: bringing it in again changes nothing
        self.assertEqual(core.exec(*self.KEYS, "/var/lib/bailiwick/agent"), release.alice.exec(*self.KEYS, "/home/elsewhere"))
        for pod in (release.pods["acme-bailiwick-collector"], core, release.coordinator):
            self.assertEqual(pod.stop()[0], 0)

    def storage_key(self, release):
        release.alice.exec("bailiwick-agent", "key", "generate", "--data-dir", "/home/elsewhere")
        release.alice.exec("bailiwick-agent", "key", "export", "--data-dir", "/home/elsewhere", "--to", "/home/storage.key")
        return release.read("storage.key")


class Issuer:
    """A CA as behind a cert-manager issuer."""

    def __init__(self, cluster_):
        self.folder, self.count = os.path.dirname(cluster_.path("issuer", "x")), 0
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.crt",
                     "-days", "30", "-subj", "/CN=issuer", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def issue(self, uris):
        self.count += 1
        with open(os.path.join(self.folder, "ext"), "w") as file:
            file.write("subjectAltName=critical," + ",".join(f"URI:{u}" for u in uris) + "\nkeyUsage=critical,digitalSignature\n"
                       "extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=critical,CA:false\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "tls.key", "-out", "csr", "-subj", "/")
        self.openssl("x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", str(self.count + 1), "-days", "1",
                     "-extfile", "ext", "-out", "tls.crt")
        content = {}
        for name in ("tls.crt", "tls.key", "ca.crt"):
            with open(os.path.join(self.folder, name), "rb") as file:
                content[name] = file.read()
        return content


class CommandLines(unittest.TestCase):
    def test_every_command_line_of_every_value_set_is_one_that_the_program_takes(self):
        """Run where nothing is there yet: it may fail for that, but not for how it was called (exit code 2)."""
        lines = set()
        for name in sorted(os.listdir(chart.VALUES)):
            for _, template in chart.pods(chart.render(os.path.join(chart.VALUES, name))):
                lines |= {tuple(c["command"] + c["args"]) for c in chart.containers(template)}
        self.assertGreater(len(lines), 20)
        for line in sorted(lines):
            with self.subTest(line=line):
                home = self.enterContext(tempfile.TemporaryDirectory(prefix="bw-args-"))
                line = [re.sub(r"\[::\]:\d+", "127.0.0.1:0", a.replace("/var/lib/", f"{home}/")) for a in line]
                line = [a.replace("[$(POD_IP)]", "[2001:db8::7]").replace("$(POD_IP)", "192.0.2.7") for a in line]  # as a kubelet does
                done = subprocess.run([os.path.join(BIN, line[0]), *line[1:]], capture_output=True, text=True, timeout=60,
                                      env={"HOME": home, "PATH": "/usr/bin"})
                self.assertNotEqual(done.returncode, 2, done.stderr)
                self.assertNotIn("--help", done.stderr)


if __name__ == "__main__":
    chart.install()
    cluster.isolate()
    unittest.main(verbosity=2)
