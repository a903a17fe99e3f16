// What one resource alone can say wrong: names, labels, paths, sizes, dates. References between resources are
// Validate's.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "bailiwick/resource/v1/resource.pb.h"

namespace bailiwick::config {

// Called with the path of the field ("spec.rules[2].id") and what is wrong with it.
using Complain = std::function<void(const std::string& path, const std::string& problem)>;

// Why it is no name of a resource or a person; empty: it is one. `dots`: of a dataset.
std::string NameProblem(const std::string& name, bool dots = false);

void CheckResource(const resource::v1::Resource& resource, const Complain& complain);

inline constexpr std::string_view kSetPrefix = "set:";
// UTC midnight of a day written YYYY-MM-DD; nothing for any other text or a day that does not exist.
std::optional<absl::Time> ParseDay(std::string_view text);

}  // namespace bailiwick::config
