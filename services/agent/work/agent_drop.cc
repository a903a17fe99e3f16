// The home gives up content that other sites hold: what those say, signed, what the home makes of it, and what becomes
// of versions that are not all here.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/policy/residence.h"
#include "common/rpc/codec.h"
#include "common/rpc/copies.h"
#include "common/telemetry/log.h"
#include "services/agent/evict/residence.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kWordCounts = absl::Minutes(5);  // so long what a site said that it holds is gone by
constexpr absl::Duration kDropEvery = absl::Minutes(1);   // a receipt each, and a look at all that the dataset has

// Whether the law of now lets the site keep a copy at least for as long as the home may.
bool MayRelyOn(const LawSnapshot& law, const config::Classification& of, const std::string& site, absl::Time now) {
  const policy::Decision there = policy::EvaluateResidence(law.world, of.labels, of.home_site, site, now);
  const policy::Decision home = policy::EvaluateResidence(law.world, of.labels, of.home_site, of.home_site, now);
  return there.permitted && (!home.permitted || there.obligations.max_retention >= home.obligations.max_retention);
}

}  // namespace

void Agent::OnCopyQuestion(const agent::v1::CopyQuestion& question) {
  auto id = DatasetId::From(question.dataset_id());
  DatasetHandle* dataset = id.ok() ? state_->FindDataset(*id) : nullptr;
  if (dataset == nullptr || Closed(*id) || !dataset->store->at_rest().locked.ok()) return;
  if (!dataset->damage->Accounts(dataset->store->losses())) return SuspectDamage(*dataset);  // asked again
  auto versions = dataset->catalog->List(*id);
  if (!versions.ok()) return;
  const std::set<VersionNumber> lacking = dataset->damage->lacking();
  const std::set<std::string> asked(question.identities().begin(), question.identities().end());
  rpc::CopyStatement statement{.dataset_id = *id,
                               .dataset = dataset->name,
                               .site = identity_->site(),
                               .agent = identity_->spiffe_id(),
                               .versions = {},
                               .at = law_->clock().Now()};
  for (const auto& version : *versions) {
    const VersionNumber number = version.record.number;
    std::string sentence, rule;
    if (asked.count(std::string(version.identity.view())) == 0) continue;
    if (dataset->damage->Has(number) || lacking.count(number) != 0) continue;
    if (dataset->dropped->BaseOf(number) != 0 || evictor_.Withheld(*id, number, &sentence, &rule)) continue;
    statement.versions.push_back({number, version.identity});
  }
  if (statement.versions.empty()) return;
  absl::Status audited = state_->audit()
                             ->Append("copies-stated", absl::StrCat("dataset/", dataset->name),
                                      audit::Detail()
                                          .Number("versions", statement.versions.size())
                                          .Number("newest", statement.versions.back().number))
                             .status();
  if (!audited.ok()) return;  // said so by the log itself
  agent::v1::AgentMessage message;
  rpc::ToProto(crypto::SignEnvelope(crypto::kCopyType, rpc::EncodeCopyStatement(statement), identity_->enrolment_key()),
               message.mutable_copies());
  session_->Send(std::move(message));
}

void Agent::OnDropOffer(const agent::v1::DropOffer& offer) {
  auto id = DatasetId::From(offer.dataset_id());
  auto work = id.ok() ? FindWork(*id) : nullptr;
  auto law = law_->current();
  if (work == nullptr || law == nullptr) return;
  auto classification = ClassifyHeld(*law, *id, work->dataset->name);
  if (!classification.ok()) return;
  const absl::Time now = law_->clock().Now();
  std::map<Digest, std::set<std::string>> copies;
  for (const auto& envelope : offer.copies()) {
    auto said = rpc::OpenCopyStatement(rpc::FromProto(envelope), law->world);
    if (said.ok() && (said->dataset_id != *id || said->site == identity_->site())) {
      said = absl::PermissionDeniedError("it is about another dataset, or of this site itself");
    } else if (said.ok() && (now - said->at > kWordCounts || said->at - now > kWordCounts)) {
      said = absl::FailedPreconditionError("it is too old, or from the future");
    } else if (said.ok() && !MayRelyOn(*law, *classification, said->site, now)) {
      said = absl::FailedPreconditionError(absl::StrCat("the law lets no copy stay at ", said->site, " for as long"));
    }
    if (!said.ok()) {
      Log(Level::kWarning, "copy-not-counted", {{"dataset", work->dataset->name}, {"error", said.status()}});
      continue;
    }
    for (const rpc::VersionRef& version : said->versions) copies[version.identity].insert(said->site);
  }
  {
    absl::MutexLock lock(&mutex_);
    work->copies = std::move(copies);
    work->copies_until = state_->env().clock->BootTime() + kWordCounts;
  }
  QueueKeep(work);
}

Keeps Agent::Kept(const std::shared_ptr<Work>& work) {
  VersionNumber pinned;
  {
    absl::MutexLock lock(&mutex_);
    pinned = work->assignment.pinned();
  }
  return [this, pinned, id = work->dataset->id](VersionNumber number) {
    return (pinned != 0 && number == pinned) || evictor_.Held(id, number);
  };
}

std::vector<HeldElsewhere> Agent::Droppable(const std::shared_ptr<Work>& work) {
  std::map<Digest, std::set<std::string>> copies;
  agent::v1::Assignment assignment;
  {
    absl::MutexLock lock(&mutex_);
    if (!work->assigned || state_->env().clock->BootTime() >= work->copies_until) return {};
    copies = work->copies;
    assignment = work->assignment;
  }
  const uint32_t asked = assignment.spec().drop_after_copies();
  DatasetHandle& dataset = *work->dataset;
  auto versions = dataset.catalog->List(dataset.id);
  if (!assignment.home() || asked == 0 || !versions.ok()) return {};
  const Keeps keeps = Kept(work);
  std::vector<HeldElsewhere> out;
  for (const auto& version : *versions) {
    const VersionNumber number = version.record.number;
    if (dataset.dropped->BaseOf(number) == number || number > assignment.acknowledged() || keeps(number)) continue;
    auto sites = copies.find(version.identity);
    if (sites == copies.end() || sites->second.size() < asked) continue;
    out.push_back({{number, version.identity}, {sites->second.begin(), sites->second.end()}});
  }
  return out;
}

// In the "keep:" lane. What was begun before a restart is carried through first.
void Agent::GiveUp(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  absl::Status status = absl::OkStatus();
  if (!dropper_.UnderWay(dataset.id)) {
    const std::vector<HeldElsewhere> versions = Droppable(work);
    if (versions.empty()) return;
    {
      absl::MutexLock lock(&mutex_);
      if (state_->env().clock->BootTime() < work->next_drop) {
        work->next_keep = std::min(work->next_keep, work->next_drop);
        return;
      }
    }
    status = dropper_.Begin(dataset, versions);
    if (status.ok()) SendReport(work);
  }
  {
    absl::MutexLock lock(&mutex_);
    work->next_drop = state_->env().clock->BootTime() + kDropEvery;
    if (dropper_.UnderWay(dataset.id)) work->next_keep = std::min(work->next_keep, work->next_drop);  // if it fails
  }
  if (status.ok()) status = dropper_.CarryOut(dataset, Kept(work));
  if (!status.ok()) {
    Log(Level::kError, "drop-failed", {{"dataset", dataset.name}, {"error", status}});
    return;
  }
  Log(Level::kInfo, "content-dropped", {{"dataset", dataset.name}});
  SendReport(work);
  SendReceipts();
}

// A home that gave up content and is the home no more holds what it lacks like a damaged copy: not as a copy, and whole
// again once it was sent anew, also to a site that is the home again: only what others stated to hold is given up.
void Agent::CareForDropped(const std::shared_ptr<Work>& work) {
  DatasetHandle& dataset = *work->dataset;
  {
    absl::MutexLock lock(&mutex_);
    if (!work->assigned || work->assignment.home()) return;
  }
  if (dataset.dropped->empty()) return;
  absl::MutexLock looking(&dataset.damage->looking);
  std::set<VersionNumber> damaged = dataset.damage->versions();
  auto versions = dataset.catalog->List(dataset.id);
  absl::Status status = versions.status();
  if (status.ok()) {
    for (const auto& version : *versions) {
      if (dataset.dropped->BaseOf(version.record.number) != 0) damaged.insert(version.record.number);
    }
    status = SetDamage(dataset, damaged);
  }
  if (status.ok()) status = dropper_.Replace(dataset, {});
  if (!status.ok()) Log(Level::kError, "drop-not-stored", {{"dataset", dataset.name}, {"error", status}});
  SendReport(work);
}

absl::Status Agent::CheckWhole(const DatasetHandle& dataset, VersionNumber number) const {
  const std::string why = dataset.dropped->Why(dataset.name, number);
  return why.empty() ? absl::OkStatus() : absl::NotFoundError(why);
}

}  // namespace bailiwick::agent
