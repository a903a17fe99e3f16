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

// What a permitted copy must keep to. The default asks nothing.
struct Obligations {
  std::vector<std::string> encrypt_key_regions;  // sorted; the key that wraps its data key belongs to each subtree
  absl::Duration max_retention = absl::InfiniteDuration();  // since the version was committed
  uint32_t max_hops = 0;    // transfers between the home and the copy; 0: any number (hops.h)
  bool no_transit = false;  // only the home sends

  bool none() const;
  // Keeping to the result keeps to both: the strictest of each.
  void Add(const Obligations& other);
  friend bool operator==(const Obligations& a, const Obligations& b);
  friend bool operator!=(const Obligations& a, const Obligations& b) { return !(a == b); }
};

struct Daily {
  uint8_t days = 0x7f;        // bit 0 Monday .. bit 6 Sunday: the days on which the window opens
  uint16_t from_minute = 0;   // of local time, 0..1439
  uint16_t to_minute = 1440;  // exclusive, 1..1440; below from_minute: of the next day
  std::string tz;             // key of World::time_zones
};

struct When {                                     // the bounds and, if there are any, one of the windows
  absl::Time not_before = absl::InfinitePast();   // inclusive
  absl::Time not_after = absl::InfiniteFuture();  // exclusive
  std::vector<Daily> daily;
  bool always() const;
};

// Local time as compiled into the signed law. What lies before the first transition or at or after the horizon is not
// known: an error, never a guess.
struct TimeZone {
  struct Transition {
    absl::Time at;
    absl::Duration offset;  // east of UTC, from `at` on
  };
  std::vector<Transition> transitions;  // ascending
  absl::Time horizon = absl::InfinitePast();
};

struct Place {
  std::vector<std::string> in;  // regions or "set:NAME"; empty: anywhere
  std::vector<std::string> not_in;
  Selector sites;
  std::vector<std::string> entities;
};

// A guardrail cannot be weakened by a policy: where any guardrail rule permits an action, a permit of each tier is
// needed.
enum class Tier { kPolicy, kGuardrail };

struct Rule {
  std::string policy;  // name of the SovereigntyPolicy
  std::string id;
  Tier tier = Tier::kPolicy;
  Effect effect = Effect::kPermit;
  std::vector<Action> actions;  // never empty
  Selector data;
  Place from;
  Place to;
  std::vector<std::string> purposes;  // empty: whatever the purpose
  When when;
  std::string basis;
  Obligations obligations;  // of a permit
  // What of the rule this build does not know or does not enforce ("obligation maxHops is not ..."): a rule with any is
  // an error.
  std::vector<std::string> unknown;
  std::string name() const { return policy + "/" + id; }
};

struct RegionSet {
  std::vector<std::string> regions;
  std::optional<absl::Time> expires;
};

// What a policy delegates: a source site may grant itself flows inside the jurisdiction while the law is younger.
struct Offline {
  std::string policy;
  std::string jurisdiction;  // region subtree
  absl::Duration max_staleness;
  Tier tier = Tier::kPolicy;
};

struct StorageKey {
  std::string id;      // SHA-256 of the wrapping key's public id, 64 lower-case hexadecimal digits
  std::string region;  // declared
};

struct Site {
  std::string name;
  std::string region;
  std::string entity;
  Labels labels;
  std::map<std::string, std::string> enrolment_keys;  // agent name -> raw Ed25519 key
  std::vector<StorageKey> storage_keys;
  bool encrypted_volume = false;  // the replica path is vouched to lie on one
};

// A key that may say what some datasets are; empty lists do not limit.
struct Classifier {
  std::string key;                                         // raw Ed25519
  std::map<std::string, std::vector<std::string>> labels;  // exactly these keys, each with one of its values
  std::vector<std::string> datasets;                       // names; * stands for any characters
  std::vector<std::string> home_regions;
};

struct World {
  uint64_t revision = 0;
  std::string digest;  // SHA-256 of the bundle payload, 32 bytes; empty when built from files
  std::string trust_domain;
  absl::Time issued_at = absl::InfinitePast();  // of the bundle; how old the law is
  std::vector<std::string> regions;             // declared, sorted
  std::map<std::string, Site> sites;
  std::map<std::string, std::map<std::string, RegionSet>> sets;  // policy -> set name -> set
  std::vector<Rule> rules;
  std::vector<Offline> offline;
  std::vector<Selector> redaction_over_locks;  // datasets of which an order may redact held versions
  std::map<std::string, TimeZone> time_zones;
  std::vector<std::string> grant_keys;       // raw Ed25519
  std::vector<std::string> classifier_keys;  // raw Ed25519
  std::vector<std::string> root_keys;
  uint32_t root_threshold = 1;
  std::vector<Classifier> classifiers;
  std::vector<std::string> timestamp_keys;  // raw Ed25519; empty: no timestamp is asked for
  absl::Duration timestamp_life = absl::Hours(24);
  absl::Time expires = absl::InfiniteFuture();  // the whole bundle
};

// Of a condition or a whole rule. False beats error beats true.
enum class Truth { kTrue, kFalse, kError };

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
