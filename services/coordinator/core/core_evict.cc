// Copies that the law does not permit where they are, and what was erased.
#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/detail.h"
#include "common/base/runs.h"
#include "common/base/status.h"
#include "common/policy/residence.h"
#include "common/rpc/codec.h"
#include "common/rpc/receipt.h"
#include "common/telemetry/log.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

using telemetry::Level;
using telemetry::Log;

bool Closed(const ReplicaRow& row) {
  return row.fence.has_value() && row.fence->stage() != agent::v1::FENCE_STAGE_RETIRING;
}

// Whether versions of the copy, which is lawful, are past their time and still there.
bool Overdue(const ReplicaRow& row) {
  return row.fence.has_value() && !Closed(row) && row.fence->held_size() + row.fence->waiting_size() > 0;
}

UnlawfulCopy::Stage StageOf(const ReplicaRow& row) {
  if (Overdue(row)) return UnlawfulCopy::Stage::kFenced;
  if (!Closed(row)) return UnlawfulCopy::Stage::kSilent;
  switch (row.fence->stage()) {
    case agent::v1::FENCE_STAGE_ERASING:
      return UnlawfulCopy::Stage::kErasing;
    case agent::v1::FENCE_STAGE_ERASED:
      return UnlawfulCopy::Stage::kErased;
    default:
      return UnlawfulCopy::Stage::kFenced;
  }
}

std::string Hex(const std::string& bytes) { return absl::BytesToHexString(bytes); }

std::string VersionsOf(const rpc::ErasureReceipt& receipt) {
  std::vector<VersionNumber> numbers;
  for (const rpc::VersionRef& version : receipt.versions) numbers.push_back(version.number);
  return FormatVersions(numbers);
}

// Verified when it came; the key may have left the policy since, so what it says is shown and `verify` judges.
void AddReceipt(const ReceiptRow& row, control::v1::ListEvictionsResponse* response) {
  agent::v1::ErasureReceipt receipt;
  if (!receipt.ParseFromString(row.envelope.payload)) return;
  control::v1::Eviction& view = *response->add_evictions();
  view.set_dataset(receipt.dataset());
  view.set_site(receipt.site());
  view.set_state("erased");
  for (const auto& version : receipt.versions()) view.add_versions(version.number());
  view.set_rule(receipt.rule());
  view.set_reason(receipt.everything() ? "nothing of the dataset is left at the site"
                  : receipt.held_at_size() != 0
                      ? absl::StrCat("the home gave it up; it lay at ", absl::StrJoin(receipt.held_at(), ", "))
                      : "other content of the dataset stays");
  *view.mutable_since() = receipt.erased_at();
  view.set_bytes(receipt.bytes());
  view.set_cause(receipt.cause());
  view.set_receipt_id(Hex(receipt.receipt_id()));
  rpc::ToProto(row.envelope, view.mutable_receipt());
}

}  // namespace

bool Core::Unlawful(const Stream* stream, const std::string& site, const ReplicaRow& row,
                    policy::Decision* decision) const {
  if (stream != nullptr && stream->home_site == site) return false;  // the owner's own data
  bool forbidden = false;
  if (stream != nullptr && bundle_.has_value()) {
    const absl::Time now = clock_->Now();
    forbidden = !law_->Residence(stream->labels, stream->home_site, site, now).permitted;
    if (forbidden && decision != nullptr) {
      *decision = policy::EvaluateResidence(bundle_->world, stream->labels, stream->home_site, site, now);
    }
  }
  return forbidden || Closed(row);
}

std::set<VersionNumber> Core::InUse(const ReplicaRow& row) {
  std::set<VersionNumber> versions = row.versions;
  if (!row.fence.has_value() || Closed(row)) return versions;
  for (VersionNumber number : row.fence->held()) versions.erase(number);
  for (VersionNumber number : row.fence->waiting()) versions.erase(number);
  return versions;
}

std::set<VersionNumber> Core::Whole(const ReplicaRow& row) {
  std::set<VersionNumber> versions = row.versions;
  for (VersionNumber number : row.damaged) versions.erase(number);
  return versions;
}

std::string Core::NameOf(DatasetId dataset) const {
  if (auto stream = streams_.find(dataset); stream != streams_.end()) return stream->second.name;
  auto versions = state_.versions.find(dataset);
  return versions == state_.versions.end() || versions->second.empty()
             ? dataset.Hex()
             : versions->second.rbegin()->second.record.dataset;
}

std::vector<UnlawfulCopy> Core::UnlawfulCopies() const {
  std::vector<UnlawfulCopy> copies;
  for (const auto& [id, replicas] : state_.replicas) {
    auto known = streams_.find(id);
    const Stream* stream = known == streams_.end() ? nullptr : &known->second;
    for (const auto& [site, row] : replicas) {
      policy::Decision decision;
      if (row.versions.empty() && !Closed(row)) continue;
      const bool unlawful = Unlawful(stream, site, row, &decision);
      if (!unlawful && !Overdue(row)) continue;
      UnlawfulCopy copy;
      copy.dataset = id;
      copy.dataset_name = NameOf(id);
      copy.site = site;
      copy.versions = row.versions;
      copy.stored_bytes = row.stored_bytes;
      copy.overdue = !unlawful;
      if (copy.overdue) {
        copy.versions = {row.fence->held().begin(), row.fence->held().end()};
        copy.versions.insert(row.fence->waiting().begin(), row.fence->waiting().end());
      }
      copy.stage = unlawful && !Closed(row) ? UnlawfulCopy::Stage::kSilent : StageOf(row);
      copy.rule = decision.rule;
      copy.sentence = decision.sentence;
      if (Closed(row) || copy.overdue) {
        copy.judged = row.fence->reason() != policy::ReasonName(policy::Reason::kError);
        copy.held.insert(row.fence->held().begin(), row.fence->held().end());
        copy.rule = row.fence->rule();
        copy.sentence = row.fence->sentence();
        copy.since = rpc::FromProto(row.fence->since());
      }
      copies.push_back(std::move(copy));
    }
  }
  return copies;
}

void Core::PlanEvictionsOnce(PlanInput input) {
  std::vector<UnlawfulCopy> copies = UnlawfulCopies();
  // What nobody declares any more: who holds what of it is all that is known.
  std::set<DatasetId> planned;
  for (PlannedDataset& dataset : input.datasets) {
    planned.insert(dataset.id);
    // A damaged copy is none to rely on.
    for (VersionNumber number : dataset.damaged) dataset.held[dataset.home_site].erase(number);
    // What is damaged at a home is known by its own word alone, which is not stored.
    if (heard_of_.count({dataset.home_site, dataset.id}) == 0) dataset.held[dataset.home_site].clear();
  }
  for (const UnlawfulCopy& copy : copies) {
    if (!planned.insert(copy.dataset).second) continue;
    PlannedDataset dataset;
    dataset.id = copy.dataset;
    dataset.name = copy.dataset_name;
    for (const auto& [site, row] : state_.replicas.at(copy.dataset)) {
      if (!Closed(row)) dataset.held[site] = Whole(row);
    }
    input.datasets.push_back(std::move(dataset));
  }
  EvictionPlan plan = PlanEvictions(input, copies);
  for (const EvictionStatus& status : plan.copies) {
    const EvictionStatus* before = FindEviction(status.dataset, status.site);
    const bool alarming = status.state == "last-copy" || status.state == "held" || status.state == "unconfirmed";
    if (alarming && (before == nullptr || before->state != status.state)) {
      Event(absl::StrCat("eviction-", status.state), status.site, status.dataset_name, 0, status.sentence);
    }
  }
  evictions_ = std::move(plan);
  std::map<std::pair<std::string, DatasetId>, std::string> still;
  for (const Eviction& order : evictions_.orders) {
    auto sent = ordered_.extract({order.site, order.dataset});
    if (!sent.empty()) still.insert(std::move(sent));
  }
  ordered_ = std::move(still);  // the next fence gets an order of its own
  for (const Eviction& order : evictions_.orders) {
    auto session = sessions_.find(order.site);
    if (session == sessions_.end()) continue;
    agent::v1::CoordinatorMessage message;
    message.mutable_evict()->set_dataset_id(order.dataset.str());
    const auto& versions = state_.versions[order.dataset];
    for (VersionNumber number : order.safe) {
      auto version = versions.find(number);
      if (version != versions.end())
        message.mutable_evict()->add_identities(std::string(version->second.identity.view()));
    }
    std::string fingerprint = message.SerializeAsString();
    std::string& sent = ordered_[{order.site, order.dataset}];
    if (sent == fingerprint) continue;
    const std::string name = NameOf(order.dataset);
    absl::Status audited = Audit("eviction-ordered", absl::StrCat(name, "/", order.site),
                                 audit::Detail().Text("versions", FormatRuns({order.safe.begin(), order.safe.end()})));
    if (!audited.ok()) {
      Log(Level::kError, "audit-failed", {{"error", audited}});
      continue;
    }
    sent = std::move(fingerprint);
    session->second->Send(std::move(message));
    Event("eviction-ordered", order.site, name, 0,
          absl::StrCat(FormatVersions(order.safe), order.safe.size() == 1 ? " lies elsewhere" : " lie elsewhere"));
  }
}

void Core::OnFence(const std::string& site, const std::string& dataset, const ReplicaRow& before,
                   const ReplicaRow& after) {
  if (Closed(after) && !Closed(before) && after.fence->stage() != agent::v1::FENCE_STAGE_ERASED) {
    Event("replica-fenced", site, dataset, 0, after.fence->sentence());
  } else if (Closed(before) && !Closed(after)) {
    Event("fence-lifted", site, dataset, 0, "the law permits the copy again");
  }
  const std::string hindrance = after.fence.has_value() ? after.fence->hindrance() : "";
  if (!hindrance.empty() && (!before.fence.has_value() || before.fence->hindrance() != hindrance)) {
    Event("eviction-hindered", site, dataset, 0, hindrance);
  }
}

void Core::OnReceipt(const std::string& site, const types::v1::Envelope& envelope) {
  if (!bundle_.has_value()) return;
  ReceiptRow row;
  row.envelope = rpc::FromProto(envelope);
  auto receipt = rpc::OpenReceipt(row.envelope, bundle_->world);
  if (receipt.ok() && receipt->site != site) receipt = absl::PermissionDeniedError("the receipt is of another site");
  if (!receipt.ok()) {  // not acknowledged: it comes again with the next session
    Log(Level::kWarning, "receipt-refused", {{"site", site}, {"error", receipt.status()}});
    Event("receipt-refused", site, "", 0, std::string(receipt.status().message()));
    return;
  }
  row.id = receipt->receipt_id;
  row.dataset = receipt->dataset_id;
  row.dataset_name = receipt->dataset;
  row.site = site;
  row.order_id = receipt->order_id;
  const auto known = catalog_->FindReceipt(row.id);
  if (!known.ok()) {
    Log(Level::kError, "catalog-failed", {{"error", known.status()}});
    return;
  }
  if (!known->has_value()) {
    absl::Status stored = Audit("receipt-stored", absl::StrCat(receipt->dataset, "/", site),
                                audit::Detail().Text("receipt", Hex(row.id)).Text("cause", receipt->cause));
    if (stored.ok()) stored = catalog_->PutReceipt(row);
    if (!stored.ok()) {
      Log(Level::kError, "catalog-failed", {{"error", stored}});
      return;
    }
    const bool redaction = !receipt->order_id.empty();
    Event(redaction                  ? "redaction-done"
          : receipt->held_at.empty() ? "replica-erased"
                                     : "home-content-dropped",
          site, receipt->dataset, 0,
          redaction ? absl::StrCat("order ", Hex(receipt->order_id), ", ", receipt->chunks, " chunks, ", receipt->bytes,
                                   " bytes; receipt ", Hex(row.id))
                    : absl::StrCat(receipt->versions.empty() ? "parts of a version" : VersionsOf(*receipt), ", ",
                                   receipt->bytes, " bytes, ", receipt->cause, "; receipt ", Hex(row.id)));
    if (redaction) state_.redaction_receipts[receipt->order_id].push_back(std::move(row));
    Wake();
  }
  auto session = sessions_.find(site);
  if (session == sessions_.end()) return;
  agent::v1::CoordinatorMessage ack;
  ack.mutable_receipt_ack()->set_receipt_id(receipt->receipt_id);
  session->second->Send(std::move(ack));
}

const EvictionStatus* Core::FindEviction(DatasetId dataset, const std::string& site) const {
  auto found = evictions_.by_copy.find({dataset, site});
  return found == evictions_.by_copy.end() ? nullptr : &evictions_.copies[found->second];
}

absl::StatusOr<control::v1::ListEvictionsResponse> Core::Evictions(const control::v1::ListEvictionsRequest& request) {
  absl::MutexLock lock(&mutex_);
  control::v1::ListEvictionsResponse response;
  auto asked = [&](const std::string& dataset, const std::string& site) {
    return (request.dataset().empty() || request.dataset() == dataset) &&
           (request.site().empty() || request.site() == site);
  };
  if (!request.receipt_id().empty()) {
    const std::string id = absl::HexStringToBytes(request.receipt_id());
    BW_ASSIGN_OR_RETURN(const std::optional<ReceiptRow> row, catalog_->FindReceipt(id));
    if (row.has_value() && Hex(id) == request.receipt_id() && asked(row->dataset_name, row->site)) {
      AddReceipt(*row, &response);
    }
    if (response.evictions_size() != 0) return response;
    return absl::NotFoundError(
        absl::StrCat("no receipt ", request.receipt_id(), " is known; see: bailiwick eviction list"));
  }
  for (const EvictionStatus& status : evictions_.copies) {
    if (request.before() != 0 || !asked(status.dataset_name, status.site)) continue;
    auto* view = response.add_evictions();
    view->set_dataset(status.dataset_name);
    view->set_site(status.site);
    view->set_state(status.state);
    for (VersionNumber number : status.versions) view->add_versions(number);
    view->set_rule(status.rule);
    view->set_reason(status.sentence);
    if (status.since != absl::Time()) rpc::ToProto(status.since, view->mutable_since());
    view->set_bytes(status.stored_bytes);
  }
  // Receipts of redactions are shown with their orders.
  BW_ASSIGN_OR_RETURN(const ReceiptPage page,
                      catalog_->Receipts({request.dataset(), request.site(), request.before()}, request.limit(),
                                         kPageBytes - std::min(kPageBytes, response.ByteSizeLong())));
  for (const ReceiptRow& row : page.receipts) AddReceipt(row, &response);
  if (page.more) response.set_next(page.receipts.back().ordinal);
  if (response.evictions_size() == 0) {  // "nothing" is no answer to a name that is mistyped
    if (!request.dataset().empty() && FindStream(request.dataset()) == nullptr) return NoDataset(request.dataset());
    if (!request.site().empty()) BW_RETURN_IF_ERROR(CheckSite(request.site()));
  }
  return response;
}

}  // namespace bailiwick::coordinator
