// How the CLI's answers are printed: by common/output, whose words are at home here too.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <string>
#include <utility>
#include <vector>

#include "common/output/output.h"

namespace bailiwick::cli {

using output::Bool;
using output::Fields;
using output::Format;
using output::FormatFields;
using output::FormatLine;
using output::FormatMessage;
using output::FormatNames;
using output::FormatTable;
using output::FromJson;
using output::IsUtf8;
using output::Json;
using output::List;
using output::Number;
using output::Object;
using output::Printable;
using output::PrintJson;
using output::PrintNext;
using output::PrintTable;
using output::Real;
using output::Rows;
using output::Text;

template <typename Strings>
Json Texts(const Strings& strings) {
  std::vector<Json> items;
  for (const auto& s : strings) items.push_back(Text(s));
  return List(std::move(items));
}

std::string TimeText(const google::protobuf::Timestamp& t);  // RFC 3339 in UTC, seconds; "" when unset
bool IsTerminal(int fd);

}  // namespace bailiwick::cli
