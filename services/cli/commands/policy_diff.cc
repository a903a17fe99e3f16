// policy diff: what another law would decide otherwise, and what that would do to what exists.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/clock.h"
#include "services/cli/commands/named.h"
#include "services/cli/commands/policy_impact.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

constexpr size_t kShown = 20;  // of a list in a table; JSON has all

std::string VerdictText(const policy::CopyVerdict& v) {
  if (v.permitted()) {
    const std::string duties = ObligationsText(v.obligations);
    return absl::StrCat("permitted by ", v.rule, duties.empty() ? "" : absl::StrCat(" (", duties, ")"));
  }
  if (v.what == "site") return "denied: a site is not in the law";
  if (v.reason == policy::Reason::kNoPermit) return absl::StrCat("denied: no rule permits ", v.what);
  if (v.reason == policy::Reason::kForbidden) return absl::StrCat("denied: ", v.rule, " forbids ", v.what);
  return absl::StrCat("denied: ", v.rule, " cannot be evaluated for ", v.what);
}

std::string Some(const std::vector<std::string>& texts) {
  if (texts.size() <= 4) return absl::StrJoin(texts, ", ");
  return absl::StrCat(absl::StrJoin(texts.begin(), texts.begin() + 3, ", "), " and ", texts.size() - 3, " more");
}

Json Texts(const std::vector<std::string>& texts) {
  std::vector<Json> items;
  for (const std::string& text : texts) items.push_back(Text(text));
  return List(std::move(items));
}

void PrintChange(const policy::DecisionChange& change) {
  std::cout << LabelsText(change.labels) << " (" << Some(change.datasets) << ")";
  if (!change.purpose.empty()) std::cout << " for the purpose " << change.purpose;
  std::cout << ": " << change.pairs << (change.pairs == 1 ? " pair" : " pairs") << " of sites, from "
            << Some(change.from_regions) << " to " << Some(change.to_regions) << ", e.g. " << change.from << " to "
            << change.to << "\n  - " << VerdictText(change.before) << "\n  + " << VerdictText(change.after) << "\n";
}

Json VerdictJson(const policy::CopyVerdict& v) {
  return Object({{"permitted", Bool(v.permitted())},
                 {"reason", Text(policy::ReasonName(v.reason))},
                 {"action", Text(v.what)},
                 {"rule", Text(v.rule)},
                 {"obligations", Text(ObligationsText(v.obligations))}});
}

Json ChangeJson(const policy::DecisionChange& change) {
  return Object({{"datasets", Texts(change.datasets)},
                 {"purpose", Text(change.purpose)},
                 {"pairs", Number(change.pairs)},
                 {"fromRegions", Texts(change.from_regions)},
                 {"toRegions", Texts(change.to_regions)},
                 {"from", Text(change.from)},
                 {"to", Text(change.to)},
                 {"before", VerdictJson(change.before)},
                 {"after", VerdictJson(change.after)}});
}

// The data to compare by: what either law declares; when there is none, what the rules can tell apart.
std::vector<policy::NamedData> DataOfBoth(const Law& before, const Law& after) {
  std::map<std::string, policy::NamedData> by_name;
  for (const Law* law : {&before, &after}) {
    for (const policy::NamedData& data : law->datasets) by_name[data.name] = data;
  }
  std::vector<policy::NamedData> out;
  for (auto& [name, data] : by_name) out.push_back(std::move(data));
  if (!out.empty()) return out;
  constexpr size_t kMost = 1024;
  policy::World both = before.world;
  both.rules.insert(both.rules.end(), after.world.rules.begin(), after.world.rules.end());
  const auto space = policy::LabelSpace(both, {}, kMost);
  if (!space.ok()) return out;
  for (const policy::Labels& labels : *space)
    out.push_back({absl::StrCat("data with ", LabelsText(labels)), labels, ""});
  return out;
}

// Sites that no file declares cannot be compared: one stands for each region then.
void StandIns(policy::World* before, policy::World* after) {
  if (!before->sites.empty() || !after->sites.empty()) return;
  for (policy::World* world : {before, after}) {
    for (const std::string& region : world->regions) {
      policy::Site site;
      site.name = absl::StrCat("any site of ", region);
      site.region = region;
      world->sites[site.name] = site;
    }
  }
}

struct Difference {
  std::vector<policy::DecisionChange> changes;
  std::optional<ImpactReport> impact;  // absent: compared offline
  bool any() const { return !changes.empty() || (impact && impact->any()); }
  Fields ToFields() const {
    std::vector<Json> rows;
    for (const policy::DecisionChange& change : changes) rows.push_back(ChangeJson(change));
    Fields fields = {{"decisions", List(std::move(rows))}};
    if (impact) fields.push_back({"impact", impact->ToJson()});
    return fields;
  }
};

Difference Compare(Law before, Law after, absl::Time now) {
  StandIns(&before.world, &after.world);
  return {policy::DiffDecisions(before.world, after.world, DataOfBoth(before, after), now), std::nullopt};
}

absl::StatusOr<Difference> CompareDraft(Admin& admin, std::vector<config::Located> draft, absl::Time now) {
  CatalogChange change;
  change.upserts = std::move(draft);
  BW_ASSIGN_OR_RETURN(Law before, LawInForce(admin));
  BW_ASSIGN_OR_RETURN(Law after, LawAfter(before, change, now));
  BW_ASSIGN_OR_RETURN(ImpactReport impact, AssessLive(admin, before, after, now));
  Difference out = Compare(std::move(before), std::move(after), now);
  out.impact = std::move(impact);
  return out;
}

absl::StatusOr<Difference> CompareFiles(const std::string& old_path, const std::string& new_path, absl::Time now) {
  BW_ASSIGN_OR_RETURN(Law before, LawOfFiles({old_path}, now));
  BW_ASSIGN_OR_RETURN(Law after, LawOfFiles({new_path}, now));
  return Compare(std::move(before), std::move(after), now);
}

absl::StatusOr<int> Diff(const Globals& globals, const std::vector<std::string>& paths) {
  BW_RETURN_IF_ERROR(NeedsNoName(globals, "policy diff"));
  const absl::Time now = os::Clock::System()->Now();
  Difference difference;
  if (paths.size() == 2) {
    BW_ASSIGN_OR_RETURN(difference, CompareFiles(paths[0], paths[1], now));
  } else {
    BW_ASSIGN_OR_RETURN(std::vector<config::Located> draft, ReadResources({paths[0]}));
    BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
    BW_ASSIGN_OR_RETURN(difference, CompareDraft(*admin, std::move(draft), now));
  }
  const int code = difference.any() ? 1 : 0;
  if (!globals.table()) {
    PrintJson(globals.format(), difference.ToFields());
    return code;
  }
  const auto& changes = difference.changes;
  for (size_t i = 0; i < std::min(changes.size(), kShown); ++i) PrintChange(changes[i]);
  if (changes.size() > kShown) std::cout << "and " << changes.size() - kShown << " more; -o json has all\n";
  if (changes.empty()) std::cout << "no decision changes\n";
  if (difference.impact) difference.impact->Print();
  return code;
}

}  // namespace

absl::StatusOr<Fields> DraftView(Admin& admin, std::vector<config::Located> draft, absl::Time now) {
  BW_ASSIGN_OR_RETURN(const Difference difference, CompareDraft(admin, std::move(draft), now));
  return difference.ToFields();
}

void RegisterPolicyDiff(CLI::App& policy, Globals& globals) {
  auto* c =
      policy.add_subcommand("diff", "which decisions another law changes, and what happens to copies and transfers");
  auto paths = std::make_shared<std::vector<std::string>>();
  c->add_option(
       "PATH", *paths,
       "OLD and NEW: files or directories, compared offline. NEW alone: against the law in force and what exists")
      ->required()
      ->expected(1, 2);
  c->footer(
      "With NEW alone its resources count as applied on top of what is declared, as `apply` would.\n"
      "Exit code 0: nothing changes; 1: something does.\nExamples:\n  bailiwick policy diff policies-2026/ "
      "policies-2027/\n"
      "  bailiwick policy diff tighter.yaml");
  OnRunCode(c, globals, [&globals, paths] { return Diff(globals, *paths); });
}

}  // namespace bailiwick::cli
