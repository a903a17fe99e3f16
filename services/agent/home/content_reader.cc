#include "services/agent/home/content_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::agent {
namespace {

constexpr size_t kReadBytes = 1 << 20;
constexpr absl::Duration kWaits[] = {absl::Milliseconds(10), absl::Milliseconds(50), absl::Milliseconds(200)};
// A hole is looked at once a MiB, 64 GiB of them in a fraction of a second; where a file has more, farther apart.
constexpr uint64_t kProbeStep = 1 << 20;
constexpr uint64_t kMaxProbes = 64 << 10;
constexpr size_t kProbeBytes = 4096;

bool SameState(const os::NodeStat& a, const os::NodeStat& b) {
  return a.size == b.size && a.mtime_ns == b.mtime_ns && a.ctime_ns == b.ctime_ns;
}

// Leaves the largest, of those that are as large the first: the same whatever they were picked from.
void KeepLargest(std::vector<store::Hole>* holes) {
  if (holes->size() <= store::kMaxHoles) return;
  std::nth_element(holes->begin(), holes->begin() + store::kMaxHoles, holes->end(),
                   [](const store::Hole& a, const store::Hole& b) {
                     return a.length != b.length ? a.length > b.length : a.offset < b.offset;
                   });
  holes->resize(store::kMaxHoles);
}

// As many as an entry can hold: the others are read like data.
absl::StatusOr<std::vector<store::Hole>> HolesOf(os::TreeFile& file, uint64_t size) {
  std::vector<store::Hole> holes;
  uint64_t at = 0;
  auto add = [&](uint64_t end) {
    if (end > at) holes.push_back({at, end - at});
    if (holes.size() == 2 * store::kMaxHoles) KeepLargest(&holes);
  };
  BW_RETURN_IF_ERROR(os::DataExtents(file, 0, size, [&](const os::Extent& extent) {
    add(extent.offset);
    at = std::max(at, extent.offset + extent.length);
  }));
  add(size);
  KeepLargest(&holes);
  std::sort(holes.begin(), holes.end(), [](const store::Hole& a, const store::Hole& b) { return a.offset < b.offset; });
  return holes;
}

}  // namespace

// Errors of the source name the file; those of the store, which come through the pipeline, don't.
absl::StatusOr<size_t> ContentReader::ReadAt(os::TreeFile& file, uint64_t offset, char* out, size_t n) {
  absl::StatusOr<size_t> got = file.ReadAt(offset, out, n);
  if (!got.ok()) return Annotate(got.status(), label_);
  return got;
}

absl::StatusOr<uint64_t> ContentReader::ReadRun(os::TreeFile& file, uint64_t offset, uint64_t length) {
  uint64_t done = 0;
  while (done < length) {
    if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("the commit was cancelled");
    BW_ASSIGN_OR_RETURN(std::span<char> space, pipeline_->Space(std::min<uint64_t>(kReadBytes, length - done)));
    BW_ASSIGN_OR_RETURN(size_t n, ReadAt(file, offset + done, space.data(), space.size()));
    BW_RETURN_IF_ERROR(pipeline_->Filled(n));
    done += n;
    read_bytes_ += n;
    if (n < space.size()) break;
  }
  BW_RETURN_IF_ERROR(pipeline_->EndRun());
  return done;
}

// A file system can claim a hole where data is on its way to the disk (OpenZFS #15526), so holes are probed.
absl::StatusOr<bool> ContentReader::HolesAreZero(os::TreeFile& file, const std::vector<store::Hole>& holes) {
  std::array<char, kProbeBytes> page;
  auto zero = [](const char* p, size_t n) { return std::all_of(p, p + n, [](char c) { return c == 0; }); };
  uint64_t bytes = 0;  // no overflow: they lie apart in a file
  for (const store::Hole& hole : holes) bytes += hole.length;
  const uint64_t step = std::max(kProbeStep, bytes / kMaxProbes);
  for (const store::Hole& hole : holes) {
    uint64_t end = hole.offset + hole.length;
    for (uint64_t at = hole.offset; at < end; at += std::min(step, end - at)) {
      if (cancelled_->load(std::memory_order_relaxed)) return absl::CancelledError("the commit was cancelled");
      BW_ASSIGN_OR_RETURN(size_t n, ReadAt(file, at, page.data(), std::min<uint64_t>(page.size(), end - at)));
      if (!zero(page.data(), n)) return false;
    }
    uint64_t tail = std::min<uint64_t>(page.size(), hole.length);
    BW_ASSIGN_OR_RETURN(size_t n, ReadAt(file, end - tail, page.data(), tail));
    if (!zero(page.data(), n)) return false;
  }
  return true;
}

absl::StatusOr<bool> ContentReader::ReadOnce(os::TreeFile& file, const os::NodeStat& stat, bool whole,
                                             store::Entry* entry) {
  entry->holes.clear();
  if (!whole && stat.blocks_bytes < stat.size) {
    absl::StatusOr<std::vector<store::Hole>> holes = HolesOf(file, stat.size);
    if (!holes.ok()) return Annotate(holes.status(), label_);
    entry->holes = *std::move(holes);
    BW_ASSIGN_OR_RETURN(bool zero, HolesAreZero(file, entry->holes));
    if (!zero) entry->holes.clear();
  }
  entry->size = stat.size;
  uint64_t at = 0;
  for (size_t i = 0; at < stat.size; ++i) {  // what lies before each hole, and after the last
    const bool last = i == entry->holes.size();
    const uint64_t length = (last ? stat.size : entry->holes[i].offset) - at;
    BW_ASSIGN_OR_RETURN(uint64_t n, ReadRun(file, at, length));
    if (n != length) {
      entry->size = at + n;
      return false;
    }
    at = last ? stat.size : entry->holes[i].offset + entry->holes[i].length;
  }
  return true;
}

absl::StatusOr<ReadResult> ContentReader::Read(const ReadRequest& request, store::Entry entry, os::NodeStat* stat) {
  label_ = request.label;
  for (size_t attempt = 0;; ++attempt) {
    auto opened = request.dir->OpenRead(request.name);
    if (!opened.ok()) {
      auto now = request.dir->Stat(request.name);
      if (absl::IsNotFound(opened.status()) || absl::IsNotFound(now.status())) return ReadResult::kVanished;
      if (now.ok() && now->type != os::NodeType::kFile) return ReadResult::kReplaced;
      return Annotate(opened.status(), request.label);
    }
    os::TreeFile& file = **opened;
    auto before = file.Stat();
    if (!before.ok()) return Annotate(before.status(), request.label);
    bool last = attempt == std::size(kWaits);
    // The last reading that will be taken as it is must not lean on holes that may fill meanwhile.
    absl::StatusOr<bool> whole = ReadOnce(file, *before, last && request.allow_changing, &entry);
    if (!whole.ok()) return whole.status();
    auto after = file.Stat();
    if (!after.ok()) return Annotate(after.status(), request.label);
    bool steady = *whole && SameState(*before, *after);
    if (steady || (last && request.allow_changing)) {
      *stat = *before;
      entry.mode = before->mode;
      entry.mtime_ns = before->mtime_ns;
      BW_RETURN_IF_ERROR(pipeline_->EndFile(std::move(entry)));
      return steady ? ReadResult::kSteady : ReadResult::kChanging;
    }
    BW_RETURN_IF_ERROR(pipeline_->DropFile());
    if (last) {
      return absl::FailedPreconditionError(absl::StrCat(
          "file ", request.label, " kept changing while it was read (", attempt + 1,
          " times); commit when it is quiet, give the dataset a settle time, or allow it: --allow-changing"));
    }
    clock_->SleepFor(kWaits[attempt]);
  }
}

}  // namespace bailiwick::agent
