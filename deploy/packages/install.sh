#!/bin/sh
# Installs the Bailiwick agent of this directory on this machine, saying each thing that it does. Run it again to upgrade.
#   ./install.sh [--prefix DIR] [--root DIR] [--dry-run]
#   ./install.sh --uninstall [--prefix DIR] [--root DIR] [--dry-run]
#     --prefix DIR   the program goes to DIR/bin (default: /usr/local)
#     --root DIR     everything goes below DIR (an image that is being made); users and services are left alone
#     --dry-run      only say what would be done
#     --uninstall    takes the program and its units away; settings, data and the user stay
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local root='' dry=0 uninstall=0
user=bailiwick-agent
data=/var/lib/bailiwick-agent
config=/etc/bailiwick/agent.yaml

fail() {
  echo "install.sh: $2" >&2
  exit "$1"
}

while [ $# -gt 0 ]; do
  case $1 in
    --prefix | --root)
      [ $# -ge 2 ] || fail 2 "$1 needs a directory"
      case $2 in /*) ;; *) fail 2 "$1 $2: the directory must be an absolute path" ;; esac
      case $2 in *[!A-Za-z0-9/._+-]*) fail 2 "$1 $2: only letters, digits and / . _ + - can be in the path" ;; esac
      if [ "$1" = --prefix ]; then prefix=${2%/}; else root=${2%/}; fi
      shift ;;
    --dry-run) dry=1 ;;
    --uninstall) uninstall=1 ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail 2 "unknown argument $1; --help says what there is" ;;
  esac
  shift
done

# Says the sentence and, unless it is a dry run, does the rest of the line.
act() {
  echo "$1"
  shift
  [ "$dry" -eq 1 ] || "$@"
}

has() { command -v "$1" >/dev/null 2>&1; }
# With --root the running machine is not the one that is being installed.
managed() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

# A file appears whole and in place of a running one; units are told where the program is.
place() { # MODE FROM TO
  mkdir -p "$(dirname "$3")"
  sed_or_copy "$2" "$3.new"
  chmod "$1" "$3.new"
  mv "$3.new" "$3"
}
sed_or_copy() {
  case $1 in
    *.service) sed -e "s|/usr/bin/|$prefix/bin/|g" -e "s|/usr/share/doc/|$prefix/share/doc/|g" "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
  esac
}

# What is installed: mode, name here, place.
files() {
  cat <<LIST
755 bailiwick-agent $prefix/bin/bailiwick-agent
644 README.md $prefix/share/doc/bailiwick-agent/README.md
644 LICENSE $prefix/share/doc/bailiwick-agent/LICENSE
644 bailiwick-agent.service /etc/systemd/system/bailiwick-agent.service
644 bailiwick-agent-join.service /etc/systemd/system/bailiwick-agent-join.service
644 bailiwick-agent.sysusers /etc/sysusers.d/bailiwick-agent.conf
644 bailiwick-agent.tmpfiles /etc/tmpfiles.d/bailiwick-agent.conf
LIST
}

check_machine() {
  for name in bailiwick-agent agent.yaml bailiwick-agent.service; do
    [ -f "$here/$name" ] || fail 4 "$here/$name is missing; unpack the whole archive and run install.sh where it lies"
  done
  [ "$dry" -eq 1 ] || [ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail 3 "run it as root (or see what it would do: --dry-run)"
  [ -n "$root" ] || "$here/bailiwick-agent" --version >/dev/null 2>&1 ||
    fail 5 "bailiwick-agent does not run on this machine ($(uname -sm)); take the archive for its processor"
}

make_user() {
  if id "$user" >/dev/null 2>&1; then
    echo "user $user: is there"
  elif has systemd-sysusers; then
    act "user $user: made by systemd-sysusers" systemd-sysusers /etc/sysusers.d/bailiwick-agent.conf
  elif has useradd; then
    act "user $user: made by useradd" useradd --system --user-group --home-dir "$data" --no-create-home --shell /usr/sbin/nologin "$user"
  elif has adduser; then
    act "group $user: made by addgroup" addgroup -S "$user"
    act "user $user: made by adduser" adduser -S -D -H -h "$data" -s /sbin/nologin -G "$user" "$user"
  else
    fail 5 "no systemd-sysusers, useradd or adduser: make the user $user by hand and run install.sh again"
  fi
}

make_data() {
  mkdir -p "$data"
  chown "$user:$user" "$data"
  chmod 711 "$data" # others walk through to replicas/
}

do_install() {
  check_machine
  files | while read -r mode name to; do
    act "install $root$to" place "$mode" "$here/$name" "$root$to"
  done
  if [ ! -e "$root$config" ]; then
    act "install $root$config" place 644 "$here/agent.yaml" "$root$config"
  elif ! cmp -s "$here/agent.yaml" "$root$config"; then
    act "keep $root$config, which is not as shipped; what is shipped is beside it (.dist)" place 644 "$here/agent.yaml" "$root$config.dist"
  fi
  if [ -z "$root" ]; then
    make_user
    act "directory $data: for $user" make_data
  fi
  if managed; then
    act "systemd: reload, enable bailiwick-agent" systemctl daemon-reload
    [ "$dry" -eq 1 ] || systemctl enable --quiet bailiwick-agent
    act "systemd: start bailiwick-agent (it waits until this machine has joined)" systemctl restart bailiwick-agent
  fi
  how_on
}

how_on() {
  echo "next: put the string from \"bailiwick site join-token SITE\" into /etc/bailiwick/join-string (mode 600), then"
  if managed; then
    echo "  systemctl restart bailiwick-agent"
  else
    echo "  as $user: $prefix/bin/bailiwick-agent join --data-dir $data --join-file FILE"
    echo "  as $user: $prefix/bin/bailiwick-agent run --config $config"
  fi
}

do_uninstall() {
  [ "$dry" -eq 1 ] || [ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail 3 "run it as root (or see what it would do: --dry-run)"
  if managed && [ -e /etc/systemd/system/bailiwick-agent.service ]; then
    act "systemd: stop and disable bailiwick-agent" systemctl disable --quiet --now bailiwick-agent
  fi
  files | while read -r _ _ to; do
    [ ! -e "$root$to" ] || act "remove $root$to" rm "$root$to"
  done
  [ "$dry" -eq 1 ] || rmdir "$root$prefix/share/doc/bailiwick-agent" 2>/dev/null || true
  if managed; then
    act "systemd: reload" systemctl daemon-reload
  fi
  echo "kept: $root$config, the data in $root$data, the user $user; to remove them for good:"
  echo "  rm -r $root$data $root/etc/bailiwick && userdel $user"
}

if [ "$uninstall" -eq 1 ]; then do_uninstall; else do_install; fi
