// Between generated messages and the values the rest of the code uses. Parsing is strict: INVALID_ARGUMENT.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bailiwick/transfer/v1/grant.pb.h"
#include "bailiwick/types/v1/types.pb.h"
#include "common/base/digest.h"
#include "common/crypto/sign.h"
#include "common/policy/grant.h"

namespace bailiwick::rpc {

void ToProto(const crypto::Envelope& envelope, types::v1::Envelope* out);
crypto::Envelope FromProto(const types::v1::Envelope& envelope);
void ToProto(const Digest& digest, types::v1::Digest* out);
absl::StatusOr<Digest> FromProto(const types::v1::Digest& digest);
void ToProto(absl::Time time, google::protobuf::Timestamp* out);
absl::Time FromProto(const google::protobuf::Timestamp& time);
// INVALID_ARGUMENT: a time that ToProto does not write (some 292 years around 1970), or written otherwise. For what is
// signed: it says one time, and everywhere the same.
absl::StatusOr<absl::Time> TimeOf(const google::protobuf::Timestamp& time);
std::string EncodeGrant(const policy::Grant& grant);
// Checks type, signature against `grant_keys` and every field's shape. PERMISSION_DENIED or INVALID_ARGUMENT.
absl::StatusOr<policy::Grant> OpenGrant(const crypto::Envelope& envelope, const std::vector<std::string>& grant_keys);
// The same by the law: of the coordinator, signed by one of its grant keys; or of the source itself, of another payload
// type, signed by the key that the world pins for the agent named as the source (self_granted is set).
absl::StatusOr<policy::Grant> OpenGrant(const crypto::Envelope& envelope, const policy::World& world);
// The enrolment key that the signed registry pins for an agent. PERMISSION_DENIED: none, or it is no agent.
absl::StatusOr<std::string> PinnedKey(const std::string& spiffe_id, const policy::World& world);
// Signed statement that the TLS certificate with this hash belongs to the enrolment key.
crypto::Envelope SignBinding(const std::string& spiffe_id, const std::string& certificate_sha256,
                             const crypto::SigningKey& key);
// PERMISSION_DENIED unless it binds exactly this peer and the key is one that the world pins for the peer's site.
absl::Status CheckBinding(const crypto::Envelope& envelope, const std::string& peer_uri,
                          const std::string& peer_certificate_sha256, const policy::World& world);
// The same of any of them, at most kMaxBindings: while a certificate is being renewed nobody knows which of two a
// connection was opened with.
inline constexpr size_t kMaxBindings = 5;
absl::Status CheckBindings(const std::vector<crypto::Envelope>& bindings, const std::string& peer_uri,
                           const std::string& peer_certificate_sha256, const policy::World& world);
// Of a Hello, a HelloReply or an Ask: its first binding and the others.
template <typename Message>
std::vector<crypto::Envelope> BindingsOf(const Message& message) {
  std::vector<crypto::Envelope> bindings = {FromProto(message.certificate_binding())};
  for (const auto& other : message.other_bindings()) {
    if (bindings.size() < kMaxBindings) bindings.push_back(FromProto(other));
  }
  return bindings;
}
template <typename Message>
void SetBindings(const std::vector<crypto::Envelope>& bindings, Message* message) {
  for (size_t i = 0; i < bindings.size() && i < kMaxBindings; ++i) {
    ToProto(bindings[i], i == 0 ? message->mutable_certificate_binding() : message->add_other_bindings());
  }
}

// How a receiver keeps a dataset at rest. Unsigned: the enrolment key and, if any, the wrapping key sign it.
struct StorageStatement {
  std::string grant_id;
  DatasetId dataset_id;
  std::string spiffe_id;
  std::string wrapping_key;  // id; empty: plain
  std::string wrapping_public_key;
  bool encrypted_volume = false;
};
crypto::Envelope SignStorage(const StorageStatement& statement, const crypto::SigningKey& enrolment_key);
// PERMISSION_DENIED unless it is of exactly this peer, about this dataset and grant, signed by the key that the world
// pins for the peer's agent and by the wrapping key that it names.
absl::StatusOr<StorageStatement> OpenStorage(const crypto::Envelope& envelope, const std::string& peer_uri,
                                             DatasetId dataset, const std::string& grant_id,
                                             const policy::World& world);

}  // namespace bailiwick::rpc
