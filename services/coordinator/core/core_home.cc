// Homes that give up what other sites hold: those are asked for their signed word, the home is given it. Nothing of it
// is stored: a coordinator that starts anew asks again.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/detail.h"
#include "common/base/runs.h"
#include "common/rpc/codec.h"
#include "common/rpc/copies.h"
#include "common/telemetry/log.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr absl::Duration kAskAgain = absl::Seconds(90);  // what was said is older by then than a home goes by for long

}  // namespace

void Core::PlanHomeDrops(const PlanInput& input) {
  std::map<DatasetId, HomeDropState> still;
  std::map<std::string, std::vector<agent::v1::Hold>> kept_at;  // homes, which only they know of
  for (const PlannedDataset& dataset : input.datasets) {
    if (dataset.drop_after == 0 || sessions_.count(dataset.home_site) == 0) continue;
    std::set<VersionNumber> kept;
    auto keep = [&](const agent::v1::Hold& hold) {
      if (hold.dataset_id() != dataset.id.view()) return;
      if (!hold.site().empty() && hold.site() != dataset.home_site) return;
      if (hold.number() != 0) kept.insert(hold.number());
      for (const PlannedVersion& version : dataset.versions) {
        if (hold.number() == 0) kept.insert(version.number);
      }
    };
    for (const auto& [id, hold] : state_.holds) keep(hold);
    auto [own, fresh] = kept_at.try_emplace(dataset.home_site);
    if (fresh) own->second = KeptAt(dataset.home_site);
    for (const agent::v1::Hold& hold : own->second) keep(hold);
    if (auto pin = state_.pins.find({dataset.id, ""}); pin != state_.pins.end()) kept.insert(pin->second);
    std::set<std::string> heard;
    for (const auto& [site, numbers] : dataset.held) {
      if (heard_of_.count({site, dataset.id}) != 0) heard.insert(site);
    }
    HomeDropState& state = still[dataset.id];
    if (auto before = home_drops_.find(dataset.id); before != home_drops_.end()) state = std::move(before->second);
    HomeDrop drop = PlanHomeDrop(input, dataset, kept, heard);
    const bool changed = drop.holders != state.drop.holders;
    state.drop = std::move(drop);
    if (state.drop.versions.empty() || (!changed && clock_->BootTime() - state.asked < kAskAgain)) continue;
    state.asked = clock_->BootTime();
    state.words.clear();
    for (const auto& [site, numbers] : state.drop.holders) AskForCopies(dataset.id, site, numbers);
  }
  home_drops_ = std::move(still);
}

void Core::AskForCopies(DatasetId dataset, const std::string& site, const std::set<VersionNumber>& numbers) {
  auto session = sessions_.find(site);
  if (session == sessions_.end()) return;
  agent::v1::CoordinatorMessage message;
  auto* question = message.mutable_copy_question();
  question->set_dataset_id(dataset.str());
  const auto& versions = state_.versions[dataset];
  for (VersionNumber number : numbers) {
    auto version = versions.find(number);
    if (version != versions.end()) question->add_identities(std::string(version->second.identity.view()));
  }
  session->second->Send(std::move(message));
}

void Core::OnCopies(const std::string& site, const types::v1::Envelope& envelope) {
  if (!bundle_.has_value()) return;
  auto said = rpc::OpenCopyStatement(rpc::FromProto(envelope), bundle_->world);
  if (said.ok() && said->site != site) said = absl::PermissionDeniedError("the statement is of another site");
  if (!said.ok()) {
    Log(Level::kWarning, "copies-refused", {{"site", site}, {"error", said.status()}});
    return;
  }
  auto drop = home_drops_.find(said->dataset_id);
  auto stream = streams_.find(said->dataset_id);
  if (drop == home_drops_.end() || stream == streams_.end()) return;
  HomeDropState& state = drop->second;
  if (state.drop.holders.count(site) == 0) return;
  state.words[site] = envelope;
  if (state.words.size() < stream->second.spec.drop_after_copies()) return;
  auto session = sessions_.find(stream->second.home_site);
  if (session == sessions_.end()) return;
  std::vector<std::string> sites;
  agent::v1::CoordinatorMessage message;
  message.mutable_drop_offer()->set_dataset_id(said->dataset_id.str());
  for (const auto& [name, word] : state.words) {
    *message.mutable_drop_offer()->add_copies() = word;
    sites.push_back(name);
  }
  absl::Status audited =
      Audit("drop-offered", absl::StrCat(stream->second.name, "/", stream->second.home_site),
            audit::Detail()
                .Text("versions", FormatRuns({state.drop.versions.begin(), state.drop.versions.end()}))
                .Texts("heldAt", sites));
  if (!audited.ok()) {
    Log(Level::kError, "audit-failed", {{"error", audited}});
    return;
  }
  session->second->Send(std::move(message));
}

std::string Core::HomeDamage(const Stream& stream, const ReplicaRow& row, absl::string_view where) const {
  if (row.damaged.empty()) return "";
  auto healing = plan_.healing.find(stream.id);
  return absl::StrCat(FormatVersions(row.damaged), row.damaged.size() == 1 ? " is" : " are", " damaged ", where,
                      healing == plan_.healing.end() ? "" : absl::StrCat("; ", healing->second));
}

std::string Core::HomeReason(const Stream& stream, const ReplicaRow& row) const {
  std::vector<std::string> parts;
  if (!row.source_problem.empty()) parts.push_back(row.source_problem);
  if (!row.dropped.empty()) {
    const VersionNumber newest = *row.dropped.rbegin();
    std::vector<std::string> sites;
    for (const auto& [site, copy] : state_.replicas.at(stream.id)) {
      if (site != stream.home_site && copy.versions.count(newest) != 0) sites.push_back(site);
    }
    parts.push_back(absl::StrCat(FormatVersions(row.dropped), " given up here; ",
                                 sites.empty()
                                     ? absl::StrCat("no site is known to hold version ", newest)
                                     : absl::StrCat("version ", newest, " lies at ", absl::StrJoin(sites, ", "))));
  }
  if (std::string damage = HomeDamage(stream, row, "here"); !damage.empty()) parts.push_back(std::move(damage));
  auto drop = home_drops_.find(stream.id);
  if (drop != home_drops_.end() && !drop->second.drop.waits.empty()) parts.push_back(drop->second.drop.waits);
  return absl::StrJoin(parts, "; ");
}

}  // namespace bailiwick::coordinator
