// Numbers of fixed size as the formats of the store have them: little-endian, one after the other. Private to the
// store.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

namespace bailiwick::store {

template <typename T>
void Put(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

// From the beginning of `in`, which holds it.
template <typename T>
T Take(std::string_view& in) {
  T value;
  std::memcpy(&value, in.data(), sizeof value);
  in.remove_prefix(sizeof value);
  return value;
}

}  // namespace bailiwick::store
