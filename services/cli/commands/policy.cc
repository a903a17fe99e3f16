// policy ..., site ...
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/policy/evaluator.h"
#include "services/cli/commands/command.h"

namespace bailiwick::cli {
namespace {

// Evaluated here, from the signed bundle and the signed classification: the coordinator is not asked for its opinion.
absl::StatusOr<int> Explain(const Globals& globals, const std::string& dataset, const std::string& from, const std::string& to) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(config::Bundle bundle, admin->ReadBundle());
  if (bundle.world.revision == 0) return absl::FailedPreconditionError("no policy was applied yet; run: bailiwick apply -f FILE");
  BW_ASSIGN_OR_RETURN(auto classifications, admin->ReadClassifications(bundle.world));
  const size_t at = dataset.rfind('@');
  const std::string name = dataset.substr(0, at);
  const config::Classification* known = nullptr;
  for (const auto& c : classifications) {
    if (c.dataset == name) known = &c;
  }
  if (known == nullptr) return absl::NotFoundError(absl::StrCat("dataset ", dataset, " does not exist or nobody signed what it is"));
  for (const std::string& site : {from, to}) {
    if (bundle.world.sites.count(site) == 0) return absl::NotFoundError(absl::StrCat("site ", site, " does not exist"));
  }
  const absl::Time now = os::Clock::System()->Now();
  bool permitted = true;
  std::vector<Json> actions;
  for (policy::Action action : {policy::Action::kTransfer, policy::Action::kReside}) {
    policy::Explanation e = policy::Explain(bundle.world, {known->labels, from, to, action}, now);
    permitted &= e.decision.permitted;
    if (globals.format() == Format::kTable) {
      std::cout << policy::ActionName(action) << ": " << (e.decision.permitted ? "PERMIT" : "DENY") << " (" << policy::ReasonName(e.decision.reason)
                << ")  " << e.decision.sentence << "\n";
      std::vector<std::vector<std::string>> rows;
      for (const auto& rule : e.rules) {
        rows.push_back({"  " + rule.rule, rule.effect == policy::Effect::kPermit ? "permit" : "forbid",
                        rule.error ? "ERROR" : (rule.applies ? "applies" : "does not apply"), rule.failing});
      }
      PrintTable({"  RULE", "EFFECT", "RESULT", "BECAUSE"}, rows);
      if (!e.remedy.empty()) std::cout << "  to allow it: " << e.remedy << "\n";
      std::cout << "\n";
    }
    std::vector<Json> rules;
    for (const auto& rule : e.rules) {
      rules.push_back(Object({{"rule", Text(rule.rule)}, {"effect", Text(rule.effect == policy::Effect::kPermit ? "permit" : "forbid")},
                              {"applies", Bool(rule.applies)}, {"error", Bool(rule.error)}, {"failing", Text(rule.failing)}}));
    }
    actions.push_back(Object({{"action", Text(policy::ActionName(action))}, {"permitted", Bool(e.decision.permitted)},
                              {"reason", Text(policy::ReasonName(e.decision.reason))}, {"rule", Text(e.decision.rule)},
                              {"sentence", Text(e.decision.sentence)}, {"remedy", Text(e.remedy)}, {"rules", List(std::move(rules))}}));
  }
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), {{"dataset", Text(dataset)}, {"from", Text(from)}, {"to", Text(to)}, {"permitted", Bool(permitted)},
                                 {"policyRevision", Number(bundle.world.revision)}, {"actions", List(std::move(actions))}});
  } else {
    std::cout << "a copy of " << dataset << " from " << from << " to " << to << " is " << (permitted ? "permitted" : "denied")
              << " at policy revision " << bundle.world.revision << "\n";
  }
  return permitted ? 0 : 3;
}

absl::Status Keygen(const std::string& out) {
  os::Files* files = os::Files::System();
  BW_ASSIGN_OR_RETURN(bool exists, files->Exists(out));
  if (exists) return absl::AlreadyExistsError(absl::StrCat(out, " exists; a key is never overwritten"));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey key, crypto::SigningKey::Generate());
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, out, key.ToPem()));
  config::PolicyRoot root;
  root.keys = {key.public_key()};
  auto hash = Digest::From(1, config::PolicyRootSha256(root));
  std::cout << "policy key in " << out << " (keep it off the coordinator)\npolicyRootSha256: " << (hash.ok() ? hash->Hex() : "") << "\n";
  return absl::OkStatus();
}

}  // namespace

void RegisterPolicy(CLI::App& app, Globals& globals) {
  auto* policy = app.add_subcommand("policy", "explain decisions, make keys");
  policy->require_subcommand(1);
  {
    auto* c = policy->add_subcommand("explain", "may this dataset go from one site to another: every rule, and why");
    auto dataset = std::make_shared<std::string>(), from = std::make_shared<std::string>(), to = std::make_shared<std::string>();
    c->add_option("--dataset", *dataset, "dataset, or a family's stream")->required();
    c->add_option("--from", *from, "site")->required();
    c->add_option("--to", *to, "site")->required();
    c->footer("Exit code 0: permitted; 3: denied.\nExample:\n  bailiwick policy explain --dataset telemetry --from factory --to cloud-us");
    OnRunCode(c, globals, [&globals, dataset, from, to] { return Explain(globals, *dataset, *from, *to); });
  }
  {
    auto* c = policy->add_subcommand("keygen", "make a policy key: what signs the law");
    auto out = std::make_shared<std::string>();
    c->add_option("--out", *out, "file, must not exist")->required();
    c->footer("Example:\n  bailiwick policy keygen --out ~/policy.pem");
    OnRun(c, globals, [out] { return Keygen(*out); });
  }
  auto* site = app.add_subcommand("site", "join tokens and approvals");
  site->require_subcommand(1);
  {
    auto* c = site->add_subcommand("join-token", "a string with which one agent joins as this site, once");
    auto name = std::make_shared<std::string>(), ttl = std::make_shared<std::string>("1h");
    c->add_option("SITE", *name, "site")->required();
    c->add_option("--ttl", *ttl, "how long it can be used (default 1h, at most 7d)");
    c->footer("Example:\n  bailiwick site join-token factory --ttl 15m");
    OnRun(c, globals, [&globals, name, ttl]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(absl::Duration t, ParseDuration(*ttl));
      BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
      BW_ASSIGN_OR_RETURN(std::string join, MakeJoinString(*admin, *name, t));
      if (globals.format() != Format::kTable) {
        PrintJson(globals.format(), {{"site", Text(*name)}, {"join", Text(join)}});
      } else {
        std::cout << join << "\n";
      }
      return absl::OkStatus();
    });
  }
  {
    auto* c = site->add_subcommand("approve", "pin the keys of joined agents in the signed policy; without it nothing flows");
    auto names = std::make_shared<std::vector<std::string>>();
    auto all = std::make_shared<bool>(false);
    c->add_option("SITE", *names, "sites");
    c->add_flag("--all", *all, "every site that has joined");
    c->footer("Example:\n  bailiwick site approve factory");
    OnRun(c, globals, [&globals, names, all]() -> absl::Status {
      if (names->empty() && !*all) return absl::InvalidArgumentError("name the sites to approve, or --all");
      BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
      BW_ASSIGN_OR_RETURN(std::vector<std::string> approved, ApproveSites(*admin, *names));
      if (approved.empty()) std::cout << "nothing to approve\n";
      for (const std::string& name : approved) std::cout << "site " << name << " approved\n";
      return absl::OkStatus();
    });
  }
}

}  // namespace bailiwick::cli
