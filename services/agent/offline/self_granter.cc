#include "services/agent/offline/self_granter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/identity/spiffe.h"
#include "common/policy/evaluator.h"
#include "common/policy/offline.h"
#include "common/rpc/audit.h"
#include "common/rpc/codec.h"

namespace bailiwick::agent {
namespace {

constexpr absl::Duration kBackdate = absl::Seconds(20);  // for clocks that run a little behind

// Both ends as the signed registry has them.
struct Ends {
  const policy::Site *from = nullptr, *to = nullptr;
};

absl::StatusOr<Ends> FindEnds(const policy::World& world, const std::string& self, const std::string& destination) {
  Ends ends;
  for (const auto& [uri, site] : {std::pair(self, &ends.from), std::pair(destination, &ends.to)}) {
    BW_ASSIGN_OR_RETURN(identity::SpiffeId id, identity::ParseSpiffeId(uri));
    auto known = world.sites.find(id.site);
    if (known == world.sites.end()) {
      return absl::PermissionDeniedError(absl::StrCat("site ", id.site, " is not in the policy here"));
    }
    *site = &known->second;
  }
  return ends;
}

}  // namespace

void SelfGranter::SetConnected(bool connected) {
  absl::MutexLock lock(&mutex_);
  if (connected_ && !connected) away_from_ = env_.clock->BootTime();
  connected_ = connected;
}

absl::Duration SelfGranter::away_for() const {
  absl::MutexLock lock(&mutex_);
  return connected_ ? absl::ZeroDuration() : env_.clock->BootTime() - away_from_;
}

bool SelfGranter::away() const { return away_for() >= kAwayAfter; }

absl::Time SelfGranter::Until(const std::string& destination_site) const {
  auto law = env_.law->current();
  auto self = identity::ParseSpiffeId(env_.self());
  if (law == nullptr || !self.ok() || !env_.law->CheckFresh().permitted) return absl::InfinitePast();
  const auto& sites = law->world.sites;
  auto from = sites.find(self->site), to = sites.find(destination_site);
  if (from == sites.end() || to == sites.end()) return absl::InfinitePast();
  const auto limit = policy::SelfGrantLimit(law->world, from->second.region, to->second.region);
  const absl::Time called = env_.law->called_current();
  if (!limit.has_value() || called == absl::InfinitePast()) return absl::InfinitePast();
  absl::Time until = std::min(called + limit->max_staleness, law->world.expires);
  if (!law->world.timestamp_keys.empty()) until = std::min(until, env_.law->vouched_until());
  return until;
}

absl::StatusOr<crypto::Envelope> SelfGranter::Grant(const Flow& flow) const {
  if (!away()) return absl::FailedPreconditionError("the coordinator is in reach: it grants, not this site");
  const policy::GrantDecision fresh = env_.law->CheckFresh();
  if (!fresh.permitted) return absl::PermissionDeniedError(fresh.message);
  auto law = env_.law->current();
  const store::VersionRecord& record = flow.version.record;
  const absl::Time now = env_.law->clock().Now();
  const absl::Time called = env_.law->called_current();
  BW_ASSIGN_OR_RETURN(Ends ends, FindEnds(law->world, env_.self(), flow.destination));
  const policy::SelfGrantRefusal refusal =
      policy::CheckSelfGrant(law->world, ends.from->region, ends.to->region, called, now);
  if (!refusal.code.empty()) return absl::PermissionDeniedError(refusal.message);
  BW_ASSIGN_OR_RETURN(config::Classification known, law->Classify(record.dataset_id, record.dataset));
  const policy::Decision decision = policy::EvaluateReplication(
      law->world, {known.labels, ends.from->name, ends.to->name, flow.purpose, known.home_site}, now);
  if (!decision.permitted) return absl::PermissionDeniedError(decision.sentence);
  policy::Grant grant;
  grant.grant_id = env_.random->Bytes(16);
  grant.transfer_id = flow.transfer_id;
  grant.dataset_id = record.dataset_id;
  grant.dataset = record.dataset;
  grant.version = flow.version.identity;
  grant.manifest_root = record.manifest_root;
  grant.source = env_.self();
  grant.destination = flow.destination;
  grant.source_region = ends.from->region;
  grant.destination_region = ends.to->region;
  grant.action = policy::ActionName(policy::Action::kTransfer);
  grant.purpose = flow.purpose;
  grant.policy_revision = law->world.revision;
  grant.policy_digest = law->world.digest;
  grant.not_before = now - kBackdate;
  grant.not_after = now + kGrantLife;
  const std::string detail = rpc::GrantDetail(grant)
                                 .Text("rule", decision.rule)
                                 .Text("basis", decision.basis)
                                 .Number("policyAgeSeconds", absl::ToInt64Seconds(now - called));
  BW_RETURN_IF_ERROR(
      env_.audit->Append("self-grant-issued", absl::StrCat(grant.dataset, "/", grant.transfer_id), detail).status());
  return crypto::SignEnvelope(crypto::kSelfGrantType, rpc::EncodeGrant(grant), *env_.key);
}

}  // namespace bailiwick::agent
