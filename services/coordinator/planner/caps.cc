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
  std::map<std::string, int> from, to;  // the highest priority that gets on
  for (const RunningTransfer& transfer : running) {
    if (transfer.stalled) continue;
    from[transfer.source] = std::max(from[transfer.source], transfer.priority);
    to[transfer.destination] = std::max(to[transfer.destination], transfer.priority);
  }
  std::set<std::string> yielding;
  for (const RunningTransfer& transfer : running) {
    if (from[transfer.source] > transfer.priority || to[transfer.destination] > transfer.priority) {
      yielding.insert(transfer.transfer_id);
    }
  }
  return yielding;
}

}  // namespace bailiwick::coordinator
