// The context file of the command line.
#include "services/cli/core/context.h"

#include "common/base/host_port.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(context) {
  using namespace bailiwick;
  auto context = cli::ParseContext(in.Rest(), "context.yaml", "/contexts/ada");
  if (!context.ok()) {
    REQUIRE(context.status().message().substr(0, 12) == "context.yaml");
    return;
  }
  REQUIRE(ParseHostPort(context->coordinator).ok() && context->policy_root_sha256.size() == 32);
  REQUIRE(context->credentials.starts_with("/") && !context->trust_domain.empty());
  for (const std::string& key : context->policy_keys) REQUIRE(key.starts_with("/"));
  const std::string text = cli::ContextText(*context);
  auto again = cli::ParseContext(text, "context.yaml", "/contexts/ada");
  REQUIRE(again.ok() && cli::ContextText(*again) == text && again->credentials == context->credentials &&
          again->policy_keys == context->policy_keys && again->way_out.exempt == context->way_out.exempt);
}
