#include "services/coordinator/planner/sourcing.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/units.h"
#include "common/policy/evaluator.h"
#include "common/policy/residence.h"
#include "services/coordinator/planner/targets.h"

namespace bailiwick::coordinator {
namespace {

std::string Since(const PlanInput& input, const PlannedSite& site) {
  if (!site.revoked.empty()) return "revoked";
  if (site.last_seen == absl::Time()) return "offline";
  return absl::StrCat("offline since ", FormatAge(std::max(input.now - site.last_seen, absl::ZeroDuration())));
}

// Why nothing can be fetched from or sent to the site; empty when it can.
std::string Unreachable(const PlanInput& input, const PlannedSite* site) {
  if (site == nullptr || !site->joined) return "not joined yet";
  if (!site->approved) return "not approved yet";
  if (!site->connected) return Since(input, *site);
  return "";
}

}  // namespace

View::View(const PlanInput& input, const PlannedDataset& dataset, const std::string& site,
           const std::set<std::string>& purposes)
    : input_(input),
      dataset_(dataset),
      name_(site),
      site_(FindSite(input, site)),
      held_(HeldAt(dataset, site)),
      newest_held_(held_.empty() ? 0 : *held_.rbegin()),
      purposes_(purposes),
      bounds_hops_(input.world != nullptr && policy::BoundsHops(*input.world, dataset.labels)),
      retention_(RetentionAt(input, dataset, site)) {
  for (const PlannedVersion& version : dataset.versions) {
    if (!Past(version, retention_)) newest_lawful_ = version.number;
  }
}

absl::Duration View::Lag(VersionNumber* oldest_missing) const {
  for (const PlannedVersion& version : dataset_.versions) {
    if (version.number <= newest_held_ || Past(version, retention_)) continue;
    *oldest_missing = version.number;
    const auto next = dataset_.next_commit.find(newest_held_);
    const absl::Time since = next == dataset_.next_commit.end() ? version.committed_at : next->second;
    const absl::Duration lawful =
        std::max(retention_, input_.now - version.committed_at);  // longer nothing may be there
    return std::clamp(input_.now - since, absl::ZeroDuration(), std::max(lawful, absl::ZeroDuration()));
  }
  return absl::ZeroDuration();
}

Reason View::NoVersion() const {
  Reason reason;
  reason.code = "no-version";
  reason.sentence =
      absl::StrCat("no version of ", dataset_.name, " exists yet; run: bailiwick dataset commit ", dataset_.name);
  if (!dataset_.source_problem.empty()) {
    absl::StrAppend(&reason.sentence, " (at ", dataset_.home_site, ": ", dataset_.source_problem, ")");
  }
  return reason;
}

Reason View::PastRetention(VersionNumber number, const std::string& from) const {
  const PlannedVersion& version = Find(number);
  const policy::Decision decision =
      Past(version, retention_)
          ? policy::EvaluateResidence(*input_.world, dataset_.labels, dataset_.home_site, name_, input_.now)
          : policy::EvaluateReplication(*input_.world, FlowOf(dataset_, from, name_, *purposes_.begin()), input_.now);
  Reason reason;
  reason.code = "past-retention";
  reason.version = number;
  reason.rule = decision.retention_rule;
  reason.sentence = absl::StrCat("version ", number, " was committed ", FormatAge(input_.now - version.committed_at),
                                 " ago, and policy ", reason.rule, " lets a version lie at ", name_, " for ",
                                 FormatAge(decision.obligations.max_retention), "; a newer one may go there");
  return reason;
}

bool View::Stale(const PlannedSite& site) const {
  return site.policy_revision < input_.policy_revision || !site.policy_stale.empty();
}

Reason View::NotFresh(const PlannedSite& site) const {
  Reason reason;
  if (site.policy_revision < input_.policy_revision) {
    reason.code = "policy-pending";
    reason.sentence =
        absl::StrCat("site ", site.name, " has not installed policy revision ", input_.policy_revision, " yet");
  } else {
    reason.code = "policy-stale";
    reason.sentence = absl::StrCat("nothing flows at site ", site.name, ": ", site.policy_stale);
  }
  return reason;
}

const PlannedVersion& View::Find(VersionNumber number) const {
  return *std::find_if(dataset_.versions.begin(), dataset_.versions.end(),
                       [&](const PlannedVersion& version) { return version.number == number; });
}

Reason View::Holds() const {
  Reason reason;
  reason.code = "current";
  reason.satisfied = true;
  reason.version = newest_held_;
  reason.sentence = absl::StrCat("holds version ", newest_held_);
  auto problem = dataset_.problems.find(name_);
  if (problem != dataset_.problems.end() && !problem->second.empty()) {
    absl::StrAppend(&reason.sentence, ", but: ", problem->second);
  }
  return reason;
}

Reason View::Destination() const {
  Reason reason;
  if (site_ == nullptr || !site_->joined) {
    reason.code = "not-joined";
    reason.sentence = absl::StrCat("site ", name_, " has not joined yet; run: bailiwick site join-token ", name_);
  } else if (!site_->approved) {
    reason.code = "not-approved";
    reason.sentence =
        site_->newcomer
            ? absl::StrCat("the machine that serves site ", name_, " is ", Since(input_, *site_),
                           ", and another joined; to let that one take its place: bailiwick site approve ", name_)
            : absl::StrCat("site ", name_, " has joined but its key is not approved; run: bailiwick site approve ",
                           name_);
  } else if (!site_->revoked.empty()) {
    reason.code = "revoked";
    reason.sentence = absl::StrCat("the agent of site ", name_, " was revoked ", site_->revoked,
                                   "; another joins by: bailiwick site join-token ", name_);
  } else if (!site_->connected) {
    reason.code = "offline";
    reason.sentence = absl::StrCat("site ", name_, " is ", Since(input_, *site_), "; it catches up when it is back");
  }
  return reason;
}

Sourcing View::Choose(Order order) {
  Sourcing best;
  for (VersionNumber version : Candidates(order)) {
    Sourcing sourcing = Source(version);
    // Old versions that no site keeps any more are gone for good, not missing.
    if (Current() && sourcing.holders.empty()) continue;
    if (best.version == 0 || Class(best.stage) < Class(sourcing.stage)) best = std::move(sourcing);
    if (best.stage == Sourcing::Stage::kReady) break;
  }
  return best;
}

Sourcing View::ChooseNearer(VersionNumber below, int nearness) {
  for (auto version = dataset_.versions.rbegin(); version != dataset_.versions.rend(); ++version) {
    if (version->number >= below || version->number <= newest_held_ || Past(*version, retention_)) continue;
    Sourcing sourcing = Source(version->number);
    if (sourcing.stage != Sourcing::Stage::kReady) continue;
    auto& sources = sourcing.sources;
    sources.erase(std::remove_if(sources.begin(), sources.end(),
                                 [&](const PlannedSite* source) {
                                   return SharedRegionParts(source->region, site_->region) <= nearness;
                                 }),
                  sources.end());
    if (!sources.empty()) return sourcing;
  }
  return {};
}

Sourcing View::SourcesOf(VersionNumber version) {
  Sourcing sourcing = Source(version);
  if (sourcing.stage != Sourcing::Stage::kReady) sourcing.sources.clear();
  return sourcing;
}

bool View::CouldComeOn(VersionNumber version, const std::string& from, const std::string& relay) {
  const PlannedSite* site = FindSite(input_, relay);
  if (relay == name_ || !Unreachable(input_, site).empty() || Stale(*site) || !Routed(*site)) return false;
  if (!PermittedFrom(relay) || Past(Find(version), verdicts_.at(relay)->retention)) return false;
  if (!bounds_hops_) return true;
  uint32_t hops = 0;
  if (from != dataset_.home_site) {
    auto at = dataset_.hops.find(from);
    if (at == dataset_.hops.end() || at->second.count(version) == 0) return false;
    hops = at->second.at(version);
  }
  return JudgeHops(relay, hops + 1).permitted;
}

Reason View::Explain(const Sourcing& sourcing) {
  Reason reason;
  reason.version = sourcing.version;
  switch (sourcing.stage) {
    case Sourcing::Stage::kDenied:
      reason.code = "denied";
      Denial(sourcing, &reason);
      break;
    case Sourcing::Stage::kPast:
      reason = PastRetention(sourcing.version, sourcing.holders.front());
      break;
    case Sourcing::Stage::kNoHolder:
      reason.code = "source-offline";
      reason.sentence = absl::StrCat("no site holds version ", sourcing.version, " any more");
      if (const std::string sites = DamagedAt(sourcing.version); !sites.empty()) {
        reason.sentence = absl::StrCat("version ", sourcing.version, " is damaged at ", sites,
                                       " and no site holds it whole; bailiwick dataset verify ", dataset_.name,
                                       " says what is missing");
      }
      if (auto partial = dataset_.partial.find(sourcing.version); partial != dataset_.partial.end()) {
        reason.sentence =
            absl::StrCat(dataset_.home_site, ", the home, has of version ", sourcing.version,
                         " only what differs from version ", partial->second, ", which has to come here first");
      }
      break;
    case Sourcing::Stage::kOffline:
      reason.code = "source-offline";
      reason.sentence = Whereabouts(sourcing);
      break;
    case Sourcing::Stage::kNoRoute:
      reason.code = "no-route";
      reason.sentence = NoRoute(sourcing);
      break;
    case Sourcing::Stage::kStale:
      reason = NotFresh(*sourcing.sources.front());
      reason.version = sourcing.version;
      break;
    case Sourcing::Stage::kReady:
      break;
  }
  return reason;
}

int View::Class(Sourcing::Stage stage) {
  switch (stage) {
    case Sourcing::Stage::kNoHolder:
      return 0;
    case Sourcing::Stage::kDenied:
    case Sourcing::Stage::kPast:
      return 1;
    case Sourcing::Stage::kReady:
      return 3;
    default:
      return 2;
  }
}

VersionNumber View::Pinned() const {
  auto pin = dataset_.pinned.find(name_);
  if (pin == dataset_.pinned.end()) pin = dataset_.pinned.find("");
  return pin == dataset_.pinned.end() ? 0 : pin->second;
}

bool View::Foreign(VersionNumber number) const {
  auto foreign = dataset_.foreign.find(name_);
  return foreign != dataset_.foreign.end() && foreign->second.count(number) != 0;
}

Reason View::Conflict() const {
  Reason reason;
  auto foreign = dataset_.foreign.find(name_);
  if (foreign == dataset_.foreign.end()) return reason;
  reason.code = "conflict";
  reason.version = *foreign->second.begin();
  auto problem = dataset_.problems.find(name_);
  reason.sentence = problem == dataset_.problems.end()
                        ? absl::StrCat("another version lies at ", name_, " as version ", reason.version)
                        : problem->second;
  return reason;
}

std::vector<VersionNumber> View::Candidates(Order order) const {
  std::vector<VersionNumber> numbers;
  for (const PlannedVersion& version : dataset_.versions) {
    if (Past(version, retention_) || Foreign(version.number)) continue;
    const bool stays = dataset_.expired.count(version.number) == 0 || Pinned() == version.number;
    const bool wanted = Current() ? order == Order::kNewestFirst && stays && held_.count(version.number) == 0
                                  : version.number > newest_held_;
    if (wanted) numbers.push_back(version.number);
  }
  if (order == Order::kNewestFirst) {
    std::reverse(numbers.begin(), numbers.end());
  } else {
    // One that nobody keeps any more is skipped; one that lies at a site out of reach is waited for.
    auto next = std::find_if(numbers.begin(), numbers.end(), [&](VersionNumber n) { return !Holders(n).empty(); });
    if (next == numbers.end()) next = numbers.begin();
    if (!numbers.empty()) numbers = {*next};
  }
  return numbers;
}

std::vector<std::string> View::Holders(VersionNumber version) const {
  std::vector<std::string> holders;
  for (const auto& [name, numbers] : dataset_.held) {
    if (name != name_ && numbers.count(version) > 0) holders.push_back(name);
  }
  if (FitsPartial(version)) holders.push_back(dataset_.home_site);
  return holders;
}

bool View::FitsPartial(VersionNumber version) const {
  auto partial = dataset_.partial.find(version);
  if (partial == dataset_.partial.end() || name_ == dataset_.home_site) return false;
  auto reaches = [&](const std::set<VersionNumber>& numbers) {
    auto has = numbers.lower_bound(partial->second);
    return has != numbers.end() && *has < version;
  };
  // What is damaged here may be something that the version has no more, or that the home has again.
  auto broken = dataset_.broken.find(name_);
  return reaches(held_) || (broken != dataset_.broken.end() && reaches(broken->second));
}

std::string View::DamagedAt(VersionNumber version) const {
  std::vector<std::string> sites;
  for (const auto& [site, numbers] : dataset_.broken) {
    if (numbers.count(version) != 0) sites.push_back(site);
  }
  return absl::StrJoin(sites, ", ");
}

Sourcing View::Source(VersionNumber version) {
  Sourcing sourcing;
  sourcing.version = version;
  sourcing.holders = Holders(version);
  std::vector<const PlannedSite*> reachable, routed, fresh, stale;
  bool permitted = sourcing.holders.empty() && PermittedFrom(dataset_.home_site), past = false;
  for (const std::string& name : sourcing.holders) {
    if (!PermittedFrom(name)) continue;
    const Permit& permit = *verdicts_.at(name);
    past = past || Past(Find(version), permit.retention);
    if (Past(Find(version), permit.retention)) continue;
    if (policy::HopVerdict hops = HopsFrom(name, version); !hops.permitted) {
      if (sourcing.too_far.empty()) sourcing.hops = std::move(hops);
      sourcing.too_far.insert(name);
      continue;
    }
    permitted = true;
    sourcing.purposes[name] = permit.purpose;
    const PlannedSite* source = FindSite(input_, name);
    if (!Unreachable(input_, source).empty()) continue;
    reachable.push_back(source);
    if (!Routed(*source)) continue;
    routed.push_back(source);
    (Stale(*source) ? stale : fresh).push_back(source);
  }
  using Stage = Sourcing::Stage;
  if (!permitted) {
    sourcing.stage = past && sourcing.too_far.empty() ? Stage::kPast : Stage::kDenied;
  } else if (sourcing.holders.empty()) {
    sourcing.stage = Stage::kNoHolder;
  } else if (reachable.empty()) {
    sourcing.stage = Stage::kOffline;
  } else if (routed.empty()) {
    sourcing.stage = Stage::kNoRoute;
    sourcing.sources = reachable;
  } else if (site_ == nullptr || Stale(*site_) || fresh.empty()) {
    sourcing.stage = Stage::kStale;
    sourcing.sources = site_ != nullptr && Stale(*site_) ? std::vector{site_} : stale;
  } else {
    sourcing.stage = Stage::kReady;
    if (fresh.size() > 1 && dataset_.damaged.count(version) != 0) {
      std::erase_if(fresh, [this](const PlannedSite* source) { return source->name == dataset_.home_site; });
    }
    sourcing.sources = fresh;
  }
  return sourcing;
}

bool View::PermittedFrom(const std::string& source) {
  auto [it, added] = verdicts_.emplace(source, std::nullopt);
  if (added) it->second = PermitFor(input_, dataset_, source, name_, purposes_);
  return it->second.has_value();
}

policy::HopVerdict View::HopsFrom(const std::string& source, VersionNumber version) {
  if (!bounds_hops_) return {};
  uint32_t hops = 0;
  if (source != dataset_.home_site) {
    auto at = dataset_.hops.find(source);
    if (at == dataset_.hops.end() || at->second.count(version) == 0) {
      if (!Unreachable(input_, FindSite(input_, source)).empty()) return {};  // it says so when it is back
      return {false,
              absl::StrCat("the law bounds how far copies of ", dataset_.name, " go from their home, and how version ",
                           version, " came to ", source, " is not known, so it may not be sent on"),
              ""};
    }
    hops = at->second.at(version);
  }
  return JudgeHops(source, hops);
}

policy::HopVerdict View::JudgeHops(const std::string& source, uint32_t hops) {
  const policy::Flow flow = FlowOf(dataset_, source, name_, verdicts_.at(source)->purpose);
  std::vector<policy::Hop> way;
  // What the way was is not known here; that it led from the home to the source is the most that can be assumed.
  if (source != dataset_.home_site) way.push_back({dataset_.home_site, source, flow.purpose, input_.now});
  auto carried = policy::CarriedLimit(*input_.world, dataset_.labels, dataset_.home_site, way);
  const policy::Decision decision = policy::EvaluateReplication(*input_.world, flow, input_.now);
  return policy::CheckHops(*input_.world, carried.ok() ? *carried : policy::HopLimit{}, hops, flow,
                           decision.obligations, input_.now);
}

void View::Denial(const Sourcing& sourcing, Reason* reason) {
  if (input_.world == nullptr) {
    reason->sentence = "no policy is installed, which denies every copy; run: bailiwick apply";
    return;
  }
  if (!sourcing.too_far.empty()) {
    reason->rule = sourcing.hops.rule;
    reason->sentence = sourcing.hops.sentence;
    return;
  }
  // The home's decision says most; when the home may, it does not hold the version and another site may not.
  const std::string& from = PermittedFrom(dataset_.home_site) ? sourcing.holders.front() : dataset_.home_site;
  const policy::Decision decision =
      policy::EvaluateReplication(*input_.world, FlowOf(dataset_, from, name_, *purposes_.begin()), input_.now);
  reason->rule = decision.rule;
  reason->sentence = decision.sentence;
}

std::string View::NoRoute(const Sourcing& sourcing) const {
  std::vector<std::string> names;
  for (const PlannedSite* source : sourcing.sources) names.push_back(source->name);
  const std::string sites = names.size() == 1 ? absl::StrCat("neither ", names.front(), " nor ", name_)
                                              : absl::StrCat("none of ", absl::StrJoin(names, ", "), " and ", name_);
  return absl::StrCat(sites, " accepts connections (dial: outbound-only); one of them must");
}

std::string View::Whereabouts(const Sourcing& sourcing) {
  std::vector<std::string> places;
  for (const std::string& name : sourcing.holders) {
    const std::string state = !PermittedFrom(name)                ? "denied as a source by policy"
                              : sourcing.too_far.count(name) != 0 ? "too far from the home to send it on"
                                                                  : Unreachable(input_, FindSite(input_, name));
    if (sourcing.holders.size() == 1) {
      return absl::StrCat("version ", sourcing.version, " lies only at ", name, ", which is ", state);
    }
    places.push_back(absl::StrCat(name, " (", state, ")"));
  }
  return absl::StrCat("version ", sourcing.version, " lies only at ", absl::StrJoin(places, ", "));
}

}  // namespace bailiwick::coordinator
