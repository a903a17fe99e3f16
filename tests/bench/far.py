"""A far link between a peer's two ends (farlink/farlink.cc), and for how long it was in use."""
import subprocess
import threading
import time

RTT_MS, MBIT = 100, 1000
SAMPLE_S = 0.1
IN_USE = 0.02   # of what the link carries: less is keepalives and handshakes


class FarLink:
    """Runs while the block does; `port` leads to the target."""

    def __init__(self, binary, target):
        self.command = [binary, str(target), "--rtt-ms", str(RTT_MS), "--mbit", str(MBIT)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.samples, self.stopping = [], threading.Event()
        self.sampler = threading.Thread(target=self.sample, daemon=True)
        self.sampler.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.sampler.join()
        self.process.terminate()
        self.process.communicate()

    def carried(self):
        with open(f"/proc/{self.process.pid}/io") as f:
            return int(f.readline().split()[1])

    def sample(self):
        while not self.stopping.wait(SAMPLE_S):
            self.samples.append((time.monotonic(), self.carried()))

    def share(self, since):
        """Of what the link could carry, from the first to the last moment of use since then, what it did: percent."""
        rows = [s for s in self.samples if s[0] >= since]
        used = [(a, b) for a, b in zip(rows, rows[1:]) if (b[1] - a[1]) * 8e-6 > IN_USE * MBIT * (b[0] - a[0])]
        if not used:
            return None
        seconds, carried = used[-1][1][0] - used[0][0][0], used[-1][1][1] - used[0][0][1]
        return round(100 * carried * 8e-6 / MBIT / seconds)
