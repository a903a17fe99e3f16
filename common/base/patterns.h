// Include and ignore patterns in gitignore's syntax, relative to the root of the source. Paths are bytes, not
// characters. Immutable after Parse, thread-safe.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace bailiwick {

class PatternList {
 public:
  enum class Verdict { kNone, kMatch, kNegated };

  PatternList() = default;
  // Blank lines and comments are skipped. INVALID_ARGUMENT names a pattern that could never match (an open bracket, a
  // lone backslash at the end): git ignores such a line silently, which hides the mistake.
  static absl::StatusOr<PatternList> Parse(const std::vector<std::string>& lines);

  bool empty() const { return patterns_.empty(); }
  // The last pattern that matches the path itself decides; what lies above it is the caller's business.
  Verdict Match(std::string_view path, bool is_directory) const;

 private:
  struct Token {
    enum Kind : uint8_t { kLiteral, kAnyByte, kStar, kClass } kind = kLiteral;
    char literal = 0;
    uint16_t index = 0;  // into Segment::classes
  };
  struct Segment {
    bool any_depth = false;  // **
    std::vector<Token> tokens;
    std::vector<std::bitset<256>> classes;
  };
  struct Pattern {
    bool negated = false;
    bool directory_only = false;
    bool anchored = false;  // else it is matched against the last component alone
    std::vector<Segment> segments;
  };

  static absl::StatusOr<Segment> ParseSegment(std::string_view text, std::string_view whole);
  static bool MatchSegment(const Segment& segment, std::string_view name);
  static bool MatchSegments(const std::vector<Segment>& segments, const std::vector<std::string_view>& names);

  std::vector<Pattern> patterns_;
  bool any_anchored_ = false;
};

// What of a source belongs to a dataset: its include patterns let it through, where there are some, and no ignore
// pattern matches it or a directory above it.
struct Selection {
  PatternList include, ignore;
  static absl::StatusOr<Selection> Parse(const std::vector<std::string>& include,
                                         const std::vector<std::string>& ignore);
  bool Ignored(std::string_view path, bool directory) const {  // by itself
    return ignore.Match(path, directory) == PatternList::Verdict::kMatch;
  }
  bool IgnoredAbove(std::string_view path) const;
  bool Included(std::string_view path, bool directory) const;
  bool Takes(std::string_view path, bool directory) const {
    return !Ignored(path, directory) && !IgnoredAbove(path) && Included(path, directory);
  }
};

}  // namespace bailiwick
