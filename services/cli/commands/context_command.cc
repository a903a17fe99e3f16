// context ...
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/core/context.h"
#include "services/cli/core/contexts.h"

namespace bailiwick::cli {
namespace {

// Of the directory of a context, for comparing: one path may be written in several ways.
std::string Plain(const std::string& directory) {
  std::error_code error;
  std::string path = std::filesystem::absolute(directory, error).lexically_normal().string();
  if (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// The directory that commands go by now; empty: none.
std::string InEffect(const Globals& globals) {
  auto context = LoadContext(globals.context);
  return context.ok() ? Plain(context->directory) : "";
}

absl::Status ListAll(const Globals& globals) {
  const std::string now = InEffect(globals);
  Rows rows;
  std::vector<Json> json;
  std::vector<NamedContext> contexts = ListContexts();
  const bool listed =
      std::any_of(contexts.begin(), contexts.end(), [&](const auto& c) { return Plain(c.directory) == now; });
  if (!now.empty() && !listed) contexts.push_back({now, now});  // of no name: --context or BAILIWICK_CONTEXT says it
  for (const NamedContext& named : contexts) {
    const bool current = Plain(named.directory) == now;
    auto context = LoadContext(named.directory);
    const std::string problem = context.ok() ? "" : std::string(context.status().message());
    const std::string coordinator = context.ok() ? context->coordinator : "",
                      domain = context.ok() ? context->trust_domain : "";
    rows.push_back({current ? "*" : "", named.name, coordinator, domain, named.directory, problem});
    json.push_back(Object({{"name", Text(named.name)},
                           {"directory", Text(named.directory)},
                           {"coordinator", Text(coordinator)},
                           {"trustDomain", Text(domain)},
                           {"current", Bool(current)},
                           {"problem", Text(problem)}}));
  }
  if (!globals.table()) {
    PrintJson(globals.format(), {{"contexts", List(std::move(json))}});
  } else {
    PrintTable({"", "CONTEXT", "COORDINATOR", "TRUST DOMAIN", "DIRECTORY", "PROBLEM"}, rows);
  }
  return absl::OkStatus();
}

absl::Status Use(const Globals& globals, const std::string& name, bool dry_run) {
  BW_ASSIGN_OR_RETURN(const NamedContext context, FindContext(name));
  BW_RETURN_IF_ERROR(LoadContext(context.directory).status());
  if (dry_run) return SayTried(globals, {absl::StrCat("commands go by context ", context.name)}, "");
  BW_RETURN_IF_ERROR(UseContext(context));
  const ContextChoice now = ChooseContext("");
  if (now.from == "BAILIWICK_CONTEXT") {
    std::cerr << "warning: BAILIWICK_CONTEXT says " << FormatMessage(now.path)
              << ", which goes first; to go by the choice: unset BAILIWICK_CONTEXT\n";
  }
  if (!globals.table()) {
    PrintJson(globals.format(), {{"context", Text(context.name)}, {"directory", Text(context.directory)}});
  } else {
    std::cout << "commands go by context " << context.name << " from now on\n";
  }
  return absl::OkStatus();
}

absl::Status Show(const Globals& globals) {
  const ContextChoice choice = ChooseContext(globals.context);
  BW_ASSIGN_OR_RETURN(const Context context, LoadContext(globals.context));
  std::string name = context.directory;
  for (const NamedContext& named : ListContexts()) {
    if (named.directory == context.directory) name = named.name;
  }
  const std::string root = absl::BytesToHexString(context.policy_root_sha256);
  if (!globals.table()) {
    PrintJson(globals.format(), {{"context", Text(name)},
                                 {"from", Text(choice.from)},
                                 {"directory", Text(context.directory)},
                                 {"coordinator", Text(context.coordinator)},
                                 {"trustDomain", Text(context.trust_domain)},
                                 {"credentials", Text(context.credentials)},
                                 {"policyKeys", Texts(context.policy_keys)},
                                 {"policyRootSha256", Text(root)}});
    return absl::OkStatus();
  }
  PrintTable({}, {{"Context:", name},
                  {"Chosen by:", choice.from},
                  {"Directory:", context.directory},
                  {"Coordinator:", context.coordinator},
                  {"Trust domain:", context.trust_domain},
                  {"Credentials:", context.credentials},
                  {"Policy keys:", context.policy_keys.empty() ? "none" : absl::StrJoin(context.policy_keys, ", ")},
                  {"Policy root:", root}});
  return absl::OkStatus();
}

}  // namespace

void RegisterContexts(CLI::App& app, Globals& globals) {
  auto* context = app.add_subcommand("context", "which coordinator commands go to, and as whom");
  context->require_subcommand(1);
  context->footer(
      "Contexts with a name lie in ~/.config/bailiwick/contexts/NAME, the default one in ~/.config/bailiwick.\n"
      "What counts first: --context (a directory, or a name), BAILIWICK_CONTEXT (the same), context use, the default.\n"
      "Examples:\n  bailiwick login --token - --to ~/.config/bailiwick/contexts/plant\n  bailiwick context use plant");
  auto* list = context->add_subcommand("list", "those that there are; a star at the one in effect");
  list->footer("Example:\n  bailiwick context list");
  OnRun(list, globals, [&globals] { return ListAll(globals); });
  auto* use = context->add_subcommand("use", "go by this one from now on, where nothing else says which");
  auto name = std::make_shared<std::string>();
  use->add_option("CONTEXT", *name, "its name, or a directory")->type_name("CONTEXT")->required();
  auto dry_run = DryRunFlag(use);
  use->footer("Examples:\n  bailiwick context use plant\n  bailiwick context use default");
  OnRun(use, globals, [&globals, name, dry_run] { return Use(globals, *name, *dry_run); });
  auto* show = context->add_subcommand("show", "the one in effect, and what made it so");
  show->footer("Example:\n  bailiwick context show");
  OnRun(show, globals, [&globals] { return Show(globals); });
}

}  // namespace bailiwick::cli
