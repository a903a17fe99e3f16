// Where the versions that a site lacks could come from, and why they can not. Internal to the planner; pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/policy/hops.h"
#include "services/coordinator/planner/planner.h"
#include "services/coordinator/planner/targets.h"

namespace bailiwick::coordinator {

// Where a version could come from. Stages in the order of how near it is to starting.
struct Sourcing {
  enum class Stage { kNoHolder, kDenied, kPast, kOffline, kNoRoute, kStale, kReady };
  Stage stage = Stage::kNoHolder;
  VersionNumber version = 0;
  std::vector<std::string> holders;
  std::map<std::string, std::string> purposes;  // of each holder that the law permits: the purpose that it permits
  std::vector<const PlannedSite*> sources;      // those that reached the stage; of kStale: the sites that must catch up
  std::set<std::string> too_far;                // holders that the law permits, but for how far their copy came
  policy::HopVerdict hops;                      // of the first of them
};

// One dataset seen from one site.
class View {
 public:
  // The arguments must outlive the view. `purposes`: those of the policies that want the pair, at least one.
  View(const PlanInput& input, const PlannedDataset& dataset, const std::string& site,
       const std::set<std::string>& purposes);

  // Whether the site holds the newest version of those that may lie there. Only with at least one known version, as Lag
  // and Choose.
  bool Current() const { return !held_.empty() && newest_held_ >= newest_lawful_; }
  // Whether the version is newer than all that the site holds.
  bool Brings(VersionNumber version) const { return version > newest_held_; }
  // Whether it holds nothing and every version is past its retention there.
  bool AllPast() const { return held_.empty() && newest_lawful_ == 0; }

  absl::Duration Lag(VersionNumber* oldest_missing) const;

  Reason NoVersion() const;
  Reason Conflict() const;  // what lies here under a number is another version; without a code: nothing does
  // The version is past the time for which the law lets it lie there, or come there from `from`.
  Reason PastRetention(VersionNumber version, const std::string& from) const;
  Reason Holds() const;
  // The destination itself, whatever is to come. Empty code when it is ready.
  Reason Destination() const;

  // The version to fetch next, or the one whose absence explains best why nothing can be. Version 0: nothing to do.
  Sourcing Choose(Order order);
  // The newest version that is newer than what the site holds and older than `below`, and that lies nearer to it than
  // `nearness` (shared parts of the region): only sources that do are given. Version 0: none.
  Sourcing ChooseNearer(VersionNumber below, int nearness);
  // Whether a copy of the version that is on its way from one site to another could go on from there to here.
  bool CouldComeOn(VersionNumber version, const std::string& from, const std::string& relay);
  // From where the version could come; where it cannot right now, without sources.
  Sourcing SourcesOf(VersionNumber version);
  // Why what was chosen cannot start; empty when it is ready.
  Reason Explain(const Sourcing& sourcing);

 private:
  // Ready beats what could become ready, which beats what is denied, which beats what is gone.
  static int Class(Sourcing::Stage stage);
  bool Past(const PlannedVersion& version, absl::Duration retention) const {
    return input_.now - version.committed_at > retention;
  }
  // Whether the site's agent has not confirmed the law in force, or may not act on it; and the reason that it makes.
  bool Stale(const PlannedSite& site) const;
  Reason NotFresh(const PlannedSite& site) const;
  const PlannedVersion& Find(VersionNumber version) const;
  VersionNumber Pinned() const;  // 0: it shows the newest
  std::vector<VersionNumber> Candidates(Order order) const;
  bool Foreign(VersionNumber number) const;
  std::vector<std::string> Holders(VersionNumber version) const;
  // Whether what the home still has of the version is all that this site lacks of it.
  bool FitsPartial(VersionNumber version) const;
  std::string DamagedAt(VersionNumber version) const;  // sites, with commas; not the home
  Sourcing Source(VersionNumber version);
  bool PermittedFrom(const std::string& source);
  // Whether the law lets the source's copy of the version go this far. Advice: the ends know the hops themselves.
  policy::HopVerdict HopsFrom(const std::string& source, VersionNumber version);
  // Of a copy that came to `source` in so many hops.
  policy::HopVerdict JudgeHops(const std::string& source, uint32_t hops);
  bool Routed(const PlannedSite& source) const { return source.dialable || (site_ != nullptr && site_->dialable); }
  void Denial(const Sourcing& sourcing, Reason* reason);
  std::string NoRoute(const Sourcing& sourcing) const;
  std::string Whereabouts(const Sourcing& sourcing);

  const PlanInput& input_;
  const PlannedDataset& dataset_;
  const std::string& name_;
  const PlannedSite* site_;
  const std::set<VersionNumber>& held_;
  const VersionNumber newest_held_;
  const std::set<std::string>& purposes_;                  // never empty
  const bool bounds_hops_;                                 // the law does so for such data
  const absl::Duration retention_;                         // of what lies there
  VersionNumber newest_lawful_ = 0;                        // not past it; 0: none
  std::map<std::string, std::optional<Permit>> verdicts_;  // by source
};

}  // namespace bailiwick::coordinator
