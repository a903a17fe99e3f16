"""The networks that edge sites have: IPv6, no way out but an HTTP proxy, ports that change, names that come and go. Real processes in
network namespaces of their own, a name server and a proxy that are not ours."""
import contextlib
import os
import subprocess
import sys
import tempfile
import unittest

import fleet as f
import networks as n

MAIN, CABLE_HERE, CABLE_THERE = "10.77.0.1", "10.77.1.1", "10.77.1.2"
MOVED = ("10.77.0.2", "10.77.0.3", "10.77.0.4")
PASSWORD = "s3cr:t@%41"
PROXY = f"{CABLE_HERE}:3128"


def setUpModule():
    global names
    folder = tempfile.mkdtemp(prefix="bw-names-")
    unittest.addModuleCleanup(f.remove_tree, folder)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    n.leave_the_machine()
    for address in (MAIN, *MOVED):
        n.ip("addr", "add", address + "/32", "dev", "lo")
    n.in_place_of("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n", folder)
    names = n.NameServer()


class Edge(unittest.TestCase):
    def installation(self):
        self.fleet = self.enterContext(n.Installation())
        return self.fleet

    def policies(self, *datasets):
        """Each dataset from factory to core."""
        self.fleet.declare(factory="eu/de", core="eu/de")
        self.fleet.apply(f.documents(f.LAW, f.replication_yaml(to="[{site: core}]")))
        for name in datasets:
            source = self.fleet.path(name)
            f.make_tree(source, files=10)
            self.fleet.apply(f.dataset_yaml(name, source))

    def arrives(self, dataset, version):
        """A further version, all the way."""
        source = self.fleet.path(dataset)
        f.write(os.path.join(source, f"new-{version}"), os.urandom(200_000))
        self.fleet.commit(dataset)
        self.fleet.wait_version(dataset, version, "core")
        self.assertFalse(f.differences(source, self.fleet.current("core", dataset)))


class IPv6(Edge):
    def test_all_of_it_over_ipv6(self):
        fleet = self.installation()
        found = fleet.serve("[::1]:0", "[::1]:0", "--health-listen", "[::1]:0", "--metrics-listen", "[::1]:0")
        found.pop("build")
        for name, address in found.items():
            self.assertRegex(address, r"^\[::1\]:[1-9]\d*$", name)
        self.policies("six")
        for site in ("factory", "core"):
            fleet.join(site)
            self.assertRegex(fleet.agent(site, "--listen", "[::1]:0")["transfer"], r"^\[::1\]:\d+$")
        fleet.wait_connected("factory", "core")
        self.arrives("six", 1)
        fleet.verify("six", "core")                 # the CLI dials the agent
        self.assertIn("[::1]:", fleet.cli("get", "sites").out)
        self.assertEqual(subprocess.run(["ss", "-Hltn4", "sport", "!=", ":53"], capture_output=True, text=True).stdout, "", "nothing listens on IPv4")

        # The name of the coordinator may be an address too, with brackets or without; listening may mean every address.
        fleet.stop("coordinator")
        port = {name: address.rsplit(":", 1)[1] for name, address in found.items()}
        for advertised in ("::1", "[::1]"):
            again = fleet.serve(f"[::]:{port['control']}", f"[::]:{port['join']}", "--advertise", advertised)
            self.assertEqual(again["control"], found["control"])
            fleet.wait_connected("factory", "core")
            fleet.stop("coordinator")

    def test_what_is_no_address_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            config = f.write(os.path.join(folder, "agent.yaml"), "dataDir: /d\nlisten: \"::1:7443\"\n")
            said = f.run([f.AGENT, "check-config", config])
            self.assertEqual(said.code, f.USAGE, said)
            self.assertIn("[::1]:7443", said.err)
            for advertised in ("[::]", "::", "0.0.0.0"):
                said = f.run([f.COORDINATOR, "serve", "--data-dir", folder, "--control-listen", "[::]:0", "--advertise", advertised])
                self.assertEqual(said.code, f.USAGE, said)
                self.assertIn("--advertise", said.err)
            said = f.run([f.AGENT, "join", "--data-dir", folder, "--coordinator", "::1:7441", "--token", "x", "--ca-sha256", "0" * 64,
                          "--policy-root-sha256", "0" * 64])
            self.assertEqual(said.code, f.USAGE, said)
            self.assertIn("[::1]:7443", said.err)


class Proxied(Edge):
    """The factory reaches a proxy and nothing else; no name resolves there."""

    def setUp(self):
        names.names = {"coordinator.acme.test": MAIN, "core.acme.test": MAIN}
        self.island = n.Island(CABLE_HERE, CABLE_THERE)
        self.addCleanup(self.island.close)
        fleet = self.installation()
        self.log = fleet.path("proxy.log")
        self.secret = f.write(fleet.path("proxy.secret"), f"robot:{PASSWORD}\n", mode=0o600)
        found = fleet.serve(f"{MAIN}:0", f"{MAIN}:0", "--advertise", "coordinator.acme.test")
        self.control, self.joining = found["control"], found["join"]
        self.assertTrue(self.control.startswith("coordinator.acme.test:"))
        self.policies("news")
        # The factory cannot be dialled.
        fleet.apply("apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: factory}\nspec: {region: eu/de, dial: outbound-only}\n")
        fleet.join("core")
        self.core = fleet.agent("core", "--listen", f"{MAIN}:7443", "--advertise", "core.acme.test:7443")["transfer"]

    @contextlib.contextmanager
    def proxy(self):
        with f.background([sys.executable, "-B", os.path.join(os.path.dirname(__file__), "connect_proxy.py"), PROXY, f"robot:{PASSWORD}",
                           self.log], self.log + ".err") as process:
            f.wait_until(lambda: b"listening" in f.read(self.log + ".err"), what="the proxy listens")
            yield process

    def asked(self):
        return f.read(self.log).decode().splitlines() if os.path.exists(self.log) else []

    def from_there(self, *arguments, expect=f.OK, **environment):
        result = f.run([*self.island.inside, f.CLI, *arguments], env=dict(self.fleet.env, **environment))
        self.assertEqual(result.code, expect, result)
        return result

    def test_the_way_out_is_a_proxy(self):
        fleet, inside = self.fleet, self.island.inside
        config = f.write(fleet.path("agent.yaml"), f"dataDir: {fleet.data('factory')}\nlisten: {CABLE_THERE}:0\nproxy: http://{PROXY}\n"
                         f"proxyCredentials: {self.secret}\nnoProxy: 10.77.1.0/24, plant.test\nlogLevel: debug\n")
        self.assertEqual(f.run([f.AGENT, "check-config", config]).code, f.OK)
        token = fleet.json("site", "join-token", "factory")["join"]
        string = f.write(fleet.path("string"), token, mode=0o600)
        alone = f.run([*inside, f.AGENT, "join", "--data-dir", fleet.data("factory"), "--join-file", string])
        self.assertEqual(alone.code, f.UNAVAILABLE, alone)      # there is no other way
        missing = f.run([*inside, f.AGENT, "join", "--data-dir", fleet.data("factory"), "--join-file", string, "--config", config])
        self.assertEqual(missing.code, f.UNAVAILABLE, missing)  # the proxy is not there yet
        self.assertIn(f"through the proxy {PROXY}", missing.err)
        with self.proxy():
            fleet.join("factory", "--config", config, inside=inside, token=token)
            self.assertIn(f"CONNECT {self.joining} HTTP/1.1 -> 200", self.asked())
            fleet.start("factory", [*inside, f.AGENT, "run", "--config", config], fleet.data("factory"))
            fleet.wait_connected("factory", "core")
            self.assertIn(f"CONNECT {self.control} HTTP/1.1 -> 200", self.asked())

            # Data: the factory dials core, through the proxy.
            source = fleet.path("news")
            self.from_context(f"proxy: {PROXY}\nproxyCredentials: {self.secret}\nnoProxy: 10.77.1.0/24\n")
            self.from_there("get", "sites")
            self.from_there("dataset", "commit", "news", "--wait")   # the CLI there dials the factory's agent directly
            fleet.point_at(self.control)
            fleet.wait_version("news", 1, "core")
            self.assertFalse(f.differences(source, fleet.current("core", "news")))
            self.assertIn(f"CONNECT {self.core} HTTP/1.1 -> 200", self.asked())
            self.assertFalse([line for line in self.asked() if CABLE_THERE in line], "what is near is not asked of the proxy")
            self.the_command_line_there()
            self.a_proxy_that_lies()
        # The proxy is away, and back: the agent comes by itself.
        f.wait_until(lambda: "factory" not in fleet.connected(), what="it is lost with the proxy")
        with self.proxy():
            fleet.wait_connected("factory")
            fleet.stop("factory")
        self.the_password_is_nowhere()

    def from_context(self, more):
        self.fleet.point_at(self.control, more)

    def the_command_line_there(self):
        url = f"http://robot:s3cr:t%40%2541@{PROXY}"
        self.from_context("")
        self.from_there("get", "sites", expect=f.UNAVAILABLE)
        self.from_there("get", "sites", https_proxy=url)
        self.from_there("dataset", "verify", "news", "--site", "core", https_proxy=url)
        self.from_there("get", "sites", https_proxy=url, no_proxy="acme.test", expect=f.UNAVAILABLE)
        refused = self.from_there("get", "sites", https_proxy=f"http://robot:wr0ng@{PROXY}", expect=f.UNAVAILABLE)
        self.assertRegex(refused.err, r"HTTP proxy on the way refuses it \(.*407")
        self.assertNotIn("wr0ng", refused.text)
        self.assertIn(f"CONNECT {self.control} HTTP/1.1 -> 407", self.asked())
        self.from_context("proxy: none\n")
        self.from_there("get", "sites", https_proxy=url, expect=f.UNAVAILABLE)
        self.from_context(f"proxy: http://robot:{PASSWORD}@{PROXY}\n")
        refused = self.from_there("get", "sites", expect=f.USAGE)
        self.assertIn("file", refused.err)
        self.assertNotIn(PASSWORD, refused.text)
        # A person logs in from there, and the context keeps the way.
        login = self.fleet
        login.point_at(self.control)
        string = login.json("login-token", "bob")["login"]
        to = login.path("bob")
        done = f.run([*self.island.inside, f.CLI, "login", "--token", "-", "--to", to, "--proxy", PROXY, "--proxy-credentials", self.secret],
                     stdin=string + "\n")
        self.assertEqual(done.code, f.OK, done)
        self.from_there("whoami", BAILIWICK_CONTEXT=to)
        self.assertNotIn(PASSWORD.encode(), f.read(os.path.join(to, "context.yaml")))

    def a_proxy_that_lies(self):
        """TLS goes from end to end: who is led elsewhere notices."""
        f.write(self.log + ".crossed", self.core.replace("core.acme.test", MAIN))
        refused = self.from_there("get", "sites", https_proxy=f"http://robot:s3cr:t%40%2541@{PROXY}", expect=f.UNAVAILABLE)
        self.assertIn("do not belong together", refused.err)
        os.remove(self.log + ".crossed")

    def the_password_is_nowhere(self):
        log = self.fleet.log("factory")
        self.assertIn("debug", log.lower())
        for secret in (PASSWORD, "cm9ib3Q6"):       # "robot:" in base64
            self.assertNotIn(secret, log)
            self.assertFalse(f.contains(self.fleet.data("factory"), secret.encode()))


class Moving(Edge):
    """The factory dials out, the others have names."""

    def setUp(self):
        names.names = {"coordinator.acme.test": MAIN, "core.acme.test": MAIN}
        fleet = self.installation()
        found = fleet.serve(f"{MAIN}:0", f"{MAIN}:0", "--advertise", "coordinator.acme.test")
        self.control, self.joining = (found[x].rsplit(":", 1)[1] for x in ("control", "join"))
        self.policies("moving")
        fleet.apply("apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: factory}\nspec: {region: eu/de, dial: outbound-only}\n")
        for site in ("factory", "core"):
            fleet.join(site)
        fleet.agent("factory", "--listen", f"{MAIN}:0")
        fleet.agent("core", "--listen", f"{MAIN}:7443", "--advertise", "core.acme.test:7443")
        fleet.wait_connected("factory", "core")
        self.arrives("moving", 1)


class Ports(Moving):
    def test_ports_that_change(self):
        fleet = self.fleet
        # An agent's: peers and admins learn it.
        fleet.stop("core")
        fleet.agent("core", "--listen", f"{MAIN}:7555", "--advertise", "core.acme.test:7555")
        self.arrives("moving", 2)
        fleet.verify("moving", "core")
        # The coordinator's: agents ask at the port that it kept; the one who was told where to dial is told anew.
        fleet.stop("core")
        fleet.agent("core", "--listen", f"{MAIN}:7443", "--advertise", "core.acme.test:7443", "--coordinator",
                    f"coordinator.acme.test:{self.control}")
        fleet.wait_connected("core")
        fleet.stop("coordinator")
        other = fleet.serve(f"{MAIN}:0", f"{MAIN}:{self.joining}", "--advertise", "coordinator.acme.test")["control"]
        self.assertNotEqual(other.rsplit(":", 1)[1], self.control)
        fleet.wait_connected("factory")
        self.assertIn("coordinator-moved", fleet.log("factory"))
        self.assertNotIn("core", fleet.connected())
        fleet.stop("core")
        fleet.agent("core", "--listen", f"{MAIN}:7443", "--advertise", "core.acme.test:7443", "--coordinator", other)
        self.arrives("moving", 3)
        # It is kept: after a restart nobody asks again.
        fleet.stop("factory")
        fleet.agent("factory", "--listen", f"{MAIN}:0")
        fleet.wait_connected("factory", timeout=8)


class Names(Moving):
    def test_names_that_come_and_go(self):
        fleet = self.fleet
        # A peer's name is gone: the transfer waits, and goes on once it leads elsewhere.
        fleet.stop("core")
        del names.names["core.acme.test"]
        fleet.agent("core", "--listen", f"{MOVED[0]}:7443", "--advertise", "core.acme.test:7443")
        fleet.wait_connected("core")
        f.write(os.path.join(fleet.path("moving"), "later"), os.urandom(1000))
        names.asked.clear()
        fleet.commit("moving", wait=False)
        f.wait_until(lambda: "core.acme.test" in names.asked, what="the name is asked for")
        fleet.wait_version("moving", 2, "core", timeout=1, expect=f.UNAVAILABLE)
        names.names["core.acme.test"] = MOVED[0]
        fleet.wait_version("moving", 2, "core")
        # So with the coordinator's.
        del names.names["coordinator.acme.test"]
        fleet.stop("coordinator")
        names.asked.clear()
        f.wait_until(lambda: names.asked.count("coordinator.acme.test") > 4, what="agents ask for the name")
        names.names["coordinator.acme.test"] = MOVED[1]
        fleet.serve(f"{MOVED[1]}:{self.control}", f"{MOVED[1]}:{self.joining}", "--advertise", "coordinator.acme.test")
        fleet.wait_connected("factory", "core")
        self.arrives("moving", 3)


if __name__ == "__main__":
    f.main_side_by_side()
