// Which of the flows that go on without the coordinator to try now: one at a time for each dataset and peer, again with
// backoff when it failed, not again for what has arrived. Decisions only, no I/O; times are since boot. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/base/ids.h"
#include "common/store/catalog.h"

namespace bailiwick::agent {

class FlowControl;

class StandingFlows {
 public:
  static constexpr absl::Duration kRetryMin = absl::Seconds(2), kRetryMax = absl::Minutes(1);
  static constexpr absl::Duration kAskEvery = absl::Seconds(10);  // a replica that only dials out

  using Key = std::pair<DatasetId, std::string>;  // dataset and the peer's site
  struct Renewal {
    std::string transfer_id;
    store::CatalogVersion version;
    std::string peer, purpose;
    std::shared_ptr<FlowControl> control;
  };
  struct View {
    Key key;
    bool running = false;
    VersionNumber arrived = 0;  // at the peer, by us, since the coordinator was lost
    std::string problem;        // of the last attempt; empty: none
  };

  // Whether to send this version to the peer now.
  bool Due(const Key& key, const Digest& version, absl::Duration now) const;
  // Whether to ask the peer now.
  bool DueToAsk(const Key& key, absl::Duration now) const;
  // A flow that sends, with what it takes to renew its grant at half of `life`; or one that asks.
  void BeganToSend(const Key& key, Renewal flow, absl::Duration life, absl::Duration now);
  void BeganToAsk(const Key& key, const std::string& transfer_id, std::shared_ptr<FlowControl> control);
  void Refused(const Key& key, const std::string& problem, absl::Duration now);  // no flow was begun
  // False: not one of these.
  bool Ended(const std::string& transfer_id, bool complete, const std::string& problem, absl::Duration now);
  // Flows whose grant is half over; each is told once for each half.
  std::vector<Renewal> RenewalsDue(absl::Duration life, absl::Duration now);
  // The coordinator is back: nothing stands any more. The controls of what runs.
  std::vector<std::shared_ptr<FlowControl>> Clear();
  std::vector<View> Views() const;

 private:
  struct Item {
    bool running = false;
    Digest arrived;
    VersionNumber arrived_number = 0;
    absl::Duration next = absl::ZeroDuration();
    int failures = 0;
    std::string problem;
  };
  struct Running {
    Key key;
    Renewal flow;
    bool asks = false;
    absl::Duration renew_at = absl::InfiniteDuration();
  };
  static void Fail(Item& item, const std::string& problem, absl::Duration now);

  mutable absl::Mutex mutex_;
  std::map<Key, Item> items_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Running> running_ ABSL_GUARDED_BY(mutex_);  // by transfer id
};

}  // namespace bailiwick::agent
