#include "services/agent/home/restless.h"

#include <gtest/gtest.h>

namespace bailiwick::agent {
namespace {

TEST(RestlessTest, WhatRestsOnceBeginsAnew) {
  Restless files;
  absl::Duration now = absl::Hours(1);
  const absl::Duration settle = absl::Seconds(2);
  size_t most = 0;
  // A recorder's newest file is another one every minute; the log is appended to all the time.
  for (int second = 0; second < 299; ++second, now += absl::Seconds(1)) {
    most = std::max(most, files.Note({"log", "part-" + std::to_string(second / 60)}, settle, now));
  }
  EXPECT_EQ(most, 0u);
  now += absl::Seconds(1);
  EXPECT_EQ(files.Note({"log", "part-5"}, settle, now), 1u);
  EXPECT_EQ(files.Note({"part-5"}, settle, now), 0u);
  EXPECT_EQ(files.Note({"log", "part-5"}, settle, now), 0u) << "it rested in between";
}

TEST(RestlessTest, ALongSettleIsGivenItsTime) {
  Restless files;
  const absl::Duration settle = absl::Minutes(2);
  EXPECT_EQ(files.Note({"a", "b"}, settle, absl::ZeroDuration()), 0u);
  EXPECT_EQ(files.Note({"a", "b"}, settle, absl::Minutes(19)), 0u);
  EXPECT_EQ(files.Note({"a", "b"}, settle, absl::Minutes(20)), 2u);
}

}  // namespace
}  // namespace bailiwick::agent
