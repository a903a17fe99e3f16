// The pace at which this agent sends: caps on what its flows send together, by where the bytes go. A token bucket a
// cap, a frame at a time: a frame leaves once no cap that is about it is overdrawn, and may overdraw them. Flows that
// wait get their turns in the order in which they asked, with frames of at most their part (MostNow), so that they
// share a cap alike; one that another cap holds back does not hold up the others. What nobody used is kept for kIdle
// only. Transfers that yield to more urgent ones have no turn at all.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/os/clock.h"

namespace bailiwick::agent {

class Pacer {
 public:
  static constexpr absl::Duration kIdle = absl::Milliseconds(250);
  static constexpr absl::Duration kLook = absl::Milliseconds(50);  // the longest wait before asking again

  struct Cap {
    std::string id;
    std::string to;  // region subtree; empty: anywhere
    uint64_t bytes_per_second = 0;
  };

  explicit Pacer(const os::Clock* clock) : clock_(clock) {}
  // Replaces the caps, at once also for flows that wait; one that goes on under its id goes on with what it has left.
  void Set(const std::vector<Cap>& caps);

  // Which transfers yield; replaces what was said before, at once also for flows that wait.
  void SetYielding(std::set<std::string> transfer_ids);
  bool Yields(const std::string& transfer_id) const;

  // One flow's place in the line; leaves it when destroyed. One thread. The pacer must outlive it.
  class Place {
   public:
    explicit Place(Pacer* pacer) : pacer_(pacer) {}
    ~Place() { pacer_->Leave(this); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    // 0: the frame of so many bytes to that region is accounted for and may go now. Else how long to wait before asking
    // again for the same frame, at most kLook.
    absl::Duration Ask(const std::string& region, uint64_t bytes) { return pacer_->Ask(this, region, bytes); }
    // What a frame to that region should hold at most while others wait for a cap on it: what the cap lets all of them
    // send within kIdle, divided. No bound: nobody does.
    size_t MostNow(const std::string& region) { return pacer_->MostNow(this, region); }
    void Leave() { pacer_->Leave(this); }  // it waits for something else: nobody waits for it

   private:
    Pacer* const pacer_;
  };

 private:
  struct Bucket {
    std::string to;
    double rate = 0;    // bytes a second
    double tokens = 0;  // bytes; below 0: overdrawn
  };
  struct Waiting {
    const Place* place;
    std::string region;
  };

  absl::Duration Ask(const Place* place, const std::string& region, uint64_t bytes);
  size_t MostNow(const Place* place, const std::string& region);
  void Leave(const Place* place);
  void Refill() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Bucket*> About(const std::string& region) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const os::Clock* const clock_;
  mutable absl::Mutex mutex_;
  std::map<std::string, Bucket> buckets_ ABSL_GUARDED_BY(mutex_);  // by id of the cap
  absl::Duration refilled_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  std::set<std::string> yielding_ ABSL_GUARDED_BY(mutex_);
  std::list<Waiting> line_ ABSL_GUARDED_BY(mutex_);  // who asked first is first; one entry a flow at most
};

}  // namespace bailiwick::agent
