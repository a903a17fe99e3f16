#!/usr/bin/env bash
# Installs what is missing, builds, runs every test, says how many ran.
#   tests/run.sh [--long] [--filter REGEX] [--no-install]
#     --long          adds the suites that take many minutes: 80,000 files, 2 GiB with ten kills, a full disk,
#                     a minute of fuzzing for each parser
#     --filter REGEX  only tests whose ctest name matches (names: ctest --test-dir build/dev -N)
#     --no-install    leaves the machine's packages alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source deploy/build-env.sh

long=0 filter='' install=1
while [ $# -gt 0 ]; do
  case $1 in
    --long) long=1 ;;
    --filter) [ $# -ge 2 ] || { echo "tests/run.sh: --filter needs a regular expression" >&2; exit 2; }; filter=$2; shift ;;
    --no-install) install=0 ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tests/run.sh: unknown argument $1; --help says what there is" >&2; exit 2 ;;
  esac
  shift
done

started=$SECONDS
step() { echo "[$((SECONDS - started)) s] $*"; }

if [ "$install" -eq 1 ]; then
  step "packages that are missing"
  deploy/install-packages.sh
fi
step "building preset dev with tests ($BAILIWICK_JOBS jobs; log: build/dev.log)"
bw_build dev
step "building the static agent (log: build/static.log)"
bw_build static bailiwick-agent

step "running tests"
arguments=(--test-dir build/dev --output-on-failure --no-tests=error -j "$BAILIWICK_JOBS")
[ "$long" -eq 1 ] || arguments+=(-LE long)
[ -z "$filter" ] || arguments+=(-R "$filter")
code=0
ctest "${arguments[@]}" || code=$?

# One ctest entry is a program of many tests: count those too.
cases=$(awk '/^\[==========\] [0-9]+ tests? from .* ran\./ {n += $2} /^Ran [0-9]+ tests? in / {n += $2} END {print n + 0}' \
  build/dev/Testing/Temporary/LastTest.log)
programs=$(grep -c '^"[^"]*" end time:' build/dev/Testing/Temporary/LastTest.log || true)
if [ "$code" -eq 0 ]; then
  step "passed: $cases tests in $programs programs"
else
  step "FAILED: of $cases tests in $programs programs some did not pass (above, and build/dev/Testing/Temporary/LastTestsFailed.log)"
  code=1
fi
exit "$code"
