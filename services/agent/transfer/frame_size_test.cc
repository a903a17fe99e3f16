#include "services/agent/transfer/frame_size.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "services/agent/transfer/frame.h"
#include "services/agent/transfer/stream.h"

namespace bailiwick::agent {
namespace {

class FrameSizeTest : public ::testing::Test {
 protected:
  // Frames one after the other, over a link of that pace which first takes `room` at once, through the stream's queue.
  size_t Send(double bytes_per_second, int frames, double room = 0) {
    size_t size = 0;
    for (int i = 0; i < frames; ++i) {
      size = sizes_.Next();
      largest_ = std::max(largest_, size);
      sent_ += size;
      queue_.push_back(size);
      while (queue_.size() > FrameStream::kQueueFrames) {
        const auto bytes = static_cast<double>(queue_.front());
        const double at_once = std::min(room, bytes);
        room -= at_once;
        clock_.Advance(absl::Seconds((bytes - at_once) / bytes_per_second));
        queue_.pop_front();
      }
      sizes_.Written(size);
    }
    return size;
  }

  os::FakeClock clock_;
  FrameSize sizes_{&clock_};
  std::deque<size_t> queue_;
  size_t sent_ = 0, largest_ = 0;
};

TEST_F(FrameSizeTest, AFastLinkSoonGetsTheLargest) {
  EXPECT_EQ(Send(125e6, 48), kFrameBytes);
  EXPECT_LT(sent_, 24 * kFrameBytes) << "on the way there";
  EXPECT_EQ(Send(125e6, 100), kFrameBytes);
}

TEST_F(FrameSizeTest, ASlowLinkGetsASecondsWorth) {
  EXPECT_NEAR(static_cast<double>(Send(300e3, 50)), 300e3, 3e3);
  EXPECT_EQ(Send(40e3, 20), FrameSize::kLeast);
  EXPECT_NEAR(static_cast<double>(Send(300e3, 50)), 300e3, 3e3) << "it is faster again";
}

TEST_F(FrameSizeTest, WhatSocketsTakeAtOnceIsNoPace) {
  EXPECT_EQ(Send(40e3, 20, 512 << 10), FrameSize::kLeast);
  EXPECT_LE(largest_, size_t{128} << 10);
}

TEST_F(FrameSizeTest, NothingToSendIsNotASlowLinkForLong) {
  Send(125e6, 60);
  clock_.Advance(absl::Minutes(10));
  EXPECT_EQ(Send(125e6, 60), kFrameBytes);
}

}  // namespace
}  // namespace bailiwick::agent
