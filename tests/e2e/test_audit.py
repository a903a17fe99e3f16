"""Audit logs: what is recorded, that it verifies here and by an independent implementation, and that lies are found."""
import hashlib
import json
import os
import shutil
import subprocess
import unittest

import fleet as f
from prometheus import told

TAMPERED, INCOMPLETE, UNWITNESSED = 10, 11, 12
ONLY_EU = (f.LAW, f.replication_yaml())
CHECK = os.path.join(f.BIN, "..", "tlog-check-e2e")
PATIENCE = 120
DISPUTED = "bailiwick_coordinator_audit_disputed"


def build_check():
    """The second opinion: Go's sumdb, from Debian's golang-golang-x-mod-dev."""
    env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="",
               GOCACHE=os.path.abspath(os.path.join(f.BIN, "..", "gocache")))
    made = f.run(["go", "build", "-o", os.path.abspath(CHECK), "main.go"], env=env, cwd=os.path.join(f.ROOT, "tests", "tlog"), timeout=300)
    assert made.code == 0, made


def flip(path, at):
    content = bytearray(f.read(path))
    content[at] ^= 0x11
    with open(path, "wb") as out:
        out.write(content)


def forge(directory, old, new):
    """Changes a record of an export and makes its salted hash right again."""
    path = os.path.join(directory, "payload", "000")
    lines = f.read(path).split(b"\n")
    at = next(i for i, line in enumerate(lines) if old in line and b'"kind":"version-received"' in line)
    said, salted = lines[at].replace(old, new).split(b',"salt":')
    salt = json.loads(b'{"salt":' + salted)["salt"]
    digest = hashlib.sha256(b"bailiwick-audit-v2\0" + bytes.fromhex(salt) + said).hexdigest()
    lines[at] = said + f',"salt":"{salt}","hash":"{digest}"}}'.encode()
    with open(path, "wb") as out:
        out.write(b"\n".join(lines))


class Audit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        build_check()
        cls.fleet = f.Fleet()
        cls.fleet.__enter__()
        cls.addClassCleanup(cls.fleet.__exit__, None, None, None)
        source = f.make_tree(cls.fleet.path("seen"), files=20)
        cls.fleet.apply(f.documents(*ONLY_EU, f.dataset_yaml("seen", source)))
        cls.fleet.commit("seen", wait=False)
        cls.fleet.wait_version("seen", 1, "core")

    def logs(self):
        return {log["log"]: log for log in self.fleet.json("audit", "logs")["logs"]}

    def cosigned(self):
        """Until a site of each jurisdiction has cosigned the coordinator's log."""
        def enough():
            by = self.logs()["coordinator"]["cosignedBy"]
            return any("cloud-us" in name for name in by) and any("cloud-us" not in name for name in by)
        f.wait_until(enough, timeout=PATIENCE, what="sites of two jurisdictions cosigned")

    def trust(self, name, *more):
        path = self.fleet.path(name)
        f.wait_until(lambda: {"core", "factory", "cloud-us"} <= self.logs().keys(), timeout=PATIENCE, what="the logs are known")
        if not os.path.exists(path):
            self.fleet.cli("audit", "trust", "--out", path, *more)
        return path

    def export(self, site, name):
        out = self.fleet.path(name)
        shutil.rmtree(out, ignore_errors=True)
        self.fleet.cli("audit", "export", "--site", site, "--out", out)
        return out

    def vkeys(self, trust, word):
        with open(trust, encoding="utf-8") as text:
            return [line.split()[-1] for line in text if line.startswith(word + " ")]

    def test_both_ends_and_the_coordinator_recorded_the_transfer(self):
        for site, kinds in (("factory", ("grant-accepted", "transfer-ended")),
                            ("core", ("grant-accepted", "version-received", "transfer-ended"))):
            for kind in kinds:
                rows = self.fleet.json("audit", "list", "--site", site, "--kind", kind, "--subject", "seen/")["records"]
                self.assertEqual(len(rows), 1, (site, kind))
                self.assertEqual(rows[0]["detail"]["rule"] == "", False, rows[0])
        ended = [self.fleet.json("audit", "list", "--site", site, "--kind", "transfer-ended", "--subject", "seen/")["records"][0]["detail"]
                 for site in ("factory", "core")]
        for amount in ("wireBytes", "logicalBytes"):
            self.assertEqual(ended[0][amount], ended[1][amount], "both ends count the same")
            self.assertGreater(ended[0][amount], 0)
        issued = self.fleet.json("audit", "list", "--kind", "grant-issued")["records"]
        self.assertTrue(any(row["subject"].startswith("seen/") for row in issued))
        self.assertEqual(self.fleet.json("audit", "list", "--kind", "grant-issued", "--until", "2020-01-01")["records"], [])
        reads = self.fleet.json("audit", "list", "--site", "core", "--kind", "audit-read")["records"]
        self.assertTrue(all("admin" in row["subject"] for row in reads) and reads, "reading is recorded too")
        self.assertRegex(self.fleet.cli("audit", "list", "--limit", "3").out, r"coordinator/\d+ ")
        nothing = self.fleet.cli("audit", "list", "--kind", "grant-isued")
        self.assertRegex(nothing.err, "no record of the kind grant-isued; it has .*grant-issued")
        self.fleet.cli("audit", "list", "--site", "nowhere", expect=f.NOT_FOUND)
        self.fleet.cli("audit", "list", "--since", "tomorrow", expect=f.USAGE)

    def test_logs_verify_offline_and_by_an_independent_implementation(self):
        self.cosigned()
        trust, agents = self.trust("trust"), self.trust("trust-agents", "--agents")
        for site in ("coordinator", "core"):
            out = self.export(site, "export-" + site)
            believed = trust if site == "coordinator" else agents
            verdict = self.fleet.json("audit", "verify", out, "--trust", believed)
            self.assertEqual(verdict["finding"], "true", verdict)
            vkeys = [k for k in self.vkeys(believed, "log") if (f"/site/{site}/" in k) or (site == "coordinator" and "/coordinator/" in k)]
            witnesses = self.vkeys(trust, "witness") if site == "coordinator" else []
            check = f.run([CHECK, out, vkeys[0]] + witnesses)
            self.assertEqual(check.code, 0, check)
            self.assertRegex(check.out, rf"true: {verdict['records']} entries, {verdict['records']} records")
            if site == "coordinator":
                self.assertGreater(verdict["witnessed"], 0)
                self.assertGreaterEqual(int(check.out.split()[-2]), 2, check)
            # It could have said no.
            flip(os.path.join(out, "payload", "000"), 20)
            self.assertEqual(f.run([CHECK, out, vkeys[0]]).code, 1)

    def test_exit_codes_tell_what_is_wrong(self):
        self.cosigned()
        trust, agents = self.trust("trust"), self.trust("trust-agents", "--agents")
        out = self.export("coordinator", "wrong")
        verify = lambda expect, *more: self.fleet.cli("audit", "verify", out, "--trust", trust, *more, expect=expect)
        verify(f.OK)
        payload = os.path.join(out, "payload", "000")
        flip(payload, 20)
        self.assertIn("record 0", verify(TAMPERED).out)
        flip(payload, 20)
        lines = f.read(payload).split(b"\n")
        for changed in (lines[:3] + lines[4:], lines[:3] + [lines[4], lines[3]] + lines[5:]):
            with open(payload, "wb") as file:
                file.write(b"\n".join(changed))
            self.assertIn("record 3", verify(TAMPERED).out)
        os.remove(payload)
        verify(INCOMPLETE)
        verify(f.OK, "--commitments-only")
        os.remove(os.path.join(out, "witnessed"))
        verify(UNWITNESSED, "--commitments-only")
        verify(f.USAGE, "--trust", agents)   # no key for this log
        self.fleet.cli("audit", "verify", self.fleet.path("nothing"), "--trust", trust, expect=f.NOT_FOUND)

    def test_one_record_is_proved(self):
        agents = self.trust("trust-agents", "--agents")
        row = self.fleet.json("audit", "list", "--site", "core", "--kind", "version-received")["records"][0]
        proof = self.fleet.path("received.tlog-proof")
        self.fleet.cli("audit", "prove", row["id"], "--out", proof)
        self.assertTrue(f.read(proof).startswith(b"c2sp.org/tlog-proof@v1\n"))
        self.assertIn("true", self.fleet.cli("audit", "verify", proof, "--trust", agents).out)
        flip(proof, 100)
        self.fleet.cli("audit", "verify", proof, "--trust", agents, expect=TAMPERED)
        out = self.export("core", "prove-from")
        offline = self.fleet.cli("audit", "prove", row["id"], "--dir", out).out
        f.write(self.fleet.path("offline.tlog-proof"), offline.encode())
        self.fleet.cli("audit", "verify", self.fleet.path("offline.tlog-proof"), "--trust", agents)
        for beyond in (("core/99999",), ("coordinator/99999",), ("core/99999", "--dir", out)):
            self.assertIn("record 99999", self.fleet.cli("audit", "prove", *beyond, expect=f.NOT_FOUND).err)
        # Of the log that was asked for, or not at all; and written, or not a success.
        number = row["id"].split("/")[1]
        said = self.fleet.cli("audit", "prove", "factory/" + number, "--dir", out, expect=f.USAGE)
        self.assertIn("the log of core", said.err)
        with open("/dev/full", "w", encoding="utf-8") as full:
            lost = subprocess.run([os.path.join(f.BIN, "bailiwick"), "audit", "prove", row["id"], "--dir", out], stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(lost.returncode, 1)
        self.assertIn("cannot write to standard output", lost.stderr)

    def test_what_an_auditor_saved_is_how_the_log_begins(self):
        agents = self.trust("trust-agents", "--agents")
        before = self.export("factory", "before")
        self.fleet.cli("audit", "list", "--site", "factory")   # one record more
        after = self.export("factory", "after")
        said = self.fleet.cli("audit", "consistency", os.path.join(before, "checkpoint"), after, "--trust", agents)
        self.assertIn("begins with", said.out)
        self.fleet.cli("audit", "consistency", after, before, "--trust", agents, expect=TAMPERED)
        flip(os.path.join(after, "payload", "000"), 20)
        self.fleet.cli("audit", "consistency", before, after, "--trust", agents, expect=TAMPERED)
        self.cosigned()
        own = self.export("coordinator", "unwitnessed")
        self.fleet.cli("audit", "consistency", own, own, "--trust", self.trust("trust"))
        os.remove(os.path.join(own, "witnessed"))
        self.fleet.cli("audit", "consistency", own, own, "--trust", self.trust("trust"), expect=UNWITNESSED)

    def test_a_report_counts_only_what_verifies(self):
        agents = self.trust("trust-agents", "--agents")
        core, factory = self.export("core", "report-core"), self.export("factory", "report-factory")
        other = self.export("cloud-us", "report-cloud-us")
        every = ("--dir", core, "--dir", factory, "--dir", other, "--trust", agents)
        ask = lambda expect, *more: self.fleet.json("audit", "report", *more, *every, expect=expect)
        whole = ask(f.OK, "--dataset", "seen")
        self.assertEqual((whole["finding"], whole["notes"], whole["contradictions"]), ("true", [], []))
        self.assertEqual([m["record"].split("/")[0] for m in whole["moves"]], ["core"])
        self.fleet.cli("audit", "report", "--transfers", "--dir", core, expect=f.USAGE)
        part = self.fleet.json("audit", "report", "--dataset", "seen", "--dir", core, "--dir", other, "--trust", agents,
                               expect=INCOMPLETE)
        self.assertEqual(len(part["notes"]), 1, part["notes"])
        self.assertRegex(part["notes"][0], "the log [^ ]*site/factory[^ ]*, whose key the trust file has, was not read")
        self.fleet.cli("audit", "list", "--dir", core)
        rule = whole["moves"][0]["rule"].encode()
        forge(core, b'"rule":"' + rule, b'"rule":"acme/lie')
        for about in (("--dataset", "seen"), ("--transfers",)):
            said = ask(TAMPERED, *about)
            self.assertEqual(said["finding"], "tampered")
            self.assertIn(core, said["notes"][0])
            self.assertNotIn("acme/lie", json.dumps(said))
        self.assertEqual([m["record"].split("/")[0] for m in ask(TAMPERED, "--dataset", "seen")["moves"]], ["factory"],
                         "the other end tells of it")
        self.assertIn("not the one that was signed", self.fleet.cli("audit", "list", "--dir", core, expect=TAMPERED).err)
        os.remove(os.path.join(core, "payload", "000"))
        self.assertEqual(ask(INCOMPLETE, "--transfers")["finding"], "incomplete")
        self.fleet.cli("audit", "list", "--dir", core, expect=INCOMPLETE)

    def test_reports_tell_who_got_what_and_why(self):
        report = self.fleet.json("audit", "report", "--dataset", "seen")
        self.assertEqual({row["site"] for row in report["sites"]}, {"factory", "core"})
        self.assertEqual(len(report["moves"]), 1, report)
        move = report["moves"][0]
        self.assertEqual(move["to"], "core (eu/de)")
        self.assertIn("/", move["rule"])
        self.assertIn("class=telemetry", move["classes"])
        transfers = self.fleet.json("audit", "report", "--transfers", "--from", "2020-01-01")["transfers"]
        whole = sum(os.path.getsize(path) for path in f.files_under(self.fleet.path("seen")))
        sent, = transfers
        self.assertEqual({name: sent[name] for name in ("recipient", "region", "from", "dataset", "basis", "versions", "interrupted", "dataBytes")},
                         {"recipient": "core", "region": "eu/de", "from": "factory (eu/de/fra)", "dataset": "seen", "basis": "residency",
                          "versions": 1, "interrupted": 0, "dataBytes": whole})
        self.assertIn("class=telemetry", sent["classes"])
        self.assertGreater(sent["sentBytes"], 0)
        table = self.fleet.path("transfers.html")
        self.fleet.cli("audit", "report", "--transfers", "--html", table)
        for cell in (b"<td>residency</td>", b"<td>eu/de</td>", sent["classes"].encode()):
            self.assertIn(cell, f.read(table))
        refused = self.fleet.cli("audit", "report", "--dataset", "seen", "--html", table, expect=f.CONFLICT)
        self.assertIn("transfers.html is there already; name a new file", refused.err)
        self.assertIn(b"<td>residency</td>", f.read(table))
        self.assertEqual(self.fleet.json("audit", "report", "--transfers", "--to", "2020-01-01")["transfers"], [])
        page = self.fleet.path("report.html")
        self.fleet.cli("audit", "report", "--dataset", "seen", "--html", page)
        self.assertIn(b"<td>core (eu/de)</td>", f.read(page))
        self.fleet.cli("audit", "report", expect=f.USAGE)
        said = self.fleet.cli("audit", "report", "--transfers", "--from", "2026-04-01", "--to", "2026-01-01", expect=f.USAGE)
        self.assertIn("the period is empty", said.err)
        self.assertIn("mistyped", self.fleet.cli("audit", "report", "--dataset", "sene", expect=f.NOT_FOUND).err)

    def test_records_stay_in_their_region(self):
        f.wait_until(lambda: int(self.logs().get("core", {}).get("entries", 0)) > 3, timeout=PATIENCE, what="entries of core arrived")
        copies = os.path.join(self.fleet.dir, "coordinator", "audit-logs")
        self.assertTrue(f.contains(copies, b" grant-accepted "), "kinds and times are there")
        self.assertEqual(f.contains(copies, b'"subject"'), [], "records are not")


class Histories(unittest.TestCase):
    """Logs that say one thing and later another."""
    def alarm(self, fleet, kind, site):
        return f.wait_until(lambda: [e for e in f.rows_of(fleet.json("events")) if e["kind"] == kind and e["site"] == site],
                            timeout=PATIENCE, what=f"{kind} of {site}")

    def swapped(self, fleet, name, directory, saved):
        fleet.dev("stop", name)
        shutil.rmtree(directory)
        shutil.copytree(saved, directory)
        fleet.dev("start", name)

    def test_a_coordinator_that_forks_its_history_is_found_by_its_witnesses(self):
        with f.Fleet(f.CORE, f.CLOUD_US) as fleet:
            own = os.path.join(fleet.dir, "coordinator", "audit")
            logs = lambda: {log["log"]: log for log in fleet.json("audit", "logs")["logs"]}
            f.wait_until(lambda: len(logs()["coordinator"]["cosignedBy"]) == 2, timeout=PATIENCE, what="both cosigned")
            fleet.cli("audit", "trust", "--out", fleet.path("trust"))
            fleet.dev("stop", "coordinator")
            shutil.copytree(own, fleet.path("saved"))
            fleet.dev("start", "coordinator")
            fleet.apply(f.LAW)
            size = len(fleet.json("audit", "list")["records"])
            f.wait_until(lambda: fleet.json("audit", "verify", self.export(fleet), "--trust", fleet.path("trust"))["witnessed"] >= size,
                         timeout=PATIENCE, what="what happened since is witnessed")
            seen = self.export(fleet)
            self.swapped(fleet, "coordinator", own, fleet.path("saved"))
            for site in ("core", "cloud-us"):
                self.assertIn("audit log", self.alarm(fleet, "coordinator-log-disputed", site)[0]["message"])
                f.wait_until(lambda s=site: "coordinator-log-went-back" in fleet.audit(s) or "coordinator-log-forked" in fleet.audit(s),
                             what=f"{site} recorded it in its own log")
            out = fleet.path("forked")
            fleet.cli("audit", "export", "--out", out)
            fleet.cli("audit", "consistency", seen, out, "--trust", fleet.path("trust"), expect=TAMPERED)
            self.is_shown(fleet)
            fleet.restart("coordinator")
            f.wait_until(lambda: told(fleet, DISPUTED) == 2, timeout=PATIENCE, what="both dispute it anew after a restart")
            self.is_shown(fleet)
            self.begins_anew(fleet)

    def is_shown(self, fleet):
        """A log that two sites dispute, to whoever looks at it."""
        logs = fleet.json("audit", "logs")["logs"]
        self.assertRegex(logs[0]["problem"], r"^not cosigned since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: disputed by cloud-us, core \(the coordinator's audit log ")
        self.assertEqual([log["problem"] for log in logs[1:]], ["", ""], "those of the sites are true")
        self.assertIn("disputed by cloud-us, core", fleet.cli("audit", "logs").out)
        self.assertEqual(told(fleet, DISPUTED), 2)
        row, = [row for row in fleet.json("doctor", expect=f.FAILED)["checks"] if row["name"].startswith("audit log")]
        self.assertEqual((row["name"], row["result"]), ("audit log coordinator", "fail"), row)
        self.assertIn("new-audit-log", row["remedy"])
        report = fleet.json("audit", "report", "--transfers", expect=UNWITNESSED)
        self.assertRegex(" ".join(report["notes"]), "the log of the coordinator is not cosigned since .*: disputed by")
        verdict = fleet.json("audit", "verify", self.export(fleet), "--trust", fleet.path("trust"))
        self.assertEqual(verdict["finding"], "true", "so far: it may wait a while for a witness")
        self.assertIn(f"not cosigned since {verdict['witnessedAt']}", logs[0]["problem"])
        self.assertIn(f" at {verdict['witnessedAt']}", fleet.cli("audit", "verify", fleet.path("export"), "--trust", fleet.path("trust")).out)

    def begins_anew(self, fleet):
        """The way on: a log that names the one that is disputed."""
        data = os.path.join(fleet.dir, "coordinator")
        logs = lambda: {log["log"]: log for log in fleet.json("audit", "logs")["logs"]}
        ends = logs()["coordinator"]["origin"]
        begin = lambda *more: f.run([f.COORDINATOR, "new-audit-log", "--data-dir", data, "--reason", "put back the copy", *more])
        self.assertEqual(begin().code, f.CONFLICT, "not while it serves")
        fleet.dev("stop", "coordinator")
        names = sorted(os.listdir(data))
        tried = begin("--dry-run")
        self.assertEqual(tried.code, f.OK, tried)
        self.assertIn(ends, tried.out)
        self.assertEqual(sorted(os.listdir(data)), names)
        made = begin()
        self.assertEqual(made.code, f.OK, made)
        fleet.dev("start", "coordinator")
        f.wait_until(lambda: len(logs()["coordinator"]["cosignedBy"]) == 2, timeout=PATIENCE, what="both cosign the new one")
        self.assertNotEqual(logs()["coordinator"]["origin"], ends)
        self.assertEqual(logs()["coordinator"]["problem"], "")
        self.assertEqual(told(fleet, DISPUTED), 0)
        names_it, = fleet.json("audit", "list", "--kind", "log-begun-anew")["records"]
        self.assertEqual((names_it["detail"]["log"], names_it["detail"]["reason"]), (ends, "put back the copy"))
        for site in ("core", "cloud-us"):
            replaced, = fleet.json("audit", "list", "--site", site, "--kind", "coordinator-log-replaced")["records"]
            self.assertEqual(replaced["detail"]["before"], ends)
        kept, = [name for name in os.listdir(data) if name.startswith("audit-before-")]
        fleet.cli("audit", "verify", os.path.join(data, kept), "--trust", fleet.path("trust"))
        fleet.cli("audit", "verify", self.export(fleet), "--trust", fleet.path("trust"), expect=f.USAGE)   # it knows no such log
        fleet.cli("audit", "trust", "--out", fleet.path("trust-anew"))
        fleet.cli("audit", "verify", self.export(fleet), "--trust", fleet.path("trust-anew"))

    def export(self, fleet):
        out = fleet.path("export")
        shutil.rmtree(out, ignore_errors=True)
        fleet.cli("audit", "export", "--out", out)
        return out

    def test_the_log_of_a_site_that_was_deleted_is_missed(self):
        with f.Fleet(f.CORE) as fleet:
            logs = lambda: {log["log"] for log in fleet.json("audit", "logs")["logs"]}
            f.wait_until(lambda: "core" in logs(), timeout=PATIENCE, what="the coordinator knows the log")
            fleet.cli("audit", "report", "--transfers")
            fleet.cli("delete", "site", "core", "--yes")
            said = fleet.json("audit", "report", "--transfers", expect=INCOMPLETE)
            self.assertEqual(said["finding"], "incomplete")
            self.assertIn("the log of core", said["notes"][0])

    def test_an_agent_whose_log_went_back_is_found_by_the_coordinator(self):
        with f.Fleet(f.CORE) as fleet:
            entries = lambda: int({log["log"]: log for log in fleet.json("audit", "logs")["logs"]}.get("core", {}).get("entries", 0))
            own = os.path.join(fleet.data("core"), "audit")
            f.wait_until(lambda: entries() > 0, timeout=PATIENCE, what="the coordinator knows the log")
            fleet.dev("stop", "core")
            shutil.copytree(own, fleet.path("saved"))
            fleet.dev("start", "core")
            fleet.cli("audit", "list", "--site", "core")
            size = len(fleet.json("audit", "list", "--site", "core")["records"])
            f.wait_until(lambda: entries() >= size, timeout=PATIENCE, what="it knows what was added")
            self.swapped(fleet, "core", own, fleet.path("saved"))
            self.assertRegex(self.alarm(fleet, "audit-log-disputed", "core")[0]["message"], "went back|two histories")


if __name__ == "__main__":
    f.main()
