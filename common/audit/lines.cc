#include "common/audit/lines.h"

#include <algorithm>

#include "common/audit/record.h"
#include "common/base/status.h"

namespace bailiwick::audit {
namespace {

constexpr size_t kBlock = 1 << 20;  // bytes read at once; more than a line

}  // namespace

absl::StatusOr<bool> Lines::Next() {
  offset_ += taken_;
  begin_ += taken_;
  taken_ = 0;
  size_t newline = buffer_.find('\n', begin_);
  while (newline == std::string::npos && next_ < end_ && buffer_.size() - begin_ <= kMaxLine) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    const size_t before = buffer_.size();
    const size_t want = static_cast<size_t>(std::min<uint64_t>(kBlock, end_ - next_));
    buffer_.resize(before + want);
    BW_ASSIGN_OR_RETURN(size_t got, file_->ReadAt(next_, buffer_.data() + before, want));
    buffer_.resize(before + got);
    next_ += got;
    if (got < want) end_ = next_;
    newline = buffer_.find('\n', before);
  }
  if (begin_ == buffer_.size()) return false;
  complete_ = newline != std::string::npos;
  line_ = std::string_view(buffer_).substr(begin_, complete_ ? newline - begin_ : std::string::npos);
  taken_ = line_.size() + (complete_ ? 1 : 0);
  return true;
}

absl::StatusOr<bool> IsTorn(Lines& lines, bool (*is_some_record)(std::string_view)) {
  std::string_view line = lines.line();
  if (lines.complete() && line.find('\0') == std::string_view::npos) return false;
  // Its line end was changed.
  if (!lines.complete() && is_some_record(line.substr(0, line.size() - 1))) return false;
  while (true) {
    BW_ASSIGN_OR_RETURN(bool more, lines.Next());
    if (!more) return true;
    if (is_some_record(lines.line())) return false;
  }
}

}  // namespace bailiwick::audit
