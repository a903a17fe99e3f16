#include "services/coordinator/planner/caps.h"

#include <algorithm>

#include "common/policy/window.h"

namespace bailiwick::coordinator {
namespace {

bool Sends(const PlannedCap& cap, const PlannedSite& site) {
  return cap.site.empty() ? policy::RegionContains(cap.from, site.region) : site.name == cap.site;
}

bool About(const PlannedCap& cap, const PlannedSite& source, const PlannedSite& destination) {
  return Sends(cap, source) && (cap.to.empty() || policy::RegionContains(cap.to, destination.region));
}

}  // namespace

std::map<std::string, std::vector<SiteCap>> CapsBySite(const std::vector<PlannedCap>& caps,
                                                       const std::map<std::string, PlannedSite>& sites,
                                                       const std::vector<RunningTransfer>& running,
                                                       const policy::World& zones, absl::Time now) {
  std::map<std::string, std::vector<SiteCap>> out;
  for (const PlannedCap& cap : caps) {
    if (policy::JudgeWhen(zones, cap.when, now).truth == policy::Truth::kFalse) continue;
    std::map<std::string, uint64_t> flows;  // by source
    uint64_t all = 0;
    for (const RunningTransfer& transfer : running) {
      auto source = sites.find(transfer.source), destination = sites.find(transfer.destination);
      if (source == sites.end() || destination == sites.end()) continue;
      if (transfer.stalled || transfer.yields || !About(cap, source->second, destination->second)) continue;
      ++flows[transfer.source];
      ++all;
    }
    for (const auto& [name, site] : sites) {
      if (!Sends(cap, site)) continue;
      auto mine = flows.find(name);
      const uint64_t limit = mine == flows.end() ? cap.bytes_per_second : cap.bytes_per_second / all * mine->second;
      out[name].push_back({cap.id, cap.to, std::max<uint64_t>(limit, 1)});
    }
  }
  return out;
}

std::set<std::string> Yielding(const std::vector<RunningTransfer>& running) {
  std::vector<const RunningTransfer*> by_priority;  // the highest first
  for (const RunningTransfer& transfer : running) by_priority.push_back(&transfer);
  std::stable_sort(by_priority.begin(), by_priority.end(),
                   [](const auto* a, const auto* b) { return a->priority > b->priority; });
  std::map<std::string, int> from, to;  // the highest priority that gets on: nobody waits for one that waits itself
  auto waits_for = [](const std::map<std::string, int>& highest, const std::string& site, int priority) {
    auto at = highest.find(site);
    return at != highest.end() && at->second > priority;
  };
  std::set<std::string> yielding;
  for (const RunningTransfer* t : by_priority) {
    if (waits_for(from, t->source, t->priority) || waits_for(to, t->destination, t->priority)) {
      yielding.insert(t->transfer_id);
    } else if (!t->stalled) {
      from.emplace(t->source, t->priority);
      to.emplace(t->destination, t->priority);
    }
  }
  return yielding;
}

}  // namespace bailiwick::coordinator
