"""wait: for sites and for the law; contexts: which one commands go by."""
import os
import re
import signal
import subprocess

import fleet as f
import wire as w

REGION = "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: ap}\nspec: {}\n"


class Wait(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    def test_a_site_is_waited_for_until_it_is_there(self):
        self.assertIn("connected and approved", self.fleet.cli("wait", "site", "core").out)
        self.fleet.dev("stop", "core")
        late = self.fleet.cli("wait", "site", "core", "--timeout", "1s", expect=f.UNAVAILABLE)
        self.assertIn("site core is offline", late.err)
        waiting = subprocess.Popen([f.CLI, "wait", "site", "core", "--for", "connected", "--timeout", "60s"], env=self.fleet.env,
                                   stdout=subprocess.PIPE, text=True)
        self.fleet.dev("start", "core")
        self.assertEqual(waiting.communicate(timeout=90)[0], "site core is connected\n")
        self.fleet.cli("wait", "site", "nowhere", expect=f.NOT_FOUND)

    def test_the_law_is_waited_for_until_every_agent_has_it(self):
        self.fleet.dev("stop", "core")
        self.fleet.apply(REGION)
        revision = self.fleet.json("policy", "show")["revision"]
        late = self.fleet.cli("wait", "policy", "--timeout", "1s", expect=f.UNAVAILABLE)
        self.assertRegex(late.err, rf"revision {revision} is not installed at core \(offline, has {revision - 1}\)")
        self.assertEqual(self.fleet.json("wait", "policy", "--site", "factory"), {"version": 1, "policyRevision": revision, "sites": ["factory"]})
        self.fleet.dev("start", "core")
        self.assertEqual(self.fleet.json("wait", "policy")["sites"], ["core", "factory"])

    def test_a_coordinator_that_hangs_did_not_answer(self):
        """It has nothing to do with certificates, though the handshake is where it shows."""
        process = next(p for p in self.fleet.json("dev", "status", "--dir", self.fleet.dir)["processes"] if p["name"] == "coordinator")
        os.kill(int(process["pid"]), signal.SIGSTOP)
        try:
            told = self.fleet.cli("status", expect=f.UNAVAILABLE)
        finally:
            os.kill(int(process["pid"]), signal.SIGCONT)
        self.assertRegex(told.err, "the coordinator at .* did not answer in time")
        self.assertNotIn("certificate", told.err)
        f.wait_until(lambda: self.fleet.cli("status", expect=None).code == f.OK, what="it goes on")

    def test_who_waits_for_a_commit_is_told_how_much_there_is(self):
        size = 32 << 20
        os.makedirs(self.fleet.path("large"))
        f.write(self.fleet.path("large", "one"), os.urandom(size))
        self.fleet.apply(f.dataset_yaml("large", self.fleet.path("large")))

        def told():
            site = w.sites(self.fleet)["factory"]
            with w.admin(self.fleet).channel(site.admin_endpoint, site.agent) as channel:
                call = channel.unary_stream("/bailiwick.agent.v1.AgentAdmin/Commit", request_serializer=lambda m: m.SerializeToString(),
                                            response_deserializer=w.admin_pb2.CommitEvent.FromString)
                events = call(w.admin_pb2.CommitRequest(dataset="large", scan=True, count=True), timeout=60)
                return {(e.progress.total_bytes, e.progress.total_estimated) for e in events if e.HasField("progress")}
        self.assertEqual(told(), {(size, False)})    # counted
        f.write(self.fleet.path("large", "one"), os.urandom(size))
        self.assertEqual(told(), {(size, True)})     # by the version before


class Contexts(f.FleetTest):
    SITES = (f.CORE,)

    def setUp(self):
        self.settings = self.fleet.path("home", ".config", "bailiwick")
        os.makedirs(os.path.join(self.settings, "contexts"), exist_ok=True)
        self.env = {k: v for k, v in self.fleet.env.items() if k != "BAILIWICK_CONTEXT"}
        self.env["HOME"] = self.fleet.path("home")

    def cli(self, *words, expect=f.OK, **more):
        done = f.run([f.CLI, *words], env=dict(self.env, **more))
        self.assertEqual(done.code, expect, done)
        return done

    def test_a_context_is_chosen_by_its_name(self):
        self.cli("status", expect=f.NOT_FOUND)
        os.symlink(self.fleet.dir, os.path.join(self.settings, "contexts", "plant"))
        self.assertIn("core", self.cli("status", "--context", "plant").out)
        self.assertIn("did you mean plant?", self.cli("context", "use", "plnt", expect=f.NOT_FOUND).err)
        self.assertIn("by context plant", self.cli("context", "use", "plant", "--dry-run").out)
        self.cli("status", expect=f.NOT_FOUND)
        self.cli("context", "use", "plant")
        self.assertIn("core", self.cli("status").out)
        self.assertRegex(self.cli("context", "list").out, r"(?m)^\* +plant +127")
        self.assertEqual(self.cli("context", "list", "-o", "name").out, "plant\n")
        self.assertRegex(self.cli("context", "show").out, r"Chosen by: +context use")
        for shown in (self.cli("context", "list", "--context", self.fleet.dir + "/").out,
                      self.cli("context", "list", BAILIWICK_CONTEXT=self.fleet.dir).out):
            self.assertRegex(shown, rf"(?m)^\* +{re.escape(self.fleet.dir)} +127")
            self.assertRegex(shown, r"(?m)^ +plant +127")
        said = self.cli("context", "use", self.fleet.dir, BAILIWICK_CONTEXT="/elsewhere")
        self.assertIn("unset BAILIWICK_CONTEXT", said.err)
        self.cli("status", BAILIWICK_CONTEXT="/elsewhere", expect=f.NOT_FOUND)
        self.assertRegex(self.cli("context", "show", BAILIWICK_CONTEXT=self.fleet.dir).out, r"Chosen by: +BAILIWICK_CONTEXT")


if __name__ == "__main__":
    f.main()
