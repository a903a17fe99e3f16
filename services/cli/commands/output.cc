#include "services/cli/commands/output.h"

#include <google/protobuf/util/json_util.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/units.h"
#include "common/os/clock.h"

namespace bailiwick::cli {
namespace {

// JSON is YAML: what is quoted there is a string here, whatever it looks like.
void Emit(const Json& value, YAML::Emitter& out) {
  switch (value.kind_case()) {
    case Json::kStructValue:
      out << YAML::BeginMap;
      for (const auto& [key, field] : std::map<std::string, Json>(value.struct_value().fields().begin(), value.struct_value().fields().end())) {
        out << YAML::Key << key << YAML::Value;
        Emit(field, out);
      }
      out << YAML::EndMap;
      break;
    case Json::kListValue:
      out << YAML::BeginSeq;
      for (const auto& item : value.list_value().values()) Emit(item, out);
      out << YAML::EndSeq;
      break;
    case Json::kNumberValue:
      out << absl::StrFormat("%.17g", value.number_value());
      break;
    case Json::kBoolValue:
      out << value.bool_value();
      break;
    case Json::kStringValue:
      out << YAML::DoubleQuoted << value.string_value();
      break;
    default:
      out << YAML::Null;
  }
}

size_t Width(const std::string& s) {  // of UTF-8 text
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

Json Text(const std::string& s) {
  Json v;
  v.set_string_value(s);
  return v;
}
Json Number(double n) {
  Json v;
  v.set_number_value(n);
  return v;
}
Json Bool(bool b) {
  Json v;
  v.set_bool_value(b);
  return v;
}
Json List(std::vector<Json> items) {
  Json v;
  v.mutable_list_value();
  for (auto& item : items) *v.mutable_list_value()->add_values() = std::move(item);
  return v;
}
Json Object(std::vector<std::pair<std::string, Json>> fields) {
  Json v;
  v.mutable_struct_value();
  for (auto& [name, field] : fields) (*v.mutable_struct_value()->mutable_fields())[name] = std::move(field);
  return v;
}

void PrintJson(Format format, std::vector<std::pair<std::string, Json>> fields) {
  fields.emplace_back("version", Number(1));
  Json root = Object(std::move(fields));
  if (format == Format::kYaml) {
    YAML::Emitter out;
    Emit(root, out);
    std::cout << out.c_str() << "\n";
    return;
  }
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  google::protobuf::util::MessageToJsonString(root, &text, options).ok();
  std::cout << text;
}

std::string JsonToYaml(const std::string& json) {
  Json value;
  if (!google::protobuf::util::JsonStringToMessage(json, &value).ok()) return json;
  YAML::Emitter out;
  Emit(value, out);
  return std::string(out.c_str()) + "\n";
}

void PrintTable(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(header.size());
  for (size_t i = 0; i < header.size(); ++i) widths[i] = Width(header[i]);
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  auto line = [&](const std::vector<std::string>& cells) {
    std::string out;
    for (size_t i = 0; i < cells.size(); ++i) {
      out += cells[i];
      if (i + 1 < cells.size()) out.append(widths[i] - Width(cells[i]) + 2, ' ');
    }
    out.erase(out.find_last_not_of(' ') + 1);
    std::cout << out << "\n";
  };
  line(header);
  for (const auto& row : rows) line(row);
  std::cout.flush();
}

std::string TimeText(const google::protobuf::Timestamp& t) {
  if (t.seconds() == 0 && t.nanos() == 0) return "";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(t.seconds()), absl::UTCTimeZone());
}

std::string Printable(const std::string& bytes) { return absl::Utf8SafeCEscape(bytes); }

bool IsTerminal(int fd) { return isatty(fd) == 1; }

Progress::Progress(std::string label)
    : label_(std::move(label)),
      terminal_(IsTerminal(STDERR_FILENO)),
      started_(os::Clock::System()->BootTime()),
      last_(started_) {}

Progress::~Progress() { Done(); }

void Progress::Done() {
  if (drawn_ && terminal_) std::cerr << "\r\033[K" << std::flush;
  drawn_ = false;
}

void Progress::Update(uint64_t done, uint64_t total, const std::string& more) {
  const absl::Duration now = os::Clock::System()->BootTime();
  if (now - last_ < (terminal_ ? absl::Milliseconds(100) : absl::Seconds(1))) return;
  last_ = now;
  const double seconds = std::max(0.001, absl::ToDoubleSeconds(now - started_));
  const double rate = static_cast<double>(done) / seconds;
  std::string text = absl::StrCat(label_, " ", FormatBytes(done));
  if (total > 0) {
    const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    if (terminal_) {
      const int filled = static_cast<int>(part * 30);
      text = absl::StrCat(label_, " [", std::string(filled, '#'), std::string(30 - filled, '.'), "] ", FormatBytes(done));
    }
    absl::StrAppend(&text, " of ", FormatBytes(total), absl::StrFormat(" (%.0f%%)", part * 100));
    if (rate > 1 && done < total) {
      absl::StrAppend(&text, ", ETA ", FormatAge(absl::Seconds(static_cast<double>(total - done) / rate)));
    }
  }
  absl::StrAppend(&text, ", ", FormatBytes(static_cast<uint64_t>(rate)), "/s", more.empty() ? "" : ", ", more);
  if (terminal_) {
    std::cerr << "\r\033[K" << text << std::flush;
  } else {
    std::cerr << text << "\n";
  }
  drawn_ = true;
}

}  // namespace bailiwick::cli
