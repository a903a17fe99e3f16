// What commits of changes alone learned since the scan cache was written: a small file beside it, so that ten changed
// files do not cost writing a million records. A reader of the cache sees both as one.
//
// A commit appends what it learned, bound to the manifest before it and to its own; now and then the file is written
// anew without what was learned again since, or all goes into the cache. The same invariants as the cache's: not
// synced; what is damaged ends it, so that it makes of the cache's manifest an older one than the newest, and is of no
// use; of another cache, it is nothing. One thread.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "common/base/digest.h"
#include "common/os/files.h"
#include "services/agent/home/scan_cache.h"
#include "services/agent/home/source_watch.h"

namespace bailiwick::agent {

class ScanCacheChanges {
 public:
  struct Change {
    std::optional<ScanRecord> record;  // nothing: the path has none
    bool below = false;                // what the cache has below the path counts no more
  };
  using Changes = std::map<std::string, Change, ManifestOrder>;

  // All that is whole. Nothing recorded: not there, or none that this build can read.
  static ScanCacheChanges Load(os::Files* files, const std::string& cache_path);

  void Set(const std::string& path, std::optional<ScanRecord> record) { changes_[path].record = std::move(record); }
  void Drop(const std::string& path) { changes_[path] = {std::nullopt, true}; }
  void DropBelow(const std::string& path);

  // Adds these to what was saved before and binds the cache to `to`. Best effort: a failure costs reading, never truth.
  void Save(os::Files* files, const std::string& cache_path, const Digest& from, const Digest& to) const;
  static void Remove(os::Files* files, const std::string& cache_path);

  const Changes& changes() const { return changes_; }
  const Digest& base() const { return base_; }  // of a loaded one: manifest of the cache itself
  const Digest& root() const { return root_; }  // and of both together

 private:
  static ScanCacheChanges LoadFirstFormat(os::Files* files, const std::string& path);
  void Merge(const ScanCacheChanges& newer);
  struct Appended {
    uint64_t bytes = 0;        // of the file now
    uint64_t first_bytes = 0;  // of them, what the last rewriting left
  };
  // Nothing: there is no file that ends with `from` and belongs to a cache of `base`.
  std::optional<Appended> Append(os::Files* files, const std::string& path, const Digest& base, const Digest& from,
                                 const Digest& to) const;
  void Write(os::Files* files, const std::string& cache_path) const;
  Changes changes_;
  Digest base_;
  Digest root_;
};

}  // namespace bailiwick::agent
