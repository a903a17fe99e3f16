#include "common/rpc/handshake_watch.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/identity/verify.h"

namespace bailiwick::rpc {
namespace {

constexpr std::string_view kFailed = "Handshake failed with fatal error ";
constexpr size_t kMaxReason = 120;

struct Watched {
  absl::Mutex mutex;
  std::function<void(const absl::Status&)> failed ABSL_GUARDED_BY(mutex);
};

Watched& TheWatched() {
  static auto* const watched = new Watched;
  return *watched;
}

// "SSL_ERROR_SSL: error:0A0000C7:SSL routines::peer did not return a certificate." without what only programmers read.
std::string Reason(std::string_view text) {
  if (const size_t colon = text.rfind(':'); colon != std::string_view::npos) text.remove_prefix(colon + 1);
  if (!text.empty() && text.back() == '.') text.remove_suffix(1);
  std::string reason(text.substr(0, kMaxReason));
  std::replace_if(reason.begin(), reason.end(), [](unsigned char c) { return c < ' ' || c >= 0x7f; }, '?');
  return reason;
}

}  // namespace

HandshakeWatch::HandshakeWatch(std::function<void(const absl::Status&)> failed) {
  absl::MutexLock lock(&TheWatched().mutex);
  TheWatched().failed = std::move(failed);
}

HandshakeWatch::~HandshakeWatch() {
  absl::MutexLock lock(&TheWatched().mutex);
  TheWatched().failed = nullptr;
}

void HandshakeWatch::Saw(std::string_view line) {
  if (line.substr(0, kFailed.size()) != kFailed) return;
  const std::string reason = Reason(line.substr(kFailed.size()));
  const bool nothing_shown = reason.find("did not return a certificate") != std::string::npos;
  const absl::Status why = nothing_shown
                               ? identity::Refuse("NO_CERTIFICATE", "the peer presented no certificate")
                               : identity::Refuse("TLS_FAILED", absl::StrCat("a TLS handshake failed: ", reason));
  absl::MutexLock lock(&TheWatched().mutex);
  if (TheWatched().failed) TheWatched().failed(why);
}

}  // namespace bailiwick::rpc
