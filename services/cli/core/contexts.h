// Which context a command goes by, and which there are. They lie where the user's settings do: ~/.config/bailiwick is
// the one called "default", ~/.config/bailiwick/contexts/NAME the one called NAME; ~/.config/bailiwick/current-context
// says which of them counts where nothing else does. Thread-safe functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bailiwick::cli {

inline constexpr char kDefaultContext[] = "default";

struct ContextChoice {
  std::string path;  // of the directory or the file; empty: there is no HOME, and nothing says one
  std::string from;  // "--context", "BAILIWICK_CONTEXT", "context use", "default"
};
// By what --context says (a path; a word without a slash that is no path here is a name), else BAILIWICK_CONTEXT, else
// what was chosen, else the default.
ContextChoice ChooseContext(const std::string& flag);

struct NamedContext {
  std::string name;  // of one that has none: its directory
  std::string directory;
};
// The default, if it is there, those with a name, and the chosen one, wherever it lies.
std::vector<NamedContext> ListContexts();

// A name or a path as its directory. NOT_FOUND: there is no context.
absl::StatusOr<NamedContext> FindContext(const std::string& name_or_path);
// From now on, durable on return. FAILED_PRECONDITION: there is no HOME to keep it in.
absl::Status UseContext(const NamedContext& context);

}  // namespace bailiwick::cli
