// Changes in directories as the kernel tells them: inotify(7). One instance a DirWatch; not thread-safe.
//
// What it does not tell: changes through a hard link that lies elsewhere (the directory that the change went through is
// told), changes on another machine's side of a network file system, and a mapping's writes before the mapping ends.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/os/tree.h"

namespace bailiwick::os {

struct DirEvent {
  enum class Kind : uint8_t {
    kChanged,   // content or attributes of `name`; with an empty name: of the directory itself
    kAppeared,  // `name` was made or moved here
    kGone,      // `name` was deleted or moved away
    kEnded,     // the watch is no more: the directory was deleted, or its file system unmounted
    kMoved,     // the directory itself got another place
    kLost,      // events were dropped, of any directory; `watch` is meaningless
  };
  Kind kind = Kind::kChanged;
  int watch = -1;
  std::string name;
  bool directory = false;  // what `name` names
  bool moved = false;      // it appeared, or is gone, by a change of its name
};

class DirWatch {
 public:
  // RESOURCE_EXHAUSTED names the kernel's limit.
  static absl::StatusOr<std::unique_ptr<DirWatch>> Create();
  virtual ~DirWatch() = default;
  // What is open as `dir` (not what is below it). The number is the same for the same directory, and never that of
  // another one. RESOURCE_EXHAUSTED names the kernel's limit.
  virtual absl::StatusOr<int> Add(TreeDir& dir) = 0;
  virtual void Remove(int watch) = 0;  // events of it that wait may still come
  // All that waited when it was called, in order, without waiting.
  virtual absl::Status Read(std::vector<DirEvent>* events) = 0;
  virtual int fd() const = 0;  // readable when something waits
};

// The kernel sees every change there is: no network file system, nor one that this build does not know.
bool SeesAllChanges(TreeDir& dir);

// The mounts at a directory and below it, one a line, each with the kernel's number for it. No event tells when one
// comes to lie over what is watched, or goes: this then says something else.
absl::StatusOr<std::string> MountsBelow(TreeDir& dir);

// Until one of them is readable, or the time is over.
void WaitReadable(std::span<const int> fds, absl::Duration timeout);

}  // namespace bailiwick::os
