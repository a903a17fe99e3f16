#include "services/cli/commands/completion.h"

#include <algorithm>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/config/yaml.h"
#include "services/cli/core/contexts.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(2);
constexpr uint32_t kVersions = 1000;

bool IsFlag(const std::string& word) { return word.size() > 1 && word[0] == '-'; }

// Where the typed words lead: the command, and what of it comes next.
struct Place {
  const CLI::App* command;
  std::vector<std::string> given;         // positionals of the command
  const CLI::Option* awaiting = nullptr;  // a flag whose value comes next
  Globals globals;
};

const CLI::Option* FindFlag(const CLI::App* command, const std::string& word) {
  for (; command != nullptr; command = command->get_parent()) {
    for (const CLI::Option* option : command->get_options()) {
      if (option->nonpositional() && option->check_name(word)) return option;
    }
  }
  return nullptr;
}

void Take(const std::string& word, Place* place) {
  if (place->awaiting != nullptr) {
    if (place->awaiting->check_lname("context")) place->globals.context = word;
    place->awaiting = nullptr;
    return;
  }
  if (IsFlag(word)) {
    const CLI::Option* flag = FindFlag(place->command, word);
    if (flag != nullptr && flag->get_items_expected_min() > 0) place->awaiting = flag;
    return;
  }
  for (const CLI::App* sub : place->command->get_subcommands([](const CLI::App*) { return true; })) {
    if (!sub->check_name(word)) continue;
    place->command = sub;
    place->given.clear();
    return;
  }
  place->given.push_back(word);
}

const CLI::Option* NextPositional(const Place& place) {
  const CLI::Option* last = nullptr;
  size_t number = 0;
  for (const CLI::Option* option : place.command->get_options()) {
    if (!option->get_positional()) continue;
    if (number++ == place.given.size()) return option;
    last = option;
  }
  return last != nullptr && last->get_items_expected_max() > 1 ? last : nullptr;
}

std::vector<std::string> Datasets(Admin& admin) {
  control::v1::ListDatasetsResponse datasets;
  if (!admin.control().ListDatasets(Admin::Call(kPatience).get(), {}, &datasets).ok()) return {};
  std::vector<std::string> names;
  for (const auto& dataset : datasets.datasets()) names.push_back(dataset.name());
  return names;
}

std::vector<std::string> Resources(Admin& admin, const std::string& kind) {
  control::v1::ListResourcesRequest request;
  if (absl::StatusOr<std::string> full = config::ParseKind(kind); full.ok()) request.set_kind(*full);
  control::v1::ListResourcesResponse resources;
  if (!admin.control().ListResources(Admin::Call(kPatience).get(), request, &resources).ok()) return {};
  std::vector<std::string> names;
  for (const auto& resource : resources.resources()) names.push_back(resource.metadata().name());
  return names;
}

// The newest first, and not all of thousands.
std::vector<std::string> Versions(Admin& admin, const std::string& dataset) {
  control::v1::ListVersionsRequest request;
  request.set_dataset(dataset);
  request.set_limit(kVersions);
  control::v1::ListVersionsResponse versions;
  if (!admin.control().ListVersions(Admin::Call(kPatience).get(), request, &versions).ok()) return {};
  std::vector<std::string> numbers;
  for (const auto& version : versions.versions()) numbers.push_back(absl::StrCat(version.number()));
  return numbers;
}

std::vector<std::string> Proposals(Admin& admin) {
  control::v1::ListProposalsResponse proposals;
  if (!admin.control().ListProposals(Admin::Call(kPatience).get(), {}, &proposals).ok()) return {};
  std::vector<std::string> ids;
  for (const auto& proposal : proposals.proposals()) ids.push_back(proposal.id());
  return ids;
}

std::vector<std::string> Kinds(const CLI::App& command) {
  std::vector<std::string> kinds = {
      "region", "site", "dataset", "replicationpolicy", "sovereigntypolicy", "bandwidthpolicy", "rolebinding"};
  if (command.check_name("get")) kinds.insert(kinds.end(), {"all", "replicas", "versions", "evictions", "redactions"});
  return kinds;
}

// The words that CLI11 lists of a check: "TEXT:{table,json}".
std::vector<std::string> Listed(const std::string& type) {
  const size_t begin = type.find('{'), end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  return absl::StrSplit(type.substr(begin + 1, end - begin - 1), ',', absl::SkipWhitespace());
}

std::vector<std::string> Values(const Place& place, const CLI::Option& option, bool* paths) {
  const std::string type = option.get_type_name();
  *paths = absl::StartsWith(type, "PATH");
  if (type == "KIND") return Kinds(*place.command);
  if (type == "CONTEXT") {
    std::vector<std::string> names;
    for (const NamedContext& context : ListContexts()) names.push_back(context.name);
    return names;
  }
  static const auto* const live =
      new std::vector<std::string>{"DATASET", "SITE", "RESOURCE", "VERSION", "PROPOSAL"};  // asked of the coordinator
  if (std::find(live->begin(), live->end(), type) == live->end()) return Listed(type);
  auto admin = Connect(place.globals);
  if (!admin.ok()) return {};
  if (type == "DATASET") return Datasets(**admin);
  if (type == "SITE") return Resources(**admin, "site");
  if (type == "VERSION") {
    std::vector<std::string> numbers = Versions(**admin, place.given.empty() ? "" : place.given[0]);
    if (place.command->check_name("rollback")) numbers.insert(numbers.begin(), "latest");
    return numbers;
  }
  if (type == "PROPOSAL") return Proposals(**admin);
  const std::string kind = place.given.empty() ? "" : place.given[0];
  return config::ParseKind(kind).ok() ? Resources(**admin, kind) : Datasets(**admin);
}

std::vector<Completion::Choice> Flags(const CLI::App* command) {
  std::vector<Completion::Choice> flags;
  for (; command != nullptr; command = command->get_parent()) {
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        const bool known =
            std::any_of(flags.begin(), flags.end(), [&](const auto& f) { return f.word == "--" + name; });
        if (!known) flags.push_back({"--" + name, option->get_description()});  // --help is of every command
      }
    }
  }
  return flags;
}

std::vector<Completion::Choice> Commands(const CLI::App& command) {
  std::vector<Completion::Choice> commands;
  for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; })) {
    if (!sub->get_group().empty()) commands.push_back({sub->get_name(), sub->get_description()});
  }
  return commands;
}

constexpr char kBash[] = R"(# bash completion for bailiwick; load it with: source <(bailiwick completion bash)
_bailiwick() {
  local line lines
  COMPREPLY=()
  mapfile -t lines < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  for line in "${lines[@]}"; do
    if [[ $line == :paths ]]; then compopt -o default 2>/dev/null; else COMPREPLY+=("${line%%$'\t'*}"); fi
  done
}
complete -F _bailiwick bailiwick
)";

constexpr char kZsh[] = R"(#compdef bailiwick
# zsh completion for bailiwick; load it with: source <(bailiwick completion zsh)
_bailiwick() {
  local line
  local -a values
  for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    if [[ $line == :paths ]]; then
      _files
    elif [[ -n $line ]]; then
      values+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    fi
  done
  (( $#values )) && _describe 'bailiwick' values
}
if [[ ${funcstack[1]} == _bailiwick ]]; then _bailiwick; else compdef _bailiwick bailiwick; fi
)";

constexpr char kFish[] = R"(# fish completion for bailiwick; load it with: bailiwick completion fish | source
function __bailiwick_complete
    set -l typed (commandline -opc)
    for line in ($typed[1] __complete -- $typed[2..] (commandline -ct) 2>/dev/null)
        if test "$line" = :paths
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c bailiwick -f -a '(__bailiwick_complete)'
)";

// A line each: the word, a tab, what it means. ":paths" where files fit.
void Answer(const Completion& completion) {
  for (const auto& choice : completion.choices) {
    std::cout << FormatMessage(choice.word) << "\t" << FormatMessage(choice.meaning) << "\n";
  }
  if (completion.paths) std::cout << ":paths\n";
}

}  // namespace

Completion Complete(const CLI::App& app, const std::vector<std::string>& words) {
  Place place{&app, {}, nullptr, {}};
  const std::string typed = words.empty() ? "" : words.back();
  for (size_t i = 0; i + 1 < words.size(); ++i) Take(words[i], &place);
  Completion completion;
  std::vector<Completion::Choice> all;
  const CLI::Option* option = place.awaiting;
  if (option == nullptr && IsFlag(typed)) {
    all = Flags(place.command);
  } else if (option == nullptr && !Commands(*place.command).empty()) {
    all = Commands(*place.command);
  } else if (option != nullptr || (option = NextPositional(place)) != nullptr) {
    for (const std::string& value : Values(place, *option, &completion.paths)) all.push_back({value, ""});
  }
  for (auto& choice : all) {
    if (absl::StartsWith(choice.word, typed)) completion.choices.push_back(std::move(choice));
  }
  return completion;
}

void RegisterCompletion(CLI::App& app, Globals& globals) {
  auto* script =
      app.add_subcommand("completion", "a script for the shell: completes commands, flags, names of what is there");
  auto shell = std::make_shared<std::string>();
  script->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  script->footer(
      "Examples:\n  source <(bailiwick completion bash)\n"
      "  bailiwick completion fish > ~/.config/fish/completions/bailiwick.fish");
  OnRun(script, globals, [shell] {
    std::cout << (*shell == "bash" ? kBash : *shell == "zsh" ? kZsh : kFish);
    return absl::OkStatus();
  });
  auto* complete = app.add_subcommand("__complete", "what may come next")->group("");
  complete->footer("Example:\n  bailiwick __complete -- dataset com");
  auto words = std::make_shared<std::vector<std::string>>();
  complete->add_option("WORDS", *words, "as typed, the last as far as it is");
  OnRun(complete, globals, [&app, words] {
    Answer(Complete(app, *words));
    return absl::OkStatus();
  });
}

}  // namespace bailiwick::cli
