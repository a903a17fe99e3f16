// The law compiled for one span of time, for questions asked by the million: the planner, analyses, benchmarks. Says
// exactly what Evaluate says, without sentences. Rules are bits in the order of their names; every condition is judged
// once for what it depends on (time, region, entity, site labels; dataset labels and purpose), a decision only joins
// bits.
//
//   CompiledWorld law(&world, now);                     // again when now >= law.valid_until() or the world changed
//   DataView view = law.View(labels, purpose);          // once per dataset
//   Verdict verdict = law.Decide(view, law.SiteIndex("factory"), law.SiteIndex("core"), Action::kTransfer);
//
// Immutable after construction, so safe to share between threads. Costs about (regions + distinct site labels) x rules
// to make and 4 bits per site and rule to keep.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/policy/evaluator.h"
#include "common/policy/judge.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

// Two bits a rule: not definitely false, and cannot be evaluated. False beats error: an error counts only beside the
// first.
struct RuleBits {
  explicit RuleBits(size_t words = 0) : possible(words), error(words) {}
  void Set(size_t rule, Truth truth);
  void Join(const RuleBits& other);  // both must hold
  std::vector<uint64_t> possible;
  std::vector<uint64_t> error;
};

// A dataset's labels and a purpose as the rules see them. Of one CompiledWorld.
struct DataView {
  RuleBits bits;
};

struct Verdict {
  bool permitted = false;
  Reason reason = Reason::kNoPermit;
  const Rule* rule = nullptr;  // as Decision::rule; of the world, null where that is empty
  Obligations obligations;     // when permitted
};

class CompiledWorld {
 public:
  static constexpr size_t kNoSite = SIZE_MAX;

  // The world must outlive this and not change.
  CompiledWorld(const World* world, absl::Time now);
  static CompiledWorld Compile(const World& world, absl::Time now) { return CompiledWorld(&world, now); }

  // Verdicts hold for every moment in [now, valid_until()): the next edge of a window, expiry of a set, change of local
  // time or horizon.
  absl::Time valid_until() const { return valid_until_; }

  // Sites are numbered in the order of their names.
  size_t site_count() const { return sites_.size(); }
  const Site& site(size_t index) const { return *sites_[index].site; }
  size_t SiteIndex(const std::string& name) const;  // kNoSite when there is none; Decide then says kError

  DataView View(const Labels& labels, const std::string& purpose = "") const;
  Verdict Decide(const DataView& view, size_t from, size_t to, Action action) const;
  // As EvaluateReplication: transfer and reside and, when `home` is given and another site than `from`, transit.
  Verdict DecideReplication(const DataView& view, size_t from, size_t to, size_t home = kNoSite) const;

 private:
  static constexpr size_t kActions = 5;
  struct CompiledSite {
    const Site* site = nullptr;
    bool declared = false;  // its region is
    RuleBits as_source;
    RuleBits as_destination;
  };

  void CompileRules(absl::Time now);
  void CompileSites(absl::Time now);
  void AddObligations(const uint64_t* permits, Obligations* sum) const;

  const World* world_;
  std::vector<const Rule*> rules_;  // by name
  size_t words_ = 0;
  absl::Time valid_until_ = absl::InfiniteFuture();
  std::array<std::vector<uint64_t>, kActions> acts_;  // rules whose actions include it and whose `when` may hold
  std::array<bool, kActions> guarded_{};
  std::vector<uint64_t> error_;  // when and unknown parts
  std::vector<uint64_t> forbids_;
  std::vector<uint64_t> guardrails_;                                        // permits of the guardrail tier
  std::vector<uint64_t> obliging_;                                          // rules with obligations
  std::vector<std::pair<Obligations, std::vector<uint64_t>>> obligations_;  // distinct ones, with their rules
  std::vector<CompiledSite> sites_;
  std::map<std::string, size_t> index_;
};

}  // namespace bailiwick::policy
