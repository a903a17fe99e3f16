#include "common/config/obligations.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;

constexpr char kPurposes[] = "purposes";
constexpr char kWhen[] = "when";
constexpr char kGuardrail[] = "guardrail";
constexpr char kRedaction[] = "redaction";

}  // namespace

std::vector<std::string> EnforcedParts() {
  std::vector<std::string> parts = {kPurposes, kWhen, kGuardrail, kRedaction};
  for (std::string_view obligation : kSupportedObligations) parts.emplace_back(obligation);
  return parts;
}

std::map<std::string, std::string> NeededParts(const Catalog& catalog) {
  std::map<std::string, std::string> needed;
  for (const auto& [key, resource] : catalog) {
    const pb::SovereigntyPolicySpec& spec = resource.sovereignty_policy();
    if (spec.tier() == pb::TIER_GUARDRAIL) needed.emplace(kGuardrail, key.second);
    if (spec.has_redaction()) needed.emplace(kRedaction, key.second);
    for (const pb::Rule& rule : spec.rules()) {
      if (rule.purposes_size() != 0) needed.emplace(kPurposes, key.second);
      if (rule.has_when()) needed.emplace(kWhen, key.second);
      for (const pb::Obligation& obligation : rule.obligations()) {
        needed.emplace(std::string(ObligationName(obligation)), key.second);
      }
    }
  }
  return needed;
}

std::string_view ObligationName(const pb::Obligation& obligation) {
  const auto* field = pb::Obligation::descriptor()->FindFieldByNumber(obligation.kind_case());
  return field == nullptr ? std::string_view() : std::string_view(field->json_name());
}

}  // namespace bailiwick::config
