// Wrapping keys in files: <directory>/<id>.key, mode 0600. A file holds one secret, from which both what wraps and what
// proves are derived; the id is a hash of the proving key's public half, never of the secret. Losing the last copy of a
// file loses every dataset whose data key it wraps, for good: export it to a safe place. Thread-safe.
#pragma once

#include <string>

#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/os/random.h"
#include "common/store/key_provider.h"

namespace bailiwick::store {

class KeyFiles : public KeyProvider {
 public:
  KeyFiles(os::Files* files, os::Random* random, std::string directory)
      : files_(files), random_(random), directory_(std::move(directory)) {}

  absl::StatusOr<std::vector<WrappingKey>> List() override;
  absl::StatusOr<std::string> Wrap(const std::string& id, std::string_view associated,
                                   const crypto::SecretKey& key) override;
  absl::StatusOr<crypto::SecretKey> Unwrap(const std::string& id, std::string_view associated,
                                           std::string_view wrapped) override;
  absl::Status Prove(const std::string& id, crypto::Envelope* envelope) override;

  // A new key; durable on OK.
  absl::StatusOr<WrappingKey> Generate(absl::Time now);
  // The text of a key's file, to be kept safe; Import of it brings the key back. Durable on OK; importing what is here
  // is OK. INVALID_ARGUMENT: not such a text.
  absl::StatusOr<std::string> Export(const std::string& id);
  absl::StatusOr<WrappingKey> Import(const std::string& text);
  absl::StatusOr<WrappingKey> Read(const std::string& text) const;  // what Import would bring back; keeps nothing

  const std::string& directory() const { return directory_; }

 private:
  struct Loaded;
  std::string PathOf(const std::string& id) const;
  absl::StatusOr<std::string> ReadText(const std::string& id);
  absl::StatusOr<Loaded> Load(const std::string& id);
  absl::Status Store(const Loaded& key);

  os::Files* const files_;
  os::Random* const random_;
  const std::string directory_;
};

}  // namespace bailiwick::store
