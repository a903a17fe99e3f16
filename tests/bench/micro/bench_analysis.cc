// How long the analyses of the law take on a large organization:
//   build/release/bin/bench_analysis
#include <benchmark/benchmark.h>

#include "common/policy/check.h"
#include "common/policy/diff.h"
#include "common/policy/reach.h"
#include "tests/bench/micro/analysis_world.h"

namespace bailiwick::bench {
namespace {

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

policy::ReachQuery Query(std::vector<std::string> homes) {
  policy::ReachQuery query;
  query.data = {{"class", "d7"}};
  query.to = "c7";
  query.homes = std::move(homes);
  query.now = kNow;
  return query;
}

// From every site outside the region, from one home over any number of hops; with the usual rules and with all that
// match.
void Reach(benchmark::State& state, bool all_match, std::vector<std::string> homes) {
  const policy::World world = LargeWorld(all_match);
  const policy::ReachQuery query = Query(std::move(homes));
  size_t classes = 0;
  for (auto _ : state) {
    const absl::StatusOr<policy::Reach> reach = policy::FindReach(world, query);
    if (!reach.ok() || reach->reaches) state.SkipWithError("the world is not what it should be");
    if (reach.ok()) classes = reach->classes;
  }
  state.counters["site_classes"] = static_cast<double>(classes);
}
BENCHMARK_CAPTURE(Reach, usual_from_anywhere, false, {})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Reach, usual_from_one_home, false, {"site-1"})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Reach, all_match_from_a_continent, true, {"c0"})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Reach, all_match_from_anywhere, true, {})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Reach, all_match_from_one_home, true, {"site-1"})->Unit(benchmark::kMillisecond);

// A million replicas of ten thousand datasets under a law that forbids one country more.
void InventoryDiff(benchmark::State& state) {
  const policy::World before = LargeWorld(false);
  policy::World after = before;
  policy::Rule tighter;
  tighter.policy = "p0";
  tighter.id = "tighter";
  tighter.effect = policy::Effect::kForbid;
  tighter.actions = {policy::Action::kReside};
  tighter.to.in = {"c0"};
  after.rules.push_back(tighter);
  policy::Inventory inventory;
  for (const auto& [name, site] : before.sites) inventory.sites.push_back(name);
  std::mt19937 random(99);
  for (uint32_t d = 0; d < 10000; ++d) {
    inventory.datasets.push_back({absl::StrCat("dataset-", d),
                                  {{"class", absl::StrCat("d", random() % 50)}},
                                  inventory.sites[random() % inventory.sites.size()]});
    for (int r = 0; r < 100; ++r) {
      inventory.replicas.push_back(
          {d, static_cast<uint32_t>(random() % inventory.sites.size()), 1 << 30, {1, 2, 3}, false});
    }
  }
  size_t evictions = 0;
  for (auto _ : state) {
    const policy::Impact impact = policy::Assess(before, after, inventory, kNow);
    evictions = impact.evictions.size();
  }
  state.counters["evictions"] = static_cast<double>(evictions);
}
BENCHMARK(InventoryDiff)->Unit(benchmark::kMillisecond);

void DecisionDiff(benchmark::State& state) {
  const policy::World before = LargeWorld(false);
  policy::World after = before;
  after.rules.erase(after.rules.begin() + 100, after.rules.begin() + 110);
  std::vector<policy::NamedData> datasets;
  for (int d = 0; d < 50; ++d) datasets.push_back({absl::StrCat("d", d), {{"class", absl::StrCat("d", d)}}, ""});
  for (auto _ : state) benchmark::DoNotOptimize(policy::DiffDecisions(before, after, datasets, kNow));
}
BENCHMARK(DecisionDiff)->Unit(benchmark::kMillisecond);

void Check(benchmark::State& state) {
  const policy::World world = LargeWorld(false);
  for (auto _ : state) benchmark::DoNotOptimize(policy::CheckLaw(world, {}, kNow));
}
BENCHMARK(Check)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace bailiwick::bench

BENCHMARK_MAIN();
