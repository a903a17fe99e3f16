// Garbage collection of a dataset store, beside commits and reads.
//
// Condemn first, then wait for the writers that could have built on what is condemned, then mark again: what the second
// mark does not reach, nobody that is open can still build on. Writers that come later and ask for a chunk of a
// condemned pack rescue it: it is copied as if it were live. Drops of versions must not happen between the two marks
// (the caller runs them in the same lane of work).
#include <algorithm>

#include "common/base/status.h"
#include "common/os/clock.h"
#include "common/store/store_impl.h"

namespace bailiwick::store {
namespace {

// A longer transfer or commit puts a collection off; what a law or an order wants gone waits for longer.
constexpr absl::Duration kWriterPatience = absl::Seconds(5), kThoroughPatience = absl::Minutes(10);
// Of what a pack may be, so that merging small ones makes fewer: else the same would be written over and over.
constexpr uint64_t kSmallPackBytes = kPackBytes / 16;
constexpr uint64_t kSmallPackChunks = kPackChunks / 16;
constexpr size_t kManySmallPacks = 64;

}  // namespace

bool StoreImpl::IsSmall(const Pack& pack) { return pack.bytes < kSmallPackBytes && pack.chunks < kSmallPackChunks; }

// Those of a pack's entries that must survive it: live, and not found in another pack. One that is live but in no pack
// by the index is taken too: that is how a lost index entry comes back.
absl::StatusOr<PackEntries> StoreImpl::LiveEntries(PackId pack, const PackEntries& entries, const LiveSet& live) {
  PackEntries reached;
  std::vector<Digest> digests;
  for (const auto& e : entries) {
    if (!live.Contains(e.first)) continue;
    if (options_.redactions != nullptr && options_.redactions->Erases(e.first)) continue;
    reached.push_back(e);
    digests.push_back(e.first);
  }
  BW_ASSIGN_OR_RETURN(auto locations, Locate(digests));
  PackEntries out;
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < reached.size(); ++i) {
    const bool elsewhere =
        locations[i].has_value() && locations[i]->pack != pack && packs_.contains(locations[i]->pack);
    if (!elsewhere) out.push_back(reached[i]);
  }
  return out;
}

// What must go needs its list of records. A plain pack that nobody can read goes all the same when the dataset is
// encrypted.
absl::Status StoreImpl::MendSidecar(PackId pack, bool encrypted, bool to_encrypt) {
  if (!absl::IsDataLoss(ReadSidecar(pack, encrypted).status())) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, options_.files->OpenRead(PackPath(pack, encrypted)));
  BW_ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  uint64_t valid = 0;
  auto entries = Scan(*file, pack, encrypted, PackScan::kWhatIsWhole, &valid);
  const bool readable = entries.ok() && !entries->empty();
  if (!readable && !to_encrypt) return absl::OkStatus();
  return WriteSidecar(pack, encrypted, size, entries.ok() ? *entries : PackEntries{});
}

absl::StatusOr<std::vector<StoreImpl::Candidate>> StoreImpl::ChooseCandidates(const LiveSet& live, bool thorough) {
  std::map<PackId, Pack> packs;
  bool encrypting = false;
  {
    absl::MutexLock lock(&mutex_);
    BW_RETURN_IF_ERROR(locked_);
    packs.insert(packs_.begin(), packs_.end());
    encrypting = cipher_ != nullptr;
  }
  const size_t small = std::count_if(packs.begin(), packs.end(), [](const auto& p) { return IsSmall(p.second); });
  std::vector<Candidate> candidates;
  for (const auto& [pack, known] : packs) {
    const uint64_t bytes = known.bytes;
    const bool to_encrypt = encrypting && !known.encrypted;
    if (to_encrypt || thorough) BW_RETURN_IF_ERROR(MendSidecar(pack, known.encrypted, to_encrypt));
    auto entries = ReadSidecar(pack);
    if (!entries.ok() && thorough) return entries.status();
    if (!entries.ok()) continue;  // what cannot be read is not judged
    BW_ASSIGN_OR_RETURN(PackEntries reached, LiveEntries(pack, *entries, live));
    uint64_t live_bytes = 0;
    for (const auto& e : reached) live_bytes += kRecordHeaderBytes + e.second.stored_length;
    const bool merge = small > kManySmallPacks && IsSmall(known);
    const bool dead = thorough && reached.size() < entries->size();
    if (live_bytes * 2 < bytes || merge || to_encrypt || dead) {
      candidates.push_back({pack, bytes, live_bytes, reached.size(), to_encrypt || thorough});
    }
  }
  // What needs no copying goes first: on a full disk that is what makes room.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.live_bytes < b.live_bytes; });
  return candidates;
}

uint64_t StoreImpl::NewTicket() {
  absl::MutexLock lock(&mutex_);
  return next_ticket_++;
}

absl::Status StoreImpl::WaitForWriters(uint64_t before, absl::Duration patience, absl::Duration* waited) {
  const absl::Duration began = os::Clock::System()->BootTime();
  absl::MutexLock lock(&mutex_);
  auto gone = [this, before]()
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return writers_.empty() || *writers_.begin() >= before; };
  const bool ended = mutex_.AwaitWithTimeout(absl::Condition(&gone), patience);
  *waited += os::Clock::System()->BootTime() - began;
  return ended ? absl::OkStatus()
               : absl::UnavailableError("a transfer or commit that still writes did not end in time");
}

absl::StatusOr<bool> StoreImpl::CopySurvivors(PackId pack, const LiveSet& live, bool must_go, PackWriter* writer,
                                              absl::flat_hash_set<Digest>* copied) {
  BW_ASSIGN_OR_RETURN(PackEntries entries, ReadSidecar(pack));
  BW_ASSIGN_OR_RETURN(PackEntries survivors, LiveEntries(pack, entries, live));
  bool whole = true;
  for (const auto& [digest, at] : survivors) {
    bool unreadable = false;
    auto chunk = ReadAt(digest, at, &unreadable);
    if (absl::IsDataLoss(chunk.status()) && unreadable && must_go) {  // it may be read another time
      return absl::UnavailableError(absl::StrCat("pack ", pack, " cannot be read just now"));
    }
    if (absl::IsDataLoss(chunk.status())) {
      whole = false;  // where the pack need not go it stays until the chunk was fetched anew
      continue;
    }
    BW_RETURN_IF_ERROR(chunk.status());
    const std::string_view part = chunk->bytes;
    BW_RETURN_IF_ERROR(
        writer->Append(digest, {.codec = chunk->codec, .raw_length = chunk->raw_length, .parts = {&part, 1}}));
    copied->insert(digest);
  }
  return whole;
}

absl::StatusOr<bool> StoreImpl::TakeOut(PackId pack, const absl::flat_hash_set<Digest>& copied,
                                        const absl::flat_hash_set<Digest>& handled, std::vector<Digest>* missing) {
  BW_ASSIGN_OR_RETURN(PackEntries entries, ReadSidecar(pack));
  absl::MutexLock lock(&mutex_);
  for (const auto& [digest, at] : entries) {
    if (rescued_.contains(digest) && !copied.contains(digest) && !handled.contains(digest)) missing->push_back(digest);
  }
  if (!missing->empty()) return false;
  auto known = packs_.find(pack);
  if (known == packs_.end()) return true;  // its file was removed meanwhile: MissRemovedPacks
  leaving_[pack] = known->second.encrypted;
  packs_.erase(known);
  ForgetFile(pack);
  return true;
}

// What a removal that failed left is known until it is gone: nobody may sign before that it is.
absl::Status StoreImpl::RemoveLeaving() {
  std::map<PackId, bool> packs;
  {
    absl::MutexLock lock(&mutex_);
    packs = leaving_;
  }
  if (packs.empty()) return absl::OkStatus();
  auto remove = [this](const std::string& path) {
    absl::Status removed = options_.files->Remove(path);
    return absl::IsNotFound(removed) ? absl::OkStatus() : removed;  // by the removal before
  };
  for (const auto& [pack, encrypted] : packs) {
    absl::StatusOr<PackEntries> entries = ReadSidecar(pack, encrypted);
    if (absl::IsNotFound(entries.status())) continue;
    BW_RETURN_IF_ERROR(entries.status());
    BW_RETURN_IF_ERROR(UnindexPack(pack, encrypted, *entries));
  }
  // The index forgets for good before the files go: it has no log of its own, and entries of lost packs would stay in
  // it.
  BW_RETURN_IF_ERROR(options_.index->Flush());
  for (const auto& [pack, encrypted] : packs) {
    BW_RETURN_IF_ERROR(remove(PackPath(pack, encrypted)));
    BW_RETURN_IF_ERROR(remove(SidecarPath(pack, encrypted)));
  }
  BW_RETURN_IF_ERROR(options_.files->SyncDir(packs_directory()));
  absl::MutexLock lock(&mutex_);
  for (const auto& [pack, encrypted] : packs) plain_packs_ -= leaving_.erase(pack) != 0 && !encrypted ? 1 : 0;
  return absl::OkStatus();
}

absl::Status StoreImpl::Sweep(const std::vector<Candidate>& candidates, const LiveSet& live, GcResult* result) {
  size_t next = 0;
  while (next < candidates.size()) {
    // A group at a time, so that the room of one is there for the copies of the next. Survivors are durable before
    // anything goes.
    std::unique_ptr<PackWriter> writer = MakeWriter(PackWriter::Room::kAll);
    absl::flat_hash_set<Digest> copied;
    std::vector<Candidate> group;
    uint64_t bytes = 0, chunks = 0;
    auto fits = [&] {
      if (group.empty()) return true;
      // What needs no room does not wait for what does.
      if (group.front().live_bytes == 0 && candidates[next].live_bytes > 0) return false;
      return bytes + candidates[next].live_bytes <= kPackBytes && chunks + candidates[next].live_chunks <= kPackChunks;
    };
    while (next < candidates.size() && fits()) {
      const Candidate& candidate = candidates[next++];
      bytes += candidate.live_bytes;
      chunks += candidate.live_chunks;
      BW_ASSIGN_OR_RETURN(bool whole, CopySurvivors(candidate.pack, live, candidate.must_go, writer.get(), &copied));
      if (whole || candidate.must_go) group.push_back(candidate);
    }
    BW_RETURN_IF_ERROR(writer->Flush());
    uint64_t freed = 0, removed = 0;
    for (const Candidate& candidate : group) {
      absl::flat_hash_set<Digest> handled;  // rescued, but found in another pack
      bool whole = true;
      while (whole) {
        std::vector<Digest> missing;
        BW_ASSIGN_OR_RETURN(bool taken, TakeOut(candidate.pack, copied, handled, &missing));
        if (taken) {
          ++removed;
          freed += candidate.bytes;
          break;
        }
        LiveSet more(missing.size(), /*exact=*/true);
        for (const Digest& digest : missing) more.Add(digest);
        BW_ASSIGN_OR_RETURN(bool copied_all,
                            CopySurvivors(candidate.pack, more, candidate.must_go, writer.get(), &copied));
        whole = copied_all || candidate.must_go;
        handled.insert(missing.begin(), missing.end());
        BW_RETURN_IF_ERROR(writer->Flush());
      }
    }
    BW_RETURN_IF_ERROR(RemoveLeaving());
    result->packs_removed += removed;
    result->freed_bytes += freed > writer->stored_bytes() ? freed - writer->stored_bytes() : 0;
  }
  return absl::OkStatus();
}

absl::StatusOr<DatasetStore::GcResult> StoreImpl::CollectGarbage(const Mark& mark) {
  absl::MutexLock one(&gc_mutex_);
  return Collect(mark, /*thorough=*/false);
}

absl::StatusOr<DatasetStore::GcResult> StoreImpl::Purge(const Mark& mark) {
  absl::MutexLock one(&gc_mutex_);
  return Collect(mark, /*thorough=*/true);
}

absl::Status StoreImpl::EraseAll() {
  absl::MutexLock one(&gc_mutex_);
  absl::Duration waited;
  BW_RETURN_IF_ERROR(WaitForWriters(NewTicket(), kThoroughPatience, &waited));
  // The key first: from here on all is noise, however long the rest takes.
  BW_RETURN_IF_ERROR(CryptoErase().status());
  {
    absl::MutexLock lock(&mutex_);
    packs_.clear();  // nobody finds anything any more
    unusable_.clear();
    leaving_.clear();
    plain_packs_ = 0;
    files_.clear();
    quarantined_.clear();
  }
  // The index forgets for good before the files go: it has no log of its own.
  BW_RETURN_IF_ERROR(options_.index->DropDataset(options_.dataset));
  BW_RETURN_IF_ERROR(options_.index->Flush());
  for (const std::string& directory : {packs_directory(), options_.directory}) {
    BW_ASSIGN_OR_RETURN(std::vector<std::string> names, options_.files->List(directory));
    for (const std::string& name : names) {
      if (os::JoinPath(directory, name) == packs_directory()) continue;
      BW_RETURN_IF_ERROR(options_.files->RemoveTree(os::JoinPath(directory, name)));
    }
    BW_RETURN_IF_ERROR(options_.files->SyncDir(directory));
  }
  return Unlock();  // begins anew when it was encrypted
}

absl::StatusOr<DatasetStore::GcResult> StoreImpl::Collect(const Mark& mark, bool thorough) {
  GcResult result;
  const absl::Duration patience = thorough ? kThoroughPatience : kWriterPatience;
  // Before anything is looked at: all of it would be in vain.
  BW_RETURN_IF_ERROR(WaitForWriters(NewTicket(), patience, &result.waited));
  BW_RETURN_IF_ERROR(RemoveLeaving());
  if (thorough) BW_RETURN_IF_ERROR(RecoverUnusable());
  uint64_t chunks = 0;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, pack] : packs_) chunks += pack.chunks;
  }
  std::optional<LiveSet> live(std::in_place, chunks, thorough);
  auto collect = [&live](const Digest& digest) { live->Add(digest); };
  if (mark) {
    BW_RETURN_IF_ERROR(mark(collect));
  } else {
    live->AddAll();
  }
  BW_ASSIGN_OR_RETURN(std::vector<Candidate> candidates, ChooseCandidates(*live, thorough));
  if (candidates.empty()) return result;
  {
    absl::MutexLock lock(&mutex_);
    for (const Candidate& c : candidates) condemned_.insert(c.pack);
  }
  absl::Status status = WaitForWriters(NewTicket(), patience, &result.waited);
  if (status.ok()) {
    if (mark) {
      live.emplace(chunks, thorough);
      status = mark(collect);
    }
    if (status.ok()) status = Sweep(candidates, *live, &result);
  }
  {
    absl::MutexLock lock(&mutex_);
    condemned_.clear();
    rescued_.clear();
  }
  if (!status.ok() && (thorough || result.packs_removed == 0)) return status;
  if (thorough && result.packs_removed < candidates.size()) {
    return absl::UnavailableError("a pack that had to go is still there");
  }
  return result;
}

}  // namespace bailiwick::store
