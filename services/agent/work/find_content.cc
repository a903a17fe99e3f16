#include "services/agent/work/find_content.h"

#include <algorithm>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "services/agent/home/display_path.h"

namespace bailiwick::agent {
namespace {

using Nodes = absl::flat_hash_set<Digest>;

// Every entry below the root in a leaf that was not seen before.
absl::Status NewEntries(DatasetHandle& dataset, const Digest& root, Nodes* seen,
                        const std::function<absl::Status(const store::Entry&)>& visit) {
  return store::WalkDag(
      dataset.nodes.get(), root,
      [&](const Digest& digest) -> absl::StatusOr<bool> {
        if (!seen->insert(digest).second) return false;
        BW_ASSIGN_OR_RETURN(std::shared_ptr<const store::Node> node, dataset.nodes->Load(digest));
        for (const store::Entry& entry : node->entries) BW_RETURN_IF_ERROR(visit(entry));
        return node->kind == store::NodeKind::kInner;
      },
      [](const store::NodeChild&) { return absl::OkStatus(); });
}

// Which of the paths the entry is, or lies below; its size: none.
size_t Match(const std::vector<std::string>& paths, const std::string& path) {
  for (size_t i = 0; i < paths.size(); ++i) {
    if (path == paths[i] || store::IsBelow(path, paths[i])) return i;
  }
  return paths.size();
}

}  // namespace

absl::StatusOr<FoundContent> FindContent(DatasetHandle& dataset, const std::vector<std::string>& paths,
                                         const std::function<void(uint64_t searched, uint64_t of)>& progress) {
  FoundContent found;
  BW_ASSIGN_OR_RETURN(std::vector<store::CatalogVersion> versions, dataset.catalog->List(dataset.id));
  std::vector<bool> matched(paths.size());
  std::set<Digest> contents;
  std::set<std::string> files, copies;
  absl::flat_hash_map<Digest, uint64_t> chunks;  // with their lengths
  Nodes seen;
  uint64_t searched = 0;
  for (const auto& version : versions) {
    progress(searched++, 2 * versions.size());
    BW_RETURN_IF_ERROR(
        NewEntries(dataset, version.record.manifest_root, &seen, [&](const store::Entry& entry) -> absl::Status {
          const size_t at = Match(paths, entry.path);
          if (at == paths.size()) return absl::OkStatus();
          matched[at] = true;
          const Digest content = store::ContentId(entry);
          if (content.empty()) return absl::OkStatus();
          files.insert(entry.path);
          contents.insert(content);
          return store::ForEachChunk(dataset.nodes.get(), entry, [&](const store::Reference& piece) {
            chunks[piece.digest] = piece.length;
            return absl::OkStatus();
          });
        }));
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    if (!matched[i]) {
      return absl::NotFoundError(
          absl::StrCat("no version of ", dataset.name, " that is held here has ", DisplayPath(paths[i])));
    }
  }
  if (contents.empty()) return absl::InvalidArgumentError("nothing at these paths has any content to redact");
  const uint64_t all = chunks.size();
  seen.clear();
  for (const auto& version : versions) {
    progress(searched++, 2 * versions.size());
    BW_RETURN_IF_ERROR(
        NewEntries(dataset, version.record.manifest_root, &seen, [&](const store::Entry& entry) -> absl::Status {
          const Digest content = store::ContentId(entry);
          if (content.empty()) return absl::OkStatus();
          if (contents.count(content) != 0) {
            if (Match(paths, entry.path) == paths.size()) copies.insert(entry.path);
            return absl::OkStatus();
          }
          return store::ForEachChunk(dataset.nodes.get(), entry, [&](const store::Reference& piece) {
            chunks.erase(piece.digest);
            return absl::OkStatus();
          });
        }));
    // Counted by itself: leaves are shared, so the walk above does not say which versions have it.
    Nodes own;
    bool has = false;
    BW_RETURN_IF_ERROR(
        NewEntries(dataset, version.record.manifest_root, &own, [&](const store::Entry& entry) -> absl::Status {
          has = has || contents.count(store::ContentId(entry)) != 0;
          return absl::OkStatus();
        }));
    found.versions += has ? 1 : 0;
  }
  found.contents.assign(contents.begin(), contents.end());
  for (const auto& [digest, length] : chunks) {
    found.chunks.push_back(digest);
    found.bytes += length;
  }
  std::sort(found.chunks.begin(), found.chunks.end());
  found.files = files.size();
  found.shared = all - found.chunks.size();
  found.copies = copies.size();
  for (const std::string& path : copies) {
    if (found.copy_paths.size() < FoundContent::kMaxCopyPaths) found.copy_paths.push_back(path);
  }
  return found;
}

}  // namespace bailiwick::agent
