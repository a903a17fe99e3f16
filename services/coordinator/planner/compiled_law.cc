#include "services/coordinator/planner/compiled_law.h"

namespace bailiwick::coordinator {

CompiledLaw::CompiledLaw(const policy::World* world) : world_(world) {
  for (const policy::Rule& rule : world->rules) purposes_.insert(rule.purposes.begin(), rule.purposes.end());
}

void CompiledLaw::At(absl::Time now) {
  if (compiled_.has_value() && now >= from_ && now < compiled_->valid_until()) return;
  views_.clear();
  compiled_.emplace(world_, now);
  from_ = now;
}

const policy::DataView& CompiledLaw::View(const policy::Labels& data, const std::string& purpose) {
  auto known = views_.find({data, purpose});
  if (known != views_.end()) return known->second;
  if (views_.size() >= kMaxViews) views_.clear();
  return views_.emplace(std::pair(data, purpose), compiled_->View(data, purpose)).first->second;
}

policy::Verdict CompiledLaw::Replication(const policy::Labels& data, const std::string& from, const std::string& to,
                                         const std::string& purpose, const std::string& home, absl::Time now) {
  At(now);
  const size_t source = compiled_->SiteIndex(from);
  // A home that nobody declares is no site to send on from: an error, as in the evaluator.
  if (!home.empty() && home != from && compiled_->SiteIndex(home) == policy::CompiledWorld::kNoSite) {
    policy::Verdict unknown;
    unknown.reason = policy::Reason::kError;
    return unknown;
  }
  return compiled_->DecideReplication(View(data, purpose), source, compiled_->SiteIndex(to),
                                      home.empty() ? policy::CompiledWorld::kNoSite : compiled_->SiteIndex(home));
}

policy::Verdict CompiledLaw::Residence(const policy::Labels& data, const std::string& home, const std::string& site,
                                       absl::Time now) {
  At(now);
  const size_t from = compiled_->SiteIndex(home), to = compiled_->SiteIndex(site);
  const policy::Verdict without = compiled_->Decide(View(data, ""), from, to, policy::Action::kReside);
  if (without.permitted) return without;
  for (const std::string& purpose : purposes_) {
    policy::Verdict verdict = compiled_->Decide(View(data, purpose), from, to, policy::Action::kReside);
    if (verdict.permitted) return verdict;
  }
  return without;
}

}  // namespace bailiwick::coordinator
