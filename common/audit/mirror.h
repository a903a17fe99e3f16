// A copy of the entries of somebody else's log, which the coordinator keeps: commitments, times and kinds, never
// records. Everything is verified before it counts: a checkpoint by the log's key, entries by a proof that they lead to
// it. So a log that says two things is found, with both of them as evidence. In a directory:
//
//   head         what was verified, as a checkpoint without a signature
//   checkpoint   the newest signed one that follows from it
//   tile/        the entries and their tree; its partial files are those of the head
//   conflict-<n> signed checkpoints that contradict what was verified before
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/audit/note.h"
#include "common/audit/tiles.h"
#include "common/os/files.h"

namespace bailiwick::audit {

inline constexpr size_t kMaxConflicts = 8;  // kept as evidence

class Mirror {
 public:
  // Creates it, or reads what is there. DATA_LOSS: it is damaged.
  static absl::StatusOr<std::unique_ptr<Mirror>> Open(os::Files* files, const std::string& directory);

  uint64_t size() const { return tree_.size(); }
  const std::string& checkpoint() const { return checkpoint_; }  // empty: none yet
  const std::string& problem() const { return problem_; }        // of the newest conflict; empty: none

  struct Report {
    uint64_t first = 0;  // of the entries
    std::vector<std::string> entries;
    std::vector<Digest> proof;  // that the tree which ends with them leads to the checkpoint
    // How the checkpoint's log begins: the root of its first `first` entries, and the proof from there. Absent: not
    // said.
    std::optional<Digest> first_root;
    std::vector<Digest> first_proof;
  };
  // OK: verified and durable, what was there already is skipped. OUT_OF_RANGE: there is a gap before `first`.
  // INVALID_ARGUMENT: it does not show that it leads to the checkpoint, which says nothing about the log: to be asked
  // again. DATA_LOSS: the log went back, or has two histories, and it is shown: this checkpoint and one that was
  // verified before are signed and contradict each other. It is kept as evidence.
  absl::Status Extend(const SignedCheckpoint& newest, const Report& report);

 private:
  Mirror(os::Files* files, std::string directory) : files_(files), directory_(std::move(directory)) {}
  absl::Status Load();
  absl::Status CheckOlder(const SignedCheckpoint& checkpoint);
  absl::Status CheckBeginning(const SignedCheckpoint& newest, const Report& report);
  absl::Status Conflict(const SignedCheckpoint& checkpoint, const std::string& problem);

  os::Files* const files_;
  const std::string directory_;
  TileTree tree_;
  std::string checkpoint_;
  uint64_t promised_ = 0;  // size of that checkpoint
  std::string problem_;
};

}  // namespace bailiwick::audit
