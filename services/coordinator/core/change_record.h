// What the audit log keeps of a change of resources: every resource that it touched, and how.
#pragma once

#include <string>
#include <vector>

#include "common/config/yaml.h"
#include "services/coordinator/catalog/catalog.h"

namespace bailiwick::coordinator {

// Details of one record or more, each small enough for the log:
// {"by":..., "policyRevision":N, "part":1, "parts":N, "changes":[{"resource":"KIND/NAME", "diff":"-...\n+..."}, ...]}
// A diff has the lines of YAML that only one side has; empty: signed again as it was. One that is too long for a record
// is given by the SHA-256 of both texts. What the bundle says beside resources (the root's keys and threshold, pinned
// and other keys, delegated classifiers, how long it counts) is the resource "PolicyBundle/keys". `law` is the bundle
// before; null: none. Pure function.
std::vector<std::string> ChangeRecords(const std::string& who, const Change& change, const config::Catalog& before,
                                       const resource::v1::PolicyBundle* law);

// What changed, a few words for each: "Site/core, -Region/us, root key +4f61caf4, threshold 2, maxAge 90d". Pure
// function.
std::string Summary(const Change& change, const resource::v1::PolicyBundle* law);

}  // namespace bailiwick::coordinator
