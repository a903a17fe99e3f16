#include "common/audit/refusals.h"

#include <gmock/gmock.h>

#include "common/audit/audit_fixture.h"

namespace bailiwick::audit {
namespace {

using ::testing::HasSubstr;

class RefusalsTest : public AuditFixture {
 protected:
  void SetUp() override {
    AuditFixture::SetUp();
    log_ = Open();
    refusals_ = std::make_unique<Refusals>(log_.get(), &clock_);
  }
  void TearDown() override {
    refusals_.reset();
    log_.reset();
    AuditFixture::TearDown();
  }
  absl::Status Knock(const std::string& peer, const std::string& reason = "POLICY_DENIED") {
    return refusals_->Record("transfer-refused", peer, reason, "data/1", "{}");
  }
  std::vector<struct Record> All() { return *log_->Read(1, 10'000); }

  std::unique_ptr<Log> log_;
  std::unique_ptr<Refusals> refusals_;
};

TEST_F(RefusalsTest, KnockingAgainIsOneRecordWithFirstLastAndCount) {
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(Knock("a").ok());
    clock_.Advance(absl::Milliseconds(100));
  }
  ASSERT_TRUE(Knock("b").ok());
  ASSERT_TRUE(Knock("a", "WRONG_PEER").ok());
  EXPECT_EQ(All().size(), 3u) << "the first of each peer and reason, at once";
  clock_.Advance(Refusals::kWindow);
  ASSERT_TRUE(refusals_->Flush().ok());
  const auto records = All();
  ASSERT_EQ(records.size(), 4u) << "one knock needs no second record";
  EXPECT_EQ(records[3].kind, "refusals-repeated");
  EXPECT_EQ(records[3].subject, "peer/a");
  EXPECT_EQ(records[3].detail,
            "{\"kind\":\"transfer-refused\",\"reason\":\"POLICY_DENIED\",\"first\":\"2023-11-14T22:13:20+00:00\","
            "\"last\":\"2023-11-14T22:14:59+00:00\",\"count\":1000}");
  ASSERT_TRUE(Knock("a").ok());
  EXPECT_EQ(All().size(), 5u) << "a new window begins with a record";
}

TEST_F(RefusalsTest, AWindowThatNobodyClosedIsClosedByTheNextKnock) {
  ASSERT_TRUE(Knock("a").ok());
  ASSERT_TRUE(Knock("a").ok());
  clock_.Advance(2 * Refusals::kWindow);
  ASSERT_TRUE(Knock("a").ok());
  const auto records = All();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[1].kind, "refusals-repeated");
  EXPECT_EQ(records[2].kind, "transfer-refused");
}

TEST_F(RefusalsTest, ManyPeersAtOnceAreCountedTogetherBeyondTheBound) {
  std::vector<std::thread> threads;  // that share the syncs
  for (size_t t = 0; t < 32; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < Refusals::kMaxKinds + 500; i += 32) {
        EXPECT_TRUE(Knock("peer-" + std::to_string(i)).ok());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(log_->size(), 1 + Refusals::kMaxKinds + 1);
  refusals_.reset();  // at the end what was counted is recorded
  const auto records = *log_->Read(1 + Refusals::kMaxKinds, 10);
  EXPECT_EQ(records.back().subject, "peer/others");
  EXPECT_NE(records.back().detail.find("\"count\":500"), std::string::npos) << records.back().detail;
}

TEST_F(RefusalsTest, WhatCannotBeRecordedIsAnErrorAndTriedAgain) {
  refusals_.reset();
  log_.reset();
  os::FaultFiles faults(files_, root_);
  log_ = Open(&faults);
  refusals_ = std::make_unique<Refusals>(log_.get(), &clock_);
  faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left"));
  EXPECT_TRUE(absl::IsResourceExhausted(Knock("a")));
  EXPECT_TRUE(Knock("a").ok());
  ASSERT_EQ(All().size(), 2u);
  EXPECT_THAT(All()[0].detail, HasSubstr("\"count\":1}")) << "what could not be recorded was counted";
  EXPECT_EQ(All()[1].kind, "transfer-refused");
  ASSERT_TRUE(Knock("a").ok());
  clock_.Advance(Refusals::kWindow);
  faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left"));
  EXPECT_TRUE(absl::IsResourceExhausted(refusals_->Flush()));
  clock_.Advance(Refusals::kWindow);
  EXPECT_TRUE(refusals_->Flush().ok());
  ASSERT_EQ(All().size(), 3u);
  EXPECT_THAT(All()[2].detail, HasSubstr("\"count\":2}"));
  refusals_.reset();
  log_.reset();
}

}  // namespace
}  // namespace bailiwick::audit
