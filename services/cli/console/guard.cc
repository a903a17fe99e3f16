#include "services/cli/console/guard.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace bailiwick::cli {
namespace {

constexpr size_t kSecretBytes = 32, kPathBytes = 8;

std::string Secret(os::Random* random, size_t bytes) {
  return std::string(absl::BytesToHexString(random->Bytes(bytes)));
}

// Takes as long for a near miss as for a far one.
bool Same(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

Guard::Verdict Refuse(int status, std::string why) {
  Guard::Verdict verdict;
  verdict.refusal = http::Text(status, std::move(why));
  return verdict;
}

std::string CookieOf(const http::Request& request, const std::string& name) {
  const std::string cookies(request.Header("cookie"));
  for (absl::string_view one : absl::StrSplit(cookies, ';')) {
    const std::vector<std::string> parts = absl::StrSplit(absl::StripAsciiWhitespace(one), absl::MaxSplits('=', 1));
    if (parts.size() == 2 && parts[0] == name) return parts[1];
  }
  return "";
}

}  // namespace

Guard::Guard(int port, os::Random* random)
    : port_(port),
      random_(random),
      base_(absl::StrCat("/", Secret(random, kPathBytes), "/")),
      session_(Secret(random, kSecretBytes)),
      cookie_name_(absl::StrCat("bailiwick-console-", port)) {}

std::string Guard::NewLink() {
  const std::string token = Secret(random_, kSecretBytes);
  absl::MutexLock lock(&mu_);
  if (tokens_.size() == kMaxLinks) tokens_.erase(tokens_.begin());
  tokens_.push_back(token);
  return absl::StrCat("http://127.0.0.1:", port_, base_, "?token=", token);
}

bool Guard::Spend(const std::string& token) {
  absl::MutexLock lock(&mu_);
  for (auto it = tokens_.begin(); it != tokens_.end(); ++it) {
    if (!Same(*it, token)) continue;
    tokens_.erase(it);
    return true;
  }
  return false;
}

Guard::Verdict Guard::Check(const http::Request& request) {
  const std::string host(request.Header("host"));
  if (host != absl::StrCat("127.0.0.1:", port_) && host != absl::StrCat("localhost:", port_)) {
    return Refuse(421, absl::StrCat("this console answers to 127.0.0.1:", port_, " only"));
  }
  const std::string_view origin = request.Header("origin"), site = request.Header("sec-fetch-site");
  if (!origin.empty() && origin != absl::StrCat("http://", host)) {
    return Refuse(403, "a page of another origin may not talk to this console");
  }
  if (request.path == "/favicon.ico")
    return Refuse(204, "");  // browsers ask for it unasked, and report a 404 as an error
  if (!absl::StartsWith(request.path, base_)) {
    return Refuse(404, "nothing is here; open the link that bailiwick console printed");
  }
  Verdict verdict;
  verdict.path = request.path.substr(base_.size() - 1);
  if (const auto token = request.Query("token"); token.has_value() && verdict.path == "/") {
    if (request.method != "GET" || !Spend(*token)) {
      return Refuse(403, "this link was used before or is not of this console; open the one that it printed last");
    }
    verdict.pass = Pass::kEnter;
    verdict.cookie = absl::StrCat(cookie_name_, "=", session_, "; Path=", base_, "; HttpOnly; SameSite=Strict");
    return verdict;
  }
  if (!site.empty() && site != "same-origin" && site != "none") {
    return Refuse(403, "a page of another site may not talk to this console");
  }
  if (!Same(CookieOf(request, cookie_name_), session_)) {
    return Refuse(401, "this browser has no session; open the link that bailiwick console printed last");
  }
  if (request.method == "POST" && request.Header("x-bailiwick") != "console") {
    return Refuse(403, "a change needs the header X-Bailiwick: console");
  }
  verdict.pass = Pass::kServe;
  return verdict;
}

}  // namespace bailiwick::cli
