#!/usr/bin/env python3
"""The Dockerfile's own commands, without a container engine: FROM is debootstrap, RUN is a chroot, COPY obeys the .dockerignore.

Takes many minutes (a Debian, its packages, an optimized build) and needs root and Debian's packages; the compiler's cache is the
machine's, as the Dockerfile mounts one.
"""
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

import chart

DOCKER = os.path.join(chart.ROOT, "deploy", "docker")
CACHE = os.environ.get("CCACHE_DIR", os.path.expanduser("~/.cache/ccache"))
ENTER = r"""
set -e
mount --make-rprivate /
mount -t proc proc "$ROOT"/proc
mount --rbind /dev "$ROOT"/dev
while [ "$1" != -- ]; do mkdir -p "$1" "$ROOT/$2"; mount --bind "$1" "$ROOT/$2"; shift 2; done
shift
exec chroot "$ROOT" /bin/sh -c "cd $WORKDIR && $1"
"""


def instructions():
    with open(os.path.join(DOCKER, "Dockerfile")) as file:
        text = re.sub(r"(?m)^\s*#.*\n", "", file.read())
    for line in re.sub(r"\\\n", " ", text).split("\n"):
        if line.strip():
            word, rest = line.split(None, 1)
            yield word, rest


class Stage:
    def __init__(self, base, name, source):
        self.root, self.workdir, self.user, self.environment = os.path.join(base, name), "/", "0:0", {}
        os.mkdir(self.root, 0o755)
        if source != "scratch":
            assert source in ("debian:12", "debian:12-slim"), source
            subprocess.run(["debootstrap", "--variant=minbase", "bookworm", self.root], check=True, stdout=subprocess.DEVNULL)
            shutil.copy("/etc/resolv.conf", os.path.join(self.root, "etc"))

    def copy(self, rest, stages):
        *sources, target = rest.split()
        target = os.path.join(self.root, self.workdir.lstrip("/"), target.lstrip("/")) if not target.startswith("/") else self.root + target
        if sources[0].startswith("--from="):
            os.makedirs(target, exist_ok=True)
            subprocess.run(["cp", "-a", stages[sources[0][7:]].root + sources[1] + ".", target], check=True)
            return
        for name in chart.docker_context():
            if sources == ["."] or name in sources:
                to = os.path.join(target, name if sources == ["."] else os.path.basename(name))
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copy(os.path.join(chart.ROOT, name), to)

    def run(self, rest):
        mounts = []
        while rest.startswith("--mount=type=cache,target="):
            option, rest = rest.split(None, 1)
            mounts += [CACHE, option.rsplit("=", 1)[1]]
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "RUN", *mounts, "--", rest],
                              env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ROOT": self.root,
                                   "HOME": "/root", "WORKDIR": shlex.quote(self.workdir), **self.environment},
                              capture_output=True, text=True)
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def build(base):
    """Every stage but those that nothing is taken from and that is not the last."""
    stages, stage = {}, None
    for word, rest in instructions():
        if word == "FROM":
            source, _, name = rest.split()
            stage = None if name == "toolbox" else Stage(base, name, source)
            if stage is not None:
                stages[name] = stage
        elif stage is None:
            continue
        elif word == "WORKDIR":
            stage.workdir = rest
            os.makedirs(stage.root + rest, exist_ok=True)
        elif word == "COPY":
            stage.copy(rest, stages)
        elif word == "RUN":
            stage.run(rest)
        elif word == "USER":
            stage.user = rest
        elif word == "ENV":
            key, value = rest.split("=", 1)
            stage.environment[key] = value
        else:
            assert word == "CMD", word
    return stages


class Image(unittest.TestCase):
    def test_what_the_dockerfile_builds_runs_with_nothing_around_it(self):
        base = self.enterContext(tempfile.TemporaryDirectory(prefix="bw-image-", dir=os.path.join(chart.ROOT, "build")))
        runtime = build(base)["runtime"]
        self.assertEqual(sorted(os.listdir(runtime.root)), ["etc", "usr", "var"])
        self.assertEqual(sorted(os.listdir(runtime.root + "/usr/bin")), ["bailiwick", "bailiwick-agent", "bailiwick-coordinator"])
        shutil.copytree(os.path.join(chart.ROOT, "deploy", "policies"), runtime.root + "/policies")

        def run(*command):
            done = subprocess.run(["/usr/sbin/chroot", f"--userspec={runtime.user}", runtime.root, *command], env=runtime.environment,
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
            return done.stdout
        for name in ("bailiwick", "bailiwick-agent", "bailiwick-coordinator"):
            self.assertRegex(run(name, "--version"), r"\d+\.\d+\.\d+")
        self.assertIn("tests passed", run("bailiwick", "policy", "test", "/policies"))   # with windows of the week: time zones are there
        home = "/var/lib/bailiwick"
        self.assertIn("a coordinator of acme.example", run("bailiwick-coordinator", "init", "--if-missing", "--data-dir", f"{home}/coordinator",
                                                          "--admin-dir", f"{home}/admin", "--trust-domain", "acme.example"))
        with self.assertRaises(AssertionError):
            run("bailiwick-coordinator", "init", "--data-dir", "/usr/x", "--admin-dir", "/usr/y", "--trust-domain", "acme.example")


if __name__ == "__main__":
    unittest.main(verbosity=2)
