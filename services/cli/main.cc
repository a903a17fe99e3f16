// bailiwick: the command line. Wiring only.
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/version.h"
#include "common/config/yaml.h"
#include "common/rpc/credentials.h"
#include "common/telemetry/log.h"
#include "services/cli/commands/command.h"
#include "services/cli/dev/dev.h"

namespace bailiwick::cli {
namespace {

// The deepest command that was named, for a usage line and suggestions.
CLI::App* Deepest(CLI::App* app) {
  while (true) {
    auto chosen = app->get_subcommands();
    if (chosen.empty()) return app;
    app = chosen[0];
  }
}

std::string CommandLine(const CLI::App* app) {
  return app->get_parent() == nullptr ? app->get_name() : CommandLine(app->get_parent()) + " " + app->get_name();
}

int Usage(CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  CLI::App* at = Deepest(&app);
  std::vector<std::string> names;
  for (const CLI::App* sub : at->get_subcommands([](const CLI::App*) { return true; })) names.push_back(sub->get_name());
  std::string sentence = error.what();
  // What was typed where a command should stand.
  std::string unknown;
  for (int i = 1; i < argc && unknown.empty(); ++i) {
    const std::string word = argv[i];
    bool known = word.empty() || word[0] == '-';
    for (CLI::App* a = &app; a != nullptr && !known;) {
      known = word == a->get_name();
      auto chosen = a->get_subcommands();
      a = chosen.empty() ? nullptr : chosen[0];
    }
    if (!known) unknown = word;
  }
  if (!names.empty() && !unknown.empty()) {
    sentence = absl::StrCat("unknown command ", unknown);
    const std::string near = config::Suggest(unknown, names);
    if (!near.empty()) absl::StrAppend(&sentence, "; did you mean ", near, "?");
  } else if (!names.empty()) {
    std::string list;
    for (const auto& name : names) absl::StrAppend(&list, list.empty() ? "" : ", ", name);
    absl::StrAppend(&sentence, "; one of: ", list);
  }
  std::cerr << "bailiwick: " << sentence << "; see: " << CommandLine(at) << " --help\n";
  return 2;
}

int Main(int argc, char** argv) {
  telemetry::InitLogging("cli", telemetry::Format::kText, telemetry::Level::kError);
  rpc::RouteGrpcLog();
  Globals globals;
  CLI::App app{"bailiwick: replicate versioned datasets between sites, only where law and owner allow", "bailiwick"};
  app.set_version_flag("--version", std::string("bailiwick ") + std::string(kBuildVersion));
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--context", globals.context, "directory of the context (default: BAILIWICK_CONTEXT, else ~/.config/bailiwick)");
  app.add_option("-o,--output", globals.output, "table, json or yaml")->check(CLI::IsMember({"table", "json", "yaml"}));
  app.footer("Exit codes: 0 ok, 1 failed, 2 usage, 3 denied by policy, 4 not found, 5 conflict, 6 unavailable or timed out.\n"
             "Start with: bailiwick dev up --dir fleet --site factory=eu/de --site core=eu/de");
  RegisterResources(app, globals);
  RegisterDatasets(app, globals);
  RegisterSeeing(app, globals);
  RegisterPolicy(app, globals);
  RegisterDev(app, globals);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return Usage(app, error, argc, argv);
  }
  return globals.exit_code;
}

}  // namespace
}  // namespace bailiwick::cli

int main(int argc, char** argv) { return bailiwick::cli::Main(argc, argv); }
