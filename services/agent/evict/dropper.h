// The home gives up content that other sites hold (Dataset's dropAfterCopies): which versions, durable, before anything
// goes, and the receipt afterwards. Records and manifests stay, and with them what commits, differences and the
// versions to come are made from.
//
// Invariants: what is given up is in the audit log and in the database, with the receipt's id, before the first byte
// goes, so that a crash at any point ends in the same receipt; what a hold or a pin keeps stays whole, as far as it is
// here; a version that is not given up keeps all that it does not have unchanged from its base on (dropped.h). Who says
// that others hold a version is the caller's affair. Thread-safe; one dataset at a time, in the lane in which its
// versions are dropped.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "bailiwick/agent/v1/evict.pb.h"
#include "services/agent/evict/evictor.h"

namespace bailiwick::agent {

using Keeps = std::function<bool(VersionNumber)>;  // a hold, or a pin

// A version, and the sites that said that they hold it.
struct HeldElsewhere {
  rpc::VersionRef version;
  std::vector<std::string> sites;
};

class Dropper {
 public:
  explicit Dropper(Evictor::Parts parts) : parts_(std::move(parts)) {}
  static std::string Migration();             // beside Evictor's, whose table of receipts is used
  absl::Status Load(DatasetHandle& dataset);  // what was so before the restart; sets dataset.dropped

  bool UnderWay(DatasetId dataset) const;
  // From here on they are given up, durable on OK. FAILED_PRECONDITION: an earlier drop is not carried through yet.
  absl::Status Begin(DatasetHandle& dataset, const std::vector<HeldElsewhere>& versions);
  // The content goes, and its receipt is made. OK and nothing done when there is none. After an error or a crash:
  // again.
  absl::Status CarryOut(DatasetHandle& dataset, const Keeps& keeps);
  // What is given up from now on, without anything to carry through: the site ceases to be the home, or is it again.
  absl::Status Replace(DatasetHandle& dataset, Dropped::Versions versions);
  // Versions that, although given up, are what later ones that are here lack something of: they must stay known.
  static absl::StatusOr<std::set<VersionNumber>> Bases(DatasetHandle& dataset);

 private:
  absl::Status Store(const DatasetHandle& dataset, const Dropped::Versions& versions,
                     const agent::v1::DropRecord* record);

  const Evictor::Parts parts_;
  mutable absl::Mutex mutex_;
  std::map<DatasetId, agent::v1::DropRecord> under_way_ ABSL_GUARDED_BY(mutex_);
};

// Marks what must be here: every manifest; of versions that are kept, or before which nothing was given up, all
// content; of other ones that were not given up what differs from the version before.
store::DatasetStore::Mark MarkKept(DatasetHandle& dataset, Keeps keeps);

}  // namespace bailiwick::agent
