#include <algorithm>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/suggest.h"
#include "common/config/check.h"
#include "common/config/obligations.h"
#include "common/config/policy_tests.h"
#include "common/config/world.h"
#include "common/os/time_zones.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;

// Checks references over the whole catalog and collects what is wrong, each at its place.
class Validator {
 public:
  Validator(const Catalog& catalog, const std::vector<Located>& located, const TimeZones& zones,
            const std::set<ResourceKey>& deleted)
      : catalog_(catalog), zones_(zones), deleted_(deleted) {
    for (const Located& one : located) located_[{KindOf(one.resource), one.resource.metadata().name()}] = &one;
    for (const auto& [key, resource] : catalog) names_[key.first].push_back(key.second);
  }

  void Alone() {
    for (const auto& [key, resource] : catalog_) {
      if (key != ResourceKey(KindOf(resource), resource.metadata().name())) {
        Fail(key, "metadata.name", "is filed under another kind or name");
      }
      if (located_.count(key) == 0) CheckResource(resource, At(key));  // the others were checked as they were read
    }
  }

  void References() {
    for (const auto& [key, resource] : catalog_) {
      if (resource.has_region()) {
        const size_t slash = key.second.rfind('/');
        if (slash != std::string::npos) Region(key, "metadata.name", key.second.substr(0, slash), "its parent ");
      } else if (resource.has_site()) {
        Region(key, "spec.region", resource.site().region());
        for (int i = 0; i < resource.site().storage_keys_size(); ++i) {
          Region(key, absl::StrCat("spec.storageKeys[", i, "].region"), resource.site().storage_keys(i).region());
        }
      } else if (resource.has_dataset()) {
        if (!resource.dataset().home().site().empty()) Site(key, "spec.home.site", resource.dataset().home().site());
      } else if (resource.has_replication_policy()) {
        const pb::ReplicationPolicySpec& spec = resource.replication_policy();
        for (int i = 0; i < spec.to_size(); ++i) {
          const std::string path = absl::StrCat("spec.to[", i, "]");
          if (!spec.to(i).site().empty()) Site(key, path + ".site", spec.to(i).site());
          if (!spec.to(i).region().empty()) Region(key, path + ".region", spec.to(i).region());
        }
      } else if (resource.has_bandwidth_policy()) {
        Caps(key, resource.bandwidth_policy());
      } else if (resource.has_sovereignty_policy()) {
        Law(key, resource.sovereignty_policy());
      }
    }
  }

  void Tests(absl::Time now) {
    auto world = BuildWorld(catalog_);
    if (!world.ok()) {
      problems_.push_back({{}, std::string(world.status().message())});
      return;
    }
    world->time_zones = zones_;
    for (const auto& [key, resource] : catalog_) {
      if (resource.has_sovereignty_policy())
        RunPolicyTests(*world, key.second, resource.sovereignty_policy(), now, At(key));
    }
  }

  bool clean() const { return problems_.empty(); }

  absl::Status Result() {
    if (problems_.empty()) return absl::OkStatus();
    std::stable_sort(problems_.begin(), problems_.end(), [](const Finding& a, const Finding& b) {
      return std::tie(a.at.file, a.at.line, a.at.column) < std::tie(b.at.file, b.at.line, b.at.column);
    });
    std::vector<std::string> lines;
    for (const Finding& problem : problems_) {
      lines.push_back(problem.at.line == 0 ? problem.text : absl::StrCat(problem.at.str(), ": ", problem.text));
    }
    const std::string all = absl::StrJoin(lines, "\n");
    return needed_ ? absl::FailedPreconditionError(all) : absl::InvalidArgumentError(all);
  }

 private:
  struct Finding {
    Position at;
    std::string text;
  };

  void Fail(const ResourceKey& key, const std::string& path, const std::string& text) {
    auto it = located_.find(key);
    const Position at = it == located_.end() ? Position{} : it->second->At(path);
    const std::string resource = at.line == 0 ? absl::StrCat(key.first, "/", key.second, ": ") : "";
    problems_.push_back({at, absl::StrCat(resource, path, ": ", text)});
  }

  Complain At(const ResourceKey& key) {
    return [this, &key](const std::string& path, const std::string& text) { Fail(key, path, text); };
  }

  bool Has(const char* kind, const std::string& name) const { return catalog_.count({kind, name}) != 0; }

  void Refer(const char* kind, const char* word, const ResourceKey& key, const std::string& path,
             const std::string& name, const std::string& role) {
    if (Has(kind, name)) return;
    if (deleted_.count({kind, name}) != 0) {
      needed_ = true;
      return Fail(key, path,
                  absl::StrCat(role, word, " ", name, " cannot be deleted while this names it; delete or change this first"));
    }
    const std::string near =
        role.empty() ? Suggest(name, names_[kind]) : "";  // a parent is not misspelt, it is missing
    Fail(key, path,
         absl::StrCat(
             role, word, " ", name, " is not declared; ",
             near.empty() ? absl::StrCat("add a ", kind, " of this name") : absl::StrCat("did you mean ", near, "?")));
  }
  void Region(const ResourceKey& key, const std::string& path, const std::string& name, const std::string& role = "") {
    Refer("Region", "region", key, path, name, role);
  }
  void Site(const ResourceKey& key, const std::string& path, const std::string& name) {
    Refer("Site", "site", key, path, name, "");
  }

  void Caps(const ResourceKey& key, const pb::BandwidthPolicySpec& spec) {
    for (int i = 0; i < spec.caps_size(); ++i) {
      const pb::BandwidthCap& cap = spec.caps(i);
      const std::string path = absl::StrCat("spec.caps[", i, "]");
      if (!cap.site().empty()) Site(key, path + ".site", cap.site());
      if (!cap.from().empty()) Region(key, path + ".from", cap.from());
      if (!cap.to().empty()) Region(key, path + ".to", cap.to());
      for (int j = 0; j < cap.daily_size(); ++j) {
        if (os::LoadTimeZone(cap.daily(j).tz()).ok()) continue;
        UnknownZone(key, absl::StrCat(path, ".daily[", j, "].tz"), cap.daily(j).tz());
      }
    }
  }

  void UnknownZone(const ResourceKey& key, const std::string& path, const std::string& name) {
    Fail(key, path,
         absl::StrCat("time zone ", name,
                      " is not known on this machine; write an IANA name such as Europe/Berlin (package tzdata)"));
  }

  void Law(const ResourceKey& key, const pb::SovereigntyPolicySpec& spec) {
    std::vector<std::string> sets;
    for (const auto& [name, set] : spec.sets()) {
      sets.push_back(name);
      for (int i = 0; i < set.regions_size(); ++i) {
        Region(key, absl::StrCat("spec.sets.", name, ".regions[", i, "]"), set.regions(i));
      }
    }
    std::sort(sets.begin(), sets.end());
    for (int i = 0; i < spec.rules_size(); ++i) {
      const pb::Rule& rule = spec.rules(i);
      const std::string path = absl::StrCat("spec.rules[", i, "]");
      for (const auto& [side, place] : {std::pair(".from", &rule.from()), std::pair(".to", &rule.to())}) {
        Places(key, absl::StrCat(path, side, ".in"), place->in(), sets);
        Places(key, absl::StrCat(path, side, ".notIn"), place->not_in(), sets);
      }
      Obligations(key, path + ".obligations", rule);
      Zones(key, path + ".when.daily", rule.when());
    }
    for (int i = 0; i < spec.offline_size(); ++i) {
      Region(key, absl::StrCat("spec.offline[", i, "].jurisdiction"), spec.offline(i).jurisdiction());
    }
    for (int i = 0; i < spec.tests_size(); ++i) {
      const pb::PolicyTest& test = spec.tests(i);
      const std::string path = absl::StrCat("spec.tests[", i, "]");
      if (test.has_never()) {
        Region(key, path + ".never.reach", test.never().reach());
        if (!test.never().from().empty()) SiteOrRegion(key, path + ".never.from", test.never().from());
        continue;
      }
      SiteOrRegion(key, path + ".from", test.from());
      SiteOrRegion(key, path + ".to", test.to());
    }
  }

  void SiteOrRegion(const ResourceKey& key, const std::string& path, const std::string& name) {
    if (Has("Region", name) || Has("Site", name)) return;
    std::vector<std::string> options = names_["Region"];
    options.insert(options.end(), names_["Site"].begin(), names_["Site"].end());
    const std::string near = Suggest(name, options);
    Fail(key, path,
         absl::StrCat(name, " is neither a region nor a site",
                      near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
  }

  void Obligations(const ResourceKey& key, const std::string& path, const pb::Rule& rule) {
    for (int i = 0; i < rule.obligations_size(); ++i) {
      const std::string at = absl::StrCat(path, "[", i, "]");
      const pb::Obligation& obligation = rule.obligations(i);
      const std::string name(ObligationName(obligation));
      if (!IsSupported(name)) {
        Fail(key, at, absl::StrCat("obligation ", name, " is not supported by this version's agents; remove it"));
      }
      if (obligation.has_encrypt_at_rest()) {
        Region(key, at + ".encryptAtRest.keyRegion", obligation.encrypt_at_rest().key_region());
      }
    }
  }

  void Zones(const ResourceKey& key, const std::string& path, const pb::When& when) {
    for (int i = 0; i < when.daily_size(); ++i) {
      if (zones_.count(when.daily(i).tz()) != 0) continue;
      UnknownZone(key, absl::StrCat(path, "[", i, "].tz"), when.daily(i).tz());
    }
  }

  void Places(const ResourceKey& key, const std::string& path,
              const google::protobuf::RepeatedPtrField<std::string>& places, const std::vector<std::string>& sets) {
    const absl::string_view prefix(kSetPrefix.data(), kSetPrefix.size());
    for (int i = 0; i < places.size(); ++i) {
      const std::string at = absl::StrCat(path, "[", i, "]");
      if (!absl::StartsWith(places[i], prefix)) {
        Region(key, at, places[i]);
        continue;
      }
      const std::string name = places[i].substr(kSetPrefix.size());
      if (std::find(sets.begin(), sets.end(), name) != sets.end()) continue;
      const std::string near = Suggest(name, sets);
      Fail(key, at,
           absl::StrCat("this policy has no set ", name,
                        near.empty() ? "" : absl::StrCat("; did you mean set:", near, "?")));
    }
  }

  const Catalog& catalog_;
  const TimeZones& zones_;
  const std::set<ResourceKey>& deleted_;
  bool needed_ = false;  // one of those
  std::map<ResourceKey, const Located*> located_;
  std::map<std::string, std::vector<std::string>> names_;
  std::vector<Finding> problems_;
};

}  // namespace

absl::Status Validate(const Catalog& catalog, const std::vector<Located>& located, absl::Time now,
                      const TimeZones& zones, const std::set<ResourceKey>& deleted) {
  Validator validator(catalog, located, zones, deleted);
  validator.Alone();
  if (validator.clean()) validator.References();
  if (validator.clean()) validator.Tests(now);
  return validator.Result();
}

}  // namespace bailiwick::config
