// policy reach: can this data ever get there, over any number of hops.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/utc_text.h"
#include "common/os/clock.h"
#include "common/policy/reach.h"
#include "services/cli/commands/policy_law.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

constexpr size_t kRegionsShown = 6;

std::string Regions(const std::vector<std::string>& regions) {
  if (regions.size() <= kRegionsShown) return absl::StrJoin(regions, ", ");
  return absl::StrCat(absl::StrJoin(regions.begin(), regions.begin() + kRegionsShown, ", "), " and ",
                      regions.size() - kRegionsShown, " more");
}

Json Texts(const std::vector<std::string>& texts) {
  std::vector<Json> items;
  for (const std::string& text : texts) items.push_back(Text(text));
  return List(std::move(items));
}

Json LabelsJson(const policy::Labels& labels) {
  Fields fields;
  for (const auto& [key, value] : labels) fields.push_back({key, Text(value)});
  return Object(std::move(fields));
}

std::string CutText(const policy::ReachCut& cut) {
  std::string by;
  if (cut.what == "hops") {
    by = "the bound on hops that the copy carries";
  } else if (cut.reason == policy::Reason::kNoPermit) {
    by = absl::StrCat("no rule permits ", cut.what);
  } else if (cut.reason == policy::Reason::kForbidden) {
    by = absl::StrCat(cut.rule, " forbids ", cut.what);
  } else {
    by = absl::StrCat(cut.rule.empty() ? "the site's region" : cut.rule, " cannot be evaluated for ", cut.what);
  }
  return absl::StrCat(by, ": ", cut.pairs, cut.pairs == 1 ? " pair" : " pairs", " of sites, e.g. ", cut.from, " to ",
                      cut.to, "; keeps out of ", Regions(cut.into));
}

void PrintReach(const policy::Reach& reach, const policy::ReachQuery& query, const policy::Labels& data,
                const Law& law) {
  const std::string what = absl::StrCat("data with ", LabelsText(data));
  if (reach.begins_there) {
    std::cout << "YES: a home that was named lies in " << query.to << "; nothing has to move\n";
  } else if (reach.reaches) {
    std::cout << "YES: " << what << " can get to " << query.to << " in " << reach.path.size()
              << (reach.path.size() == 1 ? " step\n" : " steps\n");
    size_t number = 0;
    for (const policy::ReachStep& step : reach.path) {
      std::cout << "  " << ++number << ". ";
      if (step.relabel) {
        std::cout << "relabelled at " << step.from << " (" << step.from_region << ") to " << LabelsText(step.data);
      } else {
        std::cout << step.from << " (" << step.from_region << ") to " << step.to << " (" << step.to_region << ")";
        if (!step.purpose.empty()) std::cout << " for the purpose " << step.purpose;
      }
      std::cout << ": " << absl::StrJoin(step.rules, ", ");
      if (step.at > query.now) std::cout << ", from " << UtcText(step.at) << " on";
      std::cout << "\n";
    }
  } else {
    std::cout << "NO: " << what << (query.only_now ? " cannot get to " : " can never get to ") << query.to;
    if (query.only_now) std::cout << " at " << UtcText(query.now);
    std::cout << "\n";
    if (reach.targets == 0)
      std::cout << "  no site lies in " << query.to << "; --any-site asks about sites that could\n";
    for (const policy::ReachCut& cut : reach.cut) std::cout << "  " << CutText(cut) << "\n";
  }
  if (!reach.relabel_ruled) {
    std::cout
        << "no rule names relabel: whoever signs the law may change what data is; this answer is about these labels\n";
  }
  if (!reach.begins_there) {
    std::cout << law.name << ": " << reach.sites << " sites in " << reach.classes
              << " classes that the law tells apart";
    if (!reach.reaches) std::cout << ", " << reach.reached << " of them reached";
    std::cout << "\n";
  }
}

Fields ReachJson(const policy::Reach& reach) {
  std::vector<Json> path, cut;
  for (const policy::ReachStep& step : reach.path) {
    path.push_back(Object({{"kind", Text(step.relabel ? "relabel" : "copy")},
                           {"from", Text(step.from)},
                           {"fromRegion", Text(step.from_region)},
                           {"to", Text(step.to)},
                           {"toRegion", Text(step.to_region)},
                           {"labels", LabelsJson(step.data)},
                           {"purpose", Text(step.purpose)},
                           {"at", Text(UtcText(step.at))},
                           {"rules", Texts(step.rules)}}));
  }
  for (const policy::ReachCut& one : reach.cut) {
    cut.push_back(Object({{"what", Text(one.what)},
                          {"reason", Text(one.what == "hops" ? "HOPS" : policy::ReasonName(one.reason))},
                          {"rule", Text(one.rule)},
                          {"pairs", Number(one.pairs)},
                          {"from", Text(one.from)},
                          {"to", Text(one.to)},
                          {"keepsOutOf", Texts(one.into)}}));
  }
  return {{"reaches", Bool(reach.reaches)},         {"beginsThere", Bool(reach.begins_there)},
          {"path", List(std::move(path))},          {"cut", List(std::move(cut))},
          {"sites", Number(reach.sites)},           {"siteClasses", Number(reach.classes)},
          {"sitesInRegion", Number(reach.targets)}, {"relabelRuled", Bool(reach.relabel_ruled)}};
}

// `now` of the query is set.
absl::StatusOr<policy::Reach> Search(const Law& law, const Question& question, policy::ReachQuery* query) {
  BW_ASSIGN_OR_RETURN(policy::NamedData data, ChooseData(law, question));
  query->data = data.labels;
  query->only_now = !question.at.empty();
  query->to = question.to;
  query->homes = question.from;
  if (query->homes.empty() && !data.home.empty()) query->homes = {data.home};
  if (!question.purpose.empty()) query->purpose = question.purpose;
  query->any_sites = question.any_sites || law.world.sites.empty();
  return policy::FindReach(law.world, *query);
}

absl::StatusOr<int> AskReach(const Globals& globals, const Question& question) {
  policy::ReachQuery query;
  BW_ASSIGN_OR_RETURN(query.now, ParseAt(question.at));
  BW_ASSIGN_OR_RETURN(Law law, LoadLaw(globals, question.files, query.now));
  BW_ASSIGN_OR_RETURN(policy::Reach reach, Search(law, question, &query));
  if (globals.table()) {
    PrintReach(reach, query, query.data, law);
  } else {
    PrintJson(globals.format(), ReachJson(reach));
  }
  return reach.reaches ? 3 : 0;
}

}  // namespace

absl::StatusOr<Fields> ReachView(const Law& law, const Question& question) {
  policy::ReachQuery query;
  BW_ASSIGN_OR_RETURN(query.now, ParseAt(question.at));
  BW_ASSIGN_OR_RETURN(policy::Reach reach, Search(law, question, &query));
  return ReachJson(reach);
}

void RegisterPolicyReach(CLI::App& policy, Globals& globals) {
  {
    auto* c = policy.add_subcommand(
        "reach", "can data ever get to a region, over any number of hops; the way, or what cuts it off");
    auto q = AskFlags(c);
    c->add_option("--to", q->to, "region")->required();
    c->add_option(
        "--from", q->from,
        "site or region where the data has its home; several. Default: the dataset's home, else anywhere outside");
    c->add_flag("--any-site", q->any_sites,
                "also through sites that could be declared: one without labels in every region");
    c->footer(
        "Every hop needs transfer and reside; a copy that is sent on also transit. Bounds on hops hold along the whole "
        "way,\n"
        "permitted relabelling changes what the data is. Without --at: at any time from now on, copies wait for "
        "windows.\n"
        "Exit code 0: it cannot get there; 3: it can.\nExamples:\n"
        "  bailiwick policy reach --label class=health --to us\n"
        "  bailiwick policy reach --dataset scans --to us --at 2026-07-01T08:00:00+02:00\n"
        "  bailiwick policy reach --label class=health --from eu --to us -f policies/");
    OnRunCode(c, globals, [&globals, q] { return AskReach(globals, *q); });
  }
}

}  // namespace bailiwick::cli
