// policy ...: the group of commands, and policy keygen.
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/files.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/policy_law.h"

namespace bailiwick::cli {
namespace {

absl::Status Keygen(const Globals& globals, const std::string& out, bool dry_run) {
  os::Files* files = os::Files::System();
  BW_ASSIGN_OR_RETURN(bool exists, files->Exists(out));
  if (exists) return absl::AlreadyExistsError(absl::StrCat(out, " exists; a key is never overwritten"));
  if (dry_run) return SayTried(globals, {absl::StrCat("a new policy key is in ", out)}, "");
  BW_ASSIGN_OR_RETURN(crypto::SigningKey key, crypto::SigningKey::Generate());
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, out, key.ToPem()));
  config::PolicyRoot root;
  root.keys = {key.public_key()};
  auto hash = Digest::From(1, config::PolicyRootSha256(root));
  if (!globals.table()) {
    PrintJson(globals.format(), {{"file", Text(out)},
                                 {"publicKey", Text(absl::BytesToHexString(key.public_key()))},
                                 {"policyRootSha256", Text(hash.ok() ? hash->Hex() : "")}});
    return absl::OkStatus();
  }
  std::cout << "policy key in " << out
            << " (keep it off the coordinator)\npublicKey: " << std::string(absl::BytesToHexString(key.public_key()))
            << "\npolicyRootSha256: " << (hash.ok() ? hash->Hex() : "") << "\n";
  return absl::OkStatus();
}

}  // namespace

void RegisterPolicy(CLI::App& app, Globals& globals) {
  auto* policy = app.add_subcommand(
      "policy", "check, test and explain the law; ask what it allows and what a change would do; make keys");
  policy->require_subcommand(1);
  policy->footer("Example:\n  bailiwick policy explain --dataset telemetry --from factory --to core");
  RegisterPolicyExplain(*policy, globals);
  {
    auto* c = policy->add_subcommand("keygen", "make a policy key: what signs the law");
    auto out = std::make_shared<std::string>();
    c->add_option("--out", *out, "file, must not exist")->type_name("PATH")->required();
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick policy keygen --out ~/policy.pem");
    OnRun(c, globals, [&globals, out, dry_run] { return Keygen(globals, *out, *dry_run); });
  }
  RegisterPolicyCheck(*policy, globals);
  RegisterPolicyReach(*policy, globals);
  RegisterPolicyDiff(*policy, globals);
}

}  // namespace bailiwick::cli
