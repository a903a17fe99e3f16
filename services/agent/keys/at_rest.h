// What the law asks of data at rest at this site, and making it so before data counts on it. Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/policy/at_rest.h"
#include "common/policy/grant.h"
#include "common/rpc/codec.h"
#include "services/agent/law/law.h"
#include "services/agent/state/agent_state.h"

namespace bailiwick::agent {

class AtRestKeeper {
 public:
  AtRestKeeper(AgentState* state, const Law* law, std::string site)
      : state_(state), law_(law), site_(std::move(site)) {}

  // The obligations of a dataset that lies here: at its home those of residing there, at a replica those of coming from
  // the home. Nothing obliged where the law permits nothing: that is not for this class to enforce.
  policy::Obligations Obliged(DatasetId id, const std::string& name) const;

  // Sees to it that what is written of the dataset from here on is encrypted as obliged: under a key that is held here
  // and that the signed registry declares for a region inside all that are obliged; the newest such. A data key under
  // another is wrapped anew. What is plain is left to the next collection. Nothing to do without an obligation, but for
  // a data key whose wrapping key is no longer declared or not the newest: that is how a rotation comes about.
  // FAILED_PRECONDITION: no key would do, or the dataset is locked.
  absl::Status Ensure(DatasetHandle& dataset, const policy::Obligations& obligations);
  // What Ensure would say before its first effect.
  absl::Status Check(const DatasetHandle& dataset, const policy::Obligations& obligations) const {
    return Choose(dataset, obligations).status();
  }

  // For a flow that brings a version here: Ensure for what the grant's flow obliges, then how the dataset is kept.
  // Plain when it is not possible; `problem` says why. Also while plain packs are left.
  policy::Storage Prepare(DatasetId id, const std::string& name, const policy::Grant& grant, std::string* problem);

  // Signed by the wrapping key too.
  crypto::Envelope Statement(const policy::Storage& storage, DatasetId id, const policy::Grant& grant,
                             const std::string& self, const crypto::SigningKey& enrolment_key) const;

  // Empty when the dataset's versions may be laid out here as files; else why not.
  std::string LayoutProblem(DatasetId id, const std::string& name) const;

 private:
  // The key that Ensure encrypts under; empty: there is nothing to do.
  absl::StatusOr<std::string> Choose(const DatasetHandle& dataset, const policy::Obligations& obligations) const;

  AgentState* const state_;
  const Law* const law_;
  const std::string site_;
};

}  // namespace bailiwick::agent
