#include "common/rpc/redaction.h"

#include "absl/strings/str_cat.h"
#include "bailiwick/agent/v1/redact.pb.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"

namespace bailiwick::rpc {
namespace {

constexpr uint32_t kFormat = 1;
constexpr size_t kOrderIdBytes = 16, kMaxReason = 1000;

using Field = google::protobuf::RepeatedPtrField<std::string>;

absl::Status Digests(const Field& field, size_t most, const char* what, std::vector<Digest>* out) {
  if (static_cast<size_t>(field.size()) > most) {
    return absl::InvalidArgumentError(absl::StrCat("a redaction order names at most ", most, " ", what));
  }
  for (const std::string& bytes : field) {
    BW_ASSIGN_OR_RETURN(Digest digest, Digest::From(Digest::kSha256, bytes));
    out->push_back(digest);
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeRedaction(const RedactionOrder& order) {
  agent::v1::RedactionOrder message;
  message.set_format(kFormat);
  message.set_order_id(order.order_id);
  message.set_trust_domain(order.trust_domain);
  message.set_dataset_id(order.dataset_id.str());
  message.set_dataset(order.dataset);
  for (const Digest& digest : order.contents) message.add_contents(std::string(digest.view()));
  for (const Digest& digest : order.chunks) message.add_chunks(std::string(digest.view()));
  message.set_reason(order.reason);
  ToProto(order.issued_at, message.mutable_issued_at());
  message.set_override_locks(order.override_locks);
  return message.SerializeAsString();
}

absl::StatusOr<RedactionOrder> ReadRedaction(const crypto::Envelope& envelope) {
  agent::v1::RedactionOrder message;
  if (envelope.payload_type != crypto::kRedactionType || !message.ParseFromString(envelope.payload)) {
    return absl::InvalidArgumentError("the redaction order is not readable");
  }
  if (message.format() != kFormat) {
    return absl::InvalidArgumentError(absl::StrCat("the redaction order has format ", message.format(),
                                                   ", this version reads ", kFormat, "; upgrade bailiwick here"));
  }
  if (message.order_id().size() != kOrderIdBytes)
    return absl::InvalidArgumentError("a redaction order's id has 16 bytes");
  if (message.reason().empty() || message.reason().size() > kMaxReason) {
    return absl::InvalidArgumentError("a redaction order needs a reason of at most 1000 bytes");
  }
  RedactionOrder out;
  out.order_id = message.order_id();
  out.trust_domain = message.trust_domain();
  BW_ASSIGN_OR_RETURN(out.dataset_id, DatasetId::From(message.dataset_id()));
  out.dataset = message.dataset();
  BW_RETURN_IF_ERROR(Digests(message.contents(), kMaxRedactedContents, "contents", &out.contents));
  BW_RETURN_IF_ERROR(Digests(message.chunks(), kMaxRedactedChunks, "chunks", &out.chunks));
  if (out.contents.empty() && out.chunks.empty())
    return absl::InvalidArgumentError("the redaction order names nothing");
  if (out.dataset_id.empty() || out.dataset.empty()) {
    return absl::InvalidArgumentError("the redaction order names no dataset");
  }
  out.reason = message.reason();
  BW_ASSIGN_OR_RETURN(out.issued_at, TimeOf(message.issued_at()));
  out.override_locks = message.override_locks();
  return out;
}

absl::StatusOr<RedactionOrder> OpenRedaction(const crypto::Envelope& envelope, const policy::World& world) {
  BW_RETURN_IF_ERROR(
      Annotate(crypto::VerifyEnvelope(envelope, crypto::kRedactionType, world.root_keys, world.root_threshold),
               "the redaction order is not signed by the policy root"));
  BW_ASSIGN_OR_RETURN(RedactionOrder order, ReadRedaction(envelope));
  if (order.trust_domain != world.trust_domain) {
    return absl::PermissionDeniedError(
        absl::StrCat("the redaction order is for trust domain ", order.trust_domain, ", this is ", world.trust_domain));
  }
  return order;
}

std::string MissingSignatures(const crypto::Envelope& envelope, const policy::World& world) {
  const size_t have = crypto::ValidSigners(envelope, crypto::kRedactionType, world.root_keys).size();
  if (have >= world.root_threshold) return "";
  return absl::StrCat("the order has ", have, " of ", world.root_threshold, " signatures of the policy root");
}

}  // namespace bailiwick::rpc
