// completion SHELL: scripts that make a shell ask this program what may come next; and the answer to them.
#pragma once

#include <string>
#include <vector>

#include "services/cli/commands/command.h"

namespace bailiwick::cli {

struct Completion {
  struct Choice {
    std::string word, meaning;
  };
  std::vector<Choice> choices;  // that begin with what was typed
  bool paths = false;           // the shell's own completion of files fits
};

// What may stand in the place of the last of `words`, which follow the program's name. Asks the coordinator of the
// context for names, two seconds at most; without an answer there are none.
Completion Complete(const CLI::App& app, const std::vector<std::string>& words);

void RegisterCompletion(CLI::App& app, Globals& globals);

}  // namespace bailiwick::cli
