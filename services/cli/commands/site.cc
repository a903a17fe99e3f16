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
#include "services/cli/commands/yes_flag.h"

namespace bailiwick::cli {
namespace {

std::string KeyText(const std::string& raw) { return std::string(absl::BytesToHexString(raw)); }

absl::Status JoinToken(const Globals& globals, const std::string& name, const std::string& ttl, bool dry_run) {
  BW_ASSIGN_OR_RETURN(absl::Duration life, ParseDuration(ttl));
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (dry_run) {
    control::v1::DryRunRequest act;
    act.mutable_create_join_token()->set_site(name);
    act.mutable_create_join_token()->mutable_ttl()->set_seconds(absl::ToInt64Seconds(life));
    return TryAct(globals, *admin, act);
  }
  control::v1::ListSitesResponse sites;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListSites(Admin::Call().get(), {}, &sites)));
  BW_ASSIGN_OR_RETURN(std::string join, MakeJoinString(*admin, name, life));
  for (const auto& site : sites.sites()) {
    if (site.name() != name || !site.approved()) continue;
    std::cerr << "bailiwick: site " << name << " is served by the machine with key "
              << KeyText(site.enrolment_ed25519())
              << "; who joins with this takes its place once it is approved: bailiwick site approve " << name << "\n";
  }
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

// The one that serves the site goes on until then: asked for by name, and agreed to.
absl::Status ConfirmReplacing(const Globals& globals, const std::vector<Approval>& approvals, bool yes) {
  for (const Approval& a : approvals) {
    if (a.replaces.empty()) continue;
    BW_RETURN_IF_ERROR(
        Confirm(globals, yes,
                absl::StrCat("Site ", a.pin.site(), " is served by the machine with key ", KeyText(a.replaces),
                             a.connected ? ", which is connected" : ", which is away", ". Let the one with key ",
                             KeyText(a.pin.ed25519()), " take its place?"),
                "nothing was approved"));
  }
  return absl::OkStatus();
}

absl::Status ApproveSites(const Globals& globals, const std::vector<std::string>& names, bool all, bool yes,
                          bool dry_run) {
  if (names.empty() && !all) return absl::InvalidArgumentError("name the sites to approve, or say --all");
  if (!names.empty() && all) return absl::InvalidArgumentError("name sites or say --all, not both");
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(const std::vector<Approval> approvals, FindApprovals(*admin, names));
  std::vector<std::string> effects;
  std::vector<Json> json;
  for (const Approval& a : approvals) {
    effects.push_back(absl::StrCat("the law pins the key of site ", a.pin.site(), ": ", KeyText(a.pin.ed25519()),
                                   a.replaces.empty() ? "" : absl::StrCat(", in place of ", KeyText(a.replaces))));
    json.push_back(Text(a.pin.site()));
  }
  if (effects.empty()) effects.push_back("nothing: no site waits to be approved");
  if (!dry_run) BW_RETURN_IF_ERROR(ConfirmReplacing(globals, approvals, yes));
  ChangeReport report;
  if (!approvals.empty()) {
    BW_ASSIGN_OR_RETURN(report, Approve(*admin, approvals, ExtentOf(dry_run)));
  }
  if (dry_run) return SayTried(globals, effects, report.pending);
  if (!globals.table()) {
    PrintJson(globals.format(), {{"approved", List(std::move(json))}, {"pending", Text(report.pending)}});
  } else if (approvals.empty()) {
    std::cout << "nothing to approve\n";
  } else if (!report.pending.empty()) {
    std::cout << NotInEffect(*admin, report.pending) << "\n";
  } else {
    for (const Approval& a : approvals)
      std::cout << "site " << a.pin.site() << " approved, key " << KeyText(a.pin.ed25519()) << "\n";
  }
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
    c->add_flag("--all", *all, "every site that has joined, but for those that another machine serves");
    auto yes = YesFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer(
        "Compare the key with what the machine says: bailiwick-agent certificate. Where another machine serves the "
        "site it "
        "asks before that one is replaced.\nExample:\n  bailiwick site approve factory");
    OnRun(c, globals,
          [&globals, names, all, yes, dry_run] { return ApproveSites(globals, *names, *all, *yes, *dry_run); });
  }
}

}  // namespace bailiwick::cli
