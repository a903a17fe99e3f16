#include "services/coordinator/core/change_record.h"

#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/audit/detail.h"
#include "common/base/units.h"
#include "common/crypto/digest.h"
#include "common/telemetry/line.h"

namespace bailiwick::coordinator {
namespace {

constexpr size_t kMaxPart = 40 << 10;  // of the 64 KiB that a record holds

// The lines that only one of the two texts has, in the order of each.
std::string LineDiff(const std::string& before, const std::string& after) {
  const std::vector<std::string> gone = absl::StrSplit(before, '\n'), come = absl::StrSplit(after, '\n');
  std::map<std::string, int> surplus;  // of the text before
  for (const std::string& line : gone) ++surplus[line];
  for (const std::string& line : come) --surplus[line];
  std::string out;
  for (const std::string& line : gone) {
    if (surplus[line] <= 0) continue;
    --surplus[line];
    absl::StrAppend(&out, "-", line, "\n");
  }
  for (const std::string& line : come) {
    if (surplus[line] >= 0) continue;
    ++surplus[line];
    absl::StrAppend(&out, "+", line, "\n");
  }
  return out;
}

std::string OneChange(const config::ResourceKey& key, const std::string& before, const std::string& after) {
  const std::string name = telemetry::JsonString(absl::StrCat(key.first, "/", key.second));
  std::string json = audit::Detail().Json("resource", name).Text("diff", LineDiff(before, after));
  if (json.size() <= kMaxPart) return json;
  return audit::Detail()
      .Json("resource", name)
      .Text("sha256Before", crypto::Sha256(before).Hex())
      .Text("sha256After", crypto::Sha256(after).Hex());
}

std::string KeyLine(const char* of, const types::v1::PublicKey& key) {
  return absl::StrCat(of, " ", absl::BytesToHexString(key.ed25519()), key.name().empty() ? "" : " ", key.name(), "\n");
}

std::string RootLines(const std::string& encoded) {
  resource::v1::PolicyRoot root;
  if (!root.ParseFromString(encoded)) return "root unreadable\n";
  std::string out = absl::StrCat("root threshold ", root.threshold(), "\n");
  for (const auto& key : root.keys()) absl::StrAppend(&out, KeyLine("root key", key));
  return out;
}

std::string ClassifierLine(const resource::v1::Classifier& classifier) {
  std::vector<std::string> limits;
  for (const auto& label : classifier.labels()) {
    limits.push_back(absl::StrCat("label ", label.key(), "=", absl::StrJoin(label.values(), "|")));
  }
  for (const std::string& dataset : classifier.datasets()) limits.push_back(absl::StrCat("dataset ", dataset));
  for (const std::string& region : classifier.home_regions()) limits.push_back(absl::StrCat("home region ", region));
  return absl::StrCat("delegated ", classifier.key().name(), " ", absl::BytesToHexString(classifier.key().ed25519()),
                      ": ", absl::StrJoin(limits, ", "), "\n");
}

// A line for each thing that the bundle says beside its resources.
std::string TrustLines(const resource::v1::PolicyBundle& law) {
  std::string out = RootLines(law.root());
  for (const auto& pinned : law.enrolment_keys()) {
    absl::StrAppend(&out, "agent of ", pinned.site(), " ", absl::BytesToHexString(pinned.ed25519()), "\n");
  }
  for (const auto& key : law.grant_keys()) absl::StrAppend(&out, KeyLine("grant key", key));
  for (const auto& key : law.timestamp_keys()) absl::StrAppend(&out, KeyLine("timestamp key", key));
  for (const auto& key : law.classifier_keys()) absl::StrAppend(&out, KeyLine("classifier key", key));
  for (const auto& classifier : law.classifiers()) absl::StrAppend(&out, ClassifierLine(classifier));
  if (law.has_max_age()) absl::StrAppend(&out, "maxAge ", law.max_age().seconds(), "s\n");
  if (law.has_timestamp_life()) absl::StrAppend(&out, "timestampLife ", law.timestamp_life().seconds(), "s\n");
  return out;
}

// "root threshold 2" and "root key 4f61caf4..." as a few words, `sign`: whether it came or went.
std::string Words(const std::string& line, char sign) {
  std::vector<std::string> words = absl::StrSplit(line, ' ');
  for (std::string& word : words) {
    absl::string_view number = word;
    int64_t seconds;
    if (word.size() >= 64) {
      word = absl::StrCat(std::string(1, sign), word.substr(0, 8));
    } else if (absl::ConsumeSuffix(&number, "s") && absl::SimpleAtoi(number, &seconds)) {
      word = FormatAge(absl::Seconds(seconds));
    }
  }
  return absl::StrJoin(words, " ");
}

void AddTrust(const resource::v1::PolicyBundle* before, const resource::v1::PolicyBundle& after,
              std::vector<std::string>* what) {
  const std::string diff = LineDiff(before == nullptr ? "" : TrustLines(*before), TrustLines(after));
  for (absl::string_view line : absl::StrSplit(diff, '\n', absl::SkipEmpty())) {
    const char sign = line[0];
    const absl::string_view text = line.substr(1);
    const bool replaced = absl::StartsWith(text, "root threshold") || absl::StartsWith(text, "maxAge") ||
                          absl::StartsWith(text, "timestampLife");
    if (sign == '+' || !replaced) what->push_back(Words(std::string(text), sign));
  }
}

}  // namespace

std::string Summary(const Change& change, const resource::v1::PolicyBundle* law) {
  std::vector<std::string> what;
  for (const auto& r : change.upserts) what.push_back(absl::StrCat(config::KindOf(r), "/", r.metadata().name()));
  for (const auto& [kind, name] : change.deletes) what.push_back(absl::StrCat("-", kind, "/", name));
  resource::v1::PolicyBundle next;
  if (change.bundle.has_value() && next.ParseFromString(change.bundle->payload)) {
    AddTrust(law, next, &what);
    if (what.empty()) return "signed anew";
  }
  return absl::StrJoin(what, ", ");
}

std::vector<std::string> ChangeRecords(const std::string& who, const Change& change, const config::Catalog& before,
                                       const resource::v1::PolicyBundle* law) {
  std::vector<std::string> parts(1);
  auto add_texts = [&](const config::ResourceKey& key, const std::string& old_text, const std::string& after) {
    std::string one = OneChange(key, old_text, after);
    if (parts.back().size() + one.size() > kMaxPart) parts.emplace_back();
    absl::StrAppend(&parts.back(), parts.back().empty() ? "" : ",", one);
  };
  auto add = [&](const config::ResourceKey& key, const std::string& after) {
    const auto old_one = before.find(key);
    add_texts(key, old_one == before.end() ? "" : config::ToYaml(old_one->second), after);
  };
  for (const auto& resource : change.upserts) {
    add({config::KindOf(resource), resource.metadata().name()}, config::ToYaml(resource));
  }
  for (const auto& key : change.deletes) add(key, "");
  resource::v1::PolicyBundle next;
  if (change.bundle.has_value() && next.ParseFromString(change.bundle->payload)) {
    const std::string was = law == nullptr ? "" : TrustLines(*law), is = TrustLines(next);
    if (was != is) add_texts({"PolicyBundle", "keys"}, was, is);
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i] = audit::Detail()
                   .Text("by", who)
                   .Number("policyRevision", change.bundle_revision)
                   .Number("part", i + 1)
                   .Number("parts", parts.size())
                   .Json("changes", absl::StrCat("[", parts[i], "]"));
  }
  return parts;
}

}  // namespace bailiwick::coordinator
