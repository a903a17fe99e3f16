// Runs the tests that sovereignty policies carry: cases and invariants. Pure.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/config/check.h"
#include "common/policy/model.h"

namespace bailiwick::config {

struct PolicyTestResult {
  std::string name;
  std::string path;  // "spec.tests[2]"
  bool passed = false;
  bool invariant = false;
  std::string message;          // why not; for an invariant that fails, the way that the data takes
  std::set<std::string> rules;  // of a case: "policy/id" of every rule that applied, which is what it exercises
};

// `world` is built from the same catalog as the policy, whose name is `policy`.
std::vector<PolicyTestResult> RunTests(const policy::World& world, const std::string& policy,
                                       const resource::v1::SovereigntyPolicySpec& spec, absl::Time now);

// The same, for those who ask only what fails: `complain` hears of every test that does.
void RunPolicyTests(const policy::World& world, const std::string& policy,
                    const resource::v1::SovereigntyPolicySpec& spec, absl::Time now, const Complain& complain);

}  // namespace bailiwick::config
