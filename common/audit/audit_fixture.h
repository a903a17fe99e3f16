// For tests of audit logs: a directory, keys, a log in it, and a trust file that believes it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/audit/log.h"
#include "common/audit/tiles.h"
#include "common/audit/trust.h"
#include "common/audit/verify.h"
#include "common/os/fault_files.h"

namespace bailiwick::audit {

class AuditFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = ::testing::TempDir() + "bw-audit-" + std::to_string(::getpid()) + "-" + info->name();
    path_ = root_ + "/audit";
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }

  static crypto::SigningKey Key(char seed) { return *crypto::SigningKey::FromSeed(std::string(32, seed)); }

  std::unique_ptr<Log> Open(os::Files* files = os::Files::System(), bool sign = true) {
    auto log = Log::Open(files, &clock_, os::Random::System(), path_);
    EXPECT_TRUE(log.ok()) << log.status();
    if (!log.ok()) return nullptr;
    const absl::Status named = sign ? (*log)->SignAs("acme.example/site/core", Key('k')) : absl::OkStatus();
    EXPECT_TRUE(named.ok()) << named;
    return *std::move(log);
  }
  // Appends n records, beside the first that the log makes itself. Many share their syncs: in any order.
  std::unique_ptr<Log> Fill(int n, os::Files* files = os::Files::System()) {
    auto log = Open(files);
    const int threads = n > 50 ? 32 : 1;
    std::vector<std::thread> all;
    for (int t = 0; log != nullptr && t < threads; ++t) {
      all.emplace_back([this, t, threads, n, &log] {
        for (int i = 1 + t; i <= n; i += threads) {
          const std::string number = std::to_string(i);
          auto sequence = log->Append("grant-accepted", "dataset-" + number, "{\"n\":" + number + "}");
          EXPECT_TRUE(sequence.ok()) << sequence.status();
          if (threads == 1) clock_.Advance(absl::Nanoseconds(1001));
        }
      });
    }
    for (auto& thread : all) thread.join();
    return log;
  }

  std::string File(const std::string& name) { return *os::ReadFile(files_, path_ + "/" + name); }
  void Set(const std::string& name, const std::string& content) {
    auto file = files_->OpenReadWrite(path_ + "/" + name, /*create=*/true);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Truncate(0).ok() && (*file)->WriteAt(0, content).ok());
  }
  // Every file of the log, below its directory.
  std::vector<std::string> AllFiles(const std::string& below = "") {
    std::vector<std::string> out;
    auto names = files_->List(path_ + "/" + below);
    if (!names.ok()) return out;
    for (const std::string& name : *names) {
      const std::string path = below.empty() ? name : below + "/" + name;
      if (os::ReadFile(files_, path_ + "/" + path).ok()) {
        out.push_back(path);
      } else {
        for (std::string& inner : AllFiles(path)) out.push_back(std::move(inner));
      }
    }
    return out;
  }
  // Names of partial files below tile/.
  std::vector<std::string> Partials() {
    std::vector<std::string> out;
    for (const std::string& file : AllFiles("tile")) {
      if (file.find(".p/") != std::string::npos) out.push_back(file);
    }
    return out;
  }
  // As builds before left a log: the files of every smaller size at its edge.
  void AddEveryNarrowerPartial() {
    for (const std::string& file : Partials()) {
      const size_t at = file.rfind('/') + 1;
      const uint64_t width = std::stoull(file.substr(at));
      const std::string whole = File(file);
      const bool entries = file.find("entries") != std::string::npos;
      for (uint64_t w = 1; w < width; ++w) {
        size_t end = w * Digest::kSize;
        if (entries) {
          const auto split = *SplitEntries(whole, width);
          end = static_cast<size_t>(split[w].data() - whole.data()) - 2;
        }
        Set(file.substr(0, at) + std::to_string(w), whole.substr(0, end));
      }
    }
  }
  std::string Origin() { return ReadCheckpoint(File("checkpoint"))->checkpoint.origin; }

  // Believes the log in the directory, by its true key; `more`: lines of the trust file, with its quorum.
  Trust Believe(const std::string& more = "quorum none\n") {
    const NoteKey key = {Origin(), NoteKey::Type::kLog, Key('k').public_key()};
    auto trust = Trust::Parse("log " + key.ToVkey() + "\n" + more, "trust");
    EXPECT_TRUE(trust.ok()) << trust.status();
    return *std::move(trust);
  }
  Verdict Verified(const Trust& trust, os::Files* files = os::Files::System(), VerifyOptions options = {}) {
    auto verdict = VerifyLog(files, path_, trust, options);
    EXPECT_TRUE(verdict.ok()) << verdict.status();
    return verdict.ok() ? *std::move(verdict) : Verdict{};
  }

  os::Files* files_ = os::Files::System();
  os::FakeClock clock_;
  std::string root_, path_;
};

inline std::vector<std::string> LinesOf(const std::string& content) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < content.size();) {
    size_t end = content.find('\n', at);
    lines.push_back(content.substr(at, end - at + 1));
    at = end + 1;
  }
  return lines;
}

}  // namespace bailiwick::audit
