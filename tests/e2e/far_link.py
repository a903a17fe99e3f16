"""A site that others reach only over a far link (tests/bench/farlink), which can be cut and mended."""
import contextlib
import json
import os
import signal
import subprocess

import fleet as f

FARLINK = os.path.join(f.BIN, "farlink")


class Link:
    """From `port` to the target. Delays, limits, and counts what it carries, both ways of all its lives."""

    def __init__(self, target, rtt_ms, mbit, kbyte):
        self.command = [FARLINK, str(target), "--rtt-ms", str(rtt_ms), "--mbit", str(mbit)]
        if kbyte is not None:  # a second; slow enough to need a short queue
            self.command += ["--kbit", str(8 * kbyte), "--queue-kib", "16"]
        self.port, self.up, self.down, self.process = 0, 0, 0, None
        self.mend()

    def mend(self):
        self.process = subprocess.Popen(self.command + ["--listen", str(self.port)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def cut(self):
        """Every connection breaks, and nobody gets through until it is mended."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        _, up, down = self.process.communicate()[0].split()[-3:]
        self.up, self.down, self.process = self.up + int(up), self.down + int(down), None


@contextlib.contextmanager
def far_away(fleet, site, rtt_ms=100, mbit=1000, kbyte=None):
    """The site's agent anew, so that its peers come to it over the link that this gives."""
    status = fleet.json("dev", "status", "--dir", fleet.dir)
    address = next(p["address"] for p in status["processes"] if p["name"] == site)
    host, port = address.split(":")
    link = Link(port, rtt_ms, mbit, kbyte)
    endpoint = f"{host}:{link.port}"
    fleet.dev("stop", site)
    try:
        with f.background([f.AGENT, "run", "--data-dir", fleet.data(site), "--listen", address, "--advertise", endpoint],
                          os.path.join(fleet.dir, "sites", site + ".log")):
            f.wait_until(lambda: any(s["connected"] and s["endpoint"] == endpoint for s in json.loads(
                fleet.cli("status", "-o", "json").out)["sites"]), what=f"{site} is back, far away")
            yield link
    finally:
        link.cut()
    fleet.dev("start", site)
