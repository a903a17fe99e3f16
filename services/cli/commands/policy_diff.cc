// policy diff: what another law would decide otherwise, and what that would do to what exists.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/clock.h"
#include "services/cli/commands/policy_impact.h"

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

absl::StatusOr<int> Diff(const Globals& globals, const std::vector<std::string>& paths) {
  const absl::Time now = os::Clock::System()->Now();
  Law before, after;
  std::optional<ImpactReport> impact;
  if (paths.size() == 2) {
    BW_ASSIGN_OR_RETURN(before, LawOfFiles({paths[0]}, now));
    BW_ASSIGN_OR_RETURN(after, LawOfFiles({paths[1]}, now));
  } else {
    CatalogChange change;
    BW_ASSIGN_OR_RETURN(change.upserts, ReadResources({paths[0]}));
    BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
    BW_ASSIGN_OR_RETURN(before, LawInForce(*admin));
    BW_ASSIGN_OR_RETURN(after, LawAfter(before, change, now));
    BW_ASSIGN_OR_RETURN(impact, AssessLive(*admin, before, after, now));
  }
  StandIns(&before.world, &after.world);
  const std::vector<policy::DecisionChange> changes =
      policy::DiffDecisions(before.world, after.world, DataOfBoth(before, after), now);
  const bool differs = !changes.empty() || (impact && impact->any());
  if (!globals.table()) {
    std::vector<Json> rows;
    for (const policy::DecisionChange& change : changes) rows.push_back(ChangeJson(change));
    Fields fields = {{"decisions", List(std::move(rows))}};
    if (impact) fields.push_back({"impact", impact->ToJson()});
    PrintJson(globals.format(), std::move(fields));
    return differs ? 1 : 0;
  }
  for (size_t i = 0; i < std::min(changes.size(), kShown); ++i) PrintChange(changes[i]);
  if (changes.size() > kShown) std::cout << "and " << changes.size() - kShown << " more; -o json has all\n";
  if (changes.empty()) std::cout << "no decision changes\n";
  if (impact) impact->Print();
  return differs ? 1 : 0;
}

}  // namespace

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
