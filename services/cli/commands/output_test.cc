#include "services/cli/commands/output.h"

#include <gtest/gtest.h>

namespace bailiwick::cli {
namespace {

TEST(TimeTest, UnsetIsEmpty) {
  google::protobuf::Timestamp t;
  EXPECT_EQ(TimeText(t), "");
  t.set_seconds(1'700'000'000);
  EXPECT_EQ(TimeText(t), "2023-11-14T22:13:20Z");
}

}  // namespace
}  // namespace bailiwick::cli
