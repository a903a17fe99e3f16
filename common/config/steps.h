// Steps of an admin that would let data out by another door: relabelling a dataset, moving a site to another region or
// entity. They are decisions of the law, judged by the same evaluator as flows. Pure and thread-safe.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/config/world.h"
#include "common/policy/model.h"

namespace bailiwick::config {

// Whether the law in force lets the catalog become `after`. `known` are the verified classifications in force; a
// dataset that has none is new and no relabelling, a site that the law does not know is new and no move. What is judged
// against what is said at `Action` in resource.proto; an action that no rule of the law names is free.
// PERMISSION_DENIED: one line for each step that is denied, with its place where `located` has it and the decision.
absl::Status CheckSteps(const policy::World& law, const std::vector<Classification>& known, const Catalog& after,
                        const std::vector<Located>& located, absl::Time now);

}  // namespace bailiwick::config
