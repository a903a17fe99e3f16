#include "common/rpc/codec.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "bailiwick/transfer/v1/grant.pb.h"
#include "common/base/status.h"
#include "common/identity/spiffe.h"

namespace bailiwick::rpc {
namespace {

constexpr size_t kMaxSignatures = 16;
constexpr uint32_t kGrantFormat = 1;

}  // namespace

void ToProto(const crypto::Envelope& envelope, types::v1::Envelope* out) {
  out->Clear();
  out->set_payload_type(envelope.payload_type);
  out->set_payload(envelope.payload);
  for (const auto& s : envelope.signatures) {
    auto* signature = out->add_signatures();
    signature->set_key_id(s.key_id);
    signature->set_signature(s.signature);
  }
}

crypto::Envelope FromProto(const types::v1::Envelope& envelope) {
  crypto::Envelope out;
  out.payload_type = envelope.payload_type();
  out.payload = envelope.payload();
  for (const auto& s : envelope.signatures()) {
    if (out.signatures.size() == kMaxSignatures) break;  // more can only be noise
    out.signatures.push_back({s.key_id(), s.signature()});
  }
  return out;
}

void ToProto(const Digest& digest, types::v1::Digest* out) {
  out->set_algorithm(digest.algorithm);
  out->set_value(std::string(digest.view()));
}

absl::StatusOr<Digest> FromProto(const types::v1::Digest& digest) {
  return Digest::From(digest.algorithm(), digest.value());
}

void ToProto(absl::Time time, google::protobuf::Timestamp* out) {
  const int64_t nanos = absl::ToUnixNanos(time);
  int64_t seconds = nanos / 1'000'000'000;
  int64_t rest = nanos % 1'000'000'000;
  if (rest < 0) {
    rest += 1'000'000'000;
    --seconds;
  }
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(rest));
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::StatusOr<absl::Time> TimeOf(const google::protobuf::Timestamp& time) {
  const absl::Time out = FromProto(time);
  google::protobuf::Timestamp again;
  ToProto(out, &again);
  if (again.seconds() != time.seconds() || again.nanos() != time.nanos()) {
    return absl::InvalidArgumentError("a time that cannot be");
  }
  return out;
}

std::string EncodeGrant(const policy::Grant& grant) {
  transfer::v1::Grant g;
  g.set_format(kGrantFormat);
  g.set_grant_id(grant.grant_id);
  g.set_dataset_id(grant.dataset_id.str());
  g.set_dataset(grant.dataset);
  ToProto(grant.version, g.mutable_version());
  ToProto(grant.manifest_root, g.mutable_manifest_root());
  g.set_source(grant.source);
  g.set_destination(grant.destination);
  g.set_source_region(grant.source_region);
  g.set_destination_region(grant.destination_region);
  g.set_action(grant.action);
  g.set_policy_revision(grant.policy_revision);
  g.set_policy_digest(grant.policy_digest);
  ToProto(grant.not_before, g.mutable_not_before());
  ToProto(grant.not_after, g.mutable_not_after());
  g.set_transfer_id(grant.transfer_id);
  g.set_purpose(grant.purpose);
  return g.SerializeAsString();
}

absl::StatusOr<std::string> PinnedKey(const std::string& uri, const policy::World& world) {
  auto parsed = identity::ParseSpiffeId(uri);
  if (!parsed.ok()) return absl::PermissionDeniedError(parsed.status().message());
  const identity::SpiffeId& id = *parsed;
  if (id.kind != identity::Kind::kAgent) return absl::PermissionDeniedError(absl::StrCat(uri, " is not an agent"));
  auto site = world.sites.find(id.site);
  if (site == world.sites.end())
    return absl::PermissionDeniedError(absl::StrCat("site ", id.site, " is not in the signed registry"));
  auto key = site->second.enrolment_keys.find(id.name);
  if (key == site->second.enrolment_keys.end()) {
    return absl::PermissionDeniedError(absl::StrCat("the policy bundle pins no key for agent ", id.name, " of site ",
                                                    id.site, "; run: bailiwick site approve ", id.site));
  }
  return key->second;
}

namespace {

absl::StatusOr<policy::Grant> DecodeGrant(const std::string& payload) {
  transfer::v1::Grant g;
  if (!g.ParseFromString(payload)) return absl::InvalidArgumentError("the grant cannot be read");
  if (g.format() != kGrantFormat)
    return absl::InvalidArgumentError(absl::StrCat("grant format ", g.format(), " is not known here"));
  policy::Grant grant;
  grant.grant_id = g.grant_id();
  if (grant.grant_id.size() != 16) return absl::InvalidArgumentError("a grant id has 16 bytes");
  BW_ASSIGN_OR_RETURN(grant.dataset_id, DatasetId::From(g.dataset_id()));
  grant.dataset = g.dataset();
  BW_ASSIGN_OR_RETURN(grant.version, FromProto(g.version()));
  BW_ASSIGN_OR_RETURN(grant.manifest_root, FromProto(g.manifest_root()));
  grant.source = g.source();
  grant.destination = g.destination();
  grant.source_region = g.source_region();
  grant.destination_region = g.destination_region();
  grant.action = g.action();
  grant.policy_revision = g.policy_revision();
  grant.policy_digest = g.policy_digest();
  if (!g.has_not_before() || !g.has_not_after()) return absl::InvalidArgumentError("a grant without its times");
  BW_ASSIGN_OR_RETURN(grant.not_before, TimeOf(g.not_before()));
  BW_ASSIGN_OR_RETURN(grant.not_after, TimeOf(g.not_after()));
  grant.transfer_id = g.transfer_id();
  grant.purpose = g.purpose();
  if (grant.transfer_id.empty() || grant.transfer_id.size() > 64)
    return absl::InvalidArgumentError("a grant without its transfer");
  return grant;
}

}  // namespace

absl::StatusOr<policy::Grant> OpenGrant(const crypto::Envelope& envelope, const std::vector<std::string>& grant_keys) {
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kGrantType, grant_keys), "grant"));
  return DecodeGrant(envelope.payload);
}

absl::StatusOr<policy::Grant> OpenGrant(const crypto::Envelope& envelope, const policy::World& world) {
  if (envelope.payload_type != crypto::kSelfGrantType) return OpenGrant(envelope, world.grant_keys);
  BW_ASSIGN_OR_RETURN(policy::Grant grant, DecodeGrant(envelope.payload));  // only to learn whose key must have signed
  BW_ASSIGN_OR_RETURN(std::string key, PinnedKey(grant.source, world));
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kSelfGrantType, {key}), "self-grant"));
  grant.self_granted = true;
  return grant;
}

crypto::Envelope SignBinding(const std::string& spiffe_id, const std::string& certificate_sha256,
                             const crypto::SigningKey& key) {
  transfer::v1::CertificateBinding binding;
  binding.set_spiffe_id(spiffe_id);
  binding.set_certificate_sha256(certificate_sha256);
  return crypto::SignEnvelope(crypto::kBindingType, binding.SerializeAsString(), key);
}

absl::Status CheckBinding(const crypto::Envelope& envelope, const std::string& peer_uri,
                          const std::string& peer_certificate_sha256, const policy::World& world) {
  BW_ASSIGN_OR_RETURN(std::string key, PinnedKey(peer_uri, world));
  absl::Status verified = crypto::VerifyEnvelope(envelope, crypto::kBindingType, {key});
  if (!verified.ok()) {
    return absl::PermissionDeniedError(
        absl::StrCat("the certificate of ", peer_uri,
                     " is not backed by the key that the policy bundle pins: ", std::string(verified.message())));
  }
  transfer::v1::CertificateBinding binding;
  if (!binding.ParseFromString(envelope.payload) || binding.spiffe_id() != peer_uri ||
      peer_certificate_sha256.empty() || binding.certificate_sha256() != peer_certificate_sha256) {
    return absl::PermissionDeniedError(
        absl::StrCat("the certificate binding is not for this certificate of ", peer_uri));
  }
  return absl::OkStatus();
}

absl::Status CheckBindings(const std::vector<crypto::Envelope>& bindings, const std::string& peer_uri,
                           const std::string& peer_certificate_sha256, const policy::World& world) {
  absl::Status first = absl::PermissionDeniedError(absl::StrCat(peer_uri, " did not bind its certificate"));
  for (size_t i = 0; i < bindings.size() && i < kMaxBindings; ++i) {
    absl::Status checked = CheckBinding(bindings[i], peer_uri, peer_certificate_sha256, world);
    if (checked.ok()) return checked;
    if (i == 0) first = checked;
  }
  return first;
}

crypto::Envelope SignStorage(const StorageStatement& statement, const crypto::SigningKey& enrolment_key) {
  transfer::v1::StorageStatement proto;
  proto.set_grant_id(statement.grant_id);
  proto.set_dataset_id(statement.dataset_id.str());
  proto.set_spiffe_id(statement.spiffe_id);
  proto.set_wrapping_key_id(statement.wrapping_key);
  proto.set_wrapping_public_key(statement.wrapping_public_key);
  proto.set_encrypted_volume(statement.encrypted_volume);
  return crypto::SignEnvelope(crypto::kStorageType, proto.SerializeAsString(), enrolment_key);
}

absl::StatusOr<StorageStatement> OpenStorage(const crypto::Envelope& envelope, const std::string& peer_uri,
                                             DatasetId dataset, const std::string& grant_id,
                                             const policy::World& world) {
  BW_ASSIGN_OR_RETURN(std::string pinned, PinnedKey(peer_uri, world));
  auto bad = [&](absl::string_view why) {
    return absl::PermissionDeniedError(
        absl::StrCat("what ", peer_uri, " says of its storage cannot be believed: ", why));
  };
  absl::Status verified = crypto::VerifyEnvelope(envelope, crypto::kStorageType, {pinned});
  if (!verified.ok()) return bad(verified.message());
  transfer::v1::StorageStatement proto;
  if (!proto.ParseFromString(envelope.payload)) return bad("it is malformed");
  if (proto.spiffe_id() != peer_uri || proto.dataset_id() != dataset.view() || grant_id.empty() ||
      proto.grant_id() != grant_id) {
    return bad("it is about another agent, dataset or grant");
  }
  StorageStatement statement{.grant_id = grant_id,
                             .dataset_id = dataset,
                             .spiffe_id = peer_uri,
                             .wrapping_key = proto.wrapping_key_id(),
                             .wrapping_public_key = proto.wrapping_public_key(),
                             .encrypted_volume = proto.encrypted_volume()};
  if (statement.wrapping_key.empty()) return statement;
  if (absl::BytesToHexString(crypto::KeyId(statement.wrapping_public_key)) != statement.wrapping_key ||
      !crypto::VerifyEnvelope(envelope, crypto::kStorageType, {statement.wrapping_public_key}).ok()) {
    return bad("it does not prove that the wrapping key it names is there");
  }
  return statement;
}

}  // namespace bailiwick::rpc
