#!/usr/bin/env python3
"""The chart by itself: real helm lints and renders it, the Kubernetes API's schemas judge what comes out, and nothing is looser
than said."""
import copy
import json
import os
import re
import tempfile
import unittest

import yaml

import chart
import values_table

SETS = sorted(os.listdir(chart.VALUES))
NEEDED = {"trustDomain": "acme.example", "policyRootSha256": chart.POLICY_ROOT}


def values_of(name):
    with open(os.path.join(chart.VALUES, name)) as file:
        return yaml.safe_load(file)


def template(values):
    """Exit code and what helm said of these values."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        code, out, err = chart.helm("template", "acme", chart.CHART, "--namespace", "fleet", "--values", file.name)
    return code, out if code == 0 else err


def render(values):
    code, said = template(values)
    assert code == 0, said
    return [d for d in yaml.safe_load_all(said) if d]


def merged(*parts):
    result = {}
    for part in copy.deepcopy(parts):
        for key, value in part.items():
            result[key] = merged(result[key], value) if isinstance(result.get(key), dict) and isinstance(value, dict) else value
    return result


class ValueSets(unittest.TestCase):
    """Each file of values/ is a way in which somebody runs it."""

    @classmethod
    def setUpClass(cls):
        cls.rendered = {name: chart.render(os.path.join(chart.VALUES, name)) for name in SETS}

    def each_pod(self):
        for name, documents in self.rendered.items():
            for pod, spec in chart.pods(documents):
                yield f"{name}: {pod}", spec

    def test_there_are_enough(self):
        self.assertGreaterEqual(len(SETS), 12)

    def test_helm_finds_nothing_to_complain_about(self):
        for name in SETS:
            code, out, err = chart.helm("lint", chart.CHART, "--strict", "--namespace", "fleet", "--values", os.path.join(chart.VALUES, name))
            self.assertEqual(code, 0, f"{name}:\n{out}{err}")
            self.assertNotRegex(out, "WARNING|ERROR")

    def test_the_api_knows_every_field_and_likes_every_value(self):
        documents = [d for documents in self.rendered.values() for d in documents]
        self.assertEqual(chart.validate(documents), "")
        self.assertEqual({d["kind"] for d in documents}, {
            "Certificate", "ConfigMap", "DaemonSet", "Job", "NetworkPolicy", "Pod", "PodDisruptionBudget", "PrometheusRule", "Service",
            "ServiceAccount", "ServiceMonitor", "StatefulSet"})   # no Secret, no Role, nothing of the cluster's

    def test_that_check_finds_what_is_wrong(self):
        (wrong,) = [d for d in self.rendered["three-sites.yaml"] if d["kind"] == "StatefulSet" and d["metadata"]["name"].endswith("core")]
        wrong = copy.deepcopy(wrong)
        container = wrong["spec"]["template"]["spec"]["containers"][0]
        container["securityContext"]["readOnlyRootFileSystem"] = True
        container["ports"][0]["containerPort"] = "many"
        container["livenessProbe"]["grpc"]["ports"] = 1
        said = chart.validate([wrong])
        for part in ("readOnlyRootFileSystem: the API has no such field", "containerPort: type", "grpc/ports: the API has no such field"):
            self.assertIn(part, said)
        monitor, rule = (copy.deepcopy(self.monitored(kind)) for kind in ("ServiceMonitor", "PrometheusRule"))
        monitor["spec"]["endpoints"][0]["relabeling"] = []
        rule["spec"]["groups"][0]["rules"][0]["expr"] = {}
        said = chart.validate([monitor, rule])
        for part in ("relabeling: the API has no such field", "rules/0/expr: type"):
            self.assertIn(part, said)

    def test_pods_are_restricted(self):
        """https://kubernetes.io/docs/concepts/security/pod-security-standards, level restricted, and then some."""
        for where, pod in self.each_pod():
            spec = pod["spec"]
            with self.subTest(pod=where):
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertGreater(spec["securityContext"]["runAsUser"], 0)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertEqual(spec["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch")   # keys keep their mode 0600
                for forbidden in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"):
                    self.assertNotIn(forbidden, spec)
                self.assertIs(spec["automountServiceAccountToken"], False)
                self.assertIs(spec["enableServiceLinks"], False)
                kinds = {k for v in spec["volumes"] for k in v if k != "name"}
                if "hostPath" in kinds:
                    self.assertEqual(pod["metadata"]["annotations"]["bailiwick/pod-security-exemption"], "hostPath")
                    kinds.remove("hostPath")
                else:
                    self.assertNotIn("bailiwick/pod-security-exemption", pod["metadata"].get("annotations", {}))
                self.assertLessEqual(kinds, {"configMap", "persistentVolumeClaim", "projected", "secret"})
                for container in chart.containers(pod):
                    self.assertEqual(container["securityContext"], {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                                    "capabilities": {"drop": ["ALL"]}})
                    self.assertTrue(all("hostPort" not in p for p in container.get("ports", [])))
                    self.assertIn("memory", container["resources"]["limits"])
                    self.assertIn("cpu", container["resources"]["requests"])
                    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
                    self.assertTrue(all(m.startswith(("/var/lib/bailiwick", "/data/")) for m in writable), writable)

    def test_pods_that_stay_are_probed_and_the_port_for_it_is_nobody_elses(self):
        for name, documents in self.rendered.items():
            for d in documents:
                if d["kind"] in ("StatefulSet", "DaemonSet"):
                    (container,) = d["spec"]["template"]["spec"]["containers"]
                    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
                    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                        self.assertEqual(container[probe]["grpc"]["port"], ports["health"], name)
                    self.assertIn("--health-listen=[::]:7444", container["args"])
                if d["kind"] == "Service":
                    self.assertNotIn("health", [p["targetPort"] for p in d["spec"]["ports"]])

    def test_services_policies_and_budgets_select_the_pods_they_mean(self):
        for name, documents in self.rendered.items():
            labels = [p["metadata"]["labels"] for _, p in chart.pods(documents)]
            ports = {p["name"] for _, s in chart.pods(documents) for c in s["spec"]["containers"] for p in c.get("ports", [])}
            for d in documents:
                where = f"{name}: {d['kind']} {d['metadata']['name']}"
                if d["kind"] == "Service":
                    chosen = [have for have in labels if d["spec"]["selector"].items() <= have.items()]
                    if d["spec"].get("clusterIP") == "None":
                        self.assertEqual({have["app.kubernetes.io/component"] for have in chosen}, {"coordinator", "agent", "collector"})
                    else:
                        self.assertEqual(len(chosen), 1, where)
                    self.assertLessEqual({p["targetPort"] for p in d["spec"]["ports"]}, ports, where)
                if d["kind"] in ("StatefulSet", "DaemonSet"):
                    chosen = d["spec"]["selector"]["matchLabels"]
                    self.assertEqual([have for have in labels if chosen.items() <= have.items()],
                                     [d["spec"]["template"]["metadata"]["labels"]], where)
                    self.assertNotIn("helm.sh/chart", chosen, where)
                    self.assertNotIn("helm.sh/chart", d["spec"]["template"]["metadata"]["labels"], where)
                if d["kind"] == "PodDisruptionBudget":
                    chosen = d["spec"]["selector"]["matchLabels"]
                    self.assertEqual({have["app.kubernetes.io/component"] for have in labels if chosen.items() <= have.items()}, {"agent"})

    def test_traffic_is_denied_but_for_what_is_needed(self):
        for name, documents in self.rendered.items():
            policies = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"}
            if name in ("open-network.yaml", "rules-only.yaml"):
                self.assertFalse(policies)
                continue
            (deny,) = [p for n, p in policies.items() if n.endswith("-deny")]
            self.assertEqual(set(deny), {"podSelector", "policyTypes"})
            self.assertEqual(deny["policyTypes"], ["Ingress", "Egress"])
            for pod, spec in chart.pods(documents):
                self.assertLessEqual(deny["podSelector"]["matchLabels"].items(), spec["metadata"]["labels"].items(), f"{name}: {pod}")
            for policy, spec in policies.items():
                for rule in spec.get("ingress", []):
                    self.assertTrue(rule["from"] and rule["ports"], f"{name}: {policy}")
                for rule in spec.get("egress", []):
                    self.assertTrue(rule["ports"], f"{name}: {policy}")
                    self.assertTrue(rule.get("to") or {p["port"] for p in rule["ports"]} == {53}, f"{name}: {policy}")

    def test_resources_are_applied_after_each_install_and_upgrade_from_where_values_say(self):
        for name, source in (("apply-inline.yaml", {"configMap": {"name": "acme-bailiwick-apply"}}),
                             ("apply-configmap.yaml", {"configMap": {"name": "law-of-acme"}}),
                             ("apply-secret.yaml", {"secret": {"secretName": "resources", "defaultMode": 0o440}})):
            (job,) = [d for d in self.rendered[name] if d["kind"] == "Job"]
            self.assertEqual(job["metadata"]["annotations"], {"helm.sh/hook": "post-install,post-upgrade",
                                                              "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}, name)
            pod = job["spec"]["template"]["spec"]
            (volume,) = [v for v in pod["volumes"] if v["name"] == "resources"]
            self.assertEqual(volume, dict(source, name="resources"), name)
            (container,) = pod["containers"]
            (mount,) = [m for m in container["volumeMounts"] if m["name"] == "resources"]
            self.assertIn(f"--file={mount['mountPath']}", container["args"], name)
            made = [d["metadata"]["name"] for d in self.rendered[name] if d["kind"] == "ConfigMap" and d["metadata"]["name"].endswith("-apply")]
            self.assertEqual(made, ["acme-bailiwick-apply"] if name == "apply-inline.yaml" else [], name)

    def test_agents_of_a_release_are_spread_over_nodes_and_zones(self):
        for name, documents in self.rendered.items():
            values = values_of(name).get("topologySpread", {})
            labels = [p["metadata"]["labels"] for _, p in chart.pods(documents)]
            agents = [have for have in labels if have["app.kubernetes.io/component"] == "agent"]
            for d in documents:
                if d["kind"] not in ("StatefulSet", "DaemonSet", "Job"):
                    continue
                constraints = d["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
                spread = d["metadata"]["labels"]["app.kubernetes.io/component"] == "agent" and values.get("enabled", True)
                where = f"{name}: {d['kind']} {d['metadata']['name']}"
                self.assertEqual([c["topologyKey"] for c in constraints],
                                 ["kubernetes.io/hostname", "topology.kubernetes.io/zone"] if spread else [], where)
                for constraint in constraints:
                    self.assertEqual((constraint["maxSkew"], constraint["whenUnsatisfiable"]),
                                     (1, values.get("whenUnsatisfiable", "ScheduleAnyway")), where)
                    chosen = constraint["labelSelector"]["matchLabels"].items()
                    self.assertEqual([have for have in labels if chosen <= have.items()], agents, where)
        self.assertEqual({values_of(n).get("topologySpread", {}).get(k) for n, k in (("placement.yaml", "whenUnsatisfiable"),
                                                                                   ("open-network.yaml", "enabled"))}, {"DoNotSchedule", False})

    def test_agents_behind_a_proxy_are_told_and_let_out_to_it(self):
        """That what they are told gets them through one is in test_run.py."""
        documents = self.rendered["proxied.yaml"]
        direct = "--no-proxy=cluster.local"
        for kind, name, flags, key in (
                ("StatefulSet", "press", ["--proxy=proxy.plant.example:3128", f"{direct},10.0.0.0/8,plant.example",
                                          "--proxy-credentials=/etc/bailiwick/proxy/press"], "press"),
                ("StatefulSet", "paint", ["--proxy=[2001:db8::7]:8080", f"{direct},10.0.0.0/8,plant.example",
                                          "--proxy-credentials=/etc/bailiwick/proxy/credentials"], "credentials"),
                ("StatefulSet", "office", ["--proxy=none"], None),
                ("DaemonSet", "collector", ["--proxy=proxy.plant.example:3128", direct], None)):
            (pod,) = [d["spec"]["template"]["spec"] for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, f"acme-bailiwick-{name}")]
            volumes = [v["secret"] for v in pod["volumes"] if v["name"] == "proxy"]
            self.assertEqual(volumes, [{"secretName": "proxy-password", "defaultMode": 0o440, "items": [{"key": key, "path": key}]}] if key else [])
            for container in pod["initContainers"] + pod["containers"]:   # who joins dials as well
                self.assertEqual([a for a in container["args"] if "proxy" in a], flags, name)
                self.assertEqual([m["mountPath"] for m in container["volumeMounts"] if m["name"] == "proxy"],
                                 ["/etc/bailiwick/proxy"] if key else [], name)
        (dial,) = [d["spec"] for d in documents if d["kind"] == "NetworkPolicy" and d["metadata"]["name"].endswith("-dial")]
        self.assertIn({"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}],
                       "ports": [{"port": 3128, "protocol": "TCP"}, {"port": 8080, "protocol": "TCP"}]}, dial["egress"])
        for where, pod in self.each_pod():
            if not where.startswith("proxied.yaml"):
                self.assertNotIn("proxy", json.dumps(pod["spec"]), where)

    def monitored(self, kind, name="monitored.yaml"):
        (found,) = [d for d in self.rendered[name] if d["kind"] == kind]
        return found

    def test_metrics_are_served_where_they_are_scraped_and_let_in(self):
        """Off unless asked for. The end of it, a Prometheus that scrapes such pods, is in test_run.py."""
        for where, pod in self.each_pod():
            serves = "--metrics-listen=[::]:9464" in [a for c in pod["spec"]["containers"] for a in c["args"]]
            ports = {p["name"]: p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports", [])}
            self.assertEqual(serves, where.startswith("monitored.yaml"), where)
            self.assertEqual(ports.get("metrics"), 9464 if serves else None, where)
            self.assertEqual("bailiwick/metrics" in pod["metadata"]["labels"], serves, where)
        (service,) = [d for d in self.rendered["monitored.yaml"] if d["metadata"]["name"] == "acme-bailiwick-metrics" and d["kind"] == "Service"]
        monitor = self.monitored("ServiceMonitor")
        self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
        others = [d for d in self.rendered["monitored.yaml"] if d["kind"] == "Service" and d is not service]
        self.assertFalse([d for d in others if monitor["spec"]["selector"]["matchLabels"].items() <= d["metadata"]["labels"].items()])
        self.assertFalse([p for d in others for p in d["spec"]["ports"] if p["targetPort"] == "metrics"], "not for all who reach the others")
        self.assertEqual(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])
        (policy,) = [d["spec"] for d in self.rendered["monitored.yaml"] if d["kind"] == "NetworkPolicy" and "-metrics" in d["metadata"]["name"]]
        self.assertEqual(policy["ingress"], [{"from": values_of("monitored.yaml")["networkPolicy"]["scrapers"],
                                              "ports": [{"port": "metrics", "protocol": "TCP"}]}])
        for kind in ("ServiceMonitor", "PrometheusRule"):
            self.assertEqual(self.monitored(kind)["metadata"]["labels"]["release"], "kube-prometheus-stack")

    def test_rules_and_dashboard_are_those_that_are_shipped(self):
        shipped = os.path.join(chart.ROOT, "deploy", "observability")
        with open(os.path.join(shipped, "alerts.yaml")) as file:
            alerts = file.read()
        for name, base in (("monitored.yaml", "https://wiki.acme.example/bailiwick/"), ("rules-only.yaml", "")):
            wanted = yaml.safe_load(re.sub("RUNBOOKS.md#", f"{base}RUNBOOKS.md#", alerts))
            self.assertEqual(self.monitored("PrometheusRule", name)["spec"], wanted)
        with open(os.path.join(shipped, "dashboard.json")) as file:
            wanted = file.read()
        for name, label in (("monitored.yaml", ("grafana_dashboard", "1")), ("rules-only.yaml", ("dashboards", "yes"))):
            (dashboard,) = [d for d in self.rendered[name] if d["metadata"]["name"].endswith("-dashboard")]
            self.assertEqual(dashboard["data"], {"bailiwick.json": wanted})
            self.assertIn(label, dashboard["metadata"]["labels"].items())
        self.assertEqual({d["kind"] for d in self.rendered["rules-only.yaml"]}, {"ConfigMap", "PrometheusRule"})

    def test_the_packed_chart_has_what_it_needs(self):
        """`helm package`, as charts go into a registry, and nothing beside it."""
        with tempfile.TemporaryDirectory() as place:
            code, out, err = chart.helm("package", chart.CHART, "--destination", place)
            self.assertEqual(code, 0, err)
            (packed,) = os.listdir(place)
            code, out, err = chart.helm("template", "acme", os.path.join(place, packed), "--namespace", "fleet", "--values",
                                        os.path.join(chart.VALUES, "monitored.yaml"))
            self.assertEqual(code, 0, err)
            self.assertEqual([d for d in yaml.safe_load_all(out) if d], self.rendered["monitored.yaml"])

    def test_names_are_short_enough_and_each_is_one_objects(self):
        for name, documents in self.rendered.items():
            names = [(d["kind"], d["metadata"]["name"]) for d in documents]
            self.assertEqual(len(names), len(set(names)), name)
            self.assertTrue(all(len(n) <= 52 for _, n in names), names)   # a StatefulSet adds a hash of 11 to a label
            self.assertTrue(all(d["metadata"]["namespace"] == "fleet" for d in documents), name)
        long = render(merged(NEEDED, {"fullnameOverride": "a" * 80, "agents": {"b" * 22: {}}}))
        self.assertTrue(all(len(d["metadata"]["name"]) <= 63 for d in long))

    def test_images_are_the_one_that_values_name(self):
        images = {c["image"] for _, p in chart.pods(self.rendered["names-and-image.yaml"]) for c in chart.containers(p)}
        digest = "0123456789abcdef" * 4
        self.assertEqual(images, {f"registry.acme.example/data/bailiwick@sha256:{digest}"})
        images = {c["image"] for _, p in chart.pods(self.rendered["three-sites.yaml"]) for c in chart.containers(p)}
        with open(os.path.join(chart.CHART, "Chart.yaml")) as file:
            self.assertEqual(images, {f"bailiwick:{yaml.safe_load(file)['appVersion']}"})


class Refusals(unittest.TestCase):
    def test_what_is_not_known_is_refused_everywhere(self):
        """A key that is not there, put into every object that values can have: each is named."""
        everything = merged(*(values_of(name) for name in SETS))
        with open(os.path.join(chart.CHART, "values.yaml")) as file:
            everything = merged(yaml.safe_load(file), everything)
        everything["coordinator"]["enabled"] = True
        open_maps = re.compile(r"/(annotations|commonLabels|podAnnotations|podLabels|nodeSelector|matchLabels|files|labels|global|agents)$")
        planted = []

        def plant(value, path):
            if isinstance(value, dict):
                for key, inner in list(value.items()):
                    plant(inner, f"{path}/{key}")
                if not open_maps.search(path):
                    value["surprise"] = 1
                    planted.append(path)
            elif isinstance(value, list):
                for index, inner in enumerate(value):
                    plant(inner, f"{path}/{index}")
        plant(everything, "")
        self.assertGreater(len(planted), 80)
        code, said = template(everything)
        self.assertNotEqual(code, 0)
        refused = set(re.findall(r"at '([^']*)': additional properties 'surprise' not allowed", said))
        self.assertEqual(sorted(set(planted) - refused), [])

    def test_what_makes_no_sense_is_refused_with_its_place(self):
        agents = {"agents": {"a": {}, "b": {}}}
        for values, said in (
                ({}, "/trustDomain"),
                ({"trustDomain": "acme.example"}, "/policyRootSha256"),
                (merged(NEEDED, {"policyRootSha256": "abc"}), "/policyRootSha256"),
                (merged(NEEDED, {"coordinator": {"replicas": 2}}), "'/coordinator/replicas': value must be 1"),
                (merged(NEEDED, {"coordinator": {"service": {"type": "NodePort"}}}), "/coordinator/service/type"),
                (merged(NEEDED, {"coordinator": {"advertise": "https://acme.example/"}}), "/coordinator/advertise"),
                (merged(NEEDED, {"coordinator": {"resources": {"limits": {"memory": "much"}}}}), "/coordinator/resources/limits/memory"),
                (merged(NEEDED, {"coordinator": {"persistence": {"accessModes": ["ReadWriteMany"]}}}), "/coordinator/persistence/accessModes"),
                (merged(NEEDED, {"runAs": {"user": 0}}), "/runAs/user"),
                (merged(NEEDED, {"agents": {"coordinator": {}}}), "invalid propertyName 'coordinator'"),
                (merged(NEEDED, {"agents": {"Factory": {}}}), "invalid propertyName 'Factory'"),
                (merged(NEEDED, {"agents": {"a": {"advertise": "core.acme.example"}}}), "/agents/a/advertise"),
                (merged(NEEDED, {"agents": {"a": {"sources": [{"name": "x", "mountPath": "/x"}]}}}), "/agents/a/sources/0"),
                (merged(NEEDED, {"collector": {"enabled": True, "join": {"existingSecret": "s"}, "hostPaths": [
                    {"name": "x", "path": "/x", "mountPath": "/x"}]}}), "'/collector/podSecurityExemption': value must be 'hostPath'"),
                (merged(NEEDED, {"collector": {"enabled": True, "podSecurityExemption": "hostPath", "hostPaths": [
                    {"name": "x", "path": "/x", "mountPath": "/x"}]}}), "/collector/join/existingSecret"),
                (merged(NEEDED, {"collector": {"enabled": True, "podSecurityExemption": "hostPath", "join": {"existingSecret": "s"}}}),
                 "/collector/hostPaths"),
                (merged(NEEDED, {"collector": {"tls": {"existingSecret": "s"}}}), "/collector"),
                (merged(NEEDED, {"certManager": {"enabled": True}}), "/certManager/issuerRef/name"),
                (merged(NEEDED, agents, {"certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}), "agents.a.region"),
                (merged(NEEDED, {"apply": {"enabled": True}}), "apply needs its resources from one place"),
                (merged(NEEDED, {"apply": {"enabled": True, "existingSecret": "s", "files": {"a.yaml": "x"}}}), "apply needs its resources from one place"),
                (merged(NEEDED, {"apply": {"enabled": True, "files": {"a.yaml": "x"}}}), "deployer.identity.existingSecret names"),
                (merged(NEEDED, {"commonLabels": {"app.kubernetes.io/name": "mine"}}), "invalid propertyName 'app.kubernetes.io/name'"),
                (merged(NEEDED, {"coordinator": {"podLabels": {"app.kubernetes.io/component": "mine"}}}), "invalid propertyName 'app.kubernetes.io/component'"),
                (merged(NEEDED, {"coordinator": {"service": {"controlPort": 7441}}}), "two different ports"),
                (merged(NEEDED, {"coordinator": {"service": {"joinPort": 7444}}}), "/coordinator/service/joinPort"),
                (merged(NEEDED, {"agents": {"a": {"service": {"port": 9464}}}}), "/agents/a"),
                (merged(NEEDED, {"coordinator": {"certificateLife": "48h"}}), "/coordinator/certificateLife"),
                (merged(NEEDED, {"coordinator": {"advertise": "acme.example:7440"}}), "/coordinator/advertise"),
                (merged(NEEDED, {"agents": {"a": {"advertise": "acme.example:99999"}}}), "/agents/a"),
                (merged(NEEDED, {"agents": {"a": {"sources": [{"name": "x", "existingClaim": "c", "mountPath": "/var/lib/bailiwick"}]}}}), "the agent's own files"),
                (merged(NEEDED, {"agents": {"a": {"sources": [{"name": "one", "existingClaim": "c", "mountPath": "/s"},
                                                              {"name": "two", "existingClaim": "c", "mountPath": "/s"}]}}}), "two of them"),
                ({"coordinator": {"enabled": False}, "apply": {"enabled": True, "files": {"a.yaml": "x"}}, "networkPolicy": {"enabled": False}},
                 "deployer.coordinator names"),
                (merged(agents, {"coordinator": {"enabled": False}}), "networkPolicy.peers says where the coordinator is"),
                (merged(NEEDED, agents, {"test": {"enabled": True, "from": "a", "to": "c"}}), '"c" is none'),
                (merged(NEEDED, agents, {"test": {"enabled": True, "from": "a", "to": "a"}}), "two different sites"),
                (merged(NEEDED, {"apply": {"expectEvictions": -2}}), "/apply/expectEvictions"),
                (merged(NEEDED, {"apply": {"files": {"law.yml": "x"}}}), "invalid propertyName 'law.yml'"),
                (merged(NEEDED, {"networkPolicy": {"peers": [{}]}}), "/networkPolicy/peers/0"),
                (merged(NEEDED, {"agents": {"a": {"proxy": {"address": "proxy.acme.example"}}}}), "/agents/a/proxy/address"),
                (merged(NEEDED, {"agentDefaults": {"proxy": {"address": "USER:PASSWORD@proxy.acme.example:3128"}}}), "/agentDefaults/proxy/address"),
                (merged(NEEDED, {"collector": {"proxy": {"address": "https://proxy.acme.example:3128"}}}), "/collector/proxy/address"),
                (merged(NEEDED, {"agents": {"a": {"proxy": {"address": "p:1", "noProxy": ["a, b"]}}}}), "/agents/a/proxy/noProxy/0"),
                (merged(NEEDED, {"agents": {"a": {"proxy": {"existingSecret": "s"}}}}), "agents.a.proxy: without its address"),
                (merged(NEEDED, {"agents": {"a": {"proxy": {"address": "p:1"}}}}), "networkPolicy.proxies says where the proxy is"),
                (merged(NEEDED, {"agents": {"metrics": {}}}), "invalid propertyName 'metrics'"),
                (merged(NEEDED, {"metrics": {"enabled": True}}), "networkPolicy.scrapers says where Prometheus is"),
                (merged(NEEDED, {"metrics": {"serviceMonitor": {"enabled": True}}}), "'/metrics/enabled': value must be true"),
                (merged(NEEDED, {"metrics": {"prometheusRule": {"runbookUrl": "wiki"}}}), "/metrics/prometheusRule/runbookUrl")):
            with self.subTest(values=values):
                code, text = template(values)
                self.assertNotEqual(code, 0)
                self.assertIn(said, text)

    def test_the_schema_leaves_no_object_open(self):
        with open(os.path.join(chart.CHART, "values.schema.json")) as file:
            schema = json.load(file)
        open_objects = []

        def look(node, path):
            if isinstance(node, dict):
                if node.get("type") == "object" and "additionalProperties" not in node:
                    open_objects.append(path)
                for key, inner in node.items():
                    look(inner, f"{path}/{key}")
            elif isinstance(node, list):
                for index, inner in enumerate(node):
                    look(inner, f"{path}/{index}")
        look(schema, "")
        self.assertEqual(open_objects, ["/properties/global"])   # a parent chart's, which nothing here reads


class Words(unittest.TestCase):
    def test_the_readme_has_the_values_as_they_are(self):
        values_table.main(write=False)

    def test_every_value_is_used(self):
        """Nothing is a switch without a wire."""
        text = ""
        for folder, _, files in os.walk(os.path.join(chart.CHART, "templates")):
            for name in files:
                with open(os.path.join(folder, name)) as file:
                    text += file.read()
        with open(os.path.join(chart.CHART, "values.yaml")) as file:
            keys = {key.split(".")[-1] for key, _, _ in values_table.rows(file.read())} - {"global"}
        whole = {"name", "kind", "group"}   # issuerRef goes through as it is
        self.assertEqual([k for k in sorted(keys - whole) if not re.search(rf"\.{k}\b", text)], [])

    def test_notes_say_what_to_do_next(self):
        for name, wanted in (("three-sites.yaml", ["bailiwick site join-token factory", "acme-bailiwick-factory-join",
                                                   "bailiwick site approve --all", "parent of `current`",
                                                   "A mount of\n`current` itself, also by subPath, would stay at the version of that moment.",
                                                   "exec -n fleet acme-bailiwick-coordinator-0 -- bailiwick login-token"]),
                             ("collector.yaml", ["pod-security.kubernetes.io/enforce=privileged", "hostPath"]),
                             ("with-test.yaml", ["helm test acme -n fleet"])):
            code, out, err = chart.helm("install", "acme", chart.CHART, "--namespace", "fleet", "--dry-run=client", "--values",
                                        os.path.join(chart.VALUES, name))
            self.assertEqual(code, 0, err)
            notes = out[out.index("NOTES:"):]
            for part in wanted:
                self.assertIn(part, notes)
            self.assertNotIn("<no value>", notes)


if __name__ == "__main__":
    chart.install()
    unittest.main(verbosity=2)
