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

constexpr uint32_t kFormat = 1;

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
  if (root.number > 1) message.set_number(root.number);
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
  root.number = std::max<uint64_t>(message.number(), 1);
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

namespace {

// Nothing of the payload is believed but its root, and that only by its hash.
absl::StatusOr<PolicyRoot> ReadRooted(const crypto::Envelope& envelope, std::string_view root_sha256,
                                      const RootChain& chain, pb::PolicyBundle* message) {
  if (envelope.payload_type != crypto::kBundleType) {
    return absl::PermissionDeniedError(absl::StrCat("not a policy bundle but ", envelope.payload_type));
  }
  if (!message->ParseFromString(envelope.payload)) {
    return absl::PermissionDeniedError("the policy bundle is not readable");
  }
  BW_ASSIGN_OR_RETURN(std::string newest, WalkRoots(chain, root_sha256));
  if (newest.size() != Digest::kSize || crypto::Sha256(message->root()).view() != newest) {
    return absl::PermissionDeniedError("the policy bundle has another root than the one pinned here at enrolment");
  }
  return DecodePolicyRoot(message->root());
}

absl::Duration FromProtoDuration(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

absl::Status AddClassifiers(const pb::PolicyBundle& message, policy::World* world) {
  for (const pb::Classifier& classifier : message.classifiers()) {
    policy::Classifier out;
    out.key = classifier.key().ed25519();
    if (out.key.size() != crypto::kPublicKeySize) {
      return absl::InvalidArgumentError(
          absl::StrCat("the key of classifier ", classifier.key().name(), " is malformed"));
    }
    for (const auto& known : world->classifiers) {
      if (known.key == out.key) return absl::InvalidArgumentError("a classifier is listed twice");
    }
    for (const pb::LabelLimit& limit : classifier.labels()) {
      out.labels[limit.key()].assign(limit.values().begin(), limit.values().end());
    }
    out.datasets.assign(classifier.datasets().begin(), classifier.datasets().end());
    out.home_regions.assign(classifier.home_regions().begin(), classifier.home_regions().end());
    world->classifiers.push_back(std::move(out));
  }
  return absl::OkStatus();
}

absl::Status AddFreshness(const pb::PolicyBundle& message, policy::World* world) {
  BW_ASSIGN_OR_RETURN(world->timestamp_keys, RawKeys(message.timestamp_keys(), "timestamp"));
  if (message.has_timestamp_life()) world->timestamp_life = FromProtoDuration(message.timestamp_life());
  if (world->timestamp_life <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("the policy bundle lets timestamps last no time at all");
  }
  if (message.has_max_age()) {
    world->expires = absl::FromUnixSeconds(message.issued_at().seconds()) + FromProtoDuration(message.max_age());
  }
  return absl::OkStatus();
}

absl::StatusOr<Bundle> Build(const crypto::Envelope& envelope, pb::PolicyBundle message, const PolicyRoot& root) {
  Bundle bundle;
  bundle.message = std::move(message);
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
  BW_RETURN_IF_ERROR(AddClassifiers(bundle.message, &world));
  BW_RETURN_IF_ERROR(AddFreshness(bundle.message, &world));
  world.revision = bundle.message.revision();
  world.digest = std::string(crypto::Sha256(envelope.payload).view());
  world.trust_domain = bundle.message.trust_domain();
  world.root_keys = root.keys;
  world.root_threshold = root.threshold;
  return bundle;
}

}  // namespace

absl::StatusOr<Bundle> OpenBundle(const crypto::Envelope& envelope, std::string_view root_sha256,
                                  const RootChain& chain) {
  pb::PolicyBundle message;
  BW_ASSIGN_OR_RETURN(PolicyRoot root, ReadRooted(envelope, root_sha256, chain, &message));
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kBundleType, root.keys, root.threshold),
                              "the policy bundle is not signed by its root"));
  return Build(envelope, std::move(message), root);
}

absl::StatusOr<Bundle> OpenUnsigned(const crypto::Envelope& envelope) {
  pb::PolicyBundle message;
  if (envelope.payload_type != crypto::kBundleType || !message.ParseFromString(envelope.payload)) {
    return absl::InvalidArgumentError("the policy bundle is not readable");
  }
  BW_ASSIGN_OR_RETURN(PolicyRoot root, DecodePolicyRoot(message.root()));
  return Build(envelope, std::move(message), root);
}

}  // namespace bailiwick::config
