#include "services/cli/commands/app.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/version.h"
#include "common/cli/usage.h"
#include "common/config/yaml.h"
#include "services/cli/commands/completion.h"
#include "services/cli/commands/manual.h"

namespace bailiwick::cli {
namespace {

// The deepest command that was named.
const CLI::App* Deepest(const CLI::App* app) {
  while (true) {
    auto chosen = app->get_subcommands();
    if (chosen.empty()) return app;
    app = chosen[0];
  }
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : VisibleCommands(app)) names.push_back(sub->get_name());
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    }
  }
  return names;
}

std::string Near(const std::string& word, const std::vector<std::string>& options) {
  const std::string near = config::Suggest(word, options);
  return near.empty() ? "" : absl::StrCat("; did you mean ", near, "?");
}

bool IsFlag(const std::string& word) { return word.size() > 1 && word[0] == '-'; }

// "; did you mean ...?" for a command that was left out or mistyped; else what there is.
std::string NearCommand(const std::string& word, const CLI::App& at) {
  const std::vector<std::string> commands = CommandNames(at);
  if (const std::string near = Near(word, commands); !near.empty()) return near;
  for (const CLI::App* group : at.get_subcommands([](const CLI::App*) { return true; })) {
    for (const std::string& name : CommandNames(*group)) {
      if (name == word) return absl::StrCat("; did you mean ", group->get_name(), " ", name, "?");
    }
  }
  return absl::StrCat("; one of: ", absl::StrJoin(commands, ", "));
}

// What of the arguments no command and no option took.
std::vector<std::string> LeftOver(const CLI::App& app) {
  std::vector<std::string> words;
  for (const std::string& word : app.remaining(true)) {
    if (word != "--") words.push_back(word);
  }
  return words;
}

std::string Sentence(const CLI::App& app, const CLI::App& at, const CLI::ParseError& error) {
  const std::vector<std::string> words = LeftOver(app), commands = CommandNames(at);
  if (!commands.empty() && words.empty()) {
    return absl::StrCat("name a command of ", CommandLine(at), ": ", absl::StrJoin(commands, ", "));
  }
  if (!commands.empty() && !IsFlag(words[0]))
    return absl::StrCat("unknown command ", words[0], NearCommand(words[0], at));
  for (const std::string& word : words) {
    if (!IsFlag(word)) continue;
    const std::string flag = word.substr(0, word.find('='));
    return absl::StrCat("unknown flag ", flag, flag.size() > 2 ? Near(flag, FlagNames(at)) : "");
  }
  if (!words.empty()) return absl::StrCat("one argument too many: ", words[0]);
  return error.what();
}

int Usage(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& at = *Deepest(&app);
  std::cerr << "bailiwick: " << Sentence(app, at, error) << "\nusage: " << UsageLine(at)
            << "   (more: " << CommandLine(at) << " --help)\n";
  return 2;
}

void RegisterVersion(CLI::App& app, Globals& globals) {
  auto* c = app.add_subcommand("version", "what this program is");
  c->footer("Example:\n  bailiwick version -o json");
  OnRun(c, globals, [&globals] {
    if (globals.format() != Format::kTable) {
      PrintJson(globals.format(), {{"build", Text(std::string(kBuildVersion))}});
    } else {
      std::cout << "bailiwick " << kBuildVersion << "\n";
    }
    return absl::OkStatus();
  });
}

}  // namespace

void BuildApp(CLI::App& app, Globals& globals, const std::vector<Register>& more) {
  app.name("bailiwick");
  app.description("bailiwick: replicate versioned datasets between sites, only where law and owner allow");
  app.set_version_flag("--version", absl::StrCat("bailiwick ", std::string(kBuildVersion)));
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--context", globals.context,
                 "directory of the context (default: BAILIWICK_CONTEXT, else ~/.config/bailiwick)")
      ->type_name("PATH");
  app.add_option("-o,--output", globals.output,
                 "table, json, yaml, or name: only what other commands take, a line each")
      ->check(CLI::IsMember({"table", "json", "yaml", "name"}));
  app.add_flag("--no-input", globals.no_input, "never ask; what would ask needs --yes");
  app.footer(
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 denied by policy, 4 not found, 5 conflict, 6 unavailable or timed out;\n"
      "audit: 10 tampered with, 11 incomplete, 12 unwitnessed.\n"
      "Start with:\n  bailiwick dev up --dir fleet --site factory=eu/de --site core=eu/de");
  RegisterResources(app, globals);
  RegisterDatasets(app, globals);
  RegisterWait(app, globals);
  RegisterSeeing(app, globals);
  RegisterTransfers(app, globals);
  RegisterPolicy(app, globals);
  RegisterPolicySigning(app, globals);
  RegisterPolicyHistory(app, globals);
  RegisterSites(app, globals);
  RegisterAgents(app, globals);
  RegisterPeople(app, globals);
  RegisterEvictions(app, globals);
  RegisterRedactions(app, globals);
  RegisterAudit(app, globals);
  RegisterDoctor(app, globals);
  for (const Register& add : more) add(app, globals);
  RegisterVersion(app, globals);
  RegisterCompletion(app, globals);
  RegisterManual(app, globals);
}

int RunCommandLine(int argc, const char* const* argv, const std::vector<Register>& more) {
  Globals globals;
  CLI::App app;
  BuildApp(app, globals, more);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return Usage(app, error);
  }
  return globals.exit_code;
}

}  // namespace bailiwick::cli
