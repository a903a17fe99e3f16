// The settings of a process, each told once: the table makes the flag (--control-listen), the key of the configuration
// file (controlListen) and the entry in the annotated file that is the reference. A flag wins over the file. Strict:
// what is not in the table is refused with its place and a suggestion. Not thread-safe; used before there are threads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/os/files.h"

namespace bailiwick::config {

inline constexpr size_t kMaxSettingsBytes = 256 << 10;  // a file of a dozen keys and what people write beside them

struct Setting {
  enum class Form { kText, kPath, kHost, kHostPort, kDuration, kBytes, kWord };
  std::string flag;  // "control-listen"
  Form form = Form::kText;
  std::string* value = nullptr;    // holds the default until something else is said; outlives the table
  std::string help;                // one sentence without its default
  std::vector<std::string> words;  // of kWord: what it may be
  std::string otherwise;           // how to say the default where *value is empty; empty: "none"
  std::string shipped;             // what the file of the packages sets; empty: the key is there as a comment
  bool required = false;
  bool given = false;  // by a flag
};

class Settings {
 public:
  // `program` and `command` go into sentences: "bailiwick-agent", "run".
  Settings(std::string program, std::string command, std::vector<Setting> table);

  std::vector<Setting>& table() { return table_; }
  const std::string& command() const { return command_; }
  static std::string KeyOf(const Setting& setting);  // "controlListen"
  // INVALID_ARGUMENT: the value does not look as it must. A path in a file must be absolute, in a flag not.
  static absl::Status Check(const Setting& setting, const std::string& value);

  // Takes from the file what no flag gave. NOT_FOUND, or INVALID_ARGUMENT with every problem as file:line:column, a
  // line each; then nothing was taken.
  absl::Status Read(os::Files* files, const std::string& path);
  absl::Status ReadText(std::string_view text, std::string_view file);
  // Read, where a file was named, and RequireAll.
  absl::Status Settle(os::Files* files, const std::string& path);
  // INVALID_ARGUMENT: something that must be said was said neither by flag nor by file.
  absl::Status RequireAll() const;

  // A file with every key, what it means and its default: those with `shipped` set, the others as comments.
  std::string Annotated(std::string_view path) const;
  std::string HelpOf(const Setting& setting) const;  // with its default, for --help

 private:
  const std::string program_, command_;
  std::vector<Setting> table_;
};

}  // namespace bailiwick::config
