#include "common/rpc/provenance.h"

#include "absl/strings/str_cat.h"
#include "bailiwick/transfer/v1/grant.pb.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/identity/spiffe.h"
#include "common/rpc/codec.h"

namespace bailiwick::rpc {
namespace {

constexpr uint32_t kHopFormat = 1;
constexpr size_t kMaxHopBytes = 8 << 10;  // two SPIFFE ids, two regions and a purpose, with room

std::string Text(const absl::Status& status) { return std::string(status.message()); }

absl::StatusOr<HopStatement> Decode(const std::string& payload) {
  transfer::v1::HopStatement h;
  if (payload.size() > kMaxHopBytes || !h.ParseFromString(payload)) {
    return absl::PermissionDeniedError("it cannot be read");
  }
  if (h.format() != kHopFormat)
    return absl::PermissionDeniedError(absl::StrCat("format ", h.format(), " is not known"));
  if (!h.has_at()) return absl::PermissionDeniedError("it has no time");
  HopStatement hop;
  BW_ASSIGN_OR_RETURN(hop.dataset_id, DatasetId::From(h.dataset_id()));
  BW_ASSIGN_OR_RETURN(hop.version, FromProto(h.version()));
  hop.index = h.index();
  hop.previous = h.previous();
  hop.source = h.source();
  hop.destination = h.destination();
  hop.source_region = h.source_region();
  hop.destination_region = h.destination_region();
  hop.grant_id = h.grant_id();
  hop.purpose = h.purpose();
  hop.policy_revision = h.policy_revision();
  hop.policy_digest = h.policy_digest();
  BW_ASSIGN_OR_RETURN(hop.at, TimeOf(h.at()));
  return hop;
}

// The site of an agent of the world's trust domain that lies where it is said to lie; empty otherwise.
std::string SiteOf(const std::string& spiffe_id, const std::string& region, const policy::World& world) {
  auto id = identity::ParseSpiffeId(spiffe_id);
  const bool good =
      id.ok() && id->kind == identity::Kind::kAgent && id->trust_domain == world.trust_domain && id->region == region;
  return good ? id->site : "";
}

// One link: `at` is the site that the version is at before it and, on OK, after it.
absl::StatusOr<HopStatement> OpenHop(const crypto::Envelope& envelope, const ChainOf& of, const policy::World& world,
                                     size_t index, const std::string& previous, std::string* at) {
  BW_ASSIGN_OR_RETURN(HopStatement hop, Decode(envelope.payload));
  BW_ASSIGN_OR_RETURN(std::string key, PinnedKey(hop.source, world));
  BW_RETURN_IF_ERROR(crypto::VerifyEnvelope(envelope, crypto::kHopType, {key}));
  if (hop.dataset_id != of.dataset_id) return absl::PermissionDeniedError("it is about another dataset");
  if (hop.version != of.version) return absl::PermissionDeniedError("it is about another version");
  if (hop.index != index || hop.previous != previous) {
    return absl::PermissionDeniedError("it does not follow the hop before it");
  }
  const std::string from = SiteOf(hop.source, hop.source_region, world);
  const std::string to = SiteOf(hop.destination, hop.destination_region, world);
  if (from.empty() || to.empty() || from == to) {
    return absl::PermissionDeniedError("it does not name two agents with their regions");
  }
  if (index == 1 ? of.begins.count(from) == 0 : from != *at) {
    return absl::PermissionDeniedError(index == 1
                                           ? absl::StrCat("it was sent by ", from, ", which is not the home")
                                           : absl::StrCat("it was sent by ", from, ", the hop before went to ", *at));
  }
  *at = to;
  return hop;
}

}  // namespace

HopStatement NextHop(const Chain& before, const policy::Grant& grant, const policy::World& world, absl::Time now) {
  HopStatement hop;
  hop.dataset_id = grant.dataset_id;
  hop.version = grant.version;
  hop.index = static_cast<uint32_t>(before.size() + 1);
  if (!before.empty()) hop.previous = std::string(crypto::Sha256(before.back().payload).view());
  hop.source = grant.source;
  hop.destination = grant.destination;
  hop.source_region = grant.source_region;
  hop.destination_region = grant.destination_region;
  hop.grant_id = grant.grant_id;
  hop.purpose = grant.purpose;
  hop.policy_revision = world.revision;
  hop.policy_digest = world.digest;
  hop.at = now;
  return hop;
}

crypto::Envelope SignHop(const HopStatement& hop, const crypto::SigningKey& enrolment_key) {
  transfer::v1::HopStatement h;
  h.set_format(kHopFormat);
  h.set_dataset_id(hop.dataset_id.str());
  ToProto(hop.version, h.mutable_version());
  h.set_index(hop.index);
  h.set_previous(hop.previous);
  h.set_source(hop.source);
  h.set_destination(hop.destination);
  h.set_source_region(hop.source_region);
  h.set_destination_region(hop.destination_region);
  h.set_grant_id(hop.grant_id);
  h.set_purpose(hop.purpose);
  h.set_policy_revision(hop.policy_revision);
  h.set_policy_digest(hop.policy_digest);
  ToProto(hop.at, h.mutable_at());
  return crypto::SignEnvelope(crypto::kHopType, h.SerializeAsString(), enrolment_key);
}

absl::StatusOr<std::vector<HopStatement>> OpenChain(const Chain& chain, const ChainOf& of, const policy::World& world) {
  if (chain.empty()) return absl::PermissionDeniedError("nothing says how the version came from its home");
  if (chain.size() > kMaxChain) {
    return absl::PermissionDeniedError(
        absl::StrCat("the provenance has ", chain.size(), " hops, more than ", kMaxChain, " are not believed"));
  }
  std::vector<HopStatement> hops;
  std::string previous, at;
  for (size_t i = 0; i < chain.size(); ++i) {
    auto hop = OpenHop(chain[i], of, world, i + 1, previous, &at);
    if (!hop.ok()) {
      return absl::PermissionDeniedError(absl::StrCat("hop ", i + 1, " of the provenance: ", Text(hop.status())));
    }
    previous = std::string(crypto::Sha256(chain[i].payload).view());
    hops.push_back(*std::move(hop));
  }
  if (at != of.holder) {
    return absl::PermissionDeniedError(absl::StrCat("the provenance leads to ", at, ", not to ", of.holder));
  }
  return hops;
}

absl::Status CheckHopOfGrant(const HopStatement& hop, const policy::Grant& grant) {
  if (hop.source != grant.source || hop.destination != grant.destination || hop.grant_id != grant.grant_id ||
      hop.purpose != grant.purpose || hop.source_region != grant.source_region ||
      hop.destination_region != grant.destination_region) {
    return absl::PermissionDeniedError("the last hop of the provenance is not the one of this flow");
  }
  if (hop.at < grant.not_before - policy::kGrantSkew || hop.at > grant.not_after + policy::kGrantSkew) {
    return absl::PermissionDeniedError("the last hop of the provenance is not of the time of its grant");
  }
  return absl::OkStatus();
}

std::vector<policy::Hop> HopsOf(const std::vector<HopStatement>& hops) {
  std::vector<policy::Hop> out;
  for (const HopStatement& hop : hops) {
    auto from = identity::ParseSpiffeId(hop.source);
    auto to = identity::ParseSpiffeId(hop.destination);
    out.push_back({from.ok() ? from->site : "", to.ok() ? to->site : "", hop.purpose, hop.at});
  }
  return out;
}

}  // namespace bailiwick::rpc
