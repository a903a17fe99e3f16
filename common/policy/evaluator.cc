#include "common/policy/evaluator.h"

#include <algorithm>
#include <functional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/policy/judge.h"

namespace bailiwick::policy {
namespace {

bool NameBefore(const Rule& a, const Rule& b) { return std::tie(a.policy, a.id) < std::tie(b.policy, b.id); }

bool Guards(const Rule& rule, Action action) {
  return rule.tier == Tier::kGuardrail && rule.effect == Effect::kPermit &&
         std::find(rule.actions.begin(), rule.actions.end(), action) != rule.actions.end();
}

// What was found, each the lowest by name so that the order of rules never shows.
struct Tally {
  explicit Tally(Action asked) : action(asked) {}

  const Action action;
  const Rule* forbid = nullptr;
  const Rule* error = nullptr;
  const Rule* permit = nullptr;     // of the policy tier
  const Rule* guardrail = nullptr;  // permit of the guardrail tier
  bool guarded = false;             // some guardrail rule permits the action for somebody: one must here
  Obligations obligations;          // of all permits
  const Rule* retention = nullptr;  // whose max_retention is the strictest

  bool permitted() const {
    return forbid == nullptr && error == nullptr && permit != nullptr && (!guarded || guardrail != nullptr);
  }
  void Count(const Rule& rule, Truth truth) {
    guarded = guarded || Guards(rule, action);
    if (truth == Truth::kFalse) return;
    const Rule** slot = &error;
    if (truth == Truth::kTrue && rule.effect == Effect::kForbid) {
      slot = &forbid;
    } else if (truth == Truth::kTrue) {
      slot = rule.tier == Tier::kGuardrail ? &guardrail : &permit;
      if (!rule.obligations.none()) Oblige(rule);
    }
    if (*slot == nullptr || NameBefore(rule, **slot)) *slot = &rule;
  }
  void Oblige(const Rule& rule) {
    const absl::Duration limit = rule.obligations.max_retention;
    const bool as_strict = limit != absl::InfiniteDuration() && limit == obligations.max_retention;
    if (limit < obligations.max_retention || (as_strict && NameBefore(rule, *retention))) retention = &rule;
    obligations.Add(rule.obligations);
  }
};

std::string Where(const Site& site) { return absl::StrCat(site.name, " (", site.region, ")"); }

std::string Describe(const Subject& subject) {
  if (subject.action == Action::kReside) {
    return absl::StrCat("reside at ", Where(*subject.to), " of data from ", Where(*subject.from));
  }
  if (subject.action == Action::kRelabel) return absl::StrCat("relabel at ", Where(*subject.to));
  if (subject.action == Action::kMoveSite) {
    return absl::StrCat("move-site of ", Where(*subject.from), " to ", subject.to->region);
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

// The permit rule of the tier that comes closest to permitting it, with what it found. Null when there is none.
const Rule* Nearest(const Subject& subject, Tier tier, std::vector<Finding>* findings) {
  const Rule* nearest = nullptr;
  std::vector<About> least;
  for (const Rule& rule : subject.world->rules) {
    if (rule.effect != Effect::kPermit || rule.tier != tier) continue;
    std::vector<Finding> found;
    Judge(subject, rule, &found);
    std::vector<About> failing;
    for (const Finding& finding : found) {
      if (finding.truth != Truth::kTrue) failing.push_back(finding.about);
    }
    std::sort(failing.begin(), failing.end(), std::greater<>());
    // Of as many, those that concern the data least: "change its label" is nobody's next step where waiting is enough.
    const bool nearer = nearest == nullptr || std::tuple(failing.size(), failing) < std::tuple(least.size(), least) ||
                        (failing == least && NameBefore(rule, *nearest));
    if (!nearer) continue;
    nearest = &rule;
    least = std::move(failing);
    *findings = std::move(found);
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

// Why no permit is enough: the tier that lacks one, and its nearest rule.
std::string NoPermit(const Subject& subject, const Tally& tally) {
  const std::string flow = Describe(subject);
  if (subject.world->rules.empty()) return absl::StrCat("no sovereignty policy is declared, which denies ", flow);
  const Tier tier = tally.permit == nullptr ? Tier::kPolicy : Tier::kGuardrail;
  const char* what = tier == Tier::kPolicy ? "rule" : "guardrail";
  std::vector<Finding> findings;
  const Rule* nearest = Nearest(subject, tier, &findings);
  if (nearest == nullptr) return absl::StrCat("no ", what, " permits ", flow, ": there is no permit rule at all");
  return absl::StrCat("no ", what, " permits ", flow, "; the nearest, ", nearest->name(),
                      ", does not: ", Lacks(findings));
}

Decision Decide(const Subject& subject, const Tally& tally) {
  Decision decision;
  decision.revision = subject.world->revision;
  std::vector<Finding> findings;
  auto because = [&](const Rule& rule, const char* verb) {
    Judge(subject, rule, &findings);
    decision.rule = rule.name();
    const std::string conditions = Texts(findings, Truth::kTrue);
    decision.sentence = absl::StrCat("policy ", rule.name(), " ", verb, " ", Describe(subject), ": ",
                                     conditions.empty() ? "whatever the data" : conditions);
  };
  if (tally.forbid != nullptr) {
    decision.reason = Reason::kForbidden;
    because(*tally.forbid, "forbids");
  } else if (tally.error != nullptr) {
    decision.reason = Reason::kError;
    Judge(subject, *tally.error, &findings);
    decision.rule = tally.error->name();
    decision.sentence = absl::StrCat("policy ", decision.rule, " cannot be evaluated, which denies ", Describe(subject),
                                     ": ", Texts(findings, Truth::kError));
  } else if (tally.permitted()) {
    decision.reason = Reason::kPermitted;
    decision.permitted = true;
    because(*tally.permit, "permits");
    decision.obligations = tally.obligations;
    if (tally.retention != nullptr) decision.retention_rule = tally.retention->name();
    decision.basis = tally.permit->basis;
    if (tally.guarded) {
      absl::StrAppend(&decision.sentence, "; so does guardrail ", tally.guardrail->name());
      if (decision.basis.empty()) decision.basis = tally.guardrail->basis;
    }
  } else {
    decision.reason = Reason::kNoPermit;
    decision.sentence = NoPermit(subject, tally);
  }
  return decision;
}

// The sites of the request as the signed registry has them.
bool Resolve(const World& world, const Request& request, absl::Time now, Subject* subject, Decision* decision) {
  *subject = Subject{&world, &request.data, nullptr, nullptr, request.action, now, request.purpose};
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

// What the tier that permits nothing lacks, added to the steps unless they say so already.
void AddNearest(const Subject& subject, Tier tier, std::vector<std::string>* steps) {
  std::vector<Finding> findings;
  if (Nearest(subject, tier, &findings) == nullptr) {
    steps->push_back(absl::StrCat("add a rule that permits ", ActionName(subject.action), " of this data from ",
                                  subject.from->region, " to ", subject.to->region));
    return;
  }
  for (const Finding& f : findings) {
    const bool named = std::find(steps->begin(), steps->end(), f.remedy) != steps->end();
    if (f.truth != Truth::kTrue && !named) steps->push_back(f.remedy);
  }
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
  if (tally.permit == nullptr) AddNearest(subject, Tier::kPolicy, &steps);
  if (tally.guarded && tally.guardrail == nullptr) AddNearest(subject, Tier::kGuardrail, &steps);
  return absl::StrJoin(steps, ", and ");
}

Decision EvaluateSubject(const Subject& subject) {
  Tally tally(subject.action);
  for (const Rule& rule : subject.world->rules) tally.Count(rule, Judge(subject, rule, nullptr));
  return Decide(subject, tally);
}

bool Permits(const Subject& subject) {
  Tally tally(subject.action);
  for (const Rule& rule : subject.world->rules) {
    tally.Count(rule, Judge(subject, rule, nullptr));
    if (tally.forbid != nullptr || tally.error != nullptr) return false;
  }
  return tally.permitted();
}

}  // namespace

std::vector<Request> RequestsOf(const Flow& flow) {
  std::vector<Request> requests = {{flow.data, flow.from_site, flow.to_site, Action::kTransfer, flow.purpose},
                                   {flow.data, flow.from_site, flow.to_site, Action::kReside, flow.purpose}};
  if (!flow.home_site.empty() && flow.home_site != flow.from_site) {
    requests.push_back({flow.data, flow.home_site, flow.from_site, Action::kTransit, flow.purpose});
  }
  return requests;
}

Decision Evaluate(const World& world, const Request& request, absl::Time now) {
  Subject subject;
  Decision decision;
  if (!Resolve(world, request, now, &subject, &decision)) return decision;
  return EvaluateSubject(subject);
}

Decision EvaluateSites(const World& world, const Labels& data, const Site& from, const Site& to, Action action,
                       const std::string& purpose, absl::Time now) {
  for (const Site* site : {&from, &to}) {
    if (std::binary_search(world.regions.begin(), world.regions.end(), site->region)) continue;
    Decision decision;
    decision.reason = Reason::kError;
    decision.revision = world.revision;
    decision.sentence = absl::StrCat("region ", site->region, " of site ", site->name,
                                     " is not declared, which denies ", ActionName(action));
    return decision;
  }
  return EvaluateSubject({&world, &data, &from, &to, action, now, purpose});
}

Decision EvaluateReplication(const World& world, const Flow& flow, absl::Time now) {
  Decision all;
  for (const Request& request : RequestsOf(flow)) {
    Decision one = Evaluate(world, request, now);
    if (!one.permitted) return one;
    if (!all.permitted) {
      all = std::move(one);
      continue;
    }
    if (one.rule != all.rule) absl::StrAppend(&all.sentence, "; ", one.sentence);
    if (one.obligations.max_retention < all.obligations.max_retention) all.retention_rule = one.retention_rule;
    all.obligations.Add(one.obligations);
  }
  return all;
}

bool PermitsReplication(const World& world, const Flow& flow, absl::Time now) {
  for (const Request& request : RequestsOf(flow)) {
    Subject subject;
    Decision decision;
    if (!Resolve(world, request, now, &subject, &decision) || !Permits(subject)) return false;
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
  Tally tally(request.action);
  for (const Rule* rule : rules) {
    std::vector<Finding> findings;
    const Truth truth = Judge(subject, *rule, &findings);
    tally.Count(*rule, truth);
    RuleOutcome outcome{rule->name(), rule->effect, truth == Truth::kTrue, truth == Truth::kError, "", rule->tier};
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
