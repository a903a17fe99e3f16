// Provenance: by which hops a version came from its home to a site, each signed by the site that sent it. Pure.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "common/crypto/sign.h"
#include "common/policy/grant.h"
#include "common/policy/hops.h"
#include "common/policy/model.h"

namespace bailiwick::rpc {

// A longer chain is not believed: what bounds hops bounds them long before.
inline constexpr size_t kMaxChain = 64;

struct HopStatement {  // fields as in transfer.v1.HopStatement
  DatasetId dataset_id;
  Digest version;
  uint32_t index = 1;
  std::string previous;  // SHA-256, 32 bytes; empty in the first
  std::string source;
  std::string destination;
  std::string source_region;
  std::string destination_region;
  std::string grant_id;
  std::string purpose;
  uint64_t policy_revision = 0;
  std::string policy_digest;
  absl::Time at;
};

using Chain = std::vector<crypto::Envelope>;  // from the home's hop on

// The hop that a grant's source makes now of a version that came to it by `before`.
HopStatement NextHop(const Chain& before, const policy::Grant& grant, const policy::World& world, absl::Time now);
crypto::Envelope SignHop(const HopStatement& hop, const crypto::SigningKey& enrolment_key);

struct ChainOf {
  DatasetId dataset_id;
  Digest version;
  std::set<std::string> begins;  // sites that may have sent it first
  std::string holder;            // the site that it leads to
};

// Every hop, if the chain leads without a gap from a site where it may begin to the holder: each signed by the key that
// the world pins for the agent that sent it, about this very version, bound to the hop before. PERMISSION_DENIED, with
// the hop and what is wrong with it; also when the chain is empty.
absl::StatusOr<std::vector<HopStatement>> OpenChain(const Chain& chain, const ChainOf& of, const policy::World& world);
// Whether the hop is the one of the grant. PERMISSION_DENIED.
absl::Status CheckHopOfGrant(const HopStatement& hop, const policy::Grant& grant);

// As the law judges it. The statements must have been verified.
std::vector<policy::Hop> HopsOf(const std::vector<HopStatement>& hops);

}  // namespace bailiwick::rpc
