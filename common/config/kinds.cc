#include <algorithm>
#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/suggest.h"
#include "common/config/yaml.h"

namespace bailiwick::config {
namespace {

std::string Lower(std::string_view text) { return absl::AsciiStrToLower(absl::string_view(text.data(), text.size())); }

}  // namespace

const std::vector<std::string>& Kinds() {
  static const auto* const kinds = new std::vector<std::string>{
      "Region", "Site", "Dataset", "ReplicationPolicy", "SovereigntyPolicy", "BandwidthPolicy", "RoleBinding"};
  return *kinds;
}

bool IsLaw(const std::string& kind) { return kind == "Region" || kind == "Site" || kind == "SovereigntyPolicy"; }

std::string KindOf(const Resource& resource) {
  switch (resource.spec_case()) {
    case Resource::kRegion:
      return "Region";
    case Resource::kSite:
      return "Site";
    case Resource::kDataset:
      return "Dataset";
    case Resource::kReplicationPolicy:
      return "ReplicationPolicy";
    case Resource::kSovereigntyPolicy:
      return "SovereigntyPolicy";
    case Resource::kBandwidthPolicy:
      return "BandwidthPolicy";
    case Resource::kRoleBinding:
      return "RoleBinding";
    case Resource::SPEC_NOT_SET:
      break;
  }
  return "";
}

absl::StatusOr<std::string> ParseKind(std::string_view text, const std::vector<std::string>& beside) {
  std::string word = Lower(text);
  word.erase(std::remove(word.begin(), word.end(), '-'), word.end());
  if (word == "ds") return std::string("Dataset");
  if (word == "rp") return std::string("ReplicationPolicy");
  if (word == "rb") return std::string("RoleBinding");
  if (word == "bp") return std::string("BandwidthPolicy");
  if (word == "sp") return std::string("SovereigntyPolicy");
  for (const std::string& kind : Kinds()) {
    const std::string singular = Lower(kind);
    const std::string plural =
        singular.back() == 'y' ? absl::StrCat(singular.substr(0, singular.size() - 1), "ies") : singular + "s";
    if (word == singular || word == plural) return kind;
  }
  std::vector<std::string> names;
  for (const std::string& kind : Kinds()) names.push_back(Lower(kind));
  names.insert(names.end(), beside.begin(), beside.end());
  const std::string near = Suggest(text, names);
  return absl::InvalidArgumentError(absl::StrCat("unknown kind \"", std::string(text), "\"; ",
                                                 near.empty()
                                                     ? absl::StrCat("expected one of: ", absl::StrJoin(names, ", "))
                                                     : absl::StrCat("did you mean ", near, "?")));
}

}  // namespace bailiwick::config
