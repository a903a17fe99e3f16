// One rule against one request: the three-valued heart of the evaluator. A rule does not apply only when some condition
// is definitely false; if none is false and some cannot be evaluated, the rule is an error. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/policy/evaluator.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

// The request with its sites looked up: what every rule is judged against.
struct Subject {
  const World* world = nullptr;
  const Labels* data = nullptr;
  const Site* from = nullptr;
  const Site* to = nullptr;
  Action action = Action::kTransfer;
  absl::Time now;
  std::string_view purpose;  // empty: none was given
};

// What a condition asks about: the further down, the less a rule that fails by it was made for the request.
enum class About { kTime, kPurpose, kPlace, kData };

// One condition of a rule, judged.
struct Finding {
  About about = About::kPlace;
  Truth truth = Truth::kTrue;
  std::string text;    // "destination us/east is not in eu"; when true: "destination in eu"
  std::string remedy;  // what makes it true; when it is true, what makes it false (of a forbid). Empty: nothing simple
};

// The parts that Judge is made of, by what each depends on: what CompiledWorld is built from.
Truth JudgeRegions(const World& world, const Rule& rule, const Place& place, const std::string& region, absl::Time now);
Truth JudgeEntity(const Place& place, const std::string& entity);
Truth JudgeLabels(const Selector& selector, const Labels& labels);
Truth JudgePurpose(const Rule& rule, std::string_view purpose);
// False beats error beats true.
Truth Both(Truth a, Truth b);

// With `findings` every condition is judged and described; without, it stops at the first that is definitely false.
Truth Judge(const Subject& subject, const Rule& rule, std::vector<Finding>* findings);

}  // namespace bailiwick::policy
