// bailiwick: the command line. Wiring only.
#include "common/cli/delivered.h"
#include "common/os/process.h"
#include "common/rpc/credentials.h"
#include "common/telemetry/log.h"
#include "services/cli/commands/app.h"
#include "services/cli/console/console.h"
#include "services/cli/dev/dev.h"

int main(int argc, char** argv) {
  using namespace bailiwick;
  os::KeepMemoryPrivate();  // it reads keys
  os::LookUpProcessors();
  os::SkipLockOrderChecks();
  telemetry::InitLogging("cli", telemetry::Format::kText, telemetry::Level::kError);
  rpc::RouteGrpcLog();
  os::HideArguments(argc, argv, {"--token"});
  return cli::Delivered(cli::RunCommandLine(argc, argv, {cli::RegisterConsole, cli::RegisterDev}), "bailiwick");
}
