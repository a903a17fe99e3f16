// What a fuzz target is made of. A target is one function of any bytes:
//
//   FUZZ_TARGET(note) {
//     auto note = audit::Note::Parse(in.Rest());
//     if (note.ok()) REQUIRE(note->Encode() == ...);
//   }
//
// With preset `fuzz` it is libFuzzer's entry point; in every other build fuzz_replay_test calls it with the seeds and
// with what was found before. A broken property ends the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace bailiwick::fuzz {

// The bytes of one run, taken from their beginning; zeros and empty strings once they are used up.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }
  uint8_t Byte() { return static_cast<uint8_t>(Number<uint8_t>()); }
  template <typename T>
  T Number() {
    T value{};
    const std::string_view bytes = Bytes(sizeof value);
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  std::string_view Bytes(size_t n) {
    const std::string_view out = rest_.substr(0, n);
    rest_.remove_prefix(out.size());
    return out;
  }
  std::string_view Chunk() { return Bytes(Number<uint16_t>()); }  // with its length in two bytes before it
  std::string_view Rest() { return Bytes(rest_.size()); }

 private:
  std::string_view rest_;
};

// A chunk as Input::Chunk reads it: for seeds.
std::string Chunked(std::string_view bytes);

[[noreturn]] void Broken(const char* property, const char* file, int line);

using Target = void (*)(Input in);
struct Registration {
  Registration(const char* name, Target target);
};

}  // namespace bailiwick::fuzz

#define REQUIRE(property)                                                      \
  do {                                                                         \
    if (!(property)) ::bailiwick::fuzz::Broken(#property, __FILE__, __LINE__); \
  } while (false)

#ifdef BAILIWICK_FUZZ
#define FUZZ_TARGET(name)                                                               \
  static void Fuzz_##name(::bailiwick::fuzz::Input in);                                 \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {             \
    Fuzz_##name(::bailiwick::fuzz::Input({reinterpret_cast<const char*>(data), size})); \
    return 0;                                                                           \
  }                                                                                     \
  static void Fuzz_##name([[maybe_unused]] ::bailiwick::fuzz::Input in)
#else
#define FUZZ_TARGET(name)                                                             \
  static void Fuzz_##name(::bailiwick::fuzz::Input in);                               \
  static const ::bailiwick::fuzz::Registration registered_##name(#name, Fuzz_##name); \
  static void Fuzz_##name([[maybe_unused]] ::bailiwick::fuzz::Input in)
#endif
