// A dataset laid out as ordinary files: <root>/trees/<slot>/... and <root>/current -> trees/<slot>, swapped by rename.
//
// Invariants: `current` names a slot that holds one whole version, durable, or does not exist; a slot is changed only
// while it is not current and under an exclusive flock (readers hold shared ones on the slot directory); a slot's state
// file says which manifest root it holds and is removed, durably, before the slot is touched. One thread per tree.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

struct LayoutOptions {
  bool writable = false;
  bool owner = false;
};

// Bytes of content put in place so far. Called by one thread at a time, not always the same.
using LayoutCallback = std::function<void(uint64_t done_bytes)>;

class ReplicaTree {
 public:
  static constexpr int kSlots = 3;

  // `root` is absolute and created when missing. Slots that a crash left half-changed are forgotten (laid out anew).
  static absl::StatusOr<std::unique_ptr<ReplicaTree>> Open(os::Files* files, const std::string& root);
  ~ReplicaTree();

  // Makes `current` name this version: a swap when a slot holds it, else by manifest difference in the oldest slot that
  // no reader has leased. Durable on OK. UNAVAILABLE: every other slot is leased (try again later). Idempotent.
  absl::Status Show(DatasetHandle& dataset, const store::CatalogVersion& version, const LayoutOptions& options,
                    const LayoutCallback& progress, const std::atomic<bool>& cancelled);
  // Where the next version would have to be laid out whole, lays out what `current` shows (hard links: no content), so
  // that it will cost its difference alone. For idle times; what it does not finish costs nothing but the time.
  absl::Status PrepareSpare(DatasetHandle& dataset, const std::atomic<bool>& cancelled);
  // Empties the slots that are not shown and that no reader has leased: the next versions cost more, and what only they
  // kept can go. Whether there was something.
  absl::StatusOr<bool> EmptySpares();
  VersionNumber current() const;  // 0: none
  bool suspect() const;           // what `current` shows was found to differ: the next Show lays it out anew
  std::vector<VersionNumber> laid_out() const;  // ascending, each once
  // Compares the current tree with its manifest, contents included, and those that lie beside it, which the next
  // versions are made of; adds a sentence a difference. What differs is laid out anew when it is needed.
  absl::Status Verify(DatasetHandle& dataset, std::vector<std::string>* problems);
  // `current` names nothing any more; slots stay as they are. Durable on OK, as are the next two. All are idempotent.
  absl::Status Withdraw();
  // What is laid out of these versions goes, leased by readers or not, and what was left half laid out of whatever
  // version; when `current` names one of them it goes first.
  absl::Status Forget(const std::vector<VersionNumber>& versions);
  absl::Status Remove();  // everything under root
  // What is redacted of any slot goes, leased by readers or not; `current` stays, without it. Durable on OK; idempotent.
  absl::Status Redact(DatasetHandle& dataset);

 private:
  ReplicaTree();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// FAILED_PRECONDITION: the directory holds something. INVALID_ARGUMENT: its path is not absolute.
absl::Status MayCheckOutInto(const std::string& directory);
// Lays a version out in `directory` (absolute; new or empty: FAILED_PRECONDITION otherwise), writable, durable on OK.
absl::Status Checkout(DatasetHandle& dataset, const store::CatalogVersion& version, const std::string& directory,
                      bool owner, const LayoutCallback& progress, const std::atomic<bool>& cancelled,
                      uint64_t* redacted = nullptr);  // files left out

// Directories that are made here are for everyone to walk through; those that were there keep their modes.
absl::Status MakePublicDirs(os::Files* files, const std::string& path);

// Where a dataset is laid out: <replicas>/<dataset>, a stream of a family at <replicas>/<family>/<site>.
std::string ReplicaRoot(const std::string& replicas, const std::string& dataset_name);

// `bailiwick-agent exec`: a shared lease on the slot that `current` names, for as long as the command runs with
// BAILIWICK_TREE and BAILIWICK_VERSION set and the tree as working directory. Returns the command's exit code.
absl::StatusOr<int> ExecWithLease(const std::string& replicas, const std::string& dataset_name,
                                  const std::vector<std::string>& command);

}  // namespace bailiwick::agent
