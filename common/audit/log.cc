#include "common/audit/log.h"

#include <algorithm>
#include <deque>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/audit/chain.h"
#include "common/audit/detail.h"
#include "common/audit/payload.h"
#include "common/audit/tiles.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace bailiwick::audit {
namespace {

constexpr size_t kMaxBatch = 1 << 20;    // bytes of records that share one fsync
constexpr uint64_t kMaxUnsigned = 8192;  // records: bounds what waits in memory for a checkpoint, and the work of Open
constexpr size_t kOriginHex = 16;

class FileLog : public Log {
 public:
  FileLog(os::Files* files, const os::Clock* clock, os::Random* random, const std::string& directory)
      : files_(files), clock_(clock), random_(random), directory_(directory), payload_(files, directory) {}
  ~FileLog() override {
    if (absl::Status signed_now = Sign(); !signed_now.ok()) {
      telemetry::Log(telemetry::Level::kWarning, "audit-log-not-signed", {{"error", signed_now}});
    }
  }

  absl::Status Recover() {
    BW_RETURN_IF_ERROR(files_->MakeDirs(directory_));
    absl::MutexLock lock(&mutex_);
    BW_ASSIGN_OR_RETURN(checkpoint_, ReadNote("checkpoint"));
    BW_ASSIGN_OR_RETURN(witnessed_, ReadNote("witnessed"));
    if (!checkpoint_.empty()) {
      absl::StatusOr<SignedCheckpoint> last = ReadCheckpoint(checkpoint_);
      if (!last.ok()) return Annotate(last.status(), os::JoinPath(directory_, "checkpoint"));
      BW_ASSIGN_OR_RETURN(tree_, TileTree::Load(files_, directory_, last->checkpoint.size, last->checkpoint.root));
    }
    signed_ = tree_.size();
    BW_RETURN_IF_ERROR(payload_.Recover(signed_, [this](uint64_t sequence, std::string_view line) -> absl::Status {
      mutex_.AssertHeld();
      BW_ASSIGN_OR_RETURN(std::string entry, EntryOf(line, sequence));
      tree_.Add(entry);
      return absl::OkStatus();
    }));
    RemoveLeftPartials(files_, directory_, signed_);
    return absl::OkStatus();
  }

  // The first record, and what an older build left.
  absl::Status Begin() {
    if (size() == 0) BW_RETURN_IF_ERROR(Append("log-began", "audit", "{\"format\":2}").status());
    {
      absl::MutexLock lock(&mutex_);
      BW_RETURN_IF_ERROR(payload_.Read(0, 1, [this](uint64_t, std::string_view line) {
        mutex_.AssertHeld();
        if (auto entry = EntryOf(line, 0); entry.ok()) id_ = LeafHash(*entry).Hex().substr(0, kOriginHex);
        return false;
      }));
      if (id_.empty()) return absl::DataLossError(absl::StrCat(directory_, ": audit record 0 is damaged"));
    }
    const std::string old = directory_ + ".log";
    BW_ASSIGN_OR_RETURN(const bool there, files_->Exists(old));
    if (!there) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(const Chain chain, VerifyChain(files_, old));
    std::string name = "before.log";
    for (int n = 2;; ++n) {  // an older build may have run again since
      BW_ASSIGN_OR_RETURN(const bool taken, files_->Exists(os::JoinPath(directory_, name)));
      if (!taken) break;
      name = absl::StrCat("before-", n, ".log");
    }
    BW_RETURN_IF_ERROR(
        Append("log-continued", "audit",
               Detail().Text("file", name).Number("records", chain.records).Text("head", chain.head.Hex()))
            .status());
    BW_RETURN_IF_ERROR(files_->Rename(old, os::JoinPath(directory_, name)));
    BW_RETURN_IF_ERROR(files_->SyncDir(directory_));
    return files_->SyncDir(directory_.substr(0, std::max<size_t>(1, directory_.rfind('/'))));
  }

  absl::StatusOr<uint64_t> Append(const std::string& kind, const std::string& subject,
                                  const std::string& detail) override {
    BW_ASSIGN_OR_RETURN(Waiter waiter, Prepare(kind, subject, detail));
    bool sign = false;
    {
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
      sign = waiter.status.ok() && signer_.has_value() && tree_.size() - signed_ >= kMaxUnsigned && !signing_;
    }
    BW_RETURN_IF_ERROR(waiter.status);
    if (sign) {  // the record stands, whatever comes of this
      if (absl::Status signed_now = Sign(); !signed_now.ok()) {
        telemetry::Log(telemetry::Level::kError, "audit-log-not-signed", {{"error", signed_now}});
      }
    }
    return waiter.record.sequence;
  }

  absl::Status AppendOrOwe(const std::string& kind, const std::string& subject, const std::string& detail) override {
    const absl::Status full = Append(kind, subject, detail).status();
    if (!absl::IsResourceExhausted(full)) return full;
    BW_ASSIGN_OR_RETURN(Waiter waiter, Prepare(kind, subject, detail));
    waiter.record.at = clock_->Now();
    absl::MutexLock lock(&mutex_);
    if (owed_.size() >= kMaxOwed) return full;
    owed_.push_back(std::move(waiter));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Record>> Read(uint64_t from, uint64_t limit) override {
    std::vector<Record> records;
    absl::Status bad;
    BW_RETURN_IF_ERROR(Each(from, limit, [&](uint64_t sequence, std::string_view line) {
      absl::StatusOr<Decoded> decoded = Decode(line, sequence);
      if (decoded.ok()) records.push_back(std::move(decoded->record));
      bad.Update(decoded.status());
      return bad.ok();
    }));
    BW_RETURN_IF_ERROR(Annotate(bad, directory_));
    return records;
  }

  absl::StatusOr<std::vector<std::string>> ReadLines(uint64_t from, uint64_t limit) override {
    std::vector<std::string> out;
    BW_RETURN_IF_ERROR(Each(from, limit, [&](uint64_t, std::string_view line) {
      out.emplace_back(line);
      return true;
    }));
    return out;
  }

  uint64_t bytes() const override { return payload_.bytes(); }
  uint64_t size() const override {
    absl::MutexLock lock(&mutex_);
    return tree_.size();
  }

  absl::Status SignAs(const std::string& name, const crypto::SigningKey& key) override {
    absl::MutexLock lock(&mutex_);
    const std::string origin = absl::StrCat(name, "/audit/", id_);
    if (!IsKeyName(origin)) {
      return absl::FailedPreconditionError(
          absl::StrCat("\"", name, "\" cannot sign an audit log: it has spaces, or is too long"));
    }
    signer_ = Signer{origin, key};
    return absl::OkStatus();
  }

  absl::Status Sign() override {
    std::vector<TileTree::File> tiles;
    Checkpoint next;
    uint64_t before = 0, witnessed = 0;
    std::optional<Signer> signer;
    {
      absl::MutexLock lock(&mutex_);
      if (!owed_.empty() && !writing_) WriteBatch();  // there may be space again
      while (signing_) changed_.Wait(&mutex_);
      if (!signer_.has_value() || (signed_ == tree_.size() && !checkpoint_.empty())) return absl::OkStatus();
      signing_ = true;
      signer = signer_;
      before = signed_;
      witnessed = WitnessedSize();
      tiles = tree_.Unwritten();
      next = {signer->origin, tree_.size(), tree_.Root()};
    }
    Note note{.text = next.Text(), .signatures = {SignNote(next.Text(), signer->origin, signer->key)}};
    const std::string bytes = note.Encode();
    absl::Status status = WriteTiles(files_, directory_, tiles);
    if (status.ok()) status = os::WriteFileAtomically(files_, os::JoinPath(directory_, "checkpoint"), bytes);
    if (status.ok()) RemovePartials(files_, directory_, before, next.size, witnessed);
    absl::MutexLock lock(&mutex_);
    signing_ = false;
    changed_.SignalAll();
    if (!status.ok()) return Annotate(status, "the audit log cannot be signed");
    tree_.Written(next.size);
    signed_ = next.size;
    checkpoint_ = bytes;
    return absl::OkStatus();
  }

  std::string origin() const override {
    absl::MutexLock lock(&mutex_);
    return signer_.has_value() ? signer_->origin : "";
  }
  std::string checkpoint() const override {
    absl::MutexLock lock(&mutex_);
    return checkpoint_;
  }
  std::string witnessed() const override {
    absl::MutexLock lock(&mutex_);
    return witnessed_;
  }

  absl::Status PutWitnessed(const Note& note) override {
    BW_ASSIGN_OR_RETURN(const Checkpoint next, Checkpoint::Parse(note.text));
    {
      absl::MutexLock lock(&mutex_);
      while (signing_) changed_.Wait(&mutex_);
      if (!witnessed_.empty()) {
        BW_ASSIGN_OR_RETURN(const SignedCheckpoint kept, ReadCheckpoint(witnessed_));
        if (kept.checkpoint.size > next.size ||
            (kept.checkpoint.size == next.size && kept.note.signatures.size() >= note.signatures.size())) {
          return absl::OkStatus();
        }
      }
      signing_ = true;
    }
    // While the others looked at it newer ones may have been signed, and its partial files removed.
    const std::string bytes = note.Encode();
    absl::Status status = RestorePartials(files_, directory_, next.size);
    if (status.ok()) status = os::WriteFileAtomically(files_, os::JoinPath(directory_, "witnessed"), bytes);
    absl::MutexLock lock(&mutex_);
    signing_ = false;
    changed_.SignalAll();
    if (status.ok()) witnessed_ = bytes;
    return status;
  }

  absl::StatusOr<std::vector<std::string>> Entries(uint64_t from, uint64_t limit) override {
    const uint64_t end = SignedSize();
    std::vector<std::string> out;
    absl::Status bad;
    if (from >= end) return out;
    BW_RETURN_IF_ERROR(payload_.Read(from, std::min(end, from + std::min(limit, kMaxRead)),
                                     [&](uint64_t sequence, std::string_view line) {
                                       absl::StatusOr<std::string> entry = EntryOf(line, sequence);
                                       if (entry.ok()) out.push_back(*std::move(entry));
                                       bad.Update(entry.status());
                                       return bad.ok();
                                     }));
    BW_RETURN_IF_ERROR(Annotate(bad, directory_));
    return out;
  }

  absl::StatusOr<std::vector<Digest>> Consistency(uint64_t old_size, uint64_t size) override {
    const uint64_t end = SignedSize();
    if (size > end) return absl::InvalidArgumentError(absl::StrCat("only ", end, " records are signed"));
    return ConsistencyProof(old_size, size, ReadSubtrees(files_, directory_, end));
  }

  absl::StatusOr<Digest> Root(uint64_t size) override {
    const uint64_t end = SignedSize();
    if (size > end) return absl::InvalidArgumentError(absl::StrCat("only ", end, " records are signed"));
    return RootOf(size, ReadSubtrees(files_, directory_, end));
  }

  absl::StatusOr<std::vector<Digest>> Inclusion(uint64_t sequence, uint64_t size) override {
    const uint64_t end = SignedSize();
    if (size > end) return absl::InvalidArgumentError(absl::StrCat("only ", end, " records are signed"));
    return InclusionProof(sequence, size, ReadSubtrees(files_, directory_, end));
  }

 private:
  struct Waiter {
    Record record;
    std::string salt;
    absl::Status status;
    bool done = false;
  };
  struct Signer {
    std::string origin;
    crypto::SigningKey key;
  };

  absl::StatusOr<Waiter> Prepare(const std::string& kind, const std::string& subject, const std::string& detail) const {
    BW_RETURN_IF_ERROR(CheckNames(kind, subject));
    Waiter waiter;
    waiter.record.kind = kind;
    waiter.record.subject = subject;
    BW_ASSIGN_OR_RETURN(waiter.record.detail, CompactDetail(detail));
    waiter.salt = random_->Bytes(kSaltBytes);
    return waiter;
  }

  absl::StatusOr<std::string> ReadNote(const char* name) const {
    auto bytes = os::ReadFile(files_, os::JoinPath(directory_, name), kMaxNote);
    if (absl::IsNotFound(bytes.status())) return std::string();
    return bytes;
  }

  uint64_t WitnessedSize() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const absl::StatusOr<SignedCheckpoint> kept = ReadCheckpoint(witnessed_);
    return kept.ok() ? kept->checkpoint.size : 0;
  }

  uint64_t SignedSize() const {
    absl::MutexLock lock(&mutex_);
    return signed_;
  }

  absl::Status Each(uint64_t from, uint64_t limit, const std::function<bool(uint64_t, std::string_view)>& each) const {
    const uint64_t end = size();
    if (from >= end) return absl::OkStatus();
    return payload_.Read(from, from + std::min({limit, kMaxRead, end - from}), each);
  }

  // Writes what is owed and what waits, one fsync for all, and tells the waiters. Releases the mutex meanwhile.
  void WriteBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    writing_ = true;
    std::vector<Waiter*> batch;
    std::vector<std::string> entries;
    std::string bytes;
    const absl::Time now = clock_->Now();
    const uint64_t first = tree_.size();
    const uint64_t end = (first / kPayloadRecords + 1) * kPayloadRecords;  // a file is durable before the next begins
    const auto room = [&] { return bytes.size() < kMaxBatch && first + entries.size() < end; };
    const auto take = [&](Waiter& waiter) {
      waiter.record.sequence = first + entries.size();
      Encoded encoded = Encode(waiter.record, waiter.salt);
      bytes += encoded.line;
      entries.push_back(std::move(encoded.entry));
    };
    size_t owed = 0;
    for (; owed < owed_.size() && room(); ++owed) take(owed_[owed]);
    while (!queue_.empty() && room()) {
      Waiter* waiter = queue_.front();
      queue_.pop_front();
      waiter->record.at = now;
      take(*waiter);
      batch.push_back(waiter);
    }
    absl::Status status = broken_;
    bool final = false;
    mutex_.Unlock();
    if (status.ok()) {
      status = Annotate(payload_.Append(bytes, entries.size(), &final),
                        "the audit log cannot be written, so nothing that it must record is done");
    }
    mutex_.Lock();
    if (final) broken_ = status;
    if (status.ok()) {
      for (const std::string& entry : entries) tree_.Add(entry);
      owed_.erase(owed_.begin(), owed_.begin() + static_cast<std::ptrdiff_t>(owed));
    } else if (batch.empty()) {  // what is owed left no room beside it: who waits is refused too, instead of for ever
      batch.assign(queue_.begin(), queue_.end());
      queue_.clear();
    }
    for (Waiter* waiter : batch) {
      waiter->status = status;
      waiter->done = true;
    }
    writing_ = false;
    changed_.SignalAll();
  }

  os::Files* const files_;
  const os::Clock* const clock_;
  os::Random* const random_;
  const std::string directory_;
  Payload payload_;  // written only by the thread that set writing_
  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  TileTree tree_ ABSL_GUARDED_BY(mutex_);  // of what is durable
  uint64_t signed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string checkpoint_ ABSL_GUARDED_BY(mutex_);
  std::string witnessed_ ABSL_GUARDED_BY(mutex_);
  std::string id_ ABSL_GUARDED_BY(mutex_);
  std::optional<Signer> signer_ ABSL_GUARDED_BY(mutex_);
  std::deque<Waiter> owed_ ABSL_GUARDED_BY(mutex_);  // AppendOrOwe
  std::deque<Waiter*> queue_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool signing_ ABSL_GUARDED_BY(mutex_) = false;  // one thread changes tile/, checkpoint and witnessed
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<Log>> Log::Open(os::Files* files, const os::Clock* clock, os::Random* random,
                                               const std::string& directory) {
  auto log = std::make_unique<FileLog>(files, clock, random, directory);
  if (absl::Status recovered = log->Recover(); !recovered.ok()) {
    if (!absl::IsDataLoss(recovered)) return recovered;
    return absl::DataLossError(absl::StrCat(std::string(recovered.message()), "; the audit log ", directory,
                                            " is damaged: bring it back from a backup, or move it away and keep it as "
                                            "evidence: a new one begins, and those who watch it will say so"));
  }
  BW_RETURN_IF_ERROR(log->Begin());
  return std::unique_ptr<Log>(std::move(log));
}

}  // namespace bailiwick::audit
