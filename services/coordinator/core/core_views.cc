// What admins see: from the same data that plans.
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "common/identity/certificates.h"
#include "common/rpc/codec.h"
#include "services/coordinator/core/conflict.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

void SetDuration(absl::Duration d, google::protobuf::Duration* out) { out->set_seconds(absl::ToInt64Seconds(d)); }

}  // namespace

control::v1::GetInfoResponse Core::Info() {
  absl::MutexLock lock(&mutex_);
  control::v1::GetInfoResponse info;
  info.set_build(std::string(kBuildVersion));
  info.set_trust_domain(config_.identities.trust_domain);
  if (bundle_.has_value()) {
    info.set_policy_revision(bundle_->world.revision);
    info.set_policy_digest(bundle_->world.digest);
    if (bundle_->world.expires < absl::InfiniteFuture()) {
      rpc::ToProto(bundle_->world.expires, info.mutable_policy_expires());
    }
  }
  info.set_grant_ed25519(grant_key_->public_key());
  info.set_timestamp_ed25519(timestamp_key_->public_key());
  if (state_.pending.has_value()) info.set_pending_id(PendingId(state_.pending->request));
  info.set_generation(state_.generation);
  info.set_join_address(config_.join_address);
  rpc::ToProto(clock_->Now(), info.mutable_now());
  info.set_protocol_min(kProtocolMin);
  info.set_protocol_max(kProtocolMax);
  info.set_ca_sha256(identity::CertificateSha256(config_.identities.authority->Signer()));
  return info;
}

absl::StatusOr<control::v1::ListResourcesResponse> Core::Resources(const control::v1::ListResourcesRequest& request) {
  absl::MutexLock lock(&mutex_);
  control::v1::ListResourcesResponse response;
  response.set_generation(state_.generation);
  for (const auto& [key, resource] : state_.resources) {
    if (!request.kind().empty() && key.first != request.kind()) continue;
    if (!request.name().empty() && key.second != request.name()) continue;
    *response.add_resources() = resource;
  }
  if (!request.name().empty() && response.resources_size() == 0) {
    return absl::NotFoundError(absl::StrCat(request.kind(), " ", request.name(), " does not exist",
                                            DidYouMean(request.kind(), request.name())));
  }
  return response;
}

control::v1::ListSitesResponse Core::Sites() {
  absl::MutexLock lock(&mutex_);
  control::v1::ListSitesResponse response;
  for (const auto& [key, resource] : state_.resources) {
    if (key.first != "Site") continue;
    auto* site = response.add_sites();
    site->set_name(key.second);
    site->set_region(resource.site().region());
    for (const auto& [k, v] : resource.metadata().labels()) (*site->mutable_labels())[k] = v;
    site->set_connected(sessions_.count(key.second) != 0);
    site->set_approved(Approved(key.second) && !Awaits(key.second));
    auto agent = state_.agents.find(key.second);
    if (agent == state_.agents.end()) continue;
    const AgentRow& a = agent->second;
    if (a.last_seen > absl::UnixEpoch()) rpc::ToProto(a.last_seen, site->mutable_last_seen());
    site->set_agent(a.spiffe_id);
    site->set_enrolment_ed25519(a.enrolment_key);
    if (!a.newcomer_key.empty()) {
      site->set_newcomer_ed25519(a.newcomer_key);
      rpc::ToProto(a.newcomer_joined, site->mutable_newcomer_joined());
    }
    site->set_build(a.build);
    site->set_endpoint(a.endpoint);
    site->set_admin_endpoint(a.admin_endpoint);
    site->set_policy_revision(a.policy_revision);
    site->set_policy_error(a.policy_error);
    if (auto said = policy_said_.find(key.second); said != policy_said_.end()) {
      if (said->second.has_vouched_until()) *site->mutable_policy_vouched_until() = said->second.vouched_until();
      site->set_policy_stale(said->second.stale());
    }
    if (auto free = free_bytes_.find(key.second); free != free_bytes_.end()) site->set_free_bytes(free->second);
  }
  return response;
}

control::v1::ListDatasetsResponse Core::Datasets() {
  absl::MutexLock lock(&mutex_);
  control::v1::ListDatasetsResponse response;
  std::map<std::string, const Stream*> by_name;
  for (const auto& [id, stream] : streams_) by_name[stream.name] = &stream;
  std::map<DatasetId, std::vector<const Wanted*>> wanted_of;
  for (const Wanted& wanted : plan_.wanted) wanted_of[wanted.dataset].push_back(&wanted);
  for (const auto& [name, stream] : by_name) {
    auto* d = response.add_datasets();
    d->set_name(name);
    d->set_dataset_id(stream->id.str());
    d->set_home_site(stream->home_site);
    d->set_family(stream->family);
    if (auto versions = state_.versions.find(stream->id);
        versions != state_.versions.end() && !versions->second.empty()) {
      const store::VersionRecord& newest = versions->second.rbegin()->second.record;
      d->set_newest(newest.number);
      d->set_versions(versions->second.size());
      d->set_logical_bytes(newest.logical_bytes);
      d->set_files(newest.files);
      rpc::ToProto(newest.committed_at, d->mutable_committed_at());
    }
    for (const Wanted* wanted : wanted_of[stream->id]) {
      d->set_replicas_wanted(d->replicas_wanted() + 1);
      if (wanted->reason.satisfied) d->set_replicas_current(d->replicas_current() + 1);
      if (wanted->rpo_breached) d->set_replicas_over_rpo(d->replicas_over_rpo() + 1);
    }
    if (auto replicas = state_.replicas.find(stream->id); replicas != state_.replicas.end()) {
      auto home = replicas->second.find(stream->home_site);
      if (home != replicas->second.end()) {
        const ReplicaRow& row = home->second;
        d->set_source_problem(row.source_problem.empty()
                                  ? HomeDamage(*stream, row, absl::StrCat("at ", stream->home_site))
                                  : row.source_problem);
      }
    }
  }
  return response;
}

bool Core::Retired(DatasetId id, const std::string& name) const {
  const size_t at = name.rfind('@');
  if (at == std::string::npos) return false;
  auto family = state_.dataset_ids.find(name.substr(0, at));
  return family != state_.dataset_ids.end() && config::StreamId(family->second, name.substr(at + 1)) == id;
}

absl::StatusOr<control::v1::ListVersionsResponse> Core::Versions(const control::v1::ListVersionsRequest& request) {
  absl::MutexLock lock(&mutex_);
  const std::string& dataset = request.dataset();
  const Stream* stream = FindStream(dataset);
  control::v1::ListVersionsResponse response;
  auto versions = state_.versions.end();
  if (stream != nullptr) {
    versions = state_.versions.find(stream->id);
    if (versions == state_.versions.end()) return response;
  } else {
    // A stream whose site left its family: what it committed is still listed.
    versions = std::find_if(state_.versions.begin(), state_.versions.end(),
                            [&](const auto& of) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                              return !of.second.empty() && of.second.rbegin()->second.record.dataset == dataset &&
                                     Retired(of.first, dataset);
                            });
    if (versions == state_.versions.end()) return NoDataset(dataset);
  }
  response.set_total(versions->second.size());
  const auto& replicas = state_.replicas[versions->first];
  auto from = request.before() == 0 ? versions->second.end() : versions->second.lower_bound(request.before());
  size_t bytes = 0;
  for (auto it = std::make_reverse_iterator(from); it != versions->second.rend(); ++it) {
    const VersionRow& row = it->second;
    if (request.limit() != 0 && (response.versions_size() >= int64_t{request.limit()} || bytes >= kPageBytes)) {
      response.set_more(true);
      break;
    }
    auto* v = response.add_versions();
    v->set_number(row.record.number);
    v->set_identity(std::string(row.identity.view()));
    v->set_manifest_root(std::string(row.record.manifest_root.view()));
    v->set_files(row.record.files);
    v->set_entries(row.record.entries);
    v->set_logical_bytes(row.record.logical_bytes);
    rpc::ToProto(row.record.committed_at, v->mutable_committed_at());
    v->set_message(row.record.message);
    for (const auto& [site, replica] : replicas) {
      if (replica.damaged.count(row.record.number) != 0) continue;
      if (replica.versions.count(row.record.number) + replica.partial.count(row.record.number) != 0) v->add_sites(site);
    }
    bytes += v->ByteSizeLong();
  }
  return response;
}

absl::StatusOr<control::v1::ListReplicasResponse> Core::Replicas(const std::string& dataset, const std::string& site) {
  absl::MutexLock lock(&mutex_);
  if (!dataset.empty() && FindStream(dataset) == nullptr) return NoDataset(dataset);
  if (!site.empty()) BW_RETURN_IF_ERROR(CheckSite(site));
  control::v1::ListReplicasResponse response;
  std::map<std::string, const Stream*> by_name;
  for (const auto& [id, stream] : streams_) by_name[stream.name] = &stream;
  std::map<DatasetId, std::map<std::string, const Wanted*>> wanted_of;
  for (const Wanted& wanted : plan_.wanted) wanted_of[wanted.dataset].emplace(wanted.site, &wanted);
  for (const auto& [name, stream] : by_name) {
    if (!dataset.empty() && name != dataset) continue;
    const auto versions = state_.versions.find(stream->id);
    const VersionNumber newest =
        versions == state_.versions.end() || versions->second.empty() ? 0 : versions->second.rbegin()->first;
    std::set<std::string> sites = {stream->home_site};
    const auto& wanted_here = wanted_of[stream->id];
    for (const auto& [s, wanted] : wanted_here) sites.insert(s);
    const auto& replicas = state_.replicas[stream->id];
    for (const auto& [s, row] : replicas) {
      if (!row.versions.empty() || !row.broken.empty()) sites.insert(s);
    }
    for (const std::string& s : sites) {
      if (!site.empty() && s != site) continue;
      auto* r = response.add_replicas();
      r->set_dataset(name);
      r->set_site(s);
      r->set_newest(newest);
      const bool home = s == stream->home_site;
      r->set_role(home ? "home" : "replica");
      if (auto row = replicas.find(s); row != replicas.end()) {
        const std::set<VersionNumber> whole = Whole(row->second);
        for (VersionNumber n : whole) r->add_versions(n);
        if (!whole.empty()) r->set_version(*whole.rbegin());
        r->set_current(row->second.current);
        for (VersionNumber n : row->second.broken) r->add_damaged(n);
        if (home) {
          for (VersionNumber n : row->second.dropped) r->add_dropped(n);
          for (const auto& [n, base] : row->second.partial) r->add_partial(n);
          r->set_reason(HomeReason(*stream, row->second));
        }
      }
      auto pin = state_.pins.find({stream->id, s});
      if (pin == state_.pins.end()) pin = state_.pins.find({stream->id, ""});
      if (!home && pin != state_.pins.end()) r->set_pinned(pin->second);
      if (home) {
        const auto row = replicas.find(s);
        r->set_state(row != replicas.end() && TellsConflict(row->second.source_problem) ? "conflict"
                     : sessions_.count(s) == 0                                          ? "offline"
                     : newest == 0                                                      ? "empty"
                                                                                        : "current");
        continue;
      }
      const auto found = wanted_here.find(s);
      const Wanted* wanted = found == wanted_here.end() ? nullptr : found->second;
      if (wanted != nullptr) {
        SetDuration(wanted->lag, r->mutable_lag());
        if (wanted->rpo != absl::InfiniteDuration()) SetDuration(wanted->rpo, r->mutable_rpo());
        r->set_rpo_breached(wanted->rpo_breached);
        auto alarm = state_.rpo_alarms.find({stream->id, s});
        if (alarm != state_.rpo_alarms.end()) rpc::ToProto(alarm->second.since, r->mutable_rpo_breached_since());
      }
      const EvictionStatus* eviction = FindEviction(stream->id, s);
      const bool in_use = wanted != nullptr && wanted->reason.satisfied;
      if (eviction != nullptr && !(eviction->overdue && in_use)) {  // some versions past their time leave it in use
        r->set_state(eviction->state == "unconfirmed" || eviction->state == "erasing" ? eviction->state : "fenced");
        r->set_reason(eviction->sentence);
        continue;
      }
      if (wanted == nullptr) {
        r->set_state("unwanted");
        r->set_reason("no ReplicationPolicy asks for it any more; it is kept, not maintained");
        continue;
      }
      const std::string& code = wanted->reason.code;
      r->set_state(wanted->reason.satisfied                        ? "current"
                   : code == "denied" || code == "past-retention"  ? "denied"
                   : code == "offline" || code == "revoked"        ? "offline"
                   : code == "transferring" || code == "starting"  ? "transferring"
                   : code == "no-version"                          ? "empty"
                   : code == "waiting" || code == "policy-pending" ? "behind"
                                                                   : "blocked");
      auto row = replicas.find(s);
      r->set_materialize(wanted->materialize && (row == replicas.end() || !row->second.never_laid_out));
      const std::string problem = row == replicas.end() ? "" : row->second.problem;
      r->set_reason(wanted->reason.satisfied ? problem : wanted->reason.sentence);
    }
  }
  return response;
}

control::v1::ListTransfersResponse Core::Transfers(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  control::v1::ListTransfersResponse response;
  for (const auto& view : ended_) {
    if (id.empty() || view.transfer_id() == id) *response.add_transfers() = view;
  }
  for (const auto& [transfer_id, transfer] : transfers_) {
    if (!id.empty() && transfer_id != id) continue;
    *response.add_transfers() = transfer.view;
    AddPace(transfer, response.mutable_transfers(response.transfers_size() - 1));
  }
  return response;
}

absl::StatusOr<control::v1::WhyResponse> Core::Why(const std::string& dataset, const std::string& site) {
  absl::MutexLock lock(&mutex_);
  const Stream* stream = FindStream(dataset);
  if (stream == nullptr) return NoDataset(dataset);
  BW_RETURN_IF_ERROR(CheckSite(site));
  const Wanted* wanted = FindWanted(stream->id, site);
  Reason reason = wanted != nullptr ? wanted->reason : NotSelected(Input(), dataset, site, plan_);
  const EvictionStatus* eviction = FindEviction(stream->id, site);
  if (eviction != nullptr && !(eviction->overdue && reason.satisfied)) {
    reason = {eviction->overdue ? "past-retention" : "denied", eviction->sentence, eviction->rule, reason.version,
              false};
  }
  control::v1::WhyResponse response;
  response.set_satisfied(reason.satisfied);
  response.set_code(reason.code);
  response.set_sentence(reason.sentence);
  response.set_rule(reason.rule);
  response.set_version(reason.version);
  if (wanted != nullptr) {
    SetDuration(wanted->lag, response.mutable_lag());
    if (wanted->rpo != absl::InfiniteDuration()) SetDuration(wanted->rpo, response.mutable_rpo());
    response.set_rpo_breached(wanted->rpo_breached);
  }
  return response;
}

}  // namespace bailiwick::coordinator
