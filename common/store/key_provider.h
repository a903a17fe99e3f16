// Wrapping keys: each wraps the data keys of datasets and proves that it is here. The signed registry says which region
// a wrapping key belongs to, by its id; the key itself never leaves its provider. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/crypto/seal.h"
#include "common/crypto/sign.h"

namespace bailiwick::store {

// What may be known of a wrapping key.
struct WrappingKey {
  std::string id;          // SHA-256 of public_key, 64 hexadecimal digits
  std::string public_key;  // Ed25519, 32 bytes: checks the proofs that the key signs
  absl::Time created;
  std::string problem;  // why it cannot be used, with the remedy; empty: it can
};

class KeyProvider {
 public:
  virtual ~KeyProvider() = default;
  // The newest first; those with a problem too.
  virtual absl::StatusOr<std::vector<WrappingKey>> List() = 0;
  // These three: NOT_FOUND when the key is not here, FAILED_PRECONDITION when it is and may not be used (its file can
  // be read by others, or is damaged). `associated` says what the data key is for; unwrapping for another is DATA_LOSS.
  virtual absl::StatusOr<std::string> Wrap(const std::string& id, std::string_view associated,
                                           const crypto::SecretKey& key) = 0;
  virtual absl::StatusOr<crypto::SecretKey> Unwrap(const std::string& id, std::string_view associated,
                                                   std::string_view wrapped) = 0;
  // Adds the key's signature: whoever presents the envelope could use the key.
  virtual absl::Status Prove(const std::string& id, crypto::Envelope* envelope) = 0;
};

}  // namespace bailiwick::store
