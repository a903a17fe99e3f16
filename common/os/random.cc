#include "common/os/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>

namespace bailiwick::os {
namespace {

class SystemRandom : public Random {
 public:
  void Fill(std::span<uint8_t> out) override {
    size_t done = 0;
    while (done < out.size()) {
      ssize_t n = ::getrandom(out.data() + done, out.size() - done, 0);
      if (n > 0) {
        done += static_cast<size_t>(n);
      } else if (n == 0 || errno != EINTR) {
        std::abort();  // keys made without entropy are worse than no process
      }
    }
  }
};

}  // namespace

Random* Random::System() {
  static SystemRandom* random = new SystemRandom;
  return random;
}

}  // namespace bailiwick::os
