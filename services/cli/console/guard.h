// Who may talk to the console: the browser to which this process gave a link, and nobody else. A browser carries the
// requests of every page that it shows, and other people of the machine can connect to loopback too; so a request must
//   - be addressed to 127.0.0.1 or localhost and this port: no name that somebody else's DNS points here,
//   - come from a page of the console, when it says from where (Origin, Sec-Fetch-Site),
//   - lie below the console's secret path. The cookie is bound to that path: a server of another user on another port
//   of
//     the same host, which browsers take for the same site, does not get it,
//   - carry the session's cookie, which is given once for each link, in exchange for the link's token,
//   - when it changes something, also carry a header that no foreign page can send.
// Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/http/message.h"
#include "common/os/random.h"

namespace bailiwick::cli {

class Guard {
 public:
  Guard(int port, os::Random* random);

  // A link for a browser; its token counts once. At most kMaxLinks wait, the oldest counts no more.
  std::string NewLink();

  enum class Pass { kServe, kEnter, kRefused };
  struct Verdict {
    Pass pass = Pass::kRefused;
    std::string path;             // kServe: below the secret path, begins with "/"
    std::string cookie;           // kEnter: the value of Set-Cookie
    http::Response refusal = {};  // kRefused
  };
  // Spends the token of a link when that is what comes.
  Verdict Check(const http::Request& request);
  const std::string& base() const { return base_; }  // "/3f.../"

  static constexpr size_t kMaxLinks = 8;

 private:
  bool Spend(const std::string& token);
  const int port_;
  os::Random* const random_;
  const std::string base_, session_, cookie_name_;
  absl::Mutex mu_;
  std::vector<std::string> tokens_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bailiwick::cli
