// A directory tree in manifest order: depth first, names sorted bytewise, a directory before what it holds. Memory is
// the names of the directories on the current path (name_list.h); open handles are bounded whatever the depth. One
// thread.
//
// The tree may change meanwhile: what vanishes between listing and visiting is not there; what becomes another kind of
// thing is visited as what it became.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/os/tree.h"
#include "services/agent/home/name_list.h"

namespace bailiwick::agent {

struct WalkItem {
  std::string path;  // relative to the root of the walk
  os::NodeStat stat;
  os::TreeDir* dir = nullptr;  // valid until the next call of Next
  std::string name;            // of the item, relative to `dir`
};

class TreeWalker {
 public:
  // False: the item, and what is below it, is left out. Called once an item, parents first.
  using Filter = std::function<bool(std::string_view path, const os::NodeStat& stat)>;

  // `root` outlives the walker; `label` is its absolute path, for messages.
  TreeWalker(os::TreeDir* root, std::string label, Filter filter);
  ~TreeWalker();
  // Directories of this process's own user whose mode keeps it out are opened to it while they are walked. Their items
  // show the mode that they had and get back.
  void Unlock() { unlock_ = true; }
  // Called with each directory below the root once it is open and before it is listed.
  using DirectoryHook = std::function<void(os::TreeDir& dir, std::string_view path)>;
  void BeforeListing(DirectoryHook hook) { before_listing_ = std::move(hook); }
  // Called with each directory below the root before it is listed; an error ends the walk, with its path.
  using DirectoryCheck = std::function<absl::Status(const os::NodeStat& stat)>;
  void Refuse(DirectoryCheck check) { check_ = std::move(check); }
  // False at the end. A directory is opened and listed before it is returned, so an error comes before it counts.
  // UNKNOWN and others name the path.
  absl::StatusOr<bool> Next(WalkItem* item);

 private:
  struct Frame {
    std::unique_ptr<os::TreeDir> owned;
    os::TreeDir* dir = nullptr;
    std::string prefix;      // from `dir` to this directory, "" or with a trailing '/'
    size_t path_length = 0;  // of path_ with a trailing '/' for this directory
    NameList names;
  };
  // A directory that was unlocked: in that of frame `depth` - 1, or being entered there.
  struct Unlocked {
    size_t depth = 0;
    std::string name;
    uint32_t mode = 0;
  };
  absl::Status Start();
  absl::Status UnlockOwn(const std::string& name, const os::NodeStat& stat);
  absl::Status LockAgain(size_t depth);  // those of that depth and below
  // OK and false: it has vanished.
  absl::StatusOr<bool> Enter(const std::string& name, WalkItem* item);
  absl::StatusOr<bool> Visit(const std::string& name, WalkItem* item);
  absl::Status Named(const absl::Status& status, std::string_view path) const;

  os::TreeDir* root_;
  std::string label_;
  Filter filter_;
  DirectoryHook before_listing_;
  DirectoryCheck check_;
  bool started_ = false;
  bool unlock_ = false;
  std::vector<Frame> frames_;
  std::vector<Unlocked> unlocked_;
  std::string path_;
};

}  // namespace bailiwick::agent
