// One dataset as the agent holds it: its chunks, its nodes, its versions. Handed to the home, replica and transfer
// folders.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/ids.h"
#include "common/os/files.h"
#include "common/store/catalog.h"
#include "common/store/dataset_store.h"
#include "common/store/manifest.h"
#include "common/store/redaction.h"
#include "services/agent/state/damage.h"
#include "services/agent/state/dropped.h"

namespace bailiwick::agent {

// Which versions are being received, by how many flows. Thread-safe.
class Receiving {
 public:
  // For as long as a flow receives.
  class Part {
   public:
    Part(Receiving* all, VersionNumber version) : all_(all), version_(version) {
      absl::MutexLock lock(&all_->mutex_);
      Flows& flows = all_->flows_[version_];
      backwards_ = flows.now++ % 2 == 1;
      flows.shared |= flows.now > 1;
    }
    ~Part() {
      absl::MutexLock lock(&all_->mutex_);
      if (--all_->flows_[version_].now == 0) all_->flows_.erase(version_);
    }
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;
    bool backwards() const { return backwards_; }  // another one came first: it works from the front
    bool shared() const {                          // with another one, which may have ended: what it brought is here
      absl::MutexLock lock(&all_->mutex_);
      return all_->flows_[version_].shared;
    }

   private:
    Receiving* const all_;
    const VersionNumber version_;
    bool backwards_ = false;
  };

 private:
  absl::Mutex mutex_;
  struct Flows {
    int now = 0;
    bool shared = false;  // there were several at a time since there was none
  };
  std::map<VersionNumber, Flows> flows_ ABSL_GUARDED_BY(mutex_);
};

struct DatasetHandle {
  DatasetId id;
  std::string name;       // "planner" or "telemetry@robot-17"
  std::string directory;  // <data>/datasets/<id hex>
  os::Files* files = nullptr;
  std::unique_ptr<store::DatasetStore> store;
  std::unique_ptr<store::NodeSource> nodes;  // over store
  store::VersionCatalog* catalog = nullptr;  // shared by all datasets
  std::shared_ptr<Receiving> receiving = std::make_shared<Receiving>();
  std::shared_ptr<Damage> damage = std::make_shared<Damage>();
  std::shared_ptr<Dropped> dropped = std::make_shared<Dropped>();
  std::shared_ptr<store::RedactionBook> redactions = std::make_shared<store::RedactionBook>();  // the store's too
};

}  // namespace bailiwick::agent
