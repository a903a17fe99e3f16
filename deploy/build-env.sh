# Sourced by the scripts that build: compiler cache settings and the number of jobs, in one place.
# ccache keeps working when the clone moves (BASEDIR) and with precompiled headers (SLOPPINESS).
BAILIWICK_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$BAILIWICK_ROOT}
export CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR:-1}
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-8G}
# Compiling one file against gRPC takes up to about 1 GiB: not more jobs than the memory feeds.
BAILIWICK_JOBS=${BAILIWICK_JOBS:-$(awk -v cpus="$(nproc)" '/MemAvailable/ {
  fit = int($2 / 1048576); if (fit < 1) fit = 1; print (fit < cpus ? fit : cpus) }' /proc/meminfo)}
export BAILIWICK_JOBS

bw_make() {
  local preset=$1
  shift
  (cd "$BAILIWICK_ROOT" &&
    cmake --preset "$preset" &&
    cmake --build "build/$preset" -j "$BAILIWICK_JOBS" ${1:+--target "$@"})
}

# bw_forget_crashed LOG: GCC 12 was seen to write a precompiled header that it crashes on. Removes those of the compilers
# that crashed, so that they are made anew; fails when none did.
bw_forget_crashed() {
  local headers
  headers=$(grep -B 2 'internal compiler error' "$1" | grep -o -- '-include [^ ]*/cmake_pch\.hxx' | cut -d ' ' -f 2 | sort -u)
  [ -n "$headers" ] || return 1
  echo "the compiler crashed on a precompiled header of its own: once more without it"
  sed 's/$/.gch/' <<<"$headers" | xargs rm -f
}

# bw_build PRESET TARGET...: configures when needed and builds; the full log is in build/PRESET.log, errors are shown.
bw_build() {
  local preset=$1 log
  shift
  log=$BAILIWICK_ROOT/build/$preset.log
  mkdir -p "$BAILIWICK_ROOT/build"
  bw_make "$preset" "$@" >"$log" 2>&1 || { bw_forget_crashed "$log" && CCACHE_RECACHE=1 bw_make "$preset" "$@" >"$log" 2>&1; } || {
    grep -nE -A6 'error:|FAILED:|CMake Error|No such file' "$log" | head -60 >&2 || true
    echo "building preset $preset failed; the whole log is in $log" >&2
    return 1
  }
}

# bw_release_epoch: the time that packages carry, so that the same source gives the same bytes; SOURCE_DATE_EPOCH, else the
# date of the newest entry of the changelog.
bw_release_epoch() {
  local released
  released=$(sed -n '/^ -- /{s/.*  //p;q}' "$BAILIWICK_ROOT/deploy/packages/changelog.in")
  [ -n "$released" ] || { echo "deploy/packages/changelog.in names no date" >&2; return 1; }
  echo "${SOURCE_DATE_EPOCH:-$(LC_ALL=C date -d "$released" +%s)}"
}
