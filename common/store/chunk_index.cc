#include "common/store/chunk_index.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status.h"
#include "common/os/files.h"

namespace bailiwick::store {
namespace {

// Keys: 'C' dataset(16) algorithm(1) digest(32) -> location; 'P' dataset(16) pack(8, big-endian) -> empty.
constexpr char kChunk = 'C';
constexpr char kPack = 'P';
constexpr size_t kValueBytes = 8 + 8 + 4 + 4 + 1 + 8;
constexpr size_t kWriteBufferBytes = 8 << 20;  // two of them at most: bounds RAM and what a crash must read back
constexpr int kMaxOpenFiles = 128;
constexpr size_t kBatch = 4096;

absl::Status FromRocks(const rocksdb::Status& s, std::string_view what) {
  if (s.ok()) return absl::OkStatus();
  const std::string text =
      absl::StrCat("chunk index: ", absl::string_view(what.data(), what.size()), ": ", s.ToString());
  if (s.IsNoSpace()) return absl::ResourceExhaustedError(text);
  if (s.IsCorruption())
    return absl::DataLossError(absl::StrCat(text, "; a restart of the agent rebuilds the index from the packs"));
  return absl::InternalError(text);
}

// Beside the index: it was found corrupt while in use, the next Open makes a new one.
std::string MarkerOf(const std::string& path) { return path + ".damaged"; }

constexpr size_t kChunkKeyBytes = 1 + sizeof(DatasetId::bytes) + 1 + Digest::kSize;
// Keys that share so many bytes are found from each other in the memtable. One more than DropDataset's bounds have:
// RocksDB 7.8 keeps range deletions elsewhere, and would look for their place beside an entry's.
constexpr size_t kHintBytes = 1 + sizeof(DatasetId::bytes) + 1;

// Without an allocation: there are hundreds of thousands a second.
struct ChunkKey {
  ChunkKey(DatasetId dataset, const Digest& digest) {
    bytes[0] = kChunk;
    std::memcpy(bytes + 1, dataset.bytes.data(), sizeof dataset.bytes);
    bytes[1 + sizeof dataset.bytes] = static_cast<char>(digest.algorithm);
    std::memcpy(bytes + 2 + sizeof dataset.bytes, digest.bytes.data(), Digest::kSize);
  }
  operator rocksdb::Slice() const { return {bytes, sizeof bytes}; }
  char bytes[kChunkKeyBytes];
};

// Where the chunks of the packs that were indexed last lie. A version is mostly read right after it was written, by its
// first transfer or for laying it out, and then a look here is ten times as fast as one into the runs.
class Recent {
 public:
  std::optional<ChunkLocation> Get(DatasetId dataset, const Digest& digest) const {
    for (const Map* map : {&young_, &old_}) {
      if (auto it = map->find({dataset, digest}); it != map->end()) return it->second;
    }
    return std::nullopt;
  }
  void Put(DatasetId dataset, std::span<const std::pair<Digest, ChunkLocation>> chunks) {
    for (const auto& [digest, at] : chunks) {
      if (young_.size() >= kGeneration) {
        old_ = std::move(young_);
        young_ = Map();
      }
      young_[{dataset, digest}] = at;
    }
  }
  void Clear() {
    young_ = Map();
    old_ = Map();
  }

 private:
  static constexpr size_t kGeneration = (64 << 10) / 8 * 7;  // what 64 Ki slots hold; two of them: 13 MiB
  using Map = absl::flat_hash_map<std::pair<DatasetId, Digest>, ChunkLocation>;
  Map young_, old_;
};

std::string PackKey(DatasetId dataset, PackId pack) {
  std::string key(1, kPack);
  key.append(dataset.view());
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(pack >> shift));
  return key;
}

template <typename T>
void Put(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}
template <typename T>
T Take(std::string_view& in) {
  T value;
  std::memcpy(&value, in.data(), sizeof value);
  in.remove_prefix(sizeof value);
  return value;
}

std::string EncodeLocation(const ChunkLocation& l) {
  std::string out;
  Put(out, l.pack);
  Put(out, l.offset);
  Put(out, l.stored_length);
  Put(out, l.raw_length);
  Put(out, l.codec);
  Put(out, l.checksum);
  return out;
}

absl::StatusOr<ChunkLocation> DecodeLocation(std::string_view in) {
  if (in.size() != kValueBytes) return absl::DataLossError("chunk index: an entry of the wrong size");
  ChunkLocation l;
  l.pack = Take<PackId>(in);
  l.offset = Take<uint64_t>(in);
  l.stored_length = Take<uint32_t>(in);
  l.raw_length = Take<uint32_t>(in);
  l.codec = Take<uint8_t>(in);
  l.checksum = Take<uint64_t>(in);
  return l;
}

class RocksIndex : public ChunkIndex {
 public:
  RocksIndex(std::unique_ptr<rocksdb::DB> db, std::string path) : path_(std::move(path)), db_(std::move(db)) {}
  ~RocksIndex() override { Flush().IgnoreError(); }

  absl::StatusOr<std::optional<ChunkLocation>> Get(DatasetId dataset, const Digest& digest) override {
    {
      absl::ReaderMutexLock lock(&recent_mutex_);
      if (auto at = recent_.Get(dataset, digest)) return at;
    }
    rocksdb::PinnableSlice value;
    rocksdb::Status s = db_->Get(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), ChunkKey(dataset, digest), &value);
    if (s.IsNotFound()) return std::nullopt;
    BW_RETURN_IF_ERROR(Checked(s, "read"));
    BW_ASSIGN_OR_RETURN(ChunkLocation l, DecodeLocation({value.data(), value.size()}));
    return l;
  }

  absl::StatusOr<std::vector<std::optional<ChunkLocation>>> GetMany(DatasetId dataset,
                                                                    std::span<const Digest> digests) override {
    std::vector<std::optional<ChunkLocation>> out(digests.size());
    std::vector<size_t> asked;  // of the runs
    {
      absl::ReaderMutexLock lock(&recent_mutex_);
      for (size_t i = 0; i < digests.size(); ++i) {
        out[i] = recent_.Get(dataset, digests[i]);
        if (!out[i].has_value()) asked.push_back(i);
      }
    }
    std::vector<ChunkKey> keys;
    keys.reserve(asked.size());
    for (size_t i : asked) keys.emplace_back(dataset, digests[i]);
    std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
    std::vector<rocksdb::PinnableSlice> values(keys.size());
    std::vector<rocksdb::Status> statuses(keys.size());
    db_->MultiGet(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), slices.size(), slices.data(), values.data(),
                  statuses.data());
    for (size_t i = 0; i < keys.size(); ++i) {
      if (statuses[i].IsNotFound()) continue;
      BW_RETURN_IF_ERROR(Checked(statuses[i], "read"));
      BW_ASSIGN_OR_RETURN(out[asked[i]], DecodeLocation({values[i].data(), values[i].size()}));
    }
    return out;
  }

  absl::Status PutPack(DatasetId dataset, PackId pack,
                       std::span<const std::pair<Digest, ChunkLocation>> chunks) override {
    absl::MutexLock lock(&write_mutex_);
    // The mark goes with the last batch: a pack whose mark is there has all its entries.
    rocksdb::WriteBatch batch;
    std::vector<uint32_t> order(chunks.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return chunks[a].first < chunks[b].first; });
    for (size_t i = 0; i < order.size(); ++i) {
      const auto& [digest, at] = chunks[order[i]];
      batch.Put(ChunkKey(dataset, digest), EncodeLocation(at));
      if (i % kBatch == kBatch - 1) {
        BW_RETURN_IF_ERROR(Write(&batch));
        batch.Clear();
      }
    }
    batch.Put(PackKey(dataset, pack), "");
    BW_RETURN_IF_ERROR(Write(&batch));
    absl::MutexLock recent_lock(&recent_mutex_);
    recent_.Put(dataset, chunks);
    return absl::OkStatus();
  }

  absl::StatusOr<bool> HasPack(DatasetId dataset, PackId pack) override {
    std::string value;
    rocksdb::Status s = db_->Get(rocksdb::ReadOptions(), PackKey(dataset, pack), &value);
    if (s.IsNotFound()) return false;
    BW_RETURN_IF_ERROR(Checked(s, "read"));
    return true;
  }

  absl::Status DropPack(DatasetId dataset, PackId pack, std::span<const Digest> digests) override {
    // Not between the look and the removal may another pack come to hold the chunk.
    absl::MutexLock lock(&write_mutex_);
    ForgetRecent();
    rocksdb::WriteBatch batch;
    batch.Delete(PackKey(dataset, pack));
    for (size_t i = 0; i < digests.size(); ++i) {
      BW_ASSIGN_OR_RETURN(std::optional<ChunkLocation> at, Get(dataset, digests[i]));
      if (at.has_value() && at->pack == pack) batch.Delete(ChunkKey(dataset, digests[i]));
      if (i % kBatch == kBatch - 1) {
        BW_RETURN_IF_ERROR(Write(&batch));
        batch.Clear();
      }
    }
    return Write(&batch);
  }

  absl::Status Forget(DatasetId dataset, const Digest& digest, PackId pack) override {
    absl::MutexLock lock(&write_mutex_);
    ForgetRecent();
    BW_ASSIGN_OR_RETURN(std::optional<ChunkLocation> at, Get(dataset, digest));
    if (!at.has_value() || at->pack != pack) return absl::OkStatus();
    rocksdb::WriteBatch batch;
    batch.Delete(ChunkKey(dataset, digest));
    return Write(&batch);
  }

  absl::Status DropDataset(DatasetId dataset) override {
    absl::MutexLock lock(&write_mutex_);
    ForgetRecent();
    for (char kind : {kChunk, kPack}) {
      std::string from(1, kind), to(1, kind);
      from.append(dataset.view());
      to.append(dataset.view());
      to.append(64, '\xff');
      BW_RETURN_IF_ERROR(Checked(db_->DeleteRange(Options(), db_->DefaultColumnFamily(), from, to), "delete"));
    }
    return absl::OkStatus();
  }

  absl::Status Flush() override { return Checked(db_->Flush(rocksdb::FlushOptions()), "flush"); }

 private:
  static rocksdb::WriteOptions Options() {
    rocksdb::WriteOptions o;
    o.disableWAL = true;  // the packs' sidecars are the log
    return o;
  }
  absl::Status Checked(const rocksdb::Status& s, std::string_view what) const {
    if (s.IsCorruption()) std::ofstream(MarkerOf(path_)) << s.ToString() << "\n";
    return FromRocks(s, what);
  }
  absl::Status Write(rocksdb::WriteBatch* batch) { return Checked(db_->Write(Options(), batch), "write"); }
  // Before anything is removed. What is removed stays out: only a PutPack, which waits for write_mutex_, brings more.
  void ForgetRecent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_) {
    absl::MutexLock lock(&recent_mutex_);
    recent_.Clear();
  }
  const std::string path_;
  std::unique_ptr<rocksdb::DB> db_;
  absl::Mutex write_mutex_;  // taken before recent_mutex_
  absl::Mutex recent_mutex_;
  Recent recent_ ABSL_GUARDED_BY(recent_mutex_);
};

rocksdb::Options IndexOptions(uint64_t cache_bytes) {
  rocksdb::Options o;
  o.create_if_missing = true;
  o.write_buffer_size = kWriteBufferBytes;
  o.max_write_buffer_number = 2;
  // Most looks are for chunks that are new: they shall not search what waits to be written.
  o.memtable_whole_key_filtering = true;
  o.memtable_prefix_bloom_size_ratio = 0.1;
  // One writer, whose batches are in the order of the keys: each entry's place is found from the one before.
  o.allow_concurrent_memtable_write = false;
  o.memtable_insert_with_hint_prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kHintBytes));
  o.max_open_files = kMaxOpenFiles;
  o.keep_log_file_num = 2;
  o.max_background_jobs = 2;
  o.compression = rocksdb::kNoCompression;  // digests do not compress
  // Its own log and manifest stay small however long the agent runs.
  o.max_log_file_size = 1 << 20;
  o.info_log_level = rocksdb::WARN_LEVEL;
  o.max_manifest_file_size = 4 << 20;
  o.stats_dump_period_sec = 0;
  o.stats_persist_period_sec = 0;
  rocksdb::BlockBasedTableOptions table;
  // Filters and indexes in pieces, so that a lookup never needs one whole in the cache.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.metadata_block_size = 4096;
  table.block_size = 4096;  // a look reads and checks one of them
  table.block_cache = rocksdb::NewLRUCache(cache_bytes);
  // What waits to be written counts as cached: one bound for both.
  o.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(size_t{2} * kWriteBufferBytes, table.block_cache);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return o;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChunkIndex>> ChunkIndex::Open(const std::string& path, uint64_t cache_bytes) {
  rocksdb::DB* db = nullptr;
  std::error_code error;
  rocksdb::Status s;
  const bool marked = std::filesystem::exists(MarkerOf(path), error);
  // RocksDB would make it for all to read, and does so with what is in it.
  BW_RETURN_IF_ERROR(os::Files::System()->MakeDirs(path));
  std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  if (!marked) s = rocksdb::DB::Open(IndexOptions(cache_bytes), path, &db);
  if (marked || s.IsCorruption() || s.IsInvalidArgument()) {
    // It can be made anew from the sidecars; the bad one is kept for whoever wants to know why.
    for (int n = 1; n < 1000; ++n) {
      const std::string aside = absl::StrCat(path, ".corrupt-", n);
      if (std::filesystem::exists(aside, error)) continue;
      std::filesystem::rename(path, aside, error);
      break;
    }
    std::filesystem::remove(MarkerOf(path), error);
    BW_RETURN_IF_ERROR(os::Files::System()->MakeDirs(path));
    s = rocksdb::DB::Open(IndexOptions(cache_bytes), path, &db);
  }
  BW_RETURN_IF_ERROR(FromRocks(s, absl::StrCat("open ", path)));
  return std::unique_ptr<ChunkIndex>(std::make_unique<RocksIndex>(std::unique_ptr<rocksdb::DB>(db), path));
}

}  // namespace bailiwick::store
