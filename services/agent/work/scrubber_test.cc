#include "services/agent/work/scrubber.h"

#include <gtest/gtest.h>

#include "services/agent/home/dataset_fixture.h"

namespace bailiwick::agent {
namespace {

class ScrubberTest : public ::testing::Test {
 protected:
  ScrubberTest() : key_(*crypto::SigningKey::Generate()) {
    env_.clock = &clock_;
    home_.site = "factory";
    home_.incarnation.bytes.fill(7);
    home_.epoch = 1;
    home_.key = &key_;
    id_.bytes.fill(5);
    Open();
  }
  void Open() {
    scrubber_ = nullptr;
    state_ = nullptr;
    auto state = AgentState::Open(env_, dir_ / "data");
    ASSERT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
    dataset_ = *state_->OpenDataset(id_, "planner");
    scrubber_ = std::make_unique<Scrubber>(state_.get());
  }
  void Commit(const std::string& content) {
    WriteText(dir_ / "source/file", content);
    SourceSpec source;
    source.path = dir_ / "source";
    const std::atomic<bool> cancelled{false};
    auto outcome = agent::Commit(*dataset_, source, home_, {}, os::Clock::System(), nullptr, cancelled, nullptr);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
  }
  // Some bytes in the middle of the largest pack.
  void Rot() {
    fs::path largest;
    for (const auto& entry : fs::directory_iterator(dataset_->directory + "/packs")) {
      if (largest.empty() || fs::file_size(entry) > fs::file_size(largest)) largest = entry.path();
    }
    std::fstream pack(largest, std::ios::in | std::ios::out | std::ios::binary);
    pack.seekp(static_cast<std::streamoff>(fs::file_size(largest) / 2));
    pack.write("rotten", 6);
  }

  TempDir dir_;
  os::FakeClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  Environment env_;
  crypto::SigningKey key_;
  HomeIdentity home_;
  DatasetId id_;
  std::unique_ptr<AgentState> state_;
  DatasetHandle* dataset_ = nullptr;
  std::unique_ptr<Scrubber> scrubber_;
};

TEST_F(ScrubberTest, WhatWasFoundOutlivesTheProcess) {
  Commit(Noise(300'000));
  const absl::Time first = clock_.Now();
  EXPECT_EQ(scrubber_->Of(*dataset_)->at, first) << "a copy that nobody knew is as old as the first look at it";
  clock_.Advance(absl::Hours(5));
  Open();
  EXPECT_EQ(scrubber_->Of(*dataset_)->at, first);
  auto report = scrubber_->ReadBack(*dataset_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->problem_count, 0);
  EXPECT_GE(report->checked_bytes, 300'000);
  const absl::Time read = scrubber_->Of(*dataset_)->at;
  EXPECT_GE(read, first + absl::Hours(5));

  Rot();
  Open();
  EXPECT_EQ(scrubber_->Of(*dataset_)->damaged, 0) << "nobody has looked";
  report = scrubber_->ReadBack(*dataset_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->problem_count, 1);
  EXPECT_EQ(scrubber_->Of(*dataset_)->damaged, 1);
  Open();
  EXPECT_EQ(scrubber_->Of(*dataset_)->damaged, 1);
}

TEST_F(ScrubberTest, ReadsNoFasterThanItsPace) {
  Commit(Noise(8 << 20));
  const absl::Duration began = clock_.BootTime();
  ASSERT_TRUE(scrubber_->ReadBack(*dataset_).ok());
  EXPECT_GE(clock_.BootTime() - began, absl::Milliseconds(200)) << "8 MiB at 32 MiB/s";
}

TEST_F(ScrubberTest, StopEndsIt) {
  Commit(Noise(100'000));
  const absl::Time known = scrubber_->Of(*dataset_)->at;
  clock_.Advance(absl::Hours(1));
  scrubber_->Stop();
  EXPECT_TRUE(absl::IsCancelled(scrubber_->ReadBack(*dataset_).status()));
  EXPECT_EQ(scrubber_->Of(*dataset_)->at, known) << "half a reading is none";
}

// Its thread: the fake clock's sleeps are its time.
TEST_F(ScrubberTest, ACopyIsReadOnceAMonthAndDamageIsTold) {
  Commit(Noise(300'000));
  ASSERT_TRUE(scrubber_->Of(*dataset_).ok());
  Rot();
  Open();
  absl::Mutex mutex;
  std::vector<absl::Time> told;
  const absl::Time known = scrubber_->Of(*dataset_)->at;
  scrubber_->Start([](DatasetHandle&) { return true; },
                   [&](DatasetHandle& dataset, const VerifyReport& report) {
                     absl::MutexLock lock(&mutex);
                     EXPECT_EQ(dataset.name, "planner");
                     EXPECT_EQ(report.problem_count, 1);
                     told.push_back(clock_.Now());
                   });
  {
    absl::MutexLock lock(&mutex);
    auto twice = [&]() { return told.size() >= 2; };
    mutex.Await(absl::Condition(&twice));
  }
  scrubber_->Stop();
  EXPECT_GE(told[0], known + Scrubber::kEvery);
  EXPECT_LT(told[0], known + Scrubber::kEvery + absl::Hours(1));
  EXPECT_GE(told[1], told[0] + Scrubber::kEvery - absl::Seconds(1));
}

}  // namespace
}  // namespace bailiwick::agent
