#include "common/policy/timeline.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "common/policy/window.h"

namespace bailiwick::policy {
namespace {

constexpr absl::Duration kWeek = absl::Hours(7 * 24);

bool Before(const When& a, const When& b) {
  auto key = [](const When& when) {
    std::vector<std::tuple<uint8_t, uint16_t, uint16_t, std::string>> daily;
    for (const Daily& d : when.daily) daily.emplace_back(d.days, d.from_minute, d.to_minute, d.tz);
    return std::tuple(when.not_before, when.not_after, std::move(daily));
  };
  return key(a) < key(b);
}

// The instants after `from` at which something other than a daily window changes.
std::set<absl::Time> Edges(const World& world, absl::Time from) {
  std::set<absl::Time> edges;
  auto add = [&](absl::Time at) {
    if (at > from && at < absl::InfiniteFuture()) edges.insert(at);
  };
  for (const auto& [policy, sets] : world.sets) {
    for (const auto& [name, set] : sets) {
      if (set.expires) add(*set.expires);
    }
  }
  for (const Rule& rule : world.rules) {
    add(rule.when.not_before);
    add(rule.when.not_after);
    for (const Daily& daily : rule.when.daily) {
      auto zone = world.time_zones.find(daily.tz);
      if (zone == world.time_zones.end()) continue;
      add(zone->second.horizon);
      for (const TimeZone::Transition& transition : zone->second.transitions) add(transition.at);
    }
  }
  return edges;
}

}  // namespace

void WalkTime(const World& world, absl::Time from, const std::function<bool(absl::Time)>& visit,
              const std::function<bool()>& done) {
  auto less = [](const When* a, const When* b) { return Before(*a, *b); };
  std::set<const When*, decltype(less)> daily(less);
  for (const Rule& rule : world.rules) {
    if (!rule.when.daily.empty()) daily.insert(&rule.when);
  }
  std::set<absl::Time> edges = Edges(world, from);
  edges.insert(absl::InfiniteFuture());
  absl::Time now = from;
  for (absl::Time end : edges) {
    absl::Time week = now + kWeek;
    bool learnt = false;
    while (now < end && !done()) {
      if (now >= week) {
        if (!learnt) break;
        learnt = false;
        week += kWeek;
      }
      learnt |= visit(now);
      absl::Time next = end;
      for (const When* when : daily) next = std::min(next, JudgeWhen(world, *when, now).until);
      now = next;
    }
    if (done()) return;
    now = end;
  }
}

}  // namespace bailiwick::policy
