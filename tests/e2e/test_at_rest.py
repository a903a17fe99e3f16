"""encryptAtRest: what arrives is unreadable without its key, the key is of the region obliged, files lie in the clear on
encrypted volumes only; keys rotate, get lost and come back."""
import glob
import json
import os
import random
import re
import shutil
import unittest

import fleet as f

OBLIGED = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: health}
spec:
  rules:
  - id: health-within-the-eu
    effect: permit
    data: {matchLabels: {class: health}}
    from: {in: [eu]}
    to: {in: [eu]}
    obligations: [{encryptAtRest: {keyRegion: REGION}}]
"""


def law(region="eu"):
    return OBLIGED.replace("REGION", region)


PLAIN_LAW = law().replace("    obligations: [{encryptAtRest: {keyRegion: eu}}]\n", "")
LABELS = "class: health"
TO_CORE = f.replication_yaml(to="[{site: core}]", select=LABELS)


class AtRest(unittest.TestCase):
    def secret(self, fleet, name="secret", seed=4711):
        """A source with a marker in a file that is stored raw, one that compresses, and a telling name."""
        source = f.make_tree(fleet.path(name), files=20)
        marker = random.Random(seed).randbytes(64 << 10)
        f.write(os.path.join(source, "name-marker-77ab"), marker)
        return source, marker[20_000:20_032]

    def rows(self, fleet, dataset):
        return {r["site"]: r for r in f.rows_of(fleet.json("get", "replicas")) if r["dataset"] == dataset}

    def why_says(self, fleet, dataset, site, text, timeout=60):
        return f.wait_until(lambda: (lambda r: r if text in r.text else None)(
            fleet.cli("why", dataset, site, expect=None)), timeout=timeout, what=f"why {dataset} {site} says: {text}").text

    def key_list(self, fleet, site):
        listed = f.run([f.AGENT, "key", "list", "--data-dir", fleet.data(site), "--json"])
        self.assertEqual(listed.code, f.OK, listed)
        return json.loads(listed.out)["keys"]

    def set_site(self, fleet, site, **fields):
        """Rewrites fields of the Site's spec."""
        yaml = fleet.cli("get", "site", site, "-o", "yaml").out
        value = {"storageKeys": None, "replicaVolume": None}
        value.update(fields)
        for name, text in value.items():
            if text is None:
                continue
            yaml = re.sub(rf"(?m)^  {name}:.*\n(  +-.*\n|   +.*\n)*", "", yaml)
            yaml = re.sub(r"(?m)^spec:\s*$", f"spec:\n  {name}: {text}", yaml)
        fleet.apply(yaml)

    def test_the_copy_is_unreadable_and_whole(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source, needle = self.secret(fleet)
            fleet.apply(f.documents(law(), TO_CORE, f.dataset_yaml("secret", source, labels=LABELS)))
            fleet.commit("secret")   # which waits for what may be: it is never laid out there
            f.wait_until(lambda: fleet.verify("secret", "core", expect=None).code == f.OK, what="verified at core")
            verified = fleet.verify("secret", "core")
            self.assertGreater(f.pack_bytes(fleet, "core"), 64 << 10, verified)
            self.assertEqual(f.contains(fleet.data("core"), b"name-marker-77ab"), [])
            for site in ("core", "factory"):    # at home too: it resides in the EU
                for what in (needle, b"line 2 of text"):
                    self.assertEqual(f.contains(fleet.data(site), what), [], (site, what))
                self.assertEqual(glob.glob(fleet.data(site) + "/datasets/*/packs/*.pack"), [])
                self.assertTrue(glob.glob(fleet.data(site) + "/datasets/*/packs/*.spack"))
                self.assertEqual(f.read(fleet.data(site) + "/format").strip(), b"2")
            # Not laid out: the volume is not declared encrypted. Said where one looks, and by checkout.
            self.assertFalse(os.path.lexists(fleet.current("core", "secret")))
            self.assertIn("replicaVolume: encrypted", self.why_says(fleet, "secret", "core", "encrypted volume"))
            refused = fleet.cli("dataset", "checkout", "secret", "1", "--site", "core", fleet.path("out"), expect=None)
            self.assertNotEqual(refused.code, f.OK, refused)
            self.assertIn("replicaVolume: encrypted", refused.text)

            self.set_site(fleet, "core", replicaVolume="encrypted")
            f.wait_until(lambda: os.path.islink(fleet.current("core", "secret")), what="laid out on an encrypted volume")
            fleet.wait_version("secret", 1, "core")
            self.assertFalse(f.differences(source, fleet.current("core", "secret")))
            self.assertTrue(f.contains(fleet.replica("core", "secret"), needle), "the search finds it where it is")
            refused = fleet.cli("dataset", "checkout", "secret", "1", "--site", "core", fleet.path("out"), expect=None)
            self.assertNotEqual(refused.code, f.OK, "elsewhere is no encrypted volume")
            fleet.cli("dataset", "checkout", "secret", "1", "--site", "core",
                      os.path.join(fleet.data("core"), "replicas", "checked-out"))

            self.set_site(fleet, "core", replicaVolume="plain")
            f.wait_until(lambda: not os.path.lexists(fleet.current("core", "secret")), what="withdrawn again")
            shutil.rmtree(os.path.join(fleet.data("core"), "replicas", "checked-out"))
            self.assertEqual(f.contains(fleet.data("core"), needle), [])

            # Increments and restarts.
            fleet.restart("core", "kill")
            f.write(os.path.join(source, "more"), random.Random(5).randbytes(300_000))
            fleet.commit("secret", wait=False)
            f.wait_until(lambda: self.rows(fleet, "secret").get("core", {}).get("version") in (2, "2"), what="version 2")
            fleet.verify("secret", "core")
            self.assertEqual(f.contains(fleet.data("core"), random.Random(5).randbytes(300_000)[1000:1032]), [])

    def test_a_key_of_another_region_is_refused_at_both_ends(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source, needle = self.secret(fleet)
            fleet.apply("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: us}\nspec: {}\n")
            key = self.key_list(fleet, "core")[0]["id"]
            self.set_site(fleet, "core", storageKeys=f"[{{id: {key}, region: us}}]")
            fleet.apply(f.documents(law(), TO_CORE, f.dataset_yaml("secret", source, labels=LABELS)))
            fleet.commit("secret", wait=False)
            said = self.why_says(fleet, "secret", "core", "key of region eu")
            self.assertIn("core", said)
            self.assertEqual(f.pack_bytes(fleet, "core"), 0)
            self.assertEqual(f.contains(fleet.data("core"), needle), [])
            audits = [fleet.audit(site) for site in ("core", "factory")]
            self.assertTrue(any("OBLIGATION_UNMET" in a for a in audits), audits)

            # The key declared where it belongs: it goes by itself.
            self.set_site(fleet, "core", storageKeys=f"[{{id: {key}, region: eu/de}}]")
            f.wait_until(lambda: fleet.verify("secret", "core", expect=None).code == f.OK, what="it arrives", timeout=90)

    def test_what_was_plain_is_rewritten_before_it_gets_more(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source, needle = self.secret(fleet)
            fleet.apply(f.documents(PLAIN_LAW, TO_CORE, f.dataset_yaml("secret", source, labels=LABELS)))
            fleet.commit("secret")
            fleet.wait_version("secret", 1, "core")
            f.wait_until(lambda: os.path.islink(fleet.current("core", "secret")), what="laid out")
            self.assertTrue(f.contains(os.path.join(fleet.data("core"), "datasets"), needle))
            fleet.apply(law())
            for site in ("core", "factory"):
                f.wait_until(lambda: not glob.glob(fleet.data(site) + "/datasets/*/packs/*.pack"),
                             what=f"encrypted at {site}", timeout=90)
                self.assertEqual(f.contains(os.path.join(fleet.data(site), "datasets"), needle), [])
            f.wait_until(lambda: not os.path.lexists(fleet.current("core", "secret")), what="no longer laid out")
            self.assertEqual(f.contains(fleet.data("core"), needle), [])
            fleet.verify("secret", "core")
            f.write(os.path.join(source, "more"), b"more" * 1000)
            fleet.commit("secret", wait=False)
            f.wait_until(lambda: self.rows(fleet, "secret").get("core", {}).get("version") in (2, "2"), what="version 2",
                         timeout=90)
            fleet.verify("secret", "core")

    def test_keys_rotate_and_get_lost_and_come_back(self):
        with f.Fleet(f.FACTORY, f.CORE) as fleet:
            source, _ = self.secret(fleet)
            other = f.make_tree(fleet.path("other"), files=5)
            fleet.apply(f.documents(law(), f.LAW, TO_CORE, f.replication_yaml("others", "[{site: core}]"),
                                    f.dataset_yaml("secret", source, labels=LABELS), f.dataset_yaml("other", other)))
            fleet.commit("secret", wait=False)
            fleet.commit("other")
            f.wait_until(lambda: fleet.verify("secret", "core", expect=None).code == f.OK, what="verified at core")
            [old] = self.key_list(fleet, "core")
            self.assertEqual(old["datasets"], 1)
            packs = {p: f.read(p) for p in glob.glob(fleet.data("core") + "/datasets/*/packs/*.spack")}

            self.assertEqual(f.run([f.AGENT, "key", "generate", "--data-dir", fleet.data("core")]).code, f.CONFLICT)
            rotated = f.run([f.AGENT, "key", "rotate", "--data-dir", fleet.data("core")])
            self.assertEqual(rotated.code, f.OK, rotated)
            new = next(k["id"] for k in self.key_list(fleet, "core") if k["id"] != old["id"])
            self.assertIn(new, rotated.out)
            self.set_site(fleet, "core", storageKeys=f"[{{id: {old['id']}, region: eu/de}}, {{id: {new}, region: eu/de}}]")
            f.wait_until(lambda: {k["id"]: k["datasets"] for k in self.key_list(fleet, "core")} == {old["id"]: 0, new: 1},
                         what="the data key is wrapped by the new key")
            self.set_site(fleet, "core", storageKeys=f"[{{id: {new}, region: eu/de}}]")
            self.assertEqual({p: f.read(p) for p in packs}, packs, "no data was written again")
            fleet.verify("secret", "core")

            backup = fleet.path("backup.key")
            exported = f.run([f.AGENT, "key", "export", "--data-dir", fleet.data("core"), "--id", new[:12], "--to", backup])
            self.assertEqual(exported.code, f.OK, exported)
            self.assertEqual(os.stat(backup).st_mode & 0o777, 0o600)

            fleet.dev("stop", "core")
            for path in glob.glob(fleet.data("core") + "/keys/*.key"):
                os.remove(path)
            fleet.dev("start", "core")
            lost = f.wait_until(lambda: (lambda r: r if r.code not in (f.OK, f.UNAVAILABLE) else None)(
                fleet.verify("secret", "core", expect=None)), what="verify says what is missing")
            self.assertIn("key import", lost.text)
            self.assertIn("key import", self.why_says(fleet, "secret", "core", "key import"))
            self.assertEqual({p: f.read(p) for p in packs}, packs, "nothing was deleted")
            f.write(os.path.join(other, "more"), b"goes on")
            fleet.commit("other")
            fleet.wait_version("other", 2, "core")
            fleet.verify("other", "core")
            self.assertIn("missing", f.run([f.AGENT, "key", "list", "--data-dir", fleet.data("core")]).out)
            self.assertRegex(f.run([f.AGENT, "doctor", "--data-dir", fleet.data("core")]).out, "key storage .*1 dataset cannot be read")
            nowhere = f.run([f.AGENT, "key", "list", "--data-dir", fleet.path("nowhere")])
            self.assertEqual(nowhere.code, f.NOT_FOUND, nowhere)

            imported = f.run([f.AGENT, "key", "import", "--data-dir", fleet.data("core"), backup])
            self.assertEqual(imported.code, f.OK, imported)
            fleet.restart("core")
            f.wait_until(lambda: fleet.verify("secret", "core", expect=None).code == f.OK, what="it is back")

            # A key file that others can read is refused, with the remedy.
            os.chmod(os.path.join(fleet.data("core"), "keys", new + ".key"), 0o644)
            fleet.restart("core")
            f.wait_until(lambda: "chmod 600" in fleet.verify("secret", "core", expect=None).text, what="refused")


if __name__ == "__main__":
    f.main()
