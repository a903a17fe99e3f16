#!/usr/bin/env bash
# Builds the fuzz targets (preset fuzz: clang, libFuzzer, address and undefined-behaviour sanitizers) and runs them one
# after the other from the seeds; prints a table. Fails when anything was found; what was found is in build/fuzz/findings.
#   tests/fuzz/run.sh [SECONDS] [TARGET...]    60 seconds each and all targets by default
# What a run learned stays in build/fuzz/corpus/TARGET and is where the next one begins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/build-env.sh

seconds=60
if [[ ${1:-} =~ ^[0-9]+$ ]]; then seconds=$1; shift; fi
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for folder in tests/fuzz/seeds/*/; do targets+=("$(basename "$folder")"); done
fi
bw_build fuzz "${targets[@]/#/fuzz_}"

# Nothing that a parser does takes seconds, or allocates more at once than the largest chunk and its copies.
export ASAN_OPTIONS=detect_odr_violation=0:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1
found=0
printf '%-16s %9s %9s %9s %7s %9s %s\n' target execs exec/s edges features corpus findings
for target in "${targets[@]}"; do
  corpus=build/fuzz/corpus/$target findings=build/fuzz/findings/$target log=build/fuzz/$target.log
  mkdir -p "$corpus" "$findings"
  folders=("$corpus" "tests/fuzz/seeds/$target")
  [ ! -d "tests/fuzz/regressions/$target" ] || folders+=("tests/fuzz/regressions/$target")
  options=(-max_total_time="$seconds" -max_len=16384 -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=64 -print_final_stats=1
           -artifact_prefix="$findings/" -use_value_profile=1)
  [ ! -f "tests/fuzz/$target.dict" ] || options+=(-dict="tests/fuzz/$target.dict")
  code=0
  nice -n 19 "build/fuzz/bin/fuzz_$target" "${options[@]}" "${folders[@]}" >"$log" 2>&1 || code=$?
  status() { grep -oE "$1: +[0-9]+" "$log" | tail -1 | grep -oE '[0-9]+$' || echo -; }
  printf '%-16s %9s %9s %9s %7s %9s %s\n' "$target" "$(status 'stat::number_of_executed_units')" \
    "$(status 'stat::average_exec_per_sec')" "$(status cov)" "$(status ft)" "$(grep -oE 'corp: [0-9]+' "$log" | tail -1 | cut -c7- || echo -)" \
    "$(if [ "$code" -eq 0 ]; then echo none; else grep -m1 -E 'does not hold|ERROR: |runtime error' "$log" || echo "exit code $code: $log"; fi)"
  [ "$code" -eq 0 ] || found=1
done
exit "$found"
