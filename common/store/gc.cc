// Garbage collection of a dataset store, beside commits and reads.
//
// Condemn first, then wait for the writers that could have built on what is condemned, then mark again: what the second mark does
// not reach, nobody can come to need. Drops of versions must not happen between the two marks (the caller runs them in the same
// lane of work).
#include <algorithm>
#include <cstring>

#include "common/base/status.h"
#include "common/store/store_impl.h"

namespace bailiwick::store {
namespace {

constexpr absl::Duration kWriterPatience = absl::Minutes(10);  // a longer transfer puts the collection off
constexpr uint64_t kSmallPackBytes = 4 << 20;
constexpr size_t kManySmallPacks = 64;

uint64_t Head(const Digest& digest) {
  uint64_t head;
  std::memcpy(&head, digest.bytes.data(), sizeof head);
  return head;  // a clash keeps one dead chunk, no more
}

}  // namespace

absl::StatusOr<PackEntries> StoreImpl::LiveEntries(PackId pack, const PackEntries& entries,
                                                   const absl::flat_hash_set<uint64_t>& live) {
  PackEntries reached;
  std::vector<Digest> digests;
  for (const auto& e : entries) {
    if (!live.contains(Head(e.first))) continue;
    reached.push_back(e);
    digests.push_back(e.first);
  }
  // One that the index finds elsewhere is a second copy.
  BW_ASSIGN_OR_RETURN(auto locations, options_.index->GetMany(options_.dataset, digests));
  PackEntries out;
  for (size_t i = 0; i < reached.size(); ++i) {
    if (locations[i].has_value() && locations[i]->pack == pack) out.push_back(reached[i]);
  }
  return out;
}

absl::StatusOr<std::vector<StoreImpl::Candidate>> StoreImpl::ChooseCandidates(const absl::flat_hash_set<uint64_t>& live) {
  std::vector<std::pair<PackId, uint64_t>> packs;
  size_t small = 0;
  {
    absl::MutexLock lock(&mutex_);
    packs.assign(packs_.begin(), packs_.end());
  }
  std::sort(packs.begin(), packs.end());
  for (const auto& [pack, bytes] : packs) small += bytes < kSmallPackBytes;
  std::vector<Candidate> candidates;
  for (const auto& [pack, bytes] : packs) {
    auto entries = ReadSidecar(pack);
    if (!entries.ok()) continue;  // what cannot be read is not judged
    BW_ASSIGN_OR_RETURN(PackEntries reached, LiveEntries(pack, *entries, live));
    uint64_t live_bytes = 0;
    for (const auto& e : reached) live_bytes += e.second.stored_length;
    const bool merge = small > kManySmallPacks && bytes < kSmallPackBytes;
    if (live_bytes * 2 < bytes || merge) candidates.push_back({pack, *std::move(entries)});
  }
  return candidates;
}

bool StoreImpl::WaitForWriters(uint64_t before) {
  absl::MutexLock lock(&mutex_);
  auto gone = [this, before]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return writers_.empty() || *writers_.begin() >= before; };
  return mutex_.AwaitWithTimeout(absl::Condition(&gone), kWriterPatience);
}

absl::Status StoreImpl::RemovePack(const Candidate& candidate) {
  std::vector<Digest> digests;
  digests.reserve(candidate.entries.size());
  for (const auto& e : candidate.entries) digests.push_back(e.first);
  BW_RETURN_IF_ERROR(options_.index->DropPack(options_.dataset, candidate.pack, digests));
  {
    absl::MutexLock lock(&mutex_);
    packs_.erase(candidate.pack);  // from here on nobody looks for it
    ForgetFile(candidate.pack);
  }
  BW_RETURN_IF_ERROR(options_.files->Remove(PackPath(candidate.pack)));
  return options_.files->Remove(SidecarPath(candidate.pack));
}

absl::StatusOr<DatasetStore::GcResult> StoreImpl::CollectGarbage(const Mark& mark) {
  absl::MutexLock one(&gc_mutex_);
  absl::flat_hash_set<uint64_t> live;
  auto collect = [&live](const Digest& digest) { live.insert(Head(digest)); };
  BW_RETURN_IF_ERROR(mark(collect));
  BW_ASSIGN_OR_RETURN(std::vector<Candidate> candidates, ChooseCandidates(live));
  GcResult result;
  if (candidates.empty()) return result;
  uint64_t ticket = 0;
  {
    absl::MutexLock lock(&mutex_);
    for (const Candidate& c : candidates) condemned_.insert(c.pack);
    ticket = next_ticket_++;
  }
  auto run = [&]() -> absl::Status {
    if (!WaitForWriters(ticket)) return absl::OkStatus();  // put off to the next collection
    live.clear();
    BW_RETURN_IF_ERROR(mark(collect));
    // Survivors first, durable, before anything goes.
    std::unique_ptr<Writer> writer = NewWriter();
    uint64_t before = 0;
    {
      absl::MutexLock lock(&mutex_);
      for (const Candidate& c : candidates) before += packs_[c.pack];
    }
    std::vector<const Candidate*> removable;
    for (const Candidate& c : candidates) {
      BW_ASSIGN_OR_RETURN(PackEntries survivors, LiveEntries(c.pack, c.entries, live));
      bool whole = true;
      for (const auto& [digest, at] : survivors) {
        auto chunk = ReadAt(digest, at);
        if (absl::IsDataLoss(chunk.status())) {
          whole = false;  // damaged: the pack stays as evidence until the chunk was fetched anew
          continue;
        }
        BW_RETURN_IF_ERROR(chunk.status());
        BW_RETURN_IF_ERROR(writer->Put(digest, *chunk).status());
      }
      if (whole) removable.push_back(&c);
    }
    BW_RETURN_IF_ERROR(writer->Flush());
    for (const Candidate* c : removable) BW_RETURN_IF_ERROR(RemovePack(*c));
    result.packs_removed = removable.size();
    result.freed_bytes = before > writer->stored_bytes() ? before - writer->stored_bytes() : 0;
    BW_RETURN_IF_ERROR(options_.files->SyncDir(packs_directory()));
    return absl::OkStatus();
  };
  absl::Status status = run();
  {
    absl::MutexLock lock(&mutex_);
    for (const Candidate& c : candidates) condemned_.erase(c.pack);
  }
  BW_RETURN_IF_ERROR(status);
  return result;
}

}  // namespace bailiwick::store
