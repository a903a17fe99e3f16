// What tests of the planner share: a world of four sites, datasets at one of them, policies.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

inline const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

inline policy::LabelCondition In(std::string key, std::vector<std::string> values) {
  return {std::move(key), policy::Operator::kIn, std::move(values)};
}

// Four sites, all up; data of class open may go anywhere, everything else stays in the EU.
class PlannerTest : public ::testing::Test {
 protected:
  PlannerTest() {
    world_.revision = 3;
    world_.regions = {"eu", "eu/de", "eu/fr", "us"};
    AddSite("factory", "eu/de");
    AddSite("core", "eu/de");
    AddSite("paris", "eu/fr");
    AddSite("us", "us");
    policy::Rule stays;
    stays.policy = "acme";
    stays.id = "eu-stays";
    stays.actions = {policy::Action::kTransfer, policy::Action::kReside, policy::Action::kTransit};
    stays.from.in = {"eu"};
    stays.to.in = {"eu"};
    policy::Rule open = stays;
    open.id = "open";
    open.data.conditions = {In("class", {"open"})};
    open.from.in = {};
    open.to.in = {};
    world_.rules = {stays, open};
    input_.world = &world_;
    input_.now = kNow;
    input_.boot = absl::Hours(1);
    input_.policy_revision = 3;
    // What AddDataset and the like return stays valid.
    input_.datasets.reserve(1000);
    input_.policies.reserve(1000);
    input_.running.reserve(1000);
  }

  void AddSite(const std::string& name, const std::string& region) {
    policy::Site lawful;
    lawful.name = name;
    lawful.region = region;
    world_.sites[name] = lawful;
    PlannedSite site;
    site.name = name;
    site.region = region;
    site.labels = {{"area", region.substr(0, 2)}};
    site.connected = site.approved = site.dialable = site.joined = true;
    site.last_seen = kNow;
    site.policy_revision = 3;
    input_.sites[name] = site;
  }

  // Versions 1..count at the factory, one a minute, the newest a minute old.
  PlannedDataset& AddDataset(const std::string& name, VersionNumber count, policy::Labels labels = {{"class", "raw"}}) {
    PlannedDataset dataset;
    dataset.id.bytes[0] = static_cast<uint8_t>(input_.datasets.size() + 1);
    dataset.name = name;
    dataset.labels = std::move(labels);
    dataset.home_site = "factory";
    for (VersionNumber n = 1; n <= count; ++n) {
      dataset.versions.push_back({n, kNow - absl::Minutes(count - n + 1), n * 100});
      dataset.held["factory"].insert(n);
    }
    input_.datasets.push_back(dataset);
    return input_.datasets.back();
  }

  static PlannedTarget ToSite(const std::string& site) {
    PlannedTarget target;
    target.site = site;
    return target;
  }
  static PlannedTarget ToRegion(const std::string& region, uint32_t copies = 0) {
    PlannedTarget target;
    target.kind = PlannedTarget::Kind::kRegion;
    target.region = region;
    target.copies = copies;
    return target;
  }

  PlannedPolicy& AddPolicy(std::vector<PlannedTarget> to) {
    PlannedPolicy policy;
    policy.name = absl::StrCat("p", input_.policies.size() + 1);
    policy.to = std::move(to);
    input_.policies.push_back(policy);
    return input_.policies.back();
  }

  RunningTransfer& AddRunning(const PlannedDataset& dataset, VersionNumber version, const std::string& source,
                              const std::string& destination) {
    RunningTransfer transfer;
    transfer.transfer_id = absl::StrCat("t", input_.running.size());
    transfer.dataset = dataset.id;
    transfer.dataset_name = dataset.name;
    transfer.version = version;
    transfer.source = source;
    transfer.destination = destination;
    input_.running.push_back(transfer);
    return input_.running.back();
  }

  // For plans that want exactly one pair.
  Reason Only() {
    plan_ = planner_.Run(input_);
    EXPECT_THAT(plan_.wanted, SizeIs(1));
    return plan_.wanted.empty() ? Reason() : plan_.wanted.front().reason;
  }

  static std::vector<std::string> Sites(const Plan& plan) {
    std::vector<std::string> sites;
    for (const Wanted& wanted : plan.wanted) sites.push_back(wanted.site);
    return sites;
  }

  static std::string Text(const Plan& plan) {
    std::string text;
    for (const Wanted& w : plan.wanted) {
      absl::StrAppend(&text, w.dataset_name, "@", w.site, " ", w.priority, " ", w.reason.code, ": ", w.reason.sentence,
                      "\n");
    }
    for (const StartTransfer& s : plan.start) {
      absl::StrAppend(&text, s.dataset_name, " v", s.version, " ", s.source, "->", s.destination, "\n");
    }
    return text;
  }

  policy::World world_;
  PlanInput input_;
  Planner planner_;
  Plan plan_;
};

}  // namespace bailiwick::coordinator
