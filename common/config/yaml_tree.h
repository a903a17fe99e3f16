// YAML text to plain trees with a place for every node. Bounded: text size, depth, number of nodes; anchors, aliases
// and tags are refused, so nothing expands. Knows nothing of resources. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bailiwick::config {

inline constexpr size_t kMaxYamlBytes = 16 << 20;  // a fleet of some ten thousand resources
inline constexpr size_t kMaxYamlNodes = 1000000;
inline constexpr int kMaxYamlDepth = 64;  // resources need about ten

struct Mark {
  int line = 1;  // both from 1
  int column = 1;
};

struct YamlNode {
  enum class Type { kNull, kScalar, kList, kMap, kRefused };  // kRefused: already reported, say no more about it
  Type type = Type::kNull;
  Mark mark;
  std::string text;             // of a scalar
  bool quoted = false;          // or a block scalar: surely meant as a string
  std::vector<YamlNode> items;  // of a list; of a map: key, value, key, value and so on
};

struct Problem {
  Mark mark;
  std::string text;
};

// The documents of `text`, also those before an error of syntax, which ends it. Empty documents are kNull.
std::vector<YamlNode> ReadYaml(std::string_view text, std::vector<Problem>* problems);

// Whether some YAML reader would take this unquoted word for a bool, null or a number (yes, no, on, 1.5, 0x1f, 12:30,
// ~).
bool LooksTyped(std::string_view word);

}  // namespace bailiwick::config
