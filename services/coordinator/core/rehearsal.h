// An act that is only tried.
#pragma once

#include <string>
#include <vector>

namespace bailiwick::coordinator {

// Whoever does something for an admin takes one of these, null when it is meant. With one it makes all its checks,
// fills this in, and ends before its first effect: nothing is changed, recorded or sent.
struct Rehearsal {
  std::vector<std::string> effects;  // a sentence each
  std::string waits;                 // for whom it would wait; empty: for nobody
};

}  // namespace bailiwick::coordinator
