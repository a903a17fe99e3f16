// SHA-256 through OpenSSL, and of many messages by our own code where the processor can do two at once. Thread-safe
// functions; a Hasher belongs to one thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/base/digest.h"

namespace bailiwick::crypto {

Digest Sha256(std::string_view data);
Digest Sha256(std::span<const std::string_view> parts);  // of what they are together

// digests[i] becomes that of messages[i]; there are as many of both. Two at once are a third faster than one by one.
void Sha256Each(std::span<const std::span<const std::string_view>> messages, std::span<Digest> digests);

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
