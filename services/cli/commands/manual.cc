#include "services/cli/commands/manual.h"

#include "common/base/status.h"
#include "common/cli/manual.h"
#include "common/os/files.h"

namespace bailiwick::cli {

void RegisterManual(CLI::App& app, Globals& globals) {
  auto* c = app.add_subcommand("__manual", "writes the manual pages")->group("");
  auto directory = std::make_shared<std::string>();
  c->footer("Example:\n  bailiwick __manual debian/man");
  c->add_option("DIR", *directory, "a directory that exists")->type_name("PATH")->required();
  OnRun(c, globals, [&app, directory]() -> absl::Status {
    for (const auto& [name, text] : ManualPages(app)) {
      BW_RETURN_IF_ERROR(os::WriteFileAtomically(os::Files::System(), os::JoinPath(*directory, name), text));
    }
    return absl::OkStatus();
  });
}

}  // namespace bailiwick::cli
