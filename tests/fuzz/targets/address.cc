// Addresses as peers and settings say them, and the settings of a proxy.
#include "common/base/host_port.h"
#include "common/rpc/proxy.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

FUZZ_TARGET(address) {
  using namespace bailiwick;
  const std::string text(in.Chunk()), proxy(in.Chunk()), exempt(in.Chunk()), credentials(in.Chunk());
  if (auto host = ParseHost(text); host.ok()) {
    REQUIRE(host->find_first_of("[]/@ \n") == std::string::npos);
    REQUIRE(ParseHost(*host).ok() && *ParseHost(*host) == *host);
  }
  std::string dialled = "core.example";
  if (auto parsed = ParseHostPort(text); parsed.ok()) {
    REQUIRE(parsed->port >= 0 && parsed->port <= 65535);
    auto again = ParseHostPort(JoinHostPort(parsed->host, parsed->port));
    REQUIRE(again.ok() && again->host == parsed->host && again->port == parsed->port);
    REQUIRE(!IsLoopback(parsed->host) || !IsAnyAddress(parsed->host));
    dialled = parsed->host;
  }
  fuzz::MemoryFiles files;
  if (!os::WriteFileAtomically(&files, "credentials", credentials).ok()) return;
  auto way = rpc::Proxy::Parse(
      &files, {.proxy = proxy.empty() ? "none" : proxy, .credentials = "credentials", .exempt = exempt});
  if (!way.ok()) return;
  REQUIRE(way->none() || ParseHostPort(way->address()).ok());
  REQUIRE(way->none() || way->authorization().starts_with("Proxy-Authorization:Basic "));
  REQUIRE(way->authorization().find_first_of("\r\n") == std::string::npos);
  REQUIRE(!way->Covers("127.0.0.1") && !way->Covers("::1") && !way->Covers("localhost"));
  if (way->none()) REQUIRE(!way->Covers(dialled));
  way->Covers(dialled);
}
