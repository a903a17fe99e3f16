"""Caps on what a site sends: kept to, shared, shown, and changed while bytes are on their way."""
import json
import os
import time

import fleet as f

MIB = 1 << 20


def cap_yaml(limit, more=""):
    return ("apiVersion: bailiwick/v1\nkind: BandwidthPolicy\nmetadata: {name: line}\n"
            f"spec:\n  caps:\n  - {{site: factory, limit: {limit}{more}}}\n")


class Bandwidth(f.FleetTest):
    SITES = (f.FACTORY, f.CORE, "late=eu/de,tier=onprem")
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def dataset(self, name, size):
        source = self.fleet.path(name)
        f.write(source + "/random", os.urandom(size))
        self.fleet.apply(f.dataset_yaml(name, source, labels=f'class: telemetry, pii: "no", set: {name}'))

    def lift(self):
        self.fleet.cli("delete", "bandwidthpolicy", "line", "--yes", expect=None)

    def setUp(self):
        self.addCleanup(self.lift)

    def running(self, name):
        return [t for t in self.fleet.transfers(name) if t["state"] == "running"]

    def capped(self, name):
        return next((t for t in self.running(name) if t["limit"] == "cap" and int(t["rateBytesPerSecond"]) > 0), None)

    def test_a_transfer_keeps_to_the_cap_and_says_so(self):
        self.dataset("slow", 20 * MIB)
        self.fleet.apply(cap_yaml("4MiB"))
        self.fleet.commit("slow", wait=False)
        began = time.monotonic()
        row = f.wait_until(lambda: self.capped("slow"), what="a transfer that a cap holds back")
        self.assertLess(int(row["rateBytesPerSecond"]), 8 * MIB, row)
        self.assertRegex(self.fleet.cli("transfer", "list").out, r"slow .* cap ")
        self.fleet.wait_version("slow", 1, "core")
        self.assertGreaterEqual(time.monotonic() - began, 4)
        self.assertSame(self.fleet.path("slow"), self.fleet.current("core", "slow"))
        self.assertEqual(self.fleet.transfers("slow")[-1]["limit"], "", "it is over")

    def test_who_waits_at_a_terminal_sees_how_fast_it_goes_and_how_long_it_takes(self):
        self.dataset("seen", 20 * MIB)
        self.fleet.apply(cap_yaml("4MiB"))
        far = r"seen version %d factory -> core \[#*\.+\] .* of 20\.0 MiB \(\d+%%\), [\d.]+ [KM]iB/s, ETA \d+s"
        committed = self.fleet.at_terminal("dataset", "commit", "seen", "--wait", "-o", "json")
        self.assertRegex(committed.err, far % 1)
        self.assertEqual(json.loads(committed.out)["number"], 1)
        f.write(self.fleet.path("seen", "random"), os.urandom(20 * MIB))
        self.fleet.commit("seen", wait=False)
        waited = self.fleet.at_terminal("wait", "dataset", "seen", "--site", "core")
        self.assertRegex(waited.err, far % 2)
        self.assertEqual(waited.out, "core holds version 2 of seen\n")
        f.write(self.fleet.path("seen", "random"), os.urandom(20 * MIB))
        self.assertNotIn(" -> ", self.fleet.commit("seen").err, "nobody looks")

    def test_a_cap_is_lifted_while_bytes_are_on_their_way(self):
        self.dataset("lifted", 60 * MIB)
        self.fleet.apply(cap_yaml("256KiB"))  # four minutes
        self.fleet.commit("lifted", wait=False)
        f.wait_until(lambda: self.capped("lifted"), what="a transfer that a cap holds back")
        first = self.running("lifted")[0]["id"]
        self.lift()
        began = time.monotonic()
        self.fleet.wait_version("lifted", 1, "core", timeout=120)
        self.assertLess(time.monotonic() - began, 60)
        self.assertEqual([t["id"] for t in self.fleet.transfers("lifted")], [first], "the same transfer went on")

    def test_two_transfers_share_one_cap(self):
        for name in ("left", "right"):
            self.dataset(name, 10 * MIB)
        self.fleet.apply(cap_yaml("4MiB"))
        began = time.monotonic()
        for name in ("left", "right"):
            self.fleet.commit(name, wait=False)
        for name in ("left", "right"):
            self.fleet.wait_version(name, 1, "core")
        self.assertGreaterEqual(time.monotonic() - began, 4)

    def test_a_cap_that_does_not_hold_now_holds_nothing_back(self):
        self.dataset("free", 20 * MIB)
        today = time.gmtime().tm_wday
        other = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(today + 3) % 7]
        self.fleet.apply(cap_yaml("64KiB", f", daily: [{{days: {other}, tz: UTC}}]"))  # five minutes
        self.fleet.commit("free", timeout=60)

    def test_what_makes_no_sense_is_refused_in_its_place(self):
        result = self.fleet.apply(cap_yaml("1KiB", ", to: mars"), expect=f.USAGE)
        self.assertRegex(result.text, r":6:\d+: spec\.caps\[0\]\.limit: expected at least 64KiB")
        result = self.fleet.apply(cap_yaml("1MiB", ", to: mars"), expect=None)
        self.assertRegex(result.text, r"region mars is not declared")

    def test_two_capped_sources_at_once(self):
        size = 288 * MIB
        self.dataset("shared", size)
        self.fleet.commit("shared")
        self.fleet.wait_version("shared", 1, "core")
        self.fleet.apply("apiVersion: bailiwick/v1\nkind: BandwidthPolicy\nmetadata: {name: line}\nspec:\n  caps:\n"
                         "  - {site: factory, limit: 20MiB}\n  - {site: core, limit: 10MiB}\n")
        self.fleet.apply(f.replication_yaml(name="third", to="[{site: late}]", select="set: shared"))   # alone
        self.fleet.wait_version("shared", 1, "late", timeout=120)
        self.assertSame(self.fleet.path("shared"), self.fleet.current("late", "shared"))
        f.wait_until(lambda: not self.running("shared"), what="both have ended")
        came = {t["source"]: int(t["wireBytes"]) for t in self.fleet.transfers("shared") if t["destination"] == "late"}
        self.assertEqual(set(came), {"factory", "core"})
        self.assertGreater(min(came.values()), size / 6, "the slower one brought its part")
        self.assertLess(sum(came.values()), size * 1.4, "little of it came twice")
        self.fleet.verify("shared", "late")


if __name__ == "__main__":
    f.main()
