// Changing what is declared: all or nothing, checked as a whole, recorded before it takes effect.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/base/version.h"
#include "common/config/obligations.h"
#include "common/config/steps.h"
#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "services/coordinator/core/change_record.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

constexpr absl::Duration kDefaultTokenLife = absl::Hours(1);
constexpr absl::Duration kMaxTokenLife = absl::Hours(24 * 7);
constexpr uint32_t kMaxEvents = 10'000;
constexpr size_t kMaxSummary = 1000;  // of what a change touched, in the history

config::Catalog LawOf(const config::Catalog& catalog) {
  config::Catalog law;
  for (const auto& [key, resource] : catalog) {
    if (config::IsLaw(key.first)) law[key] = resource;
  }
  return law;
}

bool Same(const config::Resource& a, const config::Resource& b) { return config::ToYaml(a) == config::ToYaml(b); }

bool SameSelector(const policy::Selector& a, const policy::Selector& b) {
  auto same = [](const policy::LabelCondition& x, const policy::LabelCondition& y) {
    return x.key == y.key && x.op == y.op && x.values == y.values;
  };
  return std::equal(a.conditions.begin(), a.conditions.end(), b.conditions.begin(), b.conditions.end(), same);
}

// The signed classification must say what the Dataset says: else the catalog would show one thing and the law hold
// another.
absl::Status CheckClassified(const config::Resource& dataset, const config::Classification& c) {
  const std::string& name = dataset.metadata().name();
  const auto& home = dataset.dataset().home();
  const policy::Labels labels(dataset.metadata().labels().begin(), dataset.metadata().labels().end());
  if (c.dataset != name) {
    return absl::InvalidArgumentError(absl::StrCat("the classification for dataset ", name, " is of ", c.dataset));
  }
  if (c.labels != labels) {
    return absl::InvalidArgumentError(
        absl::StrCat("the labels of dataset ", name, " differ from its signed classification"));
  }
  if (c.home_site != home.site() || c.family != home.has_site_selector() ||
      (c.family && !SameSelector(c.home_selector, config::ToSelector(home.site_selector())))) {
    return absl::InvalidArgumentError(
        absl::StrCat("the home of dataset ", name, " differs from its signed classification"));
  }
  return absl::OkStatus();
}

// A bundle from the future would make agents believe that it is later than it is.
absl::Status CheckIssued(const resource::v1::PolicyBundle& bundle, absl::Time now) {
  constexpr absl::Duration kMaxAhead = absl::Seconds(60);
  const absl::Duration ahead = rpc::FromProto(bundle.issued_at()) - now;
  if (ahead <= kMaxAhead) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the clock of the machine that signed the policy is ",
                                                 absl::FormatDuration(absl::Trunc(ahead, absl::Seconds(1))),
                                                 " ahead of the coordinator's; set the one that is wrong"));
}

std::string PinEffect(const control::v1::PinRequest& request, const std::string& site) {
  if (request.number() == 0) return absl::StrCat("site ", site, " follows the newest version of ", request.dataset());
  return absl::StrCat("site ", site, " shows version ", request.number(), " of ", request.dataset(),
                      " until told otherwise");
}

bool SameCatalog(const config::Catalog& a, const config::Catalog& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, resource] : a) {
    auto it = b.find(key);
    if (it == b.end() || !Same(resource, it->second)) return false;
  }
  return true;
}

}  // namespace

absl::Status Core::CheckEnforced(const config::Catalog& law) const {
  const auto known =
      bundle_.has_value() ? config::NeededParts(bundle_->resources) : std::map<std::string, std::string>{};
  for (const auto& [part, policy] : config::NeededParts(law)) {
    if (known.count(part) != 0) continue;  // in force already: a change for the better must not wait for an upgrade
    for (const auto& [site, session] : sessions_) {
      auto enforces = enforces_.find(site);
      if (enforces != enforces_.end() && enforces->second.count(part) != 0) continue;
      auto agent = state_.agents.find(site);
      return absl::FailedPreconditionError(absl::StrCat(
          "policy ", policy, " asks for ", part, ", which the agent of site ", site, " (build ",
          agent == state_.agents.end() ? "unknown" : agent->second.build, ") does not enforce; upgrade it first"));
    }
  }
  return absl::OkStatus();
}

void Core::TellEnded(const std::map<DatasetId, Stream>& before) {
  std::map<std::string, std::vector<std::string>> ended;  // of families that are still declared
  for (const auto& [id, stream] : before) {
    if (streams_.count(id) == 0 && Retired(id, stream.name)) ended[stream.family].push_back(stream.name);
  }
  for (const auto& [family, streams] : ended) {
    Event("streams-ended", "", family, 0,
          absl::StrCat("their sites no longer match its siteSelector: ", absl::StrJoin(streams, ", ").substr(0, kMaxSummary),
                       "; what sites hold of them stays, nothing new is committed or sent"));
  }
}

absl::StatusOr<Change> Core::CheckApply(const control::v1::ApplyRequest& request, config::Catalog* after,
                                        std::string* missing, Signatures signatures) {
  missing->clear();
  Change change;
  change.generation = state_.generation + 1;
  change.root_sha256 = state_.root_sha256;
  change.dataset_ids = state_.dataset_ids;
  change.roots = state_.roots;
  *after = state_.resources;
  for (const auto& name : request.deletes()) {
    if (after->erase({name.kind(), name.name()}) == 0) {
      return absl::NotFoundError(
          absl::StrCat(name.kind(), " ", name.name(), " does not exist", DidYouMean(name.kind(), name.name())));
    }
    change.deletes.emplace_back(name.kind(), name.name());
    if (name.kind() == "Dataset") change.dataset_ids.erase(name.name());
  }
  for (const auto& resource : request.upserts()) {
    const std::string kind = config::KindOf(resource);
    if (kind.empty()) return absl::InvalidArgumentError("a resource without a kind");
    (*after)[{kind, resource.metadata().name()}] = resource;
    change.upserts.push_back(resource);
  }
  // The law: signed by the policy keys, one revision after the other, and it must be what the catalog will say.
  std::optional<config::Bundle> bundle = bundle_;
  if (request.has_bundle()) {
    change.bundle = rpc::FromProto(request.bundle());
    if (change.root_sha256.empty()) {
      resource::v1::PolicyBundle first;
      if (!first.ParseFromString(change.bundle->payload))
        return absl::InvalidArgumentError("the policy bundle cannot be read");
      change.root_sha256 = std::string(crypto::Sha256(first.root()).view());
    }
    BW_RETURN_IF_ERROR(CheckRoots(request, &change, missing, signatures));
    BW_ASSIGN_OR_RETURN(bundle, OpenOrPending(*change.bundle, change.root_sha256, missing, signatures));
    BW_RETURN_IF_ERROR(CheckIssued(bundle->message, clock_->Now()));
    const uint64_t current = bundle_.has_value() ? bundle_->world.revision : 0;
    // More than one further only above laws that agents have and this coordinator, back from a backup, does not know.
    const uint64_t installed = InstalledRevision();
    if (bundle->world.revision <= current || bundle->world.revision > std::max(current, installed) + 1) {
      return absl::AbortedError(absl::StrCat("the bundle is revision ", bundle->world.revision, ", the next one is ",
                                             std::max(current, installed) + 1));
    }
    if (bundle->world.trust_domain != config_.identities.trust_domain) {
      return absl::InvalidArgumentError(absl::StrCat("the bundle is for trust domain ", bundle->world.trust_domain,
                                                     ", this is ", config_.identities.trust_domain));
    }
    if (!absl::c_linear_search(bundle->world.grant_keys, grant_key_->public_key())) {
      return absl::InvalidArgumentError("the bundle does not name this coordinator's grant key");
    }
    if (!bundle->world.timestamp_keys.empty() &&
        !absl::c_linear_search(bundle->world.timestamp_keys, timestamp_key_->public_key())) {
      return absl::InvalidArgumentError("the bundle does not name this coordinator's timestamp key");
    }
    BW_RETURN_IF_ERROR(CheckEnforced(bundle->resources));
    change.bundle_revision = bundle->world.revision;
  }
  const config::TimeZones zones = bundle.has_value() ? bundle->world.time_zones : config::TimeZones{};
  BW_RETURN_IF_ERROR(
      config::Validate(*after, {}, clock_->Now(), zones, {change.deletes.begin(), change.deletes.end()}));
  if (bundle_.has_value()) {
    std::vector<config::Classification> in_force;
    for (const auto& [name, id] : state_.dataset_ids) {
      auto known = classifications_.find(id);
      if (known != classifications_.end()) in_force.push_back(known->second);
    }
    BW_RETURN_IF_ERROR(config::CheckSteps(bundle_->world, in_force, *after, {}, clock_->Now()));
  }
  if (!SameCatalog(LawOf(*after), bundle.has_value() ? LawOf(bundle->resources) : config::Catalog{})) {
    return absl::InvalidArgumentError(
        "regions, sites and sovereignty policies change only with a signed policy bundle that holds them");
  }

  for (const auto& message : request.classifications()) {
    crypto::Envelope envelope = rpc::FromProto(message);
    if (!bundle.has_value()) return absl::InvalidArgumentError("a classification needs a policy bundle first");
    auto opened = config::OpenClassification(envelope, bundle->world);
    if (Unsigned(envelope, signatures)) {
      opened = config::ReadKeptClassification(envelope);
    } else if (absl::IsPermissionDenied(opened.status())) {
      opened = config::OpenPendingClassification(envelope, bundle->world);
      if (opened.ok())
        AddMissing("a classification", envelope, bundle->world.root_keys, bundle->world.root_threshold, missing);
    }
    if (!opened.ok()) return opened.status();
    const config::Classification& c = *opened;
    auto stored = state_.classifications.find(c.dataset_id);
    const bool said_again = stored != state_.classifications.end() && stored->second.payload == envelope.payload;
    auto known = classifications_.find(c.dataset_id);
    if (known != classifications_.end() && c.revision <= known->second.revision && !said_again) {
      return absl::AbortedError(
          absl::StrCat("the classification of ", c.dataset, " is not newer than revision ", known->second.revision));
    }
    if (after->count({"Dataset", c.dataset}) == 0) {
      return absl::InvalidArgumentError(absl::StrCat("a classification of ", c.dataset, ", which is not declared"));
    }
    auto named = change.dataset_ids.find(c.dataset);
    if (named != change.dataset_ids.end() && named->second != c.dataset_id) {
      return absl::InvalidArgumentError(
          absl::StrCat("dataset ", c.dataset, " has another id; delete it before declaring it anew"));
    }
    if (known != classifications_.end()) {
      const config::Classification& old = known->second;
      if (old.dataset != c.dataset) {
        return absl::InvalidArgumentError(
            absl::StrCat("the id of the classification of ", c.dataset, " belongs to ", old.dataset));
      }
      if (!said_again) {
        absl::Status may = config::MayReplace(old, c, bundle->world);
        if (absl::IsPermissionDenied(may)) return may;
      }
      const bool moved = old.home_site != c.home_site || old.family != c.family;
      if (c.epoch < old.epoch || (moved && c.epoch == old.epoch)) {
        return absl::InvalidArgumentError(
            absl::StrCat("the classification of ", c.dataset, " moves its home without a new epoch"));
      }
    }
    change.dataset_ids[c.dataset] = c.dataset_id;
    change.classifications.emplace_back(c.dataset_id, std::move(envelope));
  }
  for (const auto& [key, resource] : *after) {
    if (key.first != "Dataset") continue;
    auto id = change.dataset_ids.find(key.second);
    const crypto::Envelope* record = nullptr;
    bool waits = false;  // for signatures, with the change
    if (id != change.dataset_ids.end()) {
      auto stored = state_.classifications.find(id->second);
      if (stored != state_.classifications.end()) record = &stored->second;
      for (const auto& [changed, envelope] : change.classifications) {
        if (changed != id->second) continue;
        record = &envelope;
        waits = !missing->empty();
      }
    }
    if (record == nullptr || !bundle.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("dataset ", key.second, " comes without a signed classification"));
    }
    auto c = Unsigned(*record, signatures) ? config::ReadKeptClassification(*record)
             : waits                       ? config::OpenPendingClassification(*record, bundle->world)
                                           : config::OpenClassification(*record, bundle->world);
    if (!c.ok()) return Annotate(c.status(), absl::StrCat("dataset ", key.second));
    BW_RETURN_IF_ERROR(CheckClassified(resource, *c));
  }
  if (bundle.has_value()) BW_RETURN_IF_ERROR(CheckExpected(request, bundle->world, *after));
  return change;
}

uint64_t Core::InstalledRevision() const {
  const uint64_t current = bundle_.has_value() ? bundle_->world.revision : 0;
  uint64_t installed = 0;
  for (const auto& [site, agent] : state_.agents) {
    if (!Approved(site)) continue;
    // What an agent says is bounded, or one that lies would use up the numbers.
    installed = std::max(installed, std::min(agent.policy_revision, current + config::kMaxRevisionStep - 1));
  }
  return installed;
}

// Agents whose site is gone or lies in another region now.
void Core::DropForeignSessions() {
  for (const auto& [site, session] : sessions_) {
    absl::Status status = CheckSite(session->peer().id);
    if (!status.ok()) session->Close(status);
  }
}

bool Core::Unsigned(const crypto::Envelope& envelope, Signatures signatures) {
  return signatures == Signatures::kToCome && envelope.signatures.empty();
}

absl::StatusOr<control::v1::ApplyResponse> Core::Apply(const std::string& who, const control::v1::ApplyRequest& request,
                                                       Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  const std::string id = PendingId(request);
  const bool completes = state_.pending.has_value() && PendingId(state_.pending->request) == id;
  // What waits is bound to the law that it changes, not to whatever else was applied since.
  if (!completes && request.expected_generation() != state_.generation) {
    return absl::AbortedError("somebody else applied a change meanwhile; read again and retry");
  }
  control::v1::ApplyRequest merged = request;
  if (completes) MergeSignatures(state_.pending->request, &merged);
  config::Catalog after;
  std::string missing;
  BW_ASSIGN_OR_RETURN(Change change,
                      CheckApply(merged, &after, &missing, dry == nullptr ? Signatures::kNeeded : Signatures::kToCome));
  BW_RETURN_IF_ERROR(CheckMayApply(who, merged, after));
  if (missing.empty()) missing = NeedsSecond(who, change, after, completes);
  control::v1::ApplyResponse response;
  if (dry != nullptr) {
    if (!missing.empty()) BW_RETURN_IF_ERROR(MayWait(completes));
    RehearseChange(change, missing, dry);
    return response;
  }
  if (!missing.empty()) {
    BW_RETURN_IF_ERROR(KeepPending(who, merged, completes));
    response.set_generation(state_.generation);
    response.set_policy_revision(bundle_.has_value() ? bundle_->world.revision : 0);
    *response.mutable_pending() = PendingView();
    return response;
  }
  change.drop_pending = completes || (state_.pending.has_value() && change.bundle.has_value());
  if (!change.bundle.has_value() && change.classifications.empty() && SameCatalog(after, state_.resources)) {
    response.set_generation(state_.generation);  // nothing new
    response.set_policy_revision(bundle_.has_value() ? bundle_->world.revision : 0);
    return response;
  }
  const resource::v1::PolicyBundle* const law = bundle_.has_value() ? &bundle_->message : nullptr;
  const std::string names = Summary(change, law);
  for (const std::string& detail : ChangeRecords(who, change, state_.resources, law)) {
    BW_RETURN_IF_ERROR(Audit("resources-changed", absl::StrCat("generation/", change.generation), detail));
  }
  change.by = who;
  change.summary = names.substr(0, kMaxSummary);
  change.at = clock_->Now();
  BW_RETURN_IF_ERROR(catalog_->Apply(change));
  if (change.drop_pending) {
    if (!completes) {
      response.set_outdated_by(state_.pending->by);
      Event("policy-change-outdated", "", "", 0,
            absl::StrCat("the one of ", state_.pending->by, ": another change of the policy was applied"));
    }
    state_.pending.reset();
  }
  state_.roots = change.roots;
  state_.resources = std::move(after);
  state_.generation = change.generation;
  state_.root_sha256 = change.root_sha256;
  state_.dataset_ids = change.dataset_ids;
  std::set<DatasetId> changed;
  for (auto& [dataset, envelope] : change.classifications) {
    changed.insert(dataset);
    state_.classifications[dataset] = std::move(envelope);
  }
  if (change.bundle.has_value() || !change.classifications.empty()) {
    BW_RETURN_IF_ERROR(InstallBundle(change.bundle.has_value() ? *change.bundle : *state_.bundle));
  }
  const std::map<DatasetId, Stream> before = std::exchange(streams_, {});
  Rebuild();
  ApplyPeople();
  planner_.ResetBackoff();
  if (change.bundle.has_value()) {
    Event("policy-applied", "", "", 0, absl::StrCat("revision ", change.bundle_revision, " by ", who));
  }
  if (!names.empty()) Event("resources-changed", "", "", 0, absl::StrCat(names.substr(0, 1000), " by ", who));
  TellEnded(before);
  if (change.bundle.has_value() || !change.classifications.empty()) {
    for (auto& [site, session] : sessions_) SendPolicy(*session, change.bundle.has_value() ? nullptr : &changed);
  }
  DropForeignSessions();
  CareForTransfers();  // what the new law forbids ends now, the rest gets a grant of the new revision
  PlanOnce();
  response.set_generation(state_.generation);
  response.set_policy_revision(bundle_.has_value() ? bundle_->world.revision : 0);
  return response;
}

absl::StatusOr<control::v1::CreateJoinTokenResponse> Core::CreateJoinToken(
    const std::string& who, const control::v1::CreateJoinTokenRequest& request, Rehearsal* dry) {
  absl::Duration ttl = request.has_ttl() ? absl::Seconds(request.ttl().seconds()) : kDefaultTokenLife;
  if (ttl <= absl::ZeroDuration() || ttl > kMaxTokenLife)
    return absl::InvalidArgumentError("a join token lives from 1s to 7d");
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(CheckSite(request.site()));
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat("one agent can join as site ", request.site(), " within ", FormatAge(ttl)));
    return control::v1::CreateJoinTokenResponse();
  }
  const std::string token = absl::WebSafeBase64Escape(random_->Bytes(32));
  const absl::Time expires = clock_->Now() + ttl;
  BW_RETURN_IF_ERROR(
      Audit("join-token-created", absl::StrCat("site/", request.site()), audit::Detail().Text("by", who)));
  BW_RETURN_IF_ERROR(catalog_->PutToken(std::string(crypto::Sha256(token).view()), request.site(), expires));
  control::v1::CreateJoinTokenResponse response;
  response.set_token(token);
  rpc::ToProto(expires, response.mutable_expires());
  return response;
}

absl::StatusOr<control::v1::PinResponse> Core::Pin(const std::string& who, const control::v1::PinRequest& request,
                                                   Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  const Stream* stream = FindStream(request.dataset());
  if (stream == nullptr) return NoDataset(request.dataset());
  control::v1::PinResponse response;
  const auto& replicas = state_.replicas[stream->id];
  for (const Wanted& wanted : plan_.wanted) {
    if (wanted.dataset != stream->id || wanted.site == stream->home_site) continue;
    if (!request.site().empty() && wanted.site != request.site()) continue;
    auto replica = replicas.find(wanted.site);
    const bool holds = replica != replicas.end() && replica->second.versions.count(request.number()) != 0;
    if (request.number() != 0 && !holds) {
      if (request.site().empty()) continue;
      return absl::NotFoundError(absl::StrCat("site ", request.site(), " does not hold version ", request.number(),
                                              " of ", request.dataset()));
    }
    response.add_sites(wanted.site);
  }
  if (response.sites_size() == 0) {
    return absl::NotFoundError(
        request.site().empty() ? absl::StrCat("no replica holds version ", request.number(), " of ", request.dataset())
                               : absl::StrCat("site ", request.site(), " has no replica of ", request.dataset()));
  }
  if (dry != nullptr) {
    for (const std::string& site : response.sites()) dry->effects.push_back(PinEffect(request, site));
    return response;
  }
  BW_RETURN_IF_ERROR(Audit("replicas-pinned", absl::StrCat(stream->name, "/", request.number()),
                           audit::Detail().Text("by", who).Text("site", request.site())));
  std::vector<std::pair<DatasetId, std::string>> superseded;  // for every replica: single sites' pins give way
  for (const auto& [key, number] : state_.pins) {
    if (key.first == stream->id && !key.second.empty() && request.site().empty()) superseded.push_back(key);
  }
  const std::pair<DatasetId, std::string> own{stream->id, request.site()};
  // A site is released from a pin of all replicas by a pin of its own, to the newest.
  const bool everywhere = state_.pins.count({stream->id, ""}) != 0;
  if (request.number() == 0 && (request.site().empty() || !everywhere)) {
    superseded.push_back(own);
  } else {
    BW_RETURN_IF_ERROR(catalog_->PutPin(own.first, own.second, request.number()));
    state_.pins[own] = request.number();
  }
  for (const auto& key : superseded) {
    BW_RETURN_IF_ERROR(catalog_->RemovePin(key.first, key.second));
    state_.pins.erase(key);
  }
  Event(request.number() == 0 ? "replicas-released" : "replicas-rolled-back", request.site(), stream->name,
        request.number(), absl::StrCat("by ", who));
  PushAssignments();
  return response;
}

absl::StatusOr<std::vector<control::v1::Event>> Core::Events(const control::v1::EventsRequest& request) {
  if (request.after() == 0 && request.limit() != 0)
    return catalog_->NewestEvents(std::min(request.limit(), kMaxEvents));
  return catalog_->Events(request.after(), request.limit() == 0 ? kMaxEvents : std::min(request.limit(), kMaxEvents));
}

}  // namespace bailiwick::coordinator
