#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/crypto/sign.h"

namespace bailiwick::agent {

// What shows a peer who this is: the chain in use and, signed by the enrolment key, that it belongs here. Bindings also of
// the chain in use before, the newest first: a connection may have been opened with either.
struct IdentityProof {
  uint64_t generation = 0;  // rises with each
  std::string chain_pem;
  std::vector<crypto::Envelope> bindings;
};

}  // namespace bailiwick::agent
