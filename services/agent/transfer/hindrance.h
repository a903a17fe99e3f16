// What holds one end of a flow back: where the time of its thread went lately. One thread.
#pragma once

#include <array>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "common/os/clock.h"

namespace bailiwick::agent {

class Hindrance {
 public:
  enum Cause { kWork, kLink, kPeer, kCap, kPriority, kCauses };
  static constexpr absl::Duration kMemory = absl::Seconds(1);  // what lies further back counts half, then a quarter

  // `cpu`: what the thread has used.
  explicit Hindrance(const os::Clock* clock, std::function<absl::Duration()> cpu = os::ThreadCpuTime);

  // The cause of what passes from now on.
  void Is(Cause cause);
  // What most of the time went to: "link", "peer", "cap", "priority"; of work "cpu" where the thread computed for most
  // of it, else "disk".
  std::string Most();

 private:
  const os::Clock* const clock_;
  const std::function<absl::Duration()> cpu_;
  Cause cause_ = kWork;
  absl::Duration since_, cpu_since_;
  std::array<absl::Duration, kCauses> spent_{};
  absl::Duration computed_;
};

}  // namespace bailiwick::agent
