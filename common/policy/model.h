// The law as the evaluator sees it. Plain values: no I/O, no clock, no generated code. Built by common/config from a
// signed bundle or from files; immutable once built, so safe to share between threads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace bailiwick::policy {

using Labels = std::map<std::string, std::string>;

enum class Operator { kIn, kNotIn, kExists, kDoesNotExist };

struct LabelCondition {
  std::string key;
  Operator op = Operator::kExists;
  std::vector<std::string> values;
};

struct Selector {  // all must hold; empty matches everything
  std::vector<LabelCondition> conditions;
};

enum class Effect { kPermit, kForbid };
enum class Action { kTransfer, kReside, kTransit, kRelabel, kMoveSite };

struct Place {
  std::vector<std::string> in;  // regions or "set:NAME"; empty: anywhere
  std::vector<std::string> not_in;
  Selector sites;
  std::vector<std::string> entities;
};

struct Rule {
  std::string policy;  // name of the SovereigntyPolicy
  std::string id;
  Effect effect = Effect::kPermit;
  std::vector<Action> actions;  // never empty
  Selector data;
  Place from;
  Place to;
  std::string basis;
  std::vector<std::string> obligations;  // names; any this build does not know makes the rule an error
  std::string name() const { return policy + "/" + id; }
};

struct RegionSet {
  std::vector<std::string> regions;
  std::optional<absl::Time> expires;
};

struct Site {
  std::string name;
  std::string region;
  std::string entity;
  Labels labels;
  std::map<std::string, std::string> enrolment_keys;  // agent name -> raw Ed25519 key
};

struct World {
  uint64_t revision = 0;
  std::string digest;  // SHA-256 of the bundle payload, 32 bytes; empty when built from files
  std::string trust_domain;
  std::vector<std::string> regions;  // declared, sorted
  std::map<std::string, Site> sites;
  std::map<std::string, std::map<std::string, RegionSet>> sets;  // policy -> set name -> set
  std::vector<Rule> rules;
  std::vector<std::string> grant_keys;       // raw Ed25519
  std::vector<std::string> classifier_keys;  // raw Ed25519
  std::vector<std::string> root_keys;
  uint32_t root_threshold = 1;
};

// "eu/de" contains "eu/de" and "eu/de/fra", not "eu/den".
bool RegionContains(std::string_view subtree, std::string_view region);
// A missing key matches NotIn and DoesNotExist only for DoesNotExist; In and NotIn on a missing key is `missing`.
enum class Match { kYes, kNo, kMissing };
// `failing_condition` (may be null) is set unless the result is kYes. One condition that is definitely false makes the
// whole kNo, even beside a missing key.
Match Matches(const Selector& selector, const Labels& labels, std::string* failing_condition);
// Why the condition, which does not hold, does not: `label pii is "no", not one of: yes`.
std::string DescribeFailure(const LabelCondition& condition, const Labels& labels);

}  // namespace bailiwick::policy
