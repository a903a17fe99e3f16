// Which runs make up the chunk index: their list, what looks and merges do with all of them, and which datasets were
// dropped. The list is a file (RUNS) that is replaced whole; runs that it does not name are removed by the next Open.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "common/store/index_run.h"

namespace bailiwick::store {

// The runs at one time. Immutable, so thread-safe; what it names stays readable for as long as it is held.
struct IndexView {
  struct Part {
    uint64_t number = 0;
    std::shared_ptr<const IndexRun> run;
    std::shared_ptr<const IndexFilter> filter;  // nullptr: no room for it
  };
  std::vector<Part> parts;  // oldest first
  // What runs below the number say of the dataset does not count.
  absl::flat_hash_map<DatasetId, uint64_t> dropped;

  bool Counts(const Part& part, DatasetId dataset) const;
  // What the newest run that knows it says, unless that is that it was removed. DATA_LOSS.
  absl::StatusOr<std::optional<IndexValue>> Find(const IndexKey& key) const;
  // How many of the newest runs to merge into one: those of about one size when there are four and more, so that each
  // entry is written once more whenever the index has become four times as large. 0: none.
  size_t ToMerge() const;
};

// The newest `count` runs of a view in order, each key once: the newest of what counts.
class IndexMerge {
 public:
  IndexMerge(std::shared_ptr<const IndexView> view, size_t count);
  uint64_t entries() const;                      // at most
  absl::StatusOr<bool> Next(IndexEntry* entry);  // false at the end

 private:
  struct Input {
    const IndexView::Part* part;
    IndexRun::Cursor cursor;
    IndexEntry head;
    bool more;
  };
  absl::Status Advance(Input& input);

  const std::shared_ptr<const IndexView> view_;
  const bool oldest_;          // nothing is below them that what was removed would have to hide
  std::vector<Input> inputs_;  // oldest first
  bool started_ = false;
};

// Thread-safe by its owner, but for Write. All that changes the list is durable on OK; otherwise it is as it was.
class IndexRuns {
 public:
  using Source = std::function<absl::StatusOr<bool>(IndexEntry*)>;

  // Creates what is missing. DATA_LOSS: the list or a run of it is damaged. `filter_bytes`: for all filters together.
  static absl::StatusOr<std::unique_ptr<IndexRuns>> Open(os::Files* files, const std::string& path,
                                                         uint64_t filter_bytes);

  std::shared_ptr<const IndexView> view() const { return view_; }
  uint64_t NewNumber() { return next_++; }
  // A run of at most `entries` of `source`, not yet in the list. Nothing stays behind on error. By any thread.
  absl::Status Write(uint64_t number, uint64_t entries, const Source& source) const;
  absl::Status Add(uint64_t number);  // as the newest
  // In the place of the newest `count` of `merged`, behind which others may have been added.
  absl::Status Replace(const IndexView& merged, size_t count, uint64_t number);
  absl::Status Drop(DatasetId dataset);

 private:
  IndexRuns(os::Files* files, std::string path, uint64_t filter_bytes)
      : files_(files), path_(std::move(path)), filter_bytes_(filter_bytes) {}
  std::string PathOf(uint64_t number) const;
  absl::StatusOr<IndexView::Part> OpenRun(uint64_t number) const;
  absl::Status ReadList();
  absl::Status RemoveStrays() const;
  absl::Status Install(IndexView view);  // writes the list; then it is the view

  os::Files* const files_;
  const std::string path_;
  const uint64_t filter_bytes_;
  uint64_t next_ = 1;
  std::shared_ptr<const IndexView> view_ = std::make_shared<IndexView>();
};

}  // namespace bailiwick::store
