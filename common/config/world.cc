#include "common/config/world.h"

#include <google/protobuf/message.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/config/check.h"
#include "common/config/fields.h"

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

policy::Place ToPlace(const pb::Place& place) {
  policy::Place out;
  out.in.assign(place.in().begin(), place.in().end());
  out.not_in.assign(place.not_in().begin(), place.not_in().end());
  out.sites = ToSelector(place.site_selector());
  out.entities.assign(place.entities().begin(), place.entities().end());
  return out;
}

std::vector<policy::Action> ToActions(const pb::Rule& rule) {
  if (rule.actions().empty()) return {policy::Action::kTransfer, policy::Action::kReside};
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

policy::Rule ToRule(const std::string& policy_name, const pb::Rule& rule) {
  policy::Rule out;
  out.policy = policy_name;
  out.id = rule.id();
  out.effect = rule.effect() == pb::EFFECT_PERMIT ? policy::Effect::kPermit : policy::Effect::kForbid;
  out.actions = ToActions(rule);
  out.data = ToSelector(rule.data());
  out.from = ToPlace(rule.from());
  out.to = ToPlace(rule.to());
  if (const auto* basis = pb::Basis_descriptor()->FindValueByNumber(rule.basis())) out.basis = EnumWord(*basis);
  for (const pb::Obligation& obligation : rule.obligations()) {
    out.obligations.push_back(obligation.name().empty() ? "(unnamed)" : obligation.name());
  }
  if (out.obligations.empty() && HasUnknownFields(rule)) out.obligations.push_back("(a field of a newer version)");
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
    } else if (resource.has_sovereignty_policy()) {
      for (const auto& [set_name, set] : resource.sovereignty_policy().sets()) world.sets[name][set_name] = ToSet(set);
      for (const pb::Rule& rule : resource.sovereignty_policy().rules()) world.rules.push_back(ToRule(name, rule));
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  std::sort(world.regions.begin(), world.regions.end());
  return world;
}

}  // namespace bailiwick::config
