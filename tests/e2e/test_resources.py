"""apply, diff, get, describe, delete: all or nothing, twice is once, what is shown can be applied again."""
import json
import os
import unittest

import fleet as f


class Resources(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def test_twice_is_once(self):
        text = f.dataset_yaml("twice", "/srv/twice")
        first = self.fleet.apply(text)
        self.assertRegex(first.out, r"(?i)created")
        generation = self.fleet.cli("status", "-o", "json").out
        second = self.fleet.apply(text)
        self.assertRegex(second.out, r"(?i)unchanged")
        self.assertNotRegex(second.out, r"(?i)created|changed\b(?<!unchanged)")
        self.assertEqual(json.loads(generation).get("policyRevision"),
                         json.loads(self.fleet.cli("status", "-o", "json").out).get("policyRevision"))

    def test_dry_run_changes_nothing(self):
        result = self.fleet.cli("apply", "-f", "-", "--dry-run", stdin=f.dataset_yaml("dry", "/srv/dry"))
        self.assertIn("dry", result.out)
        self.fleet.cli("get", "dataset", "dry", expect=f.NOT_FOUND)

    def test_diff_shows_what_apply_would_change(self):
        self.fleet.apply(f.dataset_yaml("differs", "/srv/one"))
        path = self.fleet.path("differs.yaml")
        f.write(path, f.dataset_yaml("differs", "/srv/two"))
        result = self.fleet.cli("diff", "-f", path, expect=None)
        self.assertIn(result.code, (f.OK, f.FAILED), result)
        self.assertRegex(result.out, r"(?m)^-.*/srv/one")
        self.assertRegex(result.out, r"(?m)^\+.*/srv/two")
        self.assertIn("/srv/one", self.fleet.cli("get", "dataset", "differs", "-o", "yaml").out)

    def test_a_directory_applies_whole_or_not_at_all(self):
        folder = self.fleet.path("config")
        f.write(os.path.join(folder, "a.yaml"), f.dataset_yaml("whole-a", "/srv/a"))
        f.write(os.path.join(folder, "b.yaml"), f.dataset_yaml("whole-b", "/srv/b", site="nosuch"))
        f.write(os.path.join(folder, "ignored.txt"), "not yaml: [")
        result = self.fleet.cli("apply", "-f", folder, expect=None)
        self.assertIn(result.code, (f.FAILED, f.USAGE), result)
        self.assertRegex(result.text, r"b\.yaml:\d+:\d+: .*nosuch")
        self.fleet.cli("get", "dataset", "whole-a", expect=f.NOT_FOUND)
        f.write(os.path.join(folder, "b.yaml"), f.dataset_yaml("whole-b", "/srv/b"))
        self.fleet.cli("apply", "-f", folder)
        self.fleet.cli("get", "dataset", "whole-a")
        self.fleet.cli("get", "dataset", "whole-b")

    def test_what_is_shown_can_be_applied_again(self):
        self.fleet.apply(f.dataset_yaml("round", "/srv/round", spec='commit: {every: 90s, settle: 2s}\nignore: ["*.tmp", "a b"]\n'
                                        "retain: {last: 3, hourly: 2, daily: 1}\nchunkSize: 64KiB\nabsent: keep"))
        for kind, name in (("dataset", "round"), ("site", "core"), ("region", "eu/de"), ("sovereigntypolicy", "acme"),
                           ("replicationpolicy", "everywhere")):
            with self.subTest(kind=kind):
                text = self.fleet.cli("get", kind, name, "-o", "yaml").out
                again = self.fleet.apply(text)
                self.assertRegex(again.out, r"(?i)unchanged", text)
                value = self.fleet.json("get", kind, name)
                self.assertIn(name, json.dumps(value))
                self.assertIn(name, self.fleet.cli("describe", kind, name).out)

    def test_kinds_have_short_and_plural_names(self):
        for kind in ("dataset", "datasets", "ds", "Dataset", "sites", "regions", "rp", "sp", "bp", "bandwidthpolicies"):
            self.fleet.cli("get", kind)

    def test_delete_refuses_what_others_stand_on(self):
        for kind, name in (("region", "eu/de"), ("region", "eu")):
            result = self.fleet.cli("delete", kind, name, "--yes", expect=None)
            self.assertIn(result.code, (f.FAILED, f.CONFLICT, f.USAGE), result)
        self.fleet.cli("get", "site", "core")
        self.fleet.apply("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: eu/fr}\nspec: {}\n")
        self.fleet.cli("delete", "region", "eu/fr", "--yes")
        self.fleet.cli("get", "region", "eu/fr", expect=f.NOT_FOUND)

    def test_chunk_size_is_fixed_at_creation(self):
        self.fleet.apply(f.dataset_yaml("chunky", "/srv/chunky", spec="chunkSize: 64KiB"))
        result = self.fleet.apply(f.dataset_yaml("chunky", "/srv/chunky", spec="chunkSize: 128KiB"), expect=None)
        self.assertNotEqual(result.code, f.OK)
        self.assertRegex(result.text, r":\d+:\d+: the chunk size of dataset chunky was fixed")


if __name__ == "__main__":
    f.main()
