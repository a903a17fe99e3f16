// policy explain, policy can-i: may this data go from here to there, and why.
#include <algorithm>
#include <iostream>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "services/cli/commands/named.h"
#include "services/cli/commands/policy_law.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

// A region stands for a site in it that has no labels and no entity.
absl::StatusOr<std::string> SiteFor(const std::string& name, policy::World* world) {
  if (world->sites.count(name) != 0) return name;
  if (!std::binary_search(world->regions.begin(), world->regions.end(), name)) {
    return absl::NotFoundError(absl::StrCat(name, " is neither a site nor a region; see: bailiwick get sites"));
  }
  policy::Site site;
  site.name = absl::StrCat("any site of ", name);
  site.region = name;
  world->sites[site.name] = site;
  return site.name;
}

absl::StatusOr<std::vector<policy::Action>> Actions(const std::string& text) {
  using policy::Action;
  if (text.empty()) return std::vector<Action>{Action::kTransfer, Action::kReside};
  for (Action action : {Action::kTransfer, Action::kReside, Action::kTransit, Action::kRelabel}) {
    if (text == policy::ActionName(action)) return std::vector<Action>{action};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--action ", text, " is not one that a flow asks for; one of: transfer, reside, transit, relabel"));
}

absl::StatusOr<int> CanI(const Globals& globals, const Question& question) {
  BW_RETURN_IF_ERROR(NeedsNoName(globals, "policy can-i"));
  BW_ASSIGN_OR_RETURN(absl::Time now, ParseAt(question.at));
  BW_ASSIGN_OR_RETURN(Law law, LoadLaw(globals, question.files, now));
  BW_ASSIGN_OR_RETURN(policy::NamedData data, ChooseData(law, question));
  BW_ASSIGN_OR_RETURN(std::vector<policy::Action> actions, Actions(question.action));
  BW_ASSIGN_OR_RETURN(std::string from, SiteFor(question.from.front(), &law.world));
  BW_ASSIGN_OR_RETURN(std::string to, SiteFor(question.to, &law.world));
  policy::Decision decision;
  policy::Obligations obligations;
  std::string remedy;
  for (policy::Action action : actions) {
    policy::Explanation e = policy::Explain(law.world, {data.labels, from, to, action, question.purpose}, now);
    if (!decision.permitted || !e.decision.permitted) decision = e.decision;  // the first, or what denies
    remedy = e.remedy;
    if (!e.decision.permitted) break;
    obligations.Add(e.decision.obligations);
  }
  const std::string duties = decision.permitted ? ObligationsText(obligations) : "";
  if (globals.table()) {
    std::cout << (decision.permitted ? "yes: " : "no: ") << decision.sentence << "\n";
    if (!duties.empty()) std::cout << "with the obligations: " << duties << "\n";
    if (!remedy.empty()) std::cout << "to allow it: " << remedy << "\n";
  } else {
    PrintJson(globals.format(), {{"permitted", Bool(decision.permitted)},
                                 {"reason", Text(policy::ReasonName(decision.reason))},
                                 {"rule", Text(decision.rule)},
                                 {"sentence", Text(decision.sentence)},
                                 {"obligations", Text(duties)},
                                 {"remedy", Text(remedy)},
                                 {"policyRevision", Number(law.world.revision)}});
  }
  return decision.permitted ? 0 : 3;
}

const char* EffectName(policy::Effect effect) { return effect == policy::Effect::kPermit ? "permit" : "forbid"; }

void PrintExplanation(policy::Action action, const policy::Explanation& e) {
  std::cout << policy::ActionName(action) << ": " << (e.decision.permitted ? "PERMIT" : "DENY") << " ("
            << policy::ReasonName(e.decision.reason) << ")  " << e.decision.sentence << "\n";
  std::vector<std::vector<std::string>> rows;
  for (const auto& rule : e.rules) {
    rows.push_back({"  " + rule.rule,
                    absl::StrCat(EffectName(rule.effect), rule.tier == policy::Tier::kGuardrail ? " (guardrail)" : ""),
                    rule.error ? "ERROR" : (rule.applies ? "applies" : "does not apply"), rule.failing});
  }
  PrintTable({"  RULE", "EFFECT", "RESULT", "BECAUSE"}, rows);
  const std::string duties = ObligationsText(e.decision.obligations);
  if (!duties.empty()) std::cout << "  with the obligations: " << duties << "\n";
  if (!e.remedy.empty()) std::cout << "  to allow it: " << e.remedy << "\n";
  std::cout << "\n";
}

Json ExplanationJson(policy::Action action, const policy::Explanation& e) {
  std::vector<Json> rules;
  for (const auto& rule : e.rules) {
    rules.push_back(Object({{"rule", Text(rule.rule)},
                            {"effect", Text(EffectName(rule.effect))},
                            {"guardrail", Bool(rule.tier == policy::Tier::kGuardrail)},
                            {"applies", Bool(rule.applies)},
                            {"error", Bool(rule.error)},
                            {"failing", Text(rule.failing)}}));
  }
  return Object({{"action", Text(policy::ActionName(action))},
                 {"permitted", Bool(e.decision.permitted)},
                 {"reason", Text(policy::ReasonName(e.decision.reason))},
                 {"rule", Text(e.decision.rule)},
                 {"basis", Text(e.decision.basis)},
                 {"obligations", Text(ObligationsText(e.decision.obligations))},
                 {"sentence", Text(e.decision.sentence)},
                 {"remedy", Text(e.remedy)},
                 {"rules", List(std::move(rules))}});
}

struct Explained {
  std::string what, from, to, law;
  bool permitted = true;
  uint64_t revision = 0;
  std::vector<std::pair<policy::Action, policy::Explanation>> actions;
  Fields ToFields() const {
    std::vector<Json> items;
    for (const auto& [action, e] : actions) items.push_back(ExplanationJson(action, e));
    return {{"dataset", Text(what)},
            {"from", Text(from)},
            {"to", Text(to)},
            {"permitted", Bool(permitted)},
            {"policyRevision", Number(revision)},
            {"actions", List(std::move(items))}};
  }
};

// Evaluated here, from the signed bundle and the signed classification: the coordinator is not asked for its opinion.
absl::StatusOr<Explained> ExplainAll(Law law, const Question& question) {
  using policy::Action;
  BW_ASSIGN_OR_RETURN(absl::Time now, ParseAt(question.at));
  BW_ASSIGN_OR_RETURN(policy::NamedData data, ChooseData(law, question));
  Explained out;
  BW_ASSIGN_OR_RETURN(out.from, SiteFor(question.from.empty() ? "" : question.from.front(), &law.world));
  BW_ASSIGN_OR_RETURN(out.to, SiteFor(question.to, &law.world));
  std::vector<std::tuple<Action, std::string, std::string>> asks = {{Action::kTransfer, out.from, out.to},
                                                                    {Action::kReside, out.from, out.to}};
  // A site that is not the home sends on only with transit.
  if (!data.home.empty() && data.home != out.from) asks.emplace_back(Action::kTransit, data.home, out.from);
  for (const auto& [action, source, destination] : asks) {
    out.actions.emplace_back(
        action, policy::Explain(law.world, {data.labels, source, destination, action, question.purpose}, now));
    out.permitted &= out.actions.back().second.decision.permitted;
  }
  out.what = data.name.empty() ? absl::StrCat("data with ", LabelsText(data.labels)) : question.dataset;
  out.law = law.name;
  out.revision = law.world.revision;
  return out;
}

absl::StatusOr<int> Explain(const Globals& globals, const Question& question) {
  BW_RETURN_IF_ERROR(NeedsNoName(globals, "policy explain"));
  BW_ASSIGN_OR_RETURN(absl::Time now, ParseAt(question.at));
  BW_ASSIGN_OR_RETURN(Law law, LoadLaw(globals, question.files, now));
  BW_ASSIGN_OR_RETURN(const Explained e, ExplainAll(std::move(law), question));
  if (globals.table()) {
    for (const auto& [action, explanation] : e.actions) PrintExplanation(action, explanation);
    std::cout << "a copy of " << e.what << " from " << e.from << " to " << e.to << " is "
              << (e.permitted ? "permitted" : "denied") << " at " << e.law << "\n";
  } else {
    PrintJson(globals.format(), e.ToFields());
  }
  return e.permitted ? 0 : 3;
}

}  // namespace

absl::StatusOr<Fields> ExplainView(Law law, const Question& question) {
  BW_ASSIGN_OR_RETURN(const Explained e, ExplainAll(std::move(law), question));
  return e.ToFields();
}

void RegisterPolicyExplain(CLI::App& policy, Globals& globals) {
  {
    auto* c = policy.add_subcommand("explain", "may data go from one site to another: every rule, and why");
    auto q = AskFlags(c);
    c->add_option("--from", q->from, "site, or a region for any site of it without labels")
        ->type_name("SITE")
        ->required()
        ->expected(1);
    c->add_option("--to", q->to, "the same")->type_name("SITE")->required();
    c->footer(
        "Of a site that is not the dataset's home also transit is explained: may it send on.\n"
        "Exit code 0: permitted; 3: denied.\nExamples:\n  bailiwick policy explain --dataset telemetry --from factory "
        "--to cloud-us\n  bailiwick policy explain --label class=health --from eu --to us -f policies/");
    OnRunCode(c, globals, [&globals, q] { return Explain(globals, *q); });
  }
  {
    auto* c = policy.add_subcommand("can-i", "may such data go from one site or region to another: yes or no, and why");
    auto q = AskFlags(c);
    c->add_option("--from", q->from, "site, or a region for any site of it without labels")
        ->type_name("SITE")
        ->required()
        ->expected(1);
    c->add_option("--to", q->to, "the same")->type_name("SITE")->required();
    c->add_option("--action", q->action,
                  "transfer, reside, transit or relabel; default: a copy, which is transfer and reside");
    c->footer(
        "Exit code 0: yes; 3: no.\nExamples:\n  bailiwick policy can-i --dataset scans --from hospital --to cloud-us\n"
        "  bailiwick policy can-i --label class=health --from eu/de --to us -f policies/");
    OnRunCode(c, globals, [&globals, q] { return CanI(globals, *q); });
  }
}

}  // namespace bailiwick::cli
