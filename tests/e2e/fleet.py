"""Drives real processes through the command line, as a user would: a fleet, directories full of odd files, comparisons.

Only Python's standard library. BAILIWICK_BIN names the directory of the three binaries (default: build/dev/bin).
"""
import contextlib
import fcntl
import json
import os
import random
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BIN = os.environ.get("BAILIWICK_BIN", os.path.join(ROOT, "build", "dev", "bin"))
CLI = os.path.join(BIN, "bailiwick")
AGENT = os.path.join(BIN, "bailiwick-agent")
COORDINATOR = os.path.join(BIN, "bailiwick-coordinator")

OK, FAILED, USAGE, DENIED, NOT_FOUND, CONFLICT, UNAVAILABLE = range(7)

FACTORY = "factory=eu/de/fra,tier=edge"
CORE = "core=eu/de,tier=onprem"
CLOUD_US = "cloud-us=us/east,tier=cloud"
THREE_SITES = (FACTORY, CORE, CLOUD_US)


class Result:
    def __init__(self, command, code, out, err, seconds):
        self.command, self.code, self.out, self.err, self.seconds = command, code, out, err, seconds

    @property
    def text(self):
        return self.out + self.err

    def __str__(self):
        shown = " ".join(repr(c) if " " in c else c for c in self.command)
        return f"$ {shown}\nexit {self.code} after {self.seconds:.1f} s\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def run(command, timeout=120, env=None, cwd=None, stdin=None, **extra):
    """Runs to the end; output as text. A command that outlives its time fails the test with what it said."""
    started = time.monotonic()
    process = subprocess.Popen([os.fsencode(c) if isinstance(c, str) else c for c in command], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd, **extra)
    try:
        out, err = process.communicate((stdin or "").encode(), timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"no end after {timeout} s: {command}\n{out.decode(errors='replace')}\n{err.decode(errors='replace')}")
    return Result([str(c) for c in command], process.returncode, out.decode(errors="replace"), err.decode(errors="replace"),
                  time.monotonic() - started)


def at_terminal(command, answer="\n", timeout=120, env=None, whole=False):
    """As run, where standard input and error are a terminal of 120 columns, and with `whole` standard output too; the answer is typed
    before it is asked for. What the terminal shows is the result's err, the answer's echo included."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    started, shown = time.monotonic(), []
    process = subprocess.Popen(command, stdin=slave, stdout=slave if whole else subprocess.PIPE, stderr=slave, env=env)
    os.close(slave)
    os.write(master, answer.encode())

    def read_terminal():
        with contextlib.suppress(OSError):   # nobody writes to it any more
            while data := os.read(master, 1 << 16):
                shown.append(data)
    reader = threading.Thread(target=read_terminal)
    reader.start()
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"no end after {timeout} s: {command}\n{b''.join(shown).decode(errors='replace')}")
    finally:
        reader.join()
        os.close(master)
    text = b"".join(shown).decode(errors="replace").replace("\r\n", "\n")
    return Result([str(c) for c in command], process.returncode, (out or b"").decode(errors="replace"), text, time.monotonic() - started)


def commands_of(program, *above):
    """The words of each command that is not a group, as the help shows them."""
    return [words for words, shown in helps_of(program, *above) if not re.search(r"(?m)^Subcommands:$", shown)]


def helps_of(program, *above):
    """The words of each command and group with its help, the program's own first."""
    shown = run([program, *above, "--help"]).out
    found = [(above, shown)]
    below = re.search(r"(?ms)^Subcommands:\n(.*?)(^\S|\Z)", shown)
    for name in re.findall(r"(?m)^  (\w\S*)", below.group(1)) if below else ():
        found += helps_of(program, *above, name)
    return found


@contextlib.contextmanager
def background(command, log, **options):
    """A process that runs while the block does; SIGTERM at its end. What it says goes to the file."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition, timeout=60, what="the condition", step=0.05):
    """The value of condition() once it is true."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout} s still not: {what}")
        time.sleep(step)


class Fleet:
    """A coordinator and one agent a site under a temporary directory; taken down and removed at exit.

    BAILIWICK_KEEP=1 keeps the directory of a fleet (and names it) for a look at its logs."""

    def __init__(self, *sites, directory=None):
        self.base = directory or tempfile.mkdtemp(prefix="bw-e2e-")
        self.owns = directory is None
        self.dir = os.path.join(self.base, "fleet")
        self.sites = sites or THREE_SITES
        self.stopped = set()   # by us; whatever else does not run at the end has died

    def __enter__(self):
        arguments = ["dev", "up", "--dir", self.dir]
        for site in self.sites:
            arguments += ["--site", site]
        try:
            result = run([CLI] + arguments, timeout=120)
            if result.code != OK:
                raise AssertionError(f"dev up failed\n{result}\n{self.logs()}")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, *_):
        dead = self.died() if kind is None else []
        if kind is not None or dead:
            print(f"\n--- the fleet's last words ({kind.__name__ if kind else dead})\n{self.logs()}", file=sys.stderr)
        if os.path.isdir(self.dir):
            run([CLI, "dev", "down", "--dir", self.dir], timeout=60)
        if self.owns:
            if os.environ.get("BAILIWICK_KEEP"):
                print(f"kept: {self.base}", file=sys.stderr)
            else:
                remove_tree(self.base)
        if dead:
            raise AssertionError(f"died by themselves: {', '.join(dead)}")

    def died(self):
        """Processes that should run and do not."""
        status = run([CLI, "dev", "status", "--dir", self.dir, "-o", "json"])
        if status.code != OK:
            return []
        return [p["name"] for p in json.loads(status.out)["processes"] if not p["running"] and p["name"] not in self.stopped]

    def logs(self, lines=25):
        text = []
        names = [os.path.join(self.dir, "coordinator.log")]
        with contextlib.suppress(OSError):
            names += sorted(e.path for e in os.scandir(os.path.join(self.dir, "sites")) if e.name.endswith(".log"))
        for name in names:
            with contextlib.suppress(OSError), open(name, errors="replace") as log:
                text.append(f"== {name}\n" + "".join(log.readlines()[-lines:]))
        return "\n".join(text)

    # --- where things are
    def data(self, site):
        return os.path.join(self.dir, "sites", site)

    def audit(self, site):
        """The records of a site's audit log, one a line, as text."""
        return audit_text(os.path.join(self.data(site), "audit"))

    def replica(self, site, dataset, *more):
        return os.path.join(self.data(site), "replicas", dataset, *more)

    def current(self, site, dataset):
        return self.replica(site, dataset, "current")

    def log(self, name):
        path = os.path.join(self.dir, "coordinator.log") if name == "coordinator" else os.path.join(
            self.dir, "sites", name + ".log")
        with open(path, errors="replace") as f:
            return f.read()

    def path(self, *names):
        """A place beside the fleet for sources and the like."""
        return os.path.join(self.base, *names)

    # --- the command line
    @property
    def env(self):
        return dict(os.environ, BAILIWICK_CONTEXT=self.dir)

    def cli(self, *arguments, expect=OK, timeout=120, stdin=None, cwd=None):
        result = run([CLI] + list(arguments), timeout=timeout, env=self.env, stdin=stdin, cwd=cwd)
        if expect is not None and result.code != expect:
            raise AssertionError(f"exit code {result.code}, expected {expect}\n{result}\n{self.logs()}")
        return result

    def at_terminal(self, *arguments, answer="\n", expect=OK, timeout=120):
        """As cli, by somebody who sits before it: see at_terminal."""
        result = at_terminal([CLI, *arguments], answer, timeout, self.env)
        if expect is not None and result.code != expect:
            raise AssertionError(f"exit code {result.code}, expected {expect}\n{result}\n{self.logs()}")
        return result

    def json(self, *arguments, **options):
        result = self.cli(*arguments, "-o", "json", **options)
        try:
            value = json.loads(result.out)
        except ValueError as error:
            raise AssertionError(f"not JSON: {error}\n{result}")
        return value

    def apply(self, yaml, expect=OK):
        return self.cli("apply", "-f", "-", stdin=yaml, expect=expect)

    def commit(self, dataset, *arguments, wait=True, expect=OK, timeout=300):
        return self.cli("dataset", "commit", dataset, *(["--wait"] if wait else []), *arguments, expect=expect, timeout=timeout)

    def wait_version(self, dataset, number, site, timeout=60, expect=OK):
        return self.cli("wait", "dataset", dataset, "--version", str(number), "--site", site, "--timeout", f"{timeout}s",
                        timeout=timeout + 20, expect=expect)

    def verify(self, dataset, site, expect=OK):
        return self.cli("dataset", "verify", dataset, "--site", site, timeout=300, expect=expect)

    def transfers(self, dataset=None, version=None, destination=None):
        """Newest last."""
        rows = rows_of(self.json("transfer", "list"))
        rows = [r for r in rows if (dataset is None or r["dataset"] == dataset) and
                (version is None or int(r["version"]) == version) and
                (destination is None or r["destination"] == destination)]
        return sorted(rows, key=lambda r: r.get("started") or "")

    def wire_bytes(self, dataset, version, destination):
        """Of a version that has arrived; the last word about a transfer may come a moment after."""
        def total():
            return sum(int(r.get("wireBytes", 0)) for r in self.transfers(dataset, version, destination))
        with contextlib.suppress(AssertionError):
            wait_until(total, timeout=2)
        return total()

    def dev(self, *arguments, expect=OK, timeout=90):
        if arguments[0] in ("stop", "kill"):
            self.stopped.add(arguments[1])
        elif arguments[0] == "start":
            self.stopped.discard(arguments[1])
        return self.cli("dev", *arguments, "--dir", self.dir, expect=expect, timeout=timeout)

    def restart(self, name, how="stop"):
        self.dev(how, name)
        self.dev("start", name)

    def set_dial(self, site, dial):
        """Rewrites the Site with this dial mode and restarts its agent."""
        yaml = self.cli("get", "site", site, "-o", "yaml").out
        yaml = re.sub(r"(?m)^\s*dial:.*\n", "", yaml)
        yaml = re.sub(r"(?m)^spec:\s*$", f"spec:\n  dial: {dial}", yaml)
        assert f"dial: {dial}" in yaml, yaml
        self.apply(yaml)
        self.restart(site)


def rows_of(value):
    """The list inside a JSON answer: an object with a version field and one list."""
    if isinstance(value, list):
        return value
    lists = [v for v in value.values() if isinstance(v, list)]
    assert len(lists) == 1, f"expected one list in {json.dumps(value)[:400]}"
    return lists[0]


LAW = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  rules:
  - id: telemetry-within-the-eu
    effect: permit
    actions: [transfer, reside, transit]
    data: {matchLabels: {class: telemetry}}
    from: {in: [eu]}
    to: {in: [eu]}
    basis: residency
  - id: eu-data-stays
    effect: forbid
    from: {in: [eu]}
    to: {notIn: [eu]}
  - id: no-pii-abroad
    effect: forbid
    data: {matchLabels: {pii: "yes"}}
    to: {notIn: [eu]}
"""
TIGHT_LAW = LAW + """
  - id: telemetry-to-the-us
    effect: permit
    data: {matchLabels: {class: telemetry}}
    to: {in: [us]}
"""
LOOSE_LAW = TIGHT_LAW.replace("""  - id: eu-data-stays
    effect: forbid
    from: {in: [eu]}
    to: {notIn: [eu]}
""", "")

ANYWHERE = """
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  rules:
  - {id: anywhere, effect: permit, actions: [transfer, reside, transit]}
"""


def dataset_yaml(name, path, site="factory", spec="commit: {onRequest: true}", labels='class: telemetry, pii: "no"'):
    extra = "".join(f"  {line}\n" for line in spec.strip().split("\n") if line)
    return (f"apiVersion: bailiwick/v1\nkind: Dataset\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
            f"spec:\n  home: {{site: {site}, path: {json.dumps(path)}}}\n{extra}")


def replication_yaml(name="everywhere", to="[{site: core}, {site: cloud-us}]", select="class: telemetry", more=""):
    return (f"apiVersion: bailiwick/v1\nkind: ReplicationPolicy\nmetadata: {{name: {name}}}\n"
            f"spec:\n  select: {{matchLabels: {{{select}}}}}\n  to: {to}\n{more}")


def documents(*parts):
    return "\n---\n".join(parts)


# ------------------------------------------------------------------------------------------------ trees of files
def write(path, data=b"", mode=None, mtime=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    if mode is not None:
        os.chmod(path, mode)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


ODD_NAMES = [b" leading", b"trailing ", b"new\nline", b"tab\there", b"quote'\"`$(x)", b"\xff\xfe not utf-8", "grüße-日本".encode(),
             b"-rf", b"*", b"back\\slash", b"a" * 255, b".hidden", b"colon:semi;", b"%41%00", b"con", b"current", b"trees"]


def make_tree(root, seed=1, files=120, largest=200_000):
    """A source directory with what real ones hold and scripts forget. The same seed makes the same tree."""
    rng = random.Random(seed)
    root_bytes = os.fsencode(root)
    os.makedirs(root, exist_ok=True)
    folders = [b"."]
    for n in range(max(3, files // 12)):
        folder = os.path.normpath(os.path.join(rng.choice(folders), b"dir-%d" % n))
        os.makedirs(os.path.join(root_bytes, folder), exist_ok=True)
        folders.append(folder)
    for n in range(files):
        size = rng.choice([0, 1, 17, 511, 4096, rng.randrange(1, 20_000), rng.randrange(1, largest)])
        path = os.path.join(root_bytes, rng.choice(folders), b"file-%d.bin" % n)
        with open(path, "wb") as f:
            f.write(rng.randbytes(size) if n % 2 else (b"line %d of text\n" % n) * (size // 16))
        os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o444, 0o640]))
        os.utime(path, ns=(0, rng.randrange(1_000_000_000, 1_700_000_000) * 10**9 + rng.randrange(10**9)))
    for n, name in enumerate(ODD_NAMES):
        with open(os.path.join(root_bytes, name), "wb") as f:
            f.write(b"odd %d" % n)
    odd_folder = os.path.join(root_bytes, b"\xe4 folder\n")
    os.makedirs(odd_folder)
    with open(os.path.join(odd_folder, b"\x01"), "wb") as f:
        f.write(b"inside")
    os.makedirs(os.path.join(root, "empty", "nested-empty"))
    os.chmod(os.path.join(root, "empty"), 0o750)
    os.symlink("file-0.bin", os.path.join(root, "link"))
    os.symlink("/nonexistent/absolute", os.path.join(root, "dangling"))
    os.symlink("..", os.path.join(root, "up"))
    os.symlink("empty", os.path.join(root, "link-to-directory"))
    os.symlink(b"\xff\xfe not utf-8", os.path.join(root_bytes, b"link-to-bytes"))
    with open(os.path.join(root, "sparse"), "wb") as f:
        f.truncate(20 << 20)
        f.seek(10 << 20)
        f.write(b"in the middle")
    with open(os.path.join(root, "all-hole"), "wb") as f:
        f.truncate(3 << 20)
    write(os.path.join(root, "suid"), b"x", 0o4755)
    return root


def fingerprint(root, modes="exact"):
    """What a reader could notice of a tree: {relative path: (type, mode, mtime ns, size or target)}."""
    found = {}
    root = os.fsencode(root)

    def visit(folder, prefix):
        for entry in os.scandir(folder):
            info = entry.stat(follow_symlinks=False)
            name = prefix + entry.name
            mode = stat.S_IMODE(info.st_mode)
            if modes == "readonly":
                mode &= ~0o222 if stat.S_ISDIR(info.st_mode) else ~0o6222   # set-id bits go where owners are restored
            if stat.S_ISLNK(info.st_mode):
                found[name] = ("link", os.readlink(entry.path))
            elif stat.S_ISDIR(info.st_mode):
                found[name] = ("dir", mode)
                visit(entry.path, name + b"/")
            elif stat.S_ISREG(info.st_mode):
                found[name] = ("file", mode, info.st_mtime_ns, info.st_size)
            else:
                found[name] = ("special",)
    visit(root, b"")
    return found


def differences(source, copy, ignore=()):
    """What differs between a source and a laid-out copy (which has no write bits): a list of sentences, empty when equal."""
    problems = []
    command = ["diff", "-r", "--no-dereference", "-q"]
    for name in ignore:
        command += ["-x", name]
    compared = run(command + [source, copy + "/" if os.path.islink(copy) else copy], timeout=300)
    if compared.code != 0:
        problems += (compared.out + compared.err).strip().split("\n")[:20]
    ours, theirs = fingerprint(source, "readonly"), fingerprint(copy, "readonly")
    for name in sorted(set(ours) | set(theirs)):
        if os.fsdecode(name.split(b"/")[0]) in ignore:
            continue
        if ours.get(name) != theirs.get(name):
            problems.append(f"{name!r}: source {ours.get(name)}, copy {theirs.get(name)}")
    return problems[:40]


def files_under(root):
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def audit_text(directory):
    names = [n for n in files_under(os.path.join(directory, "payload"))]
    return b"".join(read(n) for n in sorted(names, key=os.fsencode)).decode(errors="replace")


def contains(root, needle):
    """Files under root that hold these bytes."""
    found = []
    for path in files_under(root):
        # Temporary files of processes that run are gone again.
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as f, contextlib.suppress(OSError):
            tail = b""
            while True:
                block = f.read(8 << 20)
                if not block:
                    break
                if needle in tail + block:
                    found.append(os.fsdecode(path))
                    break
                tail = block[-len(needle):]
    return found


def pack_bytes(fleet, site):
    """Bytes of chunks a site holds, all datasets together."""
    total = 0
    base = os.path.join(fleet.data(site), "datasets")
    with contextlib.suppress(OSError):
        for dataset in os.scandir(base):
            with contextlib.suppress(OSError):
                for pack in os.scandir(os.path.join(dataset.path, "packs")):
                    with contextlib.suppress(OSError):
                        total += pack.stat().st_size
    return total


def remove_tree(path):
    """Also what was laid out without write bits."""
    def unlock(function, name, _):
        with contextlib.suppress(OSError):
            if os.path.dirname(name).startswith(path):  # never the directory that the tree lies in
                os.chmod(os.path.dirname(name), 0o700)
            os.chmod(name, 0o700)
            function(name)
    shutil.rmtree(path, onerror=unlock)


class FleetTest(unittest.TestCase):
    """One fleet for the tests of a class; each test uses dataset names of its own."""
    SITES = THREE_SITES
    SETUP = LAW

    @classmethod
    def setUpClass(cls):
        cls.fleet = Fleet(*cls.SITES)
        cls.fleet.__enter__()
        cls.addClassCleanup(cls.fleet.__exit__, None, None, None)
        if cls.SETUP:
            cls.fleet.apply(cls.SETUP)

    def assertSame(self, source, copy, ignore=()):
        problems = differences(source, copy, ignore)
        self.assertFalse(problems, f"{source} and {copy} differ:\n" + "\n".join(problems))

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        super().run(result)
        if result and len(result.failures) + len(result.errors) > before and getattr(self, "fleet", None):
            print(f"\n--- after {self.id()} failed\n{self.fleet.logs()}", file=sys.stderr)


def main():
    for binary in (CLI, AGENT, COORDINATOR):
        if not os.access(binary, os.X_OK):
            sys.exit(f"{binary} is not there; build it (cmake --preset dev && cmake --build --preset dev) or set BAILIWICK_BIN")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    unittest.main(verbosity=2)


def main_side_by_side():
    """For suites whose classes mostly wait, each with a fleet of its own: one process a class, all at once."""
    if len(sys.argv) > 1:
        return main()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    classes = [name for name, value in vars(sys.modules["__main__"]).items()
               if isinstance(value, type) and issubclass(value, unittest.TestCase) and unittest.defaultTestLoader.getTestCaseNames(value)]
    with contextlib.ExitStack() as stack:
        runs = []
        for name in classes:
            log = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen([sys.executable, "-B", sys.argv[0], name], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            stack.callback(process.terminate)
            runs.append((name, process, log))
        for name, process, log in runs:
            process.wait()
            log.seek(0)
            print(f"=== {name}\n{log.read().decode(errors='replace')}", file=sys.stderr, flush=True)
    sys.exit(any(process.returncode for _, process, _ in runs))
