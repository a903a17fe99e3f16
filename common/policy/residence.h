// May a copy lie where it is? `reside`, from the dataset's home. A copy does not know any more for which purpose it
// came: one that some purpose permits is lawful. Pure and thread-safe.
#pragma once

#include <string>

#include "common/policy/evaluator.h"

namespace bailiwick::policy {

// The decision without a purpose when that permits, else of the first purpose of the law, by name, that does; else the
// former.
Decision EvaluateResidence(const World& world, const Labels& data, const std::string& home_site,
                           const std::string& site, absl::Time now);

}  // namespace bailiwick::policy
