#include "common/config/service_commands.h"

#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/cli/manual.h"

namespace bailiwick::config {

ServiceCommands::ServiceCommands(CLI::App* app, Settings* table, std::string file, std::function<absl::Status()> whole)
    : app_(app), table_(table), installed_file_(std::move(file)), whole_(std::move(whole)), file_(installed_file_) {
  check_ = app->add_subcommand("check-config", absl::StrCat("says what is wrong with a configuration file, before ",
                                                            table->command(), " would"));
  check_->add_option("FILE,--config", file_, absl::StrCat("the file (default: ", installed_file_, ")"));
  check_->add_flag("--example", example_, "print a file with every setting instead");
  check_->footer(absl::StrCat("Example:\n  ", app->get_name(), " check-config ", installed_file_));
  manual_ = app->add_subcommand("__manual", "writes the manual page")->group("");
  manual_->add_option("DIR", directory_, "a directory that exists")->required();
}

std::optional<absl::Status> ServiceCommands::Run() {
  if (*check_) return CheckConfig();
  if (!*manual_) return std::nullopt;
  return os::WriteFileAtomically(os::Files::System(), os::JoinPath(directory_, app_->get_name() + ".8"),
                                 cli::ServiceManualPage(*app_, installed_file_, table_->Annotated(installed_file_)));
}

absl::Status ServiceCommands::CheckConfig() {
  if (example_) {
    std::cout << table_->Annotated(installed_file_);
    return absl::OkStatus();
  }
  BW_RETURN_IF_ERROR(table_->Read(os::Files::System(), file_));
  BW_RETURN_IF_ERROR(Annotate(table_->RequireAll(), file_));
  BW_RETURN_IF_ERROR(Annotate(whole_(), file_));
  std::cout << file_ << " is good\n";
  return absl::OkStatus();
}

}  // namespace bailiwick::config
