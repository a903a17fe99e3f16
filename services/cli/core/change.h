// What a change of the catalog makes the admin sign: pure, apart from the new dataset ids.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/config/world.h"
#include "common/crypto/sign.h"
#include "common/os/random.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {

struct Known {  // as the coordinator holds it, verified
  config::Catalog resources;
  config::Bundle bundle;  // revision 0: none yet
  std::vector<config::Classification> classifications;
  std::string trust_domain;
  std::string grant_key;
  std::string timestamp_key;  // empty: the coordinator has none
  config::RootChain roots;
  std::vector<crypto::Envelope> records;  // the classifications, as they were signed
  // The highest revision that an agent has installed. Above the bundle's: the coordinator came back from a backup, and
  // only a law above that one counts for the agents.
  uint64_t installed = 0;
  std::set<std::string> away;  // sites that are not connected
};

struct Signed {
  control::v1::ApplyRequest request;  // without expected_generation
  ChangeReport report;
  bool anything = false;
};

// INVALID_ARGUMENT, NOT_FOUND: the change cannot be made. `keys`: the policy keys at hand; those of the root sign.
absl::StatusOr<Signed> SignChange(const Known& known, const CatalogChange& change,
                                  const std::vector<crypto::SigningKey>& keys, absl::Time now, os::Random* random);

// The policy keys that the context names, read from their files.
absl::StatusOr<std::vector<crypto::SigningKey>> PolicyKeys(const Context& context);
// What the coordinator holds now, verified.
absl::StatusOr<Known> ReadKnown(Admin& admin, uint64_t* generation);

// As it may be shown to a coordinator that is only to check it: nothing that it could apply.
control::v1::ApplyRequest WithoutSignatures(control::v1::ApplyRequest request);

// Whose signatures the change lacks, one sentence as the coordinator says it; empty: none.
std::string MissingSignatures(const Known& known, const control::v1::ApplyRequest& request);

// Lines of `before` and `after` that differ, with - and + in front, in order; before each run of them the lines of
// `before` that it lies below, with spaces in front, so that one sees what was changed.
std::string LineDiff(const std::string& before, const std::string& after);

}  // namespace bailiwick::cli
