// policy ...: decisions explained, keys made.
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
absl::StatusOr<int> Explain(const Globals& globals, const std::string& dataset, const std::string& from,
                            const std::string& to) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(config::Bundle bundle, admin->ReadBundle());
  if (bundle.world.revision == 0)
    return absl::FailedPreconditionError("no policy was applied yet; run: bailiwick apply -f FILE");
  BW_ASSIGN_OR_RETURN(auto classifications, admin->ReadClassifications(bundle.world));
  const size_t at = dataset.rfind('@');
  const std::string name = dataset.substr(0, at);
  const config::Classification* known = nullptr;
  std::vector<std::string> names;
  for (const auto& c : classifications) {
    if (c.dataset == name) known = &c;
    names.push_back(c.dataset);
  }
  if (known == nullptr) {
    const std::string near = config::Suggest(name, names);
    return absl::NotFoundError(absl::StrCat("dataset ", dataset, " does not exist or nobody signed what it is",
                                            near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
  }
  if (at != std::string::npos) {
    auto stream = config::StreamOf(*known, dataset.substr(at + 1), bundle.world);
    if (!stream.ok())
      return absl::NotFoundError(
          absl::StrCat("stream ", dataset, " does not exist: ", std::string(stream.status().message())));
  }
  for (const std::string& site : {from, to}) {
    if (bundle.world.sites.count(site) == 0) {
      return absl::NotFoundError(absl::StrCat("site ", site, " does not exist; see: bailiwick get sites"));
    }
  }
  const absl::Time now = os::Clock::System()->Now();
  bool permitted = true;
  std::vector<Json> actions;
  for (policy::Action action : {policy::Action::kTransfer, policy::Action::kReside}) {
    policy::Explanation e = policy::Explain(bundle.world, {known->labels, from, to, action}, now);
    permitted &= e.decision.permitted;
    if (globals.format() == Format::kTable) {
      std::cout << policy::ActionName(action) << ": " << (e.decision.permitted ? "PERMIT" : "DENY") << " ("
                << policy::ReasonName(e.decision.reason) << ")  " << e.decision.sentence << "\n";
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
      rules.push_back(Object({{"rule", Text(rule.rule)},
                              {"effect", Text(rule.effect == policy::Effect::kPermit ? "permit" : "forbid")},
                              {"applies", Bool(rule.applies)},
                              {"error", Bool(rule.error)},
                              {"failing", Text(rule.failing)}}));
    }
    actions.push_back(Object({{"action", Text(policy::ActionName(action))},
                              {"permitted", Bool(e.decision.permitted)},
                              {"reason", Text(policy::ReasonName(e.decision.reason))},
                              {"rule", Text(e.decision.rule)},
                              {"sentence", Text(e.decision.sentence)},
                              {"remedy", Text(e.remedy)},
                              {"rules", List(std::move(rules))}}));
  }
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), {{"dataset", Text(dataset)},
                                 {"from", Text(from)},
                                 {"to", Text(to)},
                                 {"permitted", Bool(permitted)},
                                 {"policyRevision", Number(bundle.world.revision)},
                                 {"actions", List(std::move(actions))}});
  } else {
    std::cout << "a copy of " << dataset << " from " << from << " to " << to << " is "
              << (permitted ? "permitted" : "denied") << " at policy revision " << bundle.world.revision << "\n";
  }
  return permitted ? 0 : 3;
}

absl::Status Keygen(const Globals& globals, const std::string& out) {
  os::Files* files = os::Files::System();
  BW_ASSIGN_OR_RETURN(bool exists, files->Exists(out));
  if (exists) return absl::AlreadyExistsError(absl::StrCat(out, " exists; a key is never overwritten"));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey key, crypto::SigningKey::Generate());
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, out, key.ToPem()));
  config::PolicyRoot root;
  root.keys = {key.public_key()};
  auto hash = Digest::From(1, config::PolicyRootSha256(root));
  if (!globals.table()) {
    PrintJson(globals.format(), {{"file", Text(out)}, {"policyRootSha256", Text(hash.ok() ? hash->Hex() : "")}});
    return absl::OkStatus();
  }
  std::cout << "policy key in " << out
            << " (keep it off the coordinator)\npolicyRootSha256: " << (hash.ok() ? hash->Hex() : "") << "\n";
  return absl::OkStatus();
}

}  // namespace

void RegisterPolicy(CLI::App& app, Globals& globals) {
  auto* policy = app.add_subcommand("policy", "explain decisions, make keys");
  policy->require_subcommand(1);
  policy->footer("Example:\n  bailiwick policy explain --dataset telemetry --from factory --to core");
  {
    auto* c = policy->add_subcommand("explain", "may this dataset go from one site to another: every rule, and why");
    auto dataset = std::make_shared<std::string>(), from = std::make_shared<std::string>(),
         to = std::make_shared<std::string>();
    c->add_option("--dataset", *dataset, "dataset, or a family's stream")->required();
    c->add_option("--from", *from, "site")->required();
    c->add_option("--to", *to, "site")->required();
    c->footer(
        "Exit code 0: permitted; 3: denied.\nExample:\n  bailiwick policy explain --dataset telemetry --from factory "
        "--to cloud-us");
    OnRunCode(c, globals, [&globals, dataset, from, to] { return Explain(globals, *dataset, *from, *to); });
  }
  {
    auto* c = policy->add_subcommand("keygen", "make a policy key: what signs the law");
    auto out = std::make_shared<std::string>();
    c->add_option("--out", *out, "file, must not exist")->required();
    c->footer("Example:\n  bailiwick policy keygen --out ~/policy.pem");
    OnRun(c, globals, [&globals, out] { return Keygen(globals, *out); });
  }
}

}  // namespace bailiwick::cli
