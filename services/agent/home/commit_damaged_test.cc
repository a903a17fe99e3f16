// Commits where what the home holds of the version before is damaged or gone: the source is all that they need.
#include <gmock/gmock.h>

#include "services/agent/home/commit_preview.h"
#include "services/agent/home/dataset_fixture.h"
#include "services/agent/home/source_watch.h"

namespace bailiwick::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CommitDamagedTest : public ::testing::Test {
 protected:
  CommitDamagedTest() {
    spec_.path = temp_ / "source";
    for (int i = 0; i < 200; ++i) WriteText(At("dir/file-" + std::to_string(i)), Noise(300, i + 1));
    WriteText(At("big"), Noise(4 << 20, 999));
    auto first = Commit();
    EXPECT_TRUE(first.ok()) << first.status();
    if (first.ok()) first_ = first->version;
  }
  std::string At(const std::string& name) const { return spec_.path + "/" + name; }
  absl::StatusOr<CommitOutcome> Commit(const CommitOptions& options = {}, SourceWatch* watch = nullptr) {
    return dataset_.Commit(spec_, options, nullptr, &clock_, watch);
  }
  void Restart() {
    dataset_.Close();
    ASSERT_TRUE(dataset_.Open().ok());
  }
  // A byte in every 100, from the beginning of each pack's content or from its last KiB on: there lie the nodes.
  void Rot(bool nodes_only = false) {
    for (const fs::path& pack : dataset_.Packs()) {
      std::string bytes = ReadText(pack.string());
      for (size_t at = nodes_only ? bytes.size() - 1024 : 100; at < bytes.size(); at += 100) bytes[at] ^= 0x55;
      WriteText(pack.string(), bytes);
    }
    Restart();  // nodes that were in memory are not any more
  }
  // Everything that the version names is on disk, and what it was.
  void ExpectWhole(const store::CatalogVersion& version, size_t entries) {
    Restart();
    auto found = dataset_.Entries(version);
    EXPECT_EQ(found.size(), entries) << version.record.number;
    for (const auto& [path, entry] : found) {
      if (entry.type != store::EntryType::kFile || !fs::exists(At(path))) continue;
      EXPECT_EQ(dataset_.Content(entry), ReadText(At(path))) << path;
    }
  }

  TempDir temp_;
  SourceSpec spec_;
  DatasetFixture dataset_{temp_ / "agent"};
  AheadClock clock_;
  store::CatalogVersion first_;
};

TEST_F(CommitDamagedTest, ReadsTheSourceAnewAndHealsWhatItHas) {
  Rot();
  WriteText(At("new"), "new");
  auto second = Commit();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->reread);
  EXPECT_EQ(second->version.record.number, 2u);
  EXPECT_EQ(second->version.record.parent, first_.identity);
  ExpectWhole(second->version, 203);  // nothing of the damage is built on
  auto third = Commit();
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_TRUE(third->unchanged);
  EXPECT_FALSE(third->reread);
}

TEST_F(CommitDamagedTest, TheSameContentIsUnchangedAndHeals) {
  Rot();
  auto again = Commit();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->unchanged);
  EXPECT_EQ(again->version.identity, first_.identity);
  ExpectWhole(first_, 202);
}

TEST_F(CommitDamagedTest, LostPacksAreWrittenAgain) {
  for (const fs::path& pack : dataset_.Packs()) fs::remove(pack);
  Restart();
  auto again = Commit();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->unchanged);
  ExpectWhole(first_, 202);
}

TEST_F(CommitDamagedTest, SoDoesACommitOfWhatAWatchSaw) {
  SourceWatch watch(os::Clock::System());
  ASSERT_TRUE(Commit({}, &watch).ok());
  Rot(true);
  WriteText(At("dir/file-7"), "other");
  auto second = Commit({}, &watch);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->reread);
  ExpectWhole(second->version, 202);
}

// Known from a verification, say: nodes are whole, a file's content is not.
TEST_F(CommitDamagedTest, ContentHealsWhereACommitIsToldToReread) {
  const store::Entry big = dataset_.Entries(first_)["big"];
  ASSERT_EQ(dataset_.Packs().size(), 1u);
  std::string bytes = ReadText(dataset_.Packs()[0].string());
  const size_t at = bytes.find(ReadText(At("big")).substr(0, 64));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 5] ^= 1;
  WriteText(dataset_.Packs()[0].string(), bytes);
  Restart();
  for (const bool keep : {false, true}) {
    spec_.keep_absent = keep;
    auto again = Commit({.reread = true});
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->unchanged);
    EXPECT_EQ(again->new_bytes != 0, !keep);  // once it is whole nothing is stored
  }
  ExpectWhole(first_, 202);
}

TEST_F(CommitDamagedTest, WhatAVersionKeepsIsNotLost) {
  spec_.keep_absent = true;
  fs::remove(At("dir/file-1"));
  Rot(true);
  auto refused = Commit();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kDataLoss) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("version 1 of planner is damaged here"));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("bailiwick dataset verify planner"));
  EXPECT_EQ((*dataset_.handle().catalog->Newest(dataset_.handle().id))->identity, first_.identity);
}

TEST_F(CommitDamagedTest, AFileThatHasNotSettledIsNotLeftOutForTheDamage) {
  Rot();
  WriteText(At("dir/file-1"), "young");
  for (const auto& file : fs::recursive_directory_iterator(spec_.path)) {
    if (file.path().filename() != "file-1") SetTimes(file.path().string(), 1'000'000'000);
  }
  spec_.settle = absl::Hours(1);
  auto refused = Commit();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("has not settled"));
  SetTimes(At("dir/file-1"), 1'000'000'000);
  auto second = Commit();
  ASSERT_TRUE(second.ok()) << second.status();
  ExpectWhole(second->version, 202);
}

TEST_F(CommitDamagedTest, ADryRunSaysWhatStandsInItsWay) {
  Rot();
  auto forecast = ForecastCommit(
      dataset_.handle(), spec_, {}, &clock_, [](const store::Entry*, const store::Entry*) { return absl::OkStatus(); },
      dataset_.cancelled);
  EXPECT_EQ(forecast.status().code(), absl::StatusCode::kDataLoss) << forecast.status();
  EXPECT_THAT(std::string(forecast.status().message()), HasSubstr("a commit reads every file"));
}

}  // namespace
}  // namespace bailiwick::agent
