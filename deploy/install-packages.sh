#!/usr/bin/env bash
# Installs the Debian 12 packages of packages.txt that are missing; says nothing more than it does. Needs root or sudo only
# when something is missing.
#   deploy/install-packages.sh [--build]
#     --build  only what building the binaries needs: nothing from "# tests" on
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install-packages.sh: this is not a Debian machine (no dpkg-query or apt-get); install what $here/packages.txt lists" >&2
  exit 1
fi

until=''
case ${1-} in
  '') ;;
  --build) until='/^# tests/,$d' ;;
  *) echo "install-packages.sh: unknown argument $1; there is --build" >&2; exit 2 ;;
esac

missing=()
while read -r name _ unless; do
  [ -z "$unless" ] || ! command -v "$unless" >/dev/null || continue
  state=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$name")
done < <(sed -e "$until" -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$here/packages.txt")
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: nothing to install"
  exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
  as_root=(env DEBIAN_FRONTEND=noninteractive)
elif command -v sudo >/dev/null; then
  as_root=(sudo env DEBIAN_FRONTEND=noninteractive)
else
  echo "install-packages.sh: ${#missing[@]} packages are missing and there is neither root nor sudo; as root run:" >&2
  echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

echo "packages: installing ${#missing[@]}: ${missing[*]}"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
own_policy=0
trap 'rm -f "$log"; [ "$own_policy" -eq 0 ] || "${as_root[@]}" rm -f "$policy"' EXIT

# Some packages bring a service beside the tool that is wanted (prometheus: promtool): none is started, now or at boot.
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" sh -c "cat >$policy && chmod 755 $policy"
  own_policy=1
fi
leave_services_off() {
  [[ " ${missing[*]} " != *" prometheus "* ]] || ! command -v systemctl >/dev/null ||
    "${as_root[@]}" systemctl disable --quiet prometheus.service >>"$log" 2>&1 || true
}

try_install() {
  "${as_root[@]}" apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" >"$log" 2>&1
}
try_update() {
  "${as_root[@]}" apt-get update -q -o DPkg::Lock::Timeout=300 >"$log" 2>&1
}

# With fresh lists an update is not needed; with none, or stale ones, the first attempt fails and an update mends it.
if try_install; then
  leave_services_off
  echo "packages: installed"
  exit 0
fi
for attempt in 1 2; do
  if try_update && try_install; then
    leave_services_off
    echo "packages: installed"
    exit 0
  fi
  [ "$attempt" -eq 2 ] || { echo "packages: that failed; once more in 5 seconds"; sleep 5; }
done
tail -20 "$log" >&2
echo "install-packages.sh: apt-get could not install: ${missing[*]} (its last words are above); mend the package sources or the network and run this again" >&2
exit 1
