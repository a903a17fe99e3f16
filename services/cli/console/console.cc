#include "services/cli/console/console.h"

#include <csignal>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/http/server.h"
#include "common/os/clock.h"
#include "common/os/random.h"
#include "services/cli/console/api.h"
#include "services/cli/console/assets.h"
#include "services/cli/console/guard.h"

namespace bailiwick::cli {
namespace {

constexpr uint64_t kMaxDraft = 1 << 20;
constexpr absl::Duration kWatchSignal = absl::Milliseconds(100);

// Nothing but what this program carries is loaded or talked to; no script or style inside a page, nothing that turns
// text into markup, no frames around it.
constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

void Harden(http::Response* response) {
  response->headers.push_back({"Content-Security-Policy", kPolicy});
  response->headers.push_back({"X-Content-Type-Options", "nosniff"});
  response->headers.push_back({"Referrer-Policy", "no-referrer"});
  response->headers.push_back({"Cross-Origin-Opener-Policy", "same-origin"});
  response->headers.push_back({"Cross-Origin-Resource-Policy", "same-origin"});
}

class Console {
 public:
  Console(std::unique_ptr<Admin> admin, Globals* globals) : api_(std::move(admin)), globals_(globals) {}

  absl::Status Start(int port) {
    BW_ASSIGN_OR_RETURN(
        server_, http::Server::Start(absl::StrCat("127.0.0.1:", port),
                                     [this](const http::Request& r) { return Answer(r); }, {.body_bytes = kMaxDraft}));
    {
      absl::MutexLock lock(&mu_);
      guard_ = std::make_unique<Guard>(server_->port(), os::Random::System());
    }
    Say("console: ");
    return absl::OkStatus();
  }
  void Stop() { server_->Stop(); }

 private:
  http::Response Answer(const http::Request& request) {
    Guard* guard = nullptr;
    {
      absl::MutexLock lock(&mu_);
      guard = guard_.get();
    }
    http::Response response = guard == nullptr ? http::Text(503, "not ready") : Serve(*guard, request);
    Harden(&response);
    return response;
  }

  http::Response Serve(Guard& guard, const http::Request& request) {
    Guard::Verdict verdict = guard.Check(request);
    if (verdict.pass == Guard::Pass::kRefused) return std::move(verdict.refusal);
    if (verdict.pass == Guard::Pass::kEnter) {
      // A reload instead of a redirect: the request for the page is then the console's own, whoever showed the link.
      http::Response enter = http::Text(200, "one moment");
      enter.headers.push_back({"Set-Cookie", verdict.cookie});
      enter.headers.push_back({"Refresh", absl::StrCat("0;url=", guard.base())});
      Say("opened; for another browser: ");
      return enter;
    }
    if (absl::StartsWith(verdict.path, "/api/")) return api_.Answer(verdict.path.substr(5), request);
    const Asset* asset = FindAsset(verdict.path == "/" ? "index.html" : verdict.path.substr(1));
    if (asset == nullptr || request.method == "POST") return http::Text(404, "this console has no such page");
    http::Response response;
    response.headers.push_back({"Content-Type", std::string(asset->type)});
    response.body = std::string(asset->content);
    return response;
  }

  // The next link that counts. Each opens one browser.
  void Say(const char* what) {
    absl::MutexLock lock(&mu_);
    const std::string link = guard_->NewLink();
    if (globals_->table()) {
      std::cout << what << link << std::endl;
    } else {
      PrintNext(globals_->format(), {{"link", Text(link)}});
    }
  }

  Api api_;
  Globals* const globals_;
  absl::Mutex mu_;  // also of standard output
  std::unique_ptr<Guard> guard_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<http::Server> server_;
};

volatile std::sig_atomic_t ended = 0;

absl::Status Serve(Globals& globals, int port) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::GetInfoResponse info;  // who cannot reach or may not ask learns it here, not in the browser
  BW_RETURN_IF_ERROR(admin->Check(admin->control().GetInfo(Admin::Call().get(), {}, &info)));
  Console console(std::move(admin), &globals);
  BW_RETURN_IF_ERROR(console.Start(port));
  std::signal(SIGINT, [](int) { ended = 1; });
  std::signal(SIGTERM, [](int) { ended = 1; });
  while (ended == 0) os::Clock::System()->SleepFor(kWatchSignal);
  console.Stop();
  return absl::OkStatus();
}

}  // namespace

void RegisterConsole(CLI::App& app, Globals& globals) {
  auto* c = app.add_subcommand("console", "a web console on this machine: fleet, datasets, transfers, policy, audit");
  auto port = std::make_shared<int>(0);
  c->add_option("--port", *port, "of 127.0.0.1 to listen on (default: a free one)")->check(CLI::Range(0, 65535));
  c->footer(
      "Prints a link that opens one browser, with this context's identity and roles, until Ctrl-C; each link counts\n"
      "once, and the next is printed when one was used. Listens on 127.0.0.1 only: from elsewhere, forward the same\n"
      "port (ssh -L 8085:127.0.0.1:8085).\nExample:\n  bailiwick console --port 8085");
  OnRun(c, globals, [&globals, port] { return Serve(globals, *port); });
}

}  // namespace bailiwick::cli
