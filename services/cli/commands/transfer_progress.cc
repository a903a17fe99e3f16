#include "services/cli/commands/transfer_progress.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "services/cli/commands/output.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kAskEvery = absl::Seconds(1);

}  // namespace

TransferProgress::TransferProgress(Admin* admin, std::string dataset, std::string site)
    : admin_(admin), dataset_(std::move(dataset)), site_(std::move(site)) {
  if (!IsTerminal(STDERR_FILENO)) return;
  board_.emplace();
  next_ = os::Clock::System()->BootTime() + kAskEvery;  // a short wait asks nobody
}

void TransferProgress::Look() {
  if (!board_) return;
  if (const absl::Duration now = os::Clock::System()->BootTime(); now >= next_) {
    Ask();
    next_ = now + kAskEvery;
  }
  board_->Draw();
}

void TransferProgress::Ask() {
  control::v1::ListTransfersResponse response;
  if (!admin_->control().ListTransfers(Admin::Call().get(), {}, &response).ok()) return;
  std::set<std::string> gone = std::move(shown_);
  shown_.clear();
  for (const auto& t : response.transfers()) {
    const bool ours = t.dataset() == dataset_ && (site_.empty() || t.destination() == site_);
    if (!ours || (t.state() != "running" && t.state() != "starting")) continue;
    board_->Update(t.transfer_id(),
                   absl::StrCat(t.dataset(), " version ", t.version(), " ", t.source(), " -> ", t.destination()),
                   t.done_bytes(), t.total_bytes());
    gone.erase(t.transfer_id());
    shown_.insert(t.transfer_id());
  }
  for (const std::string& id : gone) board_->Remove(id);
}

}  // namespace bailiwick::cli
