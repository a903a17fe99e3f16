// What the planner asks of the law, every second for every copy: answered by the compiled law, which is made again when
// the time it holds for is over. The same answers as policy::EvaluateReplication and policy::EvaluateResidence, without
// sentences.
//
// Not thread-safe: one owner calls it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/policy/compiled.h"
#include "common/policy/model.h"

namespace bailiwick::coordinator {

class CompiledLaw {
 public:
  // The world must outlive this and not change.
  explicit CompiledLaw(const policy::World* world);

  policy::Verdict Replication(const policy::Labels& data, const std::string& from, const std::string& to,
                              const std::string& purpose, const std::string& home, absl::Time now);
  policy::Verdict Residence(const policy::Labels& data, const std::string& home, const std::string& site,
                            absl::Time now);

 private:
  static constexpr size_t kMaxViews =
      10'000;  // kinds of data times purposes, a few hundred bytes each with 1,000 rules

  void At(absl::Time now);
  const policy::DataView& View(const policy::Labels& data, const std::string& purpose);

  const policy::World* const world_;
  std::set<std::string> purposes_;  // that rules name
  std::optional<policy::CompiledWorld> compiled_;
  absl::Time from_;  // compiled_ holds for [from_, its valid_until)
  std::map<std::pair<policy::Labels, std::string>, policy::DataView> views_;
};

}  // namespace bailiwick::coordinator
