// The keys of a dataset store: its data key and what follows from there being one.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/data_key.h"
#include "common/store/store_impl.h"

namespace bailiwick::store {

absl::StatusOr<std::shared_ptr<const DatasetCipher>> StoreImpl::Cipher() {
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(locked_);
  return cipher_;
}

absl::StatusOr<std::shared_ptr<const DatasetCipher>> StoreImpl::NeedCipher() {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const DatasetCipher> cipher, Cipher());
  if (cipher == nullptr) return absl::FailedPreconditionError("an encrypted pack without a data key");
  return cipher;
}

// Nothing of the dataset can be used: the caller of each operation hears why.
absl::Status StoreImpl::Lock(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  locked_ = absl::FailedPreconditionError(
      absl::StrCat("dataset ", options_.dataset.Hex(), " is encrypted and cannot be opened: ", why.message()));
  cipher_ = nullptr;
  files_.clear();
  return absl::OkStatus();
}

// Finds out whether the dataset is plain, encrypted or locked; an error is of the disk.
absl::Status StoreImpl::LoadKey() {
  auto file = ReadDataKeyFile(options_.files, options_.directory);
  if (absl::IsDataLoss(file.status()) || absl::IsFailedPrecondition(file.status())) return Lock(file.status());
  BW_RETURN_IF_ERROR(file.status());
  if (!file->has_value()) {
    BW_ASSIGN_OR_RETURN(std::vector<std::string> names, options_.files->List(packs_directory()));
    if (std::any_of(names.begin(), names.end(), [](const std::string& n) { return absl::EndsWith(n, ".spack"); })) {
      return Lock(absl::NotFoundError(
          absl::StrCat("its data key, ", os::JoinPath(options_.directory, "key"),
                       ", is missing; bring that file back from a backup, or remove the replica and fetch it anew")));
    }
    absl::MutexLock lock(&mutex_);
    locked_ = absl::OkStatus();
    return absl::OkStatus();
  }
  const DataKeyFile& key = **file;
  {
    absl::MutexLock lock(&mutex_);
    wrapping_key_ = key.wrapping_key;
  }
  if (key.erased) return Lock(absl::NotFoundError("its data key was destroyed on purpose; what it held is gone"));
  if (options_.keys == nullptr) return Lock(absl::NotFoundError("no wrapping keys are configured here"));
  auto data_key = options_.keys->Unwrap(key.wrapping_key, DataKeyPurpose(options_.dataset), key.wrapped);
  if (!data_key.ok()) return Lock(data_key.status());
  absl::MutexLock lock(&mutex_);
  cipher_ = std::make_shared<DatasetCipher>(*data_key, options_.dataset);
  locked_ = absl::OkStatus();
  return absl::OkStatus();
}

AtRest StoreImpl::at_rest() {
  absl::MutexLock lock(&mutex_);
  AtRest out{.wrapping_key = wrapping_key_, .plain_packs = plain_packs_, .locked = locked_};
  for (const auto& [id, pack] : open_) out.plain_packs += pack->encrypted() ? 0 : 1;
  return out;
}

absl::Status StoreImpl::Encrypt(const std::string& wrapping_key) {
  absl::MutexLock one(&key_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    BW_RETURN_IF_ERROR(locked_);
    if (wrapping_key_ == wrapping_key) return absl::OkStatus();
  }
  if (options_.keys == nullptr) return absl::FailedPreconditionError("no wrapping keys are configured here");
  crypto::SecretKey data_key;
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const DatasetCipher> known, Cipher());
  if (known != nullptr) {
    data_key = known->data_key();
  } else {
    BW_ASSIGN_OR_RETURN(data_key, crypto::SecretKey::From(options_.random->Bytes(crypto::kSecretKeySize)));
  }
  const std::string purpose = DataKeyPurpose(options_.dataset);
  DataKeyFile file{.wrapping_key = wrapping_key};
  BW_ASSIGN_OR_RETURN(file.wrapped, options_.keys->Wrap(wrapping_key, purpose, data_key));
  // A key that its provider does not give back would lose everything: look before it counts.
  BW_ASSIGN_OR_RETURN(crypto::SecretKey back, options_.keys->Unwrap(wrapping_key, purpose, file.wrapped));
  if (back.view() != data_key.view()) return absl::DataLossError("the wrapping key gave back another key");
  BW_RETURN_IF_ERROR(WriteDataKeyFile(options_.files, options_.directory, file));
  absl::MutexLock lock(&mutex_);
  if (cipher_ == nullptr) cipher_ = std::make_shared<DatasetCipher>(data_key, options_.dataset);
  wrapping_key_ = wrapping_key;
  return absl::OkStatus();
}

absl::Status StoreImpl::Unlock() {
  absl::MutexLock one(&key_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    if (locked_.ok()) return absl::OkStatus();
    packs_.clear();
    leaving_.clear();  // what is there comes back, to be collected once more
    plain_packs_ = 0;
    quarantined_.clear();
    wrapping_key_.clear();
  }
  BW_RETURN_IF_ERROR(Recover());
  return Cipher().status();
}

absl::StatusOr<bool> StoreImpl::CryptoErase() {
  absl::MutexLock one(&key_mutex_);
  absl::Status erased = EraseDataKeyFile(options_.files, options_.directory);
  const bool had_key = !absl::IsNotFound(erased);
  if (had_key) BW_RETURN_IF_ERROR(erased);
  {
    absl::MutexLock lock(&mutex_);
    if (!had_key && cipher_ == nullptr && locked_.ok()) return false;
  }
  BW_RETURN_IF_ERROR(Lock(absl::NotFoundError("its data key was destroyed on purpose; what it held is gone")));
  return true;
}

absl::StatusOr<std::vector<std::optional<ChunkLocation>>> StoreImpl::Locate(std::span<const Digest> digests) {
  std::shared_ptr<const DatasetCipher> cipher;
  bool plain_too = false;
  {
    absl::MutexLock lock(&mutex_);
    BW_RETURN_IF_ERROR(locked_);
    cipher = cipher_;
    plain_too = plain_packs_ > 0;
  }
  if (cipher == nullptr) return options_.index->GetMany(options_.dataset, digests);
  std::vector<Digest> blinded;
  blinded.reserve(digests.size());
  for (const Digest& digest : digests) blinded.push_back(cipher->Blind(digest));
  BW_ASSIGN_OR_RETURN(auto locations, options_.index->GetMany(options_.dataset, blinded));
  if (!plain_too) return locations;
  std::vector<Digest> missing;
  std::vector<size_t> where;
  for (size_t i = 0; i < digests.size(); ++i) {
    if (locations[i].has_value()) continue;
    missing.push_back(digests[i]);
    where.push_back(i);
  }
  BW_ASSIGN_OR_RETURN(auto found, options_.index->GetMany(options_.dataset, missing));
  for (size_t i = 0; i < where.size(); ++i) locations[where[i]] = found[i];
  return locations;
}

absl::StatusOr<std::optional<ChunkLocation>> StoreImpl::Locate(const Digest& digest) {
  std::shared_ptr<const DatasetCipher> cipher;
  bool plain_too = false;
  {
    absl::MutexLock lock(&mutex_);
    BW_RETURN_IF_ERROR(locked_);
    cipher = cipher_;
    plain_too = plain_packs_ > 0;
  }
  if (cipher == nullptr) return options_.index->Get(options_.dataset, digest);
  BW_ASSIGN_OR_RETURN(auto at, options_.index->Get(options_.dataset, cipher->Blind(digest)));
  if (at.has_value() || !plain_too) return at;
  return options_.index->Get(options_.dataset, digest);
}

absl::Status StoreImpl::IndexPack(PackId pack, bool encrypted, const PackEntries& entries) {
  if (!encrypted) return options_.index->PutPack(options_.dataset, pack, entries);
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const DatasetCipher> cipher, NeedCipher());
  PackEntries blinded = entries;
  for (auto& [digest, at] : blinded) digest = cipher->Blind(digest);
  return options_.index->PutPack(options_.dataset, pack, blinded);
}

absl::Status StoreImpl::UnindexPack(PackId pack, bool encrypted, const PackEntries& entries) {
  std::shared_ptr<const DatasetCipher> cipher;
  if (encrypted) {
    BW_ASSIGN_OR_RETURN(cipher, NeedCipher());
  }
  std::vector<Digest> digests;
  digests.reserve(entries.size());
  for (const auto& [digest, at] : entries) digests.push_back(encrypted ? cipher->Blind(digest) : digest);
  return options_.index->DropPack(options_.dataset, pack, digests);
}

}  // namespace bailiwick::store
