// The label sets and purposes that rules can tell apart: the finite stand-ins for all that there could be.
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/policy/reach.h"

namespace bailiwick::policy {
namespace {

// A value that no rule names.
std::string Unnamed(const std::set<std::string>& named) {
  std::string value = "other";
  while (named.count(value) != 0) value += "-value";
  return value;
}

// Of one rule, key by key: how its selector stands with the keys seen so far.
using Truths = std::string;

char Stands(char before, const std::vector<const LabelCondition*>& conditions, const Labels& labels) {
  char truth = before;
  for (const LabelCondition* condition : conditions) {
    const Match match = Matches({{*condition}}, labels, nullptr);
    if (match == Match::kNo) return 'n';
    if (match == Match::kMissing) truth = 'e';
  }
  return truth;
}

}  // namespace

absl::StatusOr<std::vector<Labels>> LabelSpace(const World& world, const Labels& like, size_t most) {
  std::map<std::string, std::set<std::string>> values;  // by key: what rules name
  for (const Rule& rule : world.rules) {
    for (const LabelCondition& c : rule.data.conditions) values[c.key].insert(c.values.begin(), c.values.end());
  }
  std::map<Truths, Labels> space;
  {
    Labels rest = like;  // keys that no rule looks at stay
    for (const auto& [key, named] : values) rest.erase(key);
    space.emplace(Truths(world.rules.size(), 'y'), std::move(rest));
  }
  Truths original(world.rules.size(), 'y');
  for (const auto& [key, named] : values) {
    std::vector<std::pair<size_t, std::vector<const LabelCondition*>>> looking;
    for (size_t r = 0; r < world.rules.size(); ++r) {
      std::vector<const LabelCondition*> conditions;
      for (const LabelCondition& c : world.rules[r].data.conditions) {
        if (c.key == key) conditions.push_back(&c);
      }
      if (!conditions.empty()) looking.emplace_back(r, std::move(conditions));
    }
    std::vector<Labels> choices;  // as it is first: of equals, the one closest to `like` stays
    auto has = like.find(key);
    choices.push_back(has == like.end() ? Labels() : Labels{{key, has->second}});
    if (!key.empty()) {  // no label has an empty key
      if (has != like.end()) choices.push_back({});
      for (const std::string& value : named) choices.push_back({{key, value}});
      choices.push_back({{key, Unnamed(named)}});
    }
    auto apply = [&](Truths truths, const Labels& choice) {
      for (const auto& [r, conditions] : looking) {
        if (truths[r] != 'n') truths[r] = Stands(truths[r], conditions, choice);
      }
      return truths;
    };
    original = apply(std::move(original), choices.front());
    std::map<Truths, Labels> next;
    for (const Labels& choice : choices) {
      for (const auto& [truths, labels] : space) {
        auto [it, fresh] = next.try_emplace(apply(truths, choice), labels);
        if (fresh) it->second.insert(choice.begin(), choice.end());
      }
    }
    if (next.size() > most) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the rules tell more than ", most,
                       " sets of labels apart, which is more than is searched; name the "
                       "labels, or split the policies"));
    }
    space = std::move(next);
  }
  std::vector<Labels> out = {like};
  for (auto& [truths, labels] : space) {
    if (truths != original) out.push_back(std::move(labels));
  }
  return out;
}

std::vector<std::string> PurposeSpace(const World& world) {
  std::set<std::string> named;
  for (const Rule& rule : world.rules) named.insert(rule.purposes.begin(), rule.purposes.end());
  std::vector<std::string> out = {""};
  if (named.empty()) return out;
  out.insert(out.end(), named.begin(), named.end());
  out.push_back(Unnamed(named));
  return out;
}

}  // namespace bailiwick::policy
