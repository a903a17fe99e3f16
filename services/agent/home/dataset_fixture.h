// For tests of this folder and its siblings: a dataset on a real store, index and database in a temporary directory,
// and a few lines to make source trees.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/sql/database.h"
#include "common/store/catalog.h"
#include "common/store/chunk_index.h"
#include "common/store/dataset_store.h"
#include "common/store/node_cache.h"
#include "services/agent/home/committer.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

namespace fs = std::filesystem;

// A directory of its own, removed at the end.
class TempDir {
 public:
  TempDir() {
    static std::atomic<int> next{0};
    path_ = fs::path(::testing::TempDir()) / ("bw-" + std::to_string(::getpid()) + "-" + std::to_string(next++));
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string operator/(std::string_view name) const { return (path_ / fs::path(std::string(name))).string(); }
  std::string str() const { return path_.string(); }

 private:
  fs::path path_;
};

// Of a process that ends after the test: whoever it was, it is not root from here on, and the directory is its own.
inline bool CeaseToBeRoot(const std::string& directory) {
  constexpr uid_t kNobody = 65534;
  return ::getuid() != 0 ||
         (::chown(directory.c_str(), kNobody, kNobody) == 0 && ::setgroups(0, nullptr) == 0 &&
          ::setresgid(kNobody, kNobody, kNobody) == 0 && ::setresuid(kNobody, kNobody, kNobody) == 0);
}

// For EXPECT_EXIT: runs `test` over a directory of its own in this process, which is not root from then on, and ends
// it, with 0 where the test says true.
[[noreturn]] inline void EndAsNobody(bool (*test)(const std::string& directory)) {
  int code = 1;
  {
    TempDir temp;
    if (CeaseToBeRoot(temp.str()) && test(temp.str())) code = 0;
  }
  std::_Exit(code);
}

inline void WriteText(const std::string& path, std::string_view text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(text.data(), static_cast<std::streamsize>(text.size()));
}

inline std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Bytes that don't compress and are the same in every run.
inline std::string Noise(size_t n, uint64_t seed = 1) {
  std::string out(n, '\0');
  uint64_t x = seed * 0x9E3779B97F4A7C15u + 1;
  for (char& c : out) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    c = static_cast<char>(x >> 32);
  }
  return out;
}

inline void SetTimes(const std::string& path, int64_t seconds, int64_t nanos = 0) {
  timespec times[2] = {{seconds, nanos}, {seconds, nanos}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << path;
}

// A dataset that can be closed and opened again, as over a restart.
// The system's clock, ahead: what was written before the commit counts as long settled, so that the scan cache trusts
// it.
class AheadClock : public os::Clock {
 public:
  absl::Time Now() const override { return os::Clock::System()->Now() + absl::Seconds(5); }
  absl::Duration BootTime() const override { return os::Clock::System()->BootTime(); }
  void SleepFor(absl::Duration) const override {}
};

class DatasetFixture {
 public:
  explicit DatasetFixture(const std::string& directory, os::Files* files = os::Files::System())
      : directory_(directory), files_(files), key_(*crypto::SigningKey::Generate()) {
    home_.site = "factory";
    home_.incarnation.bytes.fill(7);
    home_.epoch = 1;
    home_.key = &key_;
    absl::Status opened = Open();
    EXPECT_TRUE(opened.ok()) << opened;
  }

  absl::Status Open() {
    BW_RETURN_IF_ERROR(files_->MakeDirs(directory_));
    BW_ASSIGN_OR_RETURN(
        db_, sql::Database::Open({files_, directory_ + "/agent.db", store::VersionCatalog::AllMigrations()}));
    catalog_ = std::make_unique<store::VersionCatalog>(db_.get());
    // The index is not the dataset's truth and not behind `files`: a new one each time, filled from the packs.
    BW_ASSIGN_OR_RETURN(index_, store::ChunkIndex::Open(directory_ + ".index" + std::to_string(opens_++), 8 << 20));
    handle_ = DatasetHandle();
    handle_.id.bytes.fill(42);
    handle_.name = "planner";
    handle_.directory = directory_ + "/dataset";
    handle_.files = files_;
    handle_.catalog = catalog_.get();
    store::DatasetStore::Options options;
    options.files = files_;
    options.index = index_.get();
    options.directory = handle_.directory;
    options.dataset = handle_.id;
    options.disk_reserve = disk_reserve;
    BW_ASSIGN_OR_RETURN(handle_.store, store::DatasetStore::Open(options));
    handle_.nodes = store::NewStoreNodeSource(handle_.store.get(), &nodes_);
    return absl::OkStatus();
  }

  std::vector<fs::path> Packs() const {
    std::vector<fs::path> packs;
    for (const auto& file : fs::directory_iterator(handle_.directory + "/packs")) {
      if (file.path().extension() == ".pack") packs.push_back(file.path());
    }
    return packs;
  }

  void Close() {
    handle_.nodes.reset();
    handle_.store.reset();
    index_.reset();
    catalog_.reset();
    db_.reset();
  }

  absl::StatusOr<CommitOutcome> Commit(const SourceSpec& source, const CommitOptions& options = {},
                                       const std::function<void(const CommitProgress&)>& progress = nullptr,
                                       const os::Clock* clock = os::Clock::System(), SourceWatch* watch = nullptr) {
    return agent::Commit(handle_, source, home_, options, clock, progress, cancelled, watch);
  }

  // path -> entry of a version.
  std::map<std::string, store::Entry> Entries(const store::CatalogVersion& version) {
    std::map<std::string, store::Entry> out;
    store::ManifestCursor cursor(handle_.nodes.get(), version.record.manifest_root);
    store::Entry entry;
    for (;;) {
      auto more = cursor.Next(&entry);
      EXPECT_TRUE(more.ok()) << more.status();
      if (!more.ok() || !*more) return out;
      out[entry.path] = entry;
    }
  }

  // Content as the store has it, holes as zeros.
  std::string Content(const store::Entry& entry) {
    std::string data;
    absl::Status read =
        store::ForEachChunk(handle_.nodes.get(), entry, [&](const store::Reference& piece) -> absl::Status {
          BW_ASSIGN_OR_RETURN(std::string raw, handle_.store->ReadRaw(piece.digest));
          data += raw;
          return absl::OkStatus();
        });
    EXPECT_TRUE(read.ok()) << entry.path << ": " << read;
    for (const store::Hole& hole : entry.holes) data.insert(hole.offset, std::string(hole.length, '\0'));
    EXPECT_EQ(data.size(), entry.size) << entry.path;
    return data;
  }

  DatasetHandle& handle() { return handle_; }
  const crypto::SigningKey& key() const { return key_; }
  std::atomic<bool> cancelled{false};
  uint64_t disk_reserve = 0;  // from the next Open on

 private:
  const std::string directory_;
  os::Files* const files_;
  crypto::SigningKey key_;
  HomeIdentity home_;
  int opens_ = 0;
  std::unique_ptr<sql::Database> db_;
  std::unique_ptr<store::VersionCatalog> catalog_;
  std::unique_ptr<store::ChunkIndex> index_;
  store::NodeCache nodes_{16 << 20};
  DatasetHandle handle_;
};

}  // namespace bailiwick::agent
