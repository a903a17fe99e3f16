#include "services/cli/core/contexts.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/suggest.h"
#include "common/os/files.h"

namespace bailiwick::cli {
namespace {

constexpr size_t kMaxPath = 8 << 10;

std::string Home() {
  const char* home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? "" : os::JoinPath(home, ".config/bailiwick");
}
std::string AllNamed() { return os::JoinPath(Home(), "contexts"); }
std::string Named(const std::string& name) { return os::JoinPath(AllNamed(), name); }
std::string CurrentFile() { return os::JoinPath(Home(), "current-context"); }

bool HoldsContext(const std::string& directory) {
  return os::Files::System()->Exists(os::JoinPath(directory, "context.yaml")).value_or(false);
}

std::string Chosen() {
  if (Home().empty()) return "";
  auto text = os::ReadFile(os::Files::System(), CurrentFile(), kMaxPath);
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : "";
}

std::string NameOf(const std::string& directory) {
  if (directory == Home()) return kDefaultContext;
  const std::filesystem::path path(directory);
  return path.parent_path() == AllNamed() ? path.filename().string() : directory;
}

// Of a directory, or of a context that is known by name.
std::string DirectoryOf(const std::string& text) {
  std::error_code error;
  const bool name = text.find('/') == std::string::npos && !std::filesystem::exists(text, error) && !Home().empty();
  if (name && text == kDefaultContext) return Home();
  return name && HoldsContext(Named(text)) ? Named(text) : text;
}

}  // namespace

ContextChoice ChooseContext(const std::string& flag) {
  if (!flag.empty()) return {DirectoryOf(flag), "--context"};
  if (const char* env = std::getenv("BAILIWICK_CONTEXT"); env != nullptr && *env != '\0') {
    return {DirectoryOf(env), "BAILIWICK_CONTEXT"};
  }
  if (std::string chosen = Chosen(); !chosen.empty()) return {chosen, "context use"};
  return {Home(), "default"};
}

std::vector<NamedContext> ListContexts() {
  std::vector<NamedContext> contexts;
  if (Home().empty()) return contexts;
  if (HoldsContext(Home())) contexts.push_back({kDefaultContext, Home()});
  auto names = os::Files::System()->List(AllNamed());
  if (names.ok()) {
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
      if (HoldsContext(Named(name))) contexts.push_back({name, Named(name)});
    }
  }
  const std::string chosen = Chosen();
  const bool listed =
      std::any_of(contexts.begin(), contexts.end(), [&](const auto& c) { return c.directory == chosen; });
  if (!chosen.empty() && !listed) contexts.push_back({NameOf(chosen), chosen});
  return contexts;
}

absl::StatusOr<NamedContext> FindContext(const std::string& name_or_path) {
  std::error_code error;
  std::string directory = std::filesystem::absolute(ChooseContext(name_or_path).path, error).lexically_normal();
  if (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  if (HoldsContext(directory)) return NamedContext{NameOf(directory), directory};
  std::vector<std::string> names;
  for (const NamedContext& context : ListContexts()) names.push_back(context.name);
  const std::string near = Suggest(name_or_path, names);
  return absl::NotFoundError(
      absl::StrCat("there is no context ", name_or_path,
                   near.empty() ? "; see: bailiwick context list" : absl::StrCat("; did you mean ", near, "?")));
}

absl::Status UseContext(const NamedContext& context) {
  if (Home().empty()) return absl::FailedPreconditionError("HOME says nothing, so there is nowhere to keep the choice");
  os::Files* files = os::Files::System();
  BW_RETURN_IF_ERROR(files->MakeDirs(Home()));
  return os::WriteFileAtomically(files, CurrentFile(), context.directory + "\n");
}

}  // namespace bailiwick::cli
