// Files that commit after commit leaves for later, because they never rest: what is appended to more often than `settle`
// is in no version as it is, and nobody who reads versions can tell. One thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace bailiwick::agent {

class Restless {
 public:
  // `unsettled`: what the commit of now left for later, as its outcome names them. How many of them each commit has left
  // since ten times `settle`, five minutes at least: a file that is just being copied there rests before.
  size_t Note(const std::vector<std::string>& unsettled, absl::Duration settle, absl::Duration now);

 private:
  std::map<std::string, absl::Duration> since_;
};

}  // namespace bailiwick::agent
