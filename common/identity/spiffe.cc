#include "common/identity/spiffe.h"

#include <vector>

#include "absl/strings/str_cat.h"

namespace bailiwick::identity {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr size_t kMaxLength = 2048;      // the SPIFFE specification's, in bytes
constexpr size_t kMaxTrustDomain = 255;  // likewise

bool ValidSegment(std::string_view s) {
  if (s.empty() || s == "." || s == "..") return false;
  for (char c : s) {
    const bool ok =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
    if (!ok) return false;
  }
  return true;
}

bool ValidTrustDomain(std::string_view s) {
  if (!ValidSegment(s) || s.size() > kMaxTrustDomain) return false;
  for (char c : s) {
    if (c >= 'A' && c <= 'Z') return false;
  }
  return true;
}

absl::Status Malformed(std::string_view uri, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", std::string(uri.substr(0, 200)), "\" is not an identity of Bailiwick: ", std::string(why)));
}

}  // namespace

std::string SpiffeId::str() const {
  std::string base = absl::StrCat("spiffe://", trust_domain);
  switch (kind) {
    case Kind::kAgent:
      return absl::StrCat(base, "/region/", region, "/site/", site, "/agent/", name);
    case Kind::kAdmin:
      return absl::StrCat(base, "/admin/", name);
    case Kind::kCoordinator:
      return absl::StrCat(base, "/coordinator");
  }
  return base;
}

absl::StatusOr<SpiffeId> ParseSpiffeId(std::string_view uri) {
  if (uri.size() > kMaxLength) return Malformed(uri, "too long");
  if (uri.substr(0, kScheme.size()) != kScheme) return Malformed(uri, "it does not start with spiffe://");
  std::string_view rest = uri.substr(kScheme.size());
  std::vector<std::string> parts;
  while (true) {
    const size_t slash = rest.find('/');
    parts.emplace_back(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  SpiffeId id;
  id.trust_domain = parts[0];
  if (!ValidTrustDomain(id.trust_domain)) return Malformed(uri, "bad trust domain");
  for (size_t i = 1; i < parts.size(); ++i) {
    if (!ValidSegment(parts[i])) return Malformed(uri, "bad path segment");
  }
  if (parts.size() == 2 && parts[1] == "coordinator") {
    id.kind = Kind::kCoordinator;
    return id;
  }
  if (parts.size() == 3 && parts[1] == "admin") {
    id.kind = Kind::kAdmin;
    id.name = parts[2];
    return id;
  }
  // region/<one or more>/site/<s>/agent/<a>, read from the end so that a region segment may be called anything.
  const size_t n = parts.size();
  if (n >= 7 && parts[1] == "region" && parts[n - 4] == "site" && parts[n - 2] == "agent") {
    id.kind = Kind::kAgent;
    id.site = parts[n - 3];
    id.name = parts[n - 1];
    for (size_t i = 2; i < n - 4; ++i) absl::StrAppend(&id.region, i == 2 ? "" : "/", parts[i]);
    return id;
  }
  return Malformed(uri, "it names no agent, admin or coordinator");
}

}  // namespace bailiwick::identity
