// Whether a copy is kept at rest as its obligations ask: the check that a sender makes of what the receiver says, and
// the receiver of itself. Pure, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "common/policy/model.h"

namespace bailiwick::policy {

// How a site keeps a dataset.
struct Storage {
  std::string wrapping_key;  // id of the key that wraps its data key; empty: plain
  bool operator==(const Storage&) const = default;
};

// The region whose law a wrapping key of the site is under, by the signed registry; empty when it is not declared.
std::string KeyRegion(const Site& site, const std::string& wrapping_key);
// Empty when the storage at the site keeps to every key region obliged; else one sentence that names what is missing.
std::string UnmetAtRest(const Obligations& obligations, const Site& site, const Storage& storage);
// The first of `held` (wrapping keys, in order of preference) that would do; empty when none.
std::string ChooseKey(const Obligations& obligations, const Site& site, const std::vector<std::string>& held);
// Empty when versions may be laid out as files at the site; else the sentence why not, with the remedy.
std::string UnmetLayout(const Obligations& obligations, const Site& site);

}  // namespace bailiwick::policy
