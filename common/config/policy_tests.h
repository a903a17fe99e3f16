// Runs the tests that sovereignty policies carry: cases and invariants. Pure.
#pragma once

#include "absl/time/time.h"
#include "common/config/check.h"
#include "common/policy/model.h"

namespace bailiwick::config {

// `world` is built from the same catalog as the policy; `complain` hears of every test that fails.
void RunPolicyTests(const policy::World& world, const resource::v1::SovereigntyPolicySpec& spec, absl::Time now,
                    const Complain& complain);

}  // namespace bailiwick::config
