// site ...: how an agent comes to serve a site.
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "bailiwick/enroll/v1/enroll.pb.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/rpc/invitation.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"

namespace bailiwick::cli {
namespace {

absl::Status JoinToken(const Globals& globals, const std::string& name, const std::string& ttl, bool dry_run) {
  BW_ASSIGN_OR_RETURN(absl::Duration life, ParseDuration(ttl));
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (dry_run) {
    control::v1::DryRunRequest act;
    act.mutable_create_join_token()->set_site(name);
    act.mutable_create_join_token()->mutable_ttl()->set_seconds(absl::ToInt64Seconds(life));
    return TryAct(globals, *admin, act);
  }
  BW_ASSIGN_OR_RETURN(std::string join, MakeJoinString(*admin, name, life));
  if (globals.table()) {
    std::cout << join << "\n";
  } else {
    BW_ASSIGN_OR_RETURN(const enroll::v1::JoinString parts, rpc::ParseJoinString(join));
    PrintJson(globals.format(), {{"site", Text(name)},
                                 {"join", Text(join)},
                                 {"coordinator", Text(parts.join_address())},
                                 {"token", Text(parts.token())},
                                 {"caSha256", Text(absl::BytesToHexString(parts.ca_sha256()))},
                                 {"policyRootSha256", Text(absl::BytesToHexString(parts.policy_root_sha256()))}});
  }
  return absl::OkStatus();
}

absl::Status Approve(const Globals& globals, const std::vector<std::string>& names, bool all, bool dry_run) {
  if (names.empty() && !all) return absl::InvalidArgumentError("name the sites to approve, or say --all");
  if (!names.empty() && all) return absl::InvalidArgumentError("name sites or say --all, not both");
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(std::vector<std::string> approved, ApproveSites(*admin, names, ExtentOf(dry_run)));
  if (dry_run) {
    std::vector<std::string> effects;
    for (const std::string& name : approved) effects.push_back(absl::StrCat("the law pins the key of site ", name));
    return SayTried(globals, effects, "");
  }
  if (!globals.table()) {
    std::vector<Json> json;
    for (const std::string& name : approved) json.push_back(Text(name));
    PrintJson(globals.format(), {{"approved", List(std::move(json))}});
    return absl::OkStatus();
  }
  if (approved.empty()) std::cout << "nothing to approve\n";
  for (const std::string& name : approved) std::cout << "site " << name << " approved\n";
  return absl::OkStatus();
}

}  // namespace

void RegisterSites(CLI::App& app, Globals& globals) {
  auto* site = app.add_subcommand("site", "join tokens and approvals");
  site->require_subcommand(1);
  site->footer("Example:\n  bailiwick site join-token factory");
  {
    auto* c = site->add_subcommand("join-token", "a string with which one agent joins as this site, once");
    auto name = std::make_shared<std::string>(), ttl = std::make_shared<std::string>("1h");
    c->add_option("NAME", *name, "site")->type_name("SITE")->required();
    c->add_option("--ttl", *ttl, "how long it can be used (default 1h, at most 7d)");
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick site join-token factory --ttl 15m");
    OnRun(c, globals, [&globals, name, ttl, dry_run] { return JoinToken(globals, *name, *ttl, *dry_run); });
  }
  {
    auto* c =
        site->add_subcommand("approve", "pin the keys of joined agents in the signed policy; without it nothing flows");
    auto names = std::make_shared<std::vector<std::string>>();
    auto all = std::make_shared<bool>(false);
    c->add_option("NAME", *names, "sites")->type_name("SITE");
    c->add_flag("--all", *all, "every site that has joined");
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick site approve factory");
    OnRun(c, globals, [&globals, names, all, dry_run] { return Approve(globals, *names, *all, *dry_run); });
  }
}

}  // namespace bailiwick::cli
