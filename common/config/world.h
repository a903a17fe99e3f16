// From resources and signed bytes to the values that decide: catalogs of resources, the policy world, classifications.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bailiwick/resource/v1/bundle.pb.h"
#include "bailiwick/resource/v1/resource.pb.h"
#include "common/base/ids.h"
#include "common/config/yaml.h"
#include "common/crypto/sign.h"
#include "common/policy/model.h"

namespace bailiwick::config {

using ResourceKey = std::pair<std::string, std::string>;  // kind, name
using Catalog = std::map<ResourceKey, Resource>;
using TimeZones = std::map<std::string, policy::TimeZone>;

// Checks that the whole catalog holds together: parents of regions, regions of sites, homes of datasets, sites and
// regions in policies, sets in rules, at most one Target kind, obligations supported; runs the policies' own tests.
// `located` (may be empty) gives positions for messages; `zones` holds the time zones that the rules name (from
// CompileTimeZones where the law is signed, else from the bundle). INVALID_ARGUMENT lists every problem.
absl::Status Validate(const Catalog& catalog, const std::vector<Located>& located, absl::Time now,
                      const TimeZones& zones);

// The world of a catalog: regions, sites, rules. Its time zones are the caller's to set. INVALID_ARGUMENT when a
// resource is unusable.
absl::StatusOr<policy::World> BuildWorld(const Catalog& catalog);

// An operator that this version does not know becomes a condition that is an error, never one that holds.
policy::Selector ToSelector(const resource::v1::LabelSelector& selector);

// A policy root's keys and threshold, with its hash.
struct PolicyRoot {
  std::vector<std::string> keys;
  uint32_t threshold = 1;
};
std::string EncodePolicyRoot(const PolicyRoot& root);
absl::StatusOr<PolicyRoot> DecodePolicyRoot(std::string_view bytes);  // INVALID_ARGUMENT
std::string PolicyRootSha256(const PolicyRoot& root);                 // 32 bytes, as in the join string

// Appends the resources of the catalog that are law (regions, sites, sovereignty policies) in the order a bundle needs.
void AddLaw(const Catalog& catalog, resource::v1::PolicyBundle* bundle);

// Verifies an envelope that should carry a policy bundle: the root inside hashes to `root_sha256` (32 bytes), threshold
// signatures by its keys, format known, resources valid. PERMISSION_DENIED: not signed as it must be.
// INVALID_ARGUMENT: signed but unusable.
struct Bundle {
  resource::v1::PolicyBundle message;
  policy::World world;  // complete, with keys, revision and digest
  Catalog resources;
};
absl::StatusOr<Bundle> OpenBundle(const crypto::Envelope& envelope, std::string_view root_sha256);

// A verified classification: who the dataset is, in law.
struct Classification {
  DatasetId dataset_id;
  std::string dataset;
  policy::Labels labels;
  std::string home_site;  // or family:
  bool family = false;
  policy::Selector home_selector;
  uint64_t epoch = 0;
  uint64_t revision = 0;
};
absl::StatusOr<Classification> OpenClassification(const crypto::Envelope& envelope, const policy::World& world);
// Id of a family's stream at a site, its name NAME@SITE, and the classification of the stream.
DatasetId StreamId(DatasetId family, std::string_view site);
std::string StreamName(std::string_view family, std::string_view site);
// INVALID_ARGUMENT unless the record is a family and the site matches its selector in the signed registry.
absl::StatusOr<Classification> StreamOf(const Classification& family, std::string_view site,
                                        const policy::World& world);

}  // namespace bailiwick::config
