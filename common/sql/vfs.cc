#include "common/sql/vfs.h"

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "common/os/clock.h"
#include "common/os/random.h"

namespace bailiwick::sql {
namespace {

constexpr int kMaxPath = 4096;

struct SqlFile {
  sqlite3_file base;  // first: SQLite knows only this part
  os::File* file;
  Vfs* vfs;
  std::string* directory;
  bool synced_name;  // the directory entry is known to be durable
};

SqlFile* Of(sqlite3_file* file) { return reinterpret_cast<SqlFile*>(file); }
Vfs* Of(sqlite3_vfs* vfs) { return static_cast<Vfs*>(vfs->pAppData); }

int Fail(Vfs* vfs, const absl::Status& status, int code) {
  vfs->SetError(status);
  return absl::IsResourceExhausted(status) && code == SQLITE_IOERR_WRITE ? SQLITE_FULL : code;
}

std::string DirectoryOf(std::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

int Close(sqlite3_file* f) {
  delete Of(f)->file;
  delete Of(f)->directory;
  Of(f)->file = nullptr;
  Of(f)->directory = nullptr;
  return SQLITE_OK;
}

int Read(sqlite3_file* f, void* out, int amount, sqlite3_int64 offset) {
  size_t want = static_cast<size_t>(amount);
  auto got = Of(f)->file->ReadAt(static_cast<uint64_t>(offset), static_cast<char*>(out), want);
  if (!got.ok()) return Fail(Of(f)->vfs, got.status(), SQLITE_IOERR_READ);
  if (*got == want) return SQLITE_OK;
  std::memset(static_cast<char*>(out) + *got, 0, want - *got);  // SQLite relies on it
  return SQLITE_IOERR_SHORT_READ;
}

int Write(sqlite3_file* f, const void* data, int amount, sqlite3_int64 offset) {
  absl::Status status = Of(f)->file->WriteAt(static_cast<uint64_t>(offset),
                                             {static_cast<const char*>(data), static_cast<size_t>(amount)});
  return status.ok() ? SQLITE_OK : Fail(Of(f)->vfs, status, SQLITE_IOERR_WRITE);
}

int Truncate(sqlite3_file* f, sqlite3_int64 size) {
  absl::Status status = Of(f)->file->Truncate(static_cast<uint64_t>(size));
  return status.ok() ? SQLITE_OK : Fail(Of(f)->vfs, status, SQLITE_IOERR_TRUNCATE);
}

int Sync(sqlite3_file* f, int) {
  SqlFile* file = Of(f);
  if (!file->vfs->broken().ok()) return Fail(file->vfs, file->vfs->broken(), SQLITE_IOERR_FSYNC);
  absl::Status status = file->file->Sync();
  if (status.ok() && !file->synced_name) {
    // Also for a file that was there: a process that died may have created it without making its name durable.
    status = file->vfs->files()->SyncDir(*file->directory);
    file->synced_name = status.ok();
  }
  if (status.ok()) return SQLITE_OK;
  file->vfs->SetBroken(status);
  return Fail(file->vfs, status, SQLITE_IOERR_FSYNC);
}

int FileSize(sqlite3_file* f, sqlite3_int64* size) {
  auto got = Of(f)->file->Size();
  if (!got.ok()) return Fail(Of(f)->vfs, got.status(), SQLITE_IOERR_FSTAT);
  *size = static_cast<sqlite3_int64>(*got);
  return SQLITE_OK;
}

int Lock(sqlite3_file*, int) { return SQLITE_OK; }
int Unlock(sqlite3_file*, int) { return SQLITE_OK; }
int CheckReservedLock(sqlite3_file*, int* out) {
  *out = 0;
  return SQLITE_OK;
}
int FileControl(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int SectorSize(sqlite3_file*) { return 4096; }
int DeviceCharacteristics(sqlite3_file*) { return 0; }  // assume nothing of the disk

// Version 1: no shared memory, no mmap.
const sqlite3_io_methods kMethods = {
    1,
    Close,
    Read,
    Write,
    Truncate,
    Sync,
    FileSize,
    Lock,
    Unlock,
    CheckReservedLock,
    FileControl,
    SectorSize,
    DeviceCharacteristics,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

int Open(sqlite3_vfs* v, const char* path, sqlite3_file* out, int flags, int* out_flags) {
  Vfs* vfs = Of(v);
  SqlFile* file = Of(out);
  std::memset(static_cast<void*>(file), 0, sizeof *file);
  if (path == nullptr || (flags & SQLITE_OPEN_DELETEONCLOSE) != 0) {
    return Fail(vfs, absl::InternalError("SQLite asked for a temporary file; they are kept in memory here"),
                SQLITE_CANTOPEN);
  }
  os::Files* files = vfs->files();
  auto opened = (flags & SQLITE_OPEN_READONLY) != 0    ? files->OpenRead(path)
                : (flags & SQLITE_OPEN_EXCLUSIVE) != 0 ? files->CreateNew(path)
                                                       : files->OpenReadWrite(path, (flags & SQLITE_OPEN_CREATE) != 0);
  if (!opened.ok()) return Fail(vfs, opened.status(), SQLITE_CANTOPEN);
  file->file = opened->release();
  file->vfs = vfs;
  file->directory = new std::string(DirectoryOf(path));
  file->base.pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int Delete(sqlite3_vfs* v, const char* path, int sync_dir) {
  Vfs* vfs = Of(v);
  absl::Status status = vfs->files()->Remove(path);
  if (absl::IsNotFound(status)) return SQLITE_IOERR_DELETE_NOENT;
  if (!status.ok()) return Fail(vfs, status, SQLITE_IOERR_DELETE);
  if (sync_dir == 0) return SQLITE_OK;
  status = vfs->files()->SyncDir(DirectoryOf(path));
  if (status.ok()) return SQLITE_OK;
  vfs->SetBroken(status);
  return Fail(vfs, status, SQLITE_IOERR_DIR_FSYNC);
}

int Access(sqlite3_vfs* v, const char* path, int, int* out) {
  auto exists = Of(v)->files()->Exists(path);
  if (!exists.ok()) return Fail(Of(v), exists.status(), SQLITE_IOERR_ACCESS);
  *out = *exists ? 1 : 0;
  return SQLITE_OK;
}

int FullPathname(sqlite3_vfs*, const char* path, int size, char* out) {
  size_t length = std::strlen(path);
  if (length + 1 > static_cast<size_t>(size)) return SQLITE_CANTOPEN;
  std::memcpy(out, path, length + 1);
  return SQLITE_OK;
}

int Randomness(sqlite3_vfs*, int size, char* out) {
  os::Random::System()->Fill({reinterpret_cast<uint8_t*>(out), static_cast<size_t>(size)});
  return size;
}

int Sleep(sqlite3_vfs*, int microseconds) {
  os::Clock::System()->SleepFor(absl::Microseconds(microseconds));
  return microseconds;
}

int CurrentTimeInt64(sqlite3_vfs*, sqlite3_int64* out) {
  constexpr sqlite3_int64 kUnixEpochJulianMs = 210866760000000;  // as SQLite counts: milliseconds of the Julian day
  *out = kUnixEpochJulianMs + absl::ToUnixMillis(os::Clock::System()->Now());
  return SQLITE_OK;
}

int CurrentTime(sqlite3_vfs* vfs, double* out) {
  sqlite3_int64 ms = 0;
  CurrentTimeInt64(vfs, &ms);
  *out = static_cast<double>(ms) / 86400000.0;
  return SQLITE_OK;
}

int GetLastError(sqlite3_vfs*, int, char*) { return 0; }

std::string UniqueName() {
  static std::atomic<uint64_t> counter{0};
  return absl::StrCat("bailiwick-", counter.fetch_add(1));
}

}  // namespace

Vfs::Vfs(os::Files* files) : files_(files), name_(UniqueName()), vfs_(std::make_unique<sqlite3_vfs>()) {
  std::memset(vfs_.get(), 0, sizeof *vfs_);
  vfs_->iVersion = 2;
  vfs_->szOsFile = sizeof(SqlFile);
  vfs_->mxPathname = kMaxPath;
  vfs_->zName = name_.c_str();
  vfs_->pAppData = this;
  vfs_->xOpen = Open;
  vfs_->xDelete = Delete;
  vfs_->xAccess = Access;
  vfs_->xFullPathname = FullPathname;
  vfs_->xRandomness = Randomness;
  vfs_->xSleep = Sleep;
  vfs_->xCurrentTime = CurrentTime;
  vfs_->xGetLastError = GetLastError;
  vfs_->xCurrentTimeInt64 = CurrentTimeInt64;
  sqlite3_vfs_register(vfs_.get(), 0);
}

Vfs::~Vfs() { sqlite3_vfs_unregister(vfs_.get()); }

absl::Status Vfs::TakeError() {
  absl::Status taken = std::move(error_);
  error_ = absl::OkStatus();
  return taken;
}

void Vfs::SetBroken(const absl::Status& status) {
  if (broken_.ok()) broken_ = status;
}

}  // namespace bailiwick::sql
