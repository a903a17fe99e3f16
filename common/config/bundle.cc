#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/config/check.h"
#include "common/config/time_zones.h"
#include "common/config/world.h"
#include "common/crypto/digest.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;

constexpr uint32_t kFormat = 1;  // of bundles and classifications

bool IsLaw(const Resource& resource) {
  return resource.has_region() || resource.has_site() || resource.has_sovereignty_policy();
}

absl::StatusOr<std::vector<std::string>> RawKeys(const google::protobuf::RepeatedPtrField<types::v1::PublicKey>& keys,
                                                 const char* what) {
  std::vector<std::string> out;
  for (const types::v1::PublicKey& key : keys) {
    if (key.ed25519().size() != crypto::kPublicKeySize) {
      return absl::InvalidArgumentError(absl::StrCat("a ", what, " key has ", key.ed25519().size(), " bytes, not 32"));
    }
    if (std::find(out.begin(), out.end(), key.ed25519()) != out.end()) {
      return absl::InvalidArgumentError(absl::StrCat("a ", what, " key is listed twice"));
    }
    out.push_back(key.ed25519());
  }
  return out;
}

absl::Status CheckFormat(uint32_t format, const char* what) {
  if (format == kFormat) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the ", what, " has format ", format, ", this version reads ", kFormat,
                                                 format > kFormat ? "; upgrade bailiwick here" : ""));
}

absl::StatusOr<Catalog> Resources(const pb::PolicyBundle& message) {
  Catalog catalog;
  for (const Resource& resource : message.resources()) {
    const ResourceKey key(KindOf(resource), resource.metadata().name());
    if (!IsLaw(resource)) {
      return absl::InvalidArgumentError(absl::StrCat("the policy bundle carries ", key.first, "/", key.second,
                                                     ", which is not a region, site or sovereignty policy"));
    }
    if (!catalog.empty() && catalog.rbegin()->first >= key) {
      return absl::InvalidArgumentError(
          absl::StrCat("the policy bundle's resources are not sorted at ", key.first, "/", key.second));
    }
    catalog.emplace_hint(catalog.end(), key, resource);
  }
  return catalog;
}

absl::Status AddEnrolmentKeys(const pb::PolicyBundle& message, policy::World* world) {
  for (const pb::EnrolmentKey& key : message.enrolment_keys()) {
    if (key.ed25519().size() != crypto::kPublicKeySize || key.agent().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the enrolment key of agent \"", key.agent(), "\" at site ", key.site(), " is malformed"));
    }
    auto site = world->sites.find(key.site());
    if (site == world->sites.end()) continue;  // of a site since removed: it pins nothing and permits nothing
    if (!site->second.enrolment_keys.emplace(key.agent(), key.ed25519()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("agent ", key.agent(), " at site ", key.site(), " has two enrolment keys"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodePolicyRoot(const PolicyRoot& root) {
  pb::PolicyRoot message;
  for (const std::string& key : root.keys) message.add_keys()->set_ed25519(key);
  message.set_threshold(root.threshold);
  return message.SerializeAsString();
}

absl::StatusOr<PolicyRoot> DecodePolicyRoot(std::string_view bytes) {
  pb::PolicyRoot message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError("the policy root is not readable");
  }
  PolicyRoot root;
  BW_ASSIGN_OR_RETURN(root.keys, RawKeys(message.keys(), "policy root"));
  root.threshold = message.threshold();
  if (root.threshold == 0 || root.threshold > root.keys.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the policy root asks for ", root.threshold, " signatures of ", root.keys.size(), " keys"));
  }
  return root;
}

std::string PolicyRootSha256(const PolicyRoot& root) {
  return std::string(crypto::Sha256(EncodePolicyRoot(root)).view());
}

void AddLaw(const Catalog& catalog, pb::PolicyBundle* bundle) {
  for (const auto& [key, resource] : catalog) {
    if (IsLaw(resource)) *bundle->add_resources() = resource;
  }
}

absl::StatusOr<Bundle> OpenBundle(const crypto::Envelope& envelope, std::string_view root_sha256) {
  Bundle bundle;
  if (envelope.payload_type != crypto::kBundleType) {
    return absl::PermissionDeniedError(absl::StrCat("not a policy bundle but ", envelope.payload_type));
  }
  // Nothing of the payload is believed but its root, and that only by its hash.
  if (!bundle.message.ParseFromString(envelope.payload)) {
    return absl::PermissionDeniedError("the policy bundle is not readable");
  }
  if (root_sha256.size() != Digest::kSize || crypto::Sha256(bundle.message.root()).view() != root_sha256) {
    return absl::PermissionDeniedError("the policy bundle has another root than the one pinned here at enrolment");
  }
  auto root = DecodePolicyRoot(bundle.message.root());
  if (!root.ok()) return root.status();
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kBundleType, root->keys, root->threshold),
                              "the policy bundle is not signed by its root"));
  BW_RETURN_IF_ERROR(CheckFormat(bundle.message.format(), "policy bundle"));
  if (bundle.message.trust_domain().empty())
    return absl::InvalidArgumentError("the policy bundle names no trust domain");
  BW_ASSIGN_OR_RETURN(bundle.resources, Resources(bundle.message));
  BW_ASSIGN_OR_RETURN(bundle.world, BuildWorld(bundle.resources));
  policy::World& world = bundle.world;
  BW_RETURN_IF_ERROR(AddEnrolmentKeys(bundle.message, &world));
  BW_ASSIGN_OR_RETURN(world.grant_keys, RawKeys(bundle.message.grant_keys(), "grant"));
  BW_ASSIGN_OR_RETURN(world.classifier_keys, RawKeys(bundle.message.classifier_keys(), "classifier"));
  BW_ASSIGN_OR_RETURN(world.time_zones, TimeZonesOf(bundle.message));
  world.issued_at = absl::FromUnixSeconds(bundle.message.issued_at().seconds());
  world.revision = bundle.message.revision();
  world.digest = std::string(crypto::Sha256(envelope.payload).view());
  world.trust_domain = bundle.message.trust_domain();
  world.root_keys = root->keys;
  world.root_threshold = root->threshold;
  return bundle;
}

absl::StatusOr<Classification> OpenClassification(const crypto::Envelope& envelope, const policy::World& world) {
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kClassificationType, world.classifier_keys),
                              "the classification is not signed by a classifier of the policy"));
  pb::Classification message;
  if (!message.ParseFromString(envelope.payload))
    return absl::InvalidArgumentError("the classification is not readable");
  BW_RETURN_IF_ERROR(CheckFormat(message.format(), "classification"));
  Classification out;
  BW_ASSIGN_OR_RETURN(out.dataset_id, DatasetId::From(message.dataset_id()));
  if (out.dataset_id.empty() || message.dataset().empty()) {
    return absl::InvalidArgumentError("the classification names no dataset");
  }
  if (message.home_site().empty() == !message.has_home_selector()) {
    return absl::InvalidArgumentError(absl::StrCat("the classification of ", message.dataset(),
                                                   " needs exactly one of a home site and a home selector"));
  }
  out.dataset = message.dataset();
  out.labels.insert(message.labels().begin(), message.labels().end());
  out.home_site = message.home_site();
  out.family = message.has_home_selector();
  out.home_selector = ToSelector(message.home_selector());
  out.epoch = message.epoch();
  out.revision = message.revision();
  return out;
}

DatasetId StreamId(DatasetId family, std::string_view site) {
  crypto::Hasher hasher;
  hasher.Update("stream");
  hasher.Update(family.view());
  hasher.Update(site);
  const Digest digest = hasher.Finish();
  DatasetId id;
  std::copy_n(digest.bytes.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

std::string StreamName(std::string_view family, std::string_view site) {
  return absl::StrCat(std::string(family), "@", std::string(site));
}

absl::StatusOr<Classification> StreamOf(const Classification& family, std::string_view site,
                                        const policy::World& world) {
  if (!family.family) return absl::InvalidArgumentError(absl::StrCat("dataset ", family.dataset, " is not a family"));
  auto it = world.sites.find(std::string(site));
  if (it == world.sites.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("site ", std::string(site), " is not in the policy at revision ", world.revision));
  }
  std::string failing;
  if (policy::Matches(family.home_selector, it->second.labels, &failing) != policy::Match::kYes) {
    return absl::InvalidArgumentError(
        absl::StrCat("site ", it->first, " is not a home of family ", family.dataset, ": ", failing));
  }
  Classification stream = family;
  stream.dataset_id = StreamId(family.dataset_id, site);
  stream.dataset = StreamName(family.dataset, site);
  stream.home_site = it->first;
  stream.family = false;
  stream.home_selector = {};
  return stream;
}

}  // namespace bailiwick::config
