#!/usr/bin/env bash
# Builds the Debian packages (bailiwick-agent, bailiwick-coordinator, bailiwick) and the tarball of the static agent, from the
# release and static presets, and lists them with their hashes in SHA256SUMS. The same source gives the same bytes.
#   deploy/packages/build.sh [--output DIR] [--maintainer 'NAME <MAIL>'] [--no-install]
#     --output DIR      where they go (default: build/packages)
#     --maintainer ...  who answers for them; whoever publishes packages says so
#     --no-install      leaves this machine's packages alone
set -euo pipefail
start_directory=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/build-env.sh

output=$BAILIWICK_ROOT/build/packages maintainer='' install=1
while [ $# -gt 0 ]; do
  case $1 in
    --output | --maintainer) [ $# -ge 2 ] || { echo "build.sh: $1 needs a value" >&2; exit 2; }
      if [ "$1" = --output ]; then output=$(realpath -m "$start_directory/$2"); [[ $2 != /* ]] || output=$2; else maintainer=$2; fi
      shift ;;
    --no-install) install=0 ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "build.sh: unknown argument $1; --help says what there is" >&2; exit 2 ;;
  esac
  shift
done
[ -z "$maintainer" ] || [[ $maintainer =~ ^.+\ \<[^@\ ]+@[^@\ ]+\>$ ]] || { echo "build.sh: --maintainer is 'NAME <MAIL>'" >&2; exit 2; }

[ "$install" -eq 0 ] || deploy/install-packages.sh
mkdir -p "$output"
rm -f "$output"/*.deb "$output"/*.tar.gz "$output/SHA256SUMS"
echo "building preset release (log: build/release.log)"
[ -z "$maintainer" ] || cmake --preset release -D "BAILIWICK_MAINTAINER=$maintainer" >/dev/null
bw_build release bailiwick bailiwick-agent bailiwick-coordinator
echo "building the static agent (log: build/static.log)"
bw_build static bailiwick-agent

echo "packing"
umask 022
SOURCE_DATE_EPOCH=$(bw_release_epoch)
export SOURCE_DATE_EPOCH
log=$BAILIWICK_ROOT/build/packages.log
cpack --config build/release/CPackConfig.cmake -B "$output" >"$log" 2>&1 || {
  tail -20 "$log" >&2
  echo "packing failed; the whole log is in $log" >&2
  exit 1
}
rm -rf "$output/_CPack_Packages"
deploy/packages/tarball.sh --output "$output" >/dev/null
(cd "$output" && sha256sum -- *.deb *.tar.gz | tee SHA256SUMS)
