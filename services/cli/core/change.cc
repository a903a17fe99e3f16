#include "services/cli/core/change.h"

#include <algorithm>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/config/steps.h"
#include "common/config/time_zones.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/rpc/codec.h"

namespace bailiwick::cli {
namespace {

uint64_t ChunkSize(const config::Resource& dataset) {
  constexpr uint64_t kDefault = 32 << 10;
  return dataset.dataset().chunk_size_bytes() == 0 ? kDefault : dataset.dataset().chunk_size_bytes();
}

bool SameSelector(const policy::Selector& a, const policy::Selector& b) {
  auto same = [](const policy::LabelCondition& x, const policy::LabelCondition& y) {
    return x.key == y.key && x.op == y.op && x.values == y.values;
  };
  return std::equal(a.conditions.begin(), a.conditions.end(), b.conditions.begin(), b.conditions.end(), same);
}

// The record a Dataset resource asks for, or nothing when the known one says the same.
std::optional<resource::v1::Classification> Classify(const config::Resource& dataset,
                                                     const config::Classification* known, os::Random* random) {
  resource::v1::Classification c;
  c.set_format(1);
  c.set_dataset(dataset.metadata().name());
  *c.mutable_labels() = dataset.metadata().labels();
  const auto& home = dataset.dataset().home();
  c.set_home_site(home.site());
  if (home.has_site_selector()) *c.mutable_home_selector() = home.site_selector();
  if (known == nullptr) {
    c.set_dataset_id(random->Bytes(16));
    c.set_epoch(1);
    c.set_revision(1);
    return c;
  }
  const policy::Labels labels(c.labels().begin(), c.labels().end());
  const bool moved = known->family != home.has_site_selector() || known->home_site != home.site();
  // Another selector gives a family other streams; those that stay keep their home, so the epoch stays.
  const bool same_selector =
      !known->family || SameSelector(known->home_selector, config::ToSelector(home.site_selector()));
  if (labels == known->labels && !moved && same_selector) return std::nullopt;
  c.set_dataset_id(known->dataset_id.str());
  c.set_epoch(known->epoch + (moved ? 1 : 0));
  c.set_revision(known->revision + 1);
  return c;
}

constexpr absl::Duration kDefaultMaxAge = absl::Hours(24 * 365);
constexpr size_t kMaxCompared = 4'000'000;  // pairs of lines

using Keys = std::vector<const crypto::SigningKey*>;

Keys Among(const std::vector<crypto::SigningKey>& keys, const std::vector<std::string>& root) {
  Keys out;
  for (const auto& key : keys) {
    if (absl::c_linear_search(root, key.public_key())) out.push_back(&key);
  }
  return out;
}

// Keys at hand that may classify datasets and do not sign the law.
Keys Delegates(const std::vector<crypto::SigningKey>& keys, const policy::World& world) {
  std::vector<std::string> may;
  for (const auto& classifier : world.classifiers) {
    if (!absl::c_linear_search(world.root_keys, classifier.key)) may.push_back(classifier.key);
  }
  return Among(keys, may);
}

types::v1::Envelope SignedBy(std::string_view type, const std::string& payload, const Keys& keys) {
  crypto::Envelope envelope{std::string(type), payload, {}};
  for (const auto* key : keys) crypto::AddSignature(envelope, *key);
  types::v1::Envelope out;
  rpc::ToProto(envelope, &out);
  return out;
}

void SetDuration(absl::Duration d, google::protobuf::Duration* out) { out->set_seconds(absl::ToInt64Seconds(d)); }

// What a bundle says besides resources and enrolment keys: as before, changed where the admin asks for it.
void SetDelegations(const Known& known, const LawChange& law, const config::PolicyRoot& root,
                    resource::v1::PolicyBundle* bundle) {
  const resource::v1::PolicyBundle& before = known.bundle.message;
  bundle->set_root(config::EncodePolicyRoot(root));
  bundle->add_grant_keys()->set_ed25519(known.grant_key);
  if (!known.timestamp_key.empty()) bundle->add_timestamp_keys()->set_ed25519(known.timestamp_key);
  // All of the root's, also those not at hand: what they signed stays valid. Where one of them alone may not change the
  // law, one of them alone may not relabel what it is about either.
  if (root.threshold == 1) {
    for (const auto& key : root.keys) bundle->add_classifier_keys()->set_ed25519(key);
  }
  if (before.has_max_age())
    *bundle->mutable_max_age() = before.max_age();
  else
    SetDuration(kDefaultMaxAge, bundle->mutable_max_age());
  if (law.max_age.has_value()) SetDuration(*law.max_age, bundle->mutable_max_age());
  if (before.has_timestamp_life()) *bundle->mutable_timestamp_life() = before.timestamp_life();
  if (law.timestamp_life.has_value()) SetDuration(*law.timestamp_life, bundle->mutable_timestamp_life());
  std::map<std::string, resource::v1::Classifier> classifiers;
  for (const auto& c : before.classifiers()) classifiers[c.key().ed25519()] = c;
  for (const auto& key : law.remove_classifiers) classifiers.erase(key);  // each is there: CheckLaw
  for (const auto& c : law.classifiers) classifiers[c.key().ed25519()] = c;
  for (const auto& [key, c] : classifiers) *bundle->add_classifiers() = c;
}

// Records that would not count under the new keys are signed again, as they are.
void SignRecordsAgain(const Known& known, const policy::World& next, const Keys& keys,
                      control::v1::ApplyRequest* request) {
  for (const crypto::Envelope& record : known.records) {
    if (config::OpenClassification(record, next).ok()) continue;
    *request->add_classifications() = SignedBy(crypto::kClassificationType, record.payload, keys);
  }
}

void AddMissing(absl::string_view what, size_t have, size_t need, std::vector<std::string>* missing) {
  if (have < need) missing->push_back(absl::StrCat(what, " has ", have, " of ", need, " signatures"));
}

}  // namespace

std::string MissingSignatures(const Known& known, const control::v1::ApplyRequest& request) {
  std::vector<std::string> missing;
  policy::World world = known.bundle.world;
  if (request.has_bundle()) {
    const crypto::Envelope bundle = rpc::FromProto(request.bundle());
    if (auto next = config::OpenUnsigned(bundle); next.ok()) world = std::move(next->world);
    AddMissing("the policy bundle", crypto::ValidSigners(bundle, crypto::kBundleType, world.root_keys).size(),
               world.root_threshold, &missing);
  }
  if (!request.roots().empty()) {
    const crypto::Envelope root = rpc::FromProto(request.roots(request.roots_size() - 1));
    const policy::World& before = known.bundle.world;
    AddMissing("the new root, by keys of the old one,",
               crypto::ValidSigners(root, crypto::kRootType, before.root_keys).size(), before.root_threshold, &missing);
    AddMissing("the new root, by its own keys,", crypto::ValidSigners(root, crypto::kRootType, world.root_keys).size(),
               world.root_threshold, &missing);
  }
  for (const auto& record : request.classifications()) {
    const crypto::Envelope envelope = rpc::FromProto(record);
    if (config::OpenClassification(envelope, world).ok()) continue;
    AddMissing("a classification", crypto::ValidSigners(envelope, crypto::kClassificationType, world.root_keys).size(),
               world.root_threshold, &missing);
    break;  // said once for all records
  }
  return absl::StrJoin(missing, "; ");
}

control::v1::ApplyRequest WithoutSignatures(control::v1::ApplyRequest request) {
  if (request.has_bundle()) request.mutable_bundle()->clear_signatures();
  for (auto& record : *request.mutable_classifications()) record.clear_signatures();
  if (!request.roots().empty()) request.mutable_roots(request.roots_size() - 1)->clear_signatures();
  return request;
}

std::string LineDiff(const std::string& before, const std::string& after) {
  const std::vector<std::string> a = absl::StrSplit(before, '\n'), b = absl::StrSplit(after, '\n');
  const size_t shorter = std::min(a.size(), b.size());
  size_t head = 0, tail = 0;
  while (head < shorter && a[head] == b[head]) ++head;
  while (tail < shorter - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
  const size_t n = a.size() - head - tail, m = b.size() - head - tail;
  // Longest common subsequence of what lies between; where that is too long to be compared, all of it differs.
  const bool small = n * m <= kMaxCompared;
  std::vector<std::vector<int>> length(small ? n + 1 : 0, std::vector<int>(m + 1, 0));
  for (size_t i = small ? n : 0; i-- > 0;) {
    for (size_t j = m; j-- > 0;) {
      length[i][j] =
          a[head + i] == b[head + j] ? length[i + 1][j + 1] + 1 : std::max(length[i + 1][j], length[i][j + 1]);
    }
  }
  std::string out;
  size_t shown = 0;  // lines of `a` that were written or stand before one that was
  // An item of a list lies below the key before it, which may stand as far to the right.
  auto depth = [](const std::string& line) -> size_t {
    const size_t at = line.find_first_not_of(' ');
    return at == std::string::npos ? 0 : 2 * at + (line[at] == '-' ? 1 : 0);
  };
  auto lead = [&](size_t at, const std::string& line) {
    std::vector<const std::string*> above;
    size_t level = depth(line);
    for (size_t i = at; i-- > shown && level != 0;) {
      if (a[i].empty() || depth(a[i]) >= level) continue;
      above.push_back(&a[i]);
      level = depth(a[i]);
    }
    for (size_t i = above.size(); i-- > 0;) absl::StrAppend(&out, "  ", *above[i], "\n");
    shown = at;
  };
  size_t i = 0, j = 0;
  bool run = false;
  while (i < n || j < m) {
    if (small && i < n && j < m && a[head + i] == b[head + j]) {
      ++i;
      ++j;
      run = false;
      continue;
    }
    const bool gone = j == m || (i < n && (!small || length[i + 1][j] >= length[i][j + 1]));
    const std::string& line = gone ? a[head + i] : b[head + j];
    if (!run) lead(head + i, line);
    run = true;
    absl::StrAppend(&out, gone ? "- " : "+ ", line, "\n");
    gone ? ++i : ++j;
    shown = head + i;
  }
  return out;
}

namespace {

// What the admin asks of the law beside resources and pins goes together with what it says now.
absl::Status CheckLaw(const LawChange& law, const resource::v1::PolicyBundle& before, const config::Catalog& after) {
  for (const std::string& key : law.remove_classifiers) {
    std::vector<std::string> known;
    bool found = false;
    for (const auto& c : before.classifiers()) {
      found |= c.key().ed25519() == key;
      known.push_back(
          absl::StrCat(absl::BytesToHexString(c.key().ed25519()), c.key().name().empty() ? "" : " ", c.key().name()));
    }
    if (found) continue;
    return absl::NotFoundError(absl::StrCat("nothing is delegated to key ", absl::BytesToHexString(key),
                                            known.empty() ? "" : "; there are: ", absl::StrJoin(known, ", ")));
  }
  for (const auto& c : law.classifiers) {
    for (const std::string& region : c.home_regions()) {
      const bool known = std::any_of(after.begin(), after.end(), [&](const auto& one) {
        return one.first.first == "Region" &&
               (one.first.second == region || absl::StartsWith(one.first.second, absl::StrCat(region, "/")));
      });
      if (known) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("region ", region, " is not declared; see: bailiwick get regions"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Signed> SignChange(const Known& known, const CatalogChange& change,
                                  const std::vector<crypto::SigningKey>& keys, absl::Time now, os::Random* random) {
  Signed out;
  config::Catalog after = known.resources;
  bool law = !change.pin.empty() || change.law.any();
  std::set<config::ResourceKey> deleted;
  for (const auto& name : change.deletes) {
    if (after.erase({name.kind(), name.name()}) == 0) {
      return absl::NotFoundError(absl::StrCat(name.kind(), " ", name.name(), " does not exist"));
    }
    deleted.insert({name.kind(), name.name()});
    *out.request.add_deletes() = name;
    out.report.lines.push_back({name.kind(), name.name(), "deleted", ""});
    out.anything = true;
    law |= config::IsLaw(name.kind());
  }
  std::map<std::string, const config::Classification*> classified;
  for (const auto& c : known.classifications) {
    // A name that was deleted and declared again has several records; the one declared now is found by the resource.
    if (known.resources.count({"Dataset", c.dataset}) != 0) {
      auto& at = classified[c.dataset];
      if (at == nullptr || at->revision < c.revision) at = &c;
    }
  }
  std::vector<resource::v1::Classification> records;
  std::map<config::ResourceKey, const config::Located*> seen;  // over all files of one change
  for (const config::Located& located : change.upserts) {
    const config::Resource& resource = located.resource;
    const std::string kind = config::KindOf(resource), name = resource.metadata().name();
    if (auto [first, fresh] = seen.emplace(config::ResourceKey(kind, name), &located); !fresh) {
      return absl::InvalidArgumentError(absl::StrCat(located.At("metadata.name").str(), ": ", kind, " ", name,
                                                     " is declared twice; the first is at ",
                                                     first->second->At("metadata.name").str()));
    }
    auto it = after.find({kind, name});
    const std::string yaml = config::ToYaml(resource);
    const config::Resource before = it == after.end() ? config::Resource() : it->second;
    const bool exists = it != after.end();
    if (exists && config::ToYaml(before) == yaml) {
      out.report.lines.push_back({kind, name, "unchanged", ""});
      continue;
    }
    if (kind == "Dataset") {
      if (exists && ChunkSize(before) != ChunkSize(resource)) {
        return absl::InvalidArgumentError(absl::StrCat(located.At("spec.chunkSize").str(),
                                                       ": the chunk size of dataset ", name,
                                                       " was fixed when it was created; declare another dataset"));
      }
      auto known_record = classified.find(name);
      if (exists && known_record == classified.end()) {
        // A new record would make it another dataset, without its versions.
        return absl::FailedPreconditionError(
            absl::StrCat("the signed classification of dataset ", name,
                         " cannot be verified with the policy in force; delete the dataset and "
                         "declare it anew to start over"));
      }
      auto record = Classify(resource, exists ? known_record->second : nullptr, random);
      if (record.has_value() && exists && record->epoch() != known_record->second->epoch &&
          known.away.count(known_record->second->home_site) != 0) {
        out.report.warnings.push_back(
            absl::StrCat("site ", known_record->second->home_site, ", the home of ", name,
                         " until now, is away: what it committed that nobody has heard of counts for nobody, and lies "
                         "nowhere else"));
      }
      if (record.has_value()) records.push_back(*std::move(record));
    }
    out.report.lines.push_back(
        {kind, name, exists ? "changed" : "created", LineDiff(exists ? config::ToYaml(before) : "", yaml)});
    after[{kind, name}] = resource;
    *out.request.add_upserts() = resource;
    out.anything = true;
    law |= config::IsLaw(kind);
  }
  BW_RETURN_IF_ERROR(CheckLaw(change.law, known.bundle.message, after));
  const config::TimeZones zones = config::CompileTimeZones(config::ZonesOf(after), now);
  BW_RETURN_IF_ERROR(config::Validate(after, change.upserts, now, zones, deleted));
  std::vector<config::Classification> in_force;
  for (const auto& [name, classification] : classified) in_force.push_back(*classification);
  BW_RETURN_IF_ERROR(config::CheckSteps(known.bundle.world, in_force, after, change.upserts, now));
  // A policy that is applied again unchanged gets fresh time zone data; other changes need no signature for that.
  const bool policy = std::any_of(change.upserts.begin(), change.upserts.end(),
                                  [](const config::Located& one) { return one.resource.has_sovereignty_policy(); });
  law |= policy && config::ZonesStale(known.bundle.world.time_zones, zones, now);
  out.report.policy_revision = known.bundle.world.revision;
  out.anything |= law;
  if (!out.anything) return out;
  if (known.bundle.world.revision == 0) law = true;
  config::PolicyRoot before;
  for (const auto& key : keys) before.keys.push_back(key.public_key());
  if (known.bundle.world.revision != 0) {
    BW_ASSIGN_OR_RETURN(before, config::DecodePolicyRoot(known.bundle.message.root()));
  }
  config::PolicyRoot root = before;
  if (change.law.root.has_value()) {
    root = *change.law.root;
    root.number = before.number + 1;
  }
  Keys signers = Among(keys, root.keys);
  const Keys old_signers = Among(keys, before.keys);
  const Keys delegates = Delegates(keys, known.bundle.world);
  if (!law && signers.empty()) signers = delegates;
  if ((law || !records.empty()) && old_signers.empty() && (signers.empty() || change.law.root.has_value())) {
    return absl::FailedPreconditionError(
        keys.empty()
            ? "this change must be signed, and the context names no policy key; name one in policyKeys of context.yaml"
            : "this change must be signed, and none of the context's policyKeys is in the policy root");
  }
  if (signers.empty()) signers = old_signers;  // of a rotation that leaves this key out: its holder may begin it
  if (law) {
    resource::v1::PolicyBundle bundle;
    bundle.set_format(1);
    bundle.set_revision(std::max(known.bundle.world.revision, known.installed) + 1);
    bundle.set_trust_domain(known.trust_domain);
    rpc::ToProto(now, bundle.mutable_issued_at());
    config::AddLaw(after, &bundle);
    config::AddTimeZones(zones, &bundle);
    std::map<std::pair<std::string, std::string>, resource::v1::EnrolmentKey> pins;
    for (const auto& pin : known.bundle.message.enrolment_keys()) {
      if (after.count({"Site", pin.site()}) != 0) pins[{pin.site(), pin.agent()}] = pin;
    }
    for (const auto& pin : change.pin) pins[{pin.site(), pin.agent()}] = pin;
    for (const auto& [key, pin] : pins) *bundle.add_enrolment_keys() = pin;
    SetDelegations(known, change.law, root, &bundle);
    *out.request.mutable_bundle() = SignedBy(crypto::kBundleType, bundle.SerializeAsString(), signers);
    out.report.policy_revision = bundle.revision();
    BW_ASSIGN_OR_RETURN(config::Bundle next, config::OpenUnsigned(rpc::FromProto(out.request.bundle())));
    SignRecordsAgain(known, next.world, signers, &out.request);
  }
  if (change.law.root.has_value()) {
    config::RootChain chain = known.roots;
    if (chain.empty()) chain.push_back({std::string(crypto::kRootType), known.bundle.message.root(), {}});
    for (const auto& link : chain) rpc::ToProto(link, out.request.add_roots());
    Keys both = old_signers;
    for (const auto* key : signers) {
      if (std::find(both.begin(), both.end(), key) == both.end()) both.push_back(key);
    }
    *out.request.add_roots() = SignedBy(crypto::kRootType, config::EncodePolicyRoot(root), both);
  }
  for (const auto& record : records) {
    *out.request.add_classifications() = SignedBy(crypto::kClassificationType, record.SerializeAsString(), signers);
    if (law || signers != delegates) continue;
    // Within the limits, or it is refused before anybody else sees it.
    const auto& last = out.request.classifications(out.request.classifications_size() - 1);
    auto allowed = config::OpenClassification(rpc::FromProto(last), known.bundle.world);
    if (!allowed.ok()) return allowed.status();
  }
  return out;
}

absl::StatusOr<std::vector<crypto::SigningKey>> PolicyKeys(const Context& context) {
  std::vector<crypto::SigningKey> keys;
  for (const std::string& path : context.policy_keys) {
    BW_ASSIGN_OR_RETURN(std::string pem, os::ReadFile(os::Files::System(), path, 64 << 10));
    auto key = crypto::SigningKey::FromPem(pem);
    if (!key.ok()) return Annotate(key.status(), path);
    keys.push_back(*std::move(key));
  }
  return keys;
}

absl::StatusOr<Known> ReadKnown(Admin& admin, uint64_t* generation) {
  Known known;
  control::v1::ListResourcesResponse resources;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListResources(Admin::Call().get(), {}, &resources)));
  for (const auto& r : resources.resources()) known.resources[{config::KindOf(r), r.metadata().name()}] = r;
  *generation = resources.generation();
  BW_ASSIGN_OR_RETURN(Admin::Policy policy, admin.ReadPolicy());
  known.bundle = std::move(policy.bundle);
  known.roots = std::move(policy.roots);
  known.records = std::move(policy.records);
  for (const auto& record : known.records) {
    auto c = config::OpenClassification(record, known.bundle.world);
    if (c.ok()) known.classifications.push_back(*std::move(c));
  }
  control::v1::GetInfoResponse info;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().GetInfo(Admin::Call().get(), {}, &info)));
  known.trust_domain = info.trust_domain();
  known.grant_key = info.grant_ed25519();
  known.timestamp_key = info.timestamp_ed25519();
  control::v1::ListSitesResponse sites;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListSites(Admin::Call().get(), {}, &sites)));
  for (const auto& site : sites.sites()) {
    if (!site.connected()) known.away.insert(site.name());
    if (!site.approved()) continue;
    // As the coordinator bounds it.
    known.installed = std::max<uint64_t>(
        known.installed, std::min(site.policy_revision(), known.bundle.world.revision + config::kMaxRevisionStep - 1));
  }
  return known;
}

absl::StatusOr<ChangeReport> ApplyChange(Admin& admin, const CatalogChange& change, Extent extent,
                                         std::optional<uint64_t> expected_evictions) {
  BW_ASSIGN_OR_RETURN(std::vector<crypto::SigningKey> keys, PolicyKeys(admin.context()));
  const std::string pinned = admin.context().policy_root_sha256;
  for (int attempt = 0;; ++attempt) {
    uint64_t generation = 0;
    BW_ASSIGN_OR_RETURN(Known known, ReadKnown(admin, &generation));
    BW_ASSIGN_OR_RETURN(Signed made, SignChange(known, change, keys, os::Clock::System()->Now(), os::Random::System()));
    if (!made.anything) return made.report;
    if (made.request.has_bundle() && known.bundle.world.revision == 0) {
      // What agents would refuse must not become the law.
      auto opened = config::OpenBundle(rpc::FromProto(made.request.bundle()), pinned);
      if (!opened.ok()) return Annotate(opened.status(), "policyKeys and policyRootSha256 of context.yaml do not fit");
    }
    if (extent == Extent::kCompare) return made.report;
    made.request.set_expected_generation(generation);
    if (expected_evictions.has_value()) made.request.set_expected_evictions(*expected_evictions);
    if (extent == Extent::kTry) {
      control::v1::DryRunRequest request;
      *request.mutable_apply() = WithoutSignatures(made.request);
      BW_ASSIGN_OR_RETURN(const control::v1::DryRunResponse tried, admin.Try(request));
      made.report.pending = MissingSignatures(known, made.request);
      if (!tried.waits().empty())
        absl::StrAppend(&made.report.pending, made.report.pending.empty() ? "" : "; ", tried.waits());
      return made.report;
    }
    control::v1::ApplyResponse response;
    absl::Status applied = admin.Check(admin.control().Apply(Admin::Call().get(), made.request, &response));
    if (absl::IsAborted(applied) && attempt == 0) continue;  // somebody was faster: see what there is now
    BW_RETURN_IF_ERROR(applied);
    made.report.applied = !response.has_pending();
    made.report.pending = response.pending().missing();
    made.report.outdated_by = response.outdated_by();
    if (made.report.applied) made.report.policy_revision = response.policy_revision();
    return made.report;
  }
}

}  // namespace bailiwick::cli
