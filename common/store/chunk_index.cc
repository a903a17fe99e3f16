#include "common/store/chunk_index.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status.h"
#include "common/os/files.h"
#include "common/store/index_run.h"
#include "common/store/index_runs.h"

namespace bailiwick::store {
namespace {

// A table in memory becomes a run when it has so many entries: what 64 Ki slots hold, 6 MiB. One takes entries, at most
// two wait to be written, and the one that was written last stays: a version is mostly read right after it was written,
// and a look here is faster than one into a run.
constexpr size_t kTableEntries = (64 << 10) / 8 * 7;
constexpr size_t kMaxWaiting = 2;
constexpr size_t kMaxRuns = 24;         // with more, merging goes before writing, and whoever puts entries waits
constexpr size_t kBatch = 1024;         // entries put while nobody can look
constexpr uint64_t kMergeBatch = 4096;  // entries merged between two looks at what waits to be written

using Table = absl::flat_hash_map<IndexKey, IndexValue>;

// Beside the index: it was found damaged while in use, the next Open makes a new one.
std::string MarkerOf(const std::string& path) { return path + ".damaged"; }

class SortedIndex : public ChunkIndex {
 public:
  SortedIndex(os::Files* files, std::string path, std::unique_ptr<IndexRuns> runs)
      : files_(files),
        path_(std::move(path)),
        runs_(std::move(runs)),
        view_(runs_->view()),
        merge_due_(view_->ToMerge() > 0) {
    thread_ = std::thread([this] { Work(); });
  }

  ~SortedIndex() override {
    Flush().IgnoreError();
    {
      absl::MutexLock lock(&mutex_);
      stop_ = true;
    }
    thread_.join();
  }

  absl::StatusOr<std::optional<ChunkLocation>> Get(DatasetId dataset, const Digest& digest) override {
    BW_ASSIGN_OR_RETURN(auto many, GetMany(dataset, {&digest, 1}));
    return many[0];
  }

  absl::StatusOr<std::vector<std::optional<ChunkLocation>>> GetMany(DatasetId dataset,
                                                                    std::span<const Digest> digests) override {
    std::vector<std::optional<ChunkLocation>> out(digests.size());
    std::vector<size_t> asked;  // of the runs
    std::shared_ptr<const IndexView> view;
    {
      absl::ReaderMutexLock lock(&mutex_);
      for (size_t i = 0; i < digests.size(); ++i) {
        if (const IndexValue* found = InTables({digests[i], dataset}); found == nullptr) {
          asked.push_back(i);
        } else if (!found->removed) {
          out[i] = found->at;
        }
      }
      view = view_;
    }
    for (size_t i : asked) {
      auto found = view->Find({digests[i], dataset});
      if (!found.ok()) return Damaged(found.status());
      if (found->has_value()) out[i] = (*found)->at;
    }
    return out;
  }

  absl::Status PutPack(DatasetId dataset, PackId pack,
                       std::span<const std::pair<Digest, ChunkLocation>> chunks) override {
    absl::MutexLock lock(&write_mutex_);
    // The mark is last: a pack whose mark is there has all its entries.
    return Put(chunks.size() + 1, [&](size_t i) -> IndexEntry {
      if (i == chunks.size()) return {{MarkOf(pack), dataset}, {.at = {.pack = pack}}};
      return {{chunks[i].first, dataset}, {.at = chunks[i].second}};
    });
  }

  absl::StatusOr<bool> HasPack(DatasetId dataset, PackId pack) override {
    BW_ASSIGN_OR_RETURN(auto mark, Get(dataset, MarkOf(pack)));
    return mark.has_value();
  }

  absl::Status DropPack(DatasetId dataset, PackId pack, std::span<const Digest> digests) override {
    // Not between the look and the removal may another pack come to hold the chunk.
    absl::MutexLock lock(&write_mutex_);
    std::vector<Digest> removed = {MarkOf(pack)};
    BW_ASSIGN_OR_RETURN(auto places, GetMany(dataset, digests));
    for (size_t i = 0; i < digests.size(); ++i) {
      if (places[i].has_value() && places[i]->pack == pack) removed.push_back(digests[i]);
    }
    return Put(removed.size(), [&](size_t i) -> IndexEntry { return {{removed[i], dataset}, {.removed = true}}; });
  }

  absl::Status Forget(DatasetId dataset, const Digest& digest, PackId pack) override {
    absl::MutexLock lock(&write_mutex_);
    BW_ASSIGN_OR_RETURN(std::optional<ChunkLocation> at, Get(dataset, digest));
    if (!at.has_value() || at->pack != pack) return absl::OkStatus();
    return Put(1, [&](size_t) -> IndexEntry { return {{digest, dataset}, {.removed = true}}; });
  }

  absl::Status DropDataset(DatasetId dataset) override {
    absl::MutexLock lock(&write_mutex_);
    BW_RETURN_IF_ERROR(FlushTables());
    absl::MutexLock runs_lock(&runs_mutex_);
    BW_RETURN_IF_ERROR(Damaged(runs_->Drop(dataset)));
    absl::MutexLock view_lock(&mutex_);
    view_ = runs_->view();
    written_.reset();
    return absl::OkStatus();
  }

  bool damaged() const override { return damaged_; }

  absl::Status Flush() override {
    absl::MutexLock lock(&write_mutex_);
    return FlushTables();
  }

 private:
  // What the newest table that knows it says; nullptr: none does.
  const IndexValue* InTables(const IndexKey& key) const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    auto look = [&key](const Table& table) {
      auto it = table.find(key);
      return it != table.end() ? &it->second : nullptr;
    };
    const IndexValue* found = look(table_);
    for (auto table = waiting_.rbegin(); found == nullptr && table != waiting_.rend(); ++table) found = look(**table);
    return found == nullptr && written_ != nullptr ? look(*written_) : found;
  }

  absl::Status Put(size_t count, absl::FunctionRef<IndexEntry(size_t)> entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_) {
    for (size_t i = 0; i < count;) {
      absl::MutexLock lock(&mutex_);
      for (const size_t end = std::min(count, i + kBatch); i < end; ++i) {
        if (table_.size() >= kTableEntries) BW_RETURN_IF_ERROR(TurnTable());
        const IndexEntry one = entry(i);
        table_[one.key] = one.value;
      }
    }
    return absl::OkStatus();
  }

  // The error of writing runs, when that is what stands in the way. Whoever wants room has it tried again.
  absl::Status TurnTable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    failed_ = absl::OkStatus();
    auto room = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return waiting_.size() < kMaxWaiting || !failed_.ok(); };
    mutex_.Await(absl::Condition(&room));
    if (waiting_.size() >= kMaxWaiting) return failed_;
    waiting_.push_back(std::make_shared<const Table>(std::exchange(table_, Table())));
    return absl::OkStatus();
  }

  absl::Status FlushTables() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_) {
    absl::MutexLock lock(&mutex_);
    if (!table_.empty()) BW_RETURN_IF_ERROR(TurnTable());
    failed_ = absl::OkStatus();
    auto done = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return waiting_.empty() || !failed_.ok(); };
    mutex_.Await(absl::Condition(&done));
    return waiting_.empty() ? absl::OkStatus() : failed_;
  }

  // The thread that writes runs and merges them.
  void Work() {
    auto work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stop_ || WaitsToBeWritten() || merge_due_; };
    while (true) {
      bool write = false;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(&work));
        write = WaitsToBeWritten();
        if (!write && stop_) return;
      }
      if (write) {
        WriteOldest();
      } else {
        Merge();
      }
    }
  }
  bool WaitsToBeWritten() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !waiting_.empty() && failed_.ok() && (view_->parts.size() < kMaxRuns || !merge_due_);
  }

  void WriteOldest() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::shared_ptr<const Table> table;
    {
      absl::ReaderMutexLock lock(&mutex_);
      table = waiting_.front();
    }
    std::vector<const Table::value_type*> order;
    order.reserve(table->size());
    for (const auto& entry : *table) order.push_back(&entry);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
    const uint64_t number = NewNumber();
    size_t at = 0;
    absl::Status written = runs_->Write(number, order.size(), [&](IndexEntry* entry) -> absl::StatusOr<bool> {
      if (at == order.size()) return false;
      *entry = {order[at]->first, order[at]->second};
      ++at;
      return true;
    });
    absl::MutexLock runs_lock(&runs_mutex_);
    if (written.ok()) written = Damaged(runs_->Add(number));
    absl::MutexLock lock(&mutex_);
    failed_ = written;
    if (!written.ok()) return;
    written_ = std::move(waiting_.front());
    waiting_.pop_front();
    view_ = runs_->view();
    merge_due_ = view_->ToMerge() > 0;
  }

  void Merge() ABSL_LOCKS_EXCLUDED(mutex_) {
    const uint64_t number = NewNumber();
    std::shared_ptr<const IndexView> view;
    {
      absl::ReaderMutexLock lock(&mutex_);
      view = view_;
    }
    const size_t count = view->ToMerge();
    IndexMerge merge(view, count);
    uint64_t merged = 0;
    absl::Status done = runs_->Write(number, merge.entries(), [&](IndexEntry* entry) -> absl::StatusOr<bool> {
      if (++merged % kMergeBatch == 0) BW_RETURN_IF_ERROR(Interrupt());
      return merge.Next(entry);
    });
    absl::MutexLock runs_lock(&runs_mutex_);
    if (done.ok()) done = runs_->Replace(*view, count, number);
    Damaged(done).IgnoreError();
    absl::MutexLock lock(&mutex_);
    view_ = runs_->view();
    // It can wait: what is in the way (a full disk, damage) is told to whoever writes or looks. Tried with the next
    // run.
    merge_due_ = done.ok() && view_->ToMerge() > 0;
  }
  absl::Status Interrupt() ABSL_LOCKS_EXCLUDED(mutex_) {
    while (true) {
      {
        absl::ReaderMutexLock lock(&mutex_);
        if (!WaitsToBeWritten()) return stop_ ? absl::CancelledError("the index is being closed") : absl::OkStatus();
      }
      WriteOldest();
    }
  }

  uint64_t NewNumber() {
    absl::MutexLock lock(&runs_mutex_);
    return runs_->NewNumber();
  }

  // Has the next Open make a new index when it says that this one is damaged. INTERNAL then: the content that it leads
  // to is not.
  absl::Status Damaged(const absl::Status& status) const {
    if (!absl::IsDataLoss(status)) return status;
    damaged_ = true;
    os::WriteFileAtomically(files_, MarkerOf(path_), std::string(status.message()) + "\n").IgnoreError();
    return absl::InternalError(
        absl::StrCat("chunk index: it is rebuilt from the packs at the agent's next start, which comes by itself: ", status.message()));
  }

  os::Files* const files_;
  const std::string path_;
  absl::Mutex write_mutex_ ABSL_ACQUIRED_BEFORE(runs_mutex_);  // one writer
  absl::Mutex runs_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);        // of the list; held while it is made durable
  const std::unique_ptr<IndexRuns> runs_;  // its Write by the thread alone, the rest with runs_mutex_
  absl::Mutex mutex_;                      // never held while something is written
  Table table_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<const Table>> waiting_ ABSL_GUARDED_BY(mutex_);  // oldest first
  std::shared_ptr<const Table> written_ ABSL_GUARDED_BY(mutex_);  // says what the run made of it says; may be none
  std::shared_ptr<const IndexView> view_ ABSL_GUARDED_BY(mutex_);
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);  // of the last attempt to write what waits
  bool merge_due_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  mutable std::atomic<bool> damaged_{false};
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChunkIndex>> ChunkIndex::Open(const std::string& path, uint64_t filter_bytes) {
  os::Files* const files = os::Files::System();
  // One of an earlier build (RocksDB's) tells nothing of what was written since: it is made anew like a lost one.
  BW_ASSIGN_OR_RETURN(const bool earlier, files->Exists(os::JoinPath(path, "CURRENT")));
  if (earlier) BW_RETURN_IF_ERROR(files->RemoveTree(path));
  BW_ASSIGN_OR_RETURN(const bool marked, files->Exists(MarkerOf(path)));
  absl::StatusOr<std::unique_ptr<IndexRuns>> runs = absl::DataLossError("found damaged while in use");
  if (!marked) runs = IndexRuns::Open(files, path, filter_bytes);
  if (absl::IsDataLoss(runs.status())) {
    // It can be made anew from the sidecars; the last bad one is kept for whoever wants to know why.
    const std::string aside = absl::StrCat(path, ".corrupt");
    BW_RETURN_IF_ERROR(files->RemoveTree(aside));
    if (absl::Status moved = files->Rename(path, aside); !absl::IsNotFound(moved)) BW_RETURN_IF_ERROR(moved);
    if (marked) BW_RETURN_IF_ERROR(files->Remove(MarkerOf(path)));
    runs = IndexRuns::Open(files, path, filter_bytes);
  }
  if (!runs.ok()) return Annotate(runs.status(), "chunk index");
  return std::unique_ptr<ChunkIndex>(std::make_unique<SortedIndex>(files, path, *std::move(runs)));
}

}  // namespace bailiwick::store
