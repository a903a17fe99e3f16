#include "common/doctor/report.h"

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace bailiwick::doctor {
namespace {

constexpr int kFailedCode = 1, kOutOfReachCode = 6;  // as in common/base/status.h

const char* Word(Verdict verdict) {
  return verdict == Verdict::kOk ? "ok" : (verdict == Verdict::kWarn ? "warn" : "fail");
}

std::string Counted(size_t n, const char* one, const char* many) { return absl::StrCat(n, " ", n == 1 ? one : many); }

}  // namespace

size_t Report::Count(Verdict verdict) const {
  return static_cast<size_t>(
      std::count_if(findings_.begin(), findings_.end(), [verdict](const Finding& f) { return f.verdict == verdict; }));
}

int Report::ExitCode() const {
  int code = 0;
  for (const Finding& f : findings_) {
    if (f.verdict != Verdict::kFail) continue;
    if (!f.out_of_reach) return kFailedCode;
    code = kOutOfReachCode;
  }
  return code;
}

output::Fields Report::ToFields() const {
  std::vector<output::Json> checks;
  for (const Finding& f : findings_) {
    checks.push_back(output::Object({{"name", output::Text(f.check)},
                                     {"result", output::Text(Word(f.verdict))},
                                     {"found", output::Text(f.found)},
                                     {"remedy", output::Text(f.remedy)}}));
  }
  return {{"ok", output::Bool(Count(Verdict::kFail) == 0)},
          {"failed", output::Number(Count(Verdict::kFail))},
          {"warnings", output::Number(Count(Verdict::kWarn))},
          {"checks", output::List(std::move(checks))}};
}

std::string Report::ToTable() const {
  output::Rows rows;
  for (const Finding& f : findings_) rows.push_back({Word(f.verdict), f.check, f.found});
  const std::vector<std::string> lines = absl::StrSplit(output::FormatTable({"RESULT", "CHECK", "FOUND"}, rows), '\n');
  std::string text = lines[0] + "\n";
  for (size_t i = 0; i < findings_.size(); ++i) {
    absl::StrAppend(&text, lines[i + 1], "\n");
    if (!findings_[i].remedy.empty()) {
      absl::StrAppend(&text, "        -> ", output::FormatMessage(findings_[i].remedy), "\n");
    }
  }
  const size_t failed = Count(Verdict::kFail), warnings = Count(Verdict::kWarn);
  absl::StrAppend(&text, failed == 0 ? "nothing fails" : Counted(failed, "check fails", "checks fail"),
                  warnings == 0 ? "" : absl::StrCat(", ", Counted(warnings, "warning", "warnings")), "; ",
                  Count(Verdict::kOk), " of ", findings_.size(), " are ok\n");
  return text;
}

void Report::Print(output::Format format) const {
  if (format == output::Format::kTable) {
    std::cout << ToTable() << std::flush;
  } else if (format == output::Format::kName) {
    for (const Finding& f : findings_) {  // those that somebody has to look at
      if (f.verdict != Verdict::kOk) std::cout << f.check << "\n";
    }
    std::cout << std::flush;
  } else {
    output::PrintJson(format, ToFields());
  }
}

}  // namespace bailiwick::doctor
