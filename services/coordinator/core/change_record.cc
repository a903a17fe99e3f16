#include "services/coordinator/core/change_record.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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
  std::string json =
      absl::StrCat("{\"resource\":", name, ",\"diff\":", telemetry::JsonString(LineDiff(before, after)), "}");
  if (json.size() <= kMaxPart) return json;
  return absl::StrCat("{\"resource\":", name, ",\"sha256Before\":\"", crypto::Sha256(before).Hex(),
                      "\",\"sha256After\":\"", crypto::Sha256(after).Hex(), "\"}");
}

}  // namespace

std::vector<std::string> ChangeRecords(const std::string& who, const Change& change, const config::Catalog& before) {
  std::vector<std::string> parts(1);
  auto add = [&](const config::ResourceKey& key, const std::string& after) {
    const auto old_one = before.find(key);
    std::string one = OneChange(key, old_one == before.end() ? "" : config::ToYaml(old_one->second), after);
    if (parts.back().size() + one.size() > kMaxPart) parts.emplace_back();
    absl::StrAppend(&parts.back(), parts.back().empty() ? "" : ",", one);
  };
  for (const auto& resource : change.upserts) {
    add({config::KindOf(resource), resource.metadata().name()}, config::ToYaml(resource));
  }
  for (const auto& key : change.deletes) add(key, "");
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i] = absl::StrCat("{\"by\":", telemetry::JsonString(who), ",\"policyRevision\":", change.bundle_revision,
                            ",\"part\":", i + 1, ",\"parts\":", parts.size(), ",\"changes\":[", parts[i], "]}");
  }
  return parts;
}

}  // namespace bailiwick::coordinator
