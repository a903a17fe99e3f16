#include "common/config/policy_tests.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/when.h"
#include "common/policy/evaluator.h"
#include "common/policy/reach.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;
using policy::Action;

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

absl::Time TimeOf(const std::string& text, absl::Time now) {
  return text.empty() ? now : ParseMoment(text).value_or(now);
}

std::vector<Action> ActionsOf(const pb::PolicyTest& test) {
  switch (test.action()) {
    case pb::ACTION_TRANSFER:
      return {Action::kTransfer};
    case pb::ACTION_RESIDE:
      return {Action::kReside};
    case pb::ACTION_TRANSIT:
      return {Action::kTransit};
    case pb::ACTION_RELABEL:
      return {Action::kRelabel};
    default:
      return {Action::kTransfer, Action::kReside};
  }
}

void RunCase(const policy::World& world, const std::string& policy, const pb::PolicyTest& test, absl::Time now,
             PolicyTestResult* result) {
  for (const std::string* place : {&test.from(), &test.to()}) {
    if (world.sites.count(*place) != 0 && IsRegion(world, *place)) {
      result->message =
          absl::StrCat("test \"", test.name(), "\": ", *place, " is both a site and a region; rename one");
      return;
    }
  }
  policy::Decision decided;
  std::set<std::string> deciders;
  for (Action action : ActionsOf(test)) {
    const policy::Request request{policy::Labels(test.data().begin(), test.data().end()), SiteOf(world, test.from()),
                                  SiteOf(world, test.to()), action, test.purpose()};
    const policy::Explanation explained = policy::Explain(world, request, TimeOf(test.at(), now));
    for (const policy::RuleOutcome& rule : explained.rules) {
      if (rule.applies || rule.error) result->rules.insert(rule.rule);
    }
    decided = explained.decision;
    if (!decided.permitted) {
      deciders = {decided.rule};
      break;
    }
    deciders.insert(decided.rule);
  }
  if (decided.permitted != (test.expect() == "permit")) {
    result->message =
        absl::StrCat("test \"", test.name(), "\" fails: expected ", test.expect(), ", but ", decided.sentence);
    return;
  }
  const std::string wanted = absl::StrContains(test.rule(), "/") ? test.rule() : absl::StrCat(policy, "/", test.rule());
  result->passed = test.rule().empty() || deciders.count(wanted) != 0;
  if (!result->passed) {
    result->message =
        absl::StrCat("test \"", test.name(), "\" fails: expected that ", wanted, " decides, but ", decided.sentence);
  }
}

std::string DescribeStep(const policy::ReachStep& step) {
  if (step.relabel) {
    std::vector<std::string> labels;
    for (const auto& [key, value] : step.data) labels.push_back(absl::StrCat(key, "=", value));
    return absl::StrCat("relabelled to ", absl::StrJoin(labels, ","), " (", absl::StrJoin(step.rules, ", "), ")");
  }
  return absl::StrCat(step.from, " to ", step.to, " (", absl::StrJoin(step.rules, ", "), ")");
}

void RunInvariant(const policy::World& world, const pb::PolicyTest& test, absl::Time now, PolicyTestResult* result) {
  const pb::Never& never = test.never();
  policy::ReachQuery query;
  query.data = policy::Labels(never.data().begin(), never.data().end());
  query.to = never.reach();
  if (!never.from().empty()) query.homes = {never.from()};
  if (!never.purpose().empty()) query.purpose = never.purpose();
  query.now = TimeOf(never.at(), now);
  query.only_now = !never.at().empty();
  query.any_sites = true;
  const absl::StatusOr<policy::Reach> reach = policy::FindReach(world, query);
  if (!reach.ok()) {
    result->message = absl::StrCat("test \"", test.name(), "\" fails: ", std::string(reach.status().message()));
    return;
  }
  result->passed = !reach->reaches;
  if (result->passed) return;
  std::vector<std::string> steps;
  for (const policy::ReachStep& step : reach->path) steps.push_back(DescribeStep(step));
  result->message = absl::StrCat("test \"", test.name(), "\" fails: the data must never reach ", never.reach(),
                                 reach->begins_there ? ", but its home may lie there" : ", but it can go ",
                                 absl::StrJoin(steps, ", then "));
}

}  // namespace

std::vector<PolicyTestResult> RunTests(const policy::World& declared, const std::string& policy,
                                       const pb::SovereigntyPolicySpec& spec, absl::Time now) {
  std::vector<PolicyTestResult> results;
  if (spec.tests().empty()) return results;
  const policy::World world = WithAnySites(declared);
  for (int i = 0; i < spec.tests_size(); ++i) {
    PolicyTestResult& result = results.emplace_back();
    result.name = spec.tests(i).name();
    result.path = absl::StrCat("spec.tests[", i, "]");
    result.invariant = spec.tests(i).has_never();
    if (result.invariant) {
      RunInvariant(declared, spec.tests(i), now, &result);
    } else {
      RunCase(world, policy, spec.tests(i), now, &result);
    }
  }
  return results;
}

void RunPolicyTests(const policy::World& world, const std::string& policy, const pb::SovereigntyPolicySpec& spec,
                    absl::Time now, const Complain& complain) {
  for (const PolicyTestResult& result : RunTests(world, policy, spec, now)) {
    if (!result.passed) complain(result.path, result.message);
  }
}

}  // namespace bailiwick::config
