// How far long work is: bars on a terminal, a plain line a second otherwise. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <iosfwd>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/os/clock.h"

namespace bailiwick::cli {

// Bytes, or what else is counted, a second over the last ten seconds, so that what was there before the start and
// pauses long ago do not count.
class Rate {
 public:
  void Add(absl::Duration now, uint64_t done);
  double per_second() const;  // 0: not known

 private:
  std::deque<std::pair<absl::Duration, uint64_t>> samples_;
};

// "label 3.0 MiB of 4.0 MiB (75%), 1.0 MiB/s, ETA 1s, more"; with a bar of `bar` cells when that is not 0. total 0:
// unknown. `about`: the total is an estimate, and said to be one. `of`: what is counted, "records"; empty: bytes.
std::string ProgressText(const std::string& label, uint64_t done, uint64_t total, double per_second,
                         const std::string& more, int bar, bool about = false, const std::string& of = "");

// Several works at once, each in a line of its own.
class ProgressBoard {
 public:
  ProgressBoard();  // standard error
  ProgressBoard(std::ostream* out, bool terminal, int columns, const os::Clock* clock);
  ~ProgressBoard() { Clear(); }
  ProgressBoard(const ProgressBoard&) = delete;
  ProgressBoard& operator=(const ProgressBoard&) = delete;

  void Update(const std::string& key, const std::string& label, uint64_t done, uint64_t total,
              const std::string& more = "", bool about = false, const std::string& of = "");
  void Remove(const std::string& key);
  void Draw();   // often enough: a terminal ten times a second, others once a second
  void Clear();  // takes the bars off a terminal, so that lines can be printed; they come back with the next Draw

 private:
  struct Row {
    std::string key, label, more, of;
    uint64_t done = 0, total = 0;
    bool about = false;
    Rate rate;
  };
  std::ostream* const out_;
  const bool terminal_;
  const int columns_;
  const os::Clock* const clock_;
  std::vector<Row> rows_;
  absl::Duration next_;
  size_t drawn_ = 0;  // lines on the terminal
};

// One work.
class Progress {
 public:
  explicit Progress(std::string label, std::string of = "") : label_(std::move(label)), of_(std::move(of)) {}
  void Update(uint64_t done, uint64_t total, const std::string& more = "", bool about = false) {
    board_.Update("", label_, done, total, more, about, of_);
    board_.Draw();
  }

 private:
  const std::string label_, of_;
  ProgressBoard board_;
};

}  // namespace bailiwick::cli
