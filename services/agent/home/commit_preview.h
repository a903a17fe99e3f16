// What a commit would make of a source, without making it: what a scan finds beside the newest version. By names, sizes
// and times; of content that the scan cache does not vouch for it only says that it would be read. One thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/store/manifest.h"
#include "services/agent/home/committer.h"

namespace bailiwick::agent {

struct CommitForecast {
  VersionNumber newest = 0;  // 0: there is none yet
  uint64_t added = 0, changed = 0, removed = 0;
  uint64_t to_read_files = 0, to_read_bytes = 0;
  std::vector<std::string> skipped;  // first 100 paths
  uint64_t skipped_count = 0;
  std::vector<std::string> unsettled;  // first 100
  uint64_t unsettled_count = 0;
  // Also where there is no version yet: then a commit makes one.
  bool unchanged() const { return newest != 0 && added + changed + removed == 0; }
};

// Each difference, in manifest order; one of both may be null. An error ends the walk.
using ForecastVisitor = std::function<absl::Status(const store::Entry* before, const store::Entry* after)>;

// A file whose content is not known: no chunks, though it is not empty.
bool Unread(const store::Entry& entry);

// Merges what the scan emits with the version before.
class CommitPreview {
 public:
  explicit CommitPreview(ForecastVisitor visit) : visit_(std::move(visit)) {}

  // `nodes` outlives this. An empty root: there is no version yet.
  absl::Status Begin(store::NodeSource* nodes, const Digest& root);
  absl::Status Add(const store::Entry& entry);  // in manifest order
  absl::Status Finish();
  CommitForecast& forecast() { return forecast_; }

 private:
  absl::Status Next();
  absl::Status Gone();

  const ForecastVisitor visit_;
  std::unique_ptr<store::ManifestCursor> cursor_;
  store::Entry before_;
  bool has_before_ = false;
  CommitForecast forecast_;
};

// Errors as Commit's, but for those that only reading content shows. Nothing is written, nor is a watch told.
absl::StatusOr<CommitForecast> ForecastCommit(DatasetHandle& dataset, const SourceSpec& source,
                                              const CommitOptions& options, const os::Clock* clock,
                                              const ForecastVisitor& visit, const std::atomic<bool>& cancelled);

}  // namespace bailiwick::agent
