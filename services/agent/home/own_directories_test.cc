#include "services/agent/home/own_directories.h"

#include <gmock/gmock.h>

#include "services/agent/home/dataset_fixture.h"
#include "services/agent/home/source_watch.h"

namespace bailiwick::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class OwnDirectoriesTest : public ::testing::Test {
 protected:
  OwnDirectoriesTest() {
    WriteText(temp_ / "all/data/identity/enrolment.pem", "a key");
    WriteText(temp_ / "all/keys/1.key", "another");
    WriteText(temp_ / "all/replicas/scans/current/x", "of another dataset");
    WriteText(temp_ / "all/files/x", "1");
  }
  absl::StatusOr<CommitOutcome> Commit(const std::string& path, std::vector<std::string> ignore = {},
                                       SourceWatch* watch = nullptr) {
    SourceSpec spec;
    spec.path = path;
    spec.ignore = std::move(ignore);
    spec.own = {temp_ / "all/data", temp_ / "all/keys", temp_ / "all/replicas", temp_ / "all/not-there"};
    return dataset_.Commit(spec, {}, nullptr, &clock_, watch);
  }
  void Refused(const std::string& path, std::vector<std::string> ignore, const std::string& own) {
    auto outcome = Commit(path, std::move(ignore));
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition) << path;
    EXPECT_THAT(std::string(outcome.status().message()),
                AllOf(HasSubstr(path), HasSubstr(own), HasSubstr("agent's own")));
    EXPECT_FALSE(dataset_.handle().catalog->Newest(dataset_.handle().id)->has_value());
  }

  TempDir temp_;
  DatasetFixture dataset_{temp_ / "agent"};
  AheadClock clock_;
};

TEST_F(OwnDirectoriesTest, NothingOfThemIsCommitted) {
  Refused(temp_ / "all/data", {}, temp_ / "all/data");
  Refused(temp_ / "all/data/identity", {}, temp_ / "all/data");
  Refused(temp_ / "all/keys", {}, temp_ / "all/keys");
  Refused(temp_ / "all/replicas/scans/current", {}, temp_ / "all/replicas");
  Refused(temp_ / "all", {}, temp_ / "all/data");
  Refused(temp_ / "all", {"/data/", "/keys/"}, temp_ / "all/replicas");
  Refused("/", {}, temp_ / "all/data");
  EXPECT_TRUE(Commit(temp_ / "all/files").ok());
}

TEST_F(OwnDirectoriesTest, ThroughLinksAsWell) {
  fs::create_directory_symlink("all/data", temp_ / "link");
  fs::create_directory_symlink("all", temp_ / "above");
  Refused(temp_ / "link", {}, temp_ / "all/data");
  Refused(temp_ / "link/identity", {}, temp_ / "all/data");
  Refused(temp_ / "above", {"/keys/"}, temp_ / "all/data");
}

TEST_F(OwnDirectoriesTest, WhatIsIgnoredIsNotEntered) {
  auto outcome = Commit(temp_ / "all", {"/data/", "/keys/", "/replicas/"});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(dataset_.Entries(outcome->version).count("files/x"), 1u);
  EXPECT_EQ(outcome->version.record.files, 1u);
}

TEST_F(OwnDirectoriesTest, OneThatCameIntoAWatchedSourceIsMet) {
  SourceWatch watch(&clock_);
  ASSERT_TRUE(Commit(temp_ / "all/files", {}, &watch).ok());
  fs::rename(temp_ / "all/keys", temp_ / "all/files/keys");
  fs::create_directory_symlink("files/keys", temp_ / "all/keys");
  auto outcome = Commit(temp_ / "all/files", {}, &watch);
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition) << outcome.status();
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr(temp_ / "all/keys"));
  outcome = Commit(temp_ / "all/files", {"/keys/"}, &watch);
  EXPECT_TRUE(outcome.ok()) << outcome.status();
}

TEST_F(OwnDirectoriesTest, AWalkDoesNotEnterThem) {
  auto own = OwnDirectories::Find({temp_ / "all/data", temp_ / "all/keys"});
  ASSERT_TRUE(own.ok()) << own.status();
  auto root = os::OpenTree(temp_ / "all");
  ASSERT_TRUE(root.ok());
  for (const char* name : {"data", "data/identity", "keys"})
    EXPECT_FALSE(own->Check(*(*root)->Stat(name)).ok()) << name;
  EXPECT_TRUE(own->Check(*(*root)->Stat("files")).ok());
}

}  // namespace
}  // namespace bailiwick::agent
