// What `doctor` found, a row a check, and how it is told. Not thread-safe.
#pragma once

#include <string>
#include <vector>

#include "common/output/output.h"

namespace bailiwick::doctor {

enum class Verdict { kOk, kWarn, kFail };

struct Finding {
  std::string check;  // "dns coordinator"
  Verdict verdict = Verdict::kOk;
  std::string found;          // what is the case, in a few words
  std::string remedy;         // one sentence; empty when ok
  bool out_of_reach = false;  // it fails because somebody else does not answer
};

class Report {
 public:
  void Ok(const std::string& check, const std::string& found) { Add({check, Verdict::kOk, found, ""}); }
  void Warn(const std::string& check, const std::string& found, const std::string& remedy) {
    Add({check, Verdict::kWarn, found, remedy});
  }
  void Fail(const std::string& check, const std::string& found, const std::string& remedy) {
    Add({check, Verdict::kFail, found, remedy});
  }
  void OutOfReach(const std::string& check, const std::string& found, const std::string& remedy) {
    Add({check, Verdict::kFail, found, remedy, true});
  }
  void Add(Finding finding) { findings_.push_back(std::move(finding)); }

  const std::vector<Finding>& findings() const { return findings_; }
  // 0: nothing fails, though there may be warnings. 6: what fails is out of reach from here. 1: something else fails
  // too.
  int ExitCode() const;
  // {"ok", "failed", "warnings", "checks": [{"name", "result", "found", "remedy"}]}
  output::Fields ToFields() const;
  // A line a check, a remedy on the line below its own, and a last line that counts.
  std::string ToTable() const;
  void Print(output::Format format) const;  // to standard output

 private:
  size_t Count(Verdict verdict) const;
  std::vector<Finding> findings_;
};

}  // namespace bailiwick::doctor
