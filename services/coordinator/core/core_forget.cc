// Versions that no site holds any more and nothing refers to: their records are forgotten, in memory and in the
// catalog. Number and identity stay on disk: a home that lost its past cannot announce another version under the
// number, and a site that reports such a version after all (its disk came from a backup, it slept while its transfer
// was given up) is asked for the record, which the home signed, and the version is known again.
#include <algorithm>
#include <utility>

#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr size_t kRemembered = 100;        // the newest of a dataset, whoever holds them: what was committed lately
constexpr size_t kWorthWhile = 100;        // of a dataset at once: a transaction for each commit would be dear
constexpr size_t kForgottenAtOnce = 1000;  // a round; what it leaves waits for the next
constexpr size_t kRecalls = 10'000;        // of a dataset that one site is asked for in one session

}  // namespace

std::set<VersionNumber> Core::InNeed(DatasetId dataset) const {
  std::set<VersionNumber> needed;
  if (auto replicas = state_.replicas.find(dataset); replicas != state_.replicas.end()) {
    for (const auto& [site, row] : replicas->second) {
      needed.insert(row.versions.begin(), row.versions.end());
      needed.insert(row.dropped.begin(), row.dropped.end());
      needed.insert(row.broken.begin(), row.broken.end());
      for (const auto& [number, base] : row.partial) {
        needed.insert(number);
        needed.insert(base);
      }
      needed.insert(row.current);
      if (!row.fence.has_value()) continue;
      needed.insert(row.fence->held().begin(), row.fence->held().end());
      needed.insert(row.fence->waiting().begin(), row.fence->waiting().end());
    }
  }
  for (const auto& [of, number] : state_.pins) {
    if (of.first == dataset) needed.insert(number);
  }
  for (const auto& [id, hold] : state_.holds) {
    if (hold.dataset_id() == dataset.view()) needed.insert(hold.number());
  }
  for (const auto& [id, transfer] : transfers_) {
    if (transfer.dataset == dataset) needed.insert(transfer.version);
  }
  return needed;
}

void Core::ForgetVersions() {
  size_t left = kForgottenAtOnce;
  for (auto& [id, versions] : state_.versions) {
    // Of what nobody declares any more nothing new comes, and what comes back of it is not asked for.
    if (left == 0 || versions.size() < kRemembered + kWorthWhile || streams_.count(id) == 0) continue;
    const std::set<VersionNumber> needed = InNeed(id);
    std::vector<const VersionRow*> gone;
    size_t older = versions.size() - kRemembered;
    for (auto it = versions.begin(); older > 0 && gone.size() < left; ++it, --older) {
      if (needed.count(it->first) == 0) gone.push_back(&it->second);
    }
    if (gone.size() < std::min(kWorthWhile, left)) continue;
    if (absl::Status done = catalog_->ForgetVersions(id, gone); !done.ok()) {  // the next round tries again
      Log(Level::kError, "catalog-failed", {{"error", done}});
      return;
    }
    left -= gone.size();
    Log(Level::kInfo, "versions-forgotten",
        {{"dataset", NameOf(id)}, {"count", gone.size()}, {"newest", gone.back()->record.number}});
    std::vector<VersionNumber> numbers;
    for (const VersionRow* row : gone) numbers.push_back(row->record.number);
    for (VersionNumber number : numbers) versions.erase(number);
  }
}

std::optional<Digest> Core::Forgotten(DatasetId dataset, VersionNumber number) const {
  auto versions = state_.versions.find(dataset);
  if (versions == state_.versions.end() || versions->second.empty()) return std::nullopt;
  if (number > versions->second.rbegin()->first || versions->second.count(number) != 0) return std::nullopt;
  auto identity = catalog_->ForgottenVersion(dataset, number);
  if (identity.ok()) return *identity;
  Log(Level::kError, "catalog-failed", {{"error", identity.status()}});
  return std::nullopt;
}

bool Core::TakeBack(const Stream& stream, const Digest& identity, const std::string& site,
                    const agent::v1::HeldVersion& held) {
  VersionRow row;
  row.envelope = rpc::FromProto(held.record());
  row.identity = store::VersionIdentity(row.envelope);
  auto take = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::Status {
    if (row.identity != identity) return absl::InvalidArgumentError("the record is of another version");
    BW_ASSIGN_OR_RETURN(row.record, store::DecodeVersionRecord(row.envelope.payload));
    std::vector<std::string> keys;
    if (auto home = bundle_->world.sites.find(row.record.home_site); home != bundle_->world.sites.end()) {
      for (const auto& [name, key] : home->second.enrolment_keys) keys.push_back(key);
    }
    BW_RETURN_IF_ERROR(crypto::VerifyEnvelope(row.envelope, crypto::kVersionType, keys));
    return catalog_->PutVersion(row);
  };
  if (absl::Status taken = take(); !taken.ok()) {
    Log(Level::kWarning, "version-not-recalled",
        {{"dataset", stream.name}, {"version", held.number()}, {"site", site}, {"error", taken}});
    return false;
  }
  state_.versions[stream.id][row.record.number] = std::move(row);
  return true;
}

void Core::AskForRecords(DatasetId dataset, const std::string& site, const std::vector<VersionNumber>& numbers) {
  if (numbers.empty()) return;
  auto session = sessions_.find(site);
  if (session == sessions_.end()) return;
  auto& asked = recalled_[{site, dataset}];
  agent::v1::CoordinatorMessage message;
  message.mutable_recall()->set_dataset_id(dataset.str());
  for (VersionNumber number : numbers) {
    if (asked.size() < kRecalls && asked.insert(number).second) message.mutable_recall()->add_numbers(number);
  }
  if (message.recall().numbers_size() != 0) session->second->Send(std::move(message));
}

}  // namespace bailiwick::coordinator
