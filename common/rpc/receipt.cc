#include "common/rpc/receipt.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/identity/spiffe.h"
#include "common/rpc/codec.h"

namespace bailiwick::rpc {
namespace {

constexpr uint32_t kReceiptFormat = 1;

}  // namespace

// Nothing else of it is believed before it is verified.
absl::StatusOr<std::string> PinnedAgentKey(const std::string& what, const std::string& agent,
                                           const std::string& of_site, const policy::World& world) {
  auto id = identity::ParseSpiffeId(agent);
  if (!id.ok() || id->kind != identity::Kind::kAgent || id->site != of_site) {
    return absl::PermissionDeniedError(absl::StrCat(what, " does not name an agent of its site"));
  }
  auto site = world.sites.find(id->site);
  if (site == world.sites.end()) {
    return absl::PermissionDeniedError(absl::StrCat("site ", id->site, " of ", what, " is not in the signed registry"));
  }
  auto key = site->second.enrolment_keys.find(id->name);
  if (key == site->second.enrolment_keys.end()) {
    return absl::PermissionDeniedError(
        absl::StrCat("the policy bundle pins no key for agent ", id->name, " of site ", id->site));
  }
  return key->second;
}

void ToProto(const VersionRef& version, agent::v1::VersionRef* out) {
  out->set_number(version.number);
  ToProto(version.identity, out->mutable_identity());
}

absl::StatusOr<VersionRef> FromProto(const agent::v1::VersionRef& version) {
  VersionRef out;
  out.number = version.number();
  BW_ASSIGN_OR_RETURN(out.identity, FromProto(version.identity()));
  return out;
}

std::string EncodeReceipt(const ErasureReceipt& receipt) {
  agent::v1::ErasureReceipt r;
  r.set_format(kReceiptFormat);
  r.set_receipt_id(receipt.receipt_id);
  r.set_dataset_id(receipt.dataset_id.str());
  r.set_dataset(receipt.dataset);
  r.set_site(receipt.site);
  r.set_agent(receipt.agent);
  for (const VersionRef& version : receipt.versions) ToProto(version, r.add_versions());
  r.set_bytes(receipt.bytes);
  r.set_everything(receipt.everything);
  r.set_cause(receipt.cause);
  r.set_rule(receipt.rule);
  r.set_policy_revision(receipt.policy_revision);
  r.set_policy_digest(receipt.policy_digest);
  if (receipt.fenced_at.has_value()) ToProto(*receipt.fenced_at, r.mutable_fenced_at());
  ToProto(receipt.erased_at, r.mutable_erased_at());
  r.set_method(receipt.method);
  r.set_order_id(receipt.order_id);
  r.set_chunks(receipt.chunks);
  for (const std::string& site : receipt.held_at) r.add_held_at(site);
  return r.SerializeAsString();
}

absl::StatusOr<ErasureReceipt> OpenReceipt(const crypto::Envelope& envelope, const policy::World& world) {
  agent::v1::ErasureReceipt r;
  if (!r.ParseFromString(envelope.payload)) return absl::PermissionDeniedError("the receipt cannot be read");
  BW_ASSIGN_OR_RETURN(std::string key, PinnedAgentKey("the receipt", r.agent(), r.site(), world));
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kReceiptType, {key}), "receipt"));
  if (r.format() != kReceiptFormat) {
    return absl::InvalidArgumentError(absl::StrCat("receipt format ", r.format(), " is not known here"));
  }
  if (r.receipt_id().size() != 16) return absl::InvalidArgumentError("a receipt id has 16 bytes");
  if (!r.has_erased_at()) return absl::InvalidArgumentError("a receipt without its time");
  ErasureReceipt out;
  out.receipt_id = r.receipt_id();
  BW_ASSIGN_OR_RETURN(out.dataset_id, DatasetId::From(r.dataset_id()));
  out.dataset = r.dataset();
  out.site = r.site();
  out.agent = r.agent();
  for (const auto& version : r.versions()) {
    BW_ASSIGN_OR_RETURN(VersionRef ref, FromProto(version));
    out.versions.push_back(ref);
  }
  out.bytes = r.bytes();
  out.everything = r.everything();
  out.cause = r.cause();
  out.rule = r.rule();
  out.policy_revision = r.policy_revision();
  out.policy_digest = r.policy_digest();
  if (r.has_fenced_at()) {
    BW_ASSIGN_OR_RETURN(out.fenced_at, TimeOf(r.fenced_at()));
  }
  BW_ASSIGN_OR_RETURN(out.erased_at, TimeOf(r.erased_at()));
  out.method = r.method();
  out.order_id = r.order_id();
  out.chunks = r.chunks();
  out.held_at.assign(r.held_at().begin(), r.held_at().end());
  return out;
}

}  // namespace bailiwick::rpc
