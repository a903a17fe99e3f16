// What a dataset is, in law: the signed record, who may sign it, and the streams of a family.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/config/world.h"
#include "common/crypto/digest.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;

constexpr uint32_t kFormat = 1;

absl::StatusOr<Classification> Decode(const crypto::Envelope& envelope) {
  pb::Classification message;
  if (!message.ParseFromString(envelope.payload))
    return absl::InvalidArgumentError("the classification is not readable");
  if (message.format() != kFormat) {
    return absl::InvalidArgumentError(absl::StrCat("the classification has format ", message.format(),
                                                   ", this version reads ", kFormat,
                                                   message.format() > kFormat ? "; upgrade bailiwick here" : ""));
  }
  Classification out;
  BW_ASSIGN_OR_RETURN(out.dataset_id, DatasetId::From(message.dataset_id()));
  if (out.dataset_id.empty() || message.dataset().empty()) {
    return absl::InvalidArgumentError("the classification names no dataset");
  }
  if (message.home_site().empty() == !message.has_home_selector()) {
    return absl::InvalidArgumentError(absl::StrCat("the classification of ", message.dataset(),
                                                   " needs exactly one of a home site and a home selector"));
  }
  out.dataset = message.dataset();
  out.labels.insert(message.labels().begin(), message.labels().end());
  out.home_site = message.home_site();
  out.family = message.has_home_selector();
  out.home_selector = ToSelector(message.home_selector());
  out.epoch = message.epoch();
  out.revision = message.revision();
  return out;
}

// Whether the name matches the pattern, where * stands for any characters.
bool MatchesPattern(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

template <typename Range, typename Predicate>
bool Any(const Range& range, Predicate predicate) {
  return std::any_of(range.begin(), range.end(), predicate);
}

absl::Status Outside(const Classification& c, const std::string& what) {
  return absl::PermissionDeniedError(
      absl::StrCat("the classification of ", c.dataset, " is outside of the limits of the key that signed it: ", what));
}

absl::Status CheckLabels(const policy::Classifier& by, const Classification& c) {
  if (by.labels.empty()) return absl::OkStatus();
  for (const auto& [key, value] : c.labels) {
    if (by.labels.count(key) == 0) return Outside(c, absl::StrCat("it may not set label ", key));
  }
  for (const auto& [key, values] : by.labels) {
    auto label = c.labels.find(key);
    if (label == c.labels.end()) return Outside(c, absl::StrCat("label ", key, " is missing"));
    if (!values.empty() && !Any(values, [&](const auto& v) { return v == label->second; })) {
      return Outside(c, absl::StrCat("it may not set label ", key, " to \"", label->second, "\""));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckHome(const policy::Classifier& by, const Classification& c, const policy::World& world) {
  if (by.home_regions.empty()) return absl::OkStatus();
  bool some = false;
  for (const auto& [name, site] : world.sites) {
    if (c.family ? policy::Matches(c.home_selector, site.labels, nullptr) != policy::Match::kYes
                 : name != c.home_site) {
      continue;
    }
    some = true;
    const std::string& region = site.region;
    if (!Any(by.home_regions, [&](const auto& r) { return policy::RegionContains(r, region); })) {
      return Outside(c, absl::StrCat("home ", name, " lies in ", region));
    }
  }
  return some || c.family ? absl::OkStatus() : Outside(c, absl::StrCat("home ", c.home_site, " is not known"));
}

}  // namespace

absl::Status CheckClassifierLimits(const policy::Classifier& by, const Classification& c, const policy::World& world) {
  if (!by.datasets.empty() && !Any(by.datasets, [&](const auto& p) { return MatchesPattern(p, c.dataset); })) {
    return Outside(c, "it may not classify datasets of that name");
  }
  BW_RETURN_IF_ERROR(CheckLabels(by, c));
  return CheckHome(by, c, world);
}

absl::StatusOr<Classification> OpenClassification(const crypto::Envelope& envelope, const policy::World& world) {
  absl::Status alone = crypto::VerifyEnvelope(envelope, crypto::kClassificationType, world.classifier_keys);
  if (alone.ok()) return Decode(envelope);
  if (crypto::VerifyEnvelope(envelope, crypto::kClassificationType, world.root_keys, world.root_threshold).ok()) {
    return Decode(envelope);
  }
  for (const policy::Classifier& by : world.classifiers) {
    if (!crypto::VerifyEnvelope(envelope, crypto::kClassificationType, {by.key}).ok()) continue;
    BW_ASSIGN_OR_RETURN(Classification c, Decode(envelope));
    BW_RETURN_IF_ERROR(CheckClassifierLimits(by, c, world));
    c.limited_by = by.key;
    return c;
  }
  return Annotate(alone, "the classification is not signed by a classifier of the policy");
}

absl::StatusOr<Classification> OpenPendingClassification(const crypto::Envelope& envelope, const policy::World& world) {
  auto whole = OpenClassification(envelope, world);
  if (whole.ok()) return whole;
  if (crypto::ValidSigners(envelope, crypto::kClassificationType, world.root_keys).empty()) return whole;
  return Decode(envelope);
}

absl::StatusOr<Classification> ReadKeptClassification(const crypto::Envelope& envelope) { return Decode(envelope); }

absl::Status MayReplace(const Classification& known, const Classification& next, const policy::World& world) {
  if (next.dataset != known.dataset) {
    return absl::PermissionDeniedError(
        absl::StrCat("the id of the classification of ", next.dataset, " belongs to ", known.dataset));
  }
  if (next.revision <= known.revision) {
    return absl::FailedPreconditionError(
        absl::StrCat("the classification of ", next.dataset, " is not newer than revision ", known.revision));
  }
  for (const policy::Classifier& by : world.classifiers) {
    // Who may call things telemetry must not call telemetry what others called health.
    if (by.key == next.limited_by) return CheckClassifierLimits(by, known, world);
  }
  return absl::OkStatus();
}

DatasetId StreamId(DatasetId family, std::string_view site) {
  crypto::Hasher hasher;
  hasher.Update("stream");
  hasher.Update(family.view());
  hasher.Update(site);
  const Digest digest = hasher.Finish();
  DatasetId id;
  std::copy_n(digest.bytes.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

std::string StreamName(std::string_view family, std::string_view site) {
  return absl::StrCat(std::string(family), "@", std::string(site));
}

absl::StatusOr<Classification> StreamOf(const Classification& family, std::string_view site,
                                        const policy::World& world) {
  if (!family.family) return absl::InvalidArgumentError(absl::StrCat("dataset ", family.dataset, " is not a family"));
  auto it = world.sites.find(std::string(site));
  if (it == world.sites.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("site ", std::string(site), " is not in the policy at revision ", world.revision));
  }
  std::string failing;
  if (policy::Matches(family.home_selector, it->second.labels, &failing) != policy::Match::kYes) {
    return absl::InvalidArgumentError(
        absl::StrCat("site ", it->first, " is not a home of family ", family.dataset, ": ", failing));
  }
  Classification stream = family;
  stream.dataset_id = StreamId(family.dataset_id, site);
  stream.dataset = StreamName(family.dataset, site);
  stream.home_site = it->first;
  stream.family = false;
  stream.home_selector = {};
  return stream;
}

}  // namespace bailiwick::config
