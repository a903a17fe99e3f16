#include "services/coordinator/planner/rpo.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/units.h"

namespace bailiwick::coordinator {
namespace {

std::string HowItEnded(const Wanted* wanted, const RpoAlarm& alarm, absl::Time now) {
  if (wanted == nullptr) return "no ReplicationPolicy asks for a copy there any more";
  if (wanted->rpo == absl::InfiniteDuration()) return "no ReplicationPolicy sets an RPO any more";
  return absl::StrCat("within the RPO of ", FormatAge(wanted->rpo), " again, after ",
                      FormatAge(std::max(now - alarm.since, absl::ZeroDuration())));
}

}  // namespace

std::vector<RpoChange> RpoChanges(const std::vector<Wanted>& wanted, const RpoAlarms& before, absl::Time now) {
  std::map<std::pair<DatasetId, std::string>, const Wanted*> pairs;
  for (const Wanted& w : wanted) pairs[{w.dataset, w.site}] = &w;
  std::vector<RpoChange> changes;
  for (const auto& [pair, alarm] : before) {
    auto it = pairs.find(pair);
    const Wanted* w = it == pairs.end() ? nullptr : it->second;
    if (w == nullptr || !w->rpo_breached) changes.push_back({alarm, false, 0, HowItEnded(w, alarm, now)});
  }
  for (const auto& [pair, w] : pairs) {
    if (!w->rpo_breached || before.count(pair) != 0) continue;
    changes.push_back({{w->dataset, w->dataset_name, w->site, now - (w->lag - w->rpo)},
                       true,
                       w->lagging_at,
                       absl::StrCat("missing for ", FormatAge(w->lag), ", over the RPO of ", FormatAge(w->rpo), ": ",
                                    w->reason.sentence)});
  }
  return changes;
}

}  // namespace bailiwick::coordinator
