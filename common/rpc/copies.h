// Signed words of sites that versions lie with them whole: what a home goes by before it gives up its own copy. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/crypto/sign.h"
#include "common/policy/model.h"
#include "common/rpc/receipt.h"

namespace bailiwick::rpc {

struct CopyStatement {  // fields as in agent.v1.CopyStatement
  DatasetId dataset_id;
  std::string dataset;
  std::string site;
  std::string agent;
  std::vector<VersionRef> versions;
  absl::Time at;
};

std::string EncodeCopyStatement(const CopyStatement& statement);
// PERMISSION_DENIED unless the key that the world pins for the agent named in it signed it. INVALID_ARGUMENT: signed,
// but not usable. That it is not too old is for the caller to check.
absl::StatusOr<CopyStatement> OpenCopyStatement(const crypto::Envelope& envelope, const policy::World& world);

}  // namespace bailiwick::rpc
