#include "common/http/status_pages.h"

#include <utility>

namespace bailiwick::http {
namespace {

Response Verdict(const absl::Status& status) {
  return status.ok() ? Text(200, "ok") : Text(503, std::string(status.message()));
}

}  // namespace

Response AnswerStatus(const StatusSource& source, const Request& request) {
  const bool known = request.path == "/metrics" || request.path == "/healthz" || request.path == "/readyz";
  if (!known) return Text(404, "there is /metrics, /healthz and /readyz");
  if (request.method == "POST") {
    Response no = Text(405, "only GET and HEAD are served");
    no.headers.emplace_back("Allow", "GET, HEAD");
    return no;
  }
  if (request.path == "/healthz") return Verdict(source.alive());
  if (request.path == "/readyz") return Verdict(source.ready());
  const auto format = telemetry::Negotiate(request.Header("accept"));
  telemetry::Exposition out;
  source.metrics(&out);
  telemetry::CollectFamilies(&out);
  return {.headers = {{"Content-Type", telemetry::ContentType(format)}, {"Vary", "Accept"}},
          .body = out.Render(format)};
}

absl::StatusOr<std::unique_ptr<Server>> ServeStatus(const std::string& address, StatusSource source) {
  if (address.empty()) return nullptr;
  return Server::Start(address,
                       [source = std::move(source)](const Request& request) { return AnswerStatus(source, request); });
}

}  // namespace bailiwick::http
