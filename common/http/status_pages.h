// The pages of --metrics-listen, on agent and coordinator: /metrics, /healthz and /readyz, by GET and HEAD, and nothing
// else. Plaintext and for everybody who reaches the port: metrics tell names of datasets and sites, sizes and lags,
// never names of files; where that is too much the port belongs on loopback or behind a network policy.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/http/message.h"
#include "common/http/server.h"
#include "common/telemetry/metrics.h"

namespace bailiwick::http {

// Called on many threads at once.
struct StatusSource {
  std::function<void(telemetry::Exposition*)> metrics;
  std::function<absl::Status()> alive;  // not OK: the process should be started anew, with why
  std::function<absl::Status()> ready;  // not OK: it should not be asked for work now, with why
};

Response AnswerStatus(const StatusSource& source, const Request& request);
// Null for an empty address: they are not wanted. Errors as of Server::Start.
absl::StatusOr<std::unique_ptr<Server>> ServeStatus(const std::string& address, StatusSource source);

}  // namespace bailiwick::http
