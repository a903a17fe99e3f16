// How a protobuf field is written in YAML and JSON: one place for reader and writer.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace bailiwick::config {

// "newest-first" for ORDER_NEWEST_FIRST; label operators as Kubernetes spells them (NotIn). Empty for UNSPECIFIED.
std::string EnumWord(const google::protobuf::EnumValueDescriptor& value);
std::vector<std::string> EnumWords(const google::protobuf::EnumDescriptor& type);
// A uint64 written as a size ("32KiB").
bool IsByteCount(const google::protobuf::FieldDescriptor& field);
bool IsDuration(const google::protobuf::FieldDescriptor& field);

}  // namespace bailiwick::config
