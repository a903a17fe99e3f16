#include "common/output/output.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

namespace bailiwick::output {
namespace {

// Bytes of the UTF-8 character at `at`; 0 when there is none.
size_t CharacterBytes(const std::string& s, size_t at) {
  const auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const unsigned first = byte(at);
  if (first < 0x80) return 1;
  size_t length =
      first >= 0xc2 && first < 0xe0 ? 2 : (first >= 0xe0 && first < 0xf0 ? 3 : (first >= 0xf0 && first < 0xf5 ? 4 : 0));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond the last code point.
  if ((first == 0xe0 && byte(at + 1) < 0xa0) || (first == 0xed && byte(at + 1) >= 0xa0) ||
      (first == 0xf0 && byte(at + 1) < 0x90) || (first == 0xf4 && byte(at + 1) >= 0x90)) {
    return 0;
  }
  return length;
}

// The character of `length` bytes at `at`.
unsigned CodePoint(const std::string& s, size_t at, size_t length) {
  unsigned code = static_cast<unsigned char>(s[at]);
  if (length > 1) code &= 0x7fu >> length;
  for (size_t i = 1; i < length; ++i) code = code << 6 | (static_cast<unsigned char>(s[at + i]) & 0x3fu);
  return code;
}

// What a terminal may obey instead of showing it: also C1, and what turns the direction of a text or ends its line.
bool IsControl(const std::string& s, size_t at, size_t length) {
  if (length == 0) return false;
  const unsigned code = CodePoint(s, at, length);
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e || code == 0x200f ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

bool IsUtf8(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = CharacterBytes(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

namespace {

std::string Escape(const std::string& bytes, bool backslashes) {
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    const size_t length = CharacterBytes(bytes, i);
    if (length != 0 && !IsControl(bytes, i, length) && !(backslashes && bytes[i] == '\\')) {
      out.append(bytes, i, length);
      i += length;
      continue;
    }
    const size_t escaped = length == 0 ? 1 : length;
    for (size_t k = 0; k < escaped; ++k) {
      const char c = bytes[i + k];
      if (c == '\n') {
        out += "\\n";
      } else if (c == '\t') {
        out += "\\t";
      } else if (c == '\r') {
        out += "\\r";
      } else if (c == '\\') {
        out += "\\\\";
      } else {
        out += absl::StrFormat("\\%03o", static_cast<unsigned char>(c));
      }
    }
    i += escaped;
  }
  return out;
}

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size();) {
    const size_t length = CharacterBytes(text, i);
    const char c = text[i];
    if (length == 0) {
      out += "\\ufffd";  // JSON is UTF-8
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsControl(text, i, length)) {
      out += absl::StrFormat("\\u%04x", CodePoint(text, i, length));
    } else {
      out.append(text, i, length);
    }
    i += length == 0 ? 1 : length;
  }
  out += '"';
  return out;
}

// `indent` < 0: all on one line.
void WriteJson(const Json& value, int indent, std::string* out) {
  switch (value.kind) {
    case Json::Kind::kNull:
      *out += "null";
      return;
    case Json::Kind::kLiteral:
      *out += value.text;
      return;
    case Json::Kind::kText:
      *out += Quoted(value.text);
      return;
    default:
      break;
  }
  const bool object = value.kind == Json::Kind::kObject;
  *out += object ? "{" : "[";
  const int inner = indent < 0 ? -1 : indent + 2;
  bool first = true;
  for (size_t i = 0; i < value.items.size(); ++i) {
    if (!first) *out += indent < 0 ? ", " : ",";
    if (indent >= 0) out->append("\n").append(inner, ' ');
    first = false;
    if (object) absl::StrAppend(out, Quoted(value.names[i]), ": ");
    WriteJson(value.items[i], inner, out);
  }
  if (indent >= 0 && !first) out->append("\n").append(indent, ' ');
  *out += object ? "}" : "]";
}

// Whether YAML reads the bare word as that very text.
bool IsPlain(const std::string& text) {
  if (text.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(text[0]))) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && std::string("-_./@").find(c) == std::string::npos)
      return false;
  }
  static const auto* const words =
      new std::vector<std::string>{"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  return std::find(words->begin(), words->end(), absl::AsciiStrToLower(text)) == words->end();
}

void WriteYaml(const Json& value, YAML::Emitter& out) {
  switch (value.kind) {
    case Json::Kind::kNull:
      out << YAML::Null;
      break;
    case Json::Kind::kLiteral:
      out << value.text;
      break;
    case Json::Kind::kText:
      if (IsPlain(value.text)) {
        out << value.text;
      } else {
        out << YAML::DoubleQuoted << value.text;
      }
      break;
    case Json::Kind::kList:
      if (value.items.empty()) out << YAML::Flow;
      out << YAML::BeginSeq;
      for (const Json& item : value.items) WriteYaml(item, out);
      out << YAML::EndSeq;
      break;
    case Json::Kind::kObject:
      if (value.items.empty()) out << YAML::Flow;
      out << YAML::BeginMap;
      for (size_t i = 0; i < value.items.size(); ++i) {
        out << YAML::Key << value.names[i] << YAML::Value;
        WriteYaml(value.items[i], out);
      }
      out << YAML::EndMap;
      break;
  }
}

Json FromNode(const YAML::Node& node) {
  Json value;
  if (node.IsMap()) {
    value.kind = Json::Kind::kObject;
    for (const auto& field : node) {
      value.names.push_back(field.first.Scalar());
      value.items.push_back(FromNode(field.second));
    }
  } else if (node.IsSequence()) {
    value.kind = Json::Kind::kList;
    for (const auto& item : node) value.items.push_back(FromNode(item));
  } else if (node.IsScalar()) {
    value.kind = node.Tag() == "!" ? Json::Kind::kText : Json::Kind::kLiteral;  // what JSON quotes is tagged so
    value.text = node.Scalar();
  }
  return value;
}

Json Root(Fields fields) {
  fields.insert(fields.begin(), {"version", Number(1)});
  return Object(std::move(fields));
}

std::string ToYaml(const Json& value) {
  YAML::Emitter out;
  WriteYaml(value, out);
  return std::string(out.c_str()) + "\n";
}

size_t Width(const std::string& s) {  // of UTF-8 text
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// What names the thing: its name or id, else what comes first.
std::string NameOf(const Json& object) {
  for (const std::string_view wanted : {"name", "id", "metadata", ""}) {
    for (size_t i = 0; i < object.items.size(); ++i) {
      const Json& item = object.items[i];
      if (!wanted.empty() && object.names[i] != wanted) continue;
      if (item.kind == Json::Kind::kObject && wanted == "metadata") return NameOf(item);
      if (item.kind == Json::Kind::kText || item.kind == Json::Kind::kLiteral) return item.text;
    }
  }
  return "";
}

}  // namespace

Json Text(const std::string& s) { return Json{Json::Kind::kText, s, {}, {}}; }
Json Real(double n) { return Json{Json::Kind::kLiteral, absl::StrFormat("%.15g", n), {}, {}}; }
Json Bool(bool b) { return Json{Json::Kind::kLiteral, b ? "true" : "false", {}, {}}; }
Json List(std::vector<Json> items) { return Json{Json::Kind::kList, "", std::move(items), {}}; }
Json Object(Fields fields) {
  Json value{Json::Kind::kObject, "", {}, {}};
  for (auto& [name, item] : fields) {
    value.names.push_back(std::move(name));
    value.items.push_back(std::move(item));
  }
  return value;
}
Json FromJson(const std::string& json) { return FromNode(YAML::Load(json)); }  // all JSON is YAML

std::string FormatFields(Format format, Fields fields) {
  const Json root = Root(std::move(fields));
  if (format == Format::kYaml) return ToYaml(root);
  std::string out;
  WriteJson(root, 0, &out);
  return out + "\n";
}

std::string FormatLine(Fields fields) {
  std::string out;
  WriteJson(Root(std::move(fields)), -1, &out);
  return out + "\n";
}

std::string FormatNames(const Fields& fields) {
  for (const auto& [name, value] : fields) {
    if (value.kind != Json::Kind::kList || (!value.items.empty() && value.items[0].kind != Json::Kind::kObject))
      continue;
    std::string lines;
    for (const Json& item : value.items) absl::StrAppend(&lines, Escape(NameOf(item), false), "\n");
    return lines;
  }
  const bool wrapped = fields.size() == 1 && fields[0].second.kind == Json::Kind::kObject;  // {"site": {"name": ...}}
  return absl::StrCat(Escape(NameOf(wrapped ? fields[0].second : Object(fields)), false), "\n");
}

Format ParseFormat(const std::string& word) {
  if (word == "json") return Format::kJson;
  if (word == "yaml") return Format::kYaml;
  return word == "name" ? Format::kName : Format::kTable;
}

std::string FormatAnswer(Format format, Fields fields) {
  return format == Format::kName ? FormatNames(fields) : FormatFields(format, std::move(fields));
}

void PrintJson(Format format, Fields fields) { std::cout << FormatAnswer(format, std::move(fields)) << std::flush; }

void PrintNext(Format format, Fields fields) {
  if (format == Format::kName) return PrintJson(format, std::move(fields));
  if (format == Format::kYaml) std::cout << "---\n";
  std::cout << (format == Format::kYaml ? FormatFields(format, std::move(fields)) : FormatLine(std::move(fields)))
            << std::flush;
}

std::string FormatTable(const std::vector<std::string>& header, const Rows& rows, std::vector<size_t>* at_least) {
  std::vector<size_t> widths = at_least == nullptr ? std::vector<size_t>() : *at_least;
  Rows lines;
  if (!header.empty()) lines.push_back(header);
  for (const auto& row : rows) lines.push_back(row);
  for (auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (size_t i = 0; i < line.size(); ++i) {
      line[i] = Escape(line[i], false);
      widths[i] = std::max(widths[i], Width(line[i]));
    }
  }
  std::string out;
  for (const auto& line : lines) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) {
      text += line[i];
      if (i + 1 < line.size()) text.append(widths[i] - Width(line[i]) + 2, ' ');
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
  if (at_least != nullptr) *at_least = std::move(widths);
  return out;
}

void PrintTable(const std::vector<std::string>& header, const Rows& rows) {
  std::cout << FormatTable(header, rows) << std::flush;
}

std::string Printable(const std::string& bytes) { return Escape(bytes, true); }

std::string FormatMessage(const std::string& text) { return Escape(text, false); }

}  // namespace bailiwick::output
