// A manifest from another one and what changed: nodes that nothing touches are taken over as they are.
#include <utility>

#include "common/base/status.h"
#include "common/store/manifest.h"
#include "common/store/manifest_walker.h"

namespace bailiwick::store {
namespace {

class Editor {
 public:
  Editor(NodeSource* source, NodeSink sink) : old_(source), builder_(std::move(sink)) {}

  absl::Status Start(const Digest& root) { return old_.Start(root); }
  absl::Status Apply(const ManifestEdit& edit);
  absl::StatusOr<ManifestSummary> Finish(uint64_t files);

 private:
  // Keeps the old entries before `path` (null: all).
  absl::Status KeepUntil(const std::string* path);
  absl::StatusOr<const Entry*> Next();  // the next old entry; null at the end
  void Drop() {
    if (old_.entry().type == EntryType::kFile) ++files_read_;
    old_.Skip();
  }

  ManifestWalker old_;
  ManifestBuilder builder_;
  uint64_t files_read_ = 0;  // files among the old entries that were looked at one by one
};

absl::Status Editor::KeepUntil(const std::string* path) {
  while (!old_.end()) {
    if (path != nullptr && ComparePaths(old_.path(), *path) >= 0) return absl::OkStatus();
    if (old_.at_entry()) {
      BW_RETURN_IF_ERROR(builder_.Add(old_.entry()));
      Drop();
      continue;
    }
    // A last node ended because nothing followed: it may stay only where nothing does again.
    const std::string* end = old_.child_end();
    const bool whole = path == nullptr || (end != nullptr && ComparePaths(*end, *path) <= 0);
    if (whole && builder_.AtNodeStart(old_.child_height())) {
      BW_RETURN_IF_ERROR(builder_.AddSubtree(old_.child(), old_.child_height()));
      old_.Skip();
    } else {
      BW_RETURN_IF_ERROR(old_.Expand());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<const Entry*> Editor::Next() {
  while (!old_.end() && !old_.at_entry()) BW_RETURN_IF_ERROR(old_.Expand());
  return old_.end() ? nullptr : &old_.entry();
}

absl::Status Editor::Apply(const ManifestEdit& edit) {
  BW_RETURN_IF_ERROR(KeepUntil(&edit.path));
  const bool clear = edit.clear_below || !edit.entry || edit.entry->type != EntryType::kDirectory;
  for (;;) {
    BW_ASSIGN_OR_RETURN(const Entry* next, Next());
    if (next == nullptr || !(next->path == edit.path || (clear && IsBelow(next->path, edit.path)))) break;
    Drop();
  }
  return edit.entry ? builder_.Add(*edit.entry) : absl::OkStatus();
}

absl::StatusOr<ManifestSummary> Editor::Finish(uint64_t files) {
  BW_RETURN_IF_ERROR(KeepUntil(nullptr));
  BW_ASSIGN_OR_RETURN(ManifestSummary summary, builder_.Finish());
  if (files < files_read_) return absl::InvalidArgumentError("a manifest with more files than its version says");
  summary.files += files - files_read_;
  return summary;
}

}  // namespace

absl::StatusOr<ManifestSummary> EditManifest(NodeSource* source, const Digest& root, uint64_t files,
                                             const std::vector<ManifestEdit>& edits, NodeSink sink) {
  Editor editor(source, std::move(sink));
  BW_RETURN_IF_ERROR(editor.Start(root));
  for (const ManifestEdit& edit : edits) BW_RETURN_IF_ERROR(editor.Apply(edit));
  return editor.Finish(files);
}

}  // namespace bailiwick::store
