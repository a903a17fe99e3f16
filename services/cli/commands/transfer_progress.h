// What is on its way while somebody waits for it.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "services/cli/commands/progress.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {

// Transfers of a dataset as bars on standard error. Nobody is asked where no terminal shows them. Not thread-safe.
class TransferProgress {
 public:
  // `site`: of those to it; empty: of all. `admin` outlives this.
  TransferProgress(Admin* admin, std::string dataset, std::string site = "");
  // To be called again and again; asks the coordinator once a second. What it cannot be asked for is not shown.
  void Look();
  // Takes the bars away, before something is printed.
  void Clear() {
    if (board_) board_->Clear();
  }

 private:
  void Ask();

  Admin* const admin_;
  const std::string dataset_, site_;
  std::optional<ProgressBoard> board_;
  absl::Duration next_;
  std::set<std::string> shown_;
};

}  // namespace bailiwick::cli
