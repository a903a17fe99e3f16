// What the console's pages ask: each route is one command of the command line, answers with what that prints with
// -o json, and fails with its sentence. Thread-safe.
//
//   GET  status, replicas, datasets, transfers, events, whoami
//   GET  holds[?dataset]  evictions[?dataset&site]  redactions[?dataset]
//   GET  versions?dataset  why?dataset&site  resources?kind[&name]
//   POST rollback?dataset&number[&site]      number 0: follow the newest again
//   GET  policy/explain?dataset|label&from&to[&purpose&at]   policy/reach?dataset|label&to[&from&purpose&at]
//   GET  policy/yaml?name   policy/history
//   POST policy/diff        the draft as the body, YAML
//   GET  audit/logs  audit/list?site[&kind&subject&since&until&limit]
//   GET  audit/prove?id     the proof, and whether it is true by the keys of the signed law
//   GET  audit/report?dataset|(from&to)[&html]
//   GET  live               server-sent events: status, replicas, transfers, events when they change; away when the
//                           coordinator does not answer, with its sentence
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/http/message.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {

class Api {
 public:
  explicit Api(std::unique_ptr<Admin> admin) : admin_(std::move(admin)) {}
  // `route`: below /api/.
  http::Response Answer(const std::string& route, const http::Request& request);

 private:
  const std::unique_ptr<Admin> admin_;
};

// {"version": 1, "error": {"code": "not-found", "message": "..."}} with the status of HTTP that is nearest.
http::Response ErrorResponse(const absl::Status& status);

// Until the reader is gone.
void StreamLive(Admin& admin, http::BodyWriter& out);

}  // namespace bailiwick::cli
