#include "services/agent/home/commit_preview.h"

#include <utility>

#include "common/base/status.h"

namespace bailiwick::agent {

bool Unread(const store::Entry& entry) {
  return entry.type == store::EntryType::kFile && entry.size > 0 && entry.chunks.empty() && entry.holes.empty();
}

absl::Status CommitPreview::Begin(store::NodeSource* nodes, const Digest& root) {
  if (root.empty()) return absl::OkStatus();
  cursor_ = std::make_unique<store::ManifestCursor>(nodes, root);
  return Next();
}

absl::Status CommitPreview::Next() {
  BW_ASSIGN_OR_RETURN(has_before_, cursor_->Next(&before_));
  return absl::OkStatus();
}

absl::Status CommitPreview::Gone() {
  ++forecast_.removed;
  BW_RETURN_IF_ERROR(visit_(&before_, nullptr));
  return Next();
}

absl::Status CommitPreview::Add(const store::Entry& entry) {
  while (has_before_ && store::ComparePaths(before_.path, entry.path) < 0) BW_RETURN_IF_ERROR(Gone());
  if (!has_before_ || before_.path != entry.path) {
    ++forecast_.added;
    return visit_(nullptr, &entry);
  }
  if (!store::SameEntry(before_, entry)) {
    ++forecast_.changed;
    BW_RETURN_IF_ERROR(visit_(&before_, &entry));
  }
  return Next();
}

absl::Status CommitPreview::Finish() {
  while (has_before_) BW_RETURN_IF_ERROR(Gone());
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
