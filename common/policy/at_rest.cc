#include "common/policy/at_rest.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bailiwick::policy {
namespace {

bool Does(const Obligations& obligations, const Site& site, const std::string& wrapping_key, std::string* lacking) {
  const std::string region = KeyRegion(site, wrapping_key);
  for (const std::string& obliged : obligations.encrypt_key_regions) {
    if (!region.empty() && RegionContains(obliged, region)) continue;
    *lacking = obliged;
    return false;
  }
  return true;
}

}  // namespace

std::string KeyRegion(const Site& site, const std::string& wrapping_key) {
  for (const StorageKey& key : site.storage_keys) {
    if (key.id == wrapping_key) return key.region;
  }
  return "";
}

std::string UnmetAtRest(const Obligations& obligations, const Site& site, const Storage& storage) {
  if (obligations.encrypt_key_regions.empty()) return "";
  if (storage.wrapping_key.empty()) {
    std::vector<std::string> declared;
    for (const StorageKey& key : site.storage_keys) declared.push_back(key.id);
    const std::string lost = ChooseKey(obligations, site, declared);
    return absl::StrCat("the copy at site ", site.name, " must be encrypted at rest under a key of region ",
                        absl::StrJoin(obligations.encrypt_key_regions, " and of "),
                        ", and the site has no such key in use; ",
                        lost.empty() ? ""
                                     : absl::StrCat("bring back key ", lost.substr(0, 16),
                                                    ", which the Site declares, with bailiwick-agent key import, or "),
                        "run bailiwick-agent key generate there and declare the key under storageKeys of the Site");
  }
  std::string lacking;
  if (Does(obligations, site, storage.wrapping_key, &lacking)) return "";
  const std::string region = KeyRegion(site, storage.wrapping_key);
  return absl::StrCat(
      "the copy at site ", site.name, " must be encrypted at rest under a key of region ", lacking, ", and its key ",
      storage.wrapping_key.substr(0, 16),
      region.empty() ? " is not declared under storageKeys of the Site" : absl::StrCat(" belongs to region ", region));
}

std::string ChooseKey(const Obligations& obligations, const Site& site, const std::vector<std::string>& held) {
  std::string lacking;
  for (const std::string& id : held) {
    if (!KeyRegion(site, id).empty() && Does(obligations, site, id, &lacking)) return id;
  }
  return "";
}

std::string UnmetLayout(const Obligations& obligations, const Site& site) {
  if (obligations.encrypt_key_regions.empty() || site.encrypted_volume) return "";
  return absl::StrCat("it must be encrypted at rest, and the replica path of site ", site.name,
                      " is not declared an encrypted volume (replicaVolume: encrypted of the Site), so it is kept but"
                      " not laid out as files");
}

}  // namespace bailiwick::policy
