#include "common/store/key_files.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"

namespace bailiwick::store {
namespace {

constexpr absl::string_view kSuffix = ".key";
constexpr absl::string_view kFirstLine = "bailiwick storage key 1";
constexpr uint64_t kMaxFileBytes = 4096;

bool IsKeyId(std::string_view id) {
  return id.size() == 64 && id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

struct KeyFiles::Loaded {
  crypto::SecretKey secret;
  crypto::SigningKey proving;
  WrappingKey info;

  static absl::StatusOr<Loaded> From(const crypto::SecretKey& secret, absl::Time created) {
    Loaded key;
    key.secret = secret;
    const crypto::SecretKey seed = crypto::DeriveKey(secret.view(), "", "bailiwick storage key: prove");
    BW_ASSIGN_OR_RETURN(key.proving, crypto::SigningKey::FromSeed(seed.view()));
    key.info.public_key = key.proving.public_key();
    key.info.id = absl::BytesToHexString(crypto::KeyId(key.info.public_key));
    key.info.created = created;
    return key;
  }
  static absl::StatusOr<Loaded> Parse(const std::string& text) {
    const absl::Status bad = absl::InvalidArgumentError(
        "not the text of a storage key (its first line is: bailiwick storage key 1), or a damaged one");
    std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
    std::string id, created, secret;
    for (const std::string& line : lines) {
      std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(' ', 1));
      if (field.first == "id") id = field.second;
      if (field.first == "created") created = field.second;
      if (field.first == "secret") secret = field.second;
    }
    absl::Time time;
    std::string error;
    if (lines.empty() || lines[0] != kFirstLine || !absl::ParseTime(absl::RFC3339_full, created, &time, &error) ||
        secret.size() != 2 * crypto::kSecretKeySize ||
        secret.find_first_not_of("0123456789abcdef") != std::string::npos) {
      return bad;
    }
    BW_ASSIGN_OR_RETURN(crypto::SecretKey key, crypto::SecretKey::From(absl::HexStringToBytes(secret)));
    BW_ASSIGN_OR_RETURN(Loaded loaded, From(key, time));
    if (loaded.info.id != id) return bad;
    return loaded;
  }
  std::string Text() const {
    return absl::StrCat(kFirstLine, "\nid ", info.id, "\ncreated ",
                        absl::FormatTime(absl::RFC3339_full, info.created, absl::UTCTimeZone()), "\nsecret ",
                        absl::BytesToHexString({secret.view().data(), secret.view().size()}), "\n");
  }
  crypto::SecretKey wrapping() const { return crypto::DeriveKey(secret.view(), "", "bailiwick storage key: wrap"); }
};

std::string KeyFiles::PathOf(const std::string& id) const {
  return os::JoinPath(directory_, absl::StrCat(id, kSuffix));
}

absl::StatusOr<std::string> KeyFiles::ReadText(const std::string& id) {
  const std::string path = PathOf(id);
  const absl::Status missing =
      absl::NotFoundError(absl::StrCat("the storage key ", id.substr(0, 16), " is not in ", directory_,
                                       "; bring it back from its backup with: bailiwick-agent key import"));
  if (!IsKeyId(id)) return missing;
  auto file = files_->OpenRead(path);
  if (absl::IsNotFound(file.status())) return missing;
  BW_RETURN_IF_ERROR(file.status());
  BW_RETURN_IF_ERROR(os::CheckPrivate(**file, path));
  return os::ReadFile(files_, path, kMaxFileBytes);
}

absl::StatusOr<KeyFiles::Loaded> KeyFiles::Load(const std::string& id) {
  BW_ASSIGN_OR_RETURN(std::string text, ReadText(id));
  auto key = Loaded::Parse(text);
  if (!key.ok() || key->info.id != id) {
    return absl::FailedPreconditionError(
        absl::StrCat("the key file ", PathOf(id), " is damaged; remove it and import the key from its backup"));
  }
  return key;
}

absl::StatusOr<std::vector<WrappingKey>> KeyFiles::List() {
  std::vector<WrappingKey> all;
  auto names = files_->List(directory_);
  if (absl::IsNotFound(names.status())) return all;
  BW_RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    if (!absl::EndsWith(name, kSuffix)) continue;
    const std::string id = name.substr(0, name.size() - kSuffix.size());
    if (!IsKeyId(id)) continue;
    auto key = Load(id);
    if (key.ok()) {
      all.push_back(key->info);
    } else {
      all.push_back({.id = id,
                     .public_key = "",
                     .created = absl::InfinitePast(),
                     .problem = std::string(key.status().message())});
    }
  }
  std::sort(all.begin(), all.end(), [](const WrappingKey& a, const WrappingKey& b) {
    return std::tie(b.created, a.id) < std::tie(a.created, b.id);
  });
  return all;
}

absl::StatusOr<std::string> KeyFiles::Wrap(const std::string& id, std::string_view associated,
                                           const crypto::SecretKey& key) {
  BW_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
  crypto::Nonce nonce;
  random_->Fill(nonce);
  return crypto::WrapKey(loaded.wrapping(), nonce, associated, key);
}

absl::StatusOr<crypto::SecretKey> KeyFiles::Unwrap(const std::string& id, std::string_view associated,
                                                   std::string_view wrapped) {
  BW_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
  return crypto::UnwrapKey(loaded.wrapping(), associated, wrapped);
}

absl::Status KeyFiles::Prove(const std::string& id, crypto::Envelope* envelope) {
  BW_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
  crypto::AddSignature(*envelope, loaded.proving);
  return absl::OkStatus();
}

absl::Status KeyFiles::Store(const Loaded& key) {
  BW_RETURN_IF_ERROR(files_->MakeDirs(directory_));
  return os::WriteFileAtomically(files_, PathOf(key.info.id), key.Text());
}

absl::StatusOr<WrappingKey> KeyFiles::Generate(absl::Time now) {
  BW_ASSIGN_OR_RETURN(crypto::SecretKey secret, crypto::SecretKey::From(random_->Bytes(crypto::kSecretKeySize)));
  BW_ASSIGN_OR_RETURN(Loaded key, Loaded::From(secret, now));
  BW_RETURN_IF_ERROR(Store(key));
  return key.info;
}

absl::StatusOr<std::string> KeyFiles::Export(const std::string& id) {
  BW_ASSIGN_OR_RETURN(Loaded loaded, Load(id));
  return loaded.Text();
}

absl::StatusOr<WrappingKey> KeyFiles::Read(const std::string& text) const {
  BW_ASSIGN_OR_RETURN(Loaded key, Loaded::Parse(text));
  return key.info;
}

absl::StatusOr<WrappingKey> KeyFiles::Import(const std::string& text) {
  BW_ASSIGN_OR_RETURN(Loaded key, Loaded::Parse(text));
  BW_RETURN_IF_ERROR(Store(key));
  return key.info;
}

}  // namespace bailiwick::store
