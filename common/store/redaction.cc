#include "common/store/redaction.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"

namespace bailiwick::store {
namespace {

constexpr std::string_view kContentDomain = "bailiwick-content-v1";

}  // namespace

Digest ContentId(const Entry& entry) {
  if (entry.type != EntryType::kFile || entry.chunks.empty()) return Digest();
  crypto::Hasher hasher;
  hasher.Update(kContentDomain);
  const char height = static_cast<char>(entry.list_height);
  hasher.Update({&height, 1});
  for (const Reference& piece : entry.chunks) hasher.Update(piece.digest.view());
  return hasher.Finish();
}

std::string RedactedBy(const Redaction& redaction) {
  return absl::StrCat("redacted by order ", absl::BytesToHexString(redaction.order_id), " of ",
                      absl::FormatTime("%Y-%m-%d", redaction.ordered_at, absl::UTCTimeZone()));
}

void RedactionBook::Add(std::shared_ptr<const Redaction> redaction, bool erase) {
  absl::MutexLock lock(&mutex_);
  for (const Digest& content : redaction->contents) contents_.try_emplace(content, redaction);
  for (const Digest& chunk : redaction->chunks) {
    Place& place = chunks_[chunk];
    if (place.by == nullptr) place.by = redaction;
    place.erase |= erase;
  }
  any_.store(true, std::memory_order_release);
  additions_.fetch_add(1, std::memory_order_acq_rel);
}

bool RedactionBook::Erases(const Digest& digest) const {
  if (empty()) return false;
  absl::ReaderMutexLock lock(&mutex_);
  auto it = chunks_.find(digest);
  return it != chunks_.end() && it->second.erase;
}

std::shared_ptr<const Redaction> RedactionBook::FindChunk(const Digest& digest) const {
  if (empty()) return nullptr;
  absl::ReaderMutexLock lock(&mutex_);
  auto it = chunks_.find(digest);
  return it == chunks_.end() ? nullptr : it->second.by;
}

absl::StatusOr<std::shared_ptr<const Redaction>> RedactionBook::Find(NodeSource* nodes, const Entry& entry) const {
  std::shared_ptr<const Redaction> found;
  if (empty() || entry.type != EntryType::kFile || entry.chunks.empty()) return found;
  {
    absl::ReaderMutexLock lock(&mutex_);
    auto it = contents_.find(ContentId(entry));
    if (it != contents_.end()) return it->second;
  }
  BW_RETURN_IF_ERROR(ForEachChunk(nodes, entry, [&](const Reference& piece) -> absl::Status {
    if (found == nullptr) found = FindChunk(piece.digest);
    return absl::OkStatus();
  }));
  return found;
}

}  // namespace bailiwick::store
