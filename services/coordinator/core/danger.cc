#include "services/coordinator/core/danger.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/rpc/retention.h"

namespace bailiwick::coordinator {
namespace {

bool Shortened(const resource::v1::DatasetSpec& before, const resource::v1::DatasetSpec& after) {
  const store::RetentionRule was = rpc::RetentionOf(before), is = rpc::RetentionOf(after);
  return is.last < was.last || is.hourly < was.hourly || is.daily < was.daily;
}

bool GivesUpMore(const resource::v1::DatasetSpec& before, const resource::v1::DatasetSpec& after) {
  const uint32_t was = before.drop_after_copies(), is = after.drop_after_copies();
  return is != 0 && (was == 0 || is < was);
}

struct Limit {
  absl::Duration keeps = absl::InfiniteDuration();
  resource::v1::Rule binds;  // what it applies to
};

// The strictest limit of each rule, by policy and id; a rule without one keeps for ever.
std::map<std::string, Limit> Limits(const config::Catalog& catalog) {
  std::map<std::string, Limit> limits;
  for (const auto& [key, resource] : catalog) {
    for (const auto& rule : resource.sovereignty_policy().rules()) {
      Limit& limit = limits[absl::StrCat(key.second, "/", rule.id())];
      for (const auto& obligation : rule.obligations()) {
        if (!obligation.has_max_retention()) continue;
        limit.keeps = std::min(limit.keeps, absl::Seconds(obligation.max_retention().seconds()));
      }
      limit.binds = rule;
      limit.binds.clear_obligations();
      limit.binds.clear_basis();
    }
  }
  return limits;
}

std::set<std::string> PolicyAdmins(const config::Catalog& catalog) {
  std::set<std::string> names;
  for (const auto& [key, resource] : catalog) {
    const auto& binding = resource.role_binding();
    if (std::find(binding.roles().begin(), binding.roles().end(), resource::v1::ROLE_POLICY_ADMIN) !=
        binding.roles().end()) {
      names.insert(binding.people().begin(), binding.people().end());
    }
  }
  return names;
}

// Whether more of what holds keep can be erased than before. That a selector became narrower is not worth guessing.
bool OverridesMore(const resource::v1::RedactionLaw& before, const resource::v1::RedactionLaw& after) {
  return after.overrides_locks() && (!before.overrides_locks() ||
                                     !google::protobuf::util::MessageDifferencer::Equals(before.data(), after.data()));
}

void AddDeletions(const config::Catalog& before, const config::Catalog& after, const Stakes& stakes,
                  std::vector<std::string>* dangers) {
  for (const auto& [key, resource] : before) {
    if (resource.has_site() && stakes.joined.count(key.second) != 0 && after.count(key) == 0) {
      dangers->push_back(absl::StrCat("deletes site ", key.second, ", as which an agent joined"));
    }
  }
  for (const std::string& name : stakes.dropped) {
    dangers->push_back(absl::StrCat("deletes dataset ", name, ", which has versions or holds"));
  }
}

void AddOverrides(const config::Catalog& before, const config::Catalog& after, std::vector<std::string>* dangers) {
  for (const auto& [key, resource] : after) {
    auto old = before.find(key);
    const resource::v1::RedactionLaw was =
        old == before.end() ? resource::v1::RedactionLaw() : old->second.sovereignty_policy().redaction();
    if (resource.has_sovereignty_policy() && OverridesMore(was, resource.sovereignty_policy().redaction())) {
      dangers->push_back(absl::StrCat("lets redactions override holds by policy ", key.second));
    }
  }
}

}  // namespace

std::vector<std::string> Dangers(const config::Catalog& before, const config::Catalog& after,
                                 const std::map<DatasetId, config::Classification>& known,
                                 const std::vector<config::Classification>& changed, const Stakes& stakes) {
  std::vector<std::string> dangers;
  for (const auto& [key, resource] : after) {
    auto old = before.find(key);
    if (old == before.end()) continue;
    if (resource.has_site() && (resource.site().region() != old->second.site().region() ||
                                resource.site().entity() != old->second.site().entity())) {
      dangers.push_back(absl::StrCat("moves site ", key.second, " to another region or entity"));
    }
    if (resource.has_dataset() && Shortened(old->second.dataset(), resource.dataset())) {
      dangers.push_back(absl::StrCat("shortens the retention of dataset ", key.second));
    }
    if (resource.has_dataset() && GivesUpMore(old->second.dataset(), resource.dataset())) {
      dangers.push_back(
          absl::StrCat("lets the home of dataset ", key.second, " give up content that fewer other sites hold"));
    }
  }
  AddDeletions(before, after, stakes, &dangers);
  AddOverrides(before, after, &dangers);
  const auto limits = Limits(before);
  for (const auto& [rule, limit] : Limits(after)) {
    auto old = limits.find(rule);
    const Limit was = old == limits.end() ? Limit() : old->second;
    if (limit.keeps < was.keeps) {
      dangers.push_back(absl::StrCat("shortens the retention that rule ", rule, " allows"));
    } else if (limit.keeps != absl::InfiniteDuration() &&
               !google::protobuf::util::MessageDifferencer::Equals(limit.binds, was.binds)) {
      dangers.push_back(absl::StrCat("changes whose retention rule ", rule, " limits"));
    }
  }
  for (const config::Classification& c : changed) {
    auto old = known.find(c.dataset_id);
    if (old != known.end() && old->second.labels != c.labels) {
      dangers.push_back(absl::StrCat("relabels dataset ", c.dataset));
    }
  }
  if (PolicyAdmins(before) != PolicyAdmins(after)) dangers.push_back("changes who is policy-admin");
  return dangers;
}

}  // namespace bailiwick::coordinator
