#include "common/config/world.h"

#include <google/protobuf/message.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/config/check.h"
#include "common/config/fields.h"
#include "common/config/obligations.h"
#include "common/config/when.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;
using google::protobuf::Message;

// A condition that a newer version wrote and this one cannot see must not be skipped.
bool HasUnknownFields(const Message& message) {
  const auto& reflection = *message.GetReflection();
  if (!reflection.GetUnknownFields(message).empty()) return true;
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      if (HasUnknownFields(reflection.GetMessage(message, field))) return true;
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      if (HasUnknownFields(reflection.GetRepeatedMessage(message, field, i))) return true;
    }
  }
  return false;
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

policy::Place ToPlace(const pb::Place& place) {
  policy::Place out;
  out.in.assign(place.in().begin(), place.in().end());
  out.not_in.assign(place.not_in().begin(), place.not_in().end());
  out.sites = ToSelector(place.site_selector());
  out.entities.assign(place.entities().begin(), place.entities().end());
  return out;
}

std::vector<policy::Action> ToActions(const pb::Rule& rule) {
  if (rule.actions().empty()) return {policy::Action::kTransfer, policy::Action::kReside, policy::Action::kTransit};
  std::vector<policy::Action> out;
  for (int action : rule.actions()) {
    switch (action) {
      case pb::ACTION_TRANSFER:
        out.push_back(policy::Action::kTransfer);
        break;
      case pb::ACTION_RESIDE:
        out.push_back(policy::Action::kReside);
        break;
      case pb::ACTION_TRANSIT:
        out.push_back(policy::Action::kTransit);
        break;
      case pb::ACTION_RELABEL:
        out.push_back(policy::Action::kRelabel);
        break;
      case pb::ACTION_MOVE_SITE:
        out.push_back(policy::Action::kMoveSite);
        break;
      default:
        break;  // CheckResource refused it before
    }
  }
  return out;
}

// Of an obligation that this version does not know or enforce: why the rule is an error. Else it is added.
void AddObligation(const pb::Obligation& obligation, policy::Rule* rule) {
  const std::string_view name = ObligationName(obligation);
  if (name.empty() || HasUnknownFields(obligation)) {
    rule->unknown.push_back("an obligation of a newer version is not known to this one");
    return;
  }
  if (!IsSupported(name)) {
    rule->unknown.push_back(absl::StrCat("obligation ", std::string(name), " is not enforced by this version"));
  }
  policy::Obligations one;
  if (obligation.has_encrypt_at_rest()) {
    one.encrypt_key_regions = {obligation.encrypt_at_rest().key_region()};
  } else if (obligation.has_max_retention()) {
    one.max_retention = ToDuration(obligation.max_retention());
  }
  one.max_hops = obligation.max_hops();
  one.no_transit = obligation.no_transit();
  rule->obligations.Add(one);
}

policy::Rule ToRule(const std::string& policy_name, const pb::SovereigntyPolicySpec& spec, const pb::Rule& rule) {
  policy::Rule out;
  out.policy = policy_name;
  out.tier = spec.tier() == pb::TIER_GUARDRAIL ? policy::Tier::kGuardrail : policy::Tier::kPolicy;
  out.id = rule.id();
  out.effect = rule.effect() == pb::EFFECT_PERMIT ? policy::Effect::kPermit : policy::Effect::kForbid;
  out.actions = ToActions(rule);
  out.data = ToSelector(rule.data());
  out.from = ToPlace(rule.from());
  out.to = ToPlace(rule.to());
  if (const auto* basis = pb::Basis_descriptor()->FindValueByNumber(rule.basis())) out.basis = EnumWord(*basis);
  for (const pb::Obligation& obligation : rule.obligations()) AddObligation(obligation, &out);
  out.purposes.assign(rule.purposes().begin(), rule.purposes().end());
  if (auto when = ToWhen(rule.when())) {
    out.when = *std::move(when);
  } else {
    out.unknown.push_back("its `when` cannot be read by this version");
  }
  if (out.unknown.empty() && HasUnknownFields(rule)) {
    out.unknown.push_back("a condition of a newer version is not known to this one");
  }
  // What says how the rules of a policy count, in a word that this version does not have.
  if (!spec.GetReflection()->GetUnknownFields(spec).empty() || !pb::Tier_IsValid(spec.tier())) {
    out.unknown.push_back("its policy has a field of a newer version, not known to this one");
  }
  return out;
}

policy::RegionSet ToSet(const pb::RegionSet& set) {
  policy::RegionSet out;
  out.regions.assign(set.regions().begin(), set.regions().end());
  if (!set.expires().empty()) out.expires = ParseDay(set.expires()).value_or(absl::InfinitePast());
  if (HasUnknownFields(set)) out.expires = absl::InfinitePast();
  return out;
}

}  // namespace

policy::Selector ToSelector(const pb::LabelSelector& selector) {
  policy::Selector out;
  for (const auto& [key, value] : selector.match_labels()) {
    out.conditions.push_back({key, policy::Operator::kIn, {value}});
  }
  std::sort(out.conditions.begin(), out.conditions.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  for (const pb::LabelExpression& expression : selector.match_expressions()) {
    policy::LabelCondition condition{expression.key(), policy::Operator::kIn, {}};
    condition.values.assign(expression.values().begin(), expression.values().end());
    switch (expression.operator_()) {
      case pb::LABEL_OPERATOR_IN:
        break;
      case pb::LABEL_OPERATOR_NOT_IN:
        condition.op = policy::Operator::kNotIn;
        break;
      case pb::LABEL_OPERATOR_EXISTS:
        condition.op = policy::Operator::kExists;
        break;
      case pb::LABEL_OPERATOR_DOES_NOT_EXIST:
        condition.op = policy::Operator::kDoesNotExist;
        break;
      default:
        condition.key.clear();  // no label has an empty key: missing, so an error
    }
    out.conditions.push_back(std::move(condition));
  }
  return out;
}

absl::StatusOr<policy::World> BuildWorld(const Catalog& catalog) {
  policy::World world;
  std::vector<std::string> problems;
  for (const auto& [key, resource] : catalog) {
    const std::string& name = resource.metadata().name();
    CheckResource(resource, [&problems, &key = key](const std::string& path, const std::string& problem) {
      problems.push_back(absl::StrCat(key.first, "/", key.second, ": ", path, ": ", problem));
    });
    if (resource.has_region()) {
      world.regions.push_back(name);
    } else if (resource.has_site()) {
      policy::Site& site = world.sites[name];
      site.name = name;
      site.region = resource.site().region();
      site.entity = resource.site().entity();
      site.labels.insert(resource.metadata().labels().begin(), resource.metadata().labels().end());
      for (const pb::StorageKey& key : resource.site().storage_keys()) {
        site.storage_keys.push_back({key.id(), key.region()});
      }
      site.encrypted_volume = resource.site().replica_volume() == pb::VOLUME_ENCRYPTED;
    } else if (resource.has_sovereignty_policy()) {
      const pb::SovereigntyPolicySpec& spec = resource.sovereignty_policy();
      for (const auto& [set_name, set] : spec.sets()) world.sets[name][set_name] = ToSet(set);
      for (const pb::Rule& rule : spec.rules()) world.rules.push_back(ToRule(name, spec, rule));
      for (const pb::Offline& offline : spec.offline()) {
        if (HasUnknownFields(offline)) continue;  // it delegates, so what is not understood is not delegated
        world.offline.push_back({name, offline.jurisdiction(), ToDuration(offline.max_staleness()),
                                 spec.tier() == pb::TIER_GUARDRAIL ? policy::Tier::kGuardrail : policy::Tier::kPolicy});
      }
      if (spec.redaction().overrides_locks() && !HasUnknownFields(spec.redaction())) {
        world.redaction_over_locks.push_back(ToSelector(spec.redaction().data()));
      }
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  std::sort(world.regions.begin(), world.regions.end());
  return world;
}

}  // namespace bailiwick::config
