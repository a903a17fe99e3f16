// Power loss at every single file operation of the store: what was acknowledged reads back, and nothing that is wrong
// is ever given out. Both after the harshest restart (nothing unsynced is there) and the kindest (all is), with the
// index of before the crash and with an empty one.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "common/base/status.h"
#include "common/os/fault_files.h"
#include "common/store/key_files.h"
#include "common/store/store_fixture.h"

namespace bailiwick::store {
namespace {

class StoreCrashTest : public StoreFixture {
 protected:
  void TearDown() override {
    store_ = nullptr;
    faults_ = nullptr;
  }
  void Fresh() {
    store_ = nullptr;
    faults_ = nullptr;
    ASSERT_TRUE(hasty_.RemoveTree(dir_.path()).ok());
    ASSERT_TRUE(hasty_.MakeDirs(dir_.path()).ok());
    faults_ = std::make_unique<os::FaultFiles>(&hasty_, dir_.path());
    LoseIndex();
    live_.clear();
  }

  // Puts and flushes; what is acknowledged goes into live_.
  absl::Status Commit(uint64_t from, uint64_t to) {
    std::unique_ptr<DatasetStore::Writer> writer = store_->NewWriter();
    for (uint64_t n = from; n < to; ++n) BW_RETURN_IF_ERROR(Put(*writer, n).status());
    BW_RETURN_IF_ERROR(writer->Flush());
    for (uint64_t n = from; n < to; ++n) live_.insert(n);
    return absl::OkStatus();
  }
  absl::Status Collect() {
    return store_
        ->CollectGarbage([this](const std::function<void(const Digest&)>& live) {
          for (uint64_t n : live_) live(ChunkDigest(n));
          return absl::OkStatus();
        })
        .status();
  }
  absl::Status PutAndFlush() {
    BW_RETURN_IF_ERROR(TryOpen(faults_.get()));
    BW_RETURN_IF_ERROR(Commit(0, 50));
    BW_RETURN_IF_ERROR(Commit(40, 60));
    std::unique_ptr<DatasetStore::Writer> writer = store_->NewWriter();  // never flushed
    for (uint64_t n = 60; n < 66; ++n) BW_RETURN_IF_ERROR(Put(*writer, n, 300'000).status());
    return absl::OkStatus();
  }
  absl::Status PutAndCollect() {
    BW_RETURN_IF_ERROR(TryOpen(faults_.get()));
    BW_RETURN_IF_ERROR(Commit(0, 50));
    BW_RETURN_IF_ERROR(Commit(50, 60));
    for (uint64_t n = 5; n < 60; ++n) live_.erase(n);  // versions are dropped
    BW_RETURN_IF_ERROR(Collect());
    BW_RETURN_IF_ERROR(Commit(10, 30));
    for (uint64_t n = 0; n < 5; ++n) live_.erase(n);
    return Collect();
  }

  // The same, encrypted: from the start; what was plain; under a new wrapping key.
  absl::Status EncryptAndPut() {
    BW_RETURN_IF_ERROR(TryOpen(faults_.get()));
    BW_RETURN_IF_ERROR(store_->Encrypt(key_));
    return PutAndFlush();  // opens it anew, with its key
  }
  absl::Status PutAndEncrypt() {
    BW_RETURN_IF_ERROR(TryOpen(faults_.get()));
    BW_RETURN_IF_ERROR(Commit(0, 30));
    BW_RETURN_IF_ERROR(store_->Encrypt(key_));
    BW_RETURN_IF_ERROR(Commit(30, 40));
    BW_RETURN_IF_ERROR(Collect());
    EXPECT_TRUE(store_->at_rest().encrypted());
    return Commit(40, 60);
  }
  absl::Status PutAndRotate() {
    BW_RETURN_IF_ERROR(TryOpen(faults_.get()));
    BW_RETURN_IF_ERROR(store_->Encrypt(key_));
    BW_RETURN_IF_ERROR(Commit(0, 30));
    BW_RETURN_IF_ERROR(store_->Encrypt(other_key_));
    return Commit(30, 60);
  }
  void MakeKeys() {
    keys_ = &key_files_;
    key_ = key_files_.Generate(absl::UnixEpoch())->id;
    other_key_ = key_files_.Generate(absl::UnixEpoch())->id;
  }

  void CheckAfterRestart(const std::string& where) {
    SCOPED_TRACE(where);
    absl::Status opened = TryOpen(faults_.get());
    ASSERT_TRUE(opened.ok()) << opened;
    for (uint64_t n = 0; n < 60; ++n) {
      const bool has = Has(n);
      absl::Status read = Reads(n);  // complains about other bytes
      if (live_.count(n) != 0) {
        ASSERT_TRUE(has && read.ok()) << "acknowledged chunk " << n << ": " << read;
      } else {
        ASSERT_TRUE(has == read.ok() && (read.ok() || absl::IsNotFound(read))) << n << ": " << read;
      }
    }
    // And it works: everything can be put, and is there after one more start.
    ASSERT_TRUE(Commit(0, 60).ok());
    ASSERT_TRUE(TryOpen(faults_.get()).ok());
    for (uint64_t n = 0; n < 60; ++n) ASSERT_TRUE(Has(n) && Reads(n).ok()) << n;
  }

  void Restart(bool kind, bool lose_index) {
    store_ = nullptr;
    ASSERT_TRUE((kind ? faults_->KeepUnsynced() : faults_->DropUnsynced()).ok());
    if (lose_index) LoseIndex();
  }

  void Enumerate(const std::function<absl::Status()>& run) {
    Fresh();
    ASSERT_TRUE(run().ok());
    const uint64_t operations = faults_->operations();
    ASSERT_GT(operations, 8u);
    for (uint64_t n = 0; n <= operations; ++n) {
      for (int how = 0; how < 4; ++how) {
        Fresh();
        faults_->StopAfter(n);
        run().IgnoreError();
        Restart(how & 1, how & 2);
        CheckAfterRestart("power loss after operation " + std::to_string(n) + ", restart " + std::to_string(how));
        if (HasFatalFailure()) return;
      }
    }
  }

  TempDir key_dir_;
  KeyFiles key_files_{&hasty_, os::Random::System(), key_dir_.path()};
  std::string key_, other_key_;
  std::unique_ptr<os::FaultFiles> faults_;
  std::set<uint64_t> live_;
};

TEST_F(StoreCrashTest, PuttingAndFlushing) {
  Enumerate([this] { return PutAndFlush(); });
}

TEST_F(StoreCrashTest, CollectingGarbage) {
  Enumerate([this] { return PutAndCollect(); });
}

TEST_F(StoreCrashTest, PuttingEncrypted) {
  MakeKeys();
  Enumerate([this] { return EncryptAndPut(); });
}

TEST_F(StoreCrashTest, EncryptingWhatWasPlain) {
  MakeKeys();
  Enumerate([this] { return PutAndEncrypt(); });
}

TEST_F(StoreCrashTest, RotatingTheWrappingKey) {
  MakeKeys();
  Enumerate([this] { return PutAndRotate(); });
}

// After any power loss an erased dataset reads as it was or not at all, and erasing goes on from there.
TEST_F(StoreCrashTest, ErasingTheDataKey) {
  MakeKeys();
  for (uint64_t n = 0; n < 8; ++n) {
    for (int how = 0; how < 4; ++how) {
      Fresh();
      ASSERT_TRUE(TryOpen(faults_.get()).ok());
      ASSERT_TRUE(store_->Encrypt(key_).ok());
      ASSERT_TRUE(Commit(0, 5).ok());
      faults_->ResetOperations();
      faults_->StopAfter(n);
      const bool erased = store_->CryptoErase().ok();
      Restart(how & 1, how & 2);
      ASSERT_TRUE(TryOpen(faults_.get()).ok());
      const bool readable = store_->at_rest().locked.ok();
      ASSERT_FALSE(erased && readable) << n;
      for (uint64_t chunk = 0; chunk < 5; ++chunk) ASSERT_EQ(Reads(chunk).ok(), readable) << n;
      ASSERT_TRUE(*store_->CryptoErase());
      ASSERT_FALSE(Reads(0).ok());
    }
  }
}

TEST_F(StoreCrashTest, PowerIsLostAgainDuringTheRecovery) {
  Fresh();
  ASSERT_TRUE(PutAndFlush().ok());
  const uint64_t operations = faults_->operations();
  for (uint64_t n = operations - 6; n <= operations; ++n) {
    for (int how = 0; how < 4; ++how) {
      for (uint64_t again = 0; again < 12; ++again) {
        Fresh();
        faults_->StopAfter(n);
        PutAndFlush().IgnoreError();
        Restart(how & 1, how & 2);
        faults_->StopAfter(again);
        TryOpen(faults_.get()).IgnoreError();
        Restart(how & 1, how & 2);
        CheckAfterRestart("power loss after operation " + std::to_string(n) + ", again after " + std::to_string(again));
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace bailiwick::store
