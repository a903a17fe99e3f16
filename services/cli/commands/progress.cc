#include "services/cli/commands/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/units.h"
#include "services/cli/commands/output.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kWindow = absl::Seconds(10);
constexpr absl::Duration kTerminalEvery = absl::Milliseconds(100);
constexpr absl::Duration kPlainEvery = absl::Seconds(1);
constexpr int kBar = 30;
constexpr int kSmallestBar = 8;  // numbers matter more

int TerminalColumns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

void Rate::Add(absl::Duration now, uint64_t done) {
  if (!samples_.empty() && done < samples_.back().second) samples_.clear();  // it began anew
  const size_t n = samples_.size();
  if (n >= 2 && now - samples_[n - 2].first < kTerminalEvery) samples_.pop_back();  // bounded: ten samples a second
  samples_.emplace_back(now, done);
  while (samples_.size() > 2 && now - samples_.front().first > kWindow) samples_.pop_front();
}

double Rate::per_second() const {
  if (samples_.size() < 2) return 0;
  const double seconds = absl::ToDoubleSeconds(samples_.back().first - samples_.front().first);
  return seconds <= 0 ? 0 : static_cast<double>(samples_.back().second - samples_.front().second) / seconds;
}

std::string ProgressText(const std::string& label, uint64_t done, uint64_t total, double per_second,
                         const std::string& more, int bar, bool about, const std::string& of) {
  auto amount = [&of](uint64_t n) { return of.empty() ? FormatBytes(n) : absl::StrCat(n); };
  std::string text = label;
  const double part = total == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  if (bar > 0 && total > 0) {
    const int filled = static_cast<int>(part * bar);
    absl::StrAppend(&text, " [", std::string(filled, '#'), std::string(bar - filled, '.'), "]");
  }
  absl::StrAppend(&text, " ", amount(done));
  if (total > 0) absl::StrAppend(&text, about ? " of about " : " of ", amount(total));
  if (!of.empty()) absl::StrAppend(&text, " ", of);
  if (total > 0) absl::StrAppend(&text, absl::StrFormat(" (%d%%)", static_cast<int>(part * 100)));
  if (per_second >= 1) {
    absl::StrAppend(&text, ", ", amount(static_cast<uint64_t>(per_second)), "/s");
    if (total > done) {
      const double seconds = static_cast<double>(total - done) / per_second;
      absl::StrAppend(&text, ", ETA ", FormatAge(absl::Seconds(std::max(1.0, seconds))));
    }
  }
  return more.empty() ? text : absl::StrCat(text, ", ", more);
}

ProgressBoard::ProgressBoard()
    : ProgressBoard(&std::cerr, IsTerminal(STDERR_FILENO), TerminalColumns(), os::Clock::System()) {}

ProgressBoard::ProgressBoard(std::ostream* out, bool terminal, int columns, const os::Clock* clock)
    : out_(out), terminal_(terminal), columns_(columns), clock_(clock) {
  next_ = clock_->BootTime() + (terminal_ ? kTerminalEvery : kPlainEvery);  // short work shows nothing
}

void ProgressBoard::Update(const std::string& key, const std::string& label, uint64_t done, uint64_t total,
                           const std::string& more, bool about, const std::string& of) {
  auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.key == key; });
  if (row == rows_.end()) {
    rows_.emplace_back();
    row = rows_.end() - 1;
    row->key = key;
  }
  row->label = label;
  row->done = done;
  row->total = total;
  row->more = more;
  row->about = about;
  row->of = of;
  row->rate.Add(clock_->BootTime(), done);
}

void ProgressBoard::Remove(const std::string& key) {
  rows_.erase(std::remove_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.key == key; }), rows_.end());
}

void ProgressBoard::Draw() {
  const absl::Duration now = clock_->BootTime();
  if (now < next_) return;
  next_ = now + (terminal_ ? kTerminalEvery : kPlainEvery);
  Clear();
  for (const Row& row : rows_) {
    auto text_with = [&row](int bar) {
      return ProgressText(row.label, row.done, row.total, row.rate.per_second(), row.more, bar, row.about, row.of);
    };
    std::string text = text_with(0);
    if (const int room = columns_ - static_cast<int>(text.size()) - 4; terminal_ && room >= kSmallestBar) {
      text = text_with(std::min(room, kBar));
    }
    // A line that wraps could not be taken back.
    if (terminal_ && text.size() >= static_cast<size_t>(columns_)) text.resize(std::max(columns_ - 1, 0));
    *out_ << text << "\n";
  }
  if (terminal_) drawn_ = rows_.size();
  out_->flush();
}

void ProgressBoard::Clear() {
  if (drawn_ == 0) return;
  *out_ << "\033[" << drawn_ << "A\033[J" << std::flush;
  drawn_ = 0;
}

}  // namespace bailiwick::cli
