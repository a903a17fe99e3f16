#include "common/policy/judge.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/policy/window.h"

namespace bailiwick::policy {
namespace {

constexpr absl::string_view kSetPrefix = "set:";

// Collects conditions; false beats error beats true.
class Verdict {
 public:
  explicit Verdict(std::vector<Finding>* findings) : findings_(findings) {}
  bool wants_text() const { return findings_ != nullptr; }
  bool done() const { return truth_ == Truth::kFalse && findings_ == nullptr; }
  Truth truth() const { return truth_; }
  void Add(Truth truth, Finding finding = {}) {
    truth_ = Both(truth_, truth);
    if (findings_ == nullptr) return;
    finding.truth = truth;
    findings_->push_back(std::move(finding));
  }

 private:
  std::vector<Finding>* const findings_;
  Truth truth_ = Truth::kTrue;
};

Truth ToTruth(Match match) {
  return match == Match::kYes ? Truth::kTrue : match == Match::kNo ? Truth::kFalse : Truth::kError;
}

std::string DescribeTrue(const LabelCondition& condition, const Labels& labels) {
  auto it = labels.find(condition.key);
  if (it == labels.end()) return absl::StrCat("no label ", condition.key);
  return absl::StrCat(condition.key, "=", it->second);
}

// What to do to `what` ("the dataset", "site x") for the condition to become the other way round.
std::string LabelRemedy(const LabelCondition& condition, const Labels& labels, const std::string& what) {
  auto it = labels.find(condition.key);
  const bool absent = it == labels.end();
  if (absent && condition.op == Operator::kIn && !condition.values.empty()) {
    return absl::StrCat("give ", what, " the label ", condition.key, "=", condition.values.front());
  }
  if (absent) return absl::StrCat("give ", what, " the label ", condition.key);
  if (condition.op == Operator::kExists || condition.op == Operator::kDoesNotExist) {
    return absl::StrCat("remove the label ", condition.key, " of ", what);
  }
  return absl::StrCat("change the label ", condition.key, " of ", what, " (now \"", it->second, "\")");
}

void FindLabels(About about, const Selector& selector, const Labels& labels, const char* subject,
                const std::string& what, Verdict* verdict) {
  if (!verdict->wants_text()) {
    verdict->Add(JudgeLabels(selector, labels));
    return;
  }
  for (const LabelCondition& condition : selector.conditions) {
    const Truth truth = JudgeLabels({{condition}}, labels);
    Finding finding{.about = about};
    finding.text =
        absl::StrCat(subject, truth == Truth::kTrue ? " " : ": ",
                     truth == Truth::kTrue ? DescribeTrue(condition, labels) : DescribeFailure(condition, labels));
    finding.remedy = LabelRemedy(condition, labels, what);
    verdict->Add(truth, std::move(finding));
  }
}

bool Declared(const World& world, const std::string& region) {
  return std::binary_search(world.regions.begin(), world.regions.end(), region);
}

// Whether `region` lies in one of `places`. Any place that cannot be resolved is an error, whatever the others say: a
// set that expired must not keep working because a neighbour in the list happens to match.
Truth InPlaces(const World& world, absl::Time now, const Rule& rule, const std::vector<std::string>& places,
               const std::string& region, std::string* error) {
  bool inside = false;
  auto fail = [error](const std::string& text) {
    if (error != nullptr) *error = text;
    return Truth::kError;
  };
  auto check = [&](const std::string& place) {
    if (!Declared(world, place)) return false;
    inside = inside || RegionContains(place, region);
    return true;
  };
  for (const std::string& place : places) {
    if (!absl::StartsWith(place, kSetPrefix)) {
      if (!check(place)) return fail(absl::StrCat("region ", place, " is not declared"));
      continue;
    }
    const std::string name = place.substr(kSetPrefix.size());
    auto sets = world.sets.find(rule.policy);
    if (sets == world.sets.end()) return fail(absl::StrCat("policy ", rule.policy, " has no set ", name));
    auto set = sets->second.find(name);
    if (set == sets->second.end()) return fail(absl::StrCat("policy ", rule.policy, " has no set ", name));
    if (set->second.expires && now >= *set->second.expires) {
      return fail(absl::StrCat("set ", name, " expired on ",
                               absl::FormatTime("%Y-%m-%d", *set->second.expires, absl::UTCTimeZone())));
    }
    for (const std::string& member : set->second.regions) {
      if (!check(member)) return fail(absl::StrCat("region ", member, " of set ", name, " is not declared"));
    }
  }
  return inside ? Truth::kTrue : Truth::kFalse;
}

Truth Not(Truth truth) {
  if (truth == Truth::kError) return truth;
  return truth == Truth::kTrue ? Truth::kFalse : Truth::kTrue;
}

void FindRegions(const Subject& subject, const Rule& rule, const std::vector<std::string>& places, bool negated,
                 const Site& site, const char* side, const char* field, Verdict* verdict) {
  std::string error;
  const Truth inside_or_not =
      InPlaces(*subject.world, subject.now, rule, places, site.region, verdict->wants_text() ? &error : nullptr);
  const bool inside = inside_or_not == Truth::kTrue;
  const Truth truth = negated ? Not(inside_or_not) : inside_or_not;
  Finding finding;
  if (verdict->wants_text()) {
    const std::string list = absl::StrJoin(places, ", ");
    const std::string path = absl::StrCat("`", field, negated ? ".notIn" : ".in", "` of ", rule.name());
    if (truth == Truth::kError) {
      finding.text = absl::StrCat(side, ": ", error);
      finding.remedy = absl::StrCat("mend ", path, ": ", error);
    } else {
      finding.text = truth == Truth::kTrue
                         ? absl::StrCat(side, inside ? " in " : " not in ", list)
                         : absl::StrCat(side, " ", site.region, inside ? " is in " : " is not in ", list);
      finding.remedy = inside ? absl::StrCat("take ", site.region, " out of ", path)
                              : absl::StrCat("add ", site.region, " to ", path);
    }
  }
  verdict->Add(truth, std::move(finding));
}

void FindEntity(const Rule& rule, const Place& place, const Site& site, const char* side, const char* field,
                Verdict* verdict) {
  const Truth truth = JudgeEntity(place, site.entity);
  Finding finding;
  if (verdict->wants_text()) {
    const std::string path = absl::StrCat("`", field, ".entities` of ", rule.name());
    switch (truth) {
      case Truth::kTrue:
        finding.text = absl::StrCat(side, " entity ", site.entity);
        finding.remedy = absl::StrCat("take ", site.entity, " out of ", path);
        break;
      case Truth::kFalse:
        finding.text =
            absl::StrCat(side, " entity ", site.entity, " is not one of: ", absl::StrJoin(place.entities, ", "));
        finding.remedy = absl::StrCat("add ", site.entity, " to ", path);
        break;
      case Truth::kError:
        finding.text = absl::StrCat(side, ": site ", site.name, " names no legal entity");
        finding.remedy = absl::StrCat("give site ", site.name, " an `entity`");
        break;
    }
  }
  verdict->Add(truth, std::move(finding));
}

void FindPlace(const Subject& subject, const Rule& rule, const Place& place, const Site& site, const char* side,
               const char* field, Verdict* verdict) {
  if (!place.in.empty()) FindRegions(subject, rule, place.in, false, site, side, field, verdict);
  if (verdict->done()) return;
  if (!place.not_in.empty()) FindRegions(subject, rule, place.not_in, true, site, side, field, verdict);
  if (verdict->done()) return;
  if (!place.sites.conditions.empty()) {
    FindLabels(About::kPlace, place.sites, site.labels, side,
               verdict->wants_text() ? absl::StrCat("site ", site.name) : "", verdict);
    if (verdict->done()) return;
  }
  if (!place.entities.empty()) FindEntity(rule, place, site, side, field, verdict);
}

void FindPurpose(const Subject& subject, const Rule& rule, Verdict* verdict) {
  const std::string purpose(subject.purpose);
  const Truth truth = JudgePurpose(rule, purpose);
  Finding finding{.about = About::kPurpose};
  if (verdict->wants_text()) {
    const std::string path = absl::StrCat("`purposes` of ", rule.name());
    switch (truth) {
      case Truth::kTrue:
        finding.text = absl::StrCat("purpose ", purpose);
        finding.remedy = absl::StrCat("take ", purpose, " out of ", path);
        break;
      case Truth::kFalse:
        finding.text = absl::StrCat("purpose ", purpose, " is not one of: ", absl::StrJoin(rule.purposes, ", "));
        finding.remedy = absl::StrCat("add ", purpose, " to ", path);
        break;
      case Truth::kError:
        finding.text = "the request has no purpose";
        finding.remedy = absl::StrCat("give the replication policy the `purpose` ", rule.purposes.front());
        break;
    }
  }
  verdict->Add(truth, std::move(finding));
}

std::string Moment(absl::Time time) { return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone()); }

// When it holds: until when; when it does not: why not.
std::string DescribeWhen(const When& when, const WindowState& state, absl::Time now) {
  if (state.truth == Truth::kError) return absl::StrCat("time: ", state.error);
  if (now < when.not_before) return absl::StrCat("it is before ", Moment(when.not_before));
  if (now >= when.not_after) return absl::StrCat("it is not before ", Moment(when.not_after));
  std::vector<std::string> windows;
  for (const Daily& daily : when.daily) windows.push_back(DescribeDaily(daily));
  const std::string list = absl::StrJoin(windows, " or ");
  if (state.truth == Truth::kFalse) return absl::StrCat("the time ", Moment(now), " is not in ", list);
  if (!windows.empty()) return absl::StrCat("time in ", list);
  return absl::StrCat("time ", when.not_before == absl::InfinitePast() ? "before " : "not before ",
                      Moment(when.not_before == absl::InfinitePast() ? when.not_after : when.not_before));
}

void FindTime(const Subject& subject, const Rule& rule, Verdict* verdict) {
  const WindowState state = JudgeWhen(*subject.world, rule.when, subject.now);
  Finding finding{.about = About::kTime};
  if (verdict->wants_text()) {
    finding.text = DescribeWhen(rule.when, state, subject.now);
    if (state.truth == Truth::kError) {
      finding.remedy = "apply the policy again, which compiles newer time zone data into it";
    } else {
      finding.remedy = absl::StrCat("change `when` of ", rule.name());
      const bool opens = state.truth == Truth::kFalse && state.until != absl::InfiniteFuture() &&
                         JudgeWhen(*subject.world, rule.when, state.until).truth == Truth::kTrue;
      if (opens) finding.remedy = absl::StrCat("wait until ", Moment(state.until), " or ", finding.remedy);
    }
  }
  verdict->Add(state.truth, std::move(finding));
}

}  // namespace

Truth Both(Truth a, Truth b) {
  if (a == Truth::kFalse || b == Truth::kFalse) return Truth::kFalse;
  return a == Truth::kError ? a : b;
}

Truth JudgeRegions(const World& world, const Rule& rule, const Place& place, const std::string& region,
                   absl::Time now) {
  Truth truth = Truth::kTrue;
  if (!place.in.empty()) truth = InPlaces(world, now, rule, place.in, region, nullptr);
  if (!place.not_in.empty()) truth = Both(truth, Not(InPlaces(world, now, rule, place.not_in, region, nullptr)));
  return truth;
}

Truth JudgeEntity(const Place& place, const std::string& entity) {
  if (place.entities.empty()) return Truth::kTrue;
  if (entity.empty()) return Truth::kError;
  const bool listed = std::find(place.entities.begin(), place.entities.end(), entity) != place.entities.end();
  return listed ? Truth::kTrue : Truth::kFalse;
}

Truth JudgeLabels(const Selector& selector, const Labels& labels) {
  return ToTruth(Matches(selector, labels, nullptr));
}

Truth JudgePurpose(const Rule& rule, std::string_view purpose) {
  if (rule.purposes.empty()) return Truth::kTrue;
  if (purpose.empty()) return Truth::kError;
  const bool listed = std::find(rule.purposes.begin(), rule.purposes.end(), purpose) != rule.purposes.end();
  return listed ? Truth::kTrue : Truth::kFalse;
}

Truth Judge(const Subject& subject, const Rule& rule, std::vector<Finding>* findings) {
  Verdict verdict(findings);
  const bool acts = std::find(rule.actions.begin(), rule.actions.end(), subject.action) != rule.actions.end();
  if (!acts) {
    Finding finding;
    if (findings != nullptr) {
      finding.text = absl::StrCat("its actions do not include ", ActionName(subject.action));
      finding.remedy = absl::StrCat("add ", ActionName(subject.action), " to `actions` of ", rule.name());
    }
    verdict.Add(Truth::kFalse, std::move(finding));
    if (verdict.done()) return verdict.truth();
  }
  if (!rule.data.conditions.empty()) {
    FindLabels(About::kData, rule.data, *subject.data, "data", findings != nullptr ? "the dataset" : "", &verdict);
    if (verdict.done()) return verdict.truth();
  }
  FindPlace(subject, rule, rule.from, *subject.from, "source", "from", &verdict);
  if (verdict.done()) return verdict.truth();
  FindPlace(subject, rule, rule.to, *subject.to, "destination", "to", &verdict);
  if (verdict.done()) return verdict.truth();
  if (!rule.purposes.empty()) FindPurpose(subject, rule, &verdict);
  if (verdict.done()) return verdict.truth();
  if (!rule.when.always()) FindTime(subject, rule, &verdict);
  if (verdict.done()) return verdict.truth();
  for (const std::string& unknown : rule.unknown) {
    Finding finding;
    if (findings != nullptr) {
      finding.text = unknown;
      finding.remedy = absl::StrCat("remove from ", rule.name(), " what this version does not enforce");
    }
    verdict.Add(Truth::kError, std::move(finding));
  }
  return verdict.truth();
}

}  // namespace bailiwick::policy
