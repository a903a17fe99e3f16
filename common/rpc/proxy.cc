#include "common/rpc/proxy.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status.h"

namespace bailiwick::rpc {
namespace {

constexpr uint64_t kMaxCredentials = 1024;
constexpr size_t kMaxExempt = 256;
constexpr char kNone[] = "none";

// The raw bytes of an address: 4, 16, or none when it is a name.
std::string AddressBytes(const std::string& host) {
  std::string bytes(16, '\0');
  if (inet_pton(AF_INET, host.c_str(), bytes.data()) == 1) return bytes.substr(0, 4);
  if (inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1) return bytes;
  return "";
}

// "10.0.0.0/8": its address and how many bits count. False: not a network.
bool ParseNetwork(const std::string& text, std::string* bytes, size_t* bits) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return false;
  *bytes = AddressBytes(text.substr(0, slash));
  uint32_t count = 0;
  if (bytes->empty() || !absl::SimpleAtoi(text.substr(slash + 1), &count) || count > bytes->size() * 8) return false;
  *bits = count;
  return true;
}

bool InNetwork(const std::string& address, const std::string& network, size_t bits) {
  if (address.size() != network.size()) return false;
  const size_t whole = bits / 8, rest = bits % 8;
  if (address.compare(0, whole, network, 0, whole) != 0) return false;
  const auto high = [rest](char c) { return static_cast<unsigned char>(c) >> (8 - rest); };
  return rest == 0 || high(address[whole]) == high(network[whole]);
}

bool Exempts(const std::string& entry, const std::string& host) {
  if (entry == "*") return true;
  std::string network;
  size_t bits = 0;
  const std::string address = AddressBytes(host);
  if (ParseNetwork(entry, &network, &bits)) return !address.empty() && InNetwork(address, network, bits);
  if (!address.empty()) return address == AddressBytes(entry);
  return host == entry || absl::EndsWith(host, absl::StrCat(".", entry));
}

// One entry as it is compared later. Empty: there is none here. INVALID_ARGUMENT.
absl::StatusOr<std::string> ParseExempt(std::string_view text) {
  std::string entry = absl::AsciiStrToLower(absl::StripAsciiWhitespace(std::string(text)));
  if (entry.empty() || entry == "*") return entry;
  std::string bytes;
  size_t bits = 0;
  if (ParseNetwork(entry, &bytes, &bits)) return entry;
  while (absl::StartsWith(entry, "*.") || absl::StartsWith(entry, ".")) entry.erase(0, entry[0] == '*' ? 2 : 1);
  auto host = ParseHost(entry);
  if (host.ok()) return host;
  return absl::InvalidArgumentError(
      absl::StrCat("\"", entry.substr(0, 80), "\" is no name, address or network that could be dialled directly"));
}

// RFC 7617: a name without a colon, and what no line of a header could carry left out.
absl::Status CheckCredentials(std::string_view text) {
  const size_t colon = text.find(':');
  const bool printable = std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= ' ' && c != 0x7f; });
  if (colon == std::string_view::npos || colon == 0 || !printable) {
    return absl::InvalidArgumentError("the proxy's credentials are not one line USER:PASSWORD");
  }
  return absl::OkStatus();
}

// %40 to @, as an URL has it.
std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
                        absl::ascii_isxdigit(text[i + 2]);
    if (!escape) {
      out += text[i];
      continue;
    }
    out += absl::HexStringToBytes(std::string(text.substr(i + 1, 2)));
    i += 2;
  }
  return out;
}

// The first of these variables that says something.
std::string Variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    for (const std::string& spelt : {std::string(name), absl::AsciiStrToUpper(name)}) {
      if (const char* value = std::getenv(spelt.c_str()); value != nullptr && *value != '\0') return value;
    }
  }
  return "";
}

// What stands before the host in the URL is taken out of it: nothing that is said about the address says a password.
absl::Status OfEnvironment(std::string* address, std::string* credentials) {
  *address = Variable({"grpc_proxy", "https_proxy", "http_proxy"});
  const size_t at = address->rfind('@');
  if (at == std::string::npos) return absl::OkStatus();
  const size_t scheme = address->find("://");
  const size_t user = scheme == std::string::npos ? 0 : scheme + 3;
  if (user > at) return absl::InvalidArgumentError("https_proxy of the environment is malformed");
  *credentials = Unescaped(std::string_view(*address).substr(user, at - user));
  address->erase(user, at + 1 - user);
  return absl::OkStatus();
}

}  // namespace

absl::Status Proxy::Take(std::string_view address, std::string_view credentials, std::string_view exempt) {
  if (absl::StartsWithIgnoreCase(std::string(address), "https://")) {
    return absl::InvalidArgumentError("a proxy that itself speaks TLS is not supported; give it as HOST:PORT");
  }
  if (absl::StartsWithIgnoreCase(std::string(address), "http://")) address.remove_prefix(7);
  if (!address.empty() && address.back() == '/') address.remove_suffix(1);
  auto parsed = ParseHostPort(address);
  if (!parsed.ok() || parsed->port == 0) return absl::InvalidArgumentError("the proxy's address is not HOST:PORT");
  address_ = *std::move(parsed);
  if (!credentials.empty()) {
    BW_RETURN_IF_ERROR(CheckCredentials(credentials));
    authorization_ = absl::StrCat("Proxy-Authorization:Basic ", absl::Base64Escape(std::string(credentials)));
  }
  for (const std::string& text : std::vector<std::string>(absl::StrSplit(std::string(exempt), ','))) {
    BW_ASSIGN_OR_RETURN(std::string entry, ParseExempt(text));
    if (entry.empty()) continue;
    if (exempt_.size() == kMaxExempt) return absl::InvalidArgumentError("too many are to be dialled directly");
    exempt_.push_back(std::move(entry));
  }
  return absl::OkStatus();
}

absl::StatusOr<Proxy> Proxy::Parse(os::Files* files, const Settings& settings) {
  Proxy proxy;
  if (settings.proxy == kNone) return proxy;
  std::string address = settings.proxy, credentials, exempt = settings.exempt;
  if (address.empty()) {
    BW_RETURN_IF_ERROR(OfEnvironment(&address, &credentials));
    if (address.empty()) return proxy;
    if (exempt.empty()) exempt = Variable({"no_grpc_proxy", "no_proxy"});
  } else if (absl::StrContains(address, "@")) {
    return absl::InvalidArgumentError(
        "user and password do not belong into the proxy's address, where others can read them; put USER:PASSWORD into a "
        "file of its own, and name that as the proxy's credentials");
  }
  if (!settings.credentials.empty()) {
    BW_ASSIGN_OR_RETURN(credentials, os::ReadFile(files, settings.credentials, kMaxCredentials));
    credentials = std::string(absl::StripAsciiWhitespace(credentials));
    BW_RETURN_IF_ERROR(Annotate(CheckCredentials(credentials), settings.credentials));
  }
  absl::Status taken = proxy.Take(address, credentials, exempt);
  if (taken.ok()) return proxy;
  return settings.proxy.empty() ? Annotate(taken, "https_proxy or no_proxy of the environment") : taken;
}

std::string Proxy::FirstHop(const std::string& address) const {
  auto parsed = ParseHostPort(address);
  return parsed.ok() && Covers(parsed->host) ? this->address() : address;
}

bool Proxy::Covers(const std::string& host) const {
  if (none() || IsLoopback(host)) return false;
  const std::string name = absl::AsciiStrToLower(host);
  return std::none_of(exempt_.begin(), exempt_.end(), [&](const std::string& entry) { return Exempts(entry, name); });
}

}  // namespace bailiwick::rpc
