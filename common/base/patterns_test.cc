#include "common/base/patterns.h"

#include <gtest/gtest.h>

namespace bailiwick {
namespace {

using Verdict = PatternList::Verdict;

Verdict Match(const std::vector<std::string>& lines, std::string_view path, bool directory = false) {
  auto list = PatternList::Parse(lines);
  EXPECT_TRUE(list.ok()) << list.status();
  return list.ok() ? list->Match(path, directory) : Verdict::kNone;
}

TEST(PatternsTest, FollowsGitignore) {
  struct Case {
    const char* pattern;
    const char* path;
    bool match;
    bool directory = false;
  };
  const Case kCases[] = {
      {"*.tmp", "a.tmp", true},
      {"*.tmp", "x/y/a.tmp", true},
      {"*.tmp", "a.tmpx", false},
      {"/a", "a", true},
      {"/a", "b/a", false},
      {"a/b", "a/b", true},
      {"a/b", "x/a/b", false},  // a slash in the middle anchors
      {"**/a/b", "x/a/b", true},
      {"**/a/b", "a/b", true},
      {"a/**", "a/b/c", true},
      {"a/**", "a", false},
      {"a/**/b", "a/b", true},
      {"a/**/b", "a/x/y/b", true},
      {"a/**/b", "a/x/y/c", false},
      {"a*b", "a/b", false},  // a star does not cross a slash
      {"foo/*", "foo/x", true},
      {"foo/*", "foo/x/y", false},
      {"logs/", "logs", false},
      {"logs/", "logs", true, true},
      {"logs/", "x/logs", true, true},
      {"a?c", "abc", true},
      {"a?c", "a/c", false},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[!a-c]x", "dx", true},
      {"[^a-c]x", "bx", false},
      {"[]a]", "]", true},
      {"[[:digit:]]*", "7up", true},
      {"\\#x", "#x", true},
      {"\\!x", "!x", true},
      {"a\\*", "a*", true},
      {"a\\*", "ab", false},
      {"sp\\ ", "sp ", true},
      {"sp  ", "sp", true},
      {"#comment", "#comment", false},
      {"", "x", false},
      {"**", "any/where", true},
      {"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
      {"caf\xC3\xA9", "caf\xC3\xA9", true},
      {"\xFF*", "\xFF\xFE", true},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ(Match({c.pattern}, c.path, c.directory) == Verdict::kMatch, c.match) << c.pattern << " on " << c.path;
  }
}

TEST(PatternsTest, LastMatchDecides) {
  EXPECT_EQ(Match({"*.log", "!keep.log"}, "x/keep.log"), Verdict::kNegated);
  EXPECT_EQ(Match({"*.log", "!keep.log"}, "x/other.log"), Verdict::kMatch);
  EXPECT_EQ(Match({"!keep.log", "*.log"}, "keep.log"), Verdict::kMatch);
  EXPECT_EQ(Match({"*.log"}, "a.txt"), Verdict::kNone);
}

TEST(PatternsTest, RefusesWhatNeverMatches) {
  for (const char* pattern : {"[abc", "a\\", "/", "!", "a//b"}) {
    auto list = PatternList::Parse({pattern});
    EXPECT_EQ(list.status().code(), absl::StatusCode::kInvalidArgument) << pattern;
  }
}

}  // namespace
}  // namespace bailiwick
