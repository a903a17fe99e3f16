#include "common/audit/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "common/audit/record.h"
#include "common/os/fault_files.h"

namespace bailiwick::audit {
namespace {

class AuditTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = ::testing::TempDir() + "bw-audit-" + std::to_string(::getpid()) + "-" + info->name();
    path_ = root_ + "/audit.log";
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }

  std::unique_ptr<Log> Open(os::Files* files = os::Files::System()) {
    auto log = Log::Open(files, &clock_, path_);
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? std::move(*log) : nullptr;
  }
  void Fill(int n) {
    auto log = Open();
    for (int i = 0; i < n; ++i) {
      auto sequence =
          log->Append("grant-accepted", "dataset-" + std::to_string(i), "{\"n\":" + std::to_string(i) + "}");
      ASSERT_TRUE(sequence.ok()) << sequence.status();
      clock_.Advance(absl::Nanoseconds(1001));
    }
  }
  std::string Content() { return *os::ReadFile(files_, path_); }
  void Set(const std::string& content) { ASSERT_TRUE(os::WriteFileAtomically(files_, path_, content).ok()); }
  std::vector<std::string> LinesOf(const std::string& content) {
    std::vector<std::string> lines;
    for (size_t at = 0; at < content.size();) {
      size_t end = content.find('\n', at);
      lines.push_back(content.substr(at, end - at + 1));
      at = end + 1;
    }
    return lines;
  }

  os::Files* files_ = os::Files::System();
  os::FakeClock clock_;
  std::string root_, path_;
};

TEST_F(AuditTest, AppendsReadsAndGoesOnAfterReopen) {
  absl::Time start = clock_.Now();
  Fill(3);
  auto log = Open();
  EXPECT_EQ(*log->Append("transfer-refused", "site \"x\"\n\xc3\xbc",
                         " { \"a\" : [ 1, -2.5e3, true, null, {} ],\n \"b\":\"c d\" } "),
            4u);
  auto records = log->Read(0, 100);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 4u);
  EXPECT_EQ((*records)[1].sequence, 2u);
  EXPECT_EQ((*records)[1].kind, "grant-accepted");
  EXPECT_EQ((*records)[1].subject, "dataset-1");
  EXPECT_EQ((*records)[1].detail, "{\"n\":1}");
  EXPECT_EQ((*records)[1].at, start + absl::Nanoseconds(1001));
  EXPECT_EQ((*records)[3].subject, "site \"x\"\n\xc3\xbc");
  EXPECT_EQ((*records)[3].detail, "{\"a\":[1,-2.5e3,true,null,{}],\"b\":\"c d\"}");
  EXPECT_EQ(log->Read(3, 1)->at(0).sequence, 3u);
  EXPECT_TRUE(log->Read(5, 10)->empty());
  EXPECT_EQ(*Verify(files_, path_), 4u);
}

TEST_F(AuditTest, ReadsFromTheMiddleOfALongLog) {
  Fill(600);
  auto log = Open();
  for (uint64_t from : {1, 255, 256, 257, 512, 513, 600}) {
    auto records = log->Read(from, 2);
    ASSERT_TRUE(records.ok()) << records.status();
    EXPECT_EQ(records->at(0).sequence, from);
    EXPECT_EQ(records->size(), from == 600 ? 1u : 2u);
  }
}

TEST_F(AuditTest, RefusesWhatIsNoRecord) {
  auto log = Open();
  for (const char* bad :
       {"[]", "x", "{", "{}x", "{\"a\"}", "{\"a\":01}", "{a:1}", "{\"a\":\"\n\"}", "{\"a\":1,}", "{\"a\":\"\\x\"}"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(log->Append("k", "s", bad).status())) << bad;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(log->Append("", "s", "{}").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(log->Append("k", std::string(5000, 's'), "{}").status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(log->Append("k", "s", "{\"a\":\"" + std::string(kMaxDetail, 'x') + "\"}").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      log->Append("k", "s", "{\"a\":" + std::string(1000, '[') + std::string(1000, ']') + "}").status()));
  EXPECT_EQ(*log->Append("k", "", ""), 1u);
  EXPECT_EQ(log->Read(1, 1)->at(0).detail, "{}");
  // The longest of everything, all of it escaped, still fits a line.
  EXPECT_TRUE(log->Append(std::string(kMaxName, '\x01'), std::string(kMaxName, '\x01'),
                          "{\"a\":\"" + std::string(kMaxDetail - 8, '\xff') + "\"}")
                  .ok());
  log.reset();
  EXPECT_EQ(*Verify(files_, path_), 2u);
}

TEST_F(AuditTest, ATornLastRecordIsCutOff) {
  Fill(3);
  const std::string whole = Content();
  const size_t third = LinesOf(whole)[0].size() + LinesOf(whole)[1].size();
  for (size_t size = third; size < whole.size(); ++size) {
    Set(whole.substr(0, size));
    EXPECT_EQ(*Verify(files_, path_), 2u);
    ASSERT_EQ(*Open()->Append("again", "s", "{}"), 3u) << size;
    ASSERT_EQ(*Verify(files_, path_), 3u);
  }
  // A block that the disk never wrote reads as zeros.
  Set(whole.substr(0, third) + std::string(100, '\0') + whole.substr(third + 100));
  EXPECT_EQ(*Open()->Append("again", "s", "{}"), 3u);
}

TEST_F(AuditTest, AnyChangedByteIsFoundAndTheLogLeftAlone) {
  Fill(3);
  const std::string whole = Content();
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x11);
    Set(changed);
    auto verified = Verify(files_, path_);
    ASSERT_TRUE(absl::IsDataLoss(verified.status())) << "byte " << i << ": " << verified.status();
    if (i % 50 == 0) {
      EXPECT_TRUE(absl::IsDataLoss(Log::Open(files_, &clock_, path_).status()));
      EXPECT_EQ(Content(), changed);
    }
  }
}

TEST_F(AuditTest, DroppedSwappedAndForgedRecordsAreFound) {
  Fill(4);
  const std::string whole = Content();
  std::vector<std::string> l = LinesOf(whole);
  auto found = [&](const std::string& content, const char* record) {
    Set(content);
    absl::Status status = Verify(files_, path_).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_NE(status.ToString().find(record), std::string::npos) << status;
  };
  found(l[0] + l[2] + l[3], "audit record 2 ");
  found(l[1] + l[2] + l[3], "audit record 1 ");
  found(l[0] + l[2] + l[1] + l[3], "audit record 2 ");
  found(l[0] + l[1] + l[1] + l[2] + l[3], "audit record 3 ");
  // A forged record, true in itself, does not fit what follows.
  Record forged;
  forged.sequence = 2;
  forged.at = clock_.Now();
  forged.kind = "nothing-happened";
  forged.detail = "{}";
  Digest first = Decode(l[0].substr(0, l[0].size() - 1), 1, FirstPrevious())->hash;
  found(l[0] + Encode(forged, first).line + l[2] + l[3], "audit record 3 ");
  found(l[0] + std::string(l[1].size(), '\0') + l[2] + l[3], "audit record 2 ");
  Set(whole);
  EXPECT_EQ(*Verify(files_, path_), 4u);
}

TEST_F(AuditTest, ConcurrentAppendsShareSyncsAndAreAllThere) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults);
  constexpr int kThreads = 8, kEach = 20;
  std::vector<std::thread> threads;
  std::vector<std::vector<uint64_t>> sequences(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        auto sequence = log->Append("k", std::to_string(t) + "/" + std::to_string(i), "{}");
        if (sequence.ok()) sequences[static_cast<size_t>(t)].push_back(*sequence);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::set<uint64_t> distinct;
  for (const auto& own : sequences) {
    EXPECT_EQ(own.size(), static_cast<size_t>(kEach));
    EXPECT_TRUE(std::is_sorted(own.begin(), own.end()));
    distinct.insert(own.begin(), own.end());
  }
  EXPECT_EQ(distinct.size(), static_cast<size_t>(kThreads * kEach));
  EXPECT_EQ(*distinct.rbegin(), static_cast<uint64_t>(kThreads * kEach));
  ASSERT_TRUE(faults.DropUnsynced().ok());
  EXPECT_EQ(*Verify(&faults, path_), static_cast<uint64_t>(kThreads * kEach)) << "all were durable";
}

TEST_F(AuditTest, PowerLossAtEveryOperationKeepsWhatWasAcknowledged) {
  for (uint64_t n = 0; n < 14; ++n) {
    for (bool keep : {false, true}) {
      SCOPED_TRACE(n);
      ASSERT_TRUE(files_->RemoveTree(path_).ok());
      os::FaultFiles faults(files_, root_);
      faults.StopAfter(n);
      uint64_t acknowledged = 0;
      if (auto log = Log::Open(&faults, &clock_, path_); log.ok()) {
        for (int i = 0; i < 5; ++i) {
          auto sequence = (*log)->Append("k", "s", "{}");
          if (!sequence.ok()) break;
          acknowledged = *sequence;
        }
      }
      ASSERT_TRUE((keep ? faults.KeepUnsynced() : faults.DropUnsynced()).ok());
      auto log = Open(&faults);
      ASSERT_NE(log, nullptr);
      auto next = log->Append("k", "after", "{}");
      ASSERT_TRUE(next.ok()) << next.status();
      EXPECT_GT(*next, acknowledged);
      EXPECT_EQ(*Verify(&faults, path_), *next);
    }
  }
}

TEST_F(AuditTest, AFullDiskRefusesThenGoesOnAFailedSyncIsFinal) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults);
  ASSERT_TRUE(log->Append("k", "one", "{}").ok());
  faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left"));
  EXPECT_TRUE(absl::IsResourceExhausted(log->Append("k", "refused", "{}").status()));
  EXPECT_EQ(*log->Append("k", "two", "{}"), 2u);
  faults.FailAt(faults.operations() + 2, absl::DataLossError("EIO"));
  EXPECT_FALSE(log->Append("k", "unsynced", "{}").ok());
  EXPECT_FALSE(log->Append("k", "after", "{}").ok());
  EXPECT_EQ(log->Read(1, 10)->size(), 2u) << "only what is durable is shown";
  ASSERT_TRUE(faults.DropUnsynced().ok());
  EXPECT_EQ(*Verify(&faults, path_), 2u);
}

TEST_F(AuditTest, MissingFileIsSaid) { EXPECT_TRUE(absl::IsNotFound(Verify(files_, path_).status())); }

}  // namespace
}  // namespace bailiwick::audit
