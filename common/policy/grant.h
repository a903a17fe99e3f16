// Whether a grant permits this very flow: the check both ends run before the first byte and at every window. Pure.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "common/policy/evaluator.h"
#include "common/policy/model.h"

namespace bailiwick::policy {

inline constexpr absl::Duration kMaxGrantLife = absl::Minutes(10);
// How far ahead of ours the clock that signed may be; it never lengthens a grant.
inline constexpr absl::Duration kGrantSkew = absl::Seconds(30);

struct Grant {
  std::string grant_id;
  std::string transfer_id;
  DatasetId dataset_id;
  std::string dataset;
  Digest version;
  Digest manifest_root;
  std::string source;  // SPIFFE ids
  std::string destination;
  std::string source_region;
  std::string destination_region;
  std::string action;
  std::string purpose;  // of the flow; the coordinator's word, as all of a grant
  uint64_t policy_revision = 0;
  std::string policy_digest;
  absl::Time not_before;
  absl::Time not_after;
  bool self_granted = false;  // by the source, with its pinned key, not by the coordinator
};

struct GrantCheck {
  const World* world = nullptr;  // null: no policy installed, deny
  const Grant* grant = nullptr;  // its signature was verified against world->grant_keys by the caller
  std::string self;              // own SPIFFE id
  std::string peer;              // SPIFFE id of the live mTLS peer
  bool self_is_source = false;
  // From the verified classification record of the dataset and the verified version record.
  Labels data;
  std::string home_site;
  DatasetId dataset_id;
  Digest version;
  Digest manifest_root;
  absl::Time now;
  // When a signed word last said that this law is the current one: how long self-granted flows may go on under it.
  absl::Time called_current = absl::InfinitePast();
};

struct GrantDecision {
  bool permitted = false;
  std::string code;  // as in transfer.v1.Goodbye: GRANT_EXPIRED, GRANT_INVALID, NOT_DELEGATED, WRONG_PEER,
                     // POLICY_DENIED, POLICY_ERROR, POLICY_STALE
  std::string message;
  std::string rule;
  Obligations obligations;  // when permitted: what our own evaluation demands of the copy
  std::string basis;
};

// Order of checks: action, dataset, version, manifest, both identities against self and the live peer and their roles,
// regions in the identities equal the signed registry and the grant, times (lifetime at most kMaxGrantLife), the
// grant's policy revision not above ours (POLICY_STALE: we must catch up first) and, when equal, the same digest; of a
// self-granted flow that our law delegates it between the two regions and is young enough for that; then our own evaluation of transfer and reside and, when the source is not the home, transit.
GrantDecision CheckGrant(const GrantCheck& check);

}  // namespace bailiwick::policy
