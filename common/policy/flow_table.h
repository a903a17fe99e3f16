// Judgements by the million: every site reduced to the class of sites that no rule can tell from it, every rule to four
// bits of a class (is its source, its destination: surely, possibly). A judgement is a handful of words ANDed, and
// means exactly what Evaluate says of the same flow. For analyses, which ask about all pairs of sites; decisions about
// a flow that happens are Evaluate's. The world outlives the table. Building is single-threaded; const calls are
// thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/policy/evaluator.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

// What a rule may say of a part of a request, a bit a rule: `sure`: the part holds; `maybe`: it is not definitely
// false.
struct Bits {
  std::vector<uint64_t> sure, maybe;
};

class FlowTable {
 public:
  struct Options {
    // Sites that answer differently are never put in one class. Null: only the law tells sites apart.
    std::function<std::string(const Site&)> split;
    // Also a site without labels and entity in every region, named "any site of REGION".
    bool any_sites = false;
    // The first instant that will be asked about. Sets that expire later have their moments.
    absl::Time from;
  };
  // `data`: the label sets that will be asked about, by index.
  FlowTable(const World& world, std::vector<Labels> data, const Options& options);
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  size_t classes() const { return classes_.size(); }
  // Never empty; sorted by name, declared sites before "any site of ...".
  const std::vector<const Site*>& members(size_t c) const { return classes_[c].members; }
  // The class of a declared site; classes() when the world has no such site.
  size_t ClassOf(const std::string& site) const;
  const std::vector<Labels>& data() const { return data_; }

  // The rules as they stand at one time and for one purpose.
  struct Moment {
    Bits rest;         // of every rule: window, purpose and whatever else is neither data nor place
    size_t epoch = 0;  // which sets have expired
  };
  Moment At(absl::Time now, const std::string& purpose) const;

  struct Verdict {
    Reason reason = Reason::kNoPermit;
    const Rule* rule = nullptr;  // as Decision::rule; null for kNoPermit and for a site whose region is not declared
    Obligations obligations;     // when permitted: of every permit that applies, the strictest of each
    bool permitted() const { return reason == Reason::kPermitted; }
  };
  bool Permits(const Moment& moment, size_t data, Action action, size_t from, size_t to) const;
  Verdict Judge(const Moment& moment, size_t data, Action action, size_t from, size_t to) const;
  // Whether some permit carries an obligation of the kind that bounds a chain of copies.
  bool bounds_hops() const { return bounds_hops_; }
  bool obliges() const { return obliges_; }  // to anything at all
  // Whether some rule of the world, whatever the data, names the action.
  bool Named(Action action) const { return named_[static_cast<int>(action)]; }
  // Expiries of sets after `from`, sorted.
  const std::vector<absl::Time>& expiries() const { return expiries_; }

  // Label sets with equal numbers are the same to every rule.
  std::vector<size_t> DataClasses() const;
  // Rules that may apply to some of the data, in name order: what the bits stand for.
  const std::vector<const Rule*>& rules() const { return rules_; }

 private:
  struct Class {
    std::vector<const Site*> members;
    bool declared = true;        // its region is
    std::vector<Bits> from, to;  // by epoch
  };
  struct Masks {
    std::vector<uint64_t> any, forbid, permit, guard;  // guard: permits of the guardrail tier
  };
  struct Parts;
  static constexpr size_t kActions = 5;

  void CollectSites(const Options& options);
  void CollectRules();
  void BuildClasses(const Options& options);
  // Calls each(word, maybe, sure) for every word of rules that may apply; false when it or the sites say stop.
  template <typename Each>
  bool Scan(const Moment& moment, size_t data, Action action, size_t from, size_t to, const Each& each) const;

  const World& world_;
  std::vector<Labels> data_;
  std::vector<Site> extra_;  // the "any site" ones
  std::vector<const Site*> sites_;
  std::vector<const Rule*> rules_;  // in name order: the lowest bit is the one that Evaluate names
  std::vector<Rule> rest_;          // what of each is neither data nor place
  size_t words_ = 0;
  std::vector<Class> classes_;
  std::map<std::string, size_t> class_of_;
  std::vector<Bits> data_bits_;
  std::vector<absl::Time> expiries_;
  Masks masks_[kActions];  // by action
  bool named_[kActions] = {}, guarded_[kActions] = {};
  bool bounds_hops_ = false, obliges_ = false;
};

}  // namespace bailiwick::policy
