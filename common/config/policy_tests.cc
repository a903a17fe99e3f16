#include "common/config/policy_tests.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/policy/evaluator.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;

// Stands for any site of a region: no labels, no entity. A key that no site can have.
std::string AnySite(const std::string& region) { return absl::StrCat("region ", region); }

policy::World WithAnySites(policy::World world) {
  for (const std::string& region : world.regions) {
    policy::Site site;
    site.name = "any site";
    site.region = region;
    world.sites[AnySite(region)] = site;
  }
  return world;
}

bool IsRegion(const policy::World& world, const std::string& name) {
  return std::binary_search(world.regions.begin(), world.regions.end(), name);
}

std::string SiteOf(const policy::World& world, const std::string& place) {
  return world.sites.count(place) != 0 ? place : AnySite(place);
}

void RunCase(const policy::World& world, const pb::PolicyTest& test, const std::string& path, absl::Time now,
             const Complain& complain) {
  for (const std::string* place : {&test.from(), &test.to()}) {
    if (world.sites.count(*place) != 0 && IsRegion(world, *place)) {
      complain(path, absl::StrCat("test \"", test.name(), "\": ", *place, " is both a site and a region; rename one"));
      return;
    }
  }
  const policy::Labels data(test.data().begin(), test.data().end());
  const policy::Decision decision =
      policy::EvaluateReplication(world, {data, SiteOf(world, test.from()), SiteOf(world, test.to())}, now);
  if (decision.permitted == (test.expect() == "permit")) return;
  complain(path,
           absl::StrCat("test \"", test.name(), "\" fails: expected ", test.expect(), ", but ", decision.sentence));
}

// Sites that policy cannot tell apart are tried once: a thousand robots are one.
std::vector<std::string> Representatives(const policy::World& world) {
  std::set<std::tuple<std::string, std::string, policy::Labels>> seen;
  std::vector<std::string> out;
  for (const auto& [key, site] : world.sites) {
    if (seen.emplace(site.region, site.entity, site.labels).second) out.push_back(key);
  }
  return out;
}

void RunInvariant(const policy::World& world, const std::vector<std::string>& sites, const pb::PolicyTest& test,
                  const std::string& path, absl::Time now, const Complain& complain) {
  const policy::Labels data(test.never().data().begin(), test.never().data().end());
  const std::string& reach = test.never().reach();
  for (const std::string& to : sites) {
    if (!policy::RegionContains(reach, world.sites.at(to).region)) continue;
    for (const std::string& from : sites) {
      if (policy::RegionContains(reach, world.sites.at(from).region)) continue;
      if (!policy::PermitsReplication(world, {data, from, to}, now)) continue;
      const policy::Decision decision = policy::EvaluateReplication(world, {data, from, to}, now);
      complain(path, absl::StrCat("test \"", test.name(), "\" fails: the data must never reach ", reach, ", but ",
                                  decision.sentence));
      return;
    }
  }
}

}  // namespace

void RunPolicyTests(const policy::World& declared, const pb::SovereigntyPolicySpec& spec, absl::Time now,
                    const Complain& complain) {
  if (spec.tests().empty()) return;
  const policy::World world = WithAnySites(declared);
  const std::vector<std::string> sites = Representatives(world);
  for (int i = 0; i < spec.tests_size(); ++i) {
    const std::string path = absl::StrCat("spec.tests[", i, "]");
    if (spec.tests(i).has_never()) {
      RunInvariant(world, sites, spec.tests(i), path, now, complain);
    } else {
      RunCase(world, spec.tests(i), path, now, complain);
    }
  }
}

}  // namespace bailiwick::config
