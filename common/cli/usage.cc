#include "common/cli/usage.h"

#include "absl/strings/str_cat.h"

namespace bailiwick::cli {

std::string CommandLine(const CLI::App& command) {
  return command.get_parent() == nullptr ? command.get_name()
                                         : CommandLine(*command.get_parent()) + " " + command.get_name();
}

std::vector<const CLI::App*> VisibleCommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
}

std::string UsageLine(const CLI::App& command) {
  std::string line = CommandLine(command);
  if (!VisibleCommands(command).empty()) return line + " [OPTIONS] COMMAND";
  std::string positionals;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional()) {
      const std::string name = option->get_name(true) + (option->get_items_expected_max() > 1 ? "..." : "");
      absl::StrAppend(&positionals, " ", option->get_required() ? name : "[" + name + "]");
    } else if (option->get_required()) {
      absl::StrAppend(&line, " ",
                      option->get_lnames().empty() ? "-" + option->get_snames()[0] : "--" + option->get_lnames()[0],
                      " VALUE");
    }
  }
  return line + " [OPTIONS]" + positionals;
}

}  // namespace bailiwick::cli
