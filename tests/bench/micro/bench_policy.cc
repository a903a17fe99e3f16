// Decisions a second on one core: 1,000 rules, 200 regions, 5,000 sites. "Average" requests match about 20 rules; in
// the worst case all of them match, without obligations and with. Run: build/release/bin/bench_policy
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/policy/compiled.h"

namespace bailiwick::policy {
namespace {

constexpr int kRules = 1000;
constexpr int kSites = 5000;
constexpr int kClasses = 50;  // each rule is about one: 1,000 / 50 = 20 match
constexpr int kDatasets = 500;
const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

uint64_t Next(uint64_t* state) {  // splitmix64
  uint64_t z = *state += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

World Registry() {
  World world;
  for (int continent = 0; continent < 8; ++continent) {  // 8 x (1 + 4 x (1 + 5)) = 200
    const std::string c = absl::StrCat("c", continent);
    world.regions.push_back(c);
    for (int country = 0; country < 4; ++country) {
      const std::string n = absl::StrCat(c, "/n", country);
      world.regions.push_back(n);
      for (int city = 0; city < 5; ++city) world.regions.push_back(absl::StrCat(n, "/y", city));
    }
  }
  std::sort(world.regions.begin(), world.regions.end());
  for (int i = 0; i < kSites; ++i) {
    Site site;
    site.name = absl::StrCat("site-", i);
    site.region = world.regions[static_cast<size_t>(i) % world.regions.size()];
    site.entity = absl::StrCat("entity-", i % 20);
    site.labels = {{"tier", absl::StrCat("t", i % 3)}, {"rack", absl::StrCat("r", i % 400)}};
    world.sites[site.name] = site;
  }
  return world;
}

// Every condition of the language, each rule about one class of data.
World Average() {
  World world = Registry();
  world.sets["p"]["adequate"] = {{"c0", "c1", "c2"}, kNow + absl::Hours(24 * 365)};
  world.time_zones["UTC"] = {{{kNow - absl::Hours(24), absl::ZeroDuration()}}, kNow + absl::Hours(24 * 365)};
  for (int i = 0; i < kRules; ++i) {
    Rule rule;
    rule.policy = "p";
    rule.id = absl::StrCat("r", i);
    rule.actions = {Action::kTransfer, Action::kReside, Action::kTransit};
    rule.effect = i % 10 == 9 ? Effect::kForbid : Effect::kPermit;
    rule.data.conditions = {{"class", Operator::kIn, {absl::StrCat("k", i % kClasses)}}};
    if (rule.effect == Effect::kForbid) {
      rule.to.not_in = {"set:adequate", "c3", "c4", "c5", "c6", "c7"};
      rule.from.in = {absl::StrCat("c", i % 8)};
    } else if (i % 7 == 0) {
      rule.to.sites.conditions = {{"tier", Operator::kNotIn, {"t9"}}};
      rule.to.entities = {};
      rule.when.daily = {{0x7f, 0, 1440, "UTC"}};
    }
    if (i % 50 == 0) rule.obligations.max_hops = 4;
    world.rules.push_back(rule);
  }
  return world;
}

World AllMatch(bool obliged) {
  World world = Registry();
  for (int i = 0; i < kRules; ++i) {
    Rule rule;
    rule.policy = "p";
    rule.id = absl::StrCat("r", i);
    rule.actions = {Action::kTransfer, Action::kReside, Action::kTransit};
    if (obliged) rule.obligations.max_hops = static_cast<uint32_t>(1 + i % 4);
    if (obliged) rule.obligations.encrypt_key_regions = {absl::StrCat("c", i % 2)};
    world.rules.push_back(rule);
  }
  return world;
}

void Run(benchmark::State& state, const World& world) {
  const CompiledWorld compiled(&world, kNow);
  std::vector<DataView> views;
  for (int i = 0; i < kDatasets; ++i) views.push_back(compiled.View({{"class", absl::StrCat("k", i % kClasses)}}));
  struct Ask {
    size_t view, from, to;
  };
  std::vector<Ask> asks(1 << 16);
  uint64_t seed = 1;
  for (Ask& ask : asks) {
    ask = {Next(&seed) % views.size(), Next(&seed) % compiled.site_count(), Next(&seed) % compiled.site_count()};
  }
  size_t i = 0;
  int64_t permitted = 0;
  for (auto _ : state) {
    const Ask& ask = asks[i++ % asks.size()];
    const Verdict verdict = compiled.Decide(views[ask.view], ask.from, ask.to, Action::kTransfer);
    permitted += verdict.permitted;
    benchmark::DoNotOptimize(verdict.reason);
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["permitted"] = benchmark::Counter(static_cast<double>(permitted), benchmark::Counter::kAvgIterations);
}

void BM_DecideAverage(benchmark::State& state) { Run(state, Average()); }
void BM_DecideAllMatch(benchmark::State& state) { Run(state, AllMatch(false)); }
void BM_DecideAllMatchWithObligations(benchmark::State& state) { Run(state, AllMatch(true)); }

void BM_Compile(benchmark::State& state) {
  const World world = Average();
  for (auto _ : state) benchmark::DoNotOptimize(CompiledWorld(&world, kNow).valid_until());
}

void BM_View(benchmark::State& state) {
  const World world = Average();
  const CompiledWorld compiled(&world, kNow);
  for (auto _ : state) benchmark::DoNotOptimize(compiled.View({{"class", "k7"}, {"pii", "no"}}).bits.possible.data());
}

// The evaluator that writes sentences, for comparison.
void BM_EvaluateWithSentence(benchmark::State& state) {
  const World world = Average();
  const Request request{{{"class", "k7"}}, "site-1", "site-2"};
  for (auto _ : state) benchmark::DoNotOptimize(Evaluate(world, request, kNow).permitted);
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(BM_DecideAverage);
BENCHMARK(BM_DecideAllMatch);
BENCHMARK(BM_DecideAllMatchWithObligations);
BENCHMARK(BM_Compile)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_View)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_EvaluateWithSentence)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bailiwick::policy

BENCHMARK_MAIN();
