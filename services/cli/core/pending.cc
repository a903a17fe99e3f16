#include "services/cli/core/pending.h"

#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "services/cli/core/change.h"

namespace bailiwick::cli {
namespace {

void AddLine(std::string* out, const std::string& line) { absl::StrAppend(out, line, "\n"); }

std::string Hex(const std::string& bytes) { return std::string(absl::BytesToHexString(bytes)); }

void DescribeKeys(const std::vector<std::string>& before, const std::vector<std::string>& after,
                  const std::string& what, std::string* out) {
  const std::set<std::string> old(before.begin(), before.end()), fresh(after.begin(), after.end());
  for (const auto& key : fresh) {
    if (old.count(key) == 0) AddLine(out, absl::StrCat("+ ", what, " ", Hex(key)));
  }
  for (const auto& key : old) {
    if (fresh.count(key) == 0) AddLine(out, absl::StrCat("- ", what, " ", Hex(key)));
  }
}

void DescribeResource(const config::ResourceKey& key, const config::Catalog& before, const config::Catalog& after,
                      std::string* out) {
  auto a = before.find(key), b = after.find(key);
  const std::string old = a == before.end() ? "" : config::ToYaml(a->second);
  const std::string fresh = b == after.end() ? "" : config::ToYaml(b->second);
  if (old == fresh) return;
  AddLine(out, absl::StrCat(key.first, "/", key.second,
                            old.empty()     ? " created"
                            : fresh.empty() ? " deleted"
                                            : " changed"));
  absl::StrAppend(out, LineDiff(old, fresh));
}

void DescribeResources(const config::Catalog& before, const config::Catalog& after, std::string* out) {
  std::set<config::ResourceKey> keys;
  for (const auto& [key, resource] : before) keys.insert(key);
  for (const auto& [key, resource] : after) keys.insert(key);
  for (const auto& key : keys) DescribeResource(key, before, after, out);
}

// What no key signs: the coordinator says what it is now, and what the change would make of it.
void DescribeUnsigned(const control::v1::ApplyRequest& request, const config::Catalog& before, std::string* out) {
  config::Catalog after = before;
  std::set<config::ResourceKey> keys;
  for (const auto& resource : request.upserts()) {
    const config::ResourceKey key(config::KindOf(resource), resource.metadata().name());
    after[key] = resource;
    if (!config::IsLaw(key.first)) keys.insert(key);
  }
  for (const auto& name : request.deletes()) {
    after.erase({name.kind(), name.name()});
    if (!config::IsLaw(name.kind())) keys.insert({name.kind(), name.name()});
  }
  for (const auto& key : keys) DescribeResource(key, before, after, out);
}

std::string Pins(const config::Bundle& bundle, const std::string& site) {
  std::string out;
  for (const auto& key : bundle.message.enrolment_keys()) {
    if (key.site() == site) absl::StrAppend(&out, key.agent(), " ", Hex(key.ed25519()), "\n");
  }
  return out;
}

void DescribePins(const config::Bundle& before, const config::Bundle& after, std::string* out) {
  for (const auto& [name, site] : after.world.sites) {
    const std::string old = Pins(before, name), fresh = Pins(after, name);
    if (old == fresh) continue;
    AddLine(out, absl::StrCat("enrolment keys of site ", name));
    absl::StrAppend(out, LineDiff(old, fresh));
  }
}

std::string Delegations(const resource::v1::PolicyBundle& bundle) {
  std::string out;
  for (const auto& c : bundle.classifiers()) {
    AddLine(&out, absl::StrCat("classifier ", Hex(c.key().ed25519()), " ", c.key().name()));
    for (const auto& l : c.labels()) {
      std::string values;
      for (const auto& v : l.values()) absl::StrAppend(&values, values.empty() ? "=" : "|", v);
      AddLine(&out, absl::StrCat("  label ", l.key(), values));
    }
    for (const auto& d : c.datasets()) AddLine(&out, absl::StrCat("  dataset ", d));
    for (const auto& r : c.home_regions()) AddLine(&out, absl::StrCat("  home region ", r));
  }
  auto life = [](bool said, const google::protobuf::Duration& d) {
    return said ? FormatAge(absl::Seconds(d.seconds())) : "none";
  };
  AddLine(&out, absl::StrCat("maxAge ", life(bundle.has_max_age(), bundle.max_age())));
  AddLine(&out, absl::StrCat("timestampLife ", life(bundle.has_timestamp_life(), bundle.timestamp_life())));
  return out;
}

std::string Labels(const policy::Labels& labels) {
  std::string out;
  for (const auto& [k, v] : labels) absl::StrAppend(&out, out.empty() ? "" : ",", k, "=", v);
  return out;
}

std::string Home(const config::Classification& c) { return c.family ? "a family" : c.home_site; }

void DescribeRecord(const config::Classification& c, const std::vector<config::Classification>& known,
                    std::string* out) {
  for (const auto& old : known) {
    if (old.dataset_id != c.dataset_id) continue;
    if (old.revision == c.revision) return;  // signed again as it is
    AddLine(out, absl::StrCat("dataset ", c.dataset, " reclassified"));
    AddLine(out, absl::StrCat("- ", Labels(old.labels), " at ", Home(old)));
    AddLine(out, absl::StrCat("+ ", Labels(c.labels), " at ", Home(c)));
    return;
  }
  AddLine(out, absl::StrCat("dataset ", c.dataset, " classified"));
  AddLine(out, absl::StrCat("+ ", Labels(c.labels), " at ", Home(c)));
}

void AddSignature(types::v1::Envelope* message, const crypto::SigningKey& key, int* added) {
  crypto::Envelope envelope = rpc::FromProto(*message);
  if (!crypto::ValidSigners(envelope, envelope.payload_type, {key.public_key()}).empty()) return;
  crypto::AddSignature(envelope, key);
  rpc::ToProto(envelope, message);
  ++*added;
}

}  // namespace

std::string DescribeTrust(const config::Bundle& bundle) {
  std::string out;
  DescribeKeys({}, bundle.world.root_keys, "policy root key", &out);
  AddLine(&out, absl::StrCat("the root asks for ", bundle.world.root_threshold, " of ", bundle.world.root_keys.size(),
                             " keys"));
  absl::StrAppend(&out, Delegations(bundle.message));
  for (const auto& key : bundle.message.enrolment_keys()) {
    AddLine(&out, absl::StrCat("enrolment key of site ", key.site(), " ", Hex(key.ed25519())));
  }
  return absl::StrReplaceAll(out, {{"+ policy root key", "policy root key"}});
}

absl::StatusOr<std::string> DescribePending(const control::v1::ApplyRequest& request, const Known& known) {
  const config::Bundle& before = known.bundle;
  std::string out;
  if (request.has_bundle()) {
    BW_ASSIGN_OR_RETURN(config::Bundle after, config::OpenUnsigned(rpc::FromProto(request.bundle())));
    AddLine(&out, absl::StrCat("policy revision ", before.world.revision, " -> ", after.world.revision));
    if (before.message.root() != after.message.root()) {
      DescribeKeys(before.world.root_keys, after.world.root_keys, "policy root key", &out);
      AddLine(&out,
              absl::StrCat("the root asks for ", after.world.root_threshold, " of ", after.world.root_keys.size(),
                           " keys, before for ", before.world.root_threshold, " of ", before.world.root_keys.size()));
    }
    DescribeKeys(before.world.grant_keys, after.world.grant_keys, "grant key", &out);
    DescribeKeys(before.world.timestamp_keys, after.world.timestamp_keys, "timestamp key", &out);
    DescribeKeys(before.world.classifier_keys, after.world.classifier_keys, "classifier key without limits", &out);
    absl::StrAppend(&out, LineDiff(Delegations(before.message), Delegations(after.message)));
    DescribePins(before, after, &out);
    DescribeResources(before.resources, after.resources, &out);
  }
  for (const auto& envelope : request.classifications()) {
    BW_ASSIGN_OR_RETURN(config::Classification c, config::ReadKeptClassification(rpc::FromProto(envelope)));
    DescribeRecord(c, known.classifications, &out);
  }
  DescribeUnsigned(request, known.resources, &out);
  return out;
}

absl::StatusOr<int> SignPending(const std::vector<crypto::SigningKey>& keys, const std::string& root_sha256,
                                const config::RootChain& known_roots, control::v1::ApplyRequest* request) {
  std::vector<std::string> old_root, root;
  BW_ASSIGN_OR_RETURN(const std::string current, config::WalkRoots(known_roots, root_sha256));
  if (!known_roots.empty()) {
    BW_ASSIGN_OR_RETURN(config::PolicyRoot in_force, config::DecodePolicyRoot(known_roots.back().payload));
    root = in_force.keys;
  }
  if (request->roots_size() >= 2) {
    const auto& base = request->roots(request->roots_size() - 2);
    if (config::RootHash(rpc::FromProto(base)) != current) {
      return absl::FailedPreconditionError("the pending change replaces another policy root than the one in force");
    }
    BW_ASSIGN_OR_RETURN(config::PolicyRoot before, config::DecodePolicyRoot(base.payload()));
    BW_ASSIGN_OR_RETURN(config::PolicyRoot next,
                        config::DecodePolicyRoot(request->roots(request->roots_size() - 1).payload()));
    old_root = before.keys;
    root = next.keys;
  }
  if (request->has_bundle()) {
    BW_ASSIGN_OR_RETURN(config::Bundle bundle, config::OpenUnsigned(rpc::FromProto(request->bundle())));
    if (old_root.empty() && crypto::Sha256(bundle.message.root()).view() != current) {
      return absl::FailedPreconditionError(
          "the pending change has another policy root than the one that the context pins");
    }
    root = bundle.world.root_keys;
  }
  int added = 0;
  for (const auto& key : keys) {
    const bool of_new = absl::c_linear_search(root, key.public_key());
    if (request->has_bundle() && of_new) AddSignature(request->mutable_bundle(), key, &added);
    for (auto& c : *request->mutable_classifications()) {
      if (of_new) AddSignature(&c, key, &added);
    }
    if (request->roots_size() >= 2 && (of_new || absl::c_linear_search(old_root, key.public_key()))) {
      AddSignature(request->mutable_roots(request->roots_size() - 1), key, &added);
    }
  }
  return added;
}

}  // namespace bailiwick::cli
