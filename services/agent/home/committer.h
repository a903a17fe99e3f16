// Makes a version of a source directory: walk in manifest order beside the scan cache, or look at what a watch saw
// change; read and chunk it, store, build the manifest, one durability barrier, catalog row. A crash at any point
// leaves the old versions and at most unreferenced chunks. Not thread-safe per dataset: the caller runs one commit of a
// dataset at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/crypto/sign.h"
#include "common/os/clock.h"
#include "services/agent/state/dataset.h"

namespace bailiwick::agent {

class SourceWatch;

struct SourceSpec {  // what of the DatasetSpec a commit needs
  std::string path;  // absolute
  uint32_t chunk_average = 32 * 1024;
  std::vector<std::string> include;  // gitignore syntax
  std::vector<std::string> ignore;
  bool keep_absent = false;
  bool consume = false;  // with keep_absent: files leave the source once a version holds them (consume.h)
  bool owner = false;
  absl::Duration settle = absl::ZeroDuration();
  std::vector<std::string> own;  // absolute: directories of the agent itself, of which nothing is committed
};

struct HomeIdentity {
  std::string site;
  Incarnation incarnation;
  uint64_t epoch = 0;
  const crypto::SigningKey* key = nullptr;  // enrolment key
  // The time that a version says it was committed at, by which the law's retention goes: not the wall clock's, which
  // may be wrong. Unset: the clock's.
  std::function<absl::Time()> now;
};

inline constexpr size_t kMaxCommitMessage = 4096;  // bytes: it is in every announcement of the version
absl::Status CheckCommitMessage(std::string_view message);        // INVALID_ARGUMENT

struct CommitOptions {
  std::string message;  // at most kMaxCommitMessage
  bool allow_changing = false;
  bool allow_empty = false;
  bool scan = false;    // the whole source, whatever is known of what changed
  bool count = false;   // what there is, first: for a progress that knows its end
  bool reread = false;  // the content of every file, too: what is here of it is known to be damaged
};

struct CommitProgress {
  uint64_t files = 0;
  uint64_t scanned_bytes = 0;
  uint64_t read_bytes = 0;
  uint64_t new_bytes = 0;
  uint64_t total_bytes = 0;      // what scanned_bytes will come to; 0: not known
  bool total_estimated = false;  // by the version before, or by what was seen to change
};

struct CommitOutcome {
  store::CatalogVersion version;  // the new one, or the newest when unchanged
  bool unchanged = false;
  bool scanned = false;  // the whole source was looked at
  bool reread = false;   // so was the content of every file, and what is damaged of it here was stored anew
  uint64_t new_bytes = 0;
  std::vector<std::string> skipped;  // first 100 paths
  uint64_t skipped_count = 0;
  std::vector<std::string> unsettled;  // first 100
  uint64_t unsettled_count = 0;
};

// `watch`, when there is one, is the source's own and lives from commit to commit: what it knows to be unchanged is not
// looked at. The version is the one that a scan would make.
// Where what is here of the version before is damaged, every file is read, and what the source has of it heals.
// Errors: NOT_FOUND source missing or vanished; DATA_LOSS the version before is damaged, and the next one is made from
// it (keep_absent); FAILED_PRECONDITION empty, not a directory, or a file that keeps changing (named);
// UNKNOWN unreadable (named); RESOURCE_EXHAUSTED disk full; CANCELLED.
absl::StatusOr<CommitOutcome> Commit(DatasetHandle& dataset, const SourceSpec& source, const HomeIdentity& home,
                                     const CommitOptions& options, const os::Clock* clock,
                                     const std::function<void(const CommitProgress&)>& progress,
                                     const std::atomic<bool>& cancelled, SourceWatch* watch = nullptr);

}  // namespace bailiwick::agent
