#include "common/config/fields.h"

#include <cctype>

#include "absl/strings/match.h"

namespace bailiwick::config {

using google::protobuf::FieldDescriptor;

std::string EnumWord(const google::protobuf::EnumValueDescriptor& value) {
  if (value.number() == 0) return "";
  std::string prefix;  // LabelOperator -> LABEL_OPERATOR_
  for (char c : value.type()->name()) {
    if (std::isupper(static_cast<unsigned char>(c)) && !prefix.empty()) prefix += '_';
    prefix += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  prefix += '_';
  const std::string name = value.name().substr(absl::StartsWith(value.name(), prefix) ? prefix.size() : 0);
  const bool camel = value.type()->name() == "LabelOperator";
  std::string word;
  bool start = true;
  for (char c : name) {
    if (c == '_') {
      if (!camel) word += '-';
      start = true;
      continue;
    }
    word += camel && start ? c : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    start = false;
  }
  return word;
}

std::vector<std::string> EnumWords(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) words.push_back(EnumWord(*type.value(i)));
  }
  return words;
}

bool IsByteCount(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64 && absl::EndsWith(field.name(), "_bytes");
}

bool IsDuration(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type()->full_name() == "google.protobuf.Duration";
}

}  // namespace bailiwick::config
