#include "services/agent/home/chunk_pipeline.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "services/agent/home/display_path.h"

namespace bailiwick::agent {
namespace {

constexpr size_t kMinBatchBytes = 4 << 20;  // large enough that a hand-over costs nothing beside hashing it
constexpr size_t kMaxSteps = 8192;          // entries in a batch: bounds the memory of scans that read nothing
constexpr size_t kBatches = 5;              // one being filled, two being worked on, two waiting
constexpr unsigned kMaxWorkers = 4;         // a commit is not alone on the machine

}  // namespace

ChunkPipeline::ChunkPipeline(store::DatasetStore* store, store::DatasetStore::Writer* writer,
                             const chunk::Chunker* chunker, EntrySink sink, BatchCallback on_batch)
    : store_(store),
      writer_(writer),
      chunker_(chunker),
      sink_(std::move(sink)),
      on_batch_(std::move(on_batch)),
      batch_bytes_(std::max<size_t>(kMinBatchBytes, 2 * size_t{chunker->parameters().max()})),
      current_(std::make_unique<Batch>()) {}

ChunkPipeline::~ChunkPipeline() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  for (std::thread& worker : workers_) worker.join();
}

void ChunkPipeline::StartWorkers() {
  unsigned n = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxWorkers);
  for (unsigned i = 0; i < n; ++i) workers_.emplace_back([this] { Work(); });
}

std::unique_ptr<ChunkPipeline::Batch> ChunkPipeline::NewBatch() {
  if (!spare_.empty()) {
    std::unique_ptr<Batch> batch = std::move(spare_.back());
    spare_.pop_back();
    return batch;
  }
  return std::make_unique<Batch>();
}

void ChunkPipeline::Work() {
  for (;;) {
    Batch* batch = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !queue_.empty(); };
      mutex_.Await(absl::Condition(&ready));
      if (stop_) return;
      batch = queue_.front();
      queue_.pop_front();
    }
    absl::Status status = Process(*batch);
    absl::MutexLock lock(&mutex_);
    batch->status = std::move(status);
    batch->done = true;
  }
}

absl::Status ChunkPipeline::Process(Batch& batch) {
  const size_t n = batch.pieces.size();
  std::vector<std::string_view> raw(n);
  std::vector<std::span<const std::string_view>> messages(n);
  for (size_t i = 0; i < n; ++i) {
    raw[i] = {batch.data.get() + batch.pieces[i].offset, batch.pieces[i].length};
    messages[i] = {&raw[i], 1};
  }
  std::vector<Digest> digests(n);
  crypto::Sha256Each(messages, digests);
  BW_ASSIGN_OR_RETURN(std::vector<bool> known, store_->HasMany(digests));
  for (size_t i = 0; distrust_ && i < n; ++i) {
    if (!known[i]) continue;
    BW_ASSIGN_OR_RETURN(known[i], ReadsBack(*store_, digests[i]));
  }
  absl::flat_hash_set<Digest> seen;
  for (size_t i = 0; i < n; ++i) {
    Piece& piece = batch.pieces[i];
    piece.digest = digests[i];
    piece.fresh = !known[i] && seen.insert(piece.digest).second;
    if (piece.fresh) piece.packed = store::CompressChunk(raw[i], &piece.bytes);
  }
  return Store(batch);
}

std::string ChunkPipeline::FileOf(const Batch& batch, size_t piece) {
  for (const Step& step : batch.steps) {
    if (step.pieces_end > piece && step.kind == Step::kContent) return DisplayPath(step.entry.path);
  }
  return "a large file";
}

absl::Status ChunkPipeline::Store(Batch& batch) {
  absl::MutexLock lock(&storing_);
  for (size_t i = 0; i < batch.pieces.size(); ++i) {
    Piece& piece = batch.pieces[i];
    if (!piece.fresh) continue;
    const std::string_view part =
        piece.packed ? std::string_view(piece.bytes) : std::string_view(batch.data.get() + piece.offset, piece.length);
    absl::Status put =
        writer_->PutMissing(piece.digest, {.codec = piece.packed ? store::Codec::kZstd : store::Codec::kRaw,
                                           .raw_length = static_cast<uint32_t>(piece.length),
                                           .parts = {&part, 1}});
    if (absl::IsFailedPrecondition(put)) return Annotate(put, FileOf(batch, i));  // redacted: which file is it?
    BW_RETURN_IF_ERROR(put);
    piece.bytes = std::string();
  }
  return absl::OkStatus();
}

absl::Status ChunkPipeline::AddStep(Step step) {
  step.pieces_end = current_->pieces.size();
  current_->steps.push_back(std::move(step));
  return current_->steps.size() >= kMaxSteps ? HandOver() : absl::OkStatus();
}

absl::Status ChunkPipeline::Add(store::Entry entry) { return AddStep({Step::kKnown, 0, std::move(entry)}); }

absl::StatusOr<std::span<char>> ChunkPipeline::Space(size_t want) {
  if (current_->size == batch_bytes_) BW_RETURN_IF_ERROR(HandOver());
  if (current_->data == nullptr) current_->data.reset(new char[batch_bytes_]);  // not zeroed
  return std::span<char>(current_->data.get() + current_->size, std::min(want, batch_bytes_ - current_->size));
}

absl::Status ChunkPipeline::Cut(bool last) {
  Batch& batch = *current_;
  while (batch.cut < batch.size) {
    size_t left = batch.size - batch.cut;
    if (!last && left < chunker_->parameters().max()) break;
    size_t n = chunker_->Next({batch.data.get() + batch.cut, left});
    batch.pieces.emplace_back();
    batch.pieces.back().offset = batch.cut;
    batch.pieces.back().length = n;
    batch.cut += n;
  }
  return absl::OkStatus();
}

absl::Status ChunkPipeline::Filled(size_t n) {
  current_->size += n;
  return Cut(false);
}

absl::Status ChunkPipeline::EndRun() { return Cut(true); }

absl::Status ChunkPipeline::EndFile(store::Entry entry) {
  BW_RETURN_IF_ERROR(Cut(true));
  return AddStep({Step::kContent, 0, std::move(entry)});
}

absl::Status ChunkPipeline::DropFile() {
  current_->size = current_->cut;
  return AddStep({Step::kDrop, 0, {}});
}

absl::Status ChunkPipeline::HandOver() {
  if (workers_.empty()) StartWorkers();
  while (in_flight_.size() + 1 >= kBatches) BW_RETURN_IF_ERROR(Retire());
  std::unique_ptr<Batch> next = NewBatch();
  if (size_t rest = current_->size - current_->cut; rest > 0) {  // less than a chunk's maximum
    if (next->data == nullptr) next->data.reset(new char[batch_bytes_]);
    std::memcpy(next->data.get(), current_->data.get() + current_->cut, rest);
    next->size = rest;
  }
  Batch* batch = current_.get();
  in_flight_.push_back(std::move(current_));
  current_ = std::move(next);
  {
    absl::MutexLock lock(&mutex_);
    batch->done = batch->pieces.empty();
    if (!batch->done) queue_.push_back(batch);
  }
  return on_batch_();
}

absl::Status ChunkPipeline::Retire() {
  std::unique_ptr<Batch> batch = std::move(in_flight_.front());
  in_flight_.pop_front();
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&batch->done));
    status = batch->status;
  }
  BW_RETURN_IF_ERROR(status);
  BW_RETURN_IF_ERROR(Sink(*batch));
  batch->size = batch->cut = 0;
  batch->pieces.clear();
  batch->steps.clear();
  spare_.push_back(std::move(batch));
  return absl::OkStatus();
}

absl::Status ChunkPipeline::Sink(Batch& batch) {
  size_t next = 0;
  auto take = [&](size_t end) {
    for (; next < end; ++next) open_file_.push_back({batch.pieces[next].digest, batch.pieces[next].length});
  };
  for (Step& step : batch.steps) {
    take(step.pieces_end);
    if (step.kind == Step::kDrop) {
      open_file_.clear();
      continue;
    }
    if (step.kind == Step::kContent) {
      step.entry.chunks = std::move(open_file_);
      open_file_ = {};
    }
    BW_RETURN_IF_ERROR(sink_(std::move(step.entry)));
  }
  take(batch.pieces.size());
  return absl::OkStatus();
}

absl::Status ChunkPipeline::Finish() {
  BW_RETURN_IF_ERROR(HandOver());
  while (!in_flight_.empty()) BW_RETURN_IF_ERROR(Retire());
  return absl::OkStatus();
}

absl::StatusOr<bool> ReadsBack(store::DatasetStore& store, const Digest& digest) {
  absl::Status read = store.Read(digest).status();
  if (absl::IsDataLoss(read) || absl::IsNotFound(read)) return false;
  BW_RETURN_IF_ERROR(read);
  return true;
}

}  // namespace bailiwick::agent
