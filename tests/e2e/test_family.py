"""One YAML, many robots: streams appear and retire with the sites, replicas stand side by side."""
import os
import unittest

import fleet as f


class Family(unittest.TestCase):
    def test_streams_follow_the_sites(self):
        with f.Fleet("core=eu/de,tier=onprem", "robot-1=eu/de/fra,tier=robot", "robot-2=eu/de/fra,tier=robot") as fleet:
            # Each robot has a disk of its own; here one path is shared, so a robot's own data directory is not it.
            source = f.make_tree(fleet.path("log"), files=10)
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"), (
                'apiVersion: bailiwick/v1\nkind: Dataset\nmetadata: {name: robolog, labels: {class: telemetry, pii: "no"}}\n'
                f"spec:\n  home: {{siteSelector: {{matchLabels: {{tier: robot}}}}, path: {source}}}\n")))
            for robot in ("robot-1", "robot-2"):
                fleet.commit(f"robolog@{robot}")
                fleet.wait_version(f"robolog@{robot}", 1, "core")
                self.assertFalse(f.differences(source, fleet.replica("core", "robolog", robot, "current")))
            self.assertEqual(sorted(os.listdir(fleet.replica("core", "robolog"))), ["robot-1", "robot-2"])
            listed = fleet.cli("status").out
            self.assertIn("robolog@robot-1", listed)
            self.assertIn("robolog@robot-2", listed)
            ambiguous = fleet.commit("robolog", expect=None)
            self.assertIn(ambiguous.code, (f.USAGE, f.NOT_FOUND, f.FAILED), ambiguous)
            self.assertIn("robolog@", ambiguous.text)

            # A robot that stops being one: its stream retires, what was replicated stays.
            yaml = fleet.cli("get", "site", "robot-2", "-o", "yaml").out.replace("tier: robot", "tier: spare")
            fleet.apply(yaml)
            f.wait_until(lambda: "robolog@robot-2" not in fleet.cli("status").out, what="the stream retired")
            self.assertFalse(f.differences(source, fleet.replica("core", "robolog", "robot-2", "current")))
            fleet.apply(yaml.replace("tier: spare", "tier: robot"))
            f.wait_until(lambda: "robolog@robot-2" in fleet.cli("status").out, what="the stream is back")
            f.write(os.path.join(source, "more"), b"more")
            fleet.commit("robolog@robot-2")
            fleet.wait_version("robolog@robot-2", 2, "core")
            self.assertFalse(f.differences(source, fleet.replica("core", "robolog", "robot-2", "current")))

    def test_a_region_and_a_number_of_copies_as_target(self):
        with f.Fleet("home=eu/de/fra,tier=edge", "a=eu/de,tier=onprem", "b=eu/de,tier=onprem", "c=eu/de,tier=onprem") as fleet:
            source = f.make_tree(fleet.path("two"), files=5)
            fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{siteSelector: {matchLabels: {tier: onprem}}, copies: 2}]"),
                                    f.dataset_yaml("two", source, site="home")))
            fleet.commit("two")

            def holders():
                return [s for s in "abc" if os.path.islink(fleet.current(s, "two"))]
            f.wait_until(lambda: len(holders()) == 2, what="two copies")
            f.write(os.path.join(source, "next"), b"2")
            fleet.commit("two")
            before = holders()
            for site in before:
                fleet.wait_version("two", 2, site)
            self.assertEqual(holders(), before)


if __name__ == "__main__":
    f.main()
