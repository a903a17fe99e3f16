// Orders to redact: kept until enough of the policy root has signed, sent to every site that has a part in the dataset,
// their receipts gathered. The coordinator can neither make an order nor change one; it sees digests and counts.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/rpc/redaction.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

constexpr size_t kMaxRedactions = 10'000;
constexpr int kMaxSignatures = 64;

std::string Hex(const std::string& bytes) { return absl::BytesToHexString(bytes); }

std::string SilentFor(absl::Duration age) { return absl::FormatDuration(absl::Trunc(age, absl::Seconds(1))); }

// The worst of what its sites say; an order that nobody has a part in is done.
std::string Worst(const control::v1::Redaction& view) {
  std::string worst = "done";
  const std::vector<std::string> order = {"done", "pending", "unconfirmed", "held"};
  for (const auto& site : view.sites()) {
    if (std::find(order.begin(), order.end(), site.state()) > std::find(order.begin(), order.end(), worst)) {
      worst = site.state();
    }
  }
  return worst;
}

}  // namespace

absl::StatusOr<control::v1::RedactResponse> Core::Redact(const std::string& who,
                                                         const control::v1::RedactRequest& request, Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  if (!bundle_.has_value())
    return absl::FailedPreconditionError("no policy was applied yet, so nobody may sign an order");
  RedactionRow row{.envelope = rpc::FromProto(request.order()), .by = who, .since = clock_->Now()};
  const bool to_come = Unsigned(row.envelope, dry == nullptr ? Signatures::kNeeded : Signatures::kToCome);
  if ((!to_come && crypto::ValidSigners(row.envelope, crypto::kRedactionType, bundle_->world.root_keys).empty()) ||
      request.order().signatures_size() > kMaxSignatures) {
    return absl::PermissionDeniedError("the redaction order is signed by no key of the policy root");
  }
  BW_ASSIGN_OR_RETURN(rpc::RedactionOrder order, rpc::ReadRedaction(row.envelope));
  row.dataset = order.dataset_id;
  if (order.trust_domain != config_.identities.trust_domain) {
    return absl::PermissionDeniedError(absl::StrCat("the redaction order is for trust domain ", order.trust_domain));
  }
  if (streams_.count(order.dataset_id) == 0 && state_.versions.count(order.dataset_id) == 0) {
    return absl::NotFoundError(absl::StrCat("dataset ", order.dataset, " does not exist"));
  }
  auto known = state_.redactions.find(order.order_id);
  if (known == state_.redactions.end() && state_.redactions.size() >= kMaxRedactions) {
    return absl::ResourceExhaustedError("there are 10,000 redaction orders");
  }
  const bool waited = known == state_.redactions.end() || !Unordered(known->second).empty();
  if (known != state_.redactions.end()) {
    if (known->second.envelope.payload != row.envelope.payload) {
      return absl::InvalidArgumentError(absl::StrCat("another redaction order has the id ", Hex(order.order_id)));
    }
    RedactionRow merged = known->second;
    for (const auto& signature : row.envelope.signatures) {
      const bool there = std::any_of(merged.envelope.signatures.begin(), merged.envelope.signatures.end(),
                                     [&](const auto& s) { return s.key_id == signature.key_id; });
      if (!there) merged.envelope.signatures.push_back(signature);
    }
    row = std::move(merged);
  }
  if (known == state_.redactions.end()) {
    if (const RedactionRow* same = FindWaiting(order); same != nullptr) {
      BW_ASSIGN_OR_RETURN(const rpc::RedactionOrder waiting, rpc::ReadRedaction(same->envelope));
      return absl::AlreadyExistsError(absl::StrCat("an order for the same contents waits already, by ", same->by,
                                                   ": bailiwick redaction approve ", Hex(waiting.order_id)));
    }
  }
  const std::string missing = rpc::MissingSignatures(row.envelope, bundle_->world);
  // One that was given is: whoever signs again under a law that asks for more takes nothing back.
  row.waits = !missing.empty() && (known == state_.redactions.end() || known->second.waits.value_or(false));
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat(order.contents.size(), " contents and ", order.chunks.size(), " chunks of ",
                                        order.dataset, " are erased from every version at every site"));
    return control::v1::RedactResponse();
  }
  BW_RETURN_IF_ERROR(Audit("redaction-signed", absl::StrCat(order.dataset, "/", Hex(order.order_id)),
                           audit::Detail()
                               .Text("by", who)
                               .Number("contents", order.contents.size())
                               .Number("chunks", order.chunks.size())
                               .Flag("complete", missing.empty())));
  BW_RETURN_IF_ERROR(catalog_->PutRedaction(order.order_id, row));
  state_.redactions[order.order_id] = std::move(row);
  if (missing.empty() && waited) {
    Event("redaction-ordered", "", order.dataset, 0,
          absl::StrCat("order ", Hex(order.order_id), ", ", order.contents.size(), " contents, ", order.chunks.size(),
                       " chunks, by ", who));
  } else if (!missing.empty()) {
    Event("redaction-waiting", "", order.dataset, 0, absl::StrCat("order ", Hex(order.order_id), ": ", missing));
  }
  for (auto& [site, session] : sessions_) SendRedactions(site, *session);
  control::v1::RedactResponse response;
  response.set_missing(missing);
  return response;
}

std::string Core::Unordered(const RedactionRow& row) const {
  if (!bundle_.has_value()) return "no policy was applied yet";
  const std::string missing = rpc::MissingSignatures(row.envelope, bundle_->world);
  if (!missing.empty() || !row.waits.value_or(false)) return missing;
  return "the law asks for fewer signatures than when it was made; who may sign says whether it is carried out";
}

// A build of before did not note whether an order was ever given: one that lacks signatures and was carried out nowhere
// was not.
absl::Status Core::DecideRedactions() {
  for (auto& [id, row] : state_.redactions) {
    if (row.waits.has_value()) continue;
    const bool lacks = !bundle_.has_value() || !rpc::MissingSignatures(row.envelope, bundle_->world).empty();
    row.waits = lacks && state_.redaction_receipts.count(id) == 0;
    BW_RETURN_IF_ERROR(catalog_->PutRedaction(id, row));
  }
  return absl::OkStatus();
}

const RedactionRow* Core::FindWaiting(const rpc::RedactionOrder& order) const {
  for (const auto& [id, row] : state_.redactions) {
    if (row.dataset != order.dataset_id || !row.waits.value_or(false)) continue;
    auto other = rpc::ReadRedaction(row.envelope);
    if (other.ok() && other->contents == order.contents && other->chunks == order.chunks &&
        other->override_locks == order.override_locks) {
      return &row;
    }
  }
  return nullptr;
}

absl::Status Core::WithdrawRedaction(const std::string& who, const std::string& id, Rehearsal* dry) {
  auto row = std::find_if(state_.redactions.begin(), state_.redactions.end(),
                          [&](const auto& one) { return Hex(one.first) == id; });
  if (row == state_.redactions.end()) {
    return absl::NotFoundError(absl::StrCat("there is no proposal ", id, "; see: bailiwick proposals"));
  }
  if (!row->second.waits.value_or(false)) {  // also one whose signers left the root since
    return absl::FailedPreconditionError(
        absl::StrCat("the redaction order ", id, " was given to the sites; it cannot be taken back"));
  }
  BW_ASSIGN_OR_RETURN(const rpc::RedactionOrder order, rpc::ReadRedaction(row->second.envelope));
  if (dry != nullptr) {
    dry->effects.push_back(
        absl::StrCat("the redaction order of ", order.dataset, " by ", row->second.by, " is dropped"));
    return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(
      Audit("redaction-withdrawn", absl::StrCat(order.dataset, "/", id), audit::Detail().Text("by", who)));
  BW_RETURN_IF_ERROR(catalog_->RemoveRedaction(row->first));
  Event("redaction-withdrawn", "", order.dataset, 0, absl::StrCat("order ", id, ", by ", who));
  state_.redactions.erase(row);
  return absl::OkStatus();
}

bool Core::HasPart(const std::string& site, DatasetId dataset) const {
  auto stream = streams_.find(dataset);
  if (stream != streams_.end() && stream->second.home_site == site) return true;
  auto replicas = state_.replicas.find(dataset);
  if (replicas != state_.replicas.end()) {
    auto row = replicas->second.find(site);
    if (row != replicas->second.end() && (!row->second.versions.empty() || row->second.stored_bytes != 0)) return true;
  }
  const Wanted* wanted = FindWanted(dataset, site);
  return wanted != nullptr && wanted->reason.code != "denied";
}

// In the order of the session: before the assignments, and so before any transfer that this site is told to dial.
void Core::SendRedactions(const std::string& site, Session& session) {
  if (!bundle_.has_value()) return;
  auto& sent = redactions_sent_[site];
  for (const auto& [id, row] : state_.redactions) {
    const size_t signatures = row.envelope.signatures.size();
    auto before = sent.find(id);
    if (before != sent.end() && before->second == signatures) continue;
    if (!HasPart(site, row.dataset)) continue;
    if (!Unordered(row).empty()) continue;
    agent::v1::CoordinatorMessage message;
    rpc::ToProto(row.envelope, message.mutable_redactions()->add_orders());
    session.Send(std::move(message));
    sent[id] = signatures;
  }
}

void Core::AddRedactionSites(const rpc::RedactionOrder& order, control::v1::Redaction* view, bool proofs) const {
  std::map<std::string, control::v1::RedactionSite> sites;
  if (auto receipts = state_.redaction_receipts.find(order.order_id); receipts != state_.redaction_receipts.end()) {
    for (const ReceiptRow& row : receipts->second) {
      agent::v1::ErasureReceipt receipt;
      if (row.dataset != order.dataset_id || !receipt.ParseFromString(row.envelope.payload)) continue;
      control::v1::RedactionSite& site = sites[row.site];
      site.set_state("done");
      *site.mutable_since() = receipt.erased_at();
      site.set_receipt_id(Hex(row.id));
      if (proofs) rpc::ToProto(row.envelope, site.mutable_receipt());
    }
  }
  for (const auto& [name, agent] : state_.agents) {
    if (sites.count(name) != 0 || !HasPart(name, order.dataset_id)) continue;
    control::v1::RedactionSite& site = sites[name];
    const bool connected = sessions_.count(name) != 0;
    site.set_state(connected ? "pending" : "unconfirmed");
    if (!connected) {
      rpc::ToProto(agent.last_seen, site.mutable_since());
      site.set_reason(absl::StrCat("the site has been silent for ", SilentFor(clock_->Now() - agent.last_seen)));
    }
    auto said = redactions_said_.find({name, order.dataset_id});
    if (said == redactions_said_.end()) continue;
    for (const auto& state : said->second) {
      if (state.order_id() != order.order_id || !connected) continue;
      if (state.stage() == agent::v1::REDACTION_STAGE_FENCED && !state.hindrance().empty()) site.set_state("held");
      site.set_reason(state.hindrance());
    }
  }
  for (auto& [name, site] : sites) {
    site.set_site(name);
    *view->add_sites() = std::move(site);
  }
}

absl::StatusOr<control::v1::ListRedactionsResponse> Core::Redactions(
    const control::v1::ListRedactionsRequest& request) {
  absl::MutexLock lock(&mutex_);
  control::v1::ListRedactionsResponse response;
  std::vector<const RedactionRow*> rows;
  for (const auto& [id, row] : state_.redactions) {
    if (request.order_id().empty() || request.order_id() == Hex(id)) rows.push_back(&row);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const auto* a, const auto* b) { return a->since > b->since; });
  for (const RedactionRow* row : rows) {
    BW_ASSIGN_OR_RETURN(rpc::RedactionOrder order, rpc::ReadRedaction(row->envelope));
    if (!request.dataset().empty() && request.dataset() != order.dataset) continue;
    const bool one = !request.order_id().empty();
    auto* view = response.add_redactions();
    view->set_order_id(Hex(order.order_id));
    view->set_dataset(order.dataset);
    view->set_reason(order.reason);
    view->set_by(row->by);
    rpc::ToProto(order.issued_at, view->mutable_issued_at());
    view->set_contents(order.contents.size());
    view->set_chunks(order.chunks.size());
    view->set_override_locks(order.override_locks);
    view->set_missing(Unordered(*row));
    AddRedactionSites(order, view, one);
    const std::string worst = Worst(*view);
    view->set_state(view->missing().empty() || worst == "done" ? worst : "waiting");
    if (view->sites().empty() && !view->missing().empty()) view->set_state("waiting");
    if (one) rpc::ToProto(row->envelope, view->mutable_order());
  }
  if (!request.order_id().empty() && response.redactions_size() == 0) {
    return absl::NotFoundError(
        absl::StrCat("no redaction order ", request.order_id(), " is known; see: bailiwick redaction list"));
  }
  if (!request.dataset().empty() && response.redactions_size() == 0 && FindStream(request.dataset()) == nullptr) {
    return NoDataset(request.dataset());
  }
  return response;
}

size_t Core::WaitingRedactions() {
  absl::MutexLock lock(&mutex_);
  if (!bundle_.has_value()) return 0;
  size_t waiting = 0;
  for (const auto& [id, row] : state_.redactions) {
    if (Unordered(row).empty()) continue;
    std::set<std::string> done;  // sites
    if (auto receipts = state_.redaction_receipts.find(id); receipts != state_.redaction_receipts.end()) {
      for (const ReceiptRow& receipt : receipts->second) done.insert(receipt.site);
    }
    // One that every site carried out before its signers left the root waits for nobody.
    bool waits = done.empty();
    for (auto it = state_.agents.begin(); !waits && it != state_.agents.end(); ++it) {
      waits = done.count(it->first) == 0 && HasPart(it->first, row.dataset);
    }
    if (waits) ++waiting;
  }
  return waiting;
}

}  // namespace bailiwick::coordinator
