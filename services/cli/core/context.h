// The context: who I am, which coordinator, which policy keys. Thread-safe functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rpc/proxy.h"

namespace bailiwick::cli {

// <dir>/context.yaml: coordinator, trustDomain, credentials (a directory with cert.pem, key.pem, ca.pem), policyKeys
// (PEM files), policyRootSha256 (hex); where the way out is a proxy: proxy, proxyCredentials (a file), noProxy. Relative
// paths are relative to the context's directory.
struct Context {
  std::string directory;
  std::string coordinator;  // host:port of the control port
  std::string trust_domain;
  std::string credentials;
  std::vector<std::string> policy_keys;
  std::string policy_root_sha256;  // 32 bytes
  rpc::Proxy::Settings way_out = {};
};

// `path`: a directory that holds context.yaml, or the file, or a name; empty: the one in effect, by ChooseContext
// (contexts.h). NOT_FOUND with the remedy; UNKNOWN: there is one that cannot be read.
absl::StatusOr<Context> LoadContext(const std::string& path);
// The text of a context file that lies in the directory; `file` is for sentences. INVALID_ARGUMENT: "file:line:column: why".
absl::StatusOr<Context> ParseContext(std::string_view text, const std::string& file, const std::string& directory);
std::string ContextText(const Context& context);      // what ParseContext reads back
absl::Status SaveContext(const Context& context);  // atomically

}  // namespace bailiwick::cli
