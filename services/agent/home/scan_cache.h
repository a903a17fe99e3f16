// What the last commit saw of each file (size, times, inode), so that the next one reads only what changed.
//
// Invariants: a record says that a file with these numbers held what the entry of the same path says in the manifest
// that the cache is bound to; files whose times were too close to the scan to tell a later write apart ("racy") have no
// record, so they are read again. Losing the cache, or any part of it, costs reading, never truth: it is not synced,
// and a block that does not match its checksum ends it.
//
// A sequential file in manifest order, merged with the walk: memory is one block. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/os/files.h"
#include "common/os/tree.h"

namespace bailiwick::agent {

struct ScanRecord {
  std::string path;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t inode = 0;
  uint64_t device = 0;

  bool operator==(const ScanRecord&) const = default;
};

ScanRecord MakeScanRecord(std::string path, const os::NodeStat& stat);

// When a file was written to last; where that lies ahead (it was set by hand, or by a clock that was wrong), when
// anything of it changed last.
absl::Time ChangedAt(const os::NodeStat& stat, absl::Time now);

// Of a file that was as `stat` says when it was read, after `begun`. Nothing: it may be written to once more without
// its times moving. Where they are whole seconds, or `coarse` says that they may be, they must be older by the two
// seconds that the coarsest file system (vfat) counts in; else by more than a tick of the kernel's clock.
std::optional<ScanRecord> TrustedScanRecord(std::string path, const os::NodeStat& stat, absl::Time begun, bool coarse);

std::string ScanCachePath(const std::string& dataset_directory);
// Manifest that the file itself is bound to, whatever changes lie beside it; empty: there is none that can be read.
Digest ScanCacheRoot(os::Files* files, const std::string& path);

class ScanCacheReader {
 public:
  // nullptr when there is none, or none that this build can read.
  static std::unique_ptr<ScanCacheReader> Open(os::Files* files, const std::string& path);
  ~ScanCacheReader();
  const Digest& root() const { return root_; }
  // False at the end, or where the file is damaged (then intact() is false).
  bool Next(ScanRecord* out);
  bool intact() const { return intact_; }

 private:
  struct Overlay;  // what changed since the file was written

  ScanCacheReader();
  bool LoadBlock();
  bool NextWritten(ScanRecord* out);
  bool NextOfFile(ScanRecord* out);

  std::unique_ptr<os::File> file_;
  std::unique_ptr<Overlay> overlay_;  // null: nothing
  Digest root_;
  uint64_t offset_ = 0;
  std::string block_;
  size_t position_ = 0;
  std::string previous_;
  bool ended_ = false;
  bool intact_ = true;
  bool trusting_ = false;  // written by a build that took times of whole seconds for exact ones
};

class ScanCacheWriter {
 public:
  static absl::StatusOr<std::unique_ptr<ScanCacheWriter>> Create(os::Files* files, const std::string& path);
  ~ScanCacheWriter();  // removes what was not finished
  absl::Status Add(const ScanRecord& record);
  absl::Status Finish(const Digest& root);  // takes the place of the old one

 private:
  ScanCacheWriter(os::Files* files, std::string path) : files_(files), path_(std::move(path)) {}
  absl::Status WriteBlock();

  os::Files* files_;
  std::string path_;
  std::unique_ptr<os::File> file_;
  uint64_t offset_ = 0;
  std::string block_;
  std::string previous_;
  bool finished_ = false;
};

// Both together for one scan. The file is rewritten only when something changed.
class ScanCache {
 public:
  // `root`: manifest of the previous version; a cache bound to another one is not used.
  ScanCache(os::Files* files, std::string path, const Digest& root);

  // Call for every file of the walk, in order. True: the file is as it was.
  bool Unchanged(std::string_view path, const os::NodeStat& stat);
  // The record to keep for a file of the new version, in order. Best effort: a failure drops the new cache, not the
  // commit.
  void Keep(const ScanRecord& record);
  // The version is durable: its manifest is `root`.
  void Finish(const Digest& root);

 private:
  void StartWriter();  // and copies what was kept so far from the old file

  os::Files* files_;
  std::string path_;
  Digest old_root_;
  std::unique_ptr<ScanCacheReader> lookup_;  // position of the walk in the old cache
  ScanRecord ahead_;
  bool has_ahead_ = false;
  std::unique_ptr<ScanCacheReader> compare_;  // position of the kept records in the old cache
  uint64_t same_ = 0;                         // records kept so far are the first `same_` of the old cache
  std::unique_ptr<ScanCacheWriter> writer_;
  bool failed_ = false;
};

}  // namespace bailiwick::agent
