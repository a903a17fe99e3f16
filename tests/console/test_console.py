#!/usr/bin/env python3
"""The console of a real fleet, walked in a real browser (walk.mjs), and knocked at by those who may not enter.

What drives the browser comes from npm (package.json, package-lock.json) into BAILIWICK_BROWSER_TOOLS (default:
build/npm-console), once. Pictures of the pages, light and dark, are left in build/console."""
import http.client
import os
import re
import shutil
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
from fleet import (CLI, CLOUD_US, CORE, FACTORY, LAW, ROOT, FleetTest, background, dataset_yaml, documents, main, read,  # noqa: E402
                   replication_yaml, run, wait_until, write)

BROWSER = "/usr/bin/chromium"
NODE = shutil.which("node") or "/usr/bin/node"
TOOLS = os.path.abspath(os.environ.get("BAILIWICK_BROWSER_TOOLS", os.path.join(ROOT, "build", "npm-console")))


def install_tools():
    """Exactly what the lock file names, unless it is there already."""
    lock = os.path.join(HERE, "package-lock.json")
    installed = os.path.join(TOOLS, "package-lock.json")
    if os.path.isdir(os.path.join(TOOLS, "node_modules", "playwright-core")) and read(installed) == read(lock):
        return
    os.makedirs(TOOLS, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(os.path.join(HERE, name), TOOLS)
    done = run(["npm", "ci", "--loglevel=error"], timeout=200, cwd=TOOLS)
    assert done.code == 0, f"npm could not install what tests/console/package.json names:\n{done}"


class Console:
    """`bailiwick console` while the block runs."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.log = fleet.path("console.log")

    def __enter__(self):
        self.process = background([CLI, "console"], self.log, env=self.fleet.env)
        self.process.__enter__()
        self.link = self.next_link(0)
        self.port, self.base = re.match(r"http://127\.0\.0\.1:(\d+)(/[0-9a-f]+/)\?token=[0-9a-f]{64}$", self.link).groups()
        return self

    def __exit__(self, *problem):
        self.process.__exit__(*problem)

    def links(self):
        return re.findall(r"http://\S+", read(self.log).decode())

    def next_link(self, after):
        return wait_until(lambda: self.links()[after:], what=f"link {after + 1} of the console")[0]

    def ask(self, path, method="GET", host=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=20)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{self.port}", **headers})
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
        connection.close()
        return response.status, response.headers, body

    def enter(self):
        """A cookie, as a browser gets it that opens the newest link."""
        link = self.links()[-1]
        status, headers, body = self.ask(link[link.index(self.base):])
        assert status == 200, body
        return headers["Set-Cookie"].split(";")[0]


# Maps may lie in the EU; the walk forbids them at the factory, where a copy lies.
MAPS = """apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: maps}
spec:
  rules:
  - {id: maps-in-the-eu, effect: permit, actions: [transfer, reside, transit], data: {matchLabels: {class: maps}}, from: {in: [eu]}, to: {in: [eu]}}
"""


# What the walk sends slowly: 16 MiB at 1 MiB/s, until it has seen enough, wanted at core within an hour.
VIDEO = documents("""apiVersion: bailiwick/v1
kind: BandwidthPolicy
metadata: {name: line}
spec: {caps: [{site: factory, limit: 1MiB}]}
""", replication_yaml("films", to="[{site: core}]", select="film: some", more="  rpo: 1h\n"))


class ConsoleTest(FleetTest):
    SITES = (FACTORY, CORE, CLOUD_US)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        source = cls.fleet.path("source")
        for i in range(30):
            write(os.path.join(source, f"f{i}"), os.urandom(3000))
        cls.fleet.apply(documents(dataset_yaml("telemetry", source), replication_yaml()))
        cls.fleet.commit("telemetry", "--message", "night shift")
        write(os.path.join(source, "f0"), b"changed")
        cls.fleet.commit("telemetry", "--message", "day shift")
        write(cls.fleet.path("maps", "hall"), os.urandom(3000))
        cls.fleet.apply(documents(MAPS, dataset_yaml("maps", cls.fleet.path("maps"), site="core", labels="class: maps"),
                                  replication_yaml("maps", to="[{site: factory}]", select="class: maps")))
        cls.fleet.commit("maps")
        cls.fleet.wait_version("maps", 1, "factory")
        write(cls.fleet.path("video", "film"), os.urandom(16 << 20))

    def test_who_may_not_enter(self):
        with Console(self.fleet) as console:
            cookie = console.enter()
            api = console.base + "api/status"
            status, headers, body = console.ask(api, Cookie=cookie)
            self.assertEqual(status, 200, body)
            self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
            self.assertNotIn("unsafe", headers["Content-Security-Policy"])
            refused = {
                "no cookie": (401, dict(path=api)),
                "another cookie": (401, dict(path=api, Cookie=cookie[:-1])),
                "the secret path is not known": (404, dict(path="/api/status", Cookie=cookie)),
                "a page without a session": (401, dict(path=console.base)),
                "a link that was used": (403, dict(path=console.link[console.link.index(console.base):])),
                "a token that never was": (403, dict(path=console.base + "?token=" + 64 * "0")),
                "a name that points here": (421, dict(path=api, host="evil.example", Cookie=cookie)),
                "a name that points here, with the port": (421, dict(path=api, host=f"evil.example:{console.port}", Cookie=cookie)),
                "another origin": (403, dict(path=api, Cookie=cookie, Origin="http://evil.example")),
                "another port": (403, dict(path=api, Cookie=cookie, Origin="http://127.0.0.1:1")),
                "a page of another site": (403, dict(path=api, Cookie=cookie, Sec_Fetch_Site="cross-site")),
                "a form of another site": (403, dict(path=console.base + "api/rollback?dataset=telemetry&number=1", method="POST",
                                                     Cookie=cookie)),
                "no such route": (404, dict(path=console.base + "api/nothing", Cookie=cookie)),
                "a path that leaves the assets": (404, dict(path=console.base + "../api.cc", Cookie=cookie)),
            }
            for what, (expected, request) in refused.items():
                with self.subTest(what):
                    status, headers, body = console.ask(**request)
                    self.assertEqual(status, expected, body)
                    self.assertNotIn("trustDomain", body)
                    self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
            pins = [r["pinned"] for r in self.fleet.json("get", "replicas", "telemetry")["replicas"]]
            self.assertEqual(set(pins), {0}, "a form of another site rolled a dataset back")

    def test_only_loopback(self):
        with Console(self.fleet) as console:
            listening = run(["ss", "-Hltn", f"sport = :{console.port}"]).out.split("\n")
            self.assertEqual([line.split()[3] for line in listening if line], [f"127.0.0.1:{console.port}"])

    def test_page_and_command_say_the_same(self):
        with Console(self.fleet) as console:
            cookie = console.enter()
            for route, command in {
                "why?dataset=telemetry&site=cloud-us": ["why", "telemetry", "cloud-us"],
                "versions?dataset=telemetry": ["dataset", "versions", "telemetry"],
                "policy/explain?dataset=telemetry&from=factory&to=cloud-us":
                    ["policy", "explain", "--dataset", "telemetry", "--from", "factory", "--to", "cloud-us"],
                "policy/reach?dataset=telemetry&to=us": ["policy", "reach", "--dataset", "telemetry", "--to", "us"],
                "policy/history": ["policy", "history"],
                "holds": ["dataset", "holds"],
                "evictions": ["get", "evictions"],
                "redactions?dataset=telemetry": ["get", "redactions", "telemetry"],
                "resources?kind=sites": ["get", "sites"],
            }.items():
                with self.subTest(route):
                    _, _, page = console.ask(f"{console.base}api/{route}", Cookie=cookie)
                    without_clock = lambda text: re.sub(r'"lagSeconds": \d+', "", text)  # noqa: E731
                    self.assertEqual(without_clock(page), without_clock(self.fleet.cli(*command, "-o", "json", expect=None).out))
            for route, code, words in (("why?dataset=telemetri&site=core", 404, "telemetri"), ("versions", 400, "dataset"),
                                       ("policy/explain?dataset=telemetry&from=mars&to=core", 404, "mars")):
                status, _, body = console.ask(f"{console.base}api/{route}", Cookie=cookie)
                self.assertEqual(status, code, body)
                self.assertIn(words, body)

    def test_the_walk(self):
        self.assertTrue(os.path.exists(BROWSER), "chromium is not installed; run: deploy/install-packages.sh")
        install_tools()
        wait_until(lambda: "core" in {log["log"] for log in self.fleet.json("audit", "logs")["logs"]}, timeout=120,
                   what="the coordinator knows the log of core, whose records the walk proves")
        with Console(self.fleet) as console:
            result = run([NODE, os.path.join(HERE, "walk.mjs")], timeout=300, cwd=HERE, env=dict(
                self.fleet.env, CONSOLE_LINK=console.link, BAILIWICK=CLI, FLEET=self.fleet.dir, TOOLS=TOOLS, CHROMIUM=BROWSER,
                PROFILE=self.fleet.path("profile"), PICTURES=os.path.join(ROOT, "build", "console"), VIDEO=documents(
                    VIDEO, dataset_yaml("video", self.fleet.path("video"), labels='class: telemetry, film: some')), FORBID_MAPS=MAPS +
                "  - {id: no-maps-in-halls, effect: forbid, data: {matchLabels: {class: maps}}, to: {in: [eu/de/fra]}}\n"))
            print(result.out)
            self.assertEqual(result.code, 0, result)
        shown = {r["site"]: r["current"] for r in self.fleet.json("get", "replicas", "telemetry")["replicas"]}
        self.assertEqual(shown["core"], 2, "the walk ends with the newest version shown again")


if __name__ == "__main__":
    main()
