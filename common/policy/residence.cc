#include "common/policy/residence.h"

#include <set>

namespace bailiwick::policy {

Decision EvaluateResidence(const World& world, const Labels& data, const std::string& home_site,
                           const std::string& site, absl::Time now) {
  Request request{.data = data, .from_site = home_site, .to_site = site, .action = Action::kReside};
  const Decision without = Evaluate(world, request, now);
  if (without.permitted) return without;
  std::set<std::string> purposes;
  for (const Rule& rule : world.rules) purposes.insert(rule.purposes.begin(), rule.purposes.end());
  for (const std::string& purpose : purposes) {
    request.purpose = purpose;
    Decision decision = Evaluate(world, request, now);
    if (decision.permitted) return decision;
  }
  return without;
}

}  // namespace bailiwick::policy
