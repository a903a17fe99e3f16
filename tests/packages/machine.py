"""A machine to install on, for tests: a root of its own over one that is there, in namespaces of its own.

Everything that a test changes lies in memory and goes with the process. Needs root: fails, rather than skips, without.
"""
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import fleet as f  # noqa: E402
from networks import leave_the_machine  # noqa: E402, F401

STATIC = os.environ.get("BAILIWICK_STATIC_AGENT", os.path.join(ROOT, "build", "static", "bin", "bailiwick-agent"))


def weaknesses(program):
    """What a linker and a compiler could have made harder for whoever finds a memory error, by readelf."""
    def shown(*options):
        done = f.run(["readelf", "--wide", *options, program], env=dict(os.environ, LC_ALL="C"))
        assert done.code == 0, done
        return done.out
    segments, dynamic, symbols = shown("--program-headers"), shown("--dynamic"), shown("--dyn-syms")
    load = re.findall(r"(?m)^  (LOAD|GNU_STACK) +(?:0x\w+ +){5}([RWE ]+) 0x", segments)
    found = {
        "at a fixed address": not re.search("DYN \\(Position-Independent Executable file\\)", shown("--file-header")),
        "relocations stay writable": "GNU_RELRO" not in segments,
        "bound lazily": not re.search(r"FLAGS_1\).*\bNOW\b", dynamic),
        "text is relocated": "TEXTREL" in dynamic,
        "memory that is writable and executable": not load or any("W" in flags and "E" in flags for _, flags in load)}
    if "INTERP" in segments:   # a static program shows no symbols of the C library
        found["no stack protector"] = "__stack_chk_fail" not in symbols
        found["C library is not fortified"] = not re.search(r"\b__\w+_chk\b", symbols.replace("__stack_chk_fail", ""))
    return sorted(what for what, is_so in found.items() if is_so)


class Machine:
    """An overlay over `lower`: reads from there, writes to memory. No service manager runs in it."""

    def __init__(self, lower="/"):
        self.base = tempfile.mkdtemp(prefix="bw-machine-")
        self.root = os.path.join(self.base, "root")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3g", "machine", self.base], check=True)
        for name in ("upper", "work", "root"):
            os.mkdir(os.path.join(self.base, name))
        options = f"lowerdir={lower},upperdir={self.base}/upper,workdir={self.base}/work"
        subprocess.run(["mount", "-t", "overlay", "machine", "-o", options, self.root], check=True)
        for kind, place in (("proc", "proc"), ("sysfs", "sys"), ("tmpfs", "run"), ("tmpfs", "tmp")):
            subprocess.run(["mount", "-t", kind, kind, self.path(place)], check=True)
        subprocess.run(["mount", "--rbind", "/dev", self.path("dev")], check=True)
        self.services = {}

    def close(self):
        for name in list(self.services):
            self.stop(name)
        subprocess.run(["umount", "-R", "-l", self.base], check=False)
        os.rmdir(self.base)

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def inside(self):
        return dict(preexec_fn=lambda: (os.chroot(self.root), os.chdir("/")),
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
                         "DEBIAN_FRONTEND": "noninteractive"})

    def run(self, *command, expect=0, timeout=300, stdin=None):
        result = f.run(list(command), timeout=timeout, stdin=stdin, **self.inside())
        if expect is not None and result.code != expect:
            raise AssertionError(f"exit code {result.code}, expected {expect}\n{result}\n{self.logs()}")
        return result

    def changed(self):
        """Every path that is not as it was below."""
        upper = os.path.join(self.base, "upper")
        return {os.path.relpath(os.path.join(folder, name), upper) for folder, folders, names in os.walk(upper)
                for name in folders + names}

    def run_as(self, user, *command, **options):
        return self.run(*as_user(user), *command, **options)

    def write(self, name, text, mode=0o644):
        f.write(self.path(name), text, mode)

    def copy_in(self, files, folder="/root/packages"):
        os.makedirs(self.path(folder), exist_ok=True)
        for name in files:
            shutil.copy(name, self.path(folder))
        return [os.path.join(folder, os.path.basename(name)) for name in files]

    # --- services by hand, as their units say
    def unit(self, name):
        places = (self.path(f"{folder}/{name}.service") for folder in ("/etc/systemd/system", "/lib/systemd/system"))
        return Unit(f.read(next(p for p in places if os.path.isfile(p))).decode())

    def start(self, name):
        """As the unit says, up to READY=1 (Type=notify) or its end (oneshot). None: a condition does not hold."""
        unit = self.unit(name)
        if not all(os.path.lexists(self.path(c.lstrip("!"))) != c.startswith("!") for c in unit.all("ConditionPathExists")):
            return None
        service = HandService(self, name, unit)
        if unit.one("Type") == "oneshot":
            with service.socket:
                return service.process.wait(120)
        self.services[name] = service
        service.wait_for("READY=1")
        return service

    def stop(self, name):
        self.services.pop(name).stop()

    def logs(self):
        return "\n".join(f"== {name}\n{text[-3000:]}" for name, text in ((n, self.log(n)) for n in self.log_names()))

    def log_names(self):
        return sorted(n[:-4] for n in os.listdir(self.path("run")) if n.endswith(".log"))

    def log(self, name):
        return f.read(self.path(f"/run/{name}.log")).decode(errors="replace")


def as_user(user):
    group = {"nobody": "nogroup"}.get(user, user)
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
            "--inh-caps=-all"]


class Unit:
    def __init__(self, text):
        self.entries = re.findall(r"(?m)^([A-Za-z]+)=(.*)$", text)

    def all(self, key):
        return [value for name, value in self.entries if name == key]

    def one(self, key):
        return self.all(key)[-1]


class HandService:
    """What systemd does for such a unit, as far as a test can do it: user, state directory, credentials, readiness."""

    def __init__(self, machine, name, unit):
        user = pwd_of(machine, unit.one("User"))
        state = machine.path("/var/lib/" + unit.one("StateDirectory"))
        os.makedirs(state, exist_ok=True)
        os.chmod(state, int(unit.one("StateDirectoryMode"), 8))
        os.chown(state, user.pw_uid, user.pw_gid)
        inside = machine.inside()
        env = inside["env"]
        for credential in unit.all("LoadCredential"):
            env["CREDENTIALS_DIRECTORY"] = f"/run/credentials-{name}"
            key, source = credential.split(":", 1)
            copy = machine.path(f"/run/credentials-{name}/{key}")
            f.write(copy, f.read(machine.path(source)), 0o400)
            for path in (copy, os.path.dirname(copy)):
                os.chown(path, user.pw_uid, user.pw_gid)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify = machine.path(f"/run/{name}.notify")
        if os.path.exists(notify):
            os.unlink(notify)
        self.socket.bind(notify)
        self.socket.settimeout(60)
        os.chmod(notify, 0o666)
        env.update(NOTIFY_SOCKET=f"/run/{name}.notify", WATCHDOG_USEC="4000000")
        command = [re.sub(r"\$\{(\w+)\}", lambda m: env[m.group(1)], word) for word in unit.one("ExecStart").split()]
        self.command = command
        self.machine, self.name = machine, name
        with open(machine.path(f"/run/{name}.log"), "ab") as log:
            self.process = subprocess.Popen(as_user(unit.one("User")) + command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            umask=int(unit.one("UMask"), 8), **inside)

    def wait_for(self, line):
        while True:
            try:
                if line in self.socket.recv(4096).decode().split("\n"):
                    return
            except socket.timeout:
                raise AssertionError(f"{self.name} does not say {line}\n{self.machine.logs()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.socket.close()


def pwd_of(machine, user):
    line = machine.run("getent", "passwd", user).out.strip().split(":")
    return pwd.struct_passwd(line[:2] + [int(line[2]), int(line[3])] + line[4:])


def other_version(package, version, folder):
    """The same package under another version, as the next build would make it."""
    with tempfile.TemporaryDirectory(prefix="bw-deb-") as unpacked:
        tree = os.path.join(unpacked, "tree")
        subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
        control = os.path.join(tree, "DEBIAN", "control")
        f.write(control, re.sub(r"(?m)^Version: .*$", f"Version: {version}", f.read(control).decode()))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, folder], check=True, stdout=subprocess.DEVNULL)
