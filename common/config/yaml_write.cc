#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/units.h"
#include "common/config/fields.h"
#include "common/config/yaml.h"
#include "common/config/yaml_tree.h"

namespace bailiwick::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// What YAML and JSON share: a scalar, a list or a map.
struct Value {
  enum class Type { kString, kBare, kList, kMap };  // kBare: a number or a bool
  Type type = Type::kMap;
  std::string text;
  std::vector<Value> items;
  std::string name;  // as a field of a map
};

Value Text(std::string text) { return {Value::Type::kString, std::move(text), {}, ""}; }
Value Bare(std::string text) { return {Value::Type::kBare, std::move(text), {}, ""}; }

std::string DurationText(const google::protobuf::Duration& duration) {
  int64_t ms = duration.seconds() * 1000 + duration.nanos() / 1000000;
  if (ms == 0) return "0s";
  std::string text;
  for (auto [unit, size] :
       {std::pair("d", int64_t{86400000}), std::pair("h", int64_t{3600000}), std::pair("m", int64_t{60000}),
        std::pair("s", int64_t{1000}), std::pair("ms", int64_t{1})}) {
    if (ms >= size) absl::StrAppend(&text, ms / size, unit);
    ms %= size;
  }
  return text;
}

Value SizeValue(uint64_t bytes) {
  for (auto [unit, size] : {std::pair("GiB", kGiB), std::pair("MiB", kMiB), std::pair("KiB", kKiB)}) {
    if (bytes != 0 && bytes % size == 0) return Text(absl::StrCat(bytes / size, unit));
  }
  return Bare(absl::StrCat(bytes));
}

void AddField(std::string name, Value value, Value* map) {
  value.name = std::move(name);
  map->items.push_back(std::move(value));
}

Value OfMessage(const Message& message);

// Element `index` of a repeated field, or the singular field at -1.
Value OfField(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& r = *message.GetReflection();
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return Text(one ? r.GetString(message, &field) : r.GetRepeatedString(message, &field, index));
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* value = one ? r.GetEnum(message, &field) : r.GetRepeatedEnum(message, &field, index);
      return Text(EnumWord(*value));
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      return Bare(r.GetBool(message, &field) ? "true" : "false");
    case FieldDescriptor::CPPTYPE_UINT32:
      return Bare(absl::StrCat(r.GetUInt32(message, &field)));
    case FieldDescriptor::CPPTYPE_UINT64: {
      const uint64_t value = r.GetUInt64(message, &field);
      return IsByteCount(field) ? SizeValue(value) : Bare(absl::StrCat(value));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const Message& child = one ? r.GetMessage(message, &field) : r.GetRepeatedMessage(message, &field, index);
      if (IsDuration(field)) return Text(DurationText(static_cast<const google::protobuf::Duration&>(child)));
      return OfMessage(child);
    }
    default:
      return Text("");  // no such field in these protos; the round trip test would show one
  }
}

Value OfMessage(const Message& message) {
  const Reflection& r = *message.GetReflection();
  const Descriptor& type = *message.GetDescriptor();
  Value out;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_map()) {
      if (r.FieldSize(message, &field) == 0) continue;
      Value map;
      for (int k = 0; k < r.FieldSize(message, &field); ++k) {
        const Message& entry = r.GetRepeatedMessage(message, &field, k);
        AddField(entry.GetReflection()->GetString(entry, field.message_type()->map_key()),
                 OfField(entry, *field.message_type()->map_value(), -1), &map);
      }
      std::sort(map.items.begin(), map.items.end(), [](const Value& a, const Value& b) { return a.name < b.name; });
      AddField(field.json_name(), std::move(map), &out);
    } else if (field.is_repeated()) {
      if (r.FieldSize(message, &field) == 0) continue;
      Value list;
      list.type = Value::Type::kList;
      for (int k = 0; k < r.FieldSize(message, &field); ++k) list.items.push_back(OfField(message, field, k));
      AddField(field.json_name(), std::move(list), &out);
    } else if (r.HasField(message, &field)) {
      AddField(field.json_name(), OfField(message, field, -1), &out);
    }
  }
  return out;
}

Value OfResource(const Resource& resource) {
  Value out;
  AddField("apiVersion", Text("bailiwick/v1"), &out);
  AddField("kind", Text(KindOf(resource)), &out);
  AddField("metadata", OfMessage(resource.metadata()), &out);
  const Descriptor& type = *Resource::descriptor();
  Value spec;
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->containing_oneof() == nullptr || !resource.GetReflection()->HasField(resource, type.field(i)))
      continue;
    spec = OfField(resource, *type.field(i), -1);
  }
  AddField("spec", std::move(spec), &out);
  return out;
}

// A double-quoted string that both JSON and YAML read.
std::string Quote(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    const unsigned char u = c;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (u < 0x20 || u == 0x7f) {
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, "\\u%04x", u);
      out += buffer;
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string YamlString(const std::string& text) {
  static constexpr char kSafe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-";
  const bool plain = !text.empty() && text[0] != '-' && text[0] != '.' &&
                     text.find_first_not_of(kSafe) == std::string::npos && !LooksTyped(text);
  return plain ? text : Quote(text);
}

bool IsBlock(const Value& value) {
  if (value.type == Value::Type::kMap) return !value.items.empty();
  if (value.type != Value::Type::kList) return false;
  return std::any_of(value.items.begin(), value.items.end(),
                     [](const Value& v) { return v.type == Value::Type::kMap; });
}

std::string Inline(const Value& value) {
  switch (value.type) {
    case Value::Type::kString:
      return YamlString(value.text);
    case Value::Type::kBare:
      return value.text;
    case Value::Type::kMap:
      return "{}";
    case Value::Type::kList:
      break;
  }
  std::string out = "[";
  for (size_t i = 0; i < value.items.size(); ++i) absl::StrAppend(&out, i == 0 ? "" : ", ", Inline(value.items[i]));
  return out + "]";
}

void WriteBlock(const Value& value, const std::string& indent, std::string* out);

void WriteField(const Value& value, const std::string& indent, std::string* out) {
  if (!IsBlock(value)) {
    absl::StrAppend(out, YamlString(value.name), ": ", Inline(value), "\n");
    return;
  }
  absl::StrAppend(out, YamlString(value.name), ":\n");
  WriteBlock(value, value.type == Value::Type::kMap ? indent + "  " : indent, out);
}

void WriteBlock(const Value& value, const std::string& indent, std::string* out) {
  if (value.type == Value::Type::kMap) {
    for (const Value& child : value.items) {
      *out += indent;
      WriteField(child, indent, out);
    }
    return;
  }
  for (const Value& item : value.items) {
    if (!IsBlock(item)) {
      absl::StrAppend(out, indent, "- ", Inline(item), "\n");
      continue;
    }
    for (size_t i = 0; i < item.items.size(); ++i) {
      absl::StrAppend(out, indent, i == 0 ? "- " : "  ");
      WriteField(item.items[i], indent + "  ", out);
    }
  }
}

void WriteJson(const Value& value, std::string* out) {
  switch (value.type) {
    case Value::Type::kString:
      *out += Quote(value.text);
      return;
    case Value::Type::kBare:
      *out += value.text;
      return;
    case Value::Type::kList:
      *out += '[';
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i != 0) *out += ',';
        WriteJson(value.items[i], out);
      }
      *out += ']';
      return;
    case Value::Type::kMap:
      *out += '{';
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i != 0) *out += ',';
        absl::StrAppend(out, Quote(value.items[i].name), ":");
        WriteJson(value.items[i], out);
      }
      *out += '}';
      return;
  }
}

}  // namespace

std::string ToYaml(const Resource& resource) {
  std::string out;
  WriteBlock(OfResource(resource), "", &out);
  return out;
}

std::string ToJson(const Resource& resource) {
  std::string out;
  WriteJson(OfResource(resource), &out);
  return out;
}

}  // namespace bailiwick::config
