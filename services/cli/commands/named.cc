#include "services/cli/commands/named.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::cli {

absl::Status SplitNamed(std::string* kind, std::string* name) {
  if (const size_t slash = kind->find('/'); name->empty() && slash != std::string::npos) {
    *name = kind->substr(slash + 1);
    kind->resize(slash);
  }
  if (name->empty()) return absl::InvalidArgumentError(absl::StrCat("say which ", *kind, ": KIND NAME, or KIND/NAME"));
  return absl::OkStatus();
}

bool SiteStates::Revoked(const std::string& site) const {
  const auto agent = agents.find(site);
  return agent != agents.end() && agent->second.has_revoked();
}

std::string SiteStates::Of(const std::string& name) const {
  const auto site = sites.find(name);
  if (site == sites.end() || site->second.agent().empty()) return "not joined";
  if (Revoked(name)) return "revoked";
  return site->second.connected() ? "connected" : "offline";
}

absl::StatusOr<SiteStates> ReadSiteStates(Admin& admin) {
  SiteStates states;
  BW_ASSIGN_OR_RETURN(states.sites, SitesByName(admin));
  control::v1::ListAgentsResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListAgents(Admin::Call().get(), {}, &response)));
  for (const auto& agent : response.agents()) states.agents[agent.site()] = agent;
  return states;
}

absl::Status NeedsNoName(const Globals& globals, const std::string& command) {
  if (globals.format() != Format::kName) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("bailiwick ", command, " answers with no names, so there is no -o name; use -o json or -o yaml"));
}

}  // namespace bailiwick::cli
