#include "services/agent/evict/fence.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/runs.h"

namespace bailiwick::agent {
namespace {

constexpr char kUnlawful[] = "unlawful";
constexpr char kMaxRetention[] = "max-retention";
constexpr char kTransferStopped[] = "transfer-stopped";

bool Held(const Facts& facts, VersionNumber number) {
  return facts.held.count(Facts::kEveryVersion) != 0 || facts.held.count(number) != 0;
}

bool Same(const Fence& a, const Fence& b) {
  return a.stage == b.stage && a.reason == b.reason && a.rule == b.rule && a.sentence == b.sentence &&
         a.revision == b.revision && a.digest == b.digest && a.since == b.since && a.hindrance == b.hindrance &&
         a.held == b.held && a.waiting == b.waiting && a.erasure.receipt_id == b.erasure.receipt_id;
}

Step Next(const std::optional<Fence>& before, Fence fence) {
  Step step;
  step.record = !before.has_value() || !Same(*before, fence);
  step.close = fence.closed() && (!before.has_value() || !before->closed());
  step.erase = fence.stage == FenceStage::kErasing || fence.stage == FenceStage::kRetiring;
  if (!fence.hindrance.empty() && (!before.has_value() || before->hindrance != fence.hindrance)) {
    step.alarm = fence.hindrance;
  } else if (step.close) {
    step.alarm = fence.sentence;
  }
  step.fence = std::move(fence);
  return step;
}

void Blame(const Facts& facts, Fence* fence) {
  fence->reason = facts.verdict.reason;
  fence->rule = facts.verdict.rule;
  fence->sentence = facts.verdict.sentence;
  fence->revision = facts.verdict.revision;
  fence->digest = facts.verdict.digest;
}

Step Unlawful(const std::optional<Fence>& before, const Facts& facts) {
  const bool here = !facts.versions.empty() || facts.parts;
  const bool known = before.has_value() && before->closed();
  if (!here && (!known || before->stage == FenceStage::kErased)) {
    Step nothing;  // the grants' own checks keep it so
    nothing.fence = before;
    return nothing;
  }
  Fence fence;
  fence.since = known && before->stage != FenceStage::kErased ? before->since : facts.now;
  Blame(facts, &fence);
  Erasure erasure{.receipt_id = facts.new_receipt_id, .cause = kUnlawful, .versions = {}};
  for (const LocalVersion& version : facts.versions) {
    if (Held(facts, version.ref.number)) {
      fence.held.insert(version.ref.number);
    } else if (facts.safe.count(version.ref.identity) != 0) {
      erasure.versions.push_back(version.ref);
    }
  }
  erasure.everything = erasure.versions.size() == facts.versions.size();
  if (!facts.verdict.judged) {
    fence.hindrance = "the law cannot be evaluated, so the copy is fenced and nothing is erased; mend the law";
    return Next(before, std::move(fence));
  }
  if (!facts.verdict.certain) {
    fence.hindrance = absl::StrCat("it is forbidden from a moment on that only this machine's clock says has come, so ",
                                   "the copy is fenced and nothing is erased until signed time confirms it");
    return Next(before, std::move(fence));
  }
  if (!fence.held.empty()) {
    fence.hindrance = absl::StrCat("a hold keeps ", FormatVersions(fence.held),
                                   ", which the law does not permit here; release it: ", "bailiwick dataset holds");
  }
  if (erasure.everything || !erasure.versions.empty()) {
    fence.stage = FenceStage::kErasing;
    fence.erasure = std::move(erasure);
  }
  return Next(before, std::move(fence));
}

// What becomes of the versions past the time that the law allows them here.
struct Overdue {
  std::set<VersionNumber> all, held, waiting;
  bool guessed = false;  // some wait for signed time
  std::vector<rpc::VersionRef> erase;
};

Overdue FindOverdue(const Facts& facts) {
  Overdue out;
  for (const LocalVersion& version : facts.versions) {
    const VersionNumber number = version.ref.number;
    if (facts.now - version.committed_at <= facts.verdict.max_retention) continue;
    const bool known = facts.known - version.committed_at > facts.verdict.max_retention;
    // The home's newest version is what its next commit builds on; one nobody has heard of would be lost unseen.
    const bool needed = number == facts.versions.back().ref.number || number > facts.acknowledged;
    if (facts.home && (needed || !known)) continue;
    const bool home_too = facts.home || facts.known - version.committed_at > facts.verdict.home_retention;
    out.all.insert(number);
    if (Held(facts, number)) {
      out.held.insert(number);
    } else if (known && (home_too || facts.safe.count(version.ref.identity) != 0)) {
      out.erase.push_back(version.ref);
    } else {
      out.waiting.insert(number);
      out.guessed = out.guessed || !known;
    }
  }
  return out;
}

void Blame(const Facts& facts, const Overdue& overdue, Fence* fence) {
  if (overdue.all.empty()) return;
  const std::string limit = absl::FormatDuration(facts.verdict.max_retention);
  fence->rule = facts.verdict.retention_rule;
  fence->sentence = absl::StrCat("policy ", fence->rule, " lets a version lie here for ", limit, ", which is over for ",
                                 FormatVersions(overdue.all));
  if (!overdue.held.empty()) {
    fence->hindrance = absl::StrCat("a hold keeps ", FormatVersions(overdue.held), " beyond the retention of ", limit,
                                    " that the law sets here");
  } else if (overdue.guessed) {
    fence->hindrance = absl::StrCat(FormatVersions(overdue.waiting), " past the retention of ", limit,
                                    " by this machine's clock alone: fenced, and kept until signed time confirms it");
  }
}

// Versions past their time, then parts that a stopped flow left.
Step Lawful(const std::optional<Fence>& before, const Facts& facts) {
  Fence fence{.stage = FenceStage::kRetiring};
  fence.since = facts.now;
  Blame(facts, &fence);
  Erasure erasure{.receipt_id = facts.new_receipt_id, .cause = kMaxRetention, .versions = {}};
  Overdue overdue = FindOverdue(facts);
  Blame(facts, overdue, &fence);
  fence.held = std::move(overdue.held);
  fence.waiting = std::move(overdue.waiting);
  erasure.versions = std::move(overdue.erase);
  if (erasure.versions.empty() && facts.left_behind) erasure.cause = kTransferStopped;
  Step step;
  step.open = before.has_value() && before->closed();
  if (!erasure.versions.empty() || facts.left_behind) {
    fence.erasure = std::move(erasure);
  } else if (fence.held.empty() && fence.waiting.empty()) {
    step.record = before.has_value();
    return step;
  }
  if (before.has_value() && !before->closed()) fence.since = before->since;
  const bool open = step.open;
  step = Next(before, std::move(fence));
  step.open = open;
  step.erase = !step.fence->erasure.receipt_id.empty();
  return step;
}

}  // namespace

std::set<VersionNumber> Fence::Withheld() const {
  std::set<VersionNumber> versions = held;
  versions.insert(waiting.begin(), waiting.end());
  for (const rpc::VersionRef& version : erasure.versions) versions.insert(version.number);
  return versions;
}

Step Decide(const std::optional<Fence>& before, const Facts& facts) {
  const bool under_way =
      before.has_value() && (before->stage == FenceStage::kErasing ||
                             (before->stage == FenceStage::kRetiring && !before->erasure.receipt_id.empty()));
  if (under_way) {
    Step step;
    step.fence = before;
    step.erase = true;
    step.close = !facts.home && !facts.verdict.lawful;  // while it retires the law may turn against the whole copy
    return step;
  }
  if (facts.home && !facts.verdict.lawful) {
    Step step;  // the owner's own data: said, never taken away
    step.record = before.has_value();
    if (facts.verdict.judged && facts.verdict.reason == "FORBIDDEN") {
      step.alarm = absl::StrCat("the law forbids the dataset at its own home: ", facts.verdict.sentence);
    }
    return step;
  }
  return facts.verdict.lawful ? Lawful(before, facts) : Unlawful(before, facts);
}

std::optional<Fence> AfterErasure(const Fence& fence) {
  if (!fence.closed()) {
    if (fence.held.empty() && fence.waiting.empty()) return std::nullopt;
    Fence rest = fence;
    rest.erasure = {};
    return rest;
  }
  Fence rest = fence;
  rest.stage = fence.erasure.everything ? FenceStage::kErased : FenceStage::kFenced;
  rest.erasure = {};
  return rest;
}

}  // namespace bailiwick::agent
