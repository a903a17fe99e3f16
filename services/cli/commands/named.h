// What is named on the command line and in answers: KIND/NAME, sites and how they are.
#pragma once

#include <map>
#include <string>

#include "services/cli/commands/command.h"

namespace bailiwick::cli {

// "site/core" as one word is kind and name. INVALID_ARGUMENT: there is no name.
absl::Status SplitNamed(std::string* kind, std::string* name);

// Sites by their name, and a word for each: connected, offline, revoked, "not joined".
struct SiteStates {
  SiteMap sites;
  std::map<std::string, control::v1::AgentStatus> agents;
  bool Revoked(const std::string& site) const;
  std::string Of(const std::string& site) const;
};
absl::StatusOr<SiteStates> ReadSiteStates(Admin& admin);

// For commands whose answer names nothing that another could take. INVALID_ARGUMENT with -o name.
absl::Status NeedsNoName(const Globals& globals, const std::string& command);

}  // namespace bailiwick::cli
