#include "services/agent/home/commit_preview.h"

#include <gmock/gmock.h>

#include "services/agent/home/dataset_fixture.h"

namespace bailiwick::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CommitPreviewTest : public ::testing::Test {
 protected:
  CommitPreviewTest() { fs::create_directories(source_); }

  std::string At(std::string_view name) const { return source_ + "/" + std::string(name); }
  absl::StatusOr<CommitForecast> Forecast(const CommitOptions& options = {}) {
    told_.clear();
    return ForecastCommit(
        dataset_.handle(), spec_, options, &clock_,
        [this](const store::Entry* before, const store::Entry* after) {
          const char sign = before == nullptr ? '+' : after == nullptr ? '-' : Unread(*after) ? '?' : '~';
          told_.push_back(sign + (after != nullptr ? after->path : before->path));
          return absl::OkStatus();
        },
        dataset_.cancelled);
  }
  CommitForecast MustForecast() {
    auto forecast = Forecast();
    EXPECT_TRUE(forecast.ok()) << forecast.status();
    return forecast.ok() ? *std::move(forecast) : CommitForecast();
  }
  void MustCommit() {
    auto outcome = dataset_.Commit(spec_, {}, nullptr, &clock_);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
  }
  size_t Versions() { return dataset_.handle().catalog->List(dataset_.handle().id)->size(); }

  TempDir dir_;
  const std::string source_ = dir_ / "source";
  DatasetFixture dataset_{dir_ / "home"};
  SourceSpec spec_{.path = source_};
  AheadClock clock_;
  std::vector<std::string> told_;
};

TEST_F(CommitPreviewTest, TheFirstCommitAddsEverythingAndIsNotMade) {
  WriteText(At("a"), "one");
  fs::create_directories(At("d"));
  WriteText(At("d/b"), "three");
  const CommitForecast forecast = MustForecast();
  EXPECT_THAT(told_, ElementsAre("+a", "+d", "+d/b"));
  EXPECT_EQ(forecast.newest, 0u);
  EXPECT_FALSE(forecast.unchanged());
  EXPECT_EQ(forecast.to_read_files, 2u);
  EXPECT_EQ(forecast.to_read_bytes, 8u);
  EXPECT_EQ(Versions(), 0u);
}

TEST_F(CommitPreviewTest, WhatACommitWouldFindIsToldAndStaysToBeFound) {
  for (const char* name : {"a", "gone", "grown", "same", "touched"}) WriteText(At(name), name);
  MustCommit();
  EXPECT_TRUE(MustForecast().unchanged());
  EXPECT_THAT(told_, IsEmpty());
  EXPECT_EQ(MustForecast().to_read_files, 0u);

  fs::remove(At("gone"));
  WriteText(At("grown"), "grown more");
  WriteText(At("new"), "new");
  fs::last_write_time(At("touched"), fs::last_write_time(At("touched")) - std::chrono::hours(1));
  fs::permissions(At("same"), fs::perms::owner_read);
  for (int again = 0; again < 2; ++again) {  // nothing of it is remembered
    const CommitForecast forecast = MustForecast();
    EXPECT_THAT(told_, ElementsAre("-gone", "?grown", "+new", "~same", "?touched"));
    EXPECT_EQ(forecast.newest, 1u);
    EXPECT_EQ(std::make_tuple(forecast.added, forecast.changed, forecast.removed), std::make_tuple(1u, 3u, 1u));
    EXPECT_EQ(forecast.to_read_files, 4u);
  }
  EXPECT_EQ(Versions(), 1u);
  MustCommit();
  EXPECT_TRUE(MustForecast().unchanged());
  EXPECT_EQ(Versions(), 2u);
}

TEST_F(CommitPreviewTest, PatternsAndWhatIsKeptCountAsInACommit) {
  spec_.ignore = {"*.tmp"};
  spec_.keep_absent = true;
  WriteText(At("a"), "one");
  MustCommit();
  fs::remove(At("a"));
  WriteText(At("b.tmp"), "not of it");
  WriteText(At("c"), "of it");
  MustForecast();
  EXPECT_THAT(told_, ElementsAre("+c"));
}

TEST_F(CommitPreviewTest, WhatACommitWouldRefuseIsRefused) {
  EXPECT_THAT(Forecast().status().message(), HasSubstr("is empty"));
  EXPECT_TRUE(Forecast({.allow_empty = true}).ok());
  fs::remove_all(source_);
  EXPECT_TRUE(absl::IsNotFound(Forecast().status()));
}

TEST_F(CommitPreviewTest, WhoWaitsIsToldHowMuchThereIs) {
  std::vector<CommitProgress> told;
  auto commit = [&](const CommitOptions& options = {}) {
    told.clear();
    auto outcome = dataset_.Commit(
        spec_, options, [&](const CommitProgress& p) { told.push_back(p); }, &clock_);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    ASSERT_FALSE(told.empty());
  };
  WriteText(At("a"), std::string(3000, 'a'));
  WriteText(At("b"), std::string(1000, 'b'));
  commit({.count = true});
  EXPECT_EQ(told.back().total_bytes, 4000u);
  EXPECT_EQ(told.back().scanned_bytes, 4000u);
  EXPECT_FALSE(told.back().total_estimated);
  WriteText(At("a"), std::string(2000, 'a'));
  commit();  // by the version before
  EXPECT_EQ(told.back().total_bytes, 4000u);
  EXPECT_TRUE(told.back().total_estimated);
  WriteText(At("c"), std::string(9000, 'c'));
  commit();  // more than was expected: nobody knows
  EXPECT_EQ(told.back().scanned_bytes, 12000u);
  EXPECT_EQ(told.back().total_bytes, 0u);
}

TEST_F(CommitPreviewTest, WhoDoesNotWatchPaysForNoCount) {
  WriteText(At("a"), "a");
  std::vector<CommitProgress> told;
  auto outcome = dataset_.Commit(
      spec_, {}, [&](const CommitProgress& p) { told.push_back(p); }, &clock_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back().total_bytes, 0u);
}

}  // namespace
}  // namespace bailiwick::agent
