#!/usr/bin/env bash
# Packs the static agent for machines without Debian's packages: one binary, its units, its settings, an install script. The same
# input gives the same bytes: times are SOURCE_DATE_EPOCH (default: the date of the changelog), names are sorted, nobody owns it.
#   deploy/packages/tarball.sh [--agent FILE] [--output DIR]
#     --agent FILE   a static bailiwick-agent (default: build/static/bin/bailiwick-agent; cmake --build --preset static makes it)
#     --output DIR   where the .tar.gz goes (default: build/packages)
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../build-env.sh"
root=$BAILIWICK_ROOT

agent=$root/build/static/bin/bailiwick-agent output=$root/build/packages
while [ $# -gt 0 ]; do
  case $1 in
    --agent | --output) [ $# -ge 2 ] || { echo "tarball.sh: $1 needs a value" >&2; exit 2; }
      if [ "$1" = --agent ]; then agent=$2; else output=$2; fi
      shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tarball.sh: unknown argument $1; --help says what there is" >&2; exit 2 ;;
  esac
  shift
done

[ -x "$agent" ] || { echo "tarball.sh: $agent is not there; build it: cmake --preset static && cmake --build --preset static" >&2; exit 4; }
if [[ $(readelf --program-headers --wide "$agent") == *INTERP* ]]; then
  echo "tarball.sh: $agent needs shared libraries; only a static agent runs on every machine" >&2
  exit 2
fi
version=$("$agent" --version) version=${version##* }
epoch=$(bw_release_epoch)
name=bailiwick-agent-$version-linux-$(uname -m)

umask 022
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
tree=$staging/$name
mkdir -p "$tree" "$output"
strip -o "$tree/bailiwick-agent" "$agent"
chmod 755 "$tree/bailiwick-agent"
install -m 755 "$here/install.sh" "$tree/install.sh"
install -m 644 "$here/agent.yaml" "$here"/systemd/bailiwick-agent* "$root/LICENSE" "$root/README.md" "$tree/"

tar --create --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --format=ustar --directory "$staging" "$name" |
  gzip -9n >"$output/$name.tar.gz.part"
mv "$output/$name.tar.gz.part" "$output/$name.tar.gz"
echo "$output/$name.tar.gz"
