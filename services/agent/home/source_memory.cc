#include "services/agent/home/source_memory.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace bailiwick::agent {
namespace {

constexpr const char* kFormat = "bailiwick-source-3";
constexpr const char* kFormat2 = "bailiwick-source-2";  // said nothing of what is above the source
constexpr const char* kFormat1 = "bailiwick-source-1";  // nor of the source itself
constexpr const char* kLink = "link";
constexpr const char* kDirectory = "directory";
constexpr size_t kMaxFile = 16 << 20;
constexpr size_t kMaxMounts = 1000;  // of which is remembered that they were there

std::string PathOf(const std::string& directory) { return os::JoinPath(directory, "source"); }

}  // namespace

// Fields end with NUL, which no path has in it.
SourceMemory LoadSourceMemory(os::Files* files, const std::string& directory) {
  SourceMemory memory;
  auto text = os::ReadFile(files, PathOf(directory), kMaxFile);
  if (!text.ok()) return memory;
  const std::vector<std::string> fields = absl::StrSplit(*text, '\0');
  if (fields.size() < 4 || !fields.back().empty()) return memory;
  if (fields.front() != kFormat && fields.front() != kFormat2 && fields.front() != kFormat1) return memory;
  memory.path = fields[1];
  memory.link = fields[2] == kLink;
  for (size_t i = 3; i + 1 < fields.size(); ++i) memory.mounts.insert(fields[i]);
  return memory;
}

absl::Status KeepSourceMemory(os::Files* files, const std::string& directory, const SourceMemory& memory) {
  if (LoadSourceMemory(files, directory) == memory) return absl::OkStatus();
  std::string text(kFormat);
  text.push_back('\0');
  absl::StrAppend(&text, memory.path);
  text.push_back('\0');
  absl::StrAppend(&text, memory.link ? kLink : kDirectory);
  text.push_back('\0');
  size_t kept = 0;
  for (const std::string& mount : memory.mounts) {
    if (++kept > kMaxMounts) break;
    absl::StrAppend(&text, mount);
    text.push_back('\0');
  }
  return os::WriteFileAtomically(files, PathOf(directory), text);
}

}  // namespace bailiwick::agent
