// How many copies a change makes unlawful, counted on what is known here while nothing else can change it. What
// `policy diff` and `apply --dry-run` count on the same data a moment earlier.
#include "absl/strings/str_cat.h"
#include "common/config/lint.h"
#include "common/policy/diff.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

using ByName = std::map<std::string, policy::NamedData>;

ByName Named(const config::Catalog& catalog) {
  ByName named;
  for (policy::NamedData& data : config::DataOf(catalog)) named[data.name] = std::move(data);
  return named;
}

// A stream has its family's labels; its home is its site.
policy::NamedData DataOf(const ByName& known, const std::string& declared, const std::string& name,
                         const std::string& home) {
  policy::NamedData data{name, {}, home};
  auto it = known.find(declared);
  if (it == known.end()) return data;
  data.labels = it->second.labels;
  if (!it->second.home.empty()) data.home = it->second.home;
  return data;
}

}  // namespace

absl::Status Core::CheckExpected(const control::v1::ApplyRequest& request, const policy::World& world,
                                 const config::Catalog& after) const {
  if (!request.has_expected_evictions()) return absl::OkStatus();
  const ByName was = Named(state_.resources), is = Named(after);
  policy::Inventory inventory;
  std::map<std::string, uint32_t> sites;
  for (const auto& [id, stream] : streams_) {
    const std::string& declared = stream.family.empty() ? stream.name : stream.family;
    const bool stays = is.count(declared) != 0;  // deleted: what lies there stays
    inventory.datasets.push_back(DataOf(stays ? is : was, declared, stream.name, stream.home_site));
    inventory.datasets_before.push_back(DataOf(was, declared, stream.name, stream.home_site));
    auto replicas = state_.replicas.find(id);
    if (replicas == state_.replicas.end()) continue;
    for (const auto& [site, row] : replicas->second) {
      if (row.versions.empty()) continue;
      auto [number, fresh] = sites.try_emplace(site, static_cast<uint32_t>(inventory.sites.size()));
      if (fresh) inventory.sites.push_back(site);
      policy::Inventory::Replica replica;
      replica.dataset = static_cast<uint32_t>(inventory.datasets.size() - 1);
      replica.site = number->second;
      replica.versions.assign(row.versions.begin(), row.versions.end());
      inventory.replicas.push_back(std::move(replica));
    }
  }
  const policy::World none;
  const size_t found =
      policy::Assess(bundle_.has_value() ? bundle_->world : none, world, inventory, clock_->Now()).evictions.size();
  if (found == request.expected_evictions()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "nothing was applied: by now the change makes ", found, found == 1 ? " copy" : " copies", " unlawful, and ",
      request.expected_evictions(), request.expected_evictions() == 1 ? " was" : " were",
      " expected; see which with: bailiwick apply --dry-run"));
}

}  // namespace bailiwick::coordinator
