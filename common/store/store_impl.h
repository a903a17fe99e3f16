// The dataset store's insides, shared by its files. Private to the store.
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "common/store/dataset_store.h"
#include "common/store/live_set.h"
#include "common/store/pack.h"
#include "common/store/pack_seal.h"

namespace bailiwick::store {

class OpenPack;
class StoreImpl;

// Threads take turns; its mutex is taken before the store's.
class PackWriter : public DatasetStore::Writer {
 public:
  static constexpr size_t kBufferBytes = 1 << 20;
  enum class Room { kAboveReserve, kAll /* for what makes room */ };

  PackWriter(StoreImpl* store, uint64_t ticket, Room room) : store_(store), ticket_(ticket), room_(room) {}
  ~PackWriter() override;
  using Writer::Put;
  absl::StatusOr<bool> Put(const Digest& digest, const ChunkParts& chunk) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status PutMissing(const Digest& digest, const ChunkParts& chunk) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Flush() override ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t stored_bytes() const override { return stored_bytes_.load(std::memory_order_relaxed); }
  // Whether the store has it or not, only not twice into one pack.
  absl::Status Append(const Digest& digest, const ChunkParts& chunk) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status Check(const Digest& digest, const ChunkParts& chunk) const;
  absl::Status AppendLocked(const Digest& digest, const ChunkParts& chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Seal() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Abandon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SaveWhatIsThere() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  StoreImpl* const store_;
  const uint64_t ticket_;
  const Room room_;
  std::atomic<uint64_t> stored_bytes_{0};
  absl::Mutex mutex_;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<OpenPack> pack_ ABSL_GUARDED_BY(mutex_);
  bool has_sidecar_ ABSL_GUARDED_BY(mutex_) = false;  // the pack is sealed on disk
};

class StoreImpl : public DatasetStore {
 public:
  static constexpr size_t kOpenFiles = 8;  // 100 datasets in a process stay under 1,000 descriptors

  explicit StoreImpl(Options options) : options_(std::move(options)) {}
  absl::Status Recover();

  std::unique_ptr<Writer> NewWriter() override;
  absl::Status CheckRoom() override;
  absl::StatusOr<bool> Has(const Digest& digest) override;
  absl::StatusOr<std::vector<bool>> HasMany(std::span<const Digest> digests) override;
  absl::Status MissRemovedPacks() override;
  uint64_t losses() const override { return losses_; }
  absl::StatusOr<StoredChunk> Read(const Digest& digest) override;
  std::vector<absl::StatusOr<ChunkView>> ReadMany(std::span<const Digest> digests) override;
  absl::StatusOr<std::string> ReadRaw(const Digest& digest) override;
  absl::StatusOr<GcResult> CollectGarbage(const Mark& mark) override;
  absl::StatusOr<GcResult> Purge(const Mark& mark) override;
  absl::Status EraseAll() override;
  absl::StatusOr<uint64_t> CountStored(std::span<const Digest> digests) override;
  absl::StatusOr<StoreStats> Stats() override;
  AtRest at_rest() override;
  absl::Status Encrypt(const std::string& wrapping_key) override;
  absl::Status Unlock() override;
  absl::StatusOr<bool> CryptoErase() override;

 private:
  friend class PackWriter;
  std::unique_ptr<PackWriter> MakeWriter(PackWriter::Room room);
  // Null: not redacted.
  std::shared_ptr<const Redaction> Redacted(const Digest& digest) const {
    return options_.redactions == nullptr ? nullptr : options_.redactions->FindChunk(digest);
  }
  struct Pack {  // a finished one
    uint64_t bytes = 0;
    uint64_t chunks = 0;
    bool encrypted = false;
  };
  static bool IsSmall(const Pack& pack);
  struct PackFile {  // open for reading
    PackId pack = 0;
    std::shared_ptr<os::File> file;
    std::shared_ptr<const PackCipher> cipher;  // null: plain
  };
  std::string PackPath(PackId pack, bool encrypted) const;
  std::string SidecarPath(PackId pack, bool encrypted) const;
  std::string packs_directory() const;
  PackId NewPackId();

  absl::Status RecoverPacks();
  absl::Status RecoverPack(PackId pack, bool encrypted);
  // Those that could not be opened, again. UNAVAILABLE: one cannot.
  absl::Status RecoverUnusable();
  absl::Status RecoverSealed(PackId pack, bool encrypted);
  absl::Status RecoverUnfinished(PackId pack, bool encrypted);
  absl::StatusOr<PackEntries> Scan(os::File& file, PackId pack, bool encrypted, PackScan scan, uint64_t* valid_bytes);
  absl::Status WriteSidecar(PackId pack, bool encrypted, uint64_t bytes, const PackEntries& entries);
  absl::StatusOr<PackEntries> ReadSidecar(PackId pack, bool encrypted);
  uint64_t CountInSidecar(PackId pack, bool encrypted);  // by its size, unread; 0 when it cannot be opened
  absl::StatusOr<PackEntries> ReadSidecar(PackId pack);  // of one that is known

  // Keys, see store_keys.cc.
  absl::Status LoadKey();
  absl::Status Lock(const absl::Status& why);
  // Null when plain. FAILED_PRECONDITION: locked.
  absl::StatusOr<std::shared_ptr<const DatasetCipher>> Cipher();
  // Of what is encrypted: never null.
  absl::StatusOr<std::shared_ptr<const DatasetCipher>> NeedCipher();
  // The index, in which the chunks of an encrypted dataset have blinded names. Those of plain packs keep their own.
  absl::StatusOr<std::vector<std::optional<ChunkLocation>>> Locate(std::span<const Digest> digests);
  absl::StatusOr<std::optional<ChunkLocation>> Locate(const Digest& digest);
  absl::Status IndexPack(PackId pack, bool encrypted, const PackEntries& entries);
  absl::Status UnindexPack(PackId pack, bool encrypted, const PackEntries& entries);

  // Whether a sealed pack that may be built on holds it. Saying yes of a condemned pack rescues the chunk.
  bool Usable(const Digest& digest, const std::optional<ChunkLocation>& at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<const PackFile>> OpenPackFile(PackId pack);
  // DATA_LOSS: it is not what it was (and is quarantined), or, when `unreadable` becomes true, the disk
  // does not give it.
  absl::StatusOr<StoredChunk> ReadAt(const Digest& digest, const ChunkLocation& at, bool* unreadable = nullptr);
  bool BeginsReadably(PackId pack);  // whatever it says there
  // Reads what lies in order and close together in one pack; false: nothing was read, read each by itself.
  bool ReadRun(PackId pack, std::span<const ChunkLocation> run, std::vector<ChunkView>* out);
  absl::StatusOr<ChunkView> ReadAlone(const Digest& digest);
  // `for_good`: also after a restart.
  absl::Status Quarantine(const Digest& digest, PackId pack, bool for_good = true);
  void ForgetFile(PackId pack) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Garbage collection, see gc.cc.
  struct Candidate {
    PackId pack = 0;
    uint64_t bytes = 0;
    uint64_t live_bytes = 0;  // as it was when the pack was chosen, like
    uint64_t live_chunks = 0;
    bool must_go = false;  // also when something in it is damaged, so long as all of it can be read
  };
  absl::Status MendSidecar(PackId pack, bool encrypted, bool to_encrypt);
  // `thorough`: also packs of which only a little is dead; an unreadable one is then DATA_LOSS.
  absl::StatusOr<std::vector<Candidate>> ChooseCandidates(const LiveSet& live, bool thorough);
  absl::StatusOr<GcResult> Collect(const Mark& mark, bool thorough) ABSL_EXCLUSIVE_LOCKS_REQUIRED(gc_mutex_);
  absl::StatusOr<PackEntries> LiveEntries(PackId pack, const PackEntries& entries, const LiveSet& live);
  absl::Status Sweep(const std::vector<Candidate>& candidates, const LiveSet& live, GcResult* result);
  // Copies what must survive; false when something of it is damaged, so that the pack must stay. `must_go`: where that
  // does not keep it, what cannot be read now does (UNAVAILABLE).
  absl::StatusOr<bool> CopySurvivors(PackId pack, const LiveSet& live, bool must_go, PackWriter* writer,
                                     absl::flat_hash_set<Digest>* copied);
  // Nobody finds the pack from here on; false when chunks of it were rescued that are neither copied nor handled: those
  // are `missing`.
  absl::StatusOr<bool> TakeOut(PackId pack, const absl::flat_hash_set<Digest>& copied,
                               const absl::flat_hash_set<Digest>& handled, std::vector<Digest>* missing);
  absl::Status RemoveLeaving();
  uint64_t NewTicket() ABSL_LOCKS_EXCLUDED(mutex_);
  // That those end which are older than the ticket. UNAVAILABLE: not in time.
  absl::Status WaitForWriters(uint64_t before, absl::Duration patience, absl::Duration* waited);

  const Options options_;
  absl::Mutex key_mutex_;  // one change of keys at a time; taken before mutex_
  absl::Mutex gc_mutex_;   // one collection at a time
  absl::Mutex mutex_;      // never held over I/O
  absl::flat_hash_map<PackId, Pack> packs_ ABSL_GUARDED_BY(mutex_);  // sealed
  std::map<PackId, bool> unusable_ ABSL_GUARDED_BY(mutex_);          // could not be opened; whether encrypted
  std::map<PackId, bool> leaving_ ABSL_GUARDED_BY(mutex_);           // taken out, with files that may be there yet
  uint64_t plain_packs_ ABSL_GUARDED_BY(mutex_) = 0;                 // of them, not encrypted
  absl::Status locked_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const DatasetCipher> cipher_ ABSL_GUARDED_BY(mutex_);  // null: no data key
  std::string wrapping_key_ ABSL_GUARDED_BY(mutex_);
  PackId newest_pack_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_set<PackId> condemned_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<Digest> rescued_ ABSL_GUARDED_BY(mutex_);  // asked for since their pack was condemned
  absl::flat_hash_set<Digest> quarantined_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> losses_{0};
  std::map<PackId, std::shared_ptr<OpenPack>> open_ ABSL_GUARDED_BY(mutex_);  // being written
  std::set<uint64_t> writers_ ABSL_GUARDED_BY(mutex_);                        // tickets of open ones
  uint64_t next_ticket_ ABSL_GUARDED_BY(mutex_) = 1;
  std::list<std::shared_ptr<const PackFile>> files_ ABSL_GUARDED_BY(mutex_);  // newest first
};

// A pack while it is written: its writer appends, any thread reads. Readers share it, so it may outlive its writer.
class OpenPack {
 public:
  // `header` is how the pack begins; `cipher` null: plain.
  OpenPack(PackId id, std::string header, std::shared_ptr<os::File> file, std::shared_ptr<const PackCipher> cipher);

  PackId id() const { return id_; }
  bool encrypted() const { return cipher_ != nullptr; }
  bool Contains(const Digest& digest) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::optional<StoredChunk>> Read(const Digest& digest) ABSL_LOCKS_EXCLUDED(mutex_);

  // The writer's thread only. Bytes of the pack once all is written out.
  uint64_t Append(const Digest& digest, const ChunkParts& chunk) ABSL_LOCKS_EXCLUDED(mutex_);
  // Writes out what is buffered if there are at least so many bytes of it. On an error the file ends with its last
  // whole record.
  absl::Status WriteOut(size_t at_least) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Sync() { return file_->Sync(); }  // without the lock: reads go on
  // Drops what was not written out, and whole records from the end until `bytes` are free.
  absl::Status CutBack(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  const PackEntries& entries() const { return entries_; }
  uint64_t written() ABSL_LOCKS_EXCLUDED(mutex_);
  size_t buffered() ABSL_LOCKS_EXCLUDED(mutex_);  // bytes that wait to be written

 private:
  const PackId id_;
  const size_t header_bytes_;
  const std::shared_ptr<os::File> file_;
  const std::shared_ptr<const PackCipher> cipher_;
  uint64_t EndOf(const ChunkLocation& at) const;
  PackEntries entries_;  // in order; guarded by the writer
  absl::Mutex mutex_;
  absl::flat_hash_map<Digest, ChunkLocation> chunks_ ABSL_GUARDED_BY(mutex_);
  std::string buffer_ ABSL_GUARDED_BY(mutex_);
  uint64_t written_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes of the file
};

}  // namespace bailiwick::store
