// What the protos do not say about each field: its default, an example, and a mistake whose message is shown. The
// generator parses every example, and takes the message from the parser; a field without an entry fails it.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace bailiwick::reference {

// A document in which the fields of a message can be tried: '%' stands for them; `siblings` are what a good one needs.
struct Frame {
  const char* message;
  const char* where;  // in YAML, for the reader
  const char* document;
  std::vector<std::string> siblings;
  std::vector<std::pair<std::string, std::string>> excludes;  // with this field, without that sibling
};

struct Entry {
  const char* field;  // Message.json_name
  const char* fallback;
  const char* example;
  const char* wrong;
};

const std::vector<Frame>& Frames();
const std::vector<Entry>& Entries();

}  // namespace bailiwick::reference
