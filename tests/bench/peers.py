"""Bailiwick and its peers as the benchmark drives them: a context manager with sync(), which brings the destination up to the source and
returns it. All processes are started here, on the loopback interface, and ended here."""
import json
import os
import subprocess
import time
import urllib.request

import far


def quiet(command, **options):
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise SystemExit(f"compare: {command} failed ({result.returncode}):\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return result.stdout


class Peer:
    IGNORE = ()
    FANS_OUT = False   # whether it can be asked for several copies

    def __init__(self, work, source, options):
        self.work, self.source, self.options = work, source, options
        self.destination = os.path.join(work, "dst")
        self.processes = []
        self.link = None

    @staticmethod
    def NEEDS(_):
        return []

    def __enter__(self):
        os.makedirs(self.destination)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        if self.link is not None:
            self.link.__exit__()

    def through(self, port):
        """The port by which the other end reaches this one: over the far link, when there is one."""
        if not self.options.far:
            return port
        if self.link is None:
            self.link = far.FarLink(os.path.join(self.options.bin, "farlink"), port).__enter__()
        return self.link.port

    def background(self, command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process

    def figures(self):
        return {}


class Bailiwick(Peer):
    """A coordinator and two sites of the local fleet (or more, in another region than the home); chunk size as the data asks for (a
    checkpoint's are larger)."""
    FANS_OUT = True

    @staticmethod
    def NEEDS(options):
        return [os.path.join(options.bin, n) for n in ("bailiwick", "bailiwick-agent", "bailiwick-coordinator")]

    def cli(self, *arguments, stdin=None):
        return quiet([os.path.join(self.options.bin, "bailiwick"), *arguments], input=stdin,
                     env=dict(os.environ, BAILIWICK_CONTEXT=self.fleet))

    def __enter__(self):
        self.fleet = os.path.join(self.work, "fleet")
        self.cli("dev", "up", "--dir", self.fleet, "--site", "a=eu",
                 *(x for site in self.copies() for x in ("--site", f"{site}={'eu' if self.options.copies == 1 else 'us'}")))
        size = f"\n  chunkSize: {self.options.chunk_size}" if self.options.chunk_size else ""
        self.cli("apply", "-f", "-", stdin=f"""
apiVersion: bailiwick/v1
kind: Dataset
metadata: {{name: bench, labels: {{class: bench}}}}
spec:
  home: {{site: a, path: {self.source}}}
  commit: {{onRequest: true}}{size}
---
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {{name: bench}}
spec: {{select: {{matchLabels: {{class: bench}}}}, to: [{", ".join(f"{{site: {site}}}" for site in self.copies())}]}}
---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {{name: bench}}
spec: {{rules: [{{id: anywhere, effect: permit, actions: [transfer, reside, transit]}}]}}
""")
        if self.options.far:
            self.move_away()
        return self

    def processes_of_fleet(self):
        return json.loads(self.cli("dev", "status", "--dir", self.fleet, "-o", "json"))["processes"]

    def move_away(self):
        """Starts the home's agent anew so that others reach it over the far link."""
        address = next(p["address"] for p in self.processes_of_fleet() if p["name"] == "a")
        host, port = address.split(":")
        self.cli("dev", "stop", "a", "--dir", self.fleet)
        self.background([os.path.join(self.options.bin, "bailiwick-agent"), "run", "--data-dir", os.path.join(self.fleet, "sites", "a"),
                         "--listen", address, "--advertise", f"{host}:{self.through(int(port))}"])
        endpoint = f"{host}:{self.link.port}"
        while not any(site["connected"] and site["endpoint"] == endpoint
                      for site in json.loads(self.cli("status", "-o", "json"))["sites"]):
            time.sleep(0.1)

    def copies(self):
        return "bcdefgh"[:self.options.copies]

    def sync(self):
        self.cli("dataset", "commit", "bench", "--wait")
        return os.path.join(self.fleet, "sites", "b", "replicas", "bench", "current")

    def agents(self):
        return [p["pid"] for p in self.processes_of_fleet() if p["name"] in ("a", "b") and p["running"]] + [
            p.pid for p in self.processes]

    def figures(self):
        peak = 0
        for pid in self.agents():
            with open(f"/proc/{pid}/status") as f:
                peak = max(peak, next(int(line.split()[1]) for line in f if line.startswith("VmHWM:")))
        # The home's state beside the packs' content: indexes, scan cache, databases.
        state = 0
        site = os.path.join(self.fleet, "sites", "a")
        for folder, _, names in os.walk(site):
            state += sum(os.path.getsize(os.path.join(folder, n)) for n in names if not n.endswith(".pack"))
        return {"rss_mib": round(peak / 1024, 1), "state_mib": round(state / 2**20, 1)}

    def __exit__(self, *_):
        super().__exit__()
        self.cli("dev", "down", "--dir", self.fleet)


class Ssh(Peer):
    """A server of our own for the peers that go over ssh."""
    PORT = 22022

    def __enter__(self):
        super().__enter__()
        self.keys = os.path.join(self.work, "ssh")
        os.makedirs(self.keys, mode=0o700)
        for name in ("host", "id"):
            quiet(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(self.keys, name)])
        os.rename(os.path.join(self.keys, "id.pub"), os.path.join(self.keys, "authorized"))
        os.makedirs("/run/sshd", exist_ok=True)
        with open(os.path.join(self.keys, "config"), "w") as f:
            f.write(f"Port {self.PORT}\nListenAddress 127.0.0.1\nHostKey {self.keys}/host\nAuthorizedKeysFile {self.keys}/authorized\n"
                    f"StrictModes no\nPidFile {self.keys}/pid\nSubsystem sftp internal-sftp\nPermitRootLogin yes\n")
        self.background(["/usr/sbin/sshd", "-D", "-f", os.path.join(self.keys, "config")])
        self.through(self.PORT)
        time.sleep(0.5)
        return self

    @property
    def ssh(self):
        return (f"ssh -p {self.through(self.PORT)} -i {self.keys}/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
                "-o LogLevel=ERROR")


class RsyncSsh(Ssh):
    FANS_OUT = True

    @staticmethod
    def NEEDS(_):
        return ["rsync", "/usr/sbin/sshd"]

    def sync(self):
        for n in range(self.options.copies):
            quiet(["rsync", "-a", "--delete", "-e", self.ssh, self.source + "/", f"127.0.0.1:{self.destination}{n or ''}/"])
        return self.destination


class Rclone(Ssh):
    @staticmethod
    def NEEDS(_):
        return ["rclone", "/usr/sbin/sshd"]

    def sync(self):
        remote = f":sftp,host=127.0.0.1,port={self.through(self.PORT)},user=root,key_file={self.keys}/id,shell_type=unix:{self.destination}"
        quiet(["rclone", "sync", "--transfers", "8", "--checkers", "8", self.source, remote])
        return self.destination


class RsyncDaemon(Peer):
    """No encryption, no login: the fastest that a copy can be asked for."""
    FANS_OUT = True
    PORT = 22023

    @staticmethod
    def NEEDS(_):
        return ["rsync"]

    def __enter__(self):
        super().__enter__()
        config = os.path.join(self.work, "rsyncd.conf")
        with open(config, "w") as f:
            f.write(f"use chroot=no\nport={self.PORT}\naddress=127.0.0.1\nuid=root\ngid=root\nread only=no\n" +
                    "".join(f"[dst{n or ''}]\npath={self.destination}{n or ''}\n" for n in range(self.options.copies)))
        self.background(["rsync", "--daemon", "--no-detach", f"--config={config}"])
        self.through(self.PORT)
        time.sleep(0.5)
        return self

    def sync(self):
        for n in range(self.options.copies):
            os.makedirs(f"{self.destination}{n or ''}", exist_ok=True)
            quiet(["rsync", "-a", "--delete", self.source + "/", f"rsync://127.0.0.1:{self.through(self.PORT)}/dst{n or ''}/"])
        return self.destination


class Syncthing(Peer):
    IGNORE = (".stfolder",)
    PORTS = {"a": (22031, 22033), "b": (22032, 22034)}   # sync, API

    @staticmethod
    def NEEDS(_):
        return ["syncthing"]

    def __enter__(self):
        super().__enter__()
        self.homes = {n: os.path.join(self.work, f"syncthing-{n}") for n in "ab"}
        self.ids = {}
        for n, home in self.homes.items():
            quiet(["syncthing", "generate", f"--home={home}", "--no-default-folder"])
            self.ids[n] = quiet(["syncthing", "--home", home, "--device-id"]).strip()
        self.started = False
        self.through(self.PORTS["a"][0])
        return self

    def config(self, n, path):
        other = "b" if n == "a" else "a"
        kind = "sendonly" if n == "a" else "receiveonly"
        # Over a far link one of them dials: two connections would be two ways.
        dialled = "dynamic" if self.options.far and n == "a" else f"tcp://127.0.0.1:{self.through(self.PORTS[other][0])}"
        address = f"<address>{dialled}</address>"
        off = "".join(f"<{name}>false</{name}>" for name in (
            "globalAnnounceEnabled", "localAnnounceEnabled", "relaysEnabled", "natEnabled", "crashReportingEnabled"))
        with open(os.path.join(self.homes[n], "config.xml"), "w") as f:
            f.write(f"""<configuration version="36">
<folder id="f" label="f" path="{path}" type="{kind}" rescanIntervalS="0" fsWatcherEnabled="false" ignorePerms="false">
<device id="{self.ids['a']}"></device><device id="{self.ids['b']}"></device></folder>
<device id="{self.ids[n]}" name="{n}"><address>dynamic</address></device>
<device id="{self.ids[other]}" name="{other}" compression="metadata">{address}</device>
<gui enabled="true" tls="false"><address>127.0.0.1:{self.PORTS[n][1]}</address><apikey>k</apikey></gui>
<options><listenAddress>tcp://127.0.0.1:{self.PORTS[n][0]}</listenAddress>{off}<urAccepted>-1</urAccepted>
<autoUpgradeIntervalH>0</autoUpgradeIntervalH><reconnectionIntervalS>1</reconnectionIntervalS></options></configuration>""")

    def api(self, n, path, post=False):
        request = urllib.request.Request(f"http://127.0.0.1:{self.PORTS[n][1]}{path}", headers={"X-API-Key": "k"},
                                         method="POST" if post else "GET", data=b"" if post else None)
        return json.loads(urllib.request.urlopen(request, timeout=60).read() or b"null")

    def settled(self):
        a, b = (self.api(n, "/rest/db/status?folder=f") for n in "ab")
        return (a["state"] == "idle" and b["state"] == "idle" and a["localFiles"] > 0 and b["needTotalItems"] == 0 and
                b["globalBytes"] == a["localBytes"] == b["localBytes"] and b["localFiles"] == a["localFiles"])

    def sync(self):
        if not self.started:
            self.started = True
            for n, path in (("a", self.source), ("b", self.destination)):
                self.config(n, path)
                self.background(["syncthing", "serve", "--home", self.homes[n], "--no-browser", "--no-restart"],
                                env=dict(os.environ, STNOUPGRADE="1"))
        else:
            self.api("a", "/rest/db/scan?folder=f", post=True)
        calm = 0
        for _ in range(4 * 1200):
            time.sleep(0.25)
            try:
                calm = calm + 1 if self.settled() else 0
            except OSError:
                calm = 0
            if calm == 2:
                return self.destination
        raise SystemExit("compare: syncthing did not settle in 20 minutes")


PEERS = {"bailiwick": Bailiwick, "rsync-ssh": RsyncSsh, "rsync-daemon": RsyncDaemon, "rclone": Rclone, "syncthing": Syncthing}
