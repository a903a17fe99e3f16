#include "common/base/suggest.h"

#include <gtest/gtest.h>

namespace bailiwick {
namespace {

TEST(Suggest, FindsNearMissesOnly) {
  EXPECT_EQ(Suggest("regoin", {"region", "entity"}), "region");
  EXPECT_EQ(Suggest("outbound", {"any", "outbound-only"}), "outbound-only");
  EXPECT_EQ(Suggest("xyz", {"region", "entity"}), "");
  EXPECT_EQ(Suggest("", {"region"}), "");
}

}  // namespace
}  // namespace bailiwick
