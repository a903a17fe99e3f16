#include "common/cli/manual.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/version.h"
#include "common/cli/usage.h"

namespace bailiwick::cli {
namespace {

// Text as man(7) shows it: no line of it is a request.
std::string Roff(const std::string& text) {
  std::string out = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}, {"'", "\\(aq"}});
  if (absl::StartsWith(out, ".")) out.insert(0, "\\&");
  return absl::StrReplaceAll(out, {{"\n.", "\n\\&."}});
}

// Where lines are indented they are an example: they stay as they are.
std::string Footer(const std::string& text) {
  std::string out;
  bool example = false;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    const bool indented = absl::StartsWith(line, "  ");
    if (indented != example) absl::StrAppend(&out, indented ? ".PP\n.EX\n" : ".EE\n.PP\n");
    if (!example && !indented && out.empty()) out = ".PP\n";
    example = indented;
    if (!line.empty()) absl::StrAppend(&out, Roff(line), "\n");
  }
  return example ? out + ".EE\n" : out;
}

std::string Options(const CLI::App& command) {
  std::string out;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group().empty()) continue;
    std::string name = option->get_name(option->get_positional(), option->nonpositional());
    if (option->nonpositional()) {
      name = absl::StrReplaceAll(name, {{",", ", "}});
      if (option->get_items_expected_max() > 0) absl::StrAppend(&name, " ", option->get_type_name());
    }
    absl::StrAppend(&out, ".TP\n.B ", Roff(name), "\n", Roff(option->get_description()),
                    option->get_required() ? " (required)" : "", "\n");
  }
  return out;
}

std::string Command(const CLI::App& command) {
  std::string out = absl::StrCat(".SS \"", Roff(UsageLine(command)), "\"\n", Roff(command.get_description()), ".\n",
                                 Options(command), Footer(command.get_footer()));
  for (const CLI::App* sub : VisibleCommands(command)) absl::StrAppend(&out, Command(*sub));
  return out;
}

std::string Page(const std::string& name, int section, const std::string& what, const std::string& body) {
  return absl::StrCat(".TH ", absl::AsciiStrToUpper(Roff(name)), " ", section, " \"\" \"bailiwick ",
                      std::string(kBuildVersion), "\" \"Bailiwick\"\n.SH NAME\n", Roff(name), " \\- ", Roff(what), "\n",
                      body);
}

// "bailiwick: replicate ..." says what the program is behind its name.
std::string WhatItIs(const CLI::App& app) { return app.get_description().substr(app.get_description().find(": ") + 2); }

}  // namespace

std::vector<std::pair<std::string, std::string>> ManualPages(const CLI::App& app) {
  std::vector<std::pair<std::string, std::string>> pages;
  std::string list;
  std::vector<std::string> also;
  for (const CLI::App* command : VisibleCommands(app)) {
    const std::string name = absl::StrCat("bailiwick-", command->get_name());
    pages.push_back(
        {name + ".1", Page(name, 1, command->get_description(),
                           absl::StrCat(".SH SYNOPSIS\n.B ", Roff(UsageLine(*command)), "\n.SH DESCRIPTION\n",
                                        Command(*command), ".SH SEE ALSO\n.BR bailiwick (1)\n"))});
    absl::StrAppend(&list, ".TP\n.B ", Roff(command->get_name()), "\n", Roff(command->get_description()), "\n");
    also.push_back(absl::StrCat(".BR ", Roff(name), " (1)"));
  }
  pages.push_back({"bailiwick.1",
                   Page("bailiwick", 1, WhatItIs(app),
                        absl::StrCat(".SH SYNOPSIS\n.B bailiwick [OPTIONS] COMMAND\n.SH OPTIONS\n", Options(app),
                                     ".SH COMMANDS\n", list, ".SH EXIT STATUS AND EXAMPLE\n", Footer(app.get_footer()),
                                     ".SH SEE ALSO\n", absl::StrJoin(also, ",\n"), "\n"))});
  return pages;
}

std::string ServiceManualPage(const CLI::App& app, const std::string& file, const std::string& settings) {
  std::string commands;
  for (const CLI::App* command : VisibleCommands(app)) absl::StrAppend(&commands, Command(*command));
  return Page(app.get_name(), 8, WhatItIs(app),
              absl::StrCat(".SH SYNOPSIS\n.B ", Roff(UsageLine(app)), "\n.SH COMMANDS\n", commands, ".SH FILES\n.I ",
                           Roff(file), "\n.PP\n.EX\n", Roff(settings), ".EE\n.SH SEE ALSO\n.BR bailiwick (1)\n"));
}

}  // namespace bailiwick::cli
