#include "common/cli/complaint.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/suggest.h"
#include "common/cli/usage.h"

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
  const std::string near = Suggest(word, options);
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
  absl::string_view said = error.what();
  if (absl::ConsumePrefix(&said, "Could not convert: ")) return absl::StrCat(said, " is not a whole number in its range");
  return error.what();
}

}  // namespace

int Complain(const CLI::App& app, const CLI::ParseError& error, std::ostream& out) {
  const CLI::App& at = *Deepest(&app);
  out << app.get_name() << ": " << Sentence(app, at, error) << "\nusage: " << UsageLine(at)
      << "   (more: " << CommandLine(at) << " --help)\n";
  return 2;
}

}  // namespace bailiwick::cli
