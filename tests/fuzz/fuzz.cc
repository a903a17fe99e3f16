#include "tests/fuzz/fuzz.h"

#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/registry.h"

namespace bailiwick::fuzz {

std::string Chunked(std::string_view bytes) {
  const auto size = static_cast<uint16_t>(bytes.size());
  std::string out(sizeof size, '\0');
  std::memcpy(out.data(), &size, sizeof size);
  return out.append(bytes.substr(0, size));
}

void Broken(const char* property, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, property);
  std::abort();
}

std::map<std::string, Target>& Targets() {
  static auto* targets = new std::map<std::string, Target>;
  return *targets;
}

Registration::Registration(const char* name, Target target) { Targets()[name] = target; }

}  // namespace bailiwick::fuzz
