#include "common/policy/model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bailiwick::policy {
namespace {

Match MatchOne(const LabelCondition& condition, const Labels& labels) {
  auto it = labels.find(condition.key);
  switch (condition.op) {
    case Operator::kExists:
      return it != labels.end() ? Match::kYes : Match::kNo;
    case Operator::kDoesNotExist:
      return it == labels.end() ? Match::kYes : Match::kNo;
    case Operator::kIn:
    case Operator::kNotIn:
      break;
  }
  if (it == labels.end()) return Match::kMissing;
  const bool listed = std::find(condition.values.begin(), condition.values.end(), it->second) != condition.values.end();
  return listed == (condition.op == Operator::kIn) ? Match::kYes : Match::kNo;
}

}  // namespace

bool Obligations::none() const { return *this == Obligations(); }

void Obligations::Add(const Obligations& other) {
  for (const std::string& region : other.encrypt_key_regions) {
    auto at = std::lower_bound(encrypt_key_regions.begin(), encrypt_key_regions.end(), region);
    if (at == encrypt_key_regions.end() || *at != region) encrypt_key_regions.insert(at, region);
  }
  max_retention = std::min(max_retention, other.max_retention);
  if (max_hops == 0 || (other.max_hops != 0 && other.max_hops < max_hops)) max_hops = other.max_hops;
  no_transit = no_transit || other.no_transit;
}

bool operator==(const Obligations& a, const Obligations& b) {
  return a.encrypt_key_regions == b.encrypt_key_regions && a.max_retention == b.max_retention &&
         a.max_hops == b.max_hops && a.no_transit == b.no_transit;
}

bool When::always() const {
  return not_before == absl::InfinitePast() && not_after == absl::InfiniteFuture() && daily.empty();
}

bool RegionContains(std::string_view subtree, std::string_view region) {
  if (subtree.empty() || region.substr(0, subtree.size()) != subtree) return false;
  return region.size() == subtree.size() || region[subtree.size()] == '/';
}

std::string DescribeFailure(const LabelCondition& condition, const Labels& labels) {
  auto it = labels.find(condition.key);
  const std::string values = absl::StrJoin(condition.values, ", ");
  switch (condition.op) {
    case Operator::kExists:
      return absl::StrCat("label ", condition.key, " is absent");
    case Operator::kDoesNotExist:
      return absl::StrCat("label ", condition.key, " is present");
    case Operator::kIn:
    case Operator::kNotIn:
      if (it == labels.end()) return absl::StrCat("missing label ", condition.key);
      return absl::StrCat("label ", condition.key, " is \"", it->second, "\", ",
                          condition.op == Operator::kIn ? "not one of: " : "which is one of: ", values);
  }
  return "";
}

Match Matches(const Selector& selector, const Labels& labels, std::string* failing_condition) {
  Match result = Match::kYes;
  for (const LabelCondition& condition : selector.conditions) {
    const Match match = MatchOne(condition, labels);
    if (match == Match::kYes) continue;
    if (failing_condition != nullptr && (result == Match::kYes || match == Match::kNo)) {
      *failing_condition = DescribeFailure(condition, labels);
    }
    result = match;
    if (match == Match::kNo) break;
  }
  return result;
}

}  // namespace bailiwick::policy
