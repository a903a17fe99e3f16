#include "services/cli/commands/command.h"

#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::cli {

void OnRunCode(CLI::App* command, Globals& globals, std::function<absl::StatusOr<int>()> body) {
  command->callback([&globals, body = std::move(body)] {
    absl::StatusOr<int> code = body();
    std::cout.flush();
    if (code.ok()) {
      globals.exit_code = *code;
      return;
    }
    std::cerr << "bailiwick: " << std::string(code.status().message()) << "\n";
    globals.exit_code = ExitCode(code.status());
  });
}

void OnRun(CLI::App* command, Globals& globals, std::function<absl::Status()> body) {
  OnRunCode(command, globals, [body = std::move(body)]() -> absl::StatusOr<int> {
    BW_RETURN_IF_ERROR(body());
    return 0;
  });
}

absl::StatusOr<std::unique_ptr<Admin>> Connect(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(Context context, LoadContext(globals.context));
  return Admin::Connect(context);
}

absl::StatusOr<std::map<std::string, control::v1::SiteStatus>> SitesByName(Admin& admin) {
  control::v1::ListSitesResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListSites(Admin::Call().get(), {}, &response)));
  std::map<std::string, control::v1::SiteStatus> sites;
  for (const auto& site : response.sites()) sites[site.name()] = site;
  return sites;
}

absl::StatusOr<control::v1::DatasetStatus> FindDataset(Admin& admin, const std::string& name) {
  control::v1::ListDatasetsResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListDatasets(Admin::Call().get(), {}, &response)));
  std::string streams;
  std::vector<std::string> names;
  for (const auto& dataset : response.datasets()) {
    if (dataset.name() == name) return dataset;
    if (dataset.family() == name) absl::StrAppend(&streams, streams.empty() ? "" : ", ", dataset.name());
    names.push_back(dataset.name());
  }
  if (!streams.empty()) {
    return absl::NotFoundError(absl::StrCat(name, " is a family of datasets; name one of its streams: ", streams));
  }
  const std::string near = config::Suggest(name, names);
  return absl::NotFoundError(absl::StrCat("dataset ", name, " does not exist", near.empty() ? "" : "; did you mean ", near,
                                          near.empty() ? "; see: bailiwick get datasets" : "?"));
}

absl::StatusOr<std::unique_ptr<agent::v1::AgentAdmin::Stub>> AgentOf(Admin& admin, const std::string& site) {
  BW_ASSIGN_OR_RETURN(auto sites, SitesByName(admin));
  auto it = sites.find(site);
  if (it == sites.end()) return absl::NotFoundError(absl::StrCat("site ", site, " does not exist; see: bailiwick get sites"));
  if (it->second.agent().empty()) {
    return absl::UnavailableError(absl::StrCat("no agent of site ", site, " has joined; run: bailiwick site join-token ", site));
  }
  if (!it->second.connected()) {
    return absl::UnavailableError(absl::StrCat("site ", site, " is offline; its agent must run for this"));
  }
  return admin.Agent(it->second.admin_endpoint(), it->second.agent());
}

absl::StatusOr<uint64_t> ParseVersion(const std::string& text, uint64_t least) {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < least) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a version number; see: bailiwick dataset versions NAME"));
  }
  return number;
}

}  // namespace bailiwick::cli
