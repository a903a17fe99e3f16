#include "services/cli/commands/command.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/base/suggest.h"
#include "common/base/units.h"

namespace bailiwick::cli {

void OnRunCode(CLI::App* command, Globals& globals, std::function<absl::StatusOr<int>()> body) {
  command->callback([&globals, body = std::move(body)] {
    absl::StatusOr<int> code = body();
    std::cout.flush();
    if (code.ok() && !std::cout) code = absl::UnknownError("cannot write to standard output");
    if (code.ok()) {
      globals.exit_code = *code;
      return;
    }
    // What the other side says may quote anything: lines stay, other control characters do not reach the terminal.
    std::string text;
    for (absl::string_view line : absl::StrSplit(code.status().message(), '\n')) {
      absl::StrAppend(&text, text.empty() ? "" : "\n", FormatMessage(std::string(line)));
    }
    std::cerr << "bailiwick: " << text << "\n";
    globals.exit_code = ExitCode(code.status());
  });
}

void OnRun(CLI::App* command, Globals& globals, std::function<absl::Status()> body) {
  OnRunCode(command, globals, [body = std::move(body)]() -> absl::StatusOr<int> {
    BW_RETURN_IF_ERROR(body());
    return 0;
  });
}

std::function<absl::StatusOr<absl::Duration>()> TimeoutFlag(CLI::App* command, const char* help, const char* fallback) {
  auto text = std::make_shared<std::string>(fallback);
  command->add_option("--timeout", *text, help);
  return [text]() -> absl::StatusOr<absl::Duration> {
    auto timeout = ParseDuration(*text);
    if (!timeout.ok()) return Annotate(timeout.status(), "--timeout");
    return timeout;
  };
}

absl::StatusOr<std::unique_ptr<Admin>> Connect(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(Context context, LoadContext(globals.context));
  return Admin::Connect(context);
}

absl::StatusOr<SiteMap> SitesByName(Admin& admin) {
  control::v1::ListSitesResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListSites(Admin::Call().get(), {}, &response)));
  SiteMap sites;
  for (const auto& site : response.sites()) sites[site.name()] = site;
  return sites;
}

absl::Status NoSite(const SiteMap& sites, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [there, status] : sites) names.push_back(there);
  const std::string near = Suggest(name, names);
  return absl::NotFoundError(
      absl::StrCat("site ", name, " does not exist; ",
                   near.empty() ? "see: bailiwick get sites" : absl::StrCat("did you mean ", near, "?")));
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
  control::v1::ListResourcesRequest declared;
  declared.set_kind("Dataset");
  declared.set_name(name);
  control::v1::ListResourcesResponse resources;
  if (admin.control().ListResources(Admin::Call().get(), declared, &resources).ok()) {
    return absl::NotFoundError(absl::StrCat(
        name,
        " is a family of datasets without a stream: no site matches its siteSelector; see: bailiwick describe dataset ",
        name));
  }
  const std::string near = Suggest(name, names);
  return absl::NotFoundError(
      absl::StrCat("dataset ", name, " does not exist; ",
                   near.empty() ? "see: bailiwick dataset list" : absl::StrCat("did you mean ", near, "?")));
}

absl::StatusOr<std::vector<control::v1::Replica>> Replicas(Admin& admin, const std::string& dataset,
                                                           const std::string& site) {
  control::v1::ListReplicasRequest request;
  request.set_dataset(dataset);
  request.set_site(site);
  control::v1::ListReplicasResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListReplicas(Admin::Call().get(), request, &response)));
  return std::vector<control::v1::Replica>(response.replicas().begin(), response.replicas().end());
}

absl::StatusOr<control::v1::WhyResponse> AskWhy(Admin& admin, const std::string& dataset, const std::string& site) {
  control::v1::WhyRequest request;
  request.set_dataset(dataset);
  request.set_site(site);
  control::v1::WhyResponse why;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().Why(Admin::Call().get(), request, &why)));
  return why;
}

absl::Status SiteAgent::Check(const grpc::Status& status) const {
  return Admin::Error(
      status, absl::StrCat("the agent of site ", site, connected ? "" : ", which is offline,", " at ", address));
}

absl::Status SiteAgent::Tried(const grpc::Status& status) const {
  absl::Status tried = Check(status);
  if (!absl::IsUnimplemented(tried)) return tried;
  return absl::FailedPreconditionError(
      absl::StrCat("the agent of site ", site, " is of a build too old to try without doing; upgrade it first"));
}

absl::StatusOr<SiteAgent> AgentOf(Admin& admin, const std::string& site) {
  BW_ASSIGN_OR_RETURN(auto sites, SitesByName(admin));
  auto it = sites.find(site);
  if (it == sites.end()) return NoSite(sites, site);
  if (it->second.agent().empty()) {
    return absl::UnavailableError(
        absl::StrCat("no agent of site ", site, " has joined; run: bailiwick site join-token ", site));
  }
  if (it->second.admin_endpoint().empty()) {
    return absl::UnavailableError(
        absl::StrCat("the agent of site ", site, " has not told yet where it serves; is it running?"));
  }
  SiteAgent agent{site, it->second.admin_endpoint(), it->second.connected(), nullptr};
  BW_ASSIGN_OR_RETURN(agent.stub, admin.Agent(agent.address, it->second.agent()));
  return agent;
}

absl::StatusOr<uint64_t> ParseVersion(const std::string& text, uint64_t least) {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < least) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a version number; see: bailiwick dataset versions NAME"));
  }
  return number;
}

bool MayAsk(const Globals& globals) { return !globals.no_input && IsTerminal(STDIN_FILENO); }

std::string ShortId(const control::v1::Pending& pending) {
  return std::string(absl::BytesToHexString(pending.id())).substr(0, kShortId);
}

std::string MissingOf(const control::v1::Pending& pending) {
  // Where a second person is what is missing, the sentence ends with what to run.
  const bool approval = absl::EndsWith(pending.missing(), ": bailiwick approve");
  return absl::StrCat(FormatMessage(pending.missing()), approval ? " " : "", approval ? ShortId(pending) : "");
}

std::string NotInEffect(Admin& admin, const std::string& pending) {
  const bool says_how = absl::StrContains(pending, "bailiwick approve");
  std::string what = FormatMessage(pending);
  if (says_how) {  // which one: unless somebody was faster and something else waits now
    control::v1::GetPendingResponse waits;
    const bool there = admin.control().GetPending(Admin::Call().get(), {}, &waits).ok() && waits.has_pending();
    if (there && waits.pending().missing() == pending) what = MissingOf(waits.pending());
  }
  return absl::StrCat("nothing is in effect yet: ", what, says_how ? "" : "; the others run: bailiwick policy approve");
}

absl::Status Confirm(const Globals& globals, bool yes, const std::string& question, const std::string& otherwise) {
  if (yes) return absl::OkStatus();
  if (globals.no_input) return absl::InvalidArgumentError(absl::StrCat(otherwise, ": with --no-input it needs --yes"));
  if (!MayAsk(globals)) {
    return absl::InvalidArgumentError(absl::StrCat(otherwise, ": without a terminal to ask at it needs --yes"));
  }
  std::cerr << question << " [y/N] ";
  std::clearerr(stdin);  // the law may have been typed here as well, and ended
  std::cin.clear();
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "yes" ? absl::OkStatus() : absl::AbortedError(otherwise);
}

}  // namespace bailiwick::cli
