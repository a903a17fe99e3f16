"""Runs pods of rendered manifests as real processes, the way a kubelet would: what chart and programs say of each other is true.

Each pod has a network namespace with an address of its own; each container a PID and a mount namespace, a read-only root with
the pod's volumes, the pod's user, no capabilities, no new privileges, its command line and environment to the letter. Volumes
are directories; ConfigMaps and Secrets are laid out with the links that a kubelet makes. Services are names that a DNS server knows.
Not played: seccomp, limits, NetworkPolicies, restarts. Needs root; everything ends with this process (see `isolate`).
"""
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import grpc

SERVING = b"\x08\x01"   # grpc.health.v1.HealthCheckResponse{status: SERVING}
PREPARE = r"""
set -e
mount -t tmpfs -o mode=0755 tmpfs "$ROOT"
mkdir -p "$ROOT"/usr "$ROOT"/proc "$ROOT"/dev "$ROOT"/etc "$ROOT"/opt/bin
for link in bin lib lib64 sbin; do ln -s usr/$link "$ROOT"/$link; done
mount --bind /usr "$ROOT"/usr
mount --bind "$BIN" "$ROOT"/opt/bin
mount -t proc proc "$ROOT"/proc
for device in null urandom; do : > "$ROOT"/dev/$device; mount --bind /dev/$device "$ROOT"/dev/$device; done
echo "127.0.0.1 localhost" > "$ROOT"/etc/hosts
printf 'search fleet.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.244.0.1\noptions ndots:5\n' > "$ROOT"/etc/resolv.conf
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "$ROOT/$2"; else mkdir -p "$(dirname "$ROOT/$2")"; : > "$ROOT/$2"; fi
  mount --bind "$1" "$ROOT/$2"; mount -o "remount,bind,$3" "$ROOT/$2"; shift 3
done
shift
mount -o remount,ro "$ROOT"
exec chroot "$ROOT" "$@"
"""


def isolate():
    """Starts this program again in namespaces that vanish with it, so that nothing is left behind however it ends."""
    if os.environ.get("BAILIWICK_ISOLATED") != "1":
        os.environ["BAILIWICK_ISOLATED"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                              sys.executable, "-B", *sys.argv])
    run("mount", "-t", "tmpfs", "tmpfs", "/run")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


class Ended(AssertionError):
    """A container that ended badly, with what it said."""

    def __init__(self, name, code, said):
        super().__init__(f"{name} ended with {code}:\n{said}")
        self.code, self.said = code, said


class Names(threading.Thread):
    """The cluster's DNS: A records of what is in `known`, no such name for all else."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.known, self.socket = {}, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.start()

    def run(self):
        while (received := self.socket.recvfrom(1500))[0]:
            query, client = received
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            question, kind = query[12:at + 5], query[at + 1:at + 3]
            address = self.known.get(".".join(labels).lower())
            answer = b""
            if address and kind == b"\0\1":
                answer = struct.pack(">HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address)
            header = query[:2] + struct.pack(">HHHHH", 0x8580 | (0 if address else 3), 1, 1 if answer else 0, 0, 0)
            self.socket.sendto(header + question + answer, client)
        self.socket.close()

    def close(self):
        self.socket.sendto(b"", self.socket.getsockname())
        self.join()


class Cluster:
    NAMESPACE = "fleet"

    def __init__(self, binaries):
        self.base = tempfile.mkdtemp(prefix="bw-kube-")
        os.chmod(self.base, 0o755)
        self.binaries = binaries
        self.data = {}       # (kind, name) -> {key: bytes} of ConfigMaps and Secrets
        self.addresses = {}  # pod name -> address
        self.pods = []
        run("ip", "link", "add", "pods", "type", "bridge")
        run("ip", "addr", "add", "10.244.0.1/24", "dev", "pods")
        run("ip", "link", "set", "pods", "up")
        run("ip", "link", "set", "lo", "up")
        self.names = Names("10.244.0.1")

    def close(self):
        for pod in self.pods:
            pod.kill()
        self.names.close()
        for name, address in self.addresses.items():
            run("ip", "link", "del", f"pod{address.rsplit('.', 1)[1]}")   # a namespace's end takes it along only some time later
            run("ip", "netns", "del", name)
        run("ip", "link", "del", "pods")
        subprocess.run(["chmod", "-R", "u+rwX", self.base])
        for last in [False] * 50 + [True]:  # what a pod's process started may outlive it by a moment, and write
            try:
                return shutil.rmtree(self.base)
            except OSError:
                if last:
                    raise
                time.sleep(0.1)

    def path(self, *names):
        path = os.path.join(self.base, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def put(self, kind, name, data):
        """kubectl create secret generic NAME --from-literal=…"""
        self.data[(kind, name)] = {k: v if isinstance(v, bytes) else v.encode() for k, v in data.items()}
        for pod in self.pods:
            pod.refresh()

    def delete(self, kind, name):
        del self.data[(kind, name)]
        for pod in self.pods:
            pod.refresh()

    def apply(self, documents):
        """ConfigMaps are there at once, Services become names; pods are started by the test."""
        pods = {}
        for d in documents:
            name = d["metadata"]["name"]
            if d["kind"] == "ConfigMap":
                self.put("ConfigMap", name, d["data"])
            template = d["spec"]["template"] if d["kind"] in ("StatefulSet", "DaemonSet", "Job") else d
            if d["kind"] in ("StatefulSet", "DaemonSet", "Job", "Pod"):
                pod_name = name + {"StatefulSet": "-0", "DaemonSet": "-x7k2p"}.get(d["kind"], "")
                pods[name] = Pod(self, pod_name, template, d["spec"].get("volumeClaimTemplates", []))
        for d in documents:
            if d["kind"] == "Service" and d["spec"].get("clusterIP") != "None":
                chosen = [p for p in pods.values() if d["spec"]["selector"].items() <= p.labels.items()]
                assert len(chosen) == 1, f"Service {d['metadata']['name']} selects {[p.name for p in chosen]}"
                name = f"{d['metadata']['name']}.{self.NAMESPACE}.svc.cluster.local"
                self.names.known[name] = chosen[0].address
        self.pods += pods.values()
        return pods

    def machine(self, name):
        """Somebody's own computer with the CLI, in reach of the Services."""
        home = self.path(name, "home", "x")[:-2]
        os.chmod(home, 0o777)
        pod = Pod(self, name, {"metadata": {"labels": {}}, "spec": {
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
            "volumes": [{"name": "home", "hostPath": {"path": home}}],
            "containers": [{"name": "shell", "env": [{"name": "HOME", "value": "/home"}],
                            "volumeMounts": [{"name": "home", "mountPath": "/home"}]}]}}, [], host_root="")
        pod.home = home
        self.pods.append(pod)
        return pod

    def address_of(self, pod_name):
        if pod_name not in self.addresses:
            number = len(self.addresses) + 2
            address, inside, outside = f"10.244.0.{number}", f"eth{number}", f"pod{number}"
            run("ip", "netns", "add", pod_name)
            run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", pod_name)
            run("ip", "link", "set", outside, "master", "pods", "up")
            run("ip", "-n", pod_name, "addr", "add", f"{address}/24", "dev", inside)
            run("ip", "-n", pod_name, "link", "set", inside, "up")
            run("ip", "-n", pod_name, "link", "set", "lo", "up")
            self.addresses[pod_name] = address
        return self.addresses[pod_name]


class Pod:
    NODE = "node-1"
    PATH = "/opt/bin"   # nothing but the three programs

    def __init__(self, cluster, name, template, claims, host_root="node"):
        self.cluster, self.name, self.spec = cluster, name, template["spec"]
        self.labels = template["metadata"]["labels"]
        self.address = cluster.address_of(name)
        self.host_root, self.process, self.log = host_root, None, cluster.path("logs", name)
        self.user = self.spec["securityContext"]
        volumes = {v["name"]: v for v in self.spec.get("volumes", [])}
        volumes.update({c["metadata"]["name"]: {"claim": f"{c['metadata']['name']}-{name}"} for c in claims})
        self.volumes = volumes

    # --- volumes
    def _volume(self, name):
        volume = self.volumes[name]
        if "claim" in volume or "persistentVolumeClaim" in volume:
            claim = volume.get("claim") or volume["persistentVolumeClaim"]["claimName"]
            path = self.cluster.path("claims", claim)
            if not os.path.isdir(path):   # as formatted and then given to the pod's group
                os.mkdir(path)
                os.chown(path, 0, self.user["fsGroup"])
                os.chmod(path, 0o2775)
            return path
        if "hostPath" in volume:
            path = volume["hostPath"]["path"]
            path = os.path.join(self.cluster.base, self.host_root, path.lstrip("/")) if self.host_root else path
            assert os.path.exists(path), f"hostPath {path} is not there on the node"
            return path
        path = self.cluster.path("mounts", self.name, name)
        if not os.path.isdir(path):
            os.mkdir(path, 0o755)
            self._fill(path, volume)
        return path

    def refresh(self):
        """What a kubelet does to volumes when a ConfigMap or Secret changes."""
        for name, volume in self.volumes.items():
            path = os.path.join(self.cluster.base, "mounts", self.name, name)
            if os.path.isdir(path):
                self._fill(path, volume)

    def _content(self, volume):
        """{path: (bytes, mode)} of a ConfigMap, a Secret or a projection of several."""
        if "projected" in volume:
            files = {}
            for source in volume["projected"]["sources"]:
                mode = {"defaultMode": volume["projected"].get("defaultMode", 0o644)}
                files.update(self._content({k: dict(v, **mode) for k, v in source.items()}))
            return files
        kind, source = ("Secret", volume["secret"]) if "secret" in volume else ("ConfigMap", volume["configMap"])
        name = source.get("secretName") or source.get("name")
        data = self.cluster.data.get((kind, name))
        if data is None and source.get("optional"):
            return {}
        assert data is not None, f"MountVolume.SetUp failed for pod {self.name}: {kind} {name} not found"
        items = source.get("items") or [{"key": k, "path": k} for k in data]
        return {i["path"]: (data[i["key"]], source.get("defaultMode", 0o644)) for i in items}

    def _fill(self, path, volume):
        content = self._content(volume)
        version = tempfile.mkdtemp(prefix="..", dir=path)
        os.chmod(version, 0o755)
        for name, (data, mode) in content.items():
            file = os.path.join(version, name)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as output:
                output.write(data)
            os.chmod(file, mode)
            os.chown(file, 0, self.user["fsGroup"])
        os.symlink(os.path.basename(version), os.path.join(path, "..new"))
        os.rename(os.path.join(path, "..new"), os.path.join(path, "..data"))
        wanted = {name.split("/")[0] for name in content}
        for name in os.listdir(path):
            if not name.startswith("..") and name not in wanted:
                os.unlink(os.path.join(path, name))
        for name in wanted:
            if not os.path.lexists(os.path.join(path, name)):
                os.symlink(os.path.join("..data", name), os.path.join(path, name))

    # --- processes
    def _environment(self, container):
        fields = {"spec.nodeName": self.NODE, "status.podIP": self.address, "metadata.name": self.name}
        return {e["name"]: e["value"] if "value" in e else fields[e["valueFrom"]["fieldRef"]["fieldPath"]]
                for e in container.get("env", [])}

    def _start(self, container, command, output, **options):
        mounts = []
        for m in sorted(container.get("volumeMounts", []), key=lambda m: m["mountPath"]):
            read_only = m.get("readOnly") or any(k in self.volumes[m["name"]] for k in ("configMap", "secret", "projected"))
            mounts += [self._volume(m["name"]), m["mountPath"].lstrip("/"), "ro" if read_only else "rw"]
        user, group = self.user["runAsUser"], self.user["runAsGroup"]
        groups = ",".join(str(g) for g in [self.user["fsGroup"], *self.user.get("supplementalGroups", [])])
        environment = self._environment(container)
        for name, value in environment.items():
            command = [c.replace(f"$({name})", value) for c in command]
        root = tempfile.mkdtemp(prefix="root-", dir=self.cluster.base)
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "--pid", "--fork", "--kill-child",
             "sh", "-c", PREPARE, "pod", *mounts, "--",
             "/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={groups}", "--inh-caps=-all",
             "--bounding-set=-all", "--no-new-privs",
             "/usr/bin/env", "-i", f"PATH={self.PATH}", *[f"{k}={v}" for k, v in environment.items()], *command],
            env={"PATH": os.environ["PATH"], "ROOT": root, "BIN": self.cluster.binaries},
            stdin=options.get("stdin", subprocess.DEVNULL), stdout=output, stderr=subprocess.STDOUT)

    def _to_end(self, container, command, timeout=90, stdin=None):
        process = self._start(container, command, subprocess.PIPE, stdin=subprocess.PIPE)
        try:
            said = process.communicate((stdin or "").encode(), timeout=timeout)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"no end after {timeout} s: {command}\n{process.communicate()[0].decode(errors='replace')}")
        if process.returncode != 0:
            raise Ended(f"{self.name}: {command}", process.returncode, said)
        return said

    def run(self):
        """A pod that ends: every container, one after the other. What each said."""
        return [self._to_end(c, c["command"] + c["args"]) for c in self.spec.get("initContainers", []) + self.spec["containers"]]

    def start(self):
        """Init containers to their end, then the container; ready when its probe says so. What the init containers said."""
        said = [self._to_end(c, c["command"] + c["args"]) for c in self.spec.get("initContainers", [])]
        self.launch()
        (container,) = self.spec["containers"]
        deadline = time.monotonic() + 60
        while not self.probe(container["startupProbe"]):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Ended(self.name, self.process.poll(), self.logs())
            time.sleep(0.05)
        assert self.probe(container["readinessProbe"]) and self.probe(container["livenessProbe"])
        return said

    def launch(self):
        """The container, without waiting for anything."""
        (container,) = self.spec["containers"]
        with open(self.log, "ab") as log:
            self.process = self._start(container, container["command"] + container["args"], log)

    def probe(self, probe):
        with grpc.insecure_channel(f"{self.address}:{probe['grpc']['port']}") as channel:
            try:
                return channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5) == SERVING
            except grpc.RpcError:
                return False

    def stop(self):
        """SIGTERM to PID 1 of the container; its exit code and how long that took. Past the grace period: SIGKILL."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            (child,) = file.read().split()
        started = time.monotonic()
        os.kill(int(child), 15)
        try:
            code = self.process.wait(timeout=self.spec["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            self.kill()
            code = 137
        self.process = None
        return code, time.monotonic() - started

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def exec(self, *command, stdin=None):
        """kubectl exec: in the pod's first container."""
        return self._to_end(self.spec["containers"][0], list(command), stdin=stdin)

    def logs(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-4000:]
