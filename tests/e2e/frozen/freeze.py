#!/usr/bin/env python3
"""Writes NAME.tar.xz here: a small fleet as the build of the day leaves it on disk. test_frozen.py has every later build open it.

  tests/e2e/frozen/freeze.py NAME        BAILIWICK_BIN as for the tests

One that is there is never written anew: that an older build's data opens is what it is for. When a format has changed, freeze
another, named after the version, and add its line to FORMATS in test_frozen.py. The keys in it open nothing but itself.
"""
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import fleet as f  # noqa: E402
import test_at_rest as at_rest  # noqa: E402


def fill(fleet):
    """Two datasets, one of them encrypted at rest; versions, a hold, a redaction; what the test will ask for."""
    source = fleet.path("open")
    f.write(os.path.join(source, "text"), b"".join(b"line %d of a text\n" % n for n in range(3000)), mtime=1_700_000_000)
    f.write(os.path.join(source, "raw"), os.urandom(40_000), mtime=1_700_000_000)
    f.write(os.path.join(source, "deep", "er", "empty"), b"", mode=0o640, mtime=1_700_000_000)
    f.write(os.path.join(source, "deep", "na\nme \xc3\xbc"), b"an odd name", mtime=1_700_000_000)
    f.write(os.path.join(source, "deep", "secret"), b"what somebody asks to be gone " * 20, mtime=1_700_000_000)
    os.symlink("../text", os.path.join(source, "deep", "link"))
    sealed = fleet.path("sealed")
    f.write(os.path.join(sealed, "record"), b"a record of somebody's health\n" * 100, mtime=1_700_000_000)
    fleet.apply(f.documents(f.LAW, at_rest.law(), f.replication_yaml(to="[{site: core}]"),
                            f.replication_yaml("health", to="[{site: core}]", select="class: health"),
                            f.dataset_yaml("open", source), f.dataset_yaml("sealed", sealed, labels="class: health")))
    fleet.commit("open", "--message", "the first")
    f.write(os.path.join(source, "text"), b"".join(b"line %d of a text\n" % n for n in range(3001)), mtime=1_700_000_001)
    os.remove(os.path.join(source, "raw"))
    f.write(os.path.join(source, "raw too"), os.urandom(20_000), mtime=1_700_000_001)
    fleet.commit("open", "--message", "the second")
    fleet.commit("sealed", wait=False)
    f.wait_until(lambda: fleet.verify("sealed", "core", expect=None).code == f.OK, what="the sealed copy")
    fleet.cli("dataset", "hold", "open", "--version", "1", "--site", "core", "--reason", "case 4711")
    order = fleet.json("dataset", "redact", "open", "deep/secret", "--reason", "request 12", "--yes")
    f.wait_until(lambda: all(s["state"] in ("done", "held") for s in f.rows_of(fleet.json("get", "redactions"))[0]["sites"]),
                 what=f"the redaction: {order}")
    f.wait_until(lambda: {"core", "factory", "coordinator"} <= {log["log"] for log in fleet.json("audit", "logs")["logs"]}, timeout=120,
                 what="the coordinator has the logs of all")
    return {
        "frozenAt": int(time.time()), "build": f.run([f.CLI, "--version"]).out.strip(),
        "versions": {name: [{k: v[k] for k in ("number", "identity", "files", "logicalBytes")}
                            for v in fleet.json("dataset", "versions", name)["versions"]] for name in ("open", "sealed")},
        "redaction": f.rows_of(fleet.json("get", "redactions"))[0]["order"],
    }


def main():
    name, = sys.argv[1:]
    out = os.path.join(HERE, name + ".tar.xz")
    if os.path.exists(out):
        sys.exit(f"{out} is there; what is frozen stays as it is")
    with f.Fleet(f.FACTORY, f.CORE) as fleet:
        facts = fill(fleet)
        for process in ("factory", "core", "coordinator"):
            fleet.dev("stop", process)
        f.write(fleet.path("facts.json"), json.dumps(facts, indent=1))

        # With nanoseconds: a laid-out copy is verified to the last of them.
        packed = f.run(["tar", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--owner=0", "--group=0", "--numeric-owner",
                        "--sort=name", "--exclude=*.log", "--exclude=*.sock", "--exclude=*/lock", "--exclude=*.lock", "-C", fleet.base, "-cJf", out,
                        "facts.json", "fleet", "open", "sealed"], env=dict(os.environ, XZ_OPT="-9e"))
        if packed.code != 0:
            raise AssertionError(packed)
    print(f"{out}: {os.path.getsize(out)} bytes")


if __name__ == "__main__":
    main()
