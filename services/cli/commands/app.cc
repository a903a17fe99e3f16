#include "services/cli/commands/app.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/version.h"
#include "common/cli/complaint.h"
#include "services/cli/commands/completion.h"
#include "services/cli/commands/manual.h"

namespace bailiwick::cli {
namespace {

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

// A positional that is given once or twice is one of several, as UsageLine has it: CLI11 would write "PATH(1x)".
class Help : public CLI::Formatter {
 public:
  std::string make_option_usage(const CLI::Option* option) const override {
    const std::string name = make_option_name(option, true) + (option->get_items_expected_max() > 1 ? "..." : "");
    return option->get_required() ? name : "[" + name + "]";
  }
};

}  // namespace

void BuildApp(CLI::App& app, Globals& globals, const std::vector<Register>& more) {
  app.name("bailiwick");
  app.formatter(std::make_shared<Help>());  // those of the commands below come from here
  app.description("bailiwick: replicate versioned datasets between sites, only where law and owner allow");
  app.set_version_flag("--version", absl::StrCat("bailiwick ", std::string(kBuildVersion)));
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--context", globals.context,
                 "directory of the context, or its name (default: BAILIWICK_CONTEXT, else as context use said, else "
                 "~/.config/bailiwick)")
      ->type_name("PATH");
  app.add_option("-o,--output", globals.output,
                 "table, json, yaml, or name: only what other commands take, a line each")
      ->check(CLI::IsMember({"table", "json", "yaml", "name"}));
  app.add_flag("--no-input", globals.no_input, "never ask; what would ask needs --yes");
  app.footer(
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 denied by policy or role, 4 not found, 5 conflict, 6 unavailable or "
      "timed out;\n"
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
  RegisterContexts(app, globals);
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
    return Complain(app, error, std::cerr);
  }
  return globals.exit_code;
}

}  // namespace bailiwick::cli
