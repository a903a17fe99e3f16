#include "common/policy/grant.h"

#include "absl/strings/str_cat.h"
#include "common/identity/spiffe.h"
#include "common/policy/offline.h"

namespace bailiwick::policy {
namespace {

GrantDecision Refuse(const char* code, std::string message, std::string rule = "") {
  GrantDecision refusal;
  refusal.code = code;
  refusal.message = std::move(message);
  refusal.rule = std::move(rule);
  return refusal;
}

std::string Name(const Grant& grant) { return absl::StrCat("the grant for ", grant.dataset); }

// The agent's site as the signed registry has it, if its identity, the registry and the grant agree on where it lies.
absl::StatusOr<const Site*> SiteOf(const World& world, const std::string& spiffe, const std::string& granted_region) {
  auto id = identity::ParseSpiffeId(spiffe);
  if (!id.ok())
    return absl::InvalidArgumentError(absl::StrCat("it names a malformed identity: ", id.status().message()));
  if (id->kind != identity::Kind::kAgent) return absl::InvalidArgumentError(absl::StrCat(spiffe, " is not an agent"));
  if (id->trust_domain != world.trust_domain) {
    return absl::InvalidArgumentError(absl::StrCat(spiffe, " is not of trust domain ", world.trust_domain));
  }
  auto site = world.sites.find(id->site);
  if (site == world.sites.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("site ", id->site, " is not in the policy at revision ", world.revision));
  }
  if (id->region != site->second.region || granted_region != site->second.region) {
    return absl::InvalidArgumentError(absl::StrCat("site ", id->site, " lies in ", site->second.region,
                                                   ", its identity says ", id->region, " and the grant ",
                                                   granted_region));
  }
  return &site->second;
}

GrantDecision CheckTimes(const GrantCheck& check) {
  const Grant& grant = *check.grant;
  if (grant.not_after <= grant.not_before || grant.not_after - grant.not_before > kMaxGrantLife) {
    return Refuse(
        "GRANT_INVALID",
        absl::StrCat(Name(grant), " lasts ", absl::FormatDuration(grant.not_after - grant.not_before),
                     "; more than nothing and at most ", absl::FormatDuration(kMaxGrantLife), " is accepted"));
  }
  if (check.now >= grant.not_after) {
    return Refuse("GRANT_EXPIRED",
                  absl::StrCat(Name(grant), " expired ", absl::FormatDuration(check.now - grant.not_after),
                               " ago; a new one is needed"));
  }
  if (check.now + kGrantSkew < grant.not_before) {
    return Refuse("GRANT_INVALID",
                  absl::StrCat(Name(grant), " is not valid for another ",
                               absl::FormatDuration(grant.not_before - check.now), "; compare the clocks"));
  }
  GrantDecision in_time;
  in_time.permitted = true;
  return in_time;
}

GrantDecision CheckPolicy(const GrantCheck& check, const Site& from, const Site& to) {
  const Grant& grant = *check.grant;
  const World& world = *check.world;
  if (grant.policy_revision > world.revision) {
    return Refuse("POLICY_STALE", absl::StrCat(Name(grant), " was made at policy revision ", grant.policy_revision,
                                               ", this agent has ", world.revision, " and must catch up first"));
  }
  if (grant.policy_revision == world.revision && grant.policy_digest != world.digest) {
    return Refuse("GRANT_INVALID",
                  absl::StrCat(Name(grant), " was made under another policy of the same revision ", world.revision));
  }
  if (grant.self_granted) {
    SelfGrantRefusal refusal = CheckSelfGrant(world, from.region, to.region, check.called_current, check.now);
    if (!refusal.code.empty()) return Refuse(refusal.code.c_str(), std::move(refusal.message));
  }
  const Decision decision =
      EvaluateReplication(world, {check.data, from.name, to.name, grant.purpose, check.home_site}, check.now);
  if (!decision.permitted) {
    return Refuse(decision.reason == Reason::kError ? "POLICY_ERROR" : "POLICY_DENIED", decision.sentence,
                  decision.rule);
  }
  return {true, "", decision.sentence, decision.rule, decision.obligations, decision.basis};
}

}  // namespace

GrantDecision CheckGrant(const GrantCheck& check) {
  if (check.world == nullptr) return Refuse("POLICY_ERROR", "no policy is installed here, which denies every transfer");
  if (check.grant == nullptr) return Refuse("GRANT_INVALID", "there is no grant");
  const Grant& grant = *check.grant;
  if (grant.action != ActionName(Action::kTransfer)) {
    return Refuse("GRANT_INVALID", absl::StrCat(Name(grant), " is for \"", grant.action, "\", not for transfer"));
  }
  if (grant.dataset_id.empty() || grant.dataset_id != check.dataset_id) {
    return Refuse("GRANT_INVALID", absl::StrCat(Name(grant), " is for another dataset"));
  }
  if (grant.version.empty() || grant.version != check.version) {
    return Refuse("GRANT_INVALID", absl::StrCat(Name(grant), " is for version ", grant.version.ShortHex(), ", not ",
                                                check.version.ShortHex()));
  }
  if (grant.manifest_root.empty() || grant.manifest_root != check.manifest_root) {
    return Refuse("GRANT_INVALID", absl::StrCat(Name(grant), " names another manifest than the signed version record"));
  }
  const std::string& own = check.self_is_source ? grant.source : grant.destination;
  const std::string& other = check.self_is_source ? grant.destination : grant.source;
  const char* role = check.self_is_source ? "source" : "destination";
  if (check.self.empty() || own != check.self) {
    return Refuse("GRANT_INVALID",
                  absl::StrCat(Name(grant), " names ", own, " as ", role, ", not this agent, ", check.self));
  }
  if (check.peer.empty() || other != check.peer) {
    return Refuse("WRONG_PEER", absl::StrCat(Name(grant), " is for ", other, ", the peer is ",
                                             check.peer.empty() ? "nobody known" : check.peer));
  }
  if (grant.source == grant.destination)
    return Refuse("GRANT_INVALID", absl::StrCat(Name(grant), " is from an agent to itself"));
  auto from = SiteOf(*check.world, grant.source, grant.source_region);
  auto to = SiteOf(*check.world, grant.destination, grant.destination_region);
  for (const auto* side : {&from, &to}) {
    if (!side->ok()) return Refuse("GRANT_INVALID", absl::StrCat(Name(grant), ": ", side->status().message()));
  }
  if (GrantDecision times = CheckTimes(check); !times.permitted) return times;
  return CheckPolicy(check, **from, **to);
}

}  // namespace bailiwick::policy
