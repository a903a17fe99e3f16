#!/usr/bin/env python3
"""Rules of the code base that a compiler does not check: who may include whom, who may touch the clock, what may not be left in.

Run with the repository's root as first argument (ctest does). Each broken rule is one line: file:line: what, and what to do.
"""
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1])
                       else os.path.join(os.path.dirname(__file__), "..", ".."))

# A folder may include itself and folders of lower or equal rank; equal rank only as listed in SAME_RANK.
RANK = {
    "base": 0,
    "os": 1, "cli": 1, "crypto": 1, "output": 1, "telemetry": 1,
    "identity": 2, "policy": 2, "chunk": 2, "sql": 2, "config": 2, "http": 2,
    "store": 3, "audit": 3,
    "rpc": 4,
    "doctor": 5,
}
# Among folders of one rank, these edges and no others (so that the graph stays free of cycles).
SAME_RANK = {
    ("telemetry", "os"), ("crypto", "os"),
    ("policy", "identity"),
    ("config", "policy"), ("config", "identity"),
}
SQLITE = re.compile(r'#include\s*[<"]sqlite3(ext)?\.h[>"]')
OPENSSL = re.compile(r'#include\s*<openssl/')
GENERATED = re.compile(r'#include\s*"[^"]+\.pb\.h"')
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
SPDLOG = re.compile(r'#include\s*<spdlog/')
BOOST = re.compile(r'#include\s*<boost/')

# Only common/os reads a clock, sleeps or makes entropy. Parameters and arithmetic on times are everybody's.
CLOCK = [
    (re.compile(r'\bstd::this_thread::sleep_(for|until)\b'), "sleeps"),
    (re.compile(r'\babsl::SleepFor\s*\('), "sleeps"),
    (re.compile(r'(?<![\w:.>])(::)?(usleep|nanosleep|clock_nanosleep|sleep)\s*\(\s*[^)]'), "sleeps"),
    (re.compile(r'\babsl::Now\s*\('), "reads the clock"),
    (re.compile(r'\babsl::GetCurrentTimeNanos\s*\('), "reads the clock"),
    (re.compile(r'\bstd::chrono::\w+_clock::now\s*\('), "reads the clock"),
    (re.compile(r'(?<![\w:.>])(::|std::)?time\s*\(\s*(nullptr|NULL|0|&\w+)\s*\)'), "reads the clock"),
    (re.compile(r'(?<![\w:.>])(::)?(gettimeofday|clock_gettime)\s*\('), "reads the clock"),
    (re.compile(r'(?<![\w:.>])(::|std::)?s?rand\s*\(\s*\)'), "makes random numbers"),
    (re.compile(r'(?<![\w:.>])(::)?(getrandom|getentropy)\s*\('), "makes random numbers"),
    (re.compile(r'\bstd::random_device\b'), "makes random numbers"),
    (re.compile(r'\bstd::mt19937'), "makes random numbers"),
    (re.compile(r'\babsl::(Insecure)?BitGen\b'), "makes random numbers"),
    (re.compile(r'\bRAND_(bytes|priv_bytes)\s*\('), "makes random numbers"),
]
LEFT_OVER = re.compile(r'\b(' + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "place" + "holder for later",
                                         "not yet " + "implemented", "GTEST_" + "SKIP", r"DIS" + r"ABLED_\w+"]) + r')\b')
MACHINE_PATH = re.compile(r'(?<![\w.])/(work|home/\w+|tmp/(bash|helper|bwb))/')


def tracked():
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True)
    if listing.returncode == 0 and listing.stdout:
        names = listing.stdout.decode().split("\0")
    else:  # an unpacked archive without .git
        names = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [f for f in folders if f not in ("build", ".git", ".cache", "__pycache__")]
            names += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files]
    return sorted(n for n in names if n and os.path.isfile(os.path.join(ROOT, n)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def without_comments(text):
    """Comments and string bodies blanked, line numbers kept."""
    def blank(match):
        found = match.group(0)
        if found.startswith('"') and found.endswith('"') and not found.startswith('"\n'):
            return '"' + " " * (len(found) - 2) + '"'
        return re.sub(r"[^\n]", " ", found)
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


FILES = tracked()
CODE = [n for n in FILES if n.endswith((".cc", ".h")) and n.startswith(("common/", "services/", "tests/"))]


class Contract(unittest.TestCase):
    maxDiff = None

    def report(self, problems):
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def test_there_is_code_to_check(self):
        self.assertGreater(len(CODE), 50)

    def test_includes_point_one_way(self):
        problems = []
        for name in CODE:
            parts = name.split("/")
            for number, line in enumerate(read(name).split("\n"), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                target = match.group(1).split("/")
                where = f"{name}:{number}"
                if parts[0] == "common":
                    if target[0] in ("services", "tests"):
                        problems.append(f"{where}: common includes {match.group(1)}; common never includes services or tests")
                    if target[0] != "common" or target[1] == parts[1]:
                        continue
                    if target[1] not in RANK or parts[1] not in RANK:
                        problems.append(f"{where}: a folder without a rank; give it one in tests/contract/contract_test.py")
                    elif RANK[target[1]] > RANK[parts[1]] or (
                            RANK[target[1]] == RANK[parts[1]] and (parts[1], target[1]) not in SAME_RANK):
                        problems.append(f"{where}: common/{parts[1]} includes common/{target[1]}; includes point from later "
                                        "folders to earlier ones")
                elif parts[0] == "services":
                    if target[0] == "services" and target[1] != parts[1]:
                        problems.append(f"{where}: services/{parts[1]} includes services/{target[1]}; services never include "
                                        "each other")
                    if target[0] == "tests":
                        problems.append(f"{where}: a service includes tests")
        self.report(problems)

    def test_no_include_cycles_between_folders(self):
        edges = {}
        for name in CODE:
            folder = "/".join(name.split("/")[:2])
            for line in read(name).split("\n"):
                match = INCLUDE.match(line)
                if match and match.group(1).startswith("common/") and folder.startswith("common/"):
                    target = "/".join(match.group(1).split("/")[:2])
                    if target != folder:
                        edges.setdefault(folder, {}).setdefault(target, name)
        problems, state = [], {}

        def visit(folder, path):
            if state.get(folder) == 2:
                return
            if folder in path:
                problems.append("a cycle: " + " -> ".join(path[path.index(folder):] + [folder]))
                return
            for target in sorted(edges.get(folder, {})):
                visit(target, path + [folder])
            state[folder] = 2
        for folder in sorted(edges):
            visit(folder, [])
        self.report(problems)

    def test_third_parties_have_one_door_each(self):
        problems = []
        for name in CODE:
            for number, line in enumerate(read(name).split("\n"), 1):
                where = f"{name}:{number}"
                if SQLITE.search(line) and not name.startswith("common/sql/"):
                    problems.append(f"{where}: only common/sql includes sqlite3.h")
                if OPENSSL.search(line) and not (name.startswith(("common/crypto/", "common/identity/"))
                                                 or name == "common/rpc/credentials.cc"):
                    problems.append(f"{where}: only common/crypto, common/identity and common/rpc/credentials.cc include OpenSSL")
                if SPDLOG.search(line) and not name.startswith("common/telemetry/"):
                    problems.append(f"{where}: only common/telemetry includes spdlog")
                if BOOST.search(line) and not name.startswith("common/http/"):
                    problems.append(f"{where}: only common/http includes Boost")
                if GENERATED.search(line) and not (name.startswith(("common/config/", "common/rpc/", "services/", "tests/"))
                                                   or re.match(r"common/store/version(_test)?\.cc$", name)):
                    problems.append(f"{where}: generated headers stay in common/config, common/rpc, common/store/version.cc and "
                                    "services")
        self.report(problems)

    def test_time_and_randomness_come_through_common_os(self):
        problems = []
        for name in CODE:
            if name.startswith(("common/os/", "tests/")):
                continue
            for number, line in enumerate(without_comments(read(name)).split("\n"), 1):
                for pattern, what in CLOCK:
                    if "mt19937" in pattern.pattern and name.endswith(("_test.cc", "_fixture.h")):
                        continue  # a seeded generator of test data
                    if pattern.search(line):
                        problems.append(f"{name}:{number}: {what} by itself; use common/os (Clock, random.h): {line.strip()}")
        self.report(problems)

    def test_nothing_is_left_over(self):
        problems = []
        for name in FILES:
            if not name.endswith((".cc", ".h", ".py", ".sh", ".proto", ".yaml", ".md", ".txt", ".cmake", ".json")):
                continue
            for number, line in enumerate(read(name).split("\n"), 1):
                if LEFT_OVER.search(line):
                    problems.append(f"{name}:{number}: a word for unfinished work: {line.strip()[:80]}")
                if MACHINE_PATH.search(line):
                    problems.append(f"{name}:{number}: a path of somebody's machine: {line.strip()[:80]}")
        self.report(problems)

    def test_file_and_header_shape(self):
        problems = []
        for name in CODE:
            text = read(name)
            if name.endswith(".h") and "#pragma once" not in text:
                problems.append(f"{name}:1: a header without #pragma once")
            if not text.endswith("\n"):
                problems.append(f"{name}: the last line has no newline")
            lines = text.split("\n")
            if not without_comments(text).strip():
                problems.append(f"{name}:1: a file without code")
            if len(lines) > 700:
                problems.append(f"{name}: {len(lines)} lines; split it by responsibility")
            for number, line in enumerate(lines, 1):
                if "\t" in line or "\r" in line:
                    problems.append(f"{name}:{number}: a tab or carriage return")
        self.report(problems)

    def test_scripts_are_strict_and_executable(self):
        problems = []
        for name in FILES:
            if not name.endswith(".sh") or name == "deploy/build-env.sh":
                continue
            text = read(name)
            strict = "set -eu\n" if text.startswith("#!/bin/sh\n") else "set -euo pipefail"   # sh has no pipefail
            if strict not in text:
                problems.append(f"{name}: a script without {strict.strip()}")
            if not os.access(os.path.join(ROOT, name), os.X_OK):
                problems.append(f"{name}: not executable")
        self.report(problems)

    def test_every_test_file_is_registered(self):
        """A test that no build runs is no test."""
        lists = "".join(read(n) for n in FILES if n.endswith("CMakeLists.txt"))
        problems = [f"{n}: no CMakeLists.txt names it" for n in FILES
                    if re.search(r"_test\.(cc|py)$|^tests/e2e/test_\w+\.py$", n)
                    and os.path.basename(n) not in lists and os.path.splitext(os.path.basename(n))[0] not in lists]
        self.report(problems)


if __name__ == "__main__":
    unittest.main(verbosity=1)
