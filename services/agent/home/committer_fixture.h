// A source and a dataset that it is committed to, for tests.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "services/agent/home/committer.h"
#include "services/agent/home/dataset_fixture.h"

namespace bailiwick::agent {

class CommitterTest : public ::testing::Test {
 protected:
  CommitterTest() { fs::create_directories(source_); }

  SourceSpec Spec() const {
    SourceSpec spec;
    spec.path = source_;
    return spec;
  }
  std::string At(std::string_view name) const { return source_ + "/" + std::string(name); }
  CommitOutcome MustCommit(const SourceSpec& spec, const CommitOptions& options = {}) {
    auto outcome = dataset_.Commit(
        spec, options, [this](const CommitProgress& p) { progress_ = p; }, &clock_);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? *std::move(outcome) : CommitOutcome();
  }
  CommitOutcome MustCommit() { return MustCommit(Spec()); }
  std::vector<std::string> Paths(const CommitOutcome& outcome) {
    std::vector<std::string> out;
    for (const auto& [path, entry] : dataset_.Entries(outcome.version)) out.push_back(path);
    return out;
  }
  // Other bytes of the same length, and the same mtime.
  void RewriteUnnoticed(const std::string& path, std::string_view text) {
    struct stat before, after;
    ASSERT_EQ(::stat(path.c_str(), &before), 0);
    ASSERT_EQ(static_cast<size_t>(before.st_size), text.size());
    WriteText(path, text);
    timespec times[2] = {before.st_mtim, before.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
    ASSERT_EQ(::stat(path.c_str(), &after), 0);
    ASSERT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  }

  TempDir temp_;
  const std::string source_ = temp_ / "source";
  DatasetFixture dataset_{temp_ / "agent"};
  AheadClock clock_;
  CommitProgress progress_;
};

}  // namespace bailiwick::agent
