#include "common/config/settings.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/base/suggest.h"
#include "common/base/units.h"
#include "common/config/yaml.h"
#include "common/config/yaml_tree.h"

namespace bailiwick::config {
namespace {

using Form = Setting::Form;
using Type = YamlNode::Type;

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  return absl::StrCat("\"", std::string(text.substr(0, kShown)), text.size() > kShown ? "..." : "", "\"");
}

std::string Placeholder(const Setting& setting) {
  switch (setting.form) {
    case Form::kText:
      return "text";
    case Form::kPath:
      return "a path";
    case Form::kHost:
      return "HOST";
    case Form::kHostPort:
      return "HOST:PORT";
    case Form::kDuration:
      return "a duration";
    case Form::kBytes:
      return "a size, as 512MiB";
    case Form::kWord:
      return absl::StrJoin(setting.words, ", ");
  }
  return "";
}

std::string Default(const Setting& setting) {
  if (!setting.value->empty()) return *setting.value;
  return setting.otherwise.empty() ? "none" : setting.otherwise;
}

// YAML that reads back as this text; quoted where a reader could take it for something else.
std::string Scalar(const std::string& text) {
  const bool plain = !text.empty() && !LooksTyped(text) && std::isalnum(static_cast<unsigned char>(text[0])) != 0 &&
                     text.find_first_of("\"'#{}[]&*!|>%@`,") == std::string::npos &&
                     text.find(": ") == std::string::npos;
  return plain || (!text.empty() && text[0] == '/') ? text : absl::StrCat("\"", text, "\"");
}

// The sentences of one file, sorted by place.
class FileReader {
 public:
  FileReader(const std::vector<Setting>& table, std::string_view file) : table_(table), file_(file) {}

  absl::Status Read(std::string_view text, std::map<std::string, std::string>* values) {
    std::vector<YamlNode> documents = ReadYaml(text, &problems_);
    documents.erase(
        std::remove_if(documents.begin(), documents.end(), [](const YamlNode& d) { return d.type == Type::kNull; }),
        documents.end());
    if (documents.size() > 1) Fail(documents[1].mark, "a second document; the settings of one process are one map");
    if (!documents.empty()) Map(documents[0], values);
    return Result();
  }

 private:
  void Fail(Mark mark, std::string text) { problems_.push_back({mark, std::move(text)}); }

  void Map(const YamlNode& map, std::map<std::string, std::string>* values) {
    if (map.type == Type::kRefused) return;
    if (map.type != Type::kMap) return Fail(map.mark, "expected a map of settings, as in \"logLevel: info\"");
    std::map<std::string, int> seen;
    for (size_t i = 0; i + 1 < map.items.size(); i += 2) {
      const YamlNode& key = map.items[i];
      if (key.type == Type::kRefused) continue;
      const Setting* setting = Find(key);
      if (setting == nullptr) continue;
      if (auto [first, is_new] = seen.emplace(key.text, key.mark.line); !is_new) {
        Fail(key.mark, absl::StrCat(key.text, " is set a second time; the first is in line ", first->second));
        continue;
      }
      Value(*setting, key, map.items[i + 1], values);
    }
  }

  const Setting* Find(const YamlNode& key) {
    std::vector<std::string> keys;
    for (const Setting& setting : table_) {
      keys.push_back(Settings::KeyOf(setting));
      if (key.type == Type::kScalar && key.text == keys.back()) return &setting;
    }
    const std::string near = key.type == Type::kScalar ? Suggest(key.text, keys) : "";
    Fail(key.mark,
         absl::StrCat(key.type == Type::kScalar ? "unknown setting " + Quoted(key.text) : "a setting without a name",
                      "; ",
                      near.empty() ? absl::StrCat("there are: ", absl::StrJoin(keys, ", "))
                                   : absl::StrCat("did you mean ", Quoted(near), "?")));
    return nullptr;
  }

  void Value(const Setting& setting, const YamlNode& key, const YamlNode& node,
             std::map<std::string, std::string>* values) {
    if (node.type == Type::kRefused) return;
    if (node.type == Type::kNull || (node.type == Type::kScalar && node.text.empty())) {
      return Fail(node.mark,
                  absl::StrCat(key.text, " has no value; leave it out to have the default: ", Default(setting)));
    }
    if (node.type != Type::kScalar) {
      return Fail(node.mark, absl::StrCat(key.text, " is one value (", Placeholder(setting),
                                          "), not a list or map; quote what begins with a bracket"));
    }
    if (absl::Status fits = Settings::Check(setting, node.text); !fits.ok()) {
      return Fail(node.mark, absl::StrCat(key.text, ": ", std::string(fits.message())));
    }
    if (setting.form == Form::kPath && node.text[0] != '/') {
      return Fail(node.mark, absl::StrCat(key.text, ": ", Quoted(node.text),
                                          " is not an absolute path; a file does not know where it is read"));
    }
    values->emplace(setting.flag, node.text);
  }

  absl::Status Result() {
    if (problems_.empty()) return absl::OkStatus();
    std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
      return std::pair(a.mark.line, a.mark.column) < std::pair(b.mark.line, b.mark.column);
    });
    std::vector<std::string> lines;
    for (const Problem& p : problems_) {
      lines.push_back(Position{file_, p.mark.line, p.mark.column}.str() + ": " + p.text);
    }
    return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
  }

  const std::vector<Setting>& table_;
  const std::string file_;
  std::vector<Problem> problems_;
};

}  // namespace

Settings::Settings(std::string program, std::string command, std::vector<Setting> table)
    : program_(std::move(program)), command_(std::move(command)), table_(std::move(table)) {}

std::string Settings::KeyOf(const Setting& setting) {
  std::string key;
  bool upper = false;
  for (char c : setting.flag) {
    if (c == '-') {
      upper = true;
      continue;
    }
    key.push_back(upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c);
    upper = false;
  }
  return key;
}

absl::Status Settings::Check(const Setting& setting, const std::string& value) {
  if (std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; })) {
    return absl::InvalidArgumentError("control characters do not belong into a setting");
  }
  switch (setting.form) {
    case Form::kText:
    case Form::kPath:
      return absl::OkStatus();
    case Form::kHost:
      return ParseHost(value).status();
    case Form::kHostPort:
      return ParseHostPort(value).status();
    case Form::kDuration:
      return ParseDuration(value).status();
    case Form::kBytes:
      return ParseBytes(value).status();
    case Form::kWord:
      if (std::find(setting.words.begin(), setting.words.end(), value) != setting.words.end()) return absl::OkStatus();
      const std::string near = Suggest(value, setting.words);
      return absl::InvalidArgumentError(absl::StrCat(Quoted(value),
                                                     " is not one of: ", absl::StrJoin(setting.words, ", "),
                                                     near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
  }
  return absl::OkStatus();
}

absl::Status Settings::Read(os::Files* files, const std::string& path) {
  auto text = os::ReadFile(files, path, kMaxSettingsBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat("there is no file ", path, "; an annotated one is printed by: ", program_,
                                            " check-config --example"));
  }
  if (!text.ok()) return text.status();
  return ReadText(*text, path);
}

absl::Status Settings::ReadText(std::string_view text, std::string_view file) {
  std::map<std::string, std::string> values;
  BW_RETURN_IF_ERROR(FileReader(table_, file).Read(text, &values));
  for (Setting& setting : table_) {
    if (auto it = values.find(setting.flag); it != values.end() && !setting.given) *setting.value = it->second;
  }
  return absl::OkStatus();
}

absl::Status Settings::Settle(os::Files* files, const std::string& path) {
  if (!path.empty()) BW_RETURN_IF_ERROR(Read(files, path));
  return RequireAll();
}

absl::Status Settings::RequireAll() const {
  for (const Setting& setting : table_) {
    if (!setting.required || !setting.value->empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat(program_, " ", command_, " needs --", setting.flag, ", or ",
                                                   KeyOf(setting), " in the file that --config names"));
  }
  return absl::OkStatus();
}

std::string Settings::Annotated(std::string_view path) const {
  std::string out = absl::StrCat("# Settings of ", program_, ". A flag of \"", program_, " ", command_,
                                 "\" wins over the same setting here.\n# After a change: ", program_, " check-config ",
                                 std::string(path), " && systemctl restart ", program_, "\n");
  for (const Setting& setting : table_) {
    absl::StrAppend(&out, "\n# ", setting.help, " (",
                    setting.required ? "must be set" : absl::StrCat("default: ", Default(setting)), ")\n");
    const std::string sample = !setting.shipped.empty() ? setting.shipped : *setting.value;
    absl::StrAppend(&out, setting.shipped.empty() ? "#" : "", KeyOf(setting), ":", sample.empty() ? "" : " ",
                    sample.empty() ? "" : Scalar(sample), "\n");
  }
  return out;
}

std::string Settings::HelpOf(const Setting& setting) const {
  return setting.required ? setting.help : absl::StrCat(setting.help, " (default: ", Default(setting), ")");
}

}  // namespace bailiwick::config
