#include "common/config/process_settings.h"

#include <utility>

namespace bailiwick::config {

std::vector<Setting> WithProcessRows(std::vector<Setting> table, ProcessSettings* s, std::string renewal) {
  using Form = Setting::Form;
  table.push_back({.flag = "tls-dir",
                   .form = Form::kPath,
                   .value = &s->tls_dir,
                   .help = "where somebody else (cert-manager, SPIRE) renews the certificate",
                   .otherwise = std::move(renewal)});
  table.push_back({.flag = "health-listen",
                   .form = Form::kHostPort,
                   .value = &s->health_listen,
                   .help = "HOST:PORT for plaintext gRPC health checks only"});
  table.push_back({.flag = "metrics-listen",
                   .form = Form::kHostPort,
                   .value = &s->metrics_listen,
                   .help = "HOST:PORT for /metrics, /healthz and /readyz, plaintext and for everybody"});
  table.push_back({.flag = "log-format",
                   .form = Form::kWord,
                   .value = &s->log_format,
                   .help = "how the log is written: text or json",
                   .words = {"text", "json"}});
  table.push_back({.flag = "log-level",
                   .form = Form::kWord,
                   .value = &s->log_level,
                   .help = "what is logged: debug, info, warning or error",
                   .words = {"debug", "info", "warning", "error"}});
  return table;
}

}  // namespace bailiwick::config
