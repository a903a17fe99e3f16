"""The coordinator is away: inside a jurisdiction to which the law delegates it new versions go on flowing under grants that the
source signs itself, while the law is young enough; nothing crosses the border; with the coordinator back all is as ever."""
import json
import os
import time
import unittest

import fleet as f

DEPOT = "depot=eu/de,tier=edge"
LAW = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  offline: [{jurisdiction: eu, maxStaleness: %s}]
  rules:
  - {id: telemetry-anywhere, effect: permit, data: {matchLabels: {class: telemetry}}}
"""
CAP = """
apiVersion: bailiwick/v1
kind: BandwidthPolicy
metadata: {name: line}
spec:
  caps: [{site: factory, to: eu, limit: 1MiB}]
"""
# As long as a loaded machine may need; nothing waits for so long when all is well.
PATIENCE = 150


class Offline(unittest.TestCase):
    def audit(self, fleet, site):
        return fleet.audit(site)

    def status(self, fleet, site):
        return json.loads(f.run([f.AGENT, "status", "--data-dir", fleet.data(site), "--json"]).out)

    def standing(self, fleet, site, dataset, peer):
        return next((s for s in self.status(fleet, site).get("standing", []) if s["dataset"] == dataset and s["site"] == peer), {})

    def shows(self, fleet, site, dataset, name):
        return os.path.exists(os.path.join(fleet.current(site, dataset), name))

    def wait_shown(self, fleet, site, dataset, name):
        f.wait_until(lambda: self.shows(fleet, site, dataset, name), timeout=PATIENCE, what=f"{name} is shown at {site}")

    def start(self, fleet, staleness, sites, name):
        """One dataset that the factory commits by itself, at all sites; then nobody coordinates."""
        source = fleet.path(name)
        f.write(os.path.join(source, "a"), b"1")
        to = "[" + ", ".join(f"{{site: {site}}}" for site in sites) + "]"
        fleet.apply(f.documents(LAW % staleness, f.replication_yaml(to=to),
                                f.dataset_yaml(name, source, spec="commit: {every: 1s}")))
        for site in sites:
            fleet.wait_version(name, 1, site, timeout=PATIENCE)
            f.wait_until(lambda s=site: self.standing(fleet, "factory", name, s) or s == "cloud-us", timeout=PATIENCE,
                         what=f"the factory knows that {site} follows")
            self.wait_shown(fleet, site, name, "a")
        fleet.dev("kill", "coordinator")
        return source

    def test_inside_the_jurisdiction_life_goes_on(self):
        with f.Fleet(f.FACTORY, f.CORE, DEPOT, f.CLOUD_US) as fleet:
            fleet.set_dial("depot", "outbound-only")
            fleet.apply(CAP)
            source = self.start(fleet, "2h", ("core", "depot", "cloud-us"), "diary")
            f.write(os.path.join(source, "b"), b"2")
            self.wait_shown(fleet, "core", "diary", "b")     # the factory dials
            self.wait_shown(fleet, "depot", "diary", "b")    # it asks the factory
            f.write(os.path.join(source, "c"), b"3")
            self.wait_shown(fleet, "core", "diary", "c")
            self.wait_shown(fleet, "depot", "diary", "c")
            self.assertFalse(f.differences(source, fleet.current("core", "diary")))

            # Nothing crossed, although the law permits it: that takes the coordinator.
            self.assertFalse(self.shows(fleet, "cloud-us", "diary", "b"))
            issued = [line for line in self.audit(fleet, "factory").split("\n") if "self-grant-issued" in line]
            self.assertTrue(any("site/core/" in line for line in issued), issued)
            self.assertTrue(any("site/depot/" in line for line in issued), issued)
            self.assertFalse(any("cloud-us" in line for line in issued), issued)
            for site in ("core", "depot"):
                self.assertRegex(self.audit(fleet, site), r"grant-accepted.*selfGranted.*policyAgeSeconds")
            self.assertNotIn("selfGranted", self.audit(fleet, "cloud-us"))

            text = f.run([f.AGENT, "status", "--data-dir", fleet.data("factory")]).out
            self.assertRegex(text, r"coordinator: out of reach since .*the law delegates")
            self.assertRegex(text, r"diary with core: (version 3 arrived|under way).*; until 20\d\d-")
            self.assertNotIn("cloud-us", text)

            # An agent that starts anew without a coordinator goes on from what it was told, at the pace that it was told.
            fleet.restart("factory", how="kill")
            began = time.monotonic()
            f.write(os.path.join(source, "d"), os.urandom(6 << 20))
            self.wait_shown(fleet, "core", "diary", "d")
            self.assertGreater(time.monotonic() - began, 4)

            fleet.dev("start", "coordinator")
            for site in ("core", "depot", "cloud-us"):
                fleet.wait_version("diary", 4, site, timeout=PATIENCE)
                self.wait_shown(fleet, site, "diary", "d")
                self.assertFalse(f.differences(source, fleet.current(site, "diary")))
                fleet.verify("diary", site)
            f.wait_until(lambda: "coordinator: connected" in
                         f.run([f.AGENT, "status", "--data-dir", fleet.data("factory")]).out, timeout=PATIENCE,
                         what="the factory's status says that the coordinator is back")
            before = self.audit(fleet, "factory").count("self-grant-issued")
            f.write(os.path.join(source, "e"), b"5")
            fleet.wait_version("diary", 5, "core", timeout=PATIENCE)
            self.assertEqual(self.audit(fleet, "factory").count("self-grant-issued"), before)

    def test_not_for_longer_than_the_law_says(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = self.start(fleet, "1m", ("core",), "log")
            f.wait_until(lambda: not self.standing(fleet, "factory", "log", "core").get("until"), timeout=PATIENCE,
                         what="the minute is over")
            f.write(os.path.join(source, "late"), b"2")
            f.wait_until(lambda: "grant themselves flows for 1m" in
                         self.standing(fleet, "factory", "log", "core").get("problem", ""), timeout=PATIENCE,
                         what="the factory says why it sends nothing")
            self.assertFalse(self.shows(fleet, "core", "log", "late"))
            fleet.dev("start", "coordinator")
            fleet.wait_version("log", 2, "core", timeout=PATIENCE)
            self.wait_shown(fleet, "core", "log", "late")

    def test_without_a_delegation_nothing_flows(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = fleet.path("kept")
            f.write(os.path.join(source, "a"), b"1")
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"),
                                    f.dataset_yaml("kept", source, spec="commit: {every: 1s}")))
            fleet.wait_version("kept", 1, "core", timeout=PATIENCE)
            fleet.dev("kill", "coordinator")
            f.write(os.path.join(source, "b"), b"2")
            f.wait_until(lambda: self.status(fleet, "factory").get("onItsOwn"), timeout=PATIENCE,
                         what="the factory counts the coordinator as away")
            f.wait_until(lambda: fleet.log("factory").count("version-committed") >= 2, timeout=PATIENCE, what="committed at home")
            self.assertFalse(self.shows(fleet, "core", "kept", "b"))
            self.assertNotIn("self-grant-issued", self.audit(fleet, "factory"))
            fleet.dev("start", "coordinator")
            fleet.wait_version("kept", 2, "core", timeout=PATIENCE)


if __name__ == "__main__":
    f.main()
