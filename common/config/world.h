// From resources and signed bytes to the values that decide: catalogs of resources, the policy world, classifications.
#pragma once

#include <map>
#include <set>
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
// CompileTimeZones where the law is signed, else from the bundle). INVALID_ARGUMENT lists every problem;
// FAILED_PRECONDITION when one of them is that something of `deleted` is named yet.
absl::Status Validate(const Catalog& catalog, const std::vector<Located>& located, absl::Time now,
                      const TimeZones& zones, const std::set<ResourceKey>& deleted = {});

// The world of a catalog: regions, sites, rules. Its time zones are the caller's to set. INVALID_ARGUMENT when a
// resource is unusable.
absl::StatusOr<policy::World> BuildWorld(const Catalog& catalog);

// An operator that this version does not know becomes a condition that is an error, never one that holds.
policy::Selector ToSelector(const resource::v1::LabelSelector& selector);

// A policy root's keys and threshold, with its hash.
struct PolicyRoot {
  std::vector<std::string> keys;
  uint32_t threshold = 1;
  uint64_t number = 1;  // one more with each rotation
};
std::string EncodePolicyRoot(const PolicyRoot& root);
absl::StatusOr<PolicyRoot> DecodePolicyRoot(std::string_view bytes);  // INVALID_ARGUMENT
std::string PolicyRootSha256(const PolicyRoot& root);                 // 32 bytes, as in the join string

// Roots from the first to the newest, each but the first in an envelope signed by the one before and by itself. Empty:
// there was only one.
using RootChain = std::vector<crypto::Envelope>;
std::string RootHash(const crypto::Envelope& link);  // SHA-256 of the root in it
// OK if the link is the next root after `before`, signed by the thresholds of both. PERMISSION_DENIED.
absl::Status CheckSuccessor(const PolicyRoot& before, const crypto::Envelope& link);
// SHA-256 of the newest root, if the chain leads there from the one with `root_sha256`. PERMISSION_DENIED.
absl::StatusOr<std::string> WalkRoots(const RootChain& chain, std::string_view root_sha256);

// Appends the resources of the catalog that are law (regions, sites, sovereignty policies) in the order a bundle needs.
void AddLaw(const Catalog& catalog, resource::v1::PolicyBundle* bundle);

// How far a bundle may be above the one before it: further than by one where revisions in between were lost.
inline constexpr uint64_t kMaxRevisionStep = 1000;

// Verifies an envelope that should carry a policy bundle: the root inside is the newest of the chain, which leads there
// from the one that hashes to `root_sha256` (32 bytes); threshold signatures by its keys, format known, resources
// valid. PERMISSION_DENIED: not signed as it must be. INVALID_ARGUMENT: signed but unusable.
struct Bundle {
  resource::v1::PolicyBundle message;
  policy::World world;  // complete, with keys, revision and digest
  Catalog resources;
};
absl::StatusOr<Bundle> OpenBundle(const crypto::Envelope& envelope, std::string_view root_sha256,
                                  const RootChain& chain = {});
// The same without any look at root or signatures: for what waits for them. Nobody may act on it.
absl::StatusOr<Bundle> OpenUnsigned(const crypto::Envelope& envelope);

// Says until when a bundle counts as the current one.
struct PolicyTimestamp {
  absl::Time issued_at, expires;
};
crypto::Envelope SignTimestamp(const policy::World& world, absl::Time now, const crypto::SigningKey& key);
// PERMISSION_DENIED, INVALID_ARGUMENT: not a timestamp to believe. FAILED_PRECONDITION: of another bundle than this
// one.
absl::StatusOr<PolicyTimestamp> OpenTimestamp(const crypto::Envelope& envelope, const policy::World& world);
// When a timestamp was made, of whatever bundle: what time it was at least. The same errors.
absl::StatusOr<absl::Time> OpenTime(const crypto::Envelope& envelope, const policy::World& world);

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
  std::string limited_by;  // the key of the delegated classifier that signed it; empty: no limits
};
// Signed by a classifier key, a delegated classifier within its limits, or the threshold of the root.
absl::StatusOr<Classification> OpenClassification(const crypto::Envelope& envelope, const policy::World& world);
// The same when only some of the root have signed: for what waits for more. Nobody may act on it.
absl::StatusOr<Classification> OpenPendingClassification(const crypto::Envelope& envelope, const policy::World& world);
// What a record that was verified before says, without another look at its signature.
absl::StatusOr<Classification> ReadKeptClassification(const crypto::Envelope& envelope);
// PERMISSION_DENIED: the record is outside of the limits.
absl::Status CheckClassifierLimits(const policy::Classifier& by, const Classification& c, const policy::World& world);
// Whether `next` may take the place of what is known under the same id: newer, the same dataset, and known within the
// limits of who signed it. FAILED_PRECONDITION: not newer. PERMISSION_DENIED: not theirs to change.
absl::Status MayReplace(const Classification& known, const Classification& next, const policy::World& world);
// Id of a family's stream at a site, its name NAME@SITE, and the classification of the stream.
DatasetId StreamId(DatasetId family, std::string_view site);
std::string StreamName(std::string_view family, std::string_view site);
// INVALID_ARGUMENT unless the record is a family and the site matches its selector in the signed registry.
absl::StatusOr<Classification> StreamOf(const Classification& family, std::string_view site,
                                        const policy::World& world);

}  // namespace bailiwick::config
