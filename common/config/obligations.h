// Which obligations this version's agents enforce. One list: `apply` refuses a rule with any other, and an agent treats
// such a rule as an error, which denies. Whoever implements the enforcement of an obligation adds its name here in the
// same change.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bailiwick/resource/v1/resource.pb.h"
#include "common/config/world.h"

namespace bailiwick::config {

// By YAML name: encryptAtRest, maxRetention, maxHops, noTransit.
inline constexpr std::array<std::string_view, 4> kSupportedObligations = {"encryptAtRest", "maxRetention", "maxHops",
                                                                          "noTransit"};

// What a build says it enforces (agent.v1.AgentHello.enforces): the supported obligations and the parts of the language
// that came after its first version.
std::vector<std::string> EnforcedParts();
// Those of these parts that the sovereignty policies of the catalog need, each with the policy that does.
std::map<std::string, std::string> NeededParts(const Catalog& catalog);

// The YAML name of what the obligation asks; empty when it is of a newer version.
std::string_view ObligationName(const resource::v1::Obligation& obligation);

inline bool IsSupported(std::string_view obligation) {
  return std::find(kSupportedObligations.begin(), kSupportedObligations.end(), obligation) !=
         kSupportedObligations.end();
}

}  // namespace bailiwick::config
