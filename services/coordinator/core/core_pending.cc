// Changes of the law that wait for signatures, the rotation of its root, its timestamps and its history.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

constexpr size_t kPartBytes = 1 << 20;  // of records in one message; gRPC takes 4 MiB
constexpr uint32_t kDefaultHistory = 100, kMaxHistory = 1000;

void Mix(const std::string& bytes, crypto::Hasher* hasher) {
  hasher->Update(absl::StrCat(bytes.size(), ":"));
  hasher->Update(bytes);
}

// Adds the signatures that `from` has and `to` lacks.
void Merge(const types::v1::Envelope& from, types::v1::Envelope* to) {
  if (from.payload() != to->payload() || from.payload_type() != to->payload_type()) return;
  for (const auto& signature : from.signatures()) {
    const bool there = std::any_of(to->signatures().begin(), to->signatures().end(), [&](const auto& s) {
      return s.key_id() == signature.key_id() && s.signature() == signature.signature();
    });
    if (!there) *to->add_signatures() = signature;
  }
}

void AddSigners(const crypto::Envelope& envelope, const std::vector<std::string>& keys, std::set<std::string>* ids) {
  for (const std::string& key : crypto::ValidSigners(envelope, envelope.payload_type, keys)) {
    ids->insert(crypto::KeyId(key));
  }
}

}  // namespace

std::string Core::PendingId(const control::v1::ApplyRequest& request) {
  crypto::Hasher hasher;
  Mix(request.bundle().payload(), &hasher);
  for (const auto& root : request.roots()) Mix(root.payload(), &hasher);
  Mix("classifications", &hasher);
  for (const auto& c : request.classifications()) Mix(c.payload(), &hasher);
  for (const auto& r : request.upserts()) Mix(config::ToYaml(r), &hasher);
  for (const auto& d : request.deletes()) Mix(absl::StrCat(d.kind(), "/", d.name()), &hasher);
  return std::string(hasher.Finish().view());
}

void Core::MergeSignatures(const control::v1::ApplyRequest& from, control::v1::ApplyRequest* to) {
  if (from.has_bundle()) Merge(from.bundle(), to->mutable_bundle());
  for (int i = 0; i < std::min(from.classifications_size(), to->classifications_size()); ++i) {
    Merge(from.classifications(i), to->mutable_classifications(i));
  }
  for (int i = 0; i < std::min(from.roots_size(), to->roots_size()); ++i) Merge(from.roots(i), to->mutable_roots(i));
}

void Core::AddMissing(const std::string& what, const crypto::Envelope& envelope, const std::vector<std::string>& keys,
                      size_t threshold, std::string* missing) {
  const size_t have = crypto::ValidSigners(envelope, envelope.payload_type, keys).size();
  if (have >= threshold) return;
  const std::string words = absl::StrCat(what, " has ", have, " of ", threshold, " signatures");
  if (missing->find(words) != std::string::npos) return;  // said once for all records
  absl::StrAppend(missing, missing->empty() ? "" : "; ", words);
}

// The chain that the request brings must continue the one known here by one root. Sets the change's chain and root.
absl::Status Core::CheckRoots(const control::v1::ApplyRequest& request, Change* change, std::string* missing,
                              Signatures signatures) {
  if (request.roots().empty()) return absl::OkStatus();
  if (!bundle_.has_value()) return absl::InvalidArgumentError("the first policy bundle has no roots before its own");
  config::RootChain known = state_.roots;
  if (known.empty()) known.push_back({std::string(crypto::kRootType), bundle_->message.root(), {}});
  config::RootChain chain;
  for (const auto& root : request.roots()) chain.push_back(rpc::FromProto(root));
  if (chain.size() != known.size() + 1) {
    return absl::AbortedError("the chain of policy roots does not continue the one known here; read again and retry");
  }
  for (size_t i = 0; i < known.size(); ++i) {
    if (chain[i].payload != known[i].payload) {
      return absl::InvalidArgumentError("the chain of policy roots is another one than known here");
    }
    chain[i] = known[i];
  }
  BW_ASSIGN_OR_RETURN(config::PolicyRoot before, config::DecodePolicyRoot(known.back().payload));
  absl::Status follows = config::CheckSuccessor(before, chain.back());
  if (!follows.ok()) {
    BW_ASSIGN_OR_RETURN(config::PolicyRoot next, config::DecodePolicyRoot(chain.back().payload));
    const bool to_come = Unsigned(chain.back(), signatures);
    if (!absl::IsPermissionDenied(follows) || next.number != before.number + 1 ||
        (!to_come && crypto::ValidSigners(chain.back(), crypto::kRootType, before.keys).empty())) {
      return follows;
    }
    if (!to_come) {
      AddMissing("the new root, by keys of the old one,", chain.back(), before.keys, before.threshold, missing);
      AddMissing("the new root, by its own keys,", chain.back(), next.keys, next.threshold, missing);
    }
  }
  change->root_sha256 = config::RootHash(chain.back());
  change->roots = std::move(chain);
  return absl::OkStatus();
}

absl::StatusOr<config::Bundle> Core::OpenOrPending(const crypto::Envelope& envelope, const std::string& root_sha256,
                                                   std::string* missing, Signatures signatures) {
  auto whole = config::OpenBundle(envelope, root_sha256);
  if (!absl::IsPermissionDenied(whole.status())) return whole;
  auto pending = config::OpenUnsigned(envelope);
  if (!pending.ok() || crypto::Sha256(pending->message.root()).view() != root_sha256) return whole.status();
  if (Unsigned(envelope, signatures)) return pending;
  // During a rotation, one of the keys of the old root may be the first to sign.
  std::vector<std::string> may_begin = pending->world.root_keys;
  if (bundle_.has_value()) {
    may_begin.insert(may_begin.end(), bundle_->world.root_keys.begin(), bundle_->world.root_keys.end());
  }
  if (crypto::ValidSigners(envelope, crypto::kBundleType, may_begin).empty()) return whole.status();
  AddMissing("the policy bundle", envelope, pending->world.root_keys, pending->world.root_threshold, missing);
  return pending;
}

control::v1::Pending Core::PendingView() {
  control::v1::Pending view;
  const PendingRow& row = *state_.pending;
  view.set_id(PendingId(row.request));
  view.set_by(row.by);
  rpc::ToProto(row.since, view.mutable_since());
  config::Catalog after;
  std::string missing;
  auto change = CheckApply(row.request, &after, &missing, Signatures::kNeeded);
  view.set_outdated(!change.ok());
  if (change.ok() && missing.empty()) missing = NeedsSecond(row.by, *change, after, /*completes=*/true);
  view.set_missing(missing);
  std::vector<std::string> keys = bundle_.has_value() ? bundle_->world.root_keys : std::vector<std::string>{};
  std::set<std::string> signers;
  if (row.request.has_bundle()) {
    const crypto::Envelope envelope = rpc::FromProto(row.request.bundle());
    if (auto bundle = config::OpenUnsigned(envelope); bundle.ok()) {
      view.set_policy_revision(bundle->world.revision);
      keys.insert(keys.end(), bundle->world.root_keys.begin(), bundle->world.root_keys.end());
    }
    AddSigners(envelope, keys, &signers);
  }
  for (const auto& c : row.request.classifications()) AddSigners(rpc::FromProto(c), keys, &signers);
  for (const auto& r : row.request.roots()) AddSigners(rpc::FromProto(r), keys, &signers);
  for (const std::string& id : signers) view.add_signed_key_ids(id);
  return view;
}

absl::Status Core::MayWait(bool same) const {
  if (!state_.pending.has_value() || same) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("a change by ", state_.pending->by,
                   " waits for signatures; see bailiwick policy pending, then approve or reject it first"));
}

absl::Status Core::KeepPending(const std::string& who, const control::v1::ApplyRequest& request, bool same) {
  BW_RETURN_IF_ERROR(MayWait(same));
  PendingRow row = same ? *state_.pending : PendingRow{{}, who, clock_->Now()};
  row.request = request;
  row.request.clear_expected_evictions();  // counted for who asked, not for who completes it
  BW_RETURN_IF_ERROR(
      Audit("policy-change-signed", absl::BytesToHexString(PendingId(request)), audit::Detail().Text("by", who)));
  BW_RETURN_IF_ERROR(catalog_->PutPending(&row));
  state_.pending = std::move(row);
  Event("policy-change-pending", "", "", 0, absl::StrCat("signed by ", who, "; ", PendingView().missing()));
  return absl::OkStatus();
}

control::v1::GetPendingResponse Core::GetPending() {
  absl::MutexLock lock(&mutex_);
  control::v1::GetPendingResponse response;
  if (!state_.pending.has_value()) return response;
  *response.mutable_pending() = PendingView();
  *response.mutable_request() = state_.pending->request;
  if (state_.bundle.has_value()) rpc::ToProto(*state_.bundle, response.mutable_bundle());
  for (const auto& root : state_.roots) rpc::ToProto(root, response.add_roots());
  if (state_.roots.empty() && bundle_.has_value()) {
    rpc::ToProto(crypto::Envelope{std::string(crypto::kRootType), bundle_->message.root(), {}}, response.add_roots());
  }
  return response;
}

absl::StatusOr<control::v1::RejectPendingResponse> Core::RejectPending(const std::string& who,
                                                                       const control::v1::RejectPendingRequest& request,
                                                                       Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  if (!state_.pending.has_value() || PendingId(state_.pending->request) != request.id()) {
    return absl::NotFoundError("no such change waits for signatures");
  }
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat("the change that ", state_.pending->by, " began is dropped"));
    return control::v1::RejectPendingResponse();
  }
  BW_RETURN_IF_ERROR(
      Audit("policy-change-rejected", absl::BytesToHexString(request.id()), audit::Detail().Text("by", who)));
  BW_RETURN_IF_ERROR(catalog_->PutPending(nullptr));
  state_.pending.reset();
  Event("policy-change-rejected", "", "", 0, absl::StrCat("by ", who));
  return control::v1::RejectPendingResponse();
}

absl::StatusOr<control::v1::GetPolicyResponse> Core::Policy(const control::v1::GetPolicyRequest& request) {
  absl::MutexLock lock(&mutex_);
  control::v1::GetPolicyResponse response;
  for (const auto& root : state_.roots) rpc::ToProto(root, response.add_roots());
  if (request.revision() != 0) {
    BW_ASSIGN_OR_RETURN(std::vector<BundleRow> rows, catalog_->Bundles(request.revision(), 1));
    if (rows.empty()) return absl::NotFoundError(absl::StrCat("there is no policy revision ", request.revision()));
    rpc::ToProto(rows[0].envelope, response.mutable_bundle());
    return response;
  }
  if (state_.bundle.has_value()) rpc::ToProto(*state_.bundle, response.mutable_bundle());
  if (auto timestamp = MakeTimestamp(); timestamp.has_value()) rpc::ToProto(*timestamp, response.mutable_timestamp());
  // Of what is declared now: a dataset deleted and declared again has a record under each of its ids.
  uint32_t at = 0;
  size_t bytes = 0;
  for (const auto& [name, id] : state_.dataset_ids) {
    auto record = state_.classifications.find(id);
    if (record == state_.classifications.end() || at++ < request.skip()) continue;
    if (bytes > kPartBytes) {
      response.set_more(true);
      break;
    }
    auto* out = response.add_classifications();
    rpc::ToProto(record->second, out);
    bytes += out->ByteSizeLong();
  }
  return response;
}

absl::StatusOr<control::v1::ListPoliciesResponse> Core::Policies(const control::v1::ListPoliciesRequest& request) {
  absl::MutexLock lock(&mutex_);
  const uint32_t limit = request.limit() == 0 ? kDefaultHistory : std::min(request.limit(), kMaxHistory);
  BW_ASSIGN_OR_RETURN(std::vector<BundleRow> rows, catalog_->Bundles(0, limit));
  control::v1::ListPoliciesResponse response;
  for (const BundleRow& row : rows) {
    auto* entry = response.add_policies();
    entry->set_sha256(std::string(crypto::Sha256(row.envelope.payload).view()));
    entry->set_by(row.by);
    entry->set_summary(row.summary);
    if (row.at > absl::UnixEpoch()) rpc::ToProto(row.at, entry->mutable_applied_at());
    for (const auto& signature : row.envelope.signatures) entry->add_signed_key_ids(signature.key_id);
    resource::v1::PolicyBundle bundle;
    if (!bundle.ParseFromString(row.envelope.payload))
      return absl::DataLossError("the catalog holds an unreadable bundle");
    entry->set_revision(bundle.revision());
    *entry->mutable_issued_at() = bundle.issued_at();
  }
  return response;
}

std::optional<crypto::Envelope> Core::MakeTimestamp() const {
  if (!bundle_.has_value()) return std::nullopt;
  const auto& keys = bundle_->world.timestamp_keys;
  if (std::find(keys.begin(), keys.end(), timestamp_key_->public_key()) == keys.end()) return std::nullopt;
  return config::SignTimestamp(bundle_->world, clock_->Now(), *timestamp_key_);
}

void Core::SendTimestamps() {
  const absl::Duration now = clock_->BootTime();
  if (now < next_timestamp_) return;
  auto timestamp = MakeTimestamp();
  if (!timestamp.has_value()) return;
  next_timestamp_ = now + TimestampEvery();
  for (auto& [site, session] : sessions_) {
    agent::v1::CoordinatorMessage message;
    rpc::ToProto(*timestamp, message.mutable_policy_timestamp());
    session->Send(std::move(message));
  }
}

void Core::SendPolicy(Session& session, const std::set<DatasetId>* changed) {
  if (!state_.bundle.has_value()) return;
  agent::v1::CoordinatorMessage message;
  agent::v1::PolicyOffer* offer = message.mutable_policy();
  rpc::ToProto(*state_.bundle, offer->mutable_bundle());
  for (const auto& root : state_.roots) rpc::ToProto(root, offer->add_roots());
  if (auto timestamp = MakeTimestamp(); timestamp.has_value()) rpc::ToProto(*timestamp, offer->mutable_timestamp());
  size_t bytes = 0;
  for (const auto& [id, envelope] : state_.classifications) {
    if (classifications_.count(id) == 0 || (changed != nullptr && changed->count(id) == 0)) continue;
    auto* out = offer->add_classifications();
    rpc::ToProto(envelope, out);
    bytes += out->ByteSizeLong();
    if (bytes < kPartBytes) continue;
    session.Send(std::move(message));
    message = {};
    offer = message.mutable_policy();
    bytes = 0;
  }
  if (offer->has_bundle() || offer->classifications_size() != 0) session.Send(std::move(message));
}

}  // namespace bailiwick::coordinator
