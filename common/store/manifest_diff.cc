// What differs between two manifests, reading only the nodes that differ.
#include <utility>

#include "common/base/status.h"
#include "common/store/manifest.h"
#include "common/store/manifest_walker.h"

namespace bailiwick::store {
namespace {

bool SameReferences(const std::vector<Reference>& a, const std::vector<Reference>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].digest != b[i].digest || a[i].length != b[i].length) return false;
  }
  return true;
}

bool SameHoles(const std::vector<Hole>& a, const std::vector<Hole>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].offset != b[i].offset || a[i].length != b[i].length) return false;
  }
  return true;
}

bool SameBytes(const Entry& a, const Entry& b) {
  return a.size == b.size && a.list_height == b.list_height && SameReferences(a.chunks, b.chunks) &&
         SameHoles(a.holes, b.holes);
}

}  // namespace

bool SameContent(const Entry& a, const Entry& b) {
  return a.type == EntryType::kFile && b.type == EntryType::kFile && SameBytes(a, b);
}

bool SameEntry(const Entry& a, const Entry& b) {
  return a.type == b.type && a.mode == b.mode && a.mtime_ns == b.mtime_ns && a.target == b.target &&
         a.owner == b.owner && SameBytes(a, b);
}

absl::Status DiffManifests(NodeSource* source, const Digest& before, const Digest& after, const DiffVisitor& visit) {
  if (before == after) return absl::OkStatus();
  ManifestWalker a(source);
  ManifestWalker b(source);
  BW_RETURN_IF_ERROR(a.Start(before));
  BW_RETURN_IF_ERROR(b.Start(after));
  while (!a.end() || !b.end()) {
    if (a.end() || b.end()) {
      ManifestWalker& w = a.end() ? b : a;
      if (!w.at_entry()) {
        BW_RETURN_IF_ERROR(w.Expand());
        continue;
      }
      BW_RETURN_IF_ERROR(a.end() ? visit(nullptr, &w.entry()) : visit(&w.entry(), nullptr));
      w.Skip();
      continue;
    }
    const int order = ComparePaths(a.path(), b.path());
    if (!a.at_entry() && !b.at_entry()) {
      if (a.child().digest == b.child().digest) {
        a.Skip();
        b.Skip();
      } else if (a.child_height() != b.child_height()) {
        BW_RETURN_IF_ERROR(a.child_height() > b.child_height() ? a.Expand() : b.Expand());
      } else if (order == 0) {
        BW_RETURN_IF_ERROR(a.Expand());
        BW_RETURN_IF_ERROR(b.Expand());
      } else {
        BW_RETURN_IF_ERROR(order < 0 ? a.Expand() : b.Expand());
      }
    } else if (!a.at_entry()) {
      if (order <= 0) {
        BW_RETURN_IF_ERROR(a.Expand());
      } else {
        BW_RETURN_IF_ERROR(visit(nullptr, &b.entry()));
        b.Skip();
      }
    } else if (!b.at_entry()) {
      if (order >= 0) {
        BW_RETURN_IF_ERROR(b.Expand());
      } else {
        BW_RETURN_IF_ERROR(visit(&a.entry(), nullptr));
        a.Skip();
      }
    } else if (order == 0) {
      if (!SameEntry(a.entry(), b.entry())) BW_RETURN_IF_ERROR(visit(&a.entry(), &b.entry()));
      a.Skip();
      b.Skip();
    } else if (order < 0) {
      BW_RETURN_IF_ERROR(visit(&a.entry(), nullptr));
      a.Skip();
    } else {
      BW_RETURN_IF_ERROR(visit(nullptr, &b.entry()));
      b.Skip();
    }
  }
  return absl::OkStatus();
}

}  // namespace bailiwick::store
