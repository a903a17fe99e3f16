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
