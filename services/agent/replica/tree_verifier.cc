#include "services/agent/replica/tree_verifier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/os/local_socket.h"
#include "services/agent/home/display_path.h"
#include "services/agent/home/tree_walker.h"

namespace bailiwick::agent {
namespace {

constexpr size_t kProbeBytes = 1 << 20;  // of a hole at a time
constexpr uint32_t kOwnerReads = 0400;

const char* TypeName(os::NodeType type) {
  switch (type) {
    case os::NodeType::kFile:
      return "a file";
    case os::NodeType::kDirectory:
      return "a directory";
    case os::NodeType::kSymlink:
      return "a symbolic link";
    case os::NodeType::kOther:
      break;
  }
  return "a device, socket or FIFO";
}

os::NodeType NodeTypeOf(store::EntryType type) {
  switch (type) {
    case store::EntryType::kDirectory:
      return os::NodeType::kDirectory;
    case store::EntryType::kSymlink:
      return os::NodeType::kSymlink;
    case store::EntryType::kFile:
      break;
  }
  return os::NodeType::kFile;
}

// Also one of our own whose mode keeps us out: it gets that mode back before it is read.
absl::StatusOr<std::unique_ptr<os::TreeFile>> OpenOwn(const WalkItem& item) {
  auto file = item.dir->OpenRead(item.name);
  if (!IsKeptOut(file.status()) || item.stat.uid != os::CurrentUser()) return file;
  BW_RETURN_IF_ERROR(item.dir->SetMode(item.name, item.stat.mode | kOwnerReads));
  file = item.dir->OpenRead(item.name);
  BW_RETURN_IF_ERROR(item.dir->SetMode(item.name, item.stat.mode));
  return file;
}

class Verifier {
 public:
  Verifier(DatasetHandle& dataset, const TreeStyle& style, std::vector<std::string>* problems, os::TreeDir* seen)
      : dataset_(dataset), style_(style), problems_(problems), seen_(seen) {}

  absl::Status Run(os::TreeDir& tree, const std::string& label, const Digest& manifest);

 private:
  void Problem(std::string_view path, const std::string& what) {
    if (++count_ <= kMaxProblems) problems_->push_back(absl::StrCat(DisplayPath(path), " ", what));
  }
  absl::Status Compare(const store::Entry& entry, const WalkItem& item);
  void CompareMetadata(const store::Entry& entry, const os::NodeStat& stat);
  absl::Status CompareContent(const store::Entry& entry, const WalkItem& item);
  // True if [offset, offset + length) of the file reads as zeros.
  absl::StatusOr<bool> IsZero(os::TreeFile& file, uint64_t offset, uint64_t length);

  DatasetHandle& dataset_;
  const TreeStyle style_;
  std::vector<std::string>* problems_;
  os::TreeDir* const seen_;
  size_t count_ = 0;
};

void Verifier::CompareMetadata(const store::Entry& entry, const os::NodeStat& stat) {
  uint32_t mode = LaidOutMode(entry, style_);
  if (entry.type != store::EntryType::kSymlink && stat.mode != mode) {
    Problem(entry.path, absl::StrFormat("has mode %04o instead of %04o", stat.mode, mode));
  }
  if (stat.mtime_ns != entry.mtime_ns) Problem(entry.path, "has another modification time");
  if (style_.owner && entry.owner && (stat.uid != entry.owner->first || stat.gid != entry.owner->second)) {
    Problem(entry.path, absl::StrCat("belongs to ", stat.uid, ":", stat.gid, " instead of ", entry.owner->first, ":",
                                     entry.owner->second));
  }
}

absl::StatusOr<bool> Verifier::IsZero(os::TreeFile& file, uint64_t offset, uint64_t length) {
  // Where nothing is allocated there is nothing to read.
  bool zero = true;
  absl::Status read = absl::OkStatus();
  std::string buffer;
  const absl::Status looked = os::DataExtents(file, offset, offset + length, [&](const os::Extent& extent) {
    const uint64_t end = extent.offset + extent.length;
    for (uint64_t from = extent.offset; read.ok() && zero && from < end; from += buffer.size()) {
      buffer.resize(std::min<uint64_t>(kProbeBytes, end - from));
      absl::StatusOr<size_t> n = file.ReadAt(from, buffer.data(), buffer.size());
      read = n.status();
      zero = n.ok() && *n == buffer.size() && buffer.find_first_not_of('\0') == std::string::npos;
    }
  });
  BW_RETURN_IF_ERROR(looked);
  BW_RETURN_IF_ERROR(read);
  return zero;
}

absl::Status Verifier::CompareContent(const store::Entry& entry, const WalkItem& item) {
  if (item.stat.size != entry.size) {
    Problem(entry.path, absl::StrCat("has ", item.stat.size, " bytes instead of ", entry.size));
    return absl::OkStatus();
  }
  if (seen_ != nullptr) {
    auto there = seen_->Stat(entry.path);
    if (there.ok() && there->inode == item.stat.inode && there->device == item.stat.device) return absl::OkStatus();
  }
  auto file = OpenOwn(item);
  if (!file.ok()) {
    Problem(entry.path, absl::StrCat("cannot be read: ", file.status().message()));
    return absl::OkStatus();
  }
  uint64_t at = 0;
  size_t hole = 0;
  bool differs = false;
  auto skip_holes = [&]() -> absl::Status {
    for (; hole < entry.holes.size() && entry.holes[hole].offset == at; ++hole) {
      BW_ASSIGN_OR_RETURN(bool zero, IsZero(**file, at, entry.holes[hole].length));
      if (!zero) differs = true;
      at += entry.holes[hole].length;
    }
    return absl::OkStatus();
  };
  BW_RETURN_IF_ERROR(skip_holes());
  std::string raw;
  absl::Status walked =
      store::ForEachChunk(dataset_.nodes.get(), entry, [&](const store::Reference& piece) -> absl::Status {
        if (differs) return absl::OkStatus();
        raw.resize(piece.length);
        for (size_t done = 0; done < raw.size();) {
          uint64_t room = (hole < entry.holes.size() ? entry.holes[hole].offset : entry.size) - at;
          size_t n = std::min<uint64_t>(raw.size() - done, room);
          if (n == 0) return absl::DataLossError("the manifest's chunks are longer than the file");
          BW_ASSIGN_OR_RETURN(size_t got, (*file)->ReadAt(at, raw.data() + done, n));
          if (got != n) differs = true;
          done += n;
          at += n;
          BW_RETURN_IF_ERROR(skip_holes());
        }
        if (crypto::Sha256(raw) != piece.digest) differs = true;
        return absl::OkStatus();
      });
  if (absl::IsDataLoss(walked)) {  // the disk, or the manifest
    Problem(entry.path, absl::StrCat("cannot be compared: ", walked.message()));
    return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(walked);
  if (differs) Problem(entry.path, "has other content");
  return absl::OkStatus();
}

absl::Status Verifier::Compare(const store::Entry& entry, const WalkItem& item) {
  if (item.stat.type != NodeTypeOf(entry.type)) {
    Problem(entry.path,
            absl::StrCat("is ", TypeName(item.stat.type), " instead of ", TypeName(NodeTypeOf(entry.type))));
    return absl::OkStatus();
  }
  CompareMetadata(entry, item.stat);
  if (entry.type == store::EntryType::kFile) return CompareContent(entry, item);
  if (entry.type == store::EntryType::kSymlink) {
    auto target = item.dir->ReadLink(item.name);
    if (!target.ok() || *target != entry.target) Problem(entry.path, "points to another place");
  }
  return absl::OkStatus();
}

absl::Status Verifier::Run(os::TreeDir& tree, const std::string& label, const Digest& manifest) {
  TreeWalker walker(&tree, label, nullptr);
  walker.Unlock();
  store::ManifestCursor cursor(dataset_.nodes.get(), manifest);
  WalkItem item;
  store::Entry entry;
  BW_ASSIGN_OR_RETURN(bool has_item, walker.Next(&item));
  BW_ASSIGN_OR_RETURN(bool has_entry, cursor.Next(&entry));
  while (has_item || has_entry) {
    int order = !has_item ? -1 : !has_entry ? 1 : store::ComparePaths(entry.path, item.path);
    std::shared_ptr<const store::Redaction> redacted;
    if (order <= 0) {
      BW_ASSIGN_OR_RETURN(redacted, dataset_.redactions->Find(dataset_.nodes.get(), entry));
    }
    if (order < 0 && redacted == nullptr) Problem(entry.path, "is missing");
    if (order > 0) Problem(item.path, "does not belong to the version");
    if (order == 0 && redacted != nullptr) {
      Problem(entry.path, absl::StrCat("is ", store::RedactedBy(*redacted), " and lies here still"));
    } else if (order == 0) {
      BW_RETURN_IF_ERROR(Compare(entry, item));
    }
    if (order <= 0) {
      BW_ASSIGN_OR_RETURN(has_entry, cursor.Next(&entry));
    }
    if (order >= 0) {
      BW_ASSIGN_OR_RETURN(has_item, walker.Next(&item));
    }
  }
  if (count_ > kMaxProblems) problems_->push_back(absl::StrCat("and ", count_ - kMaxProblems, " differences more"));
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyTree(DatasetHandle& dataset, os::TreeDir& tree, const std::string& label, const Digest& manifest,
                        const TreeStyle& style, std::vector<std::string>* problems, os::TreeDir* seen) {
  return Verifier(dataset, style, problems, seen).Run(tree, label, manifest);
}

}  // namespace bailiwick::agent
