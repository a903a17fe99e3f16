// login, login-token, whoami; proposals, approve, withdraw: people, what they may, and what takes two of them.
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/crypto/sign.h"
#include "common/os/files.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/policy_impact.h"
#include "services/cli/commands/views.h"
#include "services/cli/commands/yes_flag.h"
#include "services/cli/core/contexts.h"

namespace bailiwick::cli {
namespace {

constexpr size_t kOrderId = 32;  // hexadecimal digits

std::string RoleText(int role) {
  const std::string name = resource::v1::Role_Name(static_cast<resource::v1::Role>(role));
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"role_", ""}, {"_", "-"}});
}

absl::Status LoginToken(const Globals& globals, const std::string& person, const std::string& ttl, bool dry_run) {
  BW_ASSIGN_OR_RETURN(absl::Duration life, ParseDuration(ttl));
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (dry_run) {
    control::v1::DryRunRequest act;
    act.mutable_create_login_token()->set_person(person);
    act.mutable_create_login_token()->mutable_ttl()->set_seconds(absl::ToInt64Seconds(life));
    return TryAct(globals, *admin, act);
  }
  control::v1::Proposal proposal;
  BW_ASSIGN_OR_RETURN(std::string login, MakeLoginString(*admin, person, life, &proposal));
  if (login.empty()) {
    BW_RETURN_IF_ERROR(SayProposed(globals, proposal));
    if (globals.table()) std::cout << "then say this once more: the login string is for you alone\n";
    return absl::OkStatus();
  }
  if (globals.table()) {
    std::cout << login << "\n";
  } else {
    PrintJson(globals.format(), {{"person", Text(person)}, {"login", Text(login)}});
  }
  return absl::OkStatus();
}

std::string ReadSecretLine(const char* prompt) {
  if (IsTerminal(0)) std::cerr << prompt;
  std::string line;
  std::getline(std::cin, line);
  return std::string(absl::StripAsciiWhitespace(line));
}

absl::Status LogIn(const Globals& globals, const std::string& token, std::string to, bool replace,
                   std::vector<std::string> policy_keys, rpc::Proxy::Settings way_out, bool dry_run) {
  if (to.empty() && !globals.context.empty()) to = ChooseContext(globals.context).path;
  if (to.empty()) {
    const char* home = std::getenv("HOME");
    if (home == nullptr) return absl::InvalidArgumentError("say where the context goes: --to DIR");
    to = absl::StrCat(home, "/.config/bailiwick");
  }
  std::error_code error;
  to = std::filesystem::absolute(to, error).string();
  for (std::string& key : policy_keys) {
    key = std::filesystem::absolute(key, error).string();
    BW_ASSIGN_OR_RETURN(const std::string pem, os::ReadFile(os::Files::System(), key, 64 << 10));
    if (auto parsed = crypto::SigningKey::FromPem(pem); !parsed.ok()) return Annotate(parsed.status(), key);
  }
  if (!way_out.credentials.empty())
    way_out.credentials = std::filesystem::absolute(way_out.credentials, error).string();
  if (dry_run) {
    BW_ASSIGN_OR_RETURN(const std::vector<std::string> effects, TryLogin(token, to, replace, way_out));
    return SayTried(globals, effects, "");
  }
  BW_ASSIGN_OR_RETURN(std::string name, Login(token, to, replace, policy_keys, way_out));
  if (globals.table()) {
    std::cout << "logged in as " << name << "; the context is in " << to << "\n";
  } else {
    PrintJson(globals.format(), {{"person", Text(name)}, {"context", Text(to)}});
  }
  return absl::OkStatus();
}

Fields FieldsOf(const control::v1::WhoAmIResponse& me) {
  std::vector<Json> roles;
  for (int role : me.roles()) roles.push_back(Text(RoleText(role)));
  return {{"identity", Text(me.spiffe_id())},
          {"roles", List(std::move(roles))},
          {"bound", Bool(me.bound())},
          {"certificateExpires", Text(TimeText(me.certificate_expires()))}};
}

absl::Status WhoAmI(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::WhoAmIResponse me;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().WhoAmI(Admin::Call().get(), {}, &me)));
  std::vector<std::string> roles;
  for (int role : me.roles()) roles.push_back(RoleText(role));
  if (globals.table()) {
    std::cout << me.spiffe_id() << "\nroles: " << (roles.empty() ? "none" : absl::StrJoin(roles, ", "))
              << (me.bound() ? "" : " (no RoleBinding is declared: every admin has all)") << "\nuntil "
              << TimeText(me.certificate_expires()) << "\n";
    return absl::OkStatus();
  }
  PrintJson(globals.format(), FieldsOf(me));
  return absl::OkStatus();
}

absl::Status Proposals(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::ListProposalsResponse proposals;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListProposals(Admin::Call().get(), {}, &proposals)));
  control::v1::GetPendingResponse pending;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().GetPending(Admin::Call().get(), {}, &pending)));
  Rows rows;
  std::vector<Json> json;
  auto add = [&](const std::string& id, const std::string& what, const std::string& by,
                 const google::protobuf::Timestamp& since) {
    rows.push_back({id, TimeText(since), by, what});
    json.push_back(
        Object({{"id", Text(id)}, {"since", Text(TimeText(since))}, {"by", Text(by)}, {"what", Text(what)}}));
  };
  if (pending.has_pending()) {
    const auto& p = pending.pending();
    add(ShortId(p), absl::StrCat("a change of resources: ", p.missing()), p.by(), p.since());
  }
  control::v1::ListRedactionsResponse orders;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListRedactions(Admin::Call().get(), {}, &orders)));
  for (const auto& order : orders.redactions()) {
    if (order.state() != "waiting") continue;
    add(order.order_id(), absl::StrCat("redact ", order.dataset(), " (", order.reason(), "): ", order.missing()),
        order.by(), order.issued_at());
  }
  for (const auto& p : proposals.proposals()) {
    const std::string approved = p.approved_by().empty() ? "" : absl::StrCat(", approved by ", p.approved_by());
    add(p.id(), absl::StrCat(p.what(), approved), p.by(), p.since());
  }
  if (globals.table()) {
    PrintTable({"ID", "SINCE", "BY", "WHAT"}, rows);
  } else {
    PrintJson(globals.format(), {{"proposals", List(std::move(json))}});
  }
  return absl::OkStatus();
}

// The change that waits, when it is the one with this id.
absl::StatusOr<control::v1::GetPendingResponse> FindChange(Admin& admin, const std::string& id) {
  control::v1::GetPendingResponse pending;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().GetPending(Admin::Call().get(), {}, &pending)));
  if (!pending.has_pending() || ShortId(pending.pending()) != id) pending.Clear();
  return pending;
}

absl::Status Approve(const Globals& globals, const std::string& id, const ApprovalFlags& flags) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(const control::v1::GetPendingResponse pending, FindChange(*admin, id));
  if (pending.has_pending()) return ApproveChange(globals, *admin, pending.request(), flags);
  if (id.size() == kOrderId) return ApproveRedaction(globals, id, {}, flags.yes, flags.dry_run);
  control::v1::DryRunRequest act;
  act.mutable_approve()->set_id(id);
  if (flags.dry_run) return TryAct(globals, *admin, act);
  BW_ASSIGN_OR_RETURN(const control::v1::DryRunResponse tried, admin->Try(act));  // one that is not there asks nothing
  if (globals.table()) {
    for (const std::string& effect : tried.effects()) std::cout << FormatMessage(effect) << "\n";
  }
  BW_RETURN_IF_ERROR(Confirm(globals, flags.yes, absl::StrCat("Approve proposal ", id, "?"), "nothing was approved"));
  control::v1::ApproveRequest request;
  request.set_id(id);
  control::v1::ApproveResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().Approve(Admin::Call().get(), request, &response)));
  if (!globals.table()) {
    PrintJson(globals.format(), {{"done", Text(response.done().what())}});
  } else if (response.done().has_create_login_token()) {
    std::cout << "approved: " << response.done().what() << "; " << response.done().by()
              << " gets the login string with: bailiwick login-token " << response.done().create_login_token().person()
              << "\n";
  } else {
    std::cout << "done: " << response.done().what() << "\n";
  }
  return absl::OkStatus();
}

absl::Status Withdraw(const Globals& globals, const std::string& id, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(const control::v1::GetPendingResponse pending, FindChange(*admin, id));
  control::v1::DryRunRequest act;
  if (pending.has_pending()) {
    act.mutable_reject_pending()->set_id(pending.pending().id());
  } else {
    act.mutable_withdraw()->set_id(id);
  }
  if (dry_run) return TryAct(globals, *admin, act);
  if (pending.has_pending()) {
    control::v1::RejectPendingResponse response;
    BW_RETURN_IF_ERROR(
        admin->Check(admin->control().RejectPending(Admin::Call().get(), act.reject_pending(), &response)));
  } else {
    control::v1::WithdrawResponse response;
    BW_RETURN_IF_ERROR(admin->Check(admin->control().Withdraw(Admin::Call().get(), act.withdraw(), &response)));
  }
  if (globals.table()) {
    std::cout << "proposal " << id << " withdrawn\n";
  } else {
    PrintJson(globals.format(), {{"withdrawn", Text(id)}});
  }
  return absl::OkStatus();
}

void RegisterProposals(CLI::App& app, Globals& globals) {
  auto* list = app.add_subcommand("proposals", "what waits for the approval of a second person");
  list->footer("Example:\n  bailiwick proposals");
  OnRun(list, globals, [&globals] { return Proposals(globals); });
  {
    auto* c =
        app.add_subcommand("approve", "be the second person: shows what somebody else proposed, asks, and it is done");
    auto id = std::make_shared<std::string>();
    auto yes = YesFlag(c);
    c->add_option("ID", *id, "as proposals lists it")->type_name("PROPOSAL")->required();
    auto evictions = ExpectEvictionsFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer(
        "Without a terminal to ask at it needs --yes, also where --expect-evictions says how many copies may go.\n"
        "Examples:\n  bailiwick approve 9f86d081884c7d65\n"
        "  bailiwick approve 9f86d081884c7d65 --yes --expect-evictions 0");
    OnRun(c, globals, [&globals, id, yes, evictions, dry_run] {
      return Approve(globals, *id, {*yes, *dry_run, *evictions});
    });
  }
  auto* c = app.add_subcommand("withdraw", "drop what proposals lists");
  auto id = std::make_shared<std::string>();
  c->add_option("ID", *id, "as proposals lists it")->type_name("PROPOSAL")->required();
  auto dry_run = DryRunFlag(c);
  c->footer("Example:\n  bailiwick withdraw 9f86d081884c7d65");
  OnRun(c, globals, [&globals, id, dry_run] { return Withdraw(globals, *id, *dry_run); });
}

}  // namespace

absl::StatusOr<Fields> WhoAmIView(Admin& admin) {
  control::v1::WhoAmIResponse me;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().WhoAmI(Admin::Call().get(), {}, &me)));
  return FieldsOf(me);
}

absl::Status SayProposed(const Globals& globals, const control::v1::Proposal& proposal) {
  if (globals.table()) {
    std::cout << "proposed: " << proposal.what() << "; another policy-admin can say: bailiwick approve "
              << proposal.id() << "\n";
  } else {
    PrintJson(globals.format(), {{"proposal", Text(proposal.id())}, {"what", Text(proposal.what())}});
  }
  return absl::OkStatus();
}

void RegisterPeople(CLI::App& app, Globals& globals) {
  {
    auto* c = app.add_subcommand("login-token", "a string with which a person logs in, once");
    auto name = std::make_shared<std::string>(), ttl = std::make_shared<std::string>("1h");
    c->add_option("NAME", *name, "of the person, as RoleBindings name them")->required();
    c->add_option("--ttl", *ttl, "how long it can be used (default 1h, at most 7d)");
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick login-token alice --ttl 1d");
    OnRun(c, globals, [&globals, name, ttl, dry_run] { return LoginToken(globals, *name, *ttl, *dry_run); });
  }
  {
    auto* c = app.add_subcommand("login", "spend a login string: credentials of 30 days and a context on this machine");
    auto token = std::make_shared<std::string>(), to = std::make_shared<std::string>();
    auto replace = std::make_shared<bool>(false);
    auto keys = std::make_shared<std::vector<std::string>>();
    c->add_option("--token", *token,
                  "the string from: bailiwick login-token NAME; -: from standard input, seen by nobody")
        ->required();
    c->add_option("--to", *to, "directory of the context (default: --context, else ~/.config/bailiwick)")
        ->type_name("PATH");
    c->add_option("--policy-key", *keys, "a policy key of yours, for the context to name")->type_name("PATH");
    c->add_flag("--replace", *replace, "renew the credentials of the context that is there");
    auto way_out = std::make_shared<rpc::Proxy::Settings>();
    c->add_option("--proxy", way_out->proxy,
                  "HOST:PORT of the HTTP proxy that leads out of here; none: not even one of the environment (default: "
                  "https_proxy of the environment). The context keeps it");
    c->add_option("--proxy-credentials", way_out->credentials, "file with USER:PASSWORD for the proxy")
        ->type_name("PATH");
    c->add_option("--no-proxy", way_out->exempt, "names, addresses and networks to dial without it, with commas");
    auto dry_run = DryRunFlag(c);
    c->footer(
        "Examples:\n  bailiwick login --token - --to ~/.config/bailiwick\n"
        "  bailiwick login --token - --proxy proxy.plant.example:3128");
    OnRun(c, globals, [&globals, token, to, replace, keys, way_out, dry_run] {
      if (*token == "-") *token = ReadSecretLine("login string: ");
      return LogIn(globals, *token, *to, *replace, *keys, *way_out, *dry_run);
    });
  }
  auto* c = app.add_subcommand("whoami", "whom the coordinator takes this context for, and what they may do");
  c->footer("Example:\n  bailiwick whoami");
  OnRun(c, globals, [&globals] { return WhoAmI(globals); });
  RegisterProposals(app, globals);
}

}  // namespace bailiwick::cli
