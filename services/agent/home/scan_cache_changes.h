// What commits of changes alone learned since the scan cache was written: a small file beside it, so that ten changed
// files do not cost writing a million records. A reader of the cache sees both as one.
//
// The same invariants as the cache's: bound to the manifest that the cache is bound to and to the one that it makes of
// it; not synced; damaged or of another cache, it is nothing. One thread.
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

  // Nothing recorded: not there, or not this build's.
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
  void Merge(const ScanCacheChanges& newer);
  Changes changes_;
  Digest base_;
  Digest root_;
};

}  // namespace bailiwick::agent
