// From bytes read to chunks stored and entries built, on several cores: the calling thread reads and cuts; workers hash,
// compress and store. Work travels in batches of some MiB that hold the pieces of one large file or of many small ones,
// so that a small file costs no hand-over of its own. Entries come in order, after their chunks are stored; a batch's
// chunks lie together in a pack, two batches that are worked on at once in either order.
//
// Bounds: kBatches batches in flight, so some ten MiB of memory whatever the files' sizes. The public methods belong to
// one thread, which is also the only one that calls the sink.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/chunk/fastcdc.h"
#include "common/store/dataset_store.h"
#include "common/store/manifest.h"

namespace bailiwick::agent {

class ChunkPipeline {
 public:
  using EntrySink = std::function<absl::Status(store::Entry entry)>;
  using BatchCallback =
      std::function<absl::Status()>;  // after each batch handed over; an error stops the pipeline's caller

  // All outlive the pipeline.
  ChunkPipeline(store::DatasetStore* store, store::DatasetStore::Writer* writer, const chunk::Chunker* chunker,
                EntrySink sink, BatchCallback on_batch);
  ~ChunkPipeline();
  ChunkPipeline(const ChunkPipeline&) = delete;
  ChunkPipeline& operator=(const ChunkPipeline&) = delete;

  // From here on what the store has counts only once it was read back: what is damaged is stored anew. Before Add.
  void DistrustStore() { distrust_ = true; }

  // An entry whose chunks, if any, are already known.
  absl::Status Add(store::Entry entry);

  // The content of a file, piece by piece: Space, fill some of it, Filled; after a run of data that a hole or the end
  // follows, EndRun; then EndFile with the entry (its chunks are set here), or DropFile to forget what was read of it.
  absl::StatusOr<std::span<char>> Space(size_t want);  // 1 to `want` bytes
  absl::Status Filled(size_t n);
  absl::Status EndRun();
  absl::Status EndFile(store::Entry entry);
  absl::Status DropFile();

  // Everything added has reached the writer and the sink.
  absl::Status Finish();

 private:
  struct Piece {
    size_t offset = 0;
    size_t length = 0;
    Digest digest;
    bool fresh = false;   // not in the store when looked up, nor earlier in the batch
    bool packed = false;  // compressed into `bytes`; else the raw bytes are what is stored
    std::string bytes;
  };
  struct Step {
    enum Kind { kKnown, kContent, kDrop } kind = kKnown;
    size_t pieces_end = 0;  // pieces before this belong to it (or to a file that began in an earlier batch)
    store::Entry entry;
  };
  struct Batch {
    std::unique_ptr<char[]> data;
    size_t size = 0;  // filled
    size_t cut = 0;   // made into pieces
    std::vector<Piece> pieces;
    std::vector<Step> steps;
    bool done = false;  // guarded by mutex_
    absl::Status status;
  };

  void StartWorkers();
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Process(Batch& batch) ABSL_LOCKS_EXCLUDED(storing_);
  absl::Status Store(Batch& batch) ABSL_LOCKS_EXCLUDED(storing_);
  absl::Status AddStep(Step step);
  absl::Status Cut(bool last);
  absl::Status HandOver();  // the current batch to the workers, what is not cut yet to the next batch
  absl::Status Retire() ABSL_LOCKS_EXCLUDED(mutex_);  // the oldest batch: waits, sinks
  absl::Status Sink(Batch& batch);
  static std::string FileOf(const Batch& batch, size_t piece);
  std::unique_ptr<Batch> NewBatch();

  store::DatasetStore* const store_;
  store::DatasetStore::Writer* const writer_;
  const chunk::Chunker* const chunker_;
  const EntrySink sink_;
  const BatchCallback on_batch_;
  const size_t batch_bytes_;
  bool distrust_ = false;

  // The calling thread's own.
  std::unique_ptr<Batch> current_;
  std::deque<std::unique_ptr<Batch>> in_flight_;
  std::vector<std::unique_ptr<Batch>> spare_;
  std::vector<store::Reference> open_file_;  // pieces of the file that goes on in a later batch
  std::vector<std::thread> workers_;

  absl::Mutex storing_;  // held for a batch: what is read together lies together
  absl::Mutex mutex_;
  std::deque<Batch*> queue_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

// Whether a chunk that the store has is whole; where it is not, the store has it no more.
absl::StatusOr<bool> ReadsBack(store::DatasetStore& store, const Digest& digest);

}  // namespace bailiwick::agent
