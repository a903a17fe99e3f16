#include "common/policy/evaluator.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/policy/judge.h"

namespace bailiwick::policy {
namespace {

bool NameBefore(const Rule& a, const Rule& b) { return std::tie(a.policy, a.id) < std::tie(b.policy, b.id); }

// What was found, each the lowest by name so that the order of rules never shows.
struct Tally {
  const Rule* forbid = nullptr;
  const Rule* error = nullptr;
  const Rule* permit = nullptr;

  void Count(const Rule& rule, Truth truth) {
    if (truth == Truth::kFalse) return;
    const Rule** slot = truth == Truth::kError ? &error : rule.effect == Effect::kForbid ? &forbid : &permit;
    if (*slot == nullptr || NameBefore(rule, **slot)) *slot = &rule;
  }
};

std::string Where(const Site& site) { return absl::StrCat(site.name, " (", site.region, ")"); }

std::string Flow(const Subject& subject) {
  if (subject.action == Action::kReside) {
    return absl::StrCat("reside at ", Where(*subject.to), " of data from ", Where(*subject.from));
  }
  return absl::StrCat(ActionName(subject.action), " from ", Where(*subject.from), " to ", Where(*subject.to));
}

std::string Texts(const std::vector<Finding>& findings, Truth truth) {
  std::vector<std::string> texts;
  for (const Finding& finding : findings) {
    if (finding.truth == truth && !finding.text.empty()) texts.push_back(finding.text);
  }
  return absl::StrJoin(texts, ", ");
}

// The permit rule that fails by the fewest conditions, with what it found. Null when there is no permit rule.
const Rule* Nearest(const Subject& subject, std::vector<Finding>* findings) {
  const Rule* nearest = nullptr;
  size_t fewest = 0;
  for (const Rule& rule : subject.world->rules) {
    if (rule.effect != Effect::kPermit) continue;
    std::vector<Finding> found;
    Judge(subject, rule, &found);
    const size_t failing =
        std::count_if(found.begin(), found.end(), [](const Finding& f) { return f.truth != Truth::kTrue; });
    if (nearest == nullptr || failing < fewest || (failing == fewest && NameBefore(rule, *nearest))) {
      nearest = &rule;
      fewest = failing;
      *findings = std::move(found);
    }
  }
  return nearest;
}

std::string Lacks(const std::vector<Finding>& findings) {
  std::vector<std::string> texts;
  for (const Finding& finding : findings) {
    if (finding.truth != Truth::kTrue) texts.push_back(finding.text);
  }
  return absl::StrJoin(texts, " and ");
}

Decision Decide(const Subject& subject, const Tally& tally) {
  Decision decision;
  decision.revision = subject.world->revision;
  std::vector<Finding> findings;
  auto because = [&](const Rule& rule, const char* verb) {
    Judge(subject, rule, &findings);
    decision.rule = rule.name();
    const std::string conditions = Texts(findings, Truth::kTrue);
    decision.sentence = absl::StrCat("policy ", rule.name(), " ", verb, " ", Flow(subject), ": ",
                                     conditions.empty() ? "whatever the data" : conditions);
  };
  if (tally.forbid != nullptr) {
    decision.reason = Reason::kForbidden;
    because(*tally.forbid, "forbids");
  } else if (tally.error != nullptr) {
    decision.reason = Reason::kError;
    Judge(subject, *tally.error, &findings);
    decision.rule = tally.error->name();
    decision.sentence = absl::StrCat("policy ", decision.rule, " cannot be evaluated, which denies ", Flow(subject),
                                     ": ", Texts(findings, Truth::kError));
  } else if (tally.permit != nullptr) {
    decision.reason = Reason::kPermitted;
    decision.permitted = true;
    because(*tally.permit, "permits");
  } else {
    decision.reason = Reason::kNoPermit;
    const Rule* nearest = Nearest(subject, &findings);
    if (subject.world->rules.empty()) {
      decision.sentence = absl::StrCat("no sovereignty policy is declared, which denies ", Flow(subject));
    } else if (nearest == nullptr) {
      decision.sentence = absl::StrCat("no rule permits ", Flow(subject), ": there is no permit rule at all");
    } else {
      decision.sentence = absl::StrCat("no rule permits ", Flow(subject), "; the nearest, ", nearest->name(),
                                       ", does not: ", Lacks(findings));
    }
  }
  return decision;
}

// The sites of the request as the signed registry has them.
bool Resolve(const World& world, const Request& request, absl::Time now, Subject* subject, Decision* decision) {
  *subject = Subject{&world, &request.data, nullptr, nullptr, request.action, now};
  decision->reason = Reason::kError;
  decision->revision = world.revision;
  for (auto [name, site] : {std::pair(&request.from_site, &subject->from), std::pair(&request.to_site, &subject->to)}) {
    auto it = world.sites.find(*name);
    if (it == world.sites.end()) {
      decision->sentence =
          absl::StrCat("site ", *name, " is not in the policy at revision ", world.revision, ", which denies ",
                       ActionName(request.action), " from ", request.from_site, " to ", request.to_site);
      return false;
    }
    *site = &it->second;
    if (!std::binary_search(world.regions.begin(), world.regions.end(), it->second.region)) {
      decision->sentence =
          absl::StrCat("region ", it->second.region, " of site ", *name, " is not declared, which denies ",
                       ActionName(request.action), " from ", request.from_site, " to ", request.to_site);
      return false;
    }
  }
  return true;
}

std::string Remedy(const Subject& subject, const Tally& tally) {
  std::vector<std::string> steps;
  std::vector<Finding> findings;
  for (const Rule& rule : subject.world->rules) {
    findings.clear();
    const Truth truth = Judge(subject, rule, &findings);
    if (truth == Truth::kError) {
      for (const Finding& f : findings) {
        if (f.truth == Truth::kError) steps.push_back(f.remedy);
      }
    } else if (truth == Truth::kTrue && rule.effect == Effect::kForbid) {
      std::vector<std::string> ways;  // any one of them is enough
      for (const Finding& f : findings) {
        if (!f.remedy.empty()) ways.push_back(f.remedy);
      }
      if (ways.empty()) ways.push_back(absl::StrCat("remove rule ", rule.name()));
      steps.push_back(absl::StrJoin(ways, " or "));
    }
  }
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  if (tally.permit == nullptr) {
    findings.clear();
    const Rule* nearest = Nearest(subject, &findings);
    if (nearest == nullptr) {
      steps.push_back(absl::StrCat("add a rule that permits ", ActionName(subject.action), " of this data from ",
                                   subject.from->region, " to ", subject.to->region));
    } else {
      for (const Finding& f : findings) {
        const bool named = std::find(steps.begin(), steps.end(), f.remedy) != steps.end();
        if (f.truth != Truth::kTrue && !named) steps.push_back(f.remedy);
      }
    }
  }
  return absl::StrJoin(steps, ", and ");
}

}  // namespace

Decision Evaluate(const World& world, const Request& request, absl::Time now) {
  Subject subject;
  Decision decision;
  if (!Resolve(world, request, now, &subject, &decision)) return decision;
  Tally tally;
  for (const Rule& rule : world.rules) tally.Count(rule, Judge(subject, rule, nullptr));
  return Decide(subject, tally);
}

Decision EvaluateReplication(const World& world, const Labels& data, const std::string& from_site,
                             const std::string& to_site, absl::Time now) {
  Decision transfer = Evaluate(world, {data, from_site, to_site, Action::kTransfer}, now);
  if (!transfer.permitted) return transfer;
  Decision reside = Evaluate(world, {data, from_site, to_site, Action::kReside}, now);
  if (!reside.permitted) return reside;
  if (reside.rule != transfer.rule) absl::StrAppend(&transfer.sentence, "; ", reside.sentence);
  return transfer;
}

bool PermitsReplication(const World& world, const Labels& data, const std::string& from_site,
                        const std::string& to_site, absl::Time now) {
  Request request{data, from_site, to_site, Action::kTransfer};
  Subject subject;
  Decision decision;
  if (!Resolve(world, request, now, &subject, &decision)) return false;
  for (Action action : {Action::kTransfer, Action::kReside}) {
    subject.action = action;
    bool permit = false;
    for (const Rule& rule : world.rules) {
      const Truth truth = Judge(subject, rule, nullptr);
      if (truth == Truth::kError || (truth == Truth::kTrue && rule.effect == Effect::kForbid)) return false;
      permit = permit || truth == Truth::kTrue;
    }
    if (!permit) return false;
  }
  return true;
}

Explanation Explain(const World& world, const Request& request, absl::Time now) {
  Explanation out;
  Subject subject;
  if (!Resolve(world, request, now, &subject, &out.decision)) {
    out.remedy = "declare the site, its region and their parents, and apply";
    return out;
  }
  std::vector<const Rule*> rules;
  for (const Rule& rule : world.rules) rules.push_back(&rule);
  std::sort(rules.begin(), rules.end(), [](const Rule* a, const Rule* b) { return NameBefore(*a, *b); });
  Tally tally;
  for (const Rule* rule : rules) {
    std::vector<Finding> findings;
    const Truth truth = Judge(subject, *rule, &findings);
    tally.Count(*rule, truth);
    RuleOutcome outcome{rule->name(), rule->effect, truth == Truth::kTrue, truth == Truth::kError, ""};
    auto failing = std::find_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.truth == truth; });
    if (truth != Truth::kTrue && failing != findings.end()) outcome.failing = failing->text;
    out.rules.push_back(std::move(outcome));
  }
  out.decision = Decide(subject, tally);
  if (!out.decision.permitted) out.remedy = Remedy(subject, tally);
  return out;
}

const char* ReasonName(Reason reason) {
  switch (reason) {
    case Reason::kPermitted:
      return "PERMITTED";
    case Reason::kForbidden:
      return "FORBIDDEN";
    case Reason::kNoPermit:
      return "NO_PERMIT";
    case Reason::kError:
      return "ERROR";
  }
  return "ERROR";
}

const char* ActionName(Action action) {
  switch (action) {
    case Action::kTransfer:
      return "transfer";
    case Action::kReside:
      return "reside";
    case Action::kTransit:
      return "transit";
    case Action::kRelabel:
      return "relabel";
    case Action::kMoveSite:
      return "move-site";
  }
  return "unknown";
}

}  // namespace bailiwick::policy
