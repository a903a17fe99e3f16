#include "common/audit/log.h"

#include <algorithm>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/audit/record.h"
#include "common/base/status.h"

namespace bailiwick::audit {
namespace {

constexpr size_t kBlock = 1 << 20;     // bytes a scan reads at once; more than a line
constexpr size_t kMaxBatch = 1 << 20;  // bytes of records that share one fsync
constexpr uint64_t kIndexEvery = 256;  // records between two remembered offsets: Read scans at most so many for nothing
constexpr uint64_t kMaxRead = 10'000;  // records one Read returns

// Lines of a file from an offset on. The last one may lack its end.
class Lines {
 public:
  Lines(os::File* file, uint64_t offset, uint64_t end) : file_(file), next_(offset), end_(end), offset_(offset) {}

  // False at the end. A line longer than any record is cut; then complete() is false.
  absl::StatusOr<bool> Next() {
    offset_ += taken_;
    buffer_.erase(0, taken_);
    taken_ = 0;
    size_t newline = buffer_.find('\n');
    while (newline == std::string::npos && next_ < end_ && buffer_.size() <= kMaxLine) {
      size_t before = buffer_.size();
      size_t want = static_cast<size_t>(std::min<uint64_t>(kBlock, end_ - next_));
      buffer_.resize(before + want);
      BW_ASSIGN_OR_RETURN(size_t got, file_->ReadAt(next_, buffer_.data() + before, want));
      buffer_.resize(before + got);
      next_ += got;
      if (got < want) end_ = next_;
      newline = buffer_.find('\n', before);
    }
    if (buffer_.empty()) return false;
    complete_ = newline != std::string::npos;
    line_ = std::string_view(buffer_).substr(0, complete_ ? newline : buffer_.size());
    taken_ = line_.size() + (complete_ ? 1 : 0);
    return true;
  }

  std::string_view line() const { return line_; }
  bool complete() const { return complete_; }
  uint64_t offset() const { return offset_; }  // of the line
  uint64_t end_offset() const { return offset_ + taken_; }

 private:
  os::File* const file_;
  uint64_t next_;  // to read
  uint64_t end_;
  uint64_t offset_;
  size_t taken_ = 0;
  std::string buffer_;
  std::string_view line_;
  bool complete_ = false;
};

struct Chain {
  uint64_t records = 0;
  uint64_t bytes = 0;  // of good records; what follows is a torn tail
  Digest hash = FirstPrevious();
  std::vector<uint64_t> index;  // offset of record 1, 1 + kIndexEvery, ...
};

// A record that a crash tore was never acknowledged, and nothing whole comes after it. It lacks its end, or it shows
// the zeros of a block that was never written (records hold no NUL). Everything else is damage to what was
// acknowledged.
absl::StatusOr<bool> IsTorn(Lines& lines) {
  std::string_view line = lines.line();
  if (lines.complete() && line.find('\0') == std::string_view::npos) return false;
  if (!lines.complete() && IsSomeRecord(line.substr(0, line.size() - 1))) return false;  // its line end was changed
  while (true) {
    BW_ASSIGN_OR_RETURN(bool more, lines.Next());
    if (!more) return true;
    if (IsSomeRecord(lines.line())) return false;
  }
}

absl::StatusOr<Chain> Scan(os::File* file, const std::string& path) {
  Chain chain;
  BW_ASSIGN_OR_RETURN(uint64_t size, file->Size());
  Lines lines(file, 0, size);
  while (true) {
    BW_ASSIGN_OR_RETURN(bool more, lines.Next());
    if (!more) return chain;
    absl::StatusOr<Decoded> decoded =
        lines.complete() ? Decode(lines.line(), chain.records + 1, chain.hash)
                         : absl::DataLossError(absl::StrCat("audit record ", chain.records + 1, " is cut off"));
    if (!decoded.ok()) {
      BW_ASSIGN_OR_RETURN(bool torn, IsTorn(lines));
      if (torn) return chain;
      return Annotate(decoded.status(), path);
    }
    if (chain.records % kIndexEvery == 0) chain.index.push_back(lines.offset());
    ++chain.records;
    chain.bytes = lines.end_offset();
    chain.hash = decoded->hash;
  }
}

class FileLog : public Log {
 public:
  FileLog(std::string path, const os::Clock* clock, std::unique_ptr<os::File> file, Chain chain)
      : path_(std::move(path)), clock_(clock), file_(std::move(file)), chain_(std::move(chain)) {}

  absl::StatusOr<uint64_t> Append(const std::string& kind, const std::string& subject,
                                  const std::string& detail) override {
    BW_RETURN_IF_ERROR(CheckNames(kind, subject));
    Waiter waiter;
    waiter.record.kind = kind;
    waiter.record.subject = subject;
    BW_ASSIGN_OR_RETURN(waiter.record.detail, CompactDetail(detail));

    absl::MutexLock lock(&mutex_);
    queue_.push_back(&waiter);
    // Whoever finds no writer becomes it and takes along all that wait.
    while (!waiter.done) {
      if (writing_) {
        changed_.Wait(&mutex_);
      } else {
        WriteBatch();
      }
    }
    BW_RETURN_IF_ERROR(waiter.status);
    return waiter.record.sequence;
  }

  absl::StatusOr<std::vector<Record>> Read(uint64_t from, uint64_t limit) override {
    from = std::max<uint64_t>(from, 1);
    limit = std::min(limit, kMaxRead);
    uint64_t offset, end, sequence;
    {
      absl::MutexLock lock(&mutex_);
      if (from > chain_.records) return std::vector<Record>{};
      offset = chain_.index[(from - 1) / kIndexEvery];
      sequence = (from - 1) / kIndexEvery * kIndexEvery + 1;
      end = chain_.bytes;
    }
    std::vector<Record> records;
    Digest previous;
    Lines lines(file_.get(), offset, end);
    for (; records.size() < limit; ++sequence) {
      BW_ASSIGN_OR_RETURN(bool more, lines.Next());
      if (!more) break;
      if (previous.empty()) {  // the first of a run: trust what it says it follows, Open has checked it
        size_t at = lines.line().rfind(",\"prev\":\"");
        if (at == std::string_view::npos)
          return absl::DataLossError(absl::StrCat(path_, ": audit record ", sequence, " is not a record"));
        BW_ASSIGN_OR_RETURN(previous, PreviousOf(lines.line().substr(at + 9, 64), sequence));
      }
      absl::StatusOr<Decoded> decoded = Decode(lines.line(), sequence, previous);
      if (!decoded.ok()) return Annotate(decoded.status(), path_);
      previous = decoded->hash;
      if (sequence >= from) records.push_back(std::move(decoded->record));
    }
    return records;
  }

 private:
  struct Waiter {
    Record record;
    absl::Status status;
    bool done = false;
  };

  absl::StatusOr<Digest> PreviousOf(std::string_view hex, uint64_t sequence) const {
    std::string raw = absl::HexStringToBytes(absl::string_view(hex.data(), hex.size()));
    absl::StatusOr<Digest> digest = Digest::From(Digest::kSha256, raw);
    if (!digest.ok()) return absl::DataLossError(absl::StrCat(path_, ": audit record ", sequence, " is not a record"));
    return digest;
  }

  // Writes what waits, one fsync for all, and tells the waiters. Releases the mutex meanwhile.
  void WriteBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    writing_ = true;
    std::vector<Waiter*> batch;
    std::string bytes;
    Chain next = {chain_.records, chain_.bytes, chain_.hash, {}};
    const absl::Time now = clock_->Now();
    while (!queue_.empty() && bytes.size() < kMaxBatch) {
      Waiter* waiter = queue_.front();
      queue_.pop_front();
      waiter->record.sequence = next.records + 1;
      waiter->record.at = now;
      Encoded encoded = Encode(waiter->record, next.hash);
      if (next.records % kIndexEvery == 0) next.index.push_back(next.bytes);
      ++next.records;
      next.bytes += encoded.line.size();
      next.hash = encoded.hash;
      bytes += encoded.line;
      batch.push_back(waiter);
    }
    const uint64_t at = chain_.bytes;
    absl::Status status = broken_;
    mutex_.Unlock();
    if (status.ok()) status = Write(at, bytes);
    mutex_.Lock();
    if (status.ok()) {
      chain_.records = next.records;
      chain_.bytes = next.bytes;
      chain_.hash = next.hash;
      chain_.index.insert(chain_.index.end(), next.index.begin(), next.index.end());
    }
    for (Waiter* waiter : batch) {
      waiter->status = status;
      waiter->done = true;
    }
    writing_ = false;
    changed_.SignalAll();
  }

  // By the one writer only.
  absl::Status Write(uint64_t at, const std::string& bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::Status written = file_->WriteAt(at, bytes);
    absl::Status status = written.ok() ? file_->Sync() : written;
    if (status.ok()) return status;
    status = Annotate(status, "the audit log cannot be written, so nothing that it must record is done");
    // After a failed write (a full disk) half a batch may stand there: cut it off and the log can go on. After a failed
    // sync nobody knows what stands there: only opening it anew tells.
    if (!written.ok() && file_->Truncate(at).ok()) return status;
    absl::MutexLock lock(&mutex_);
    broken_ = status;
    return status;
  }

  const std::string path_;
  const os::Clock* const clock_;
  const std::unique_ptr<os::File> file_;  // written only by the thread that set writing_
  absl::Mutex mutex_;
  absl::CondVar changed_;
  Chain chain_ ABSL_GUARDED_BY(mutex_);  // what is durable
  std::deque<Waiter*> queue_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<Log>> Log::Open(os::Files* files, const os::Clock* clock, const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, files->OpenReadWrite(path, true));
  BW_ASSIGN_OR_RETURN(Chain chain, Scan(file.get(), path));
  BW_ASSIGN_OR_RETURN(uint64_t size, file->Size());
  if (size > chain.bytes) BW_RETURN_IF_ERROR(file->Truncate(chain.bytes));
  // Also when nothing was cut: the process before may have died between creating or writing and syncing.
  BW_RETURN_IF_ERROR(file->Sync());
  size_t slash = path.rfind('/');
  BW_RETURN_IF_ERROR(files->SyncDir(slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash)));
  return std::unique_ptr<Log>(new FileLog(path, clock, std::move(file), std::move(chain)));
}

absl::StatusOr<uint64_t> Verify(os::Files* files, const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, files->OpenRead(path));
  BW_ASSIGN_OR_RETURN(Chain chain, Scan(file.get(), path));
  return chain.records;
}

}  // namespace bailiwick::audit
