#include "services/agent/home/display_path.h"

#include <gtest/gtest.h>

namespace bailiwick::agent {
namespace {

TEST(DisplayPathTest, IsOneLineOfUtf8) {
  EXPECT_EQ(DisplayPath("a/b c"), "a/b c");
  EXPECT_EQ(DisplayPath("caf\xC3\xA9"), "caf\xC3\xA9");
  EXPECT_EQ(DisplayPath("x\ny"), "x\\ny");
  EXPECT_EQ(DisplayPath("\xFFz\x1b"), "\\xffz\\x1b");
  EXPECT_EQ(DisplayPath("\xED\xA0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(DisplayPath("\xE2\x82"), "\\xe2\\x82");           // cut short
}

}  // namespace
}  // namespace bailiwick::agent
