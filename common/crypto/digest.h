// SHA-256 through OpenSSL. Thread-safe functions; a Hasher belongs to one thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/digest.h"

namespace bailiwick::crypto {

Digest Sha256(std::string_view data);

class Hasher {
 public:
  Hasher();
  ~Hasher();
  void Update(std::string_view data);
  Digest Finish();  // and starts anew

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bailiwick::crypto
