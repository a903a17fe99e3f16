#include "common/policy/compiled.h"

#include <algorithm>
#include <tuple>

#include "absl/container/inlined_vector.h"
#include "common/policy/window.h"

namespace bailiwick::policy {
namespace {

constexpr size_t kBits = 64;
constexpr size_t kInlineWords = 32;  // 2,048 rules without an allocation per decision

void SetBit(std::vector<uint64_t>* bits, size_t i) { (*bits)[i / kBits] |= uint64_t{1} << i % kBits; }

size_t LowestBit(size_t word, uint64_t bits) { return word * kBits + static_cast<size_t>(__builtin_ctzll(bits)); }

// Bits made once for each distinct key.
template <typename Key, typename Make>
const RuleBits& Once(std::map<Key, RuleBits>* made, const Key& key, const Make& make) {
  auto it = made->find(key);
  if (it == made->end()) it = made->emplace(key, make()).first;
  return it->second;
}

}  // namespace

void RuleBits::Set(size_t rule, Truth truth) {
  if (truth == Truth::kFalse) return;
  SetBit(&possible, rule);
  if (truth == Truth::kError) SetBit(&error, rule);
}

void RuleBits::Join(const RuleBits& other) {
  for (size_t w = 0; w < possible.size(); ++w) {
    possible[w] &= other.possible[w];
    error[w] |= other.error[w];
  }
}

CompiledWorld::CompiledWorld(const World* world, absl::Time now) : world_(world) {
  for (const Rule& rule : world->rules) rules_.push_back(&rule);
  std::stable_sort(rules_.begin(), rules_.end(), [](const Rule* a, const Rule* b) {
    return std::tie(a->policy, a->id) < std::tie(b->policy, b->id);
  });
  words_ = (rules_.size() + kBits - 1) / kBits;
  CompileRules(now);
  CompileSites(now);
  for (const auto& [policy, sets] : world->sets) {
    for (const auto& [name, set] : sets) {
      if (set.expires && *set.expires > now) valid_until_ = std::min(valid_until_, *set.expires);
    }
  }
}

void CompiledWorld::CompileRules(absl::Time now) {
  for (auto& acts : acts_) acts.resize(words_);
  for (auto* bits : {&error_, &forbids_, &guardrails_, &obliging_}) bits->resize(words_);
  for (size_t i = 0; i < rules_.size(); ++i) {
    const Rule& rule = *rules_[i];
    const bool guardrail = rule.effect == Effect::kPermit && rule.tier == Tier::kGuardrail;
    if (rule.effect == Effect::kForbid) SetBit(&forbids_, i);
    if (guardrail) SetBit(&guardrails_, i);
    if (!rule.obligations.none()) {
      SetBit(&obliging_, i);
      auto same = std::find_if(obligations_.begin(), obligations_.end(),
                               [&](const auto& known) { return known.first == rule.obligations; });
      if (same == obligations_.end()) {
        same = obligations_.insert(same, {rule.obligations, std::vector<uint64_t>(words_)});
      }
      SetBit(&same->second, i);
    }
    const WindowState window = JudgeWhen(*world_, rule.when, now);
    valid_until_ = std::min(valid_until_, window.until);
    for (Action action : rule.actions) {
      const size_t a = static_cast<size_t>(action);
      guarded_[a] = guarded_[a] || guardrail;
      if (window.truth != Truth::kFalse) SetBit(&acts_[a], i);
    }
    if (window.truth == Truth::kError || !rule.unknown.empty()) SetBit(&error_, i);
  }
}

void CompiledWorld::CompileSites(absl::Time now) {
  std::array<std::map<std::string, RuleBits>, 2> regions, entities;
  std::array<std::map<Labels, RuleBits>, 2> labels;
  auto of_side = [](const Rule& rule, int side) -> const Place& { return side == 0 ? rule.from : rule.to; };
  auto judge = [&](auto truth) {
    RuleBits bits(words_);
    for (size_t i = 0; i < rules_.size(); ++i) bits.Set(i, truth(*rules_[i]));
    return bits;
  };
  for (const auto& [name, site] : world_->sites) {
    CompiledSite compiled;
    compiled.site = &site;
    compiled.declared = std::binary_search(world_->regions.begin(), world_->regions.end(), site.region);
    for (int side : {0, 1}) {
      RuleBits& bits = side == 0 ? compiled.as_source : compiled.as_destination;
      bits = Once(&regions[side], site.region, [&, &site = site] {
        return judge([&](const Rule& r) { return JudgeRegions(*world_, r, of_side(r, side), site.region, now); });
      });
      bits.Join(Once(&entities[side], site.entity, [&, &site = site] {
        return judge([&](const Rule& r) { return JudgeEntity(of_side(r, side), site.entity); });
      }));
      bits.Join(Once(&labels[side], site.labels, [&, &site = site] {
        return judge([&](const Rule& r) { return JudgeLabels(of_side(r, side).sites, site.labels); });
      }));
    }
    index_[name] = sites_.size();
    sites_.push_back(std::move(compiled));
  }
}

size_t CompiledWorld::SiteIndex(const std::string& name) const {
  auto it = index_.find(name);
  return it == index_.end() ? kNoSite : it->second;
}

DataView CompiledWorld::View(const Labels& labels, const std::string& purpose) const {
  DataView view{RuleBits(words_)};
  for (size_t i = 0; i < rules_.size(); ++i) {
    view.bits.Set(i, Both(JudgeLabels(rules_[i]->data, labels), JudgePurpose(*rules_[i], purpose)));
  }
  return view;
}

Verdict CompiledWorld::Decide(const DataView& view, size_t from, size_t to, Action action) const {
  Verdict verdict;
  verdict.reason = Reason::kError;
  if (from >= sites_.size() || to >= sites_.size() || !sites_[from].declared || !sites_[to].declared) return verdict;
  const RuleBits& source = sites_[from].as_source;
  const RuleBits& destination = sites_[to].as_destination;
  const std::vector<uint64_t>& acts = acts_[static_cast<size_t>(action)];
  absl::InlinedVector<uint64_t, kInlineWords> permits(words_);
  constexpr size_t kNone = SIZE_MAX;
  size_t error = kNone, permit = kNone, guardrail = kNone;
  uint64_t obliging = 0;
  for (size_t w = 0; w < words_; ++w) {
    const uint64_t possible = acts[w] & view.bits.possible[w] & source.possible[w] & destination.possible[w];
    if (possible == 0) continue;
    const uint64_t wrong = possible & (error_[w] | view.bits.error[w] | source.error[w] | destination.error[w]);
    const uint64_t applies = possible & ~wrong;
    if (const uint64_t forbids = applies & forbids_[w];
        forbids != 0) {  // nothing beats it, and the first is the lowest
      verdict.reason = Reason::kForbidden;
      verdict.rule = rules_[LowestBit(w, forbids)];
      return verdict;
    }
    if (wrong != 0 && error == kNone) error = LowestBit(w, wrong);
    permits[w] = applies;
    obliging |= applies & obliging_[w];
    const uint64_t guardrails = applies & guardrails_[w], ordinary = applies & ~guardrails_[w];
    if (guardrails != 0 && guardrail == kNone) guardrail = LowestBit(w, guardrails);
    if (ordinary != 0 && permit == kNone) permit = LowestBit(w, ordinary);
  }
  if (error != kNone) {
    verdict.rule = rules_[error];
    return verdict;
  }
  if (permit == kNone || (guarded_[static_cast<size_t>(action)] && guardrail == kNone)) {
    verdict.reason = Reason::kNoPermit;
    return verdict;
  }
  verdict.permitted = true;
  verdict.reason = Reason::kPermitted;
  verdict.rule = rules_[permit];
  if (obliging != 0) AddObligations(permits.data(), &verdict.obligations);
  return verdict;
}

void CompiledWorld::AddObligations(const uint64_t* permits, Obligations* sum) const {
  for (const auto& [obligations, rules] : obligations_) {
    uint64_t any = 0;
    for (size_t w = 0; w < words_; ++w) any |= permits[w] & rules[w];
    if (any != 0) sum->Add(obligations);
  }
}

Verdict CompiledWorld::DecideReplication(const DataView& view, size_t from, size_t to, size_t home) const {
  Verdict transfer = Decide(view, from, to, Action::kTransfer);
  if (!transfer.permitted) return transfer;
  Verdict reside = Decide(view, from, to, Action::kReside);
  if (!reside.permitted) return reside;
  if (!reside.obligations.none()) transfer.obligations.Add(reside.obligations);
  if (home == kNoSite || home == from) return transfer;
  Verdict transit = Decide(view, home, from, Action::kTransit);
  if (!transit.permitted) return transit;
  if (!transit.obligations.none()) transfer.obligations.Add(transit.obligations);
  return transfer;
}

}  // namespace bailiwick::policy
