#include "services/coordinator/api/coordinator_metrics.h"

#include <map>
#include <tuple>

#include "common/base/units.h"
#include "common/identity/certificates.h"
#include "common/rpc/codec.h"
#include "common/telemetry/process_metrics.h"

namespace bailiwick::coordinator {
namespace {

using telemetry::Exposition;

double Seconds(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + static_cast<double>(time.nanos()) / 1e9;
}

void CollectSites(Core& core, Exposition* out) {
  const control::v1::ListSitesResponse sites = core.Sites();
  for (const auto& site : sites.sites()) {
    out->Gauge("bailiwick_coordinator_site_connected", "1 while the site's agent has a session.",
               {{"site", site.name()}, {"region", site.region()}}, site.connected() ? 1 : 0);
    if (site.has_last_seen()) {
      out->Gauge("bailiwick_coordinator_site_last_seen_timestamp_seconds", "When the site's agent was heard last.",
                 {{"site", site.name()}}, Seconds(site.last_seen()));
    }
    if (site.agent().empty()) continue;
    out->Gauge("bailiwick_coordinator_site_policy_revision", "Revision of the policy that the site has installed.",
               {{"site", site.name()}}, static_cast<double>(site.policy_revision()));
    out->Gauge("bailiwick_coordinator_site_policy_stale",
               "1 while nothing flows at the site, by its own word: its policy is "
               "too old or its clock wrong.",
               {{"site", site.name()}}, site.policy_stale().empty() ? 0 : 1);
    if (site.has_free_bytes()) {
      out->Gauge("bailiwick_coordinator_site_free_bytes", "Free space at the site, as its agent said last.",
                 {{"site", site.name()}}, static_cast<double>(site.free_bytes()));
    }
  }
  const control::v1::ListAgentsResponse agents = core.Agents();
  for (const auto& agent : agents.agents()) {
    if (agent.has_revoked() || !agent.has_certificate_expires()) continue;
    out->Gauge("bailiwick_coordinator_site_certificate_expiry_timestamp_seconds",
               "When the certificate of the site's agent ends.", {{"site", agent.site()}},
               Seconds(agent.certificate_expires()));
    out->Gauge("bailiwick_coordinator_site_recoveries_left",
               "How often the site may come back by its key after a long sleep.", {{"site", agent.site()}},
               agent.recoveries_left());
  }
}

void CollectDatasets(Core& core, Exposition* out) {
  const control::v1::ListDatasetsResponse datasets = core.Datasets();
  for (const auto& dataset : datasets.datasets()) {
    const telemetry::Labels labels = {{"dataset", dataset.name()}};
    out->Gauge("bailiwick_coordinator_dataset_versions", "Versions that a site holds, and of the others the newest.",
               labels, static_cast<double>(dataset.versions()));
    out->Gauge("bailiwick_coordinator_dataset_newest_version", "Number of the newest version, 0 without one.", labels,
               static_cast<double>(dataset.newest()));
    out->Gauge("bailiwick_coordinator_dataset_newest_version_bytes", "Size of the newest version.", labels,
               static_cast<double>(dataset.logical_bytes()));
    if (dataset.has_committed_at()) {
      out->Gauge("bailiwick_coordinator_dataset_committed_timestamp_seconds", "When the newest version was committed.",
                 labels, Seconds(dataset.committed_at()));
    }
    out->Gauge("bailiwick_coordinator_dataset_source_problem", "1 while commits fail or the source cannot be read.",
               labels, dataset.source_problem().empty() ? 0 : 1);
  }
}

void CollectReplicas(Core& core, Exposition* out) {
  std::map<std::string, uint64_t> states;
  for (const char* state : {"current", "behind", "transferring", "denied", "blocked", "empty", "offline", "unwanted",
                            "fenced", "erasing", "unconfirmed"}) {
    states[state] = 0;
  }
  auto replicas = core.Replicas("", "");
  if (!replicas.ok()) return;
  for (const auto& replica : replicas->replicas()) {
    ++states[replica.state()];
    if (replica.role() == "home" || replica.state() == "unwanted") continue;
    const telemetry::Labels labels = {{"dataset", replica.dataset()}, {"site", replica.site()}};
    out->Gauge("bailiwick_coordinator_replica_lag_seconds",
               "Age of the oldest version that should be there and is not, 0 when "
               "current.",
               labels, static_cast<double>(replica.lag().seconds()));
    if (replica.has_rpo()) {
      out->Gauge("bailiwick_coordinator_replica_rpo_seconds", "The shortest RPO of the policies that want the copy.",
                 labels, static_cast<double>(replica.rpo().seconds()));
    }
    out->Gauge("bailiwick_coordinator_replica_rpo_breached", "1 while a version is missing for longer than the RPO.",
               labels, replica.rpo_breached() ? 1 : 0);
    out->Gauge("bailiwick_coordinator_replica_versions_behind",
               "How many numbers lie between the newest version there and the "
               "newest one.",
               labels, static_cast<double>(replica.newest() - std::min(replica.newest(), replica.version())));
  }
  for (const auto& [state, count] : states) {
    out->Gauge("bailiwick_coordinator_replicas", "Copies by state, homes too; the states are those of get replicas.",
               {{"state", state}}, static_cast<double>(count));
  }
}

void CollectTransfers(Core& core, Exposition* out) {
  struct Link {
    uint64_t running = 0, remaining = 0, rate = 0;
  };
  std::map<std::pair<std::string, std::string>, Link> links;
  std::map<std::string, uint64_t> limits;
  for (const char* limit : {"cap", "priority", "disk", "cpu", "link", "peer", "unknown"}) limits[limit] = 0;
  const control::v1::ListTransfersResponse transfers = core.Transfers("");
  for (const auto& transfer : transfers.transfers()) {
    const bool ended = transfer.has_ended();
    Link& link = links[{transfer.source(), transfer.destination()}];  // also of those that ended lately: shown as 0
    if (ended) continue;
    ++link.running;
    link.remaining += transfer.total_bytes() - std::min(transfer.total_bytes(), transfer.done_bytes());
    link.rate += transfer.rate_bytes();
    ++limits[transfer.limit().empty() ? "unknown" : transfer.limit()];
  }
  for (const auto& [ends, link] : links) {
    const telemetry::Labels labels = {{"source", ends.first}, {"destination", ends.second}};
    out->Gauge("bailiwick_coordinator_link_transfers_running", "Transfers that run, by link.", labels,
               static_cast<double>(link.running));
    out->Gauge("bailiwick_coordinator_link_remaining_bytes", "What the running transfers of the link still lack.",
               labels, static_cast<double>(link.remaining));
  }
  for (const auto& [limit, count] : limits) {
    out->Gauge("bailiwick_coordinator_transfers_limited", "Running transfers by what holds them back now.",
               {{"limit", limit}}, static_cast<double>(count));
  }
}

void CollectLaw(Core& core, Exposition* out) {
  const control::v1::GetInfoResponse info = core.Info();
  out->Gauge("bailiwick_coordinator_policy_revision", "Revision of the signed policy in force, 0 without one.", {},
             static_cast<double>(info.policy_revision()));
  if (info.has_policy_expires()) {
    out->Gauge("bailiwick_coordinator_policy_expiry_timestamp_seconds",
               "When the policy in force comes to its end: nothing flows from then on.", {},
               Seconds(info.policy_expires()));
  }
  control::v1::ListPoliciesRequest newest;
  newest.set_limit(1);
  if (auto policies = core.Policies(newest); policies.ok() && policies->policies_size() != 0) {
    out->Gauge("bailiwick_coordinator_policy_issued_timestamp_seconds", "When the policy in force was signed.", {},
               Seconds(policies->policies(0).issued_at()));
  }
  out->Gauge("bailiwick_coordinator_pending_changes", "Changes that wait for signatures or a second person.", {},
             info.pending_id().empty() ? 0 : 1);
  out->Gauge("bailiwick_coordinator_proposals", "Dangerous acts that wait for a second person.", {},
             core.Proposals().proposals_size());
  out->Gauge("bailiwick_coordinator_waiting_redactions", "Redaction orders that wait for signatures.", {},
             static_cast<double>(core.WaitingRedactions()));
}

void CollectAudit(const MetricSources& sources, Exposition* out) {
  out->Gauge("bailiwick_coordinator_audit_records", "Records in the coordinator's audit log.", {},
             static_cast<double>(sources.audit->size()));
  out->Gauge("bailiwick_coordinator_audit_bytes", "Size of the records in the coordinator's audit log.", {},
             static_cast<double>(sources.audit->bytes()));
  out->Gauge("bailiwick_coordinator_audit_witnessed_records",
             "Records that the newest cosigned checkpoint of the coordinator's audit log covers.", {},
             static_cast<double>(sources.audit_desk->Witnessed()));
  out->Gauge("bailiwick_coordinator_audit_disputed",
             "Sites that do not cosign the coordinator's audit log: it contradicts what they saw.", {},
             static_cast<double>(sources.audit_desk->Disputing()));
  const control::v1::ListAuditLogsResponse logs = sources.audit_desk->Logs();
  std::map<std::string, std::pair<uint64_t, uint64_t>> sites;  // entries, logs with a problem
  for (const auto& log : logs.logs()) {
    if (log.site().empty()) continue;
    sites[log.site()].first += log.size();
    sites[log.site()].second += log.problem().empty() ? 0 : 1;
  }
  for (const auto& [site, seen] : sites) {
    out->Gauge("bailiwick_coordinator_site_audit_entries",
               "Entries of the site's audit logs that were verified and lie here.", {{"site", site}},
               static_cast<double>(seen.first));
    out->Gauge("bailiwick_coordinator_site_audit_disputed", "Audit logs of the site that contradict themselves.",
               {{"site", site}}, static_cast<double>(seen.second));
  }
}

void CollectCertificates(const MetricSources& sources, Exposition* out) {
  const auto expiry = [&](const char* of, const std::string& pem) {
    auto info = identity::InspectCertificate(pem);
    if (!info.ok()) return;
    out->Gauge("bailiwick_coordinator_certificate_expiry_timestamp_seconds",
               "When the coordinator's own certificate and that of the CA which signs end.", {{"certificate", of}},
               absl::ToDoubleSeconds(info->not_after - absl::UnixEpoch()));
  };
  expiry("ca", sources.authority->Signer());
  if (auto own = os::ReadFile(sources.files, sources.certificate, kMiB); own.ok()) expiry("own", *own);
}

}  // namespace

void CollectCoordinator(const MetricSources& sources, Exposition* out) {
  telemetry::CollectProcess("coordinator", *sources.clock, out);
  CollectSites(*sources.core, out);
  CollectDatasets(*sources.core, out);
  CollectReplicas(*sources.core, out);
  CollectTransfers(*sources.core, out);
  CollectLaw(*sources.core, out);
  CollectAudit(sources, out);
  CollectCertificates(sources, out);
  if (auto free = sources.files->FreeBytes(sources.data_directory); free.ok()) {
    out->Gauge("bailiwick_coordinator_disk_free_bytes", "Free space where the data directory lies.", {},
               static_cast<double>(*free));
  }
}

}  // namespace bailiwick::coordinator
