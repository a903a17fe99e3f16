#!/bin/bash
# Sets the fleet of compose.yaml up, once; run again it changes nothing. Makes a policy key and a context from the first
# admin's identity, declares fleet.yaml, and leaves a join string for each site.
set -euo pipefail
state=/var/lib/bailiwick
export BAILIWICK_CONTEXT=$state

if [ ! -e $state/context.yaml ]; then
  rm -f $state/policy.pem
  root=$(bailiwick policy keygen --out $state/policy.pem | sed -n 's/^policyRootSha256: //p')
  cat > $state/context.yaml.new <<END
coordinator: coordinator:7440
trustDomain: compose.example
credentials: /coordinator/admin
policyKeys: [policy.pem]
policyRootSha256: $root
END
  mv $state/context.yaml.new $state/context.yaml
fi

for _ in $(seq 60); do
  bailiwick status >/dev/null 2>&1 && break
  sleep 1
done
bailiwick apply -f /fleet.yaml

mkdir -p $state/joins
for site in factory core cloud-us; do
  [ -e $state/joins/$site ] && continue
  bailiwick site join-token $site > $state/joins/$site.new
  mv $state/joins/$site.new $state/joins/$site
done
