// What the agent does about damage on its disk: who is told, and which versions come anew.
#include <set>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/os/service_manager.h"
#include "common/telemetry/log.h"
#include "services/agent/work/agent.h"
#include "services/agent/work/verify.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kLookAgain = absl::Seconds(10);  // after a look that failed
// Where a disk spoils one index after the other, the agent serves what it can in between.
constexpr absl::Duration kIndexAnewEvery = absl::Minutes(10);
constexpr const char* kIndexAnew = "index-made-anew";  // when last, in seconds

std::string KeyOf(const DatasetHandle& dataset) { return absl::StrCat("damaged-versions ", dataset.id.Hex()); }
std::string LackingKeyOf(const DatasetHandle& dataset) { return absl::StrCat("lacking-versions ", dataset.id.Hex()); }

std::set<VersionNumber> NumbersIn(const std::string& text) {
  std::set<VersionNumber> numbers;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    VersionNumber number = 0;
    if (absl::SimpleAtoi(word, &number)) numbers.insert(number);
  }
  return numbers;
}

}  // namespace

absl::Status Agent::LoadDamage(DatasetHandle& dataset) {
  BW_ASSIGN_OR_RETURN(const std::string damaged, state_->GetMeta(KeyOf(dataset)));
  BW_ASSIGN_OR_RETURN(const std::string lacking, state_->GetMeta(LackingKeyOf(dataset)));
  dataset.damage->Set(NumbersIn(damaged));
  dataset.damage->SetLacking(NumbersIn(lacking));
  return absl::OkStatus();
}

absl::Status Agent::SetDamage(DatasetHandle& dataset, const std::set<VersionNumber>& damaged) {
  if (damaged == dataset.damage->versions()) return absl::OkStatus();
  BW_RETURN_IF_ERROR(state_->PutMeta(KeyOf(dataset), absl::StrJoin(damaged, " ")));
  dataset.damage->Set(damaged);
  return absl::OkStatus();
}

void Agent::LookForDamage(DatasetHandle& dataset) {
  bool home = false;
  if (auto work = FindWork(dataset.id); work != nullptr) {
    absl::MutexLock lock(&mutex_);
    home = work->assignment.home();
  }
  absl::MutexLock looking(&dataset.damage->looking);
  const uint64_t losses = dataset.store->losses();
  auto look = [&]() -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto versions, dataset.catalog->List(dataset.id));
    // Not all of what was given up is here, on purpose.
    std::erase_if(versions, [&](const auto& v) { return dataset.dropped->BaseOf(v.record.number) != 0; });
    BW_ASSIGN_OR_RETURN(std::set<VersionNumber> damaged, DamagedVersions(dataset, versions));
    // What was committed here is nobody's copy: it stays announced, unless it was given up while this was the home.
    std::set<VersionNumber> lacking;
    for (const auto& v : versions) {
      const VersionNumber number = v.record.number;
      const bool own = !home && v.record.home_site == identity_->site() && !dataset.damage->Has(number);
      if (own && damaged.erase(number) != 0) lacking.insert(number);
    }
    BW_RETURN_IF_ERROR(SetDamage(dataset, damaged));
    if (lacking != dataset.damage->lacking()) {
      BW_RETURN_IF_ERROR(state_->PutMeta(LackingKeyOf(dataset), absl::StrJoin(lacking, " ")));
      dataset.damage->SetLacking(std::move(lacking));
    }
    dataset.damage->Looked(losses);
    return absl::OkStatus();
  };
  if (absl::Status looked = look(); !looked.ok()) {
    Log(Level::kError, "damage-unknown", {{"dataset", dataset.name}, {"error", looked}});
  }
}

bool Agent::MustReread(Work& work) {
  {
    absl::MutexLock lock(&mutex_);
    if (work.reread.has_value()) return *work.reread;
  }
  auto last = scrubber_.Of(*work.dataset);  // before a restart
  absl::MutexLock lock(&mutex_);
  if (!work.reread.has_value()) {
    work.reread = !work.dataset->damage->versions().empty() || (last.ok() && last->damaged != 0);
  }
  return *work.reread;
}

void Agent::Reread(Work& work, VersionNumber version) {
  DatasetHandle& dataset = *work.dataset;
  {
    absl::MutexLock lock(&mutex_);
    work.reread = false;  // what is damaged still the source has no more
  }
  Log(Level::kWarning, "source-reread", {{"dataset", dataset.name}, {"version", version}});
  absl::ReleasableMutexLock looking(&dataset.damage->looking);
  auto look = [&]() -> absl::StatusOr<bool> {
    BW_ASSIGN_OR_RETURN(auto versions, dataset.catalog->List(dataset.id));
    std::erase_if(versions, [&](const auto& v) { return dataset.dropped->BaseOf(v.record.number) != 0; });
    BW_ASSIGN_OR_RETURN(const auto damaged, DamagedVersions(dataset, versions));
    BW_RETURN_IF_ERROR(SetDamage(dataset, damaged));
    if (damaged.empty()) BW_RETURN_IF_ERROR(scrubber_.Healed(dataset));
    return damaged.empty();
  };
  const absl::StatusOr<bool> healed = look();
  looking.Release();
  if (!healed.ok()) Log(Level::kError, "damage-unknown", {{"dataset", dataset.name}, {"error", healed.status()}});
  if (healed.ok() && *healed) Log(Level::kInfo, "data-healed", {{"dataset", dataset.name}});
  const bool all = healed.ok() && *healed;
  Notice(all ? "data-healed" : "source-reread", dataset.id,
         absl::StrCat("what is stored here was damaged, so a commit read every file of the source; ",
                      all ? "what was damaged is stored anew"
                          : absl::StrCat("older versions lack what the source has no more: bailiwick dataset verify ",
                                         dataset.name, " --site ", identity_->site(), " says what")));
}

void Agent::WasReadBack(DatasetHandle& dataset, const VerifyReport& report) {
  if (report.problem_count != 0) return FoundDamage(dataset, report);
  LookWhatHealed(dataset);
  if (auto work = FindWork(dataset.id); work != nullptr) SendReport(work);
}

void Agent::FoundDamage(DatasetHandle& dataset, const VerifyReport& report) {
  Log(Level::kError, "data-damaged", {{"dataset", dataset.name}, {"chunks", report.problem_count}});
  Notice(
      "data-damaged", dataset.id,
      absl::StrCat(report.problem_count, report.problem_count == 1 ? " chunk is" : " chunks are",
                   " damaged; bailiwick dataset verify ", dataset.name, " --site ", identity_->site(), " says what"));
  LookForDamage(dataset);
  SayDamage(dataset);
}

// Something that must be here was not, or damaged. What an order to redact took is no damage, nor what was given up.
void Agent::SuspectDamage(DatasetHandle& dataset) {
  if (!dataset.damage->Suspect()) return;
  jobs_.Submit(absl::StrCat("damage:", dataset.id.Hex()), [this, &dataset] {
    dataset.damage->Looking();
    const std::set<VersionNumber> before = dataset.damage->versions();
    LookForDamage(dataset);
    const std::set<VersionNumber> damaged = dataset.damage->versions();
    if (damaged == before || damaged.empty()) return;
    Log(Level::kError, "data-damaged", {{"dataset", dataset.name}, {"version", *damaged.rbegin()}});
    Notice("data-damaged", dataset.id,
           absl::StrCat("something of version ", *damaged.rbegin(), " is damaged or gone; bailiwick dataset verify ",
                        dataset.name, " --site ", identity_->site(), " says what"));
    SayDamage(dataset);
  });
}

// Whoever met it may have had no reason to say so.
void Agent::LookAtLosses(Work& work) {
  DatasetHandle& dataset = *work.dataset;
  if (dataset.damage->Accounts(dataset.store->losses())) return;
  {
    const absl::Duration now = state_->env().clock->BootTime();
    absl::MutexLock lock(&mutex_);
    if (now < work.next_damage_look) return;
    work.next_damage_look = now + kLookAgain;
  }
  SuspectDamage(dataset);
}

// Of a damaged index no chunk can be looked up, and it is made anew from the packs' sidecars where it is opened.
void Agent::LookAtIndex() {
  if (starts_anew_ || !state_->index_damaged()) return;
  const int64_t now = absl::ToUnixSeconds(state_->env().clock->Now());
  auto text = state_->GetMeta(kIndexAnew);
  int64_t last = 0;
  if (!text.ok() || (absl::SimpleAtoi(*text, &last) && now >= last && absl::Seconds(now - last) < kIndexAnewEvery)) return;
  if (!state_->PutMeta(kIndexAnew, absl::StrCat(now)).ok()) return;
  Log(Level::kError, "index-damaged", {{"next", "the agent starts anew, which makes the index anew from the packs"}});
  starts_anew_ = true;
  os::EndAwait();
}

void Agent::SayDamage(DatasetHandle& dataset) {
  auto work = FindWork(dataset.id);
  if (work == nullptr) return;
  {
    absl::MutexLock lock(&mutex_);
    work->reread = true;
  }
  SendReport(work);
}

void Agent::LookWhatHealed(DatasetHandle& dataset) {
  absl::MutexLock looking(&dataset.damage->looking);
  const std::set<VersionNumber> before = dataset.damage->versions();
  if (before.empty()) return;
  bool kept = false;  // by retention, one of them at least
  auto look = [&]() -> absl::Status {
    BW_ASSIGN_OR_RETURN(auto versions, dataset.catalog->List(dataset.id));
    std::erase_if(versions, [&](const auto& v) { return before.count(v.record.number) == 0; });
    kept = !versions.empty();
    BW_ASSIGN_OR_RETURN(const auto damaged, DamagedVersions(dataset, versions));
    BW_RETURN_IF_ERROR(SetDamage(dataset, damaged));
    return damaged.empty() ? scrubber_.Healed(dataset) : absl::OkStatus();
  };
  if (absl::Status looked = look(); !looked.ok()) {
    Log(Level::kError, "damage-unknown", {{"dataset", dataset.name}, {"error", looked}});
  } else if (kept && dataset.damage->versions().empty()) {
    Log(Level::kInfo, "data-healed", {{"dataset", dataset.name}});
    Notice("data-healed", dataset.id, "what was damaged is whole again");
    if (auto work = FindWork(dataset.id); work != nullptr) {
      absl::MutexLock lock(&mutex_);
      work->reread = false;  // by the next commit of a home: not for this any more
    }
  }
}

}  // namespace bailiwick::agent
