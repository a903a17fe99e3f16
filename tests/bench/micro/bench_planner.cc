// One round of the coordinator's planner over a fleet in which all is where it should be: 1,000 datasets wanted at 20
// sites, 50 rules of sovereignty, asked rule by rule and compiled. Run: build/release/bin/bench_planner
#include <benchmark/benchmark.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/policy/residence.h"
#include "services/coordinator/planner/planner.h"

namespace bailiwick::coordinator {
namespace {

constexpr int kSites = 20;
constexpr int kDatasets = 1000;
constexpr int kRules = 50;
constexpr int kClasses = 10;
const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

struct Fleet {
  policy::World world;
  PlanInput input;
};

void AddRules(policy::World* world) {
  for (int i = 0; i < kRules; ++i) {
    policy::Rule rule;
    rule.policy = "p";
    rule.id = absl::StrCat("r", i);
    rule.actions = {policy::Action::kTransfer, policy::Action::kReside, policy::Action::kTransit};
    rule.data.conditions = {{"class", policy::Operator::kIn, {absl::StrCat("k", i % kClasses)}}};
    if (i % 10 == 9) {
      rule.effect = policy::Effect::kForbid;
      rule.from.in = {"us"};
      rule.to.not_in = {"us"};
    }
    if (i % 5 == 0) rule.obligations.max_retention = absl::Hours(24 * 30);
    world->rules.push_back(rule);
  }
}

Fleet Make() {
  Fleet fleet;
  fleet.world.regions = {"eu", "us"};
  fleet.input.now = kNow;
  for (int i = 0; i < kSites; ++i) {
    const std::string name = absl::StrCat("site-", 100 + i), region = i % 4 == 3 ? "us" : "eu";
    fleet.world.sites[name] = {.name = name, .region = region};
    PlannedSite site;
    site.name = name;
    site.region = region;
    site.connected = site.approved = site.joined = site.dialable = true;
    fleet.input.sites[name] = site;
  }
  AddRules(&fleet.world);
  for (int i = 0; i < kDatasets; ++i) {
    PlannedDataset dataset;
    dataset.id.bytes[0] = static_cast<uint8_t>(i % 256);
    dataset.id.bytes[1] = static_cast<uint8_t>(i / 256);
    dataset.name = absl::StrCat("dataset-", i);
    dataset.labels = {{"class", absl::StrCat("k", i % kClasses)}};
    dataset.home_site = "site-100";
    dataset.versions = {{1, kNow - absl::Hours(1), 1000}};
    for (const auto& [name, site] : fleet.input.sites) dataset.held[name] = {1};
    fleet.input.datasets.push_back(dataset);
  }
  PlannedPolicy policy;
  policy.name = "everywhere";
  policy.to.resize(1);
  policy.to[0].kind = PlannedTarget::Kind::kSelector;
  policy.to[0].copies = kSites - 2;  // ranks all by what the law says
  fleet.input.policies = {policy};
  return fleet;
}

// As Core::Unlawful, once a copy.
bool Lies(const PlanInput& input, const PlannedDataset& dataset, const std::string& site) {
  if (input.law != nullptr) return input.law->Residence(dataset.labels, dataset.home_site, site, input.now).permitted;
  return policy::EvaluateResidence(*input.world, dataset.labels, dataset.home_site, site, input.now).permitted;
}

void Round(benchmark::State& state, bool compiled) {
  Fleet fleet = Make();
  fleet.input.world = &fleet.world;
  CompiledLaw law(&fleet.world);
  if (compiled) fleet.input.law = &law;
  Planner planner;
  for (auto _ : state) {
    int lawful = 0;
    for (const PlannedDataset& dataset : fleet.input.datasets) {
      for (const auto& [site, held] : dataset.held) lawful += Lies(fleet.input, dataset, site);
    }
    benchmark::DoNotOptimize(lawful);
    benchmark::DoNotOptimize(planner.Run(fleet.input).wanted.size());
  }
}

void BM_RoundRuleByRule(benchmark::State& state) { Round(state, false); }
void BM_RoundCompiled(benchmark::State& state) { Round(state, true); }

BENCHMARK(BM_RoundRuleByRule)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_RoundCompiled)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bailiwick::coordinator

BENCHMARK_MAIN();
