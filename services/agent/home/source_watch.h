// Which paths of a source changed since a version was made of it, so that the next commit looks at those alone.
//
// A full scan begins the watch and announces every directory before it is listed; what happens from then on is noted as
// a path. Whenever something is not certain (events lost, too many of them, a limit of the kernel, another root than
// the one that is watched, other patterns, a version made in another way) there is no answer, and the commit scans
// again; and it does once a day in any case. What inotify cannot tell is looked at every time: files that have, or had,
// more than one hard link. A write by a name that is gone (the file was linked to another one and unlinked while it was
// open, or was made without a name) means a scan. (What comes through a link that is made elsewhere later, by a file
// handle or from a client of the NFS server here is seen by the next scan.) Network file systems are not watched.
//
// Thread-safe: commits and the thread that drains the kernel's queue.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/base/patterns.h"
#include "common/os/clock.h"
#include "common/os/dir_watch.h"
#include "services/agent/home/scan_cache.h"

namespace bailiwick::agent {

struct ManifestOrder {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const;
};

enum class ChangeKind : uint8_t {
  kContent,  // what the thing at this path holds: it had this name before
  kGone,     // what was at this path has another name now, or none
  kItself,   // the thing at this path
  kTree,     // and, if it is a directory, all below it: nobody watched it
};
using PathChanges = std::map<std::string, ChangeKind, ManifestOrder>;

// What a watch is good for: a version of a source, read in a certain way.
struct WatchBinding {
  std::string reading;  // the root's identity, patterns and whatever else decides what a commit makes of the source
  Digest manifest;
  bool operator==(const WatchBinding&) const = default;
};

class SourceWatch {
 public:
  explicit SourceWatch(const os::Clock* clock) : clock_(clock) {}

  // For a commit: what changed since the version of `binding` was made. Nothing: scan. The changes are taken: give them
  // back (all that is not in a version now) with Return.
  std::optional<PathChanges> Take(const WatchBinding& binding);
  void Return(PathChanges changes);
  // The version that a taken change became.
  void Rebind(const WatchBinding& binding);

  // For a full scan: Begin, Enter for each directory below the root before it is listed, Complete when the version is
  // durable. A failure in between only means that nothing is watched.
  void Begin(os::TreeDir& root, std::shared_ptr<const Selection> selection);
  void Enter(os::TreeDir& dir, std::string_view path);
  void RefuseInside();  // there is a file system in it that does not tell all changes: nothing is watched
  void Complete(const WatchBinding& binding);
  bool Renamed();  // something came to another name since Begin: a walk may have met it under neither
  // A file with several hard links is looked at by every commit until the next scan, also when one is left. `record`:
  // as it was read; nothing: it may have changed since without a trace.
  void LookAlways(const std::string& path, std::optional<ScanRecord> record);
  void LookNoMore(std::string_view path);
  enum class Link { kNew, kChanged, kSame };
  Link LookAgain(const ScanRecord& record);

  // When something of what is selected last changed; nothing: it is not watched.
  std::optional<absl::Time> LastChange();
  // Why it is not watched; empty: it is, or no scan was made yet.
  std::string problem();

 private:
  friend class WatchPump;
  // By their watches; -1: none. A million of them are to be cheap.
  struct Directory {
    int parent = -1;
    int child = -1;                // one of those below it, of which
    int next = -1, previous = -1;  // each names its neighbours
    std::unique_ptr<char[]> name;  // ends with NUL, which no name holds; null: the root
  };
  using Directories = absl::flat_hash_map<int, Directory>;
  struct Child {
    int parent;
    std::string_view name;
    bool operator==(const Child&) const = default;
  };
  struct AsChild {
    const Directories* directories;
    Child operator()(const Child& child) const { return child; }
    Child operator()(int watch) const {
      const Directory& directory = directories->at(watch);
      return {directory.parent, directory.name.get()};
    }
  };
  struct ChildHash : AsChild {
    using is_transparent = void;
    size_t operator()(const auto& each) const {
      const Child child = AsChild::operator()(each);
      return absl::HashOf(child.parent, child.name);
    }
  };
  struct ChildEq : AsChild {
    using is_transparent = void;
    bool operator()(const auto& a, const auto& b) const { return AsChild::operator()(a) == AsChild::operator()(b); }
  };

  int fd();  // -1: nothing to drain
  void Drain();
  void DrainLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Handle(const os::DirEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandleName(std::string path, const os::DirEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Moved(std::string_view path, bool directory) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // last_change_
  void Note(std::string path, ChangeKind kind) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Add(int watch, int parent, std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<std::string> PathOf(int watch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int Find(std::string_view path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(int watch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Stop(const std::string& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const os::Clock* const clock_;
  absl::Mutex mutex_;
  std::unique_ptr<os::DirWatch> watch_ ABSL_GUARDED_BY(mutex_);  // null: not watched
  std::string problem_ ABSL_GUARDED_BY(mutex_);
  int root_ ABSL_GUARDED_BY(mutex_) = -1;
  Directories directories_ ABSL_GUARDED_BY(mutex_);
  // Those below another one, to be found by it and their name.
  absl::flat_hash_set<int, ChildHash, ChildEq> children_ ABSL_GUARDED_BY(mutex_){0, ChildHash{&directories_},
                                                                                 ChildEq{&directories_}};
  std::shared_ptr<const Selection> selection_ ABSL_GUARDED_BY(mutex_);
  PathChanges changes_ ABSL_GUARDED_BY(mutex_);
  bool nameless_ ABSL_GUARDED_BY(mutex_) = false;  // something was written by a name that had gone
  bool renamed_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::optional<ScanRecord>, ManifestOrder> always_ ABSL_GUARDED_BY(mutex_);
  std::optional<WatchBinding> binding_ ABSL_GUARDED_BY(mutex_);
  absl::Duration scan_again_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();  // boot time
  absl::Time last_change_ ABSL_GUARDED_BY(mutex_);
};

// Empties the kernel's queues before they overflow: one thread for all sources of an agent.
class WatchPump {
 public:
  WatchPump() = default;
  ~WatchPump();  // Stop
  void Start();
  void Stop();
  void Add(std::weak_ptr<SourceWatch> watch);  // for as long as it lives

 private:
  void Run();
  absl::Mutex mutex_;
  std::vector<std::weak_ptr<SourceWatch>> watches_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bailiwick::agent
