#include "services/cli/commands/manual.h"

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/suggest.h"
#include "common/cli/manual.h"
#include "common/cli/usage.h"
#include "common/os/files.h"

namespace bailiwick::cli {
namespace {

// INVALID_ARGUMENT names the word that is no command.
absl::Status PrintHelp(const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* command = &app;
  for (const std::string& word : words) {
    const std::vector<const CLI::App*> below = VisibleCommands(*command);
    const auto named =
        std::find_if(below.begin(), below.end(), [&](const CLI::App* sub) { return sub->check_name(word); });
    if (named == below.end()) {
      std::vector<std::string> names;
      for (const CLI::App* sub : below) names.push_back(sub->get_name());
      const std::string near = Suggest(word, names);
      return absl::InvalidArgumentError(absl::StrCat(CommandLine(*command), " has no command ", word,
                                                     near.empty()
                                                         ? absl::StrCat("; see: ", CommandLine(*command), " --help")
                                                         : absl::StrCat("; did you mean ", near, "?")));
    }
    command = *named;
  }
  // Not help(), which would speak of the command that runs: this one.
  std::cout << command->get_formatter()->make_help(command, CommandLine(*command), CLI::AppFormatMode::Normal);
  return absl::OkStatus();
}

void RegisterHelp(CLI::App& app, Globals& globals) {
  auto* c = app.add_subcommand("help", "what a command does, its options and examples");
  auto words = std::make_shared<std::vector<std::string>>();
  c->add_option("COMMAND", *words, "its words (default: what there is)");
  c->footer("Example:\n  bailiwick help dataset commit");
  OnRun(c, globals, [&app, words] { return PrintHelp(app, *words); });
}

}  // namespace

void RegisterManual(CLI::App& app, Globals& globals) {
  RegisterHelp(app, globals);
  auto* c = app.add_subcommand("__manual", "writes the manual pages")->group("");
  auto directory = std::make_shared<std::string>();
  c->footer("Example:\n  bailiwick __manual debian/man");
  c->add_option("DIR", *directory, "a directory that exists")->type_name("PATH")->required();
  OnRun(c, globals, [&app, directory]() -> absl::Status {
    for (const auto& [name, text] : ManualPages(app)) {
      BW_RETURN_IF_ERROR(os::WriteFileAtomically(os::Files::System(), os::JoinPath(*directory, name), text));
    }
    return absl::OkStatus();
  });
}

}  // namespace bailiwick::cli
