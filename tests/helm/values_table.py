#!/usr/bin/env python3
"""The table of values in helm/bailiwick/README.md, made from values.yaml: each `# -- ` comment describes the key below it.

  tests/helm/values_table.py --write     puts it into the README; without: exits with 1 when the README's is another
"""
import json
import os
import re
import sys

import yaml

CHART = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "helm", "bailiwick")
BEGIN, END = "<!-- values: tests/helm/values_table.py --write -->\n", "<!-- end of values -->\n"


def rows(text):
    """(key, default, description) of each described key; keys that describe nothing themselves have fields that do."""
    values, path, described, found = yaml.safe_load(text), [], None, []
    for number, line in enumerate(text.split("\n"), 1):
        comment = re.match(r"\s*# -- (.*)", line)
        key = re.match(r"(\s*)([A-Za-z0-9]+):", line)
        if comment:
            described = comment.group(1)
        elif key and not line.lstrip().startswith("#"):
            depth = len(key.group(1)) // 2
            if described is None and found and depth > 0 and any(k == ".".join(path[:depth]) for k, _, _ in found):
                continue   # a field of a value that is described as a whole
            path = path[:depth] + [key.group(2)]
            value = values
            for part in path:
                value = value[part]
            if described is not None:
                found.append((".".join(path), value, described))
            elif not isinstance(value, dict):
                raise AssertionError(f"values.yaml:{number}: {'.'.join(path)} has no description")
            described = None
    return found


def table(text):
    lines = ["| value | default | what it is |", "|---|---|---|"]
    for key, value, description in rows(text):
        lines.append(f"| `{key}` | `{json.dumps(value)}` | {description.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def main(write):
    with open(os.path.join(CHART, "values.yaml")) as file:
        wanted = table(file.read())
    path = os.path.join(CHART, "README.md")
    with open(path) as file:
        readme = file.read()
    before, rest = readme.split(BEGIN)
    stale, after = rest.split(END)
    if write:
        with open(path, "w") as file:
            file.write(before + BEGIN + wanted + END + after)
    elif stale != wanted:
        sys.exit("helm/bailiwick/README.md: the table of values is not that of values.yaml; run tests/helm/values_table.py --write")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
