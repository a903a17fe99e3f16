// What a catalog says that is wrong, vain or about to break, each at its place: everything that `bailiwick policy
// check` tells. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/config/world.h"
#include "common/policy/check.h"

namespace bailiwick::config {

struct LintFinding {
  bool error = false;    // apply refuses it, or a rule denies because of it; else a warning
  std::string code;      // invalid, or one of policy::LawFinding and unreviewed
  std::string resource;  // "SovereigntyPolicy/acme"; empty: of the catalog as a whole
  std::string path;      // "spec.rules[2].to"; may be empty
  Position at;           // line 0: not from a file
  std::string text;
  std::string str() const;  // "file:3:5: warning: SovereigntyPolicy/acme spec.rules[2].to: no declared site matches"
};

// A set that nobody has looked at for this long counts as unreviewed.
inline constexpr absl::Duration kReviewPeriod = absl::Hours(24 * 365);

// Errors of Validate first, when there are any nothing else; else everything that the law says in vain, in the order of
// files and lines.
std::vector<LintFinding> Lint(const Catalog& catalog, const std::vector<Located>& located, absl::Time now,
                              const TimeZones& zones);

// The datasets of a catalog as the law sees them.
std::vector<policy::NamedData> DataOf(const Catalog& catalog);

}  // namespace bailiwick::config
