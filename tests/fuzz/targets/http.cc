// Requests to the HTTP servers (metrics, health, the console), as a connection takes them, and what the console asks of them.
#include "absl/strings/ascii.h"
#include "common/http/parse.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(http) {
  using namespace bailiwick::http;
  const Limits limits{.head_bytes = 2048, .body_bytes = 1024};
  const Parsed parsed = ParseRequest(in.Rest(), limits);
  REQUIRE(parsed.request.has_value() == (parsed.status == 0));
  if (!parsed.request.has_value()) {
    REQUIRE(parsed.status >= 400 && parsed.status < 500);
    return;
  }
  const Request& request = *parsed.request;
  REQUIRE(request.path.starts_with("/"));
  for (unsigned char c : request.path) REQUIRE(c >= ' ' && c != 0x7f);
  REQUIRE(request.query.size() <= limits.head_bytes && request.body.size() <= limits.body_bytes);
  size_t hosts = 0;
  for (const auto& [name, value] : request.headers) {
    hosts += name == "host" ? 1 : 0;
    for (unsigned char c : name) REQUIRE(!absl::ascii_isupper(c) && c > ' ');
    REQUIRE(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos);
  }
  REQUIRE(hosts <= 1);
  request.Header("cookie");
  request.Query("token");
  if (auto decoded = PercentDecode(request.query)) REQUIRE(decoded->size() <= request.query.size());
}
