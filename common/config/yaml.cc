#include "common/config/yaml.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <limits>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/suggest.h"
#include "common/base/units.h"
#include "common/config/check.h"
#include "common/config/fields.h"
#include "common/config/yaml_tree.h"

namespace bailiwick::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;
using Type = YamlNode::Type;

constexpr size_t kMaxProblemsShown = 100;
constexpr absl::Duration kMaxDuration = absl::Hours(24 * 36500);
constexpr char kNoReflink[] =
    "reflink is not offered: file systems share whole blocks between files, and the store's chunks begin anywhere; use "
    "copy, or consume to need the space once";

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  return text.size() <= kShown ? absl::StrCat("\"", std::string(text), "\"")
                               : absl::StrCat("\"", std::string(text.substr(0, kShown)), "...\"");
}

std::string What(const YamlNode& node) {
  switch (node.type) {
    case Type::kNull:
      return "nothing";
    case Type::kScalar:
      return Quoted(node.text);
    case Type::kList:
      return "a list";
    case Type::kMap:
      return "a map";
    case Type::kRefused:
      break;
  }
  return "an unsupported value";
}

std::string Hint(std::string_view text, const std::vector<std::string>& options) {
  const std::string near = Suggest(text, options);
  if (!near.empty()) return absl::StrCat("did you mean \"", near, "\"?");
  return absl::StrCat("expected ", options.size() == 1 ? "" : "one of: ", absl::StrJoin(options, ", "));
}

std::string Join(const std::string& path, const std::string& name) {
  return path.empty() ? name : absl::StrCat(path, ".", name);
}

// Decodes the documents of one text.
class Decoder {
 public:
  Decoder(std::string_view file, std::vector<Problem>* problems) : file_(file), problems_(problems) {}

  // False when the document is not usable even for further checks.
  bool Document(const YamlNode& root, Located* out) {
    located_ = out;
    const size_t before = problems_->size();
    if (root.type != Type::kMap) {
      if (root.type != Type::kRefused) {
        Fail(root.mark,
             absl::StrCat("expected a resource: a map with apiVersion, kind, metadata and spec; found ", What(root)));
      }
      return false;
    }
    Place("", root.mark);
    const std::map<std::string, const YamlNode*> fields = Fields(root, "", {"apiVersion", "kind", "metadata", "spec"});
    for (const char* name : {"apiVersion", "kind", "metadata", "spec"}) {
      if (fields.count(name) == 0) Fail(root.mark, absl::StrCat(name, " is missing"));
    }
    if (auto it = fields.find("apiVersion"); it != fields.end()) {
      std::string version;
      if (String(*it->second, "apiVersion", &version) && version != "bailiwick/v1") {
        Fail(it->second->mark, absl::StrCat("apiVersion ", Quoted(version), " is not known; expected bailiwick/v1"));
      }
    }
    std::string kind;
    if (auto it = fields.find("kind"); it != fields.end() && String(*it->second, "kind", &kind)) {
      if (std::find(Kinds().begin(), Kinds().end(), kind) == Kinds().end()) {
        Fail(it->second->mark, absl::StrCat("unknown kind ", Quoted(kind), "; ", Hint(kind, Kinds())));
        kind.clear();
      }
    }
    if (auto it = fields.find("metadata"); it != fields.end()) {
      DecodeMessage(*it->second, out->resource.mutable_metadata(), "metadata");
    }
    if (auto it = fields.find("spec"); it != fields.end() && !kind.empty()) {
      DecodeMessage(*it->second, SpecOf(kind, &out->resource), "spec");
    }
    return problems_->size() == before;
  }

 private:
  void Fail(Mark mark, std::string text) { problems_->push_back({mark, std::move(text)}); }
  void Place(const std::string& path, Mark mark) { located_->positions[path] = {file_, mark.line, mark.column}; }

  static Message* SpecOf(const std::string& kind, Resource* resource) {
    if (kind == "Region") return resource->mutable_region();
    if (kind == "Site") return resource->mutable_site();
    if (kind == "Dataset") return resource->mutable_dataset();
    if (kind == "ReplicationPolicy") return resource->mutable_replication_policy();
    if (kind == "RoleBinding") return resource->mutable_role_binding();
    if (kind == "BandwidthPolicy") return resource->mutable_bandwidth_policy();
    return resource->mutable_sovereignty_policy();
  }

  // The fields of a map by name, duplicates and names outside `allowed` reported. An empty `allowed` allows all.
  std::map<std::string, const YamlNode*> Fields(const YamlNode& map, const std::string& path,
                                                const std::vector<std::string>& allowed) {
    std::map<std::string, const YamlNode*> fields;
    for (size_t i = 0; i + 1 < map.items.size(); i += 2) {
      const YamlNode& key = map.items[i];
      const YamlNode& value = map.items[i + 1];
      if (key.type == Type::kRefused) continue;
      if (key.type != Type::kScalar && !(key.type == Type::kNull)) {
        Fail(key.mark, absl::StrCat("expected a name, found ", What(key)));
        continue;
      }
      if (allowed.empty() && (key.type == Type::kNull || (!key.quoted && LooksTyped(key.text)))) {
        Fail(key.mark, absl::StrCat("the name ", What(key), " could be read as something else than text; quote it"));
        continue;
      }
      const std::string where = path.empty() ? "" : absl::StrCat(" in ", path);
      if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), key.text) == allowed.end()) {
        Fail(key.mark, absl::StrCat("unknown field ", What(key), where, "; ", Hint(key.text, allowed)));
        continue;
      }
      if (!fields.emplace(key.text, &value).second) {
        Fail(key.mark, absl::StrCat(Quoted(key.text), " is given twice", where));
        continue;
      }
      Place(Join(path, key.text), value.type == Type::kScalar ? value.mark : key.mark);
    }
    return fields;
  }

  bool Expect(const YamlNode& node, Type type, const std::string& path, const char* what) {
    if (node.type == type) return true;
    if (node.type != Type::kRefused) Fail(node.mark, absl::StrCat(path, ": expected ", what, ", found ", What(node)));
    return false;
  }

  bool String(const YamlNode& node, const std::string& path, std::string* out) {
    if (node.type == Type::kNull) {
      Fail(node.mark, absl::StrCat(path, ": expected text, found nothing; write \"\" for an empty one"));
      return false;
    }
    if (!Expect(node, Type::kScalar, path, "text")) return false;
    if (!node.quoted && LooksTyped(node.text)) {
      Fail(node.mark, absl::StrCat(path, ": ", node.text, " could be read as something else than text; quote it: \"",
                                   node.text, "\""));
      return false;
    }
    if (node.text.find('\0') != std::string::npos) {
      Fail(node.mark, absl::StrCat(path, ": a NUL character is not allowed"));
      return false;
    }
    *out = node.text;
    return true;
  }

  void DecodeMessage(const YamlNode& node, Message* message, const std::string& path) {
    if (!Expect(node, Type::kMap, path, "a map (write {} for an empty one)")) return;
    const Descriptor& type = *message->GetDescriptor();
    std::vector<std::string> names;
    for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->json_name());
    std::map<const OneofDescriptor*, std::string> chosen;
    for (const auto& [name, value] : Fields(node, path, names)) {
      const FieldDescriptor& field =
          *type.field(static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin()));
      if (const OneofDescriptor* one = field.real_containing_oneof()) {
        auto [first, only] = chosen.emplace(one, name);
        if (!only) {
          Fail(value->mark, absl::StrCat(path, ": ", first->second, " and ", name,
                                         " exclude each other here; write one "
                                         "list item for each"));
          continue;
        }
      }
      DecodeField(*value, field, message, Join(path, name));
    }
  }

  void DecodeField(const YamlNode& node, const FieldDescriptor& field, Message* message, const std::string& path) {
    if (field.is_map()) {
      DecodeMap(node, field, message, path);
    } else if (field.is_repeated()) {
      if (!Expect(node, Type::kList, path, "a list")) return;
      for (size_t i = 0; i < node.items.size(); ++i) {
        const std::string item = absl::StrCat(path, "[", i, "]");
        Place(item, node.items[i].mark);
        DecodeValue(node.items[i], field, message, item);
      }
    } else {
      DecodeValue(node, field, message, path);
    }
  }

  void DecodeMap(const YamlNode& node, const FieldDescriptor& field, Message* message, const std::string& path) {
    if (!Expect(node, Type::kMap, path, "a map (write {} for an empty one)")) return;
    const FieldDescriptor& value_field = *field.message_type()->map_value();
    for (const auto& [name, value] : Fields(node, path, {})) {
      Message* entry = message->GetReflection()->AddMessage(message, &field);
      entry->GetReflection()->SetString(entry, field.message_type()->map_key(), name);
      DecodeValue(*value, value_field, entry, Join(path, name));
    }
  }

  // One value, set or added.
  void DecodeValue(const YamlNode& node, const FieldDescriptor& field, Message* message, const std::string& path) {
    const Reflection& reflection = *message->GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING: {
        std::string text;
        if (!String(node, path, &text)) return;
        if (field.is_repeated()) {
          reflection.AddString(message, &field, text);
        } else {
          reflection.SetString(message, &field, text);
        }
        return;
      }
      case FieldDescriptor::CPPTYPE_MESSAGE: {
        Message* child =
            field.is_repeated() ? reflection.AddMessage(message, &field) : reflection.MutableMessage(message, &field);
        if (IsDuration(field)) {
          DecodeDuration(node, path, static_cast<google::protobuf::Duration*>(child));
        } else {
          DecodeMessage(node, child, path);
        }
        return;
      }
      case FieldDescriptor::CPPTYPE_ENUM:
        DecodeEnum(node, field, message, path);
        return;
      case FieldDescriptor::CPPTYPE_BOOL:
        if (node.type != Type::kScalar || node.quoted || (node.text != "true" && node.text != "false")) {
          if (node.type != Type::kRefused) {
            Fail(node.mark, absl::StrCat(path, ": expected true or false, found ", What(node)));
          }
          return;
        }
        reflection.SetBool(message, &field, node.text == "true");
        return;
      case FieldDescriptor::CPPTYPE_UINT32: {
        uint64_t value = 0;
        if (!Number(node, path, std::numeric_limits<uint32_t>::max(), &value)) return;
        reflection.SetUInt32(message, &field, static_cast<uint32_t>(value));
        return;
      }
      case FieldDescriptor::CPPTYPE_UINT64: {
        uint64_t value = 0;
        if (!(IsByteCount(field) ? Size(node, path, &value)
                                 : Number(node, path, std::numeric_limits<uint64_t>::max(), &value))) {
          return;
        }
        reflection.SetUInt64(message, &field, value);
        return;
      }
      default:
        Fail(node.mark, absl::StrCat(path, ": cannot be written in YAML"));
    }
  }

  void DecodeEnum(const YamlNode& node, const FieldDescriptor& field, Message* message, const std::string& path) {
    const std::vector<std::string> words = EnumWords(*field.enum_type());
    if (!Expect(node, Type::kScalar, path, absl::StrCat("one of: ", absl::StrJoin(words, ", ")).c_str())) return;
    for (int i = 0; i < field.enum_type()->value_count(); ++i) {
      const auto& value = *field.enum_type()->value(i);
      if (value.number() == 0 || EnumWord(value) != node.text) continue;
      if (field.is_repeated()) {
        message->GetReflection()->AddEnum(message, &field, &value);
      } else {
        message->GetReflection()->SetEnum(message, &field, &value);
      }
      return;
    }
    if (field.enum_type()->name() == "Ingest" && node.text == "reflink") {
      Fail(node.mark, absl::StrCat(path, ": ", kNoReflink));
      return;
    }
    Fail(node.mark, absl::StrCat(path, ": unknown value ", Quoted(node.text), "; ", Hint(node.text, words)));
  }

  void DecodeDuration(const YamlNode& node, const std::string& path, google::protobuf::Duration* out) {
    if (!Expect(node, Type::kScalar, path, "a duration such as 90s, 15m, 1h30m or 30d")) return;
    auto duration = ParseDuration(node.text);
    if (!duration.ok()) {
      Fail(node.mark, absl::StrCat(path, ": ", duration.status().message()));
    } else if (*duration > kMaxDuration) {
      Fail(node.mark, absl::StrCat(path, ": ", Quoted(node.text), " is longer than 36500d"));
    } else {
      const int64_t seconds = absl::ToInt64Seconds(*duration);
      out->set_seconds(seconds);
      out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(*duration - absl::Seconds(seconds))));
    }
  }

  bool Number(const YamlNode& node, const std::string& path, uint64_t max, uint64_t* out) {
    const bool digits = node.type == Type::kScalar && !node.quoted && !node.text.empty() &&
                        node.text.find_first_not_of("0123456789") == std::string::npos &&
                        (node.text.size() == 1 || node.text[0] != '0');
    if (!digits) {
      if (node.type != Type::kRefused) {
        Fail(node.mark, absl::StrCat(path, ": expected a whole number from 0 to ", max, ", found ", What(node)));
      }
      return false;
    }
    if (!absl::SimpleAtoi(node.text, out) || *out > max) {
      Fail(node.mark, absl::StrCat(path, ": ", node.text, " is out of range; expected a whole number from 0 to ", max));
      return false;
    }
    return true;
  }

  bool Size(const YamlNode& node, const std::string& path, uint64_t* out) {
    if (!Expect(node, Type::kScalar, path, "a size such as 32KiB, 1MiB or 4096")) return false;
    auto bytes = ParseBytes(node.text);
    if (!bytes.ok()) {
      Fail(node.mark, absl::StrCat(path, ": ", bytes.status().message()));
      return false;
    }
    *out = *bytes;
    return true;
  }

  const std::string file_;
  std::vector<Problem>* const problems_;
  Located* located_ = nullptr;
};

absl::Status Report(std::vector<Problem> problems, std::string_view file) {
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.mark.line, a.mark.column) < std::tie(b.mark.line, b.mark.column);
  });
  std::vector<std::string> lines;
  for (const Problem& problem : problems) {
    if (lines.size() == kMaxProblemsShown) {
      lines.push_back(absl::StrCat(std::string(file), ": and ", problems.size() - kMaxProblemsShown, " more problems"));
      break;
    }
    lines.push_back(
        absl::StrCat(Position{std::string(file), problem.mark.line, problem.mark.column}.str(), ": ", problem.text));
  }
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

}  // namespace

std::string Position::str() const {
  if (line == 0) return file;
  return absl::StrCat(file, ":", line, ":", column);
}

Position Located::At(std::string_view path) const {
  std::string at(path);
  while (true) {
    if (auto it = positions.find(at); it != positions.end()) return it->second;
    if (at.empty()) return {};
    const size_t cut = at.find_last_of(".[");
    at.resize(cut == std::string::npos ? 0 : cut);
  }
}

absl::StatusOr<std::vector<Located>> ParseYaml(std::string_view text, std::string_view file) {
  std::vector<Problem> problems;
  std::vector<Located> out;
  std::map<std::pair<std::string, std::string>, Position> seen;
  Decoder decoder(file, &problems);
  for (const YamlNode& document : ReadYaml(text, &problems)) {
    if (document.type == Type::kNull) continue;
    Located located;
    if (!decoder.Document(document, &located)) continue;
    auto mark = [&located](std::string_view path) {
      const Position at = located.At(path);
      return Mark{at.line, at.column};
    };
    CheckResource(located.resource, [&](const std::string& path, const std::string& problem) {
      problems.push_back({mark(path), absl::StrCat(path, ": ", problem)});
    });
    const auto key = std::pair(KindOf(located.resource), located.resource.metadata().name());
    auto [first, added] = seen.emplace(key, located.At("metadata.name"));
    if (!added) {
      problems.push_back(
          {mark("metadata.name"),
           absl::StrCat(key.first, " ", key.second, " is declared twice; the first is at ", first->second.str())});
    }
    out.push_back(std::move(located));
  }
  if (!problems.empty()) return Report(std::move(problems), file);
  return out;
}

}  // namespace bailiwick::config
