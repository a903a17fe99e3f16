#include "services/agent/evict/residence.h"

#include "common/policy/residence.h"

namespace bailiwick::agent {
namespace {

// By the moment that is known to have come.
bool CertainlyUnlawful(const LawSnapshot& law, const config::Classification& of, const std::string& site,
                       absl::Time known) {
  const policy::Decision then = policy::EvaluateResidence(law.world, of.labels, of.home_site, site, known);
  return !then.permitted && then.reason != policy::Reason::kError;
}

}  // namespace

absl::StatusOr<config::Classification> ClassifyHeld(const LawSnapshot& law, DatasetId id, const std::string& name) {
  auto known = law.Classify(id, name);
  const size_t at = name.rfind('@');
  if (known.ok() || at == std::string::npos) return known;
  const std::string site = name.substr(at + 1);
  for (const auto& [family_id, family] : law.classifications) {
    if (!family.family || config::StreamId(family_id, site) != id) continue;
    config::Classification stream = family;
    stream.dataset_id = id;
    stream.dataset = name;
    stream.home_site = site;
    stream.family = false;
    return stream;
  }
  return known;
}

Residence JudgeResidence(const LawSnapshot& law, DatasetId id, const std::string& name, const std::string& site,
                         absl::Time now, absl::Time known) {
  Residence out;
  out.verdict.revision = law.world.revision;
  out.verdict.digest = law.world.digest;
  auto classification = ClassifyHeld(law, id, name);
  if (!classification.ok()) {
    out.verdict.lawful = out.verdict.judged = false;
    out.verdict.reason = policy::ReasonName(policy::Reason::kError);
    out.verdict.sentence = std::string(classification.status().message());
    return out;
  }
  out.home = classification->home_site == site;
  const policy::Decision decision =
      policy::EvaluateResidence(law.world, classification->labels, classification->home_site, site, now);
  out.verdict.lawful = decision.permitted;
  out.verdict.judged = decision.reason != policy::Reason::kError;
  out.verdict.reason = policy::ReasonName(decision.reason);
  out.verdict.rule = decision.rule;
  out.verdict.sentence = decision.sentence;
  out.verdict.certain = decision.permitted || CertainlyUnlawful(law, *classification, site, known);
  if (!decision.permitted || decision.retention_rule.empty()) return out;
  out.verdict.max_retention = decision.obligations.max_retention;
  out.verdict.retention_rule = decision.retention_rule;
  const policy::Decision at_home = policy::EvaluateResidence(law.world, classification->labels,
                                                             classification->home_site, classification->home_site, now);
  if (at_home.permitted) out.verdict.home_retention = at_home.obligations.max_retention;
  return out;
}

}  // namespace bailiwick::agent
