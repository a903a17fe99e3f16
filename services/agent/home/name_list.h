// The names in a directory, sorted bytewise, in little more memory than their bytes: directories have millions.
// Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace bailiwick::agent {

class NameList {
 public:
  // Of at most 255 bytes (NAME_MAX); a longer one, or more than 4 GiB of them, is not taken: false.
  bool Add(std::string_view name) {
    if (name.size() > 255 || blocks_.size() >= kMaxBlocks) return false;
    if (blocks_.empty() || used_ + 1 + name.size() > kBlock) {
      blocks_.push_back(std::make_unique_for_overwrite<char[]>(kBlock));
      used_ = 0;
    }
    places_.push_back(static_cast<uint32_t>((blocks_.size() - 1) * kBlock + used_));
    char* at = blocks_.back().get() + used_;
    *at = static_cast<char>(name.size());
    std::memcpy(at + 1, name.data(), name.size());
    used_ += 1 + name.size();
    return true;
  }
  void Sort() {
    std::sort(places_.begin(), places_.end(), [this](uint32_t a, uint32_t b) { return At(a) < At(b); });
  }
  size_t size() const { return places_.size(); }
  std::string_view operator[](size_t i) const { return At(places_[i]); }  // until the list goes

 private:
  static constexpr size_t kBlock = 64 << 10, kMaxBlocks = (uint64_t{1} << 32) / kBlock;

  std::string_view At(uint32_t place) const {
    const char* at = blocks_[place / kBlock].get() + place % kBlock;
    return {at + 1, static_cast<unsigned char>(*at)};
  }

  std::vector<std::unique_ptr<char[]>> blocks_;  // a byte of length and the name, one after the other
  size_t used_ = 0;                              // of the last block
  std::vector<uint32_t> places_;
};

}  // namespace bailiwick::agent
