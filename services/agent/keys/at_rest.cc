#include "services/agent/keys/at_rest.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/identity/spiffe.h"
#include "common/policy/evaluator.h"
#include "common/telemetry/log.h"

namespace bailiwick::agent {

policy::Obligations AtRestKeeper::Obliged(DatasetId id, const std::string& name) const {
  auto law = law_->current();
  if (law == nullptr) return {};
  auto what = law->Classify(id, name);
  if (!what.ok()) return {};
  const absl::Time now = state_->env().clock->Now();
  if (what->home_site == site_) {
    policy::Request request{.data = what->labels, .from_site = site_, .to_site = site_};
    request.action = policy::Action::kReside;
    return policy::Evaluate(law->world, request, now).obligations;
  }
  policy::Flow flow{.data = what->labels, .from_site = what->home_site, .to_site = site_};
  flow.home_site = what->home_site;
  return policy::EvaluateReplication(law->world, flow, now).obligations;
}

absl::StatusOr<std::string> AtRestKeeper::Choose(const DatasetHandle& dataset,
                                                 const policy::Obligations& obligations) const {
  const store::AtRest now = dataset.store->at_rest();
  if (obligations.encrypt_key_regions.empty() && now.wrapping_key.empty()) return "";
  BW_RETURN_IF_ERROR(now.locked);
  auto law = law_->current();
  if (law == nullptr) return absl::FailedPreconditionError("no policy is installed here yet");
  auto site = law->world.sites.find(site_);
  if (site == law->world.sites.end()) {
    return absl::FailedPreconditionError(absl::StrCat("site ", site_, " is not in the installed policy"));
  }
  BW_ASSIGN_OR_RETURN(std::vector<store::WrappingKey> keys, state_->keys()->List());
  std::vector<std::string> held;
  std::string problem;
  for (const auto& key : keys) {
    if (key.problem.empty()) {
      held.push_back(key.id);
    } else {
      problem = absl::StrCat("; ", key.problem);
    }
  }
  const std::string chosen = policy::ChooseKey(obligations, site->second, held);
  if (chosen.empty()) {
    const std::string unmet = policy::UnmetAtRest(obligations, site->second, {.wrapping_key = now.wrapping_key});
    if (unmet.empty()) return "";
    return absl::FailedPreconditionError(absl::StrCat(unmet, problem));
  }
  return chosen == now.wrapping_key ? "" : chosen;
}

absl::Status AtRestKeeper::Ensure(DatasetHandle& dataset, const policy::Obligations& obligations) {
  const store::AtRest now = dataset.store->at_rest();
  BW_ASSIGN_OR_RETURN(const std::string chosen, Choose(dataset, obligations));
  if (chosen.empty()) return absl::OkStatus();
  BW_RETURN_IF_ERROR(state_->Encrypt(dataset, chosen));
  BW_RETURN_IF_ERROR(state_->audit()
                         ->Append(now.wrapping_key.empty() ? "dataset-encrypted" : "data-key-rewrapped", dataset.name,
                                  audit::Detail().Text("wrappingKey", chosen))
                         .status());
  telemetry::Log(telemetry::Level::kInfo, now.wrapping_key.empty() ? "dataset-encrypted" : "data-key-rewrapped",
                 {{"dataset", dataset.name}, {"wrapping_key", chosen}, {"before", now.wrapping_key}});
  return absl::OkStatus();
}

policy::Storage AtRestKeeper::Prepare(DatasetId id, const std::string& name, const policy::Grant& grant,
                                      std::string* problem) {
  policy::Obligations obligations;
  auto law = law_->current();
  auto source = identity::ParseSpiffeId(grant.source);
  if (law != nullptr && source.ok()) {
    if (auto what = law->Classify(id, name); what.ok()) {
      policy::Flow flow{.data = what->labels, .from_site = source->site, .to_site = site_, .purpose = grant.purpose};
      flow.home_site = what->home_site;
      obligations = policy::EvaluateReplication(law->world, flow, state_->env().clock->Now()).obligations;
    }
  }
  DatasetHandle* dataset = state_->FindDataset(id);
  if (dataset == nullptr) {
    if (obligations.encrypt_key_regions.empty()) return {};
    auto opened = state_->OpenDataset(id, name);
    if (!opened.ok()) {
      *problem = std::string(opened.status().message());
      return {};
    }
    dataset = *opened;
  }
  if (absl::Status ensured = Ensure(*dataset, obligations); !ensured.ok()) *problem = std::string(ensured.message());
  const store::AtRest now = dataset->store->at_rest();
  if (now.encrypted()) return {.wrapping_key = now.wrapping_key};
  if (problem->empty() && now.plain_packs > 0 && !now.wrapping_key.empty()) {
    *problem = absl::StrCat("the copy at site ", site_, " is being encrypted at rest, ", now.plain_packs,
                            " packs are left; the version comes after them");
  }
  return {};
}

crypto::Envelope AtRestKeeper::Statement(const policy::Storage& storage, DatasetId id, const policy::Grant& grant,
                                         const std::string& self, const crypto::SigningKey& enrolment_key) const {
  rpc::StorageStatement statement{
      .grant_id = grant.grant_id, .dataset_id = id, .spiffe_id = self, .wrapping_key = storage.wrapping_key};
  if (auto keys = state_->keys()->List(); keys.ok() && !storage.wrapping_key.empty()) {
    for (const auto& key : *keys) {
      if (key.id == storage.wrapping_key) statement.wrapping_public_key = key.public_key;
    }
  }
  if (auto law = law_->current(); law != nullptr) {
    auto site = law->world.sites.find(site_);
    statement.encrypted_volume = site != law->world.sites.end() && site->second.encrypted_volume;
  }
  crypto::Envelope envelope = rpc::SignStorage(statement, enrolment_key);
  if (!storage.wrapping_key.empty()) {
    // A key that vanished a moment ago: the statement lacks its proof and the source refuses it.
    state_->keys()->Prove(storage.wrapping_key, &envelope).IgnoreError();
  }
  return envelope;
}

std::string AtRestKeeper::LayoutProblem(DatasetId id, const std::string& name) const {
  auto law = law_->current();
  if (law == nullptr) return "";
  auto site = law->world.sites.find(site_);
  return site == law->world.sites.end() ? "" : policy::UnmetLayout(Obliged(id, name), site->second);
}

}  // namespace bailiwick::agent
