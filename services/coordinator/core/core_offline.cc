// What sites need to know to go on without this coordinator, where the law delegates that to them.
#include <algorithm>

#include "common/policy/offline.h"
#include "services/coordinator/core/core.h"
#include "services/coordinator/planner/targets.h"

namespace bailiwick::coordinator {
namespace {

// A timestamp is made anew many times in its life, and in the time that the law delegates: an outage of the coordinator
// begins with nearly all of both left.
constexpr int kTimestampsInALife = 96;
constexpr int kTimestampsInADelegation = 20;
constexpr absl::Duration kMinTimestampEvery = absl::Seconds(1), kMaxTimestampEvery = absl::Minutes(15);

agent::v1::StandingPeer PeerOf(const PlannedSite& site, const std::string& purpose, bool dial) {
  agent::v1::StandingPeer peer;
  peer.set_site(site.name);
  peer.set_spiffe_id(site.spiffe_id);
  if (dial) peer.set_endpoint(site.endpoint);
  peer.set_purpose(purpose);
  return peer;
}

}  // namespace

absl::Duration Core::TimestampEvery() const {
  absl::Duration every = bundle_->world.timestamp_life / kTimestampsInALife;
  for (const policy::Offline& offline : bundle_->world.offline) {
    every = std::min(every, offline.max_staleness / kTimestampsInADelegation);
  }
  return std::clamp(every, kMinTimestampEvery, kMaxTimestampEvery);
}

// From the home only, and only the newest version: replicas that must get every version in order wait for a planner.
void Core::PlanStanding(const PlanInput& input) {
  standing_.clear();
  if (input.world == nullptr || input.world->offline.empty()) return;
  std::map<DatasetId, const PlannedDataset*> datasets;
  for (const PlannedDataset& dataset : input.datasets) datasets[dataset.id] = &dataset;
  for (const Wanted& wanted : plan_.wanted) {
    auto dataset = datasets.find(wanted.dataset);
    if (wanted.order != Order::kNewestFirst || dataset == datasets.end()) continue;
    const PlannedSite* home = FindSite(input, dataset->second->home_site);
    const PlannedSite* replica = FindSite(input, wanted.site);
    if (home == nullptr || replica == nullptr || home == replica || !home->joined || !replica->joined) continue;
    if (!replica->dialable && !home->dialable) continue;
    if (!policy::SelfGrantLimit(*input.world, home->region, replica->region).has_value()) continue;
    auto permit = PermitFor(input, *dataset->second, home->name, replica->name, wanted.purposes);
    if (!permit.has_value()) continue;
    standing_[{wanted.dataset, home->name}].push_back(PeerOf(*replica, permit->purpose, replica->dialable));
    if (replica->dialable) continue;
    standing_[{wanted.dataset, replica->name}].push_back(PeerOf(*home, permit->purpose, true));
  }
}

}  // namespace bailiwick::coordinator
