// Caps on what sites send, and the pace of transfers.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config/time_zones.h"
#include "common/config/when.h"
#include "services/coordinator/core/core.h"
#include "services/coordinator/planner/caps.h"

namespace bailiwick::coordinator {
namespace {

constexpr absl::Duration kWord = absl::Seconds(2);    // ends that get on say something several times a second
constexpr absl::Duration kSilent = absl::Seconds(3);  // without a byte: the end that says nothing is the cause
constexpr absl::Duration kZonesFresh = absl::Hours(24);

PlannedCap ToCap(const std::string& id, const resource::v1::BandwidthCap& cap) {
  PlannedCap out = {id, cap.site(), cap.from(), cap.to(), cap.limit_bytes(), {}};
  resource::v1::When when;
  *when.mutable_daily() = cap.daily();
  out.when = config::ToWhen(when).value_or(policy::When());  // checked at apply
  return out;
}

enum class End { kSource, kLink, kDestination };

// What limits a transfer, and where, from what its ends say. `still`: nothing came for a while.
std::pair<std::string, End> LimitOf(const std::string& source, const std::string& destination, bool still) {
  if (source == "cap" || source == "priority") return {source, End::kSource};
  if (destination == "disk" || destination == "cpu") return {destination, End::kDestination};
  if (source == "disk" || source == "cpu") return {source, End::kSource};
  if (source.empty() && destination.empty()) return {still ? "peer" : "", End::kLink};  // one waits for the other
  if (still && source.empty()) return {"peer", End::kSource};
  if (still && destination.empty()) return {"peer", End::kDestination};
  return {"link", End::kLink};
}

}  // namespace

std::string Core::SaysNow(const Transfer::Word& word, absl::Duration now) {
  return now - word.at < kWord ? word.limit : "";
}

void Core::CareForPriorities() {
  std::map<std::pair<DatasetId, std::string>, std::vector<Transfer*>> by_pair;
  for (auto& [id, transfer] : transfers_) by_pair[{transfer.dataset, transfer.view.destination()}].push_back(&transfer);
  for (const Wanted& wanted : plan_.wanted) {
    auto running = by_pair.find({wanted.dataset, wanted.site});
    if (running == by_pair.end()) continue;
    for (Transfer* transfer : running->second) transfer->priority = wanted.priority;
  }
  const std::set<std::string> yielding = Yielding(Running());
  for (auto& [id, transfer] : transfers_) {
    transfer.yields = yielding.count(id) != 0;
    if (transfer.yields) transfer.progressed = clock_->BootTime();
  }
}

void Core::PushCaps() {
  std::vector<PlannedCap> caps;
  std::set<std::string> zones;
  for (const auto& [key, resource] : state_.resources) {
    for (int i = 0; i < resource.bandwidth_policy().caps_size(); ++i) {
      const auto& cap = resource.bandwidth_policy().caps(i);
      caps.push_back(ToCap(absl::StrCat(key.second, "/", i), cap));
      for (const auto& daily : cap.daily()) zones.insert(daily.tz());
    }
  }
  const absl::Time now = clock_->Now();
  if (zones != cap_zone_names_ || now >= cap_zones_at_ + kZonesFresh || now < cap_zones_at_) {
    cap_zones_.time_zones = config::CompileTimeZones(zones, now);
    cap_zones_at_ = now;
    cap_zone_names_ = std::move(zones);
  }
  const PlanInput input = caps.empty() ? PlanInput() : Input();
  const std::map<std::string, std::vector<SiteCap>> by_site =
      CapsBySite(caps, input.sites, input.running, cap_zones_, now);
  for (const auto& [site, session] : sessions_) {
    agent::v1::CoordinatorMessage message;
    auto* send = message.mutable_caps();
    if (auto of = by_site.find(site); of != by_site.end()) {
      for (const SiteCap& cap : of->second) {
        auto* c = send->add_caps();
        c->set_id(cap.id);
        c->set_to(cap.to);
        c->set_bytes_per_second(cap.bytes_per_second);
      }
    }
    for (const auto& [id, transfer] : transfers_) {
      if (transfer.yields && transfer.view.source() == site) send->add_yielding(id);
    }
    std::string fingerprint = message.SerializeAsString();
    auto sent = caps_of_site_.find(site);
    if (sent != caps_of_site_.end() && sent->second == fingerprint) continue;
    caps_of_site_[site] = std::move(fingerprint);
    session->Send(std::move(message));
  }
}

void Core::AddPace(const Transfer& transfer, control::v1::Transfer* view) const {
  const absl::Duration now = clock_->BootTime();
  view->set_rate_bytes(static_cast<uint64_t>(transfer.wire.PerSecond(now)));
  // Over a slow link ends speak when bytes come.
  const bool still = now - transfer.progressed > std::max(kSilent, 4 * transfer.apart);
  const auto says = [&](const Transfer::Word& word) {
    return still || now - word.at > 2 * transfer.apart ? SaysNow(word, now) : word.limit;
  };
  auto [limit, site] = LimitOf(says(transfer.source_says), says(transfer.destination_says), still);
  view->set_limit(limit);
  if (!limit.empty() && site != End::kLink) {
    view->set_limit_site(site == End::kSource ? view->source() : view->destination());
  }
  const double pace = transfer.done.PerSecond(now);
  if (pace >= 1 && view->total_bytes() >= view->done_bytes()) {
    view->mutable_eta()->set_seconds(
        static_cast<int64_t>(static_cast<double>(view->total_bytes() - view->done_bytes()) / pace));
  }
}

}  // namespace bailiwick::coordinator
