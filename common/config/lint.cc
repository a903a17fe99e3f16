#include "common/config/lint.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/config/check.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;
using policy::LawFinding;

class Linter {
 public:
  Linter(const Catalog& catalog, const std::vector<Located>& located) : catalog_(catalog) {
    for (const Located& one : located) located_[{KindOf(one.resource), one.resource.metadata().name()}] = &one;
  }

  void Law(const std::vector<LawFinding>& found) {
    for (const LawFinding& one : found) {
      switch (one.about) {
        case LawFinding::About::kRule:
          Add({"SovereigntyPolicy", one.policy}, RulePath(one), one);
          break;
        case LawFinding::About::kSet:
          Add({"SovereigntyPolicy", one.policy},
              absl::StrCat("spec.sets.", one.name, one.code == "unused" ? "" : ".expires"), one);
          break;
        case LawFinding::About::kSite:
          Add({"Site", one.name}, "", one);
          break;
        case LawFinding::About::kDataset:
          Add({"Dataset", one.name}, "metadata.labels", one);
          break;
      }
    }
  }

  void Reviews(absl::Time now) {
    for (const auto& [key, resource] : catalog_) {
      if (!resource.has_sovereignty_policy()) continue;
      for (const auto& [name, set] : std::map<std::string, pb::RegionSet>(resource.sovereignty_policy().sets().begin(),
                                                                          resource.sovereignty_policy().sets().end())) {
        const auto reviewed = ParseDay(set.reviewed());
        LawFinding finding;
        finding.code = "unreviewed";
        if (!reviewed) {
          finding.text = "nobody has reviewed this set; write `reviewed: YYYY-MM-DD` when somebody has";
        } else if (now - *reviewed > kReviewPeriod) {
          finding.text = absl::StrCat("this set was last reviewed on ", set.reviewed(), ", more than a year ago");
        } else {
          continue;
        }
        Add(key, absl::StrCat("spec.sets.", name, reviewed ? ".reviewed" : ""), finding);
      }
    }
  }

  std::vector<LintFinding> Take() {
    std::stable_sort(findings_.begin(), findings_.end(), [](const LintFinding& a, const LintFinding& b) {
      return std::tie(a.at.file, a.at.line, a.at.column) < std::tie(b.at.file, b.at.line, b.at.column);
    });
    return std::move(findings_);
  }

 private:
  std::string RulePath(const LawFinding& one) const {
    auto it = catalog_.find({"SovereigntyPolicy", one.policy});
    if (it == catalog_.end()) return "";
    const auto& rules = it->second.sovereignty_policy().rules();
    for (int i = 0; i < rules.size(); ++i) {
      if (rules[i].id() == one.name) return absl::StrCat("spec.rules[", i, "].", one.part);
    }
    return "";
  }

  void Add(const ResourceKey& key, const std::string& path, const LawFinding& one) {
    LintFinding out;
    out.error = one.error;
    out.code = one.code;
    out.resource = absl::StrCat(key.first, "/", key.second);
    out.path = path;
    auto it = located_.find(key);
    if (it != located_.end()) out.at = it->second->At(path.empty() ? "metadata.name" : path);
    out.text = one.about == LawFinding::About::kRule && !one.name.empty()
                   ? absl::StrCat("rule ", one.name, ": ", one.text)
                   : one.text;
    findings_.push_back(std::move(out));
  }

  const Catalog& catalog_;
  std::map<ResourceKey, const Located*> located_;
  std::vector<LintFinding> findings_;
};

// The lines of a status as findings: they begin with their place, if they have one.
std::vector<LintFinding> Errors(const absl::Status& status) {
  std::vector<LintFinding> out;
  for (absl::string_view line : absl::StrSplit(status.message(), '\n')) {
    LintFinding finding;
    finding.error = true;
    finding.code = "invalid";
    finding.text = std::string(line);
    out.push_back(std::move(finding));
  }
  return out;
}

}  // namespace

std::string LintFinding::str() const {
  if (code == "invalid") return text;  // carries its place
  return absl::StrCat(at.line == 0 ? "" : absl::StrCat(at.str(), ": "), error ? "error: " : "warning: ", resource, " ",
                      path.empty() ? "" : absl::StrCat(path, ": "), text);
}

std::vector<policy::NamedData> DataOf(const Catalog& catalog) {
  std::vector<policy::NamedData> out;
  for (const auto& [key, resource] : catalog) {
    if (!resource.has_dataset()) continue;
    policy::NamedData data;
    data.name = key.second;
    data.labels.insert(resource.metadata().labels().begin(), resource.metadata().labels().end());
    data.home = resource.dataset().home().site();
    out.push_back(std::move(data));
  }
  return out;
}

std::vector<LintFinding> Lint(const Catalog& catalog, const std::vector<Located>& located, absl::Time now,
                              const TimeZones& zones) {
  if (absl::Status valid = Validate(catalog, located, now, zones); !valid.ok()) return Errors(valid);
  auto world = BuildWorld(catalog);
  if (!world.ok()) return Errors(world.status());
  world->time_zones = zones;
  Linter linter(catalog, located);
  linter.Law(policy::CheckLaw(*world, DataOf(catalog), now));
  linter.Reviews(now);
  return linter.Take();
}

}  // namespace bailiwick::config
