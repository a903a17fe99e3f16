#include "common/policy/hops.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bailiwick::policy {
namespace {

bool Bounds(const Obligations& obligations) { return obligations.max_hops != 0 || obligations.no_transit; }

// The permit that obliges the flow so.
template <typename Obliges>
std::string ObligingRule(const World& world, const Flow& flow, absl::Time now, Obliges obliges) {
  for (const Request& request : RequestsOf(flow)) {
    for (const RuleOutcome& outcome : Explain(world, request, now).rules) {
      if (!outcome.applies || outcome.effect != Effect::kPermit) continue;
      auto rule =
          std::find_if(world.rules.begin(), world.rules.end(), [&](const Rule& r) { return r.name() == outcome.rule; });
      if (rule != world.rules.end() && obliges(rule->obligations)) return outcome.rule;
    }
  }
  return "";
}

void Tighten(const World& world, const Flow& flow, const Obligations& obligations, absl::Time now, HopLimit* limit) {
  const uint32_t max = obligations.max_hops;
  if (max != 0 && max < limit->max) {
    *limit = {max, absl::StrCat("maxHops: ", max),
              ObligingRule(world, flow, now, [&](const Obligations& o) { return o.max_hops == max; })};
  }
  if (obligations.no_transit && limit->max > 1) {
    *limit = {1, "noTransit", ObligingRule(world, flow, now, [](const Obligations& o) { return o.no_transit; })};
  }
}

}  // namespace

bool BoundsHops(const World& world, const Labels& data) {
  return std::any_of(world.rules.begin(), world.rules.end(), [&](const Rule& rule) {
    return rule.effect == Effect::kPermit && Bounds(rule.obligations) &&
           Matches(rule.data, data, nullptr) != Match::kNo;
  });
}

absl::StatusOr<HopLimit> CarriedLimit(const World& world, const Labels& data, const std::string& home_site,
                                      const std::vector<Hop>& hops) {
  HopLimit limit;
  for (const Hop& hop : hops) {
    const Flow flow{data, hop.from_site, hop.to_site, hop.purpose, home_site};
    const Decision then = EvaluateReplication(world, flow, hop.at);
    if (then.reason == Reason::kError) {
      return absl::FailedPreconditionError(absl::StrCat("the hop of the copy from ", hop.from_site, " to ", hop.to_site,
                                                        " cannot be judged any more: ", then.sentence));
    }
    if (then.permitted) Tighten(world, flow, then.obligations, hop.at, &limit);
  }
  return limit;
}

HopVerdict CheckHops(const World& world, const HopLimit& carried, size_t hops, const Flow& flow,
                     const Obligations& obligations, absl::Time now) {
  HopLimit limit = carried;
  if (hops >= 1 || flow.from_site != flow.home_site) Tighten(world, flow, obligations, now, &limit);
  const bool relay_barred = obligations.no_transit && flow.from_site != flow.home_site;
  if (hops < limit.max && !relay_barred) return {};
  HopVerdict verdict{.permitted = false, .sentence = "", .rule = limit.rule};
  const std::string what = limit.rule.empty() ? limit.obligation : absl::StrCat(limit.obligation, " of ", limit.rule);
  verdict.sentence =
      limit.obligation == "noTransit"
          ? absl::StrCat(what, ": only the home ", flow.home_site, " may send it, and ", flow.from_site,
                         " is not the home")
          : absl::StrCat(what, " is used up: the copy at ", flow.from_site, " is ", hops, hops == 1 ? " hop" : " hops",
                         " from the home ", flow.home_site, ", so it may not be sent on");
  return verdict;
}

}  // namespace bailiwick::policy
