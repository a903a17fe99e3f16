"""What rules can say beyond places and labels: purposes, hours, guardrails; and the steps of an admin that rules decide about."""
import os
import unittest

import fleet as f

EU_ONLY = "  - {id: eu, effect: permit, data: {matchLabels: {class: telemetry}}, to: {in: [eu]}%s}\n"
HEAD = "apiVersion: bailiwick/v1\nkind: SovereigntyPolicy\nmetadata: {name: acme}\nspec:\n  rules:\n"


def law(extra="", more=""):
    return HEAD + EU_ONLY % extra + more


class Language(unittest.TestCase):
    def denied(self, fleet, dataset, site, words):
        return f.wait_until(lambda: (lambda r: r if words in r.text else None)(
            fleet.cli("why", dataset, site, expect=None)), timeout=60, what=f"why says: {words}")

    def test_a_purpose_must_be_given_and_be_the_right_one(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = f.make_tree(fleet.path("data"), files=5)
            to = "[{site: core}]"
            fleet.apply(f.documents(law(", purposes: [care, research]"), f.replication_yaml(to=to), f.dataset_yaml("data", source)))
            fleet.commit("data", wait=False)
            self.denied(fleet, "data", "core", "the request has no purpose")
            fleet.apply(f.replication_yaml(to=to, more="  purpose: advertising\n"))
            self.denied(fleet, "data", "core", "purpose advertising is not one of: care, research")
            self.assertEqual(f.pack_bytes(fleet, "core"), 0)
            fleet.apply(f.replication_yaml(to=to, more="  purpose: research\n"))
            fleet.wait_version("data", 1, "core")
            for site in ("factory", "core"):
                self.assertRegex(fleet.audit(site), r"grant-accepted.*purpose[^a-z]*research")

    def test_hours_are_those_of_the_signed_time_zone(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = f.make_tree(fleet.path("data"), files=5)
            fleet.apply(f.documents(law(", when: {notAfter: 2020-01-01T00:00:00Z}"), f.replication_yaml(to="[{site: core}]"),
                                    f.dataset_yaml("data", source)))
            fleet.commit("data", wait=False)
            self.denied(fleet, "data", "core", "it is not before 2020-01-01T00:00:00+00:00")
            refused = fleet.apply(law(", when: {daily: [{hours: \"00:00-24:00\", tz: Europe/Belrin}]}"), expect=None)
            self.assertNotEqual(refused.code, f.OK)
            self.assertRegex(refused.text, r":6:\d+: .*time zone Europe/Belrin is not known")
            self.assertEqual(f.pack_bytes(fleet, "core"), 0)
            fleet.apply(law(", when: {daily: [{hours: \"00:00-24:00\", tz: Europe/Berlin}]}"))
            fleet.wait_version("data", 1, "core")

    def test_a_policy_cannot_weaken_a_guardrail(self):
        with f.Fleet() as fleet:
            source = f.make_tree(fleet.path("data"), files=5)
            guardrail = ("apiVersion: bailiwick/v1\nkind: SovereigntyPolicy\nmetadata: {name: org}\nspec:\n  tier: guardrail\n"
                         "  rules:\n  - {id: at-home, effect: permit, to: {in: [eu]}}\n")
            everywhere = HEAD + "  - {id: everywhere, effect: permit}\n"
            fleet.apply(f.documents(guardrail, everywhere, f.replication_yaml(), f.dataset_yaml("data", source)))
            fleet.commit("data", wait=False)
            fleet.wait_version("data", 1, "core")
            self.denied(fleet, "data", "cloud-us", "no guardrail permits transfer")
            self.assertEqual(f.pack_bytes(fleet, "cloud-us"), 0)
            fleet.apply(guardrail.replace("[eu]", "[eu, us]"))
            fleet.wait_version("data", 1, "cloud-us")

    def test_relabelling_and_moving_need_a_permit_once_the_law_speaks_of_them(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source = f.make_tree(fleet.path("data"), files=5)
            steps = "  - {id: calm, effect: permit, actions: [relabel], data: {matchLabels: {pii: \"no\"}}}\n" \
                    "  - {id: stay, effect: forbid, actions: [move-site], to: {notIn: [eu]}}\n"
            labels = 'class: %s, pii: "%s"'
            fleet.apply(f.documents(law(), f.dataset_yaml("data", source, labels=labels % ("telemetry", "yes"))))
            fleet.apply(f.dataset_yaml("data", source, labels=labels % ("telemetry", "no")))    # the law says nothing: free
            fleet.apply(law(more=steps))
            fleet.apply(f.dataset_yaml("data", source, labels=labels % ("traces", "no")))       # permitted
            refused = fleet.apply(f.dataset_yaml("data", source, labels=labels % ("traces", "yes")), expect=None)
            self.assertNotEqual(refused.code, f.OK)
            self.assertRegex(refused.text, r":\d+:\d+: metadata.labels: the law in force does not let dataset data be relabelled")
            self.assertIn("pii", refused.text)
            us = "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: us}\nspec: {}\n"
            moved = fleet.apply(f.documents(us, "apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: factory}\nspec: {region: us}\n"),
                                expect=None)
            self.assertNotEqual(moved.code, f.OK)
            self.assertIn("policy acme/stay forbids move-site of factory (eu/de/fra) to us", moved.text)


if __name__ == "__main__":
    f.main()
