// A large organization for benchmarks of analyses: 1,000 rules, 200 regions, 5,000 sites. The same every time.
#pragma once

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/policy/model.h"

namespace bailiwick::bench {

// `all_match`: no rule looks at the data, so that every rule has to be considered for every pair of sites.
inline policy::World LargeWorld(bool all_match) {
  using namespace policy;
  std::mt19937 random(4711);
  auto below = [&random](size_t n) { return random() % n; };
  World world;
  world.revision = 1;
  std::vector<std::string> continents, countries;
  for (int c = 0; c < 8; ++c) {
    continents.push_back(absl::StrCat("c", c));
    for (int k = 0; k < 6; ++k) {
      countries.push_back(absl::StrCat("c", c, "/k", k));
      for (int city = 0; city < 3; ++city) world.regions.push_back(absl::StrCat("c", c, "/k", k, "/t", city));
    }
  }
  world.regions.insert(world.regions.end(), continents.begin(), continents.end());
  world.regions.insert(world.regions.end(), countries.begin(), countries.end());
  std::sort(world.regions.begin(), world.regions.end());  // 8 + 48 + 144 = 200
  for (int s = 0; s < 5000; ++s) {
    Site site;
    site.name = absl::StrCat("site-", s);
    site.region = world.regions[below(world.regions.size())];
    site.entity = absl::StrCat("entity-", below(12));
    site.labels = {{"tier", below(3) == 0 ? "edge" : below(2) == 0 ? "cloud" : "core"}, {"serial", absl::StrCat(s)}};
    world.sites[site.name] = site;
  }
  for (int r = 0; r < 1000; ++r) {
    Rule rule;
    rule.policy = absl::StrCat("p", r % 20);
    rule.id = absl::StrCat("r", r);
    rule.effect = below(10) < 8 ? Effect::kPermit : Effect::kForbid;
    rule.actions = {Action::kTransfer, Action::kReside, Action::kTransit};
    // 50 classes of data: a request meets about 20 rules.
    if (!all_match) rule.data.conditions = {{"class", Operator::kIn, {absl::StrCat("d", r % 50)}}};
    rule.from.in = {countries[below(countries.size())], continents[below(continents.size())]};
    rule.to.in = {countries[below(countries.size())]};
    if (rule.effect == Effect::kForbid) rule.to.in = {continents[7]};  // nothing gets into the last continent
    if (below(5) == 0) rule.from.sites.conditions = {{"tier", Operator::kIn, {"core", "cloud"}}};
    if (below(8) == 0) rule.to.entities = {absl::StrCat("entity-", below(12)), absl::StrCat("entity-", below(12))};
    world.rules.push_back(std::move(rule));
  }
  Rule closed;  // and whatever is permitted, the last continent stays out of reach: the search has to see everything
  closed.policy = "p0";
  closed.id = "closed";
  closed.effect = Effect::kForbid;
  closed.actions = {Action::kTransfer};
  closed.to.in = {continents[7]};
  world.rules.back() = closed;
  return world;
}

}  // namespace bailiwick::bench
