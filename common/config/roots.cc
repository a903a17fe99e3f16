// Roots of the law and their rotation; the timestamps that say which bundle is current.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/config/world.h"
#include "common/crypto/digest.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;

constexpr size_t kMaxRoots = 1000;  // a rotation a day for years; bounds the work that a peer can ask for
constexpr uint32_t kTimestampFormat = 1;

absl::Time FromProto(const google::protobuf::Timestamp& t) {
  return absl::FromUnixSeconds(t.seconds()) + absl::Nanoseconds(t.nanos());
}

}  // namespace

std::string RootHash(const crypto::Envelope& link) { return std::string(crypto::Sha256(link.payload).view()); }

absl::Status CheckSuccessor(const PolicyRoot& before, const crypto::Envelope& link) {
  BW_ASSIGN_OR_RETURN(PolicyRoot next, DecodePolicyRoot(link.payload));
  if (next.number != before.number + 1) {
    return absl::PermissionDeniedError(
        absl::StrCat("policy root ", next.number, " does not follow number ", before.number));
  }
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(link, crypto::kRootType, before.keys, before.threshold),
                              absl::StrCat("policy root ", next.number, " is not signed by the root before it")));
  return Annotate(crypto::VerifyEnvelope(link, crypto::kRootType, next.keys, next.threshold),
                  absl::StrCat("policy root ", next.number, " is not signed by its own keys"));
}

absl::StatusOr<std::string> WalkRoots(const RootChain& chain, std::string_view root_sha256) {
  if (chain.size() > kMaxRoots) return absl::PermissionDeniedError("the chain of policy roots is too long");
  size_t at = 0;
  while (at < chain.size() && RootHash(chain[at]) != root_sha256) ++at;
  if (chain.empty()) return std::string(root_sha256);
  if (at == chain.size()) {
    return absl::PermissionDeniedError("no chain of policy roots leads here from the one pinned here at enrolment");
  }
  BW_ASSIGN_OR_RETURN(PolicyRoot root, DecodePolicyRoot(chain[at].payload));
  for (++at; at < chain.size(); ++at) {
    BW_RETURN_IF_ERROR(CheckSuccessor(root, chain[at]));
    BW_ASSIGN_OR_RETURN(root, DecodePolicyRoot(chain[at].payload));
  }
  return RootHash(chain.back());
}

crypto::Envelope SignTimestamp(const policy::World& world, absl::Time now, const crypto::SigningKey& key) {
  pb::PolicyTimestamp message;
  message.set_format(kTimestampFormat);
  message.set_revision(world.revision);
  message.set_bundle_sha256(world.digest);
  const absl::Time expires = now + world.timestamp_life;
  message.mutable_issued_at()->set_seconds(absl::ToUnixSeconds(now));
  message.mutable_issued_at()->set_nanos(
      static_cast<int32_t>(absl::ToUnixNanos(now) - absl::ToUnixSeconds(now) * 1'000'000'000));
  message.mutable_expires()->set_seconds(absl::ToUnixSeconds(expires));
  message.mutable_expires()->set_nanos(
      static_cast<int32_t>(absl::ToUnixNanos(expires) - absl::ToUnixSeconds(expires) * 1'000'000'000));
  return crypto::SignEnvelope(crypto::kTimestampType, message.SerializeAsString(), key);
}

namespace {

absl::StatusOr<pb::PolicyTimestamp> ReadTimestamp(const crypto::Envelope& envelope, const policy::World& world) {
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kTimestampType, world.timestamp_keys),
                              "the policy timestamp is not signed by a timestamp key of the policy"));
  pb::PolicyTimestamp message;
  if (!message.ParseFromString(envelope.payload) || message.format() != kTimestampFormat) {
    return absl::InvalidArgumentError("the policy timestamp is not readable");
  }
  return message;
}

}  // namespace

absl::StatusOr<absl::Time> OpenTime(const crypto::Envelope& envelope, const policy::World& world) {
  BW_ASSIGN_OR_RETURN(pb::PolicyTimestamp message, ReadTimestamp(envelope, world));
  return FromProto(message.issued_at());
}

absl::StatusOr<PolicyTimestamp> OpenTimestamp(const crypto::Envelope& envelope, const policy::World& world) {
  BW_ASSIGN_OR_RETURN(pb::PolicyTimestamp message, ReadTimestamp(envelope, world));
  if (message.revision() != world.revision || message.bundle_sha256() != world.digest) {
    return absl::FailedPreconditionError(absl::StrCat("the policy timestamp is for revision ", message.revision(),
                                                      ", revision ", world.revision, " is installed"));
  }
  PolicyTimestamp out{FromProto(message.issued_at()), FromProto(message.expires())};
  if (out.expires <= out.issued_at || out.expires - out.issued_at > world.timestamp_life) {
    return absl::InvalidArgumentError(
        absl::StrCat("the policy timestamp lasts ", absl::FormatDuration(out.expires - out.issued_at),
                     "; more than nothing and at most ", absl::FormatDuration(world.timestamp_life), " is accepted"));
  }
  return out;
}

}  // namespace bailiwick::config
