"""Networks of a test's own, and fleets on them: namespaces, a name server, sites that are somewhere else than on 127.0.0.1.

What is changed goes with the process; the machine never sees it. Needs root: fails, rather than skips, without.
"""
import contextlib
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

import fleet as f

CLONE_NEWNS, CLONE_NEWNET, MS_BIND, MS_REC, MS_PRIVATE = 0x00020000, 0x40000000, 0x1000, 0x4000, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)


def leave_the_machine():
    """From now on mounts and network are this process's own; only a loopback is left."""
    if os.geteuid() != 0:
        sys.exit("run as root or with sudo: namespaces need it")
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        sys.exit(f"cannot have namespaces of its own: {os.strerror(ctypes.get_errno())}")
    ip("link", "set", "lo", "up")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def in_place_of(path, text, folder):
    """While this process lives, those in its namespace read this text there."""
    mine = f.write(os.path.join(folder, os.path.basename(path)), text)
    if libc.mount(mine.encode(), path.encode(), None, MS_BIND, None) != 0:
        sys.exit(f"cannot put a file in place of {path}: {os.strerror(ctypes.get_errno())}")


class Island:
    """A network from which one address is in reach, this side's end of a cable, and nothing else."""

    def __init__(self, here, there):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        f.wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, what="its network")
        ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(self.holder.pid))
        ip("addr", "add", here + "/24", "dev", "cable")
        ip("link", "set", "cable", "up")
        for command in (("link", "set", "lo", "up"), ("addr", "add", there + "/24", "dev", "cable"), ("link", "set", "cable", "up")):
            subprocess.run([*self.inside, "ip", *command], check=True)

    @property
    def inside(self):
        """What to put before a command that is to run there."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"]

    def close(self):
        self.holder.kill()
        self.holder.wait()


class NameServer:
    """Answers for the names that it knows (IPv4); for others, that there is no such name. `names` may change at any time."""

    def __init__(self, address="127.0.0.1"):
        self.names, self.asked = {}, []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            query, peer = self._socket.recvfrom(512)
            with contextlib.suppress(Exception):
                self._socket.sendto(self._answer(query), peer)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        (kind,) = struct.unpack(">H", query[at + 1:at + 3])
        name = ".".join(labels).lower()
        self.asked.append(name)
        address = self.names.get(name)
        question = query[12:at + 5]
        found = address is not None and kind == 1
        head = query[:2] + struct.pack(">HHHHH", 0x8580 if address else 0x8583, 1, found, 0, 0)
        return head + question + (b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address) if found else b"")


class Installation(f.Fleet):
    """As an operator sets it up by hand: no `dev up`, addresses of any kind. The layout of directories is a Fleet's."""

    def __init__(self):
        super().__init__(directory=None)
        self.processes, self.stack = {}, contextlib.ExitStack()

    def __enter__(self):
        self.run_once(f.COORDINATOR, "init", "--data-dir", self.coordinator_dir, "--trust-domain", "acme.test", "--admin-dir",
                      os.path.join(self.dir, "admin"))
        made = self.run_once(f.CLI, "policy", "keygen", "--out", os.path.join(self.dir, "policy.pem"), "-o", "json")
        self.root = json.loads(made.out)["policyRootSha256"]
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print(f"\n--- the installation's last words ({kind.__name__})\n{self.logs()}", file=sys.stderr)
        self.stack.close()
        f.remove_tree(self.base)

    @property
    def coordinator_dir(self):
        return os.path.join(self.dir, "coordinator")

    def run_once(self, *command, expect=f.OK, **options):
        result = f.run(list(command), **options)
        if result.code != expect:
            raise AssertionError(f"exit code {result.code}, expected {expect}\n{result}\n{self.logs()}")
        return result

    def start(self, name, command, directory):
        """Serves once this returns. The log goes on where it was."""
        endpoints = os.path.join(directory, "endpoints.json")
        with contextlib.suppress(OSError):
            os.remove(endpoints)
        path = os.path.join(self.dir, "coordinator.log" if name == "coordinator" else f"sites/{name}.log")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        log = self.stack.enter_context(open(path, "ab"))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.stack.callback(self.stop_process, process)
        self.processes[name] = process
        f.wait_until(lambda: os.path.exists(endpoints) or process.poll() is not None, what=f"{name} serves")
        if process.poll() is not None:
            raise AssertionError(f"{name} ended at once\n{self.logs()}")
        return json.loads(f.read(endpoints))

    @staticmethod
    def stop_process(process):
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self, name):
        self.stop_process(self.processes.pop(name))

    def serve(self, control, join, *flags):
        """The coordinator, and a context of the admin for it."""
        found = self.start("coordinator", [f.COORDINATOR, "serve", "--data-dir", self.coordinator_dir, "--control-listen", control,
                                           "--join-listen", join, *flags], self.coordinator_dir)
        self.point_at(found["control"])
        return found

    def point_at(self, coordinator, more=""):
        f.write(os.path.join(self.dir, "context.yaml"), f"coordinator: \"{coordinator}\"\ntrustDomain: acme.test\ncredentials: admin\n"
                f"policyKeys: [policy.pem]\npolicyRootSha256: {self.root}\n{more}")

    def join(self, site, *flags, inside=(), token=None):
        """A site that is declared gets its agent, approved."""
        token = token or self.json("site", "join-token", site)["join"]
        file = f.write(os.path.join(self.dir, f"{site}.join"), token, mode=0o600)
        self.run_once(*inside, f.AGENT, "join", "--data-dir", self.data(site), "--join-file", file, *flags)
        self.cli("site", "approve", site)

    def agent(self, site, *flags, inside=()):
        return self.start(site, [*inside, f.AGENT, "run", "--data-dir", self.data(site), *flags], self.data(site))

    def declare(self, **regions):
        """Sites and the regions they are in."""
        paths = {"/".join(r.split("/")[:n + 1]) for r in regions.values() for n in range(r.count("/") + 1)}
        documents = [f"apiVersion: bailiwick/v1\nkind: Region\nmetadata: {{name: {p}}}\nspec: {{}}" for p in sorted(paths)]
        documents += [f"apiVersion: bailiwick/v1\nkind: Site\nmetadata: {{name: {s}}}\nspec:\n  region: {r}" for s, r in regions.items()]
        self.apply(f.documents(*documents))

    def connected(self):
        return {a["site"] for a in self.json("agent", "list")["agents"] if a["connected"]}

    def wait_connected(self, *sites, timeout=60):
        f.wait_until(lambda: set(sites) <= self.connected(), timeout=timeout, what=f"connected: {', '.join(sites)}")
