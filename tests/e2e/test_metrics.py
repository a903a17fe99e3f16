"""What the processes tell a monitoring system: real pages, read by a real Prometheus; rules, runbooks and dashboard that go with them."""
import json
import os
import re
import socket
import time
import unittest

import fleet as f
from prometheus import SHIPPED, Prometheus, get, tool

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


def shipped(name):
    return f.read(os.path.join(SHIPPED, name)).decode()


def samples(text):
    """{(name, ((label, value), ...)): number} of a page."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, number = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)', line).groups()
            pairs = re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', labels or "")
            found[name, tuple(sorted(pairs))] = float(number)
    return found


def dashboard_queries():
    def walk(panels):
        for panel in panels:
            yield from ((panel["title"], target["expr"]) for target in panel.get("targets", []))
            yield from walk(panel.get("panels", []))
    for title, query in walk(json.loads(shipped("dashboard.json"))["panels"]):
        yield title, query.replace("$__rate_interval", "1m").replace("$dataset", ".*").replace("$site", ".*")


def rule_queries():
    """Of alerts.yaml, one-line and folded."""
    text = re.sub(r">-\n((?: {6}.*\n)+)", lambda m: " ".join(m.group(1).split()) + "\n", shipped("alerts.yaml"))
    return re.findall(r"(?m)^    expr: (.*)$", text)


def names_in(query):
    """Metrics that a query asks for, without what rules record."""
    return set(re.findall(r"(?<![\w:])(?:bailiwick|process)_[a-z_]+\b(?!:)", re.sub(r'"[^"]*"', '""', query)))


NOT_AT_CORE = """apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: leaves}
spec:
  rules:
  - {id: not-at-core, effect: forbid, data: {matchLabels: {pii: "yes"}}, to: {in: [eu/de], notIn: [eu/de/fra]}}
"""


class Shipped(unittest.TestCase):
    def test_rules_hold_what_their_tests_say(self):
        for arguments in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"],
                          ["check", "config", "prometheus.yaml"]):
            result = f.run([tool("promtool")] + arguments, cwd=SHIPPED)
            self.assertEqual(result.code, 0, result)

    def test_every_alert_has_a_test_and_a_runbook(self):
        rules, runbooks = shipped("alerts.yaml"), shipped("RUNBOOKS.md")
        alerts = re.findall(r"- alert: (\w+)", rules)
        self.assertGreater(len(alerts), 20)
        self.assertEqual(sorted(re.findall(r"(?m)^- name: (Bailiwick\w+)", shipped("alerts_test.yaml"))), sorted(alerts))
        self.assertEqual(sorted(re.findall(r"(?m)^## (\w+)$", runbooks)), sorted(alerts))
        self.assertEqual(re.findall(r"runbook_url: RUNBOOKS.md#(\w+)", rules), [a.lower() for a in alerts])
        for section in runbooks.split("\n## ")[1:]:
            for part in ("**Means**", "**Costs**", "**Do**"):
                self.assertIn(part, section)

    def test_runbooks_name_commands_that_exist(self):
        commands = set(re.findall(r"`bailiwick ([a-z-]+(?: [a-z-]+)?)", shipped("RUNBOOKS.md")))
        self.assertGreater(len(commands), 10)
        for command in commands:
            result = f.run([f.CLI] + command.split() + ["--help"])
            verb = command if f"Usage: bailiwick {command} " in result.out else command.split()[0]
            self.assertRegex(result.out, rf"Usage: bailiwick {verb} \[OPTIONS\](?! SUBCOMMAND)", command)


class Metrics(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]", more="  rpo: 1h\n"))
    DATASET, RECORDED = "seen", "recorded"
    RECORDS = "commit: {onRequest: true}\ningest: consume\nabsent: keep\ndropAfterCopies: 1"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = cls.fleet.path(cls.DATASET)
        f.make_tree(cls.source, files=20, largest=20000)
        cls.fleet.apply(f.dataset_yaml(cls.DATASET, cls.source))
        cls.fleet.commit(cls.DATASET)
        f.write(cls.source + "/more", os.urandom(50000))
        cls.fleet.commit(cls.DATASET)
        f.write(cls.fleet.path(cls.RECORDED) + "/clip", os.urandom(300000), mtime=1_700_000_000)
        cls.fleet.apply(f.dataset_yaml(cls.RECORDED, cls.fleet.path(cls.RECORDED), spec=cls.RECORDS))
        cls.fleet.commit(cls.RECORDED, wait=False)

    def address(self, name):
        place = os.path.join(self.fleet.dir, "coordinator") if name == "coordinator" else self.fleet.data(name)
        return json.loads(f.read(os.path.join(place, "endpoints.json")))["metrics"]

    def page(self, name):
        status, _, text = get(self.address(name), "/metrics")
        self.assertEqual(status, 200, text)
        return samples(text)

    def value(self, process, name, **labels):
        return self.page(process).get((name, tuple(sorted(labels.items()))))

    def test_three_pages_and_nothing_else(self):
        for name in ("coordinator", "factory"):
            address = self.address(name)
            self.assertEqual(get(address, "/healthz")[::2], (200, "ok\n"))
            self.assertEqual(get(address, "/readyz")[::2], (200, "ok\n"))
            self.assertEqual(get(address, "/metrics")[:2], (200, TEXT))
            self.assertEqual(get(address, "/metrics", Accept=OPEN_METRICS)[:2], (200, OPEN_METRICS))
            for path in ("/", "/debug", "/metrics/..", "/status.json", "/..%2f..%2fetc%2fpasswd"):
                self.assertEqual(get(address, path)[0], 404, path)
            host, port = address.rsplit(":", 1)
            for sent, said in ((b"\x16\x03\x01\x00\xa5\x01\x00", b"400"), (b"POST /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b"405"),
                               (b"GET /metrics HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20000 + b"\r\n\r\n", b"431")):
                with socket.create_connection((host, int(port)), timeout=30) as client:
                    client.sendall(sent)
                    client.shutdown(socket.SHUT_WR)
                    self.assertIn(said, client.makefile("rb").readline())
            self.assertEqual(get(address, "/healthz")[0], 200)

    def test_numbers_are_those_of_what_happened(self):
        sent = dict(dataset=self.DATASET, peer="core", direction="send")
        received = dict(dataset=self.DATASET, peer="factory", direction="receive")
        moved = "bailiwick_agent_transfer_bytes_total"
        self.assertGreater(self.value("core", moved, **received), 50000)
        f.wait_until(lambda: self.value("factory", moved, **sent) == self.value("core", moved, **received),
                     what="both ends to have counted the same bytes")
        self.assertEqual(self.value("factory", "bailiwick_agent_commit_duration_seconds_count", result="committed"), 3)
        for site in ("factory", "core"):
            f.wait_until(lambda: self.value(site, "bailiwick_agent_dataset_newest_version", dataset=self.DATASET) == 2,
                         what="its report")
            self.assertEqual(self.value(site, "bailiwick_agent_dataset_versions", dataset=self.DATASET), 2)
            self.assertEqual(self.value(site, "bailiwick_agent_coordinator_connected"), 1)
            self.assertEqual(self.value(site, "bailiwick_agent_policy_stale"), 0)
            self.assertLess(abs(self.value(site, "bailiwick_agent_clock_skew_seconds")), 60)
        self.assertEqual(self.value("core", "bailiwick_agent_dataset_current_version", dataset=self.DATASET), 2)
        permitted = [v for (name, labels), v in self.page("core").items()
                     if name == "bailiwick_agent_flow_decisions_total" and ("result", "PERMITTED") in labels]
        self.assertGreaterEqual(sum(permitted), 2)
        pair = dict(dataset=self.DATASET, site="core")
        self.assertEqual(self.value("coordinator", "bailiwick_coordinator_replica_lag_seconds", **pair), 0)
        self.assertEqual(self.value("coordinator", "bailiwick_coordinator_replica_rpo_seconds", **pair), 3600)
        issued, ends = (self.value("coordinator", f"bailiwick_coordinator_policy_{what}_timestamp_seconds") for what in ("issued", "expiry"))
        self.assertAlmostEqual(ends - issued, 365 * 86400, delta=1)
        self.assertGreaterEqual(self.value("coordinator", "bailiwick_grpc_server_handled_total",
                                           service="bailiwick.control.v1.Control", method="Apply", code="OK"), 1)

    def test_chunks_and_records_are_as_many_as_lie_there(self):
        chunks = "bailiwick_agent_dataset_chunks"
        # 21 files of less than a chunk each, and the nodes of two manifests.
        f.wait_until(lambda: self.value("factory", chunks, dataset=self.DATASET) == self.value("core", chunks, dataset=self.DATASET),
                     what="a copy to have as many chunks as the home")
        self.assertIn(self.value("core", chunks, dataset=self.DATASET), range(22, 40))
        for name, directory in (("coordinator", os.path.join(self.fleet.dir, "coordinator")), ("core", self.fleet.data("core"))):
            process = "coordinator" if name == "coordinator" else "agent"
            payload = os.path.join(directory, "audit", "payload")
            f.wait_until(lambda: 0 < self.value(name, f"bailiwick_{process}_audit_bytes") == sum(map(os.path.getsize, f.files_under(payload))),
                         what="the size of its audit log")

    def test_what_the_home_gave_up_is_told(self):
        versions, given_up = "bailiwick_agent_dataset_versions_given_up", "bailiwick_agent_given_up_bytes_total"
        f.wait_until(lambda: self.value("factory", versions, dataset=self.RECORDED) == 1, timeout=120, what="a version to be given up")
        self.assertIn(int(self.value("factory", given_up, dataset=self.RECORDED)), range(300000, 310000))
        self.assertEqual(self.value("core", versions, dataset=self.RECORDED), 0)
        self.assertIsNone(self.value("core", given_up, dataset=self.RECORDED))
        for site in ("factory", "core"):
            self.assertEqual(self.value(site, versions, dataset=self.DATASET), 0)

    def test_flows_and_certificates_of_agents(self):
        count = "bailiwick_agent_transfer_duration_seconds_count"
        for site, direction in (("factory", "send"), ("core", "receive")):
            self.assertGreaterEqual(self.value(site, count, direction=direction, result="COMPLETE"), 2)
        for site in ("factory", "core"):
            life = self.value(site, "bailiwick_agent_certificate_expiry_timestamp_seconds") - time.time()
            self.assertTrue(12 * 3600 < life < 25 * 3600, life)
            self.assertGreater(self.value(site, "bailiwick_agent_disk_reserve_bytes"), 0)

    def test_a_copy_that_was_read_back_says_when(self):
        began = int(time.time())
        self.fleet.verify(self.DATASET, "core")
        f.wait_until(lambda: self.value("core", "bailiwick_agent_dataset_read_back_timestamp_seconds", dataset=self.DATASET) >= began,
                     what="the copy to be as young as the verification")
        self.assertEqual(self.value("core", "bailiwick_agent_dataset_damaged_chunks", dataset=self.DATASET), 0)

    def test_series_of_a_dataset_go_with_it(self):
        source = f.make_tree(self.fleet.path("leaves"), files=3)
        self.fleet.apply(f.dataset_yaml("leaves", source, labels='class: telemetry, pii: "yes"'))
        self.fleet.commit("leaves")
        self.fleet.wait_version("leaves", 1, "core")

        def series(site):
            return {name for name, labels in self.page(site) if name.startswith("bailiwick_agent_dataset_") and ("dataset", "leaves") in labels}
        f.wait_until(lambda: "bailiwick_agent_dataset_packs" in series("core"), what="its figures")
        self.fleet.apply(NOT_AT_CORE)
        f.wait_until(lambda: not series("core"), what="the figures of what was erased to be gone")
        self.assertIn("bailiwick_agent_dataset_packs", series("factory"))

    def test_prometheus_reads_it_all(self):
        for name in ("coordinator", "factory", "core"):
            result = f.run([tool("promtool"), "check", "metrics"], stdin=get(self.address(name), "/metrics")[2])
            self.assertEqual((result.code, result.text), (0, ""), result)
        with self.prometheus() as ask:
            queries = [q for _, q in dashboard_queries()] + rule_queries()
            wanted = set().union(*map(names_in, queries))
            self.assertGreater(len(wanted), 50)
            f.wait_until(lambda: not self.missing(wanted, ask), what="every metric that rules and dashboard name")
            for query in queries:
                ask("query", query=query)
            for title, query in dashboard_queries():
                if " > 0" not in query:  # what is there only now and then
                    f.wait_until(lambda: ask("query", query=query)["result"], what=f"something to show in {title}: {query}")
            rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
            self.assertGreater(len(rules), 20)
            f.wait_until(lambda: all(rule["health"] == "ok" for group in ask("rules")["groups"] for rule in group["rules"]),
                         what="all rules to have been evaluated")
            for up in ask("query", query="up")["result"]:
                self.assertEqual(up["value"][1], "1", up)

    def missing(self, wanted, ask):
        self.lacks = sorted(wanted - set(ask("label/__name__/values")))
        return self.lacks

    def prometheus(self):
        """A server that scrapes the fleet; gives a function that asks its API."""
        jobs = {"bailiwick-coordinator": [self.address("coordinator")],
                "bailiwick-agent": [self.address("factory"), self.address("core")]}
        return Prometheus(self.fleet.path("prometheus"), os.path.join(SHIPPED, "alerts.yaml"), [
            {"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs.items()])

    def test_zz_a_site_that_is_away_is_seen(self):
        pair = dict(dataset=self.DATASET, site="core")
        self.fleet.apply(f.replication_yaml(to="[{site: core}]", more="  rpo: 1s\n"))
        self.fleet.dev("stop", "core")
        f.write(self.source + "/again", b"again")
        self.fleet.commit(self.DATASET, wait=False)
        f.wait_until(lambda: self.value("coordinator", "bailiwick_coordinator_replica_rpo_breached", **pair) == 1,
                     what="the breach")
        self.assertEqual(self.value("coordinator", "bailiwick_coordinator_replica_versions_behind", **pair), 1)
        self.assertGreaterEqual(self.value("coordinator", "bailiwick_coordinator_replica_lag_seconds", **pair), 1)
        self.assertEqual(self.value("coordinator", "bailiwick_coordinator_site_connected", site="core", region="eu/de"), 0)
        self.assertEqual(self.value("coordinator", "bailiwick_coordinator_replicas", state="offline"), 1)


if __name__ == "__main__":
    f.main()
