#include "common/config/time_zones.h"

#include "absl/strings/str_cat.h"
#include "common/config/when.h"
#include "common/os/time_zones.h"
#include "common/policy/window.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;

constexpr absl::Duration kMaxOffset = absl::Hours(24);

policy::TimeZone Compile(const absl::TimeZone& zone, absl::Time now) {
  policy::TimeZone out;
  const absl::Time begin = absl::FromUnixSeconds(absl::ToUnixSeconds(now - kZonePast));
  out.horizon = absl::FromUnixSeconds(absl::ToUnixSeconds(now + kZoneHorizon));
  auto add = [&](absl::Time at) {
    const absl::Duration offset = absl::Seconds(zone.At(at).offset);
    if (out.transitions.empty() || out.transitions.back().offset != offset) out.transitions.push_back({at, offset});
  };
  add(begin);
  absl::TimeZone::CivilTransition next;
  for (absl::Time at = begin; zone.NextTransition(at, &next);) {
    at = zone.At(next.to).trans;
    if (at >= out.horizon) break;
    add(at);
  }
  return out;
}

absl::Time FromTimestamp(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

}  // namespace

std::set<std::string> ZonesOf(const Catalog& catalog) {
  std::set<std::string> names;
  for (const auto& [key, resource] : catalog) {
    for (const pb::Rule& rule : resource.sovereignty_policy().rules()) {
      for (const pb::Daily& daily : rule.when().daily()) names.insert(daily.tz());
    }
  }
  return names;
}

TimeZones CompileTimeZones(const std::set<std::string>& names, absl::Time now) {
  TimeZones zones;
  for (const std::string& name : names) {
    if (!IsZoneShaped(name)) continue;
    if (auto zone = os::LoadTimeZone(name); zone.ok()) zones[name] = Compile(*zone, now);
  }
  return zones;
}

bool ZonesStale(const TimeZones& in_force, const TimeZones& fresh, absl::Time now) {
  for (const auto& [name, zone] : fresh) {
    auto known = in_force.find(name);
    if (known == in_force.end() || known->second.horizon < now + kZoneHorizon / 2) return true;
    for (const auto* table : {&zone, &known->second}) {
      for (const auto& transition : table->transitions) {
        const auto before = policy::OffsetAt(known->second, transition.at),
                   after = policy::OffsetAt(zone, transition.at);
        if (before && after && *before != *after) return true;  // where one does not reach there is nothing to compare
      }
    }
  }
  return false;
}

void AddTimeZones(const TimeZones& zones, pb::PolicyBundle* bundle) {
  for (const auto& [name, zone] : zones) {
    pb::TimeZone* out = bundle->add_time_zones();
    out->set_name(name);
    out->mutable_horizon()->set_seconds(absl::ToUnixSeconds(zone.horizon));
    for (const auto& transition : zone.transitions) {
      pb::Transition* to = out->add_transitions();
      to->mutable_at()->set_seconds(absl::ToUnixSeconds(transition.at));
      to->set_offset_seconds(static_cast<int32_t>(absl::ToInt64Seconds(transition.offset)));
    }
  }
}

absl::StatusOr<TimeZones> TimeZonesOf(const pb::PolicyBundle& bundle) {
  TimeZones zones;
  for (const pb::TimeZone& zone : bundle.time_zones()) {
    auto bad = [&zone](const char* what) {
      return absl::InvalidArgumentError(
          absl::StrCat("the policy bundle's time zone \"", zone.name(), "\" ", what, "; apply the policy again"));
    };
    if (!zones.empty() && zones.rbegin()->first >= zone.name()) return bad("is out of order");
    if (zone.transitions().empty()) return bad("has no transitions");
    policy::TimeZone out;
    out.horizon = FromTimestamp(zone.horizon());
    for (const pb::Transition& transition : zone.transitions()) {
      const absl::Duration offset = absl::Seconds(transition.offset_seconds());
      if (offset >= kMaxOffset || offset <= -kMaxOffset) return bad("has an offset of a day or more");
      const absl::Time at = FromTimestamp(transition.at());
      if (!out.transitions.empty() && at <= out.transitions.back().at) return bad("has transitions out of order");
      out.transitions.push_back({at, offset});
    }
    zones.emplace_hint(zones.end(), zone.name(), std::move(out));
  }
  return zones;
}

}  // namespace bailiwick::config
