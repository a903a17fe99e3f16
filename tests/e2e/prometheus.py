"""A real Prometheus (Debian's package) that scrapes what a test started."""
import json
import os
import re
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request

import fleet as f

SHIPPED = os.path.join(f.ROOT, "deploy", "observability")


def tool(name):
    path = shutil.which(name)
    if path is None:
        raise AssertionError(f"{name} is missing: install Debian's package prometheus")
    return path


def get(address, path, **headers):
    """Status, content type and text."""
    request = urllib.request.Request(f"http://{address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def told(fleet, name):
    """What the coordinator's page says of a metric without labels; None: nothing."""
    address = json.loads(f.read(os.path.join(fleet.dir, "coordinator", "endpoints.json")))["metrics"]
    found = re.search(rf"(?m)^{name} (\S+)$", get(address, "/metrics")[2])
    return None if found is None else float(found.group(1))


class Prometheus:
    """A server of its own, every second; `with` gives a function that asks its API: ask("query", query="up")."""

    def __init__(self, directory, rules, scrape_configs):
        self.directory, self.rules, self.scrape_configs = directory, rules, scrape_configs

    def __enter__(self):
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [self.rules],
                  "scrape_configs": self.scrape_configs}
        os.makedirs(self.directory)
        path = f.write(os.path.join(self.directory, "prometheus.yaml"), json.dumps(config))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.running = f.background([tool("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={self.directory}/data",
                                     f"--web.listen-address={self.address}", "--log.level=warn"],
                                    os.path.join(self.directory, "log"))
        process = self.running.__enter__()
        f.wait_until(lambda: process.poll() is not None or self.answers(), what="Prometheus to serve")
        if process.poll() is not None:
            raise AssertionError(f.read(os.path.join(self.directory, "log")).decode())
        return self.ask

    def __exit__(self, *why):
        return self.running.__exit__(*why)

    def answers(self):
        try:
            return get(self.address, "/-/ready")[0] == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def ask(self, what, **parameters):
        status, _, text = get(self.address, f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}")
        if status != 200:
            raise AssertionError(f"{what} {parameters}: {text}")
        return json.loads(text)["data"]
