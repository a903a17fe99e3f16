// A small fleet as YAML, for tests: two jurisdictions, a site in each, a dataset of people at one of them.
#pragma once

namespace bailiwick::config {

inline constexpr char kFleet[] = R"yaml(
apiVersion: bailiwick/v1
kind: Region
metadata: {name: eu}
spec: {}
---
apiVersion: bailiwick/v1
kind: Region
metadata: {name: eu/de}
spec: {}
---
apiVersion: bailiwick/v1
kind: Region
metadata: {name: us}
spec: {}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: factory, labels: {tier: edge}}
spec: {region: eu/de, entity: acme}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: cloud, labels: {tier: cloud}}
spec: {region: us, entity: acme-inc}
---
apiVersion: bailiwick/v1
kind: Dataset
metadata: {name: scans, labels: {class: health, pii: "yes"}}
spec: {home: {site: factory, path: /srv/scans}}
)yaml";

}  // namespace bailiwick::config
