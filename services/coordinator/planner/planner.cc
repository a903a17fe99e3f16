#include "services/coordinator/planner/planner.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/base/units.h"
#include "services/coordinator/planner/sourcing.h"
#include "services/coordinator/planner/targets.h"

namespace bailiwick::coordinator {
namespace {

using Pair = std::pair<DatasetId, std::string>;

std::string Percent(const RunningTransfer& transfer) {
  if (transfer.total_bytes == 0) return "0%";
  const double part = static_cast<double>(transfer.done_bytes) / static_cast<double>(transfer.total_bytes);
  return absl::StrCat(static_cast<int>(std::min(part, 1.0) * 100), "%");
}

std::string OnItsWay(const RunningTransfer& transfer) {
  return absl::StrCat("version ", transfer.version, " is on its way from ", transfer.source, ": ", Percent(transfer));
}

std::string LastFailure(const Planner::Backoff& backoff, absl::Duration boot) {
  return absl::StrCat("the last attempt failed: ", backoff.message, "; next try in ",
                      FormatAge(absl::Ceil(backoff.next_boot - boot, absl::Seconds(1))));
}

// A transfer that could start, were there a free slot.
struct Ready {
  size_t wanted = 0;  // index
  size_t rank = 0;    // of the dataset, by name
  const PlannedDataset* dataset = nullptr;
  bool backfill = false;
  VersionNumber newest_held = 0;
  Sourcing sourcing;
};

// A version on its way to a site, or waiting for one that is.
struct Coming {
  int priority = 2;
  VersionNumber version = 0;
  std::string source;
  std::string site;
};

// What runs, for limits and for "is on its way".
class Load {
 public:
  explicit Load(const PlanInput& input) {
    for (const RunningTransfer& transfer : input.running) {
      Add(transfer.source, transfer.destination, transfer.priority);
      if (!transfer.stalled) {
        AddComing(transfer.dataset, {transfer.priority, transfer.version, transfer.source, transfer.destination});
      }
      const RunningTransfer*& known = by_pair_[{transfer.dataset, transfer.destination}];
      if (known == nullptr ||
          std::tie(transfer.version, transfer.transfer_id) > std::tie(known->version, known->transfer_id)) {
        known = &transfer;
      }
    }
  }
  void Add(const std::string& source, const std::string& destination, int priority) {
    ++from_[source][priority];
    ++to_[destination][priority];
    ++between_[{source, destination}][priority];
  }
  void AddComing(DatasetId dataset, Coming coming) { coming_[dataset].push_back(std::move(coming)); }
  const std::vector<Coming>& ComingOf(DatasetId dataset) { return coming_[dataset]; }
  int From(const std::string& site) const { return Count(from_, site, 0); }
  int To(const std::string& site) const { return Count(to_, site, 0); }
  // Whether one more of that priority may start, as far as that end is concerned. Where all slots are taken, a site
  // that has none at the other end gets one all the same: however slow the others are, it does not wait for them.
  bool FreeFrom(const std::string& source, const std::string& destination, int priority) const {
    return From(source) < 2 * kMaxTransfersPerSource &&
           (Count(from_, source, priority) < kMaxTransfersPerSource || None(source, destination, priority));
  }
  bool FreeTo(const std::string& source, const std::string& destination, int priority) const {
    return To(destination) < 2 * kMaxTransfersPerDestination &&
           (Count(to_, destination, priority) < kMaxTransfersPerDestination || None(source, destination, priority));
  }
  const RunningTransfer* Of(const Pair& pair) const {
    auto it = by_pair_.find(pair);
    return it == by_pair_.end() ? nullptr : it->second;
  }

 private:
  template <typename Key>
  using Counts = std::map<Key, std::map<int, int>>;  // by site, or both, and priority
  template <typename Key>
  static int Count(const Counts<Key>& counts, const Key& key, int at_least) {
    auto of = counts.find(key);
    if (of == counts.end()) return 0;
    int count = 0;
    for (auto it = of->second.lower_bound(at_least); it != of->second.end(); ++it) count += it->second;
    return count;
  }
  bool None(const std::string& source, const std::string& destination, int at_least) const {
    return Count(between_, std::pair(source, destination), at_least) == 0;
  }
  Counts<std::string> from_, to_;
  Counts<std::pair<std::string, std::string>> between_;
  std::map<DatasetId, std::vector<Coming>> coming_;
  std::map<Pair, const RunningTransfer*> by_pair_;
};

const Planner::Backoff* Waiting(const Planner::BackoffMap& map, const Pair& pair, absl::Duration boot) {
  auto it = map.find(pair);
  return it == map.end() || it->second.next_boot <= boot ? nullptr : &it->second;
}

// A site that holds the newest version: older ones are added one at a time, without being a reason to worry.
void AssessBackfill(const PlanInput& input, const Load& load, const Planner::BackoffMap& backoffs, View* view,
                    Wanted* wanted, Ready* ready) {
  Reason& reason = wanted->reason;
  const Pair pair(wanted->dataset, wanted->site);
  if (const RunningTransfer* running = load.Of(pair)) {
    absl::StrAppend(&reason.sentence, "; older ", OnItsWay(*running));
    return;
  }
  if (!wanted->history || !view->Destination().code.empty()) return;
  Sourcing sourcing = view->Choose(wanted->order);
  if (sourcing.version == 0 || sourcing.stage != Sourcing::Stage::kReady) return;
  if (const Planner::Backoff* backoff = Waiting(backoffs, pair, input.boot)) {
    absl::StrAppend(&reason.sentence, "; of older versions ", LastFailure(*backoff, input.boot));
    return;
  }
  ready->backfill = true;
  ready->sourcing = std::move(sourcing);
}

// At the site itself.
void SayWhatIsDamaged(const PlannedDataset& dataset, Wanted* wanted) {
  auto broken = dataset.broken.find(wanted->site);
  if (broken == dataset.broken.end()) return;
  absl::StrAppend(&wanted->reason.sentence, "; what ", wanted->site, " has of version ", *broken->second.rbegin(),
                  " is damaged: bailiwick dataset verify ", dataset.name, " --site ", wanted->site, " says what");
}

// Sets reason and lag of the pair, and `ready` when only a free slot is missing.
void Assess(const PlanInput& input, const Load& load, const Planner::BackoffMap& backoffs, Wanted* wanted,
            Ready* ready) {
  View view(input, *ready->dataset, wanted->site, wanted->purposes);
  if (ready->dataset->versions.empty()) {
    wanted->reason = view.NoVersion();
    return;
  }
  wanted->lag = view.Lag(&wanted->lagging_at);
  wanted->rpo_breached = wanted->lag > wanted->rpo;
  if (view.AllPast()) {
    wanted->reason = view.PastRetention(ready->dataset->versions.back().number, ready->dataset->home_site);
    return;
  }
  if (view.Current()) {
    wanted->reason = view.Holds();
    AssessBackfill(input, load, backoffs, &view, wanted, ready);
    return;
  }
  const Pair pair(wanted->dataset, wanted->site);
  Sourcing sourcing = view.Choose(wanted->order);
  if (sourcing.stage == Sourcing::Stage::kDenied) {
    wanted->reason = view.Explain(sourcing);
  } else if (Reason conflict = view.Conflict(); sourcing.version == 0 && !conflict.code.empty()) {
    wanted->reason = std::move(conflict);
  } else if (Reason destination = view.Destination(); !destination.code.empty()) {
    wanted->reason = std::move(destination);
    wanted->reason.version = sourcing.version;
  } else if (const RunningTransfer* running = load.Of(pair); running != nullptr && view.Brings(running->version)) {
    wanted->reason = {"transferring", OnItsWay(*running), "", running->version, false};
  } else if (sourcing.stage != Sourcing::Stage::kReady) {
    wanted->reason = view.Explain(sourcing);
    if (sourcing.stage != Sourcing::Stage::kNoHolder) SayWhatIsDamaged(*ready->dataset, wanted);
  } else if (const Planner::Backoff* backoff = Waiting(backoffs, pair, input.boot)) {
    wanted->reason = {"failed", LastFailure(*backoff, input.boot), "", sourcing.version, false};
    if (ready->dataset->damaged.count(sourcing.version) != 0) {
      absl::StrAppend(&wanted->reason.sentence, "; what ", ready->dataset->home_site, ", the home, has of version ",
                      sourcing.version, " is damaged: bailiwick dataset commit ", ready->dataset->name,
                      " stores anew what the source still has");
    }
    SayWhatIsDamaged(*ready->dataset, wanted);
  } else {
    ready->sourcing = std::move(sourcing);
  }
}

// The best source with a free slot; null when all are busy.
const PlannedSite* PickSource(const Ready& ready, const PlannedSite& destination, int priority, const Load& load,
                              const Planner::Avoided& avoided) {
  const PlannedSite* best = nullptr;
  auto rank = [&](const PlannedSite& site) {
    return std::tuple(avoided.count({ready.dataset->id, destination.name, site.name}),
                      -SharedRegionParts(site.region, destination.region), site.name != ready.dataset->home_site,
                      load.From(site.name), site.name);
  };
  for (const PlannedSite* source : ready.sourcing.sources) {
    if (!load.FreeFrom(source->name, destination.name, priority)) continue;
    if (best == nullptr || rank(*source) < rank(*best)) best = source;
  }
  return best;
}

uint64_t LogicalBytes(const PlannedDataset& dataset, VersionNumber number) {
  for (const PlannedVersion& version : dataset.versions) {
    if (version.number == number) return version.logical_bytes;
  }
  return 0;
}

// Where to a version that brings this site further is on its way, which is nearer than the source and from which it may
// come on: what is waited for, so that the long way is gone once. Version 0: nothing.
Coming Awaited(const PlanInput& input, const Ready& ready, const PlannedSite& source, const PlannedSite& destination,
               int priority, View* view, Load* load) {
  const int nearness = SharedRegionParts(source.region, destination.region);
  const VersionNumber version = ready.sourcing.version;
  Coming best;
  for (const Coming& coming : load->ComingOf(ready.dataset->id)) {
    const bool helps = coming.version == version ||
                       (!ready.backfill && coming.version > ready.newest_held && coming.version < version);
    const PlannedSite* relay = FindSite(input, coming.site);
    if (coming.priority < priority) continue;  // it may have to yield
    if (!helps || relay == nullptr || SharedRegionParts(relay->region, destination.region) <= nearness) continue;
    if (best.version != 0 && std::tie(best.version, coming.site) >= std::tie(coming.version, best.site)) continue;
    if (view->CouldComeOn(coming.version, coming.source, coming.site)) best = coming;
  }
  return best;
}

// Starts the item or says what it waits for.
void StartOrWait(const PlanInput& input, const Planner::Avoided& avoided, Ready ready, Load* load, Plan* plan) {
  Wanted& wanted = plan->wanted[ready.wanted];
  const PlannedSite& destination = input.sites.at(wanted.site);
  const PlannedSite* source = PickSource(ready, destination, wanted.priority, *load, avoided);
  std::string limit;
  if (source != nullptr && !load->ComingOf(wanted.dataset).empty()) {
    View view(input, *ready.dataset, wanted.site, wanted.purposes);
    if (const Coming coming = Awaited(input, ready, *source, destination, wanted.priority, &view, load);
        coming.version != 0) {
      // Meanwhile what lies nearby already: one that is always a version behind is better off than one that has none.
      Sourcing near =
          wanted.order == Order::kInOrder || ready.backfill
              ? Sourcing()
              : view.ChooseNearer(ready.sourcing.version, SharedRegionParts(source->region, destination.region));
      if (near.version != 0) {
        ready.sourcing = std::move(near);
        source = PickSource(ready, destination, wanted.priority, *load, avoided);
      } else {
        load->AddComing(wanted.dataset, {wanted.priority, coming.version, coming.site, wanted.site});
        const std::string what = coming.version == ready.sourcing.version
                                     ? "the copy that"
                                     : absl::StrCat("version ", coming.version, ", which");
        limit = absl::StrCat("waits for ", what, " is on its way to ", coming.site, ", nearer than ", source->name);
      }
    }
  }
  const VersionNumber version = ready.sourcing.version;
  if (!limit.empty()) {
    // said above
  } else if (source != nullptr && !load->FreeTo(source->name, wanted.site, wanted.priority)) {
    limit = absl::StrCat("waits for one of ", load->To(wanted.site), " running transfers to ", wanted.site, " to end");
  } else if (source == nullptr) {
    const std::string& name = ready.sourcing.sources.front()->name;
    limit = absl::StrCat("waits for one of ", load->From(name), " running transfers from ", name, " to end");
  }
  if (limit.empty()) {
    load->Add(source->name, wanted.site, wanted.priority);
    load->AddComing(wanted.dataset, {wanted.priority, version, source->name, wanted.site});
    plan->start.push_back({wanted.dataset, wanted.dataset_name, version, source->name, wanted.site, source->dialable,
                           LogicalBytes(*ready.dataset, version), ready.sourcing.purposes.at(source->name),
                           wanted.priority});
  }
  if (ready.backfill) {
    absl::StrAppend(&wanted.reason.sentence, "; older version ", version,
                    limit.empty() ? absl::StrCat(" starts from ", source->name) : absl::StrCat(" ", limit));
  } else if (limit.empty()) {
    wanted.reason = {"starting", absl::StrCat("version ", version, " starts from ", source->name), "", version, false};
  } else {
    wanted.reason = {"waiting", absl::StrCat("version ", version, " ", limit), "", version, false};
  }
}

// A large version comes from two sources at once, where the second is no farther than the first and both have slots to
// spare: each works from its end, so a slow one leaves more to the other.
void AddSecondSource(const PlanInput& input, const Planner::Avoided& avoided, const PlannedDataset& dataset,
                     const RunningTransfer& running, Load* load, Plan* plan) {
  auto wanted = std::find_if(plan->wanted.begin(), plan->wanted.end(), [&](const Wanted& each) {
    return each.dataset == dataset.id && each.site == running.destination;
  });
  const PlannedSite* first = FindSite(input, running.source);
  const PlannedSite* destination = FindSite(input, running.destination);
  if (wanted == plan->wanted.end() || first == nullptr || destination == nullptr) return;
  if (load->To(running.destination) > kMaxTransfersPerDestination / 2) return;
  View view(input, dataset, running.destination, wanted->purposes);
  Sourcing sourcing = view.SourcesOf(running.version);
  std::erase_if(sourcing.sources, [&](const PlannedSite* source) {
    return source->name == running.source || avoided.count({dataset.id, running.destination, source->name}) != 0 ||
           load->From(source->name) >= kMaxTransfersPerSource / 2 ||
           SharedRegionParts(source->region, destination->region) <
               SharedRegionParts(first->region, destination->region);
  });
  if (sourcing.sources.empty()) return;
  Ready ready;
  ready.dataset = &dataset;
  ready.sourcing = std::move(sourcing);
  const PlannedSite* source = PickSource(ready, *destination, running.priority, *load, avoided);
  if (source == nullptr) return;
  load->Add(source->name, running.destination, running.priority);
  plan->start.push_back({dataset.id, dataset.name, running.version, source->name, running.destination, source->dialable,
                         running.total_bytes, ready.sourcing.purposes.at(source->name), running.priority});
}

void AddSecondSources(const PlanInput& input, const Planner::Avoided& avoided, Load* load, Plan* plan) {
  std::map<std::tuple<DatasetId, std::string, VersionNumber>, std::vector<const RunningTransfer*>> by_version;
  for (const RunningTransfer& running : input.running) {
    by_version[{running.dataset, running.destination, running.version}].push_back(&running);
  }
  for (const auto& [key, all] : by_version) {
    const RunningTransfer& only = *all.front();
    if (all.size() > 1 || only.stalled || only.yields) continue;
    if (only.total_bytes < only.done_bytes + kShareBytes) continue;
    for (const PlannedDataset& dataset : input.datasets) {
      if (dataset.id == only.dataset) AddSecondSource(input, avoided, dataset, only, load, plan);
    }
  }
}

// Why what is damaged at the home is not about to come back.
std::string NoWayBack(const PlanInput& input, const Planner::BackoffMap& backoffs, const PlannedDataset& dataset,
                      VersionNumber version, View* view) {
  const Sourcing sourcing = view->SourcesOf(version);
  if (sourcing.holders.empty()) return absl::StrCat("no site is known to hold version ", version);
  if (sourcing.stage == Sourcing::Stage::kDenied || sourcing.stage == Sourcing::Stage::kPast) {
    return absl::StrCat("it cannot come back: ", view->Explain(sourcing).sentence);
  }
  if (Reason home = view->Destination(); !home.code.empty()) return home.sentence;
  if (sourcing.stage != Sourcing::Stage::kReady) return view->Explain(sourcing).sentence;
  const Planner::Backoff* backoff = Waiting(backoffs, {dataset.id, dataset.home_site}, input.boot);
  return backoff != nullptr ? LastFailure(*backoff, input.boot)
                            : absl::StrCat("version ", version, " comes back when a transfer ends");
}

// What is damaged at a home comes back from whoever has it whole, and what it lacks since it became the home before
// that came, the newest first, one at a time. No policy wants it there, so it is no row of the plan.
void StartHealing(const PlanInput& input, const Planner::Avoided& avoided, const Planner::BackoffMap& backoffs,
                  const PlannedDataset& dataset, Load* load, Plan* plan) {
  constexpr int kPriority = 2;
  std::set<VersionNumber> needed = dataset.damaged;
  if (dataset.home_lacks != 0) needed.insert(dataset.home_lacks);
  if (needed.empty()) return;
  const Pair pair(dataset.id, dataset.home_site);
  std::string& says = plan->healing[dataset.id];
  if (const RunningTransfer* running = load->Of(pair)) {
    says = OnItsWay(*running);
    return;
  }
  const std::set<std::string> purposes = PurposesOf(input, dataset);
  View view(input, dataset, dataset.home_site, purposes);
  says = NoWayBack(input, backoffs, dataset, *needed.rbegin(), &view);
  if (Waiting(backoffs, pair, input.boot) != nullptr || !view.Destination().code.empty()) return;
  for (auto version = needed.rbegin(); version != needed.rend(); ++version) {
    Ready ready;
    ready.dataset = &dataset;
    ready.sourcing = view.SourcesOf(*version);
    const PlannedSite* source = PickSource(ready, input.sites.at(dataset.home_site), kPriority, *load, avoided);
    if (source == nullptr || !load->FreeTo(source->name, dataset.home_site, kPriority)) continue;
    load->Add(source->name, dataset.home_site, kPriority);
    load->AddComing(dataset.id, {kPriority, *version, source->name, dataset.home_site});
    plan->start.push_back({dataset.id, dataset.name, *version, source->name, dataset.home_site, source->dialable,
                           LogicalBytes(dataset, *version), ready.sourcing.purposes.at(source->name), kPriority});
    says = absl::StrCat("version ", *version, " starts from ", source->name);
    return;
  }
}

}  // namespace

bool Planner::Replaceable(const PlanInput& input, const PlannedDataset& dataset, const std::set<std::string>& purposes,
                          const RunningTransfer& running) const {
  View view(input, dataset, running.destination, purposes);
  const std::vector<const PlannedSite*> sources = view.SourcesOf(running.version).sources;
  return std::any_of(sources.begin(), sources.end(), [&](const PlannedSite* source) {
    return source->name != running.source && avoided_.count({dataset.id, running.destination, source->name}) == 0;
  });
}

Plan Planner::Run(const PlanInput& input) {
  Plan plan;
  for (auto it = avoided_.begin(); it != avoided_.end();) it = it->second <= input.boot ? avoided_.erase(it) : ++it;
  Load load(input);
  BackoffMap kept;
  std::vector<Ready> queue;
  size_t rank = 0;
  auto care = [&](const PlannedDataset& dataset, const std::string& site, const std::set<std::string>& purposes) {
    const RunningTransfer* running = load.Of({dataset.id, site});
    if (running != nullptr && running->stalled && Replaceable(input, dataset, purposes, *running)) {
      plan.replace.push_back(running->transfer_id);
    }
    auto node = backoff_.extract(Pair(dataset.id, site));
    if (!node.empty()) kept.insert(std::move(node));
  };
  for (const PlannedDataset* dataset : ByName(input.datasets)) {
    ++rank;
    if (!dataset->damaged.empty()) care(*dataset, dataset->home_site, PurposesOf(input, *dataset));
    for (auto& [site, wanted] : Desired(input, *dataset)) {
      Ready ready;
      ready.wanted = plan.wanted.size();
      ready.rank = rank;
      ready.dataset = dataset;
      if (const std::set<VersionNumber>& held = HeldAt(*dataset, site); !held.empty())
        ready.newest_held = *held.rbegin();
      Assess(input, load, backoff_, &wanted, &ready);
      care(*dataset, site, wanted.purposes);
      plan.wanted.push_back(std::move(wanted));
      if (ready.sourcing.version != 0) queue.push_back(std::move(ready));
    }
  }
  backoff_ = std::move(kept);
  // Of the sites that lack a version the one that has most of what it is made of takes the long way. Stable: what is
  // equal stays in the order of sites.
  std::stable_sort(queue.begin(), queue.end(), [&](const Ready& a, const Ready& b) {
    const int a_priority = plan.wanted[a.wanted].priority;
    const int b_priority = plan.wanted[b.wanted].priority;
    return std::tie(b_priority, a.backfill, a.rank, b.newest_held) <
           std::tie(a_priority, b.backfill, b.rank, a.newest_held);
  });
  for (Ready& ready : queue) StartOrWait(input, avoided_, std::move(ready), &load, &plan);
  for (const PlannedDataset* dataset : ByName(input.datasets)) {
    StartHealing(input, avoided_, backoff_, *dataset, &load, &plan);
  }
  AddSecondSources(input, avoided_, &load, &plan);
  return plan;
}

void Planner::Failed(DatasetId dataset, const std::string& site, const std::string& message, bool denied,
                     absl::Duration boot) {
  Backoff& backoff = backoff_[{dataset, site}];
  backoff.message = message;
  if (denied) {
    backoff.next_boot = boot + kBackoffDenied;
    return;
  }
  absl::Duration wait = kBackoffMin;
  for (int i = 0; i < backoff.failures && wait < kBackoffMax; ++i) wait *= 2;
  ++backoff.failures;
  backoff.next_boot = boot + std::min(wait, kBackoffMax);
}

void Planner::Succeeded(DatasetId dataset, const std::string& site) { backoff_.erase({dataset, site}); }

void Planner::Avoid(DatasetId dataset, const std::string& site, const std::string& source, absl::Duration boot) {
  avoided_[{dataset, site, source}] = boot + kAvoid;
}

void Planner::Forgive(const std::string& site) {
  std::erase_if(avoided_, [&](const auto& avoided) { return std::get<1>(avoided.first) == site; });
}

void Planner::ResetBackoff() { backoff_.clear(); }

void Planner::ResetBackoff(const std::string& site, const std::set<DatasetId>& has) {
  std::erase_if(backoff_, [&](const auto& of) { return of.first.second == site || has.count(of.first.first) != 0; });
}

}  // namespace bailiwick::coordinator
