#!/usr/bin/env bash
# deploy/quickstart.sh [DIRECTORY]
# Builds Bailiwick, starts a coordinator and three sites on this machine and tells, step by step, the story of a directory that is
# replicated to where the law allows and refused where it does not. DIRECTORY (default: one of this machine with some thousand
# files) is only read: the story plays with a copy of it. Everything lies under build/quickstart; a second run starts anew there.
set -euo pipefail
usage() { sed -n '2,5s/^# \{0,1\}//p' "$0"; }
case ${1:-} in -h | --help) usage; exit 0 ;; -*) usage >&2; exit 2 ;; esac
[ $# -le 1 ] || { usage >&2; exit 2; }
start_directory=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source deploy/build-env.sh

base=$BAILIWICK_ROOT/build/quickstart
fleet=$base/fleet
source_dir=$base/source
began=$SECONDS
step_number=0
step() { step_number=$((step_number + 1)); printf '\n[%2d] %s  (%d s so far)\n' "$step_number" "$*" "$((SECONDS - began))"; }
say() { printf '     %s\n' "$*"; }
fail() { printf '\nquickstart: %s\n' "$*" >&2; exit 1; }
show() {  # prints a command and runs it, indented
  printf '     $ %s\n' "${*/#$BAILIWICK_ROOT\//}"
  "$@" 2>&1 | sed 's/^/     /'
  return "${PIPESTATUS[0]}"
}
human() { numfmt --to=iec-i --suffix=B --format=%.1f "$1"; }
count_files() { { find "$1" -xdev -type f 2>/dev/null || true; } | wc -l; }   # what cannot be read is not counted

choose_directory() {  # a real directory of this machine with 2,000 to 20,000 files
  local candidate files
  for candidate in /usr/share/doc /usr/include /usr/lib/python3 /usr/share /usr/lib; do
    [ -d "$candidate" ] || continue
    files=$(count_files "$candidate")
    if [ "$files" -ge 2000 ] && [ "$files" -le 20000 ]; then echo "$candidate"; return; fi
  done
  echo /usr/include
}

step "Packages: installing what is missing"
deploy/install-packages.sh

step "Building the three programs (preset release, $BAILIWICK_JOBS jobs; log: build/release.log)"
bw_build release bailiwick bailiwick-agent bailiwick-coordinator || exit 1
bin=$BAILIWICK_ROOT/build/release/bin
cli=$bin/bailiwick
say "$("$cli" --version)"

if [ -e "$fleet" ]; then
  step "An earlier quickstart is there: taking it down and removing it"
  "$cli" dev down --dir "$fleet" --purge --yes >/dev/null || fail "could not take down the fleet in $fleet"
fi
# Only what this script made is removed: its own directory under build/.
if [ -e "$base" ]; then chmod -R u+w "$base" && rm -rf "$base"; fi
mkdir -p "$base"

original=${1:-$(choose_directory)}
case $original in /*) ;; *) original=$start_directory/$original ;; esac
[ -d "$original" ] || fail "$original is not a directory; name one that exists"
original=$(cd "$original" && pwd -P)
files=$(count_files "$original")
[ "$files" -gt 0 ] || fail "$original holds no file that can be read; name a directory with some files"
kib=$(du -sk "$original" 2>/dev/null | cut -f1)
free=$(df -Pk "$base" | awk 'NR == 2 {print $4}')
[ "$free" -gt $((kib * 5)) ] ||
  fail "$original is $((kib / 1024)) MiB; the story needs about five times that under $base and there are $((free / 1024)) MiB: name a smaller one"

step "Copying $original ($files files, $((kib / 1024)) MiB): the story changes a file, and yours stays as it is"
exclude=()
case $base/ in "$original"/*) exclude=(--exclude "/${base#"$original"/}") ;; esac   # the copy is not copied into itself
rsync -a --no-D --no-owner --no-group "${exclude[@]}" "$original/" "$source_dir/" ||
  fail "could not copy all of $original (rsync's words are above); name a directory that you may read"
chmod u+rwx "$source_dir"
say "the working copy is $source_dir"

step "Starting a coordinator and three sites: factory (Frankfurt, edge), core (Germany, on-prem), cloud-us (US East, cloud)"
show "$cli" dev up --dir "$fleet" --site factory=eu/de/fra,tier=edge --site core=eu/de,tier=onprem --site cloud-us=us/east,tier=cloud ||
  fail "the fleet did not start; its logs: $fleet/coordinator.log, $fleet/sites/*.log"
export BAILIWICK_CONTEXT=$fleet

step "Declaring what is replicated (dataset), what is wanted (replication) and what may be (sovereignty)"
mkdir -p "$base/config"
for file in deploy/quickstart/*.yaml; do
  path=$source_dir name=$(basename "$file") python3 - "$file" "$base/config/$(basename "$file")" <<'PY'
import json, os, sys
text = open(sys.argv[1]).read().replace('"@SOURCE@"', json.dumps(os.environ["path"]))
open(sys.argv[2], "w").write(text)
PY
done
show "$cli" apply -f "$base/config" || fail "the configuration in $base/config was refused"

step "Committing version 1 at factory, and waiting until it is where it may be"
show "$cli" dataset commit quickstart --message "first" --wait || fail "version 1 did not arrive"
core=$fleet/sites/core/replicas/quickstart/current
"$cli" wait dataset quickstart --version 1 --site core --timeout 300s >/dev/null || fail "version 1 is not at core"

step "Is the copy at core the same as the source?"
say "\$ diff -r --no-dereference SOURCE $core/"
diff -r --no-dereference "$source_dir" "$core/" >"$base/diff.txt" 2>&1 || { head -5 "$base/diff.txt" >&2; fail "core differs from the source"; }
say "no difference in $(count_files "$core/") files"

step "And cloud-us? The policy wants it there; the law forbids it"
reason=$("$cli" why quickstart cloud-us || true)
say "\$ bailiwick why quickstart cloud-us"
say "$reason"
grep -q 'acme/eu-data-stays' <<<"$reason" || fail "the reason does not name the rule acme/eu-data-stays"
code=0
"$cli" policy explain --dataset quickstart --from factory --to cloud-us >"$base/explain.txt" || code=$?
[ "$code" -eq 3 ] || fail "policy explain ended with $code; denied is 3"
say "\$ bailiwick policy explain --dataset quickstart --from factory --to cloud-us"
sed 's/^/     /' "$base/explain.txt"
packs=$(count_files "$fleet/sites/cloud-us/datasets")
trees=$(count_files "$fleet/sites/cloud-us/replicas")
say "on the disk of cloud-us: $packs files of chunks, $trees files laid out"
[ "$packs" -eq 0 ] && [ "$trees" -eq 0 ] || fail "something lies at cloud-us"

step "Changing one file and committing version 2"
changed=$(find "$source_dir" -type f -size +8k -size -1024k | LC_ALL=C sort | sed -n 1p)
[ -n "$changed" ] || changed=$(find "$source_dir" -type f | LC_ALL=C sort | sed -n 1p)
chmod u+w "$changed"
echo "one more line, written by the quickstart" >>"$changed"
say "a line more in ${changed#"$source_dir"/} ($(human "$(stat -c %s "$changed")"))"
show "$cli" dataset commit quickstart --message "second" --wait || fail "version 2 did not arrive"
"$cli" wait dataset quickstart --version 2 --site core --timeout 300s >/dev/null || fail "version 2 is not at core"
diff -r --no-dereference "$source_dir" "$core/" >"$base/diff.txt" 2>&1 || { head -5 "$base/diff.txt" >&2; fail "core differs from the source"; }
wire() {  # bytes on the wire of one version to core
  "$cli" transfer list -o json | python3 -c '
import json, sys
document = json.load(sys.stdin)
rows = next(value for value in document.values() if isinstance(value, list))
print(sum(int(row.get("wireBytes", 0)) for row in rows
          if row["dataset"] == "quickstart" and int(row["version"]) == int(sys.argv[1]) and row["destination"] == "core"))' "$1"
}
first=$(wire 1)
for _ in $(seq 20); do   # the last word about a transfer may come a moment after the version is there
  second=$(wire 2)
  [ "$second" -eq 0 ] || break
  sleep 0.1
done
say "on the wire: version 1 $(human "$first"), version 2 $(human "$second")"
[ "$second" -gt 0 ] && [ "$second" -lt 1048576 ] || fail "version 2 cost $second bytes; a changed line should cost less than 1 MiB"

step "Rolling core back to version 1, and forward again"
name=${changed#"$source_dir"/}
last_line() { tail -n 1 "$core/$name" | tr -d '\0'; }
await() { for _ in $(seq 100); do if "$@"; then return 0; fi; sleep 0.1; done; return 1; }
is_old() { [ "$(last_line)" != "one more line, written by the quickstart" ]; }
is_new() { ! is_old; }
show "$cli" dataset rollback quickstart 1 --site core || fail "the rollback was refused"
await is_old || fail "core still shows version 2"
say "core shows the file as it was"
show "$cli" dataset rollback quickstart latest --site core || fail "rolling forward was refused"
await is_new || fail "core still shows version 1"
say "core shows the newest version again"

step "Reading every byte back: verify"
show "$cli" dataset verify quickstart --site core || fail "verify found a problem"

step "Done. The fleet keeps running; try next"
say "export BAILIWICK_CONTEXT=$fleet PATH=$bin:\$PATH"
say "bailiwick status                                  # sites, versions, lag"
say "bailiwick get replicas -w                         # and in another shell: change files, then"
say "bailiwick dataset commit quickstart --wait"
say "bailiwick dataset diff quickstart 1 2"
say "bailiwick dev kill core; bailiwick dataset commit quickstart; bailiwick dev start core    # it heals"
say "bailiwick-agent exec quickstart --data-dir $fleet/sites/core -- ls"
say "edit $base/config/sovereignty.yaml and: bailiwick apply -f $base/config"
say "stop it with: bailiwick dev down --dir $fleet --purge"
