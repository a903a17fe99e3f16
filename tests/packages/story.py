"""What is done with packages on a machine, whatever kind of machine it is: set up a coordinator and a site, replicate, upgrade.

A machine has run, run_as, write, path, start, stop (see machine.py).
"""
import json

from machine import f

CONTEXT = "/root/.config/bailiwick"
REGIONS = "\n---\n".join(f"apiVersion: bailiwick/v1\nkind: Region\nmetadata: {{name: {name}}}\nspec: {{}}" for name in ("eu", "eu/de"))


class Story:
    def __init__(self, machine):
        self.machine = machine

    def cli(self, *arguments, **options):
        return self.machine.run("bailiwick", *arguments, **options)

    def apply(self, *documents):
        return self.cli("apply", "-f", "-", stdin=f.documents(*documents))

    def make_coordinator(self):
        """As the README says: init as the service's user, the admin's credentials and the policy key to where the admin is."""
        m, data = self.machine, "/var/lib/bailiwick-coordinator"
        m.run_as("bailiwick-coordinator", "bailiwick-coordinator", "init", "--data-dir", data, "--trust-domain", "acme.example",
                 "--admin-dir", data + "/admin")
        m.run("mkdir", "-p", CONTEXT)
        m.run("mv", data + "/admin", CONTEXT + "/admin")
        m.run("chown", "-R", "root:root", CONTEXT)
        made = json.loads(self.cli("policy", "keygen", "--out", CONTEXT + "/policy.pem", "-o", "json").out)
        m.write(CONTEXT + "/context.yaml",
                "coordinator: 127.0.0.1:7440\ntrustDomain: acme.example\ncredentials: admin\npolicyKeys: [policy.pem]\n"
                f"policyRootSha256: {made['policyRootSha256']}\n", 0o600)

    def declare(self):
        self.apply(REGIONS, *(f"apiVersion: bailiwick/v1\nkind: Site\nmetadata: {{name: {s}}}\nspec: {{region: eu/de}}"
                              for s in ("factory", "core")))
        self.apply(f.LAW, f.replication_yaml(to="[{site: core}]"))

    def join_string(self, site):
        return self.cli("site", "join-token", site).out.strip().split()[-1]

    def commit(self, number, text):
        """A further version of the source, waited for at core, and its reading by a user who is nobody there."""
        self.machine.write("/srv/source/file", text)
        self.machine.write(f"/srv/source/only-{number}", text)
        self.cli("dataset", "commit", "tools", "--wait")
        self.cli("wait", "dataset", "tools", "--version", str(number), "--site", "core", "--timeout", "60s")
        current = "/var/lib/bailiwick-agent/replicas/tools/current/"
        read = self.machine.run_as("nobody", "cat", current + "file", current + f"only-{number}")
        assert read.out == text * 2, read

    def versions(self):
        return [int(v["number"]) for v in f.rows_of(json.loads(self.cli("get", "versions", "tools", "-o", "json").out))]

    def verify(self):
        return self.cli("dataset", "verify", "tools", "--site", "core")
