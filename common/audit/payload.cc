#include "common/audit/payload.h"

#include "absl/strings/str_cat.h"
#include "common/audit/lines.h"
#include "common/audit/log.h"
#include "common/audit/tiles.h"
#include "common/base/status.h"

namespace bailiwick::audit {

std::string PayloadPath(uint64_t sequence) { return absl::StrCat("payload/", NumberPath(sequence / kPayloadRecords)); }

absl::Status Payload::Recover(uint64_t from, const std::function<absl::Status(uint64_t, std::string_view)>& each) {
  earlier_bytes_ = 0;
  for (uint64_t first = 0; first < from / kPayloadRecords * kPayloadRecords; first += kPayloadRecords) {
    auto file = files_->OpenRead(os::JoinPath(directory_, PayloadPath(first)));
    if (file.ok()) earlier_bytes_ += (*file)->Size().value_or(0);  // whoever reads them says what is missing
  }
  bool more = true;
  for (uint64_t first = from / kPayloadRecords * kPayloadRecords; more; first += kPayloadRecords) {
    BW_RETURN_IF_ERROR(Recover(first, from, &more, each));
  }
  if (records_ >= from) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(directory_, ": ", from, " audit records were signed, but only ", records_, " are there"));
}

absl::Status Payload::Recover(uint64_t first, uint64_t from, bool* more,
                              const std::function<absl::Status(uint64_t, std::string_view)>& each) {
  *more = false;
  records_ = first;
  earlier_bytes_ += bytes_;
  bytes_ = 0;
  file_ = nullptr;
  const std::string path = os::JoinPath(directory_, PayloadPath(first));
  BW_ASSIGN_OR_RETURN(const bool exists, files_->Exists(path));
  if (!exists) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(file_, files_->OpenReadWrite(path, /*create=*/false));
  BW_ASSIGN_OR_RETURN(const uint64_t size, file_->Size());
  Lines lines(file_.get(), size);
  while (true) {
    BW_ASSIGN_OR_RETURN(const bool line, lines.Next());
    if (!line) break;
    absl::StatusOr<std::string> entry =
        lines.complete() && records_ < first + kPayloadRecords
            ? EntryOf(lines.line(), records_)
            : absl::DataLossError(absl::StrCat("audit record ", records_, " is cut off or one too many"));
    if (!entry.ok()) {
      BW_ASSIGN_OR_RETURN(const bool torn, IsTorn(lines, IsSomeRecord));
      if (torn && records_ >= from) break;
      return Annotate(entry.status(), path);
    }
    if (records_ >= from) BW_RETURN_IF_ERROR(each(records_, lines.line()));
    ++records_;
    bytes_ = lines.end_offset();
  }
  if (size > bytes_) BW_RETURN_IF_ERROR(file_->Truncate(bytes_));
  // Also when nothing was cut: the process before may have died between writing and syncing.
  BW_RETURN_IF_ERROR(file_->Sync());
  BW_RETURN_IF_ERROR(files_->SyncDir(path.substr(0, path.rfind('/'))));
  *more = records_ == first + kPayloadRecords;
  return absl::OkStatus();
}

absl::Status Payload::OpenNext() {
  const std::string path = os::JoinPath(directory_, PayloadPath(records_));
  const std::string parent = path.substr(0, path.rfind('/'));
  BW_RETURN_IF_ERROR(files_->MakeDirs(parent));
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, files_->OpenReadWrite(path, /*create=*/true));
  BW_RETURN_IF_ERROR(file->Truncate(0));
  BW_RETURN_IF_ERROR(files_->SyncDir(parent));
  file_ = std::move(file);
  earlier_bytes_ += bytes_;
  bytes_ = 0;
  return absl::OkStatus();
}

absl::Status Payload::Append(std::string_view lines, uint64_t count, bool* final) {
  *final = false;
  if (file_ == nullptr || (records_ % kPayloadRecords == 0 && bytes_ != 0)) BW_RETURN_IF_ERROR(OpenNext());
  const absl::Status written = file_->WriteAt(bytes_, lines);
  const absl::Status status = written.ok() ? file_->Sync() : written;
  if (!status.ok()) {
    // After a failed write (a full disk) half of it may stand there: cut it off and the log can go on. After a failed
    // sync nobody knows what stands there.
    *final = written.ok() || !file_->Truncate(bytes_).ok();
    return status;
  }
  bytes_ += lines.size();
  records_ += count;
  return absl::OkStatus();
}

absl::Status Payload::Read(uint64_t from, uint64_t end,
                           const std::function<bool(uint64_t, std::string_view)>& each) const {
  for (uint64_t sequence = from / kPayloadRecords * kPayloadRecords; sequence < end;) {
    const std::string path = os::JoinPath(directory_, PayloadPath(sequence));
    BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, files_->OpenRead(path));
    BW_ASSIGN_OR_RETURN(const uint64_t size, file->Size());
    Lines lines(file.get(), size);
    const uint64_t next = sequence + kPayloadRecords;
    for (; sequence < std::min(next, end); ++sequence) {
      BW_ASSIGN_OR_RETURN(const bool line, lines.Next());
      if (!line || !lines.complete()) {
        return absl::DataLossError(absl::StrCat(path, ": audit record ", sequence, " is missing"));
      }
      if (sequence >= from && !each(sequence, lines.line())) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace bailiwick::audit
