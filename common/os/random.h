// Entropy, the only way to it. Thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace bailiwick::os {

class Random {
 public:
  virtual ~Random() = default;
  virtual void Fill(std::span<uint8_t> out) = 0;  // cryptographically strong; aborts the process if the kernel has none
  std::string Bytes(size_t n) {
    std::string s(n, '\0');
    Fill({reinterpret_cast<uint8_t*>(s.data()), n});
    return s;
  }
  static Random* System();  // getrandom(2)
};

}  // namespace bailiwick::os
