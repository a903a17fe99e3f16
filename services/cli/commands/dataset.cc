// dataset ...
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/clock.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/commit.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/listing.h"
#include "services/cli/commands/progress.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(20);  // a rollback takes a moment
constexpr uint32_t kPage = 10'000;                        // versions

absl::Status ListAll(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (!globals.table()) {
    BW_ASSIGN_OR_RETURN(Fields fields, DatasetsView(*admin));
    PrintJson(globals.format(), std::move(fields));
    return absl::OkStatus();
  }
  control::v1::ListDatasetsResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListDatasets(Admin::Call().get(), {}, &response)));
  Rows rows;
  for (const auto& d : response.datasets()) {
    rows.push_back({d.name(), d.home_site(), d.newest() == 0 ? "none" : absl::StrCat(d.newest()),
                    absl::StrCat(d.versions()), absl::StrCat(d.files()), FormatBytes(d.logical_bytes()),
                    d.newest() == 0 ? "-" : TimeText(d.committed_at()),
                    absl::StrCat(d.replicas_current(), "/", d.replicas_wanted())});
  }
  PrintTable({"DATASET", "HOME", "NEWEST", "VERSIONS", "FILES", "SIZE", "COMMITTED", "REPLICAS"}, rows);
  return absl::OkStatus();
}

// Page by page: all of them may be more than an answer holds. A coordinator that knows no pages gives them at once.
absl::StatusOr<std::vector<control::v1::Version>> ReadVersions(Admin& admin, const std::string& name) {
  BW_RETURN_IF_ERROR(FindDataset(admin, name).status());
  control::v1::ListVersionsRequest request;
  request.set_dataset(name);
  request.set_limit(kPage);
  std::vector<control::v1::Version> versions;
  while (true) {
    control::v1::ListVersionsResponse page;
    BW_RETURN_IF_ERROR(admin.Check(admin.control().ListVersions(Admin::Call().get(), request, &page)));
    for (auto& version : *page.mutable_versions()) versions.push_back(std::move(version));
    if (!page.more() || page.versions().empty()) return versions;
    request.set_before(versions.back().number());
  }
}

std::string IdentityOf(const control::v1::Version& v) {
  auto identity = Digest::From(1, v.identity());
  return identity.ok() ? identity->Hex() : "";
}

Json JsonOf(const control::v1::Version& v) {
  return Object({{"number", Number(v.number())},
                 {"committedAt", Text(TimeText(v.committed_at()))},
                 {"files", Number(v.files())},
                 {"entries", Number(v.entries())},
                 {"logicalBytes", Number(v.logical_bytes())},
                 {"identity", Text(IdentityOf(v))},
                 {"sites", Texts(v.sites())},
                 {"message", Text(v.message())}});
}

absl::Status Versions(const Globals& globals, const std::string& name, bool watch) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  return ShowListing(globals, watch, [&]() -> absl::StatusOr<Listing> {
    BW_ASSIGN_OR_RETURN(auto versions, ReadVersions(*admin, name));
    Listing listing{
        "committed", "versions", {"NUMBER", "COMMITTED", "FILES", "SIZE", "IDENTITY", "SITES", "MESSAGE"}, 1, {}};
    for (const auto& v : versions) {
      listing.items.push_back({.identity = {{"number", Number(v.number())}},
                               .row = {absl::StrCat(v.number()), TimeText(v.committed_at()), absl::StrCat(v.files()),
                                       FormatBytes(v.logical_bytes()), IdentityOf(v).substr(0, 12),
                                       v.sites().empty() ? "-" : absl::StrJoin(v.sites(), ","), v.message()},
                               .json = JsonOf(v),
                               .essence = "",
                               .name = ""});
    }
    return listing;
  });
}

absl::Status Diff(const Globals& globals, const std::string& name, uint64_t from, uint64_t to, std::string site) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  if (site.empty()) site = dataset.home_site();
  BW_ASSIGN_OR_RETURN(auto agent, AgentOf(*admin, site));
  agent::v1::DiffRequest request;
  request.set_dataset(name);
  request.set_dataset_id(dataset.dataset_id());
  request.set_from(from);
  request.set_to(to);
  auto call = Admin::Call(kLongCall);
  auto stream = agent->Diff(call.get(), request);
  agent::v1::DiffEntry entry;
  std::vector<Json> rows;
  while (stream->Read(&entry)) {
    if (globals.table()) {
      std::cout << ChangeLine(entry) << "\n";
    } else {
      rows.push_back(ChangeJson(entry));
    }
  }
  BW_RETURN_IF_ERROR(agent.Check(stream->Finish()));
  if (globals.format() != Format::kTable) PrintJson(globals.format(), {{"entries", List(std::move(rows))}});
  return absl::OkStatus();
}

absl::Status TryCheckout(const Globals& globals, SiteAgent& agent, const agent::v1::CheckoutRequest& request) {
  agent::v1::CheckoutPreview preview;
  BW_RETURN_IF_ERROR(agent.Tried(agent->PreviewCheckout(Admin::Call(kLongCall).get(), request, &preview)));
  return SayTried(
      globals,
      {absl::StrCat("version ", request.number(), " of ", request.dataset(), " (", preview.entries(), " entries, ",
                    FormatBytes(preview.logical_bytes()), ") lies in ", request.directory(), " on the machine of site ",
                    agent.site, ", where ", FormatBytes(preview.free_bytes()), " are free")},
      "");
}

absl::Status Checkout(const Globals& globals, const std::string& name, uint64_t number, const std::string& directory,
                      std::string site, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  if (site.empty()) site = dataset.home_site();
  BW_ASSIGN_OR_RETURN(auto agent, AgentOf(*admin, site));
  agent::v1::CheckoutRequest request;
  request.set_dataset(name);
  request.set_dataset_id(dataset.dataset_id());
  request.set_number(number);
  request.set_directory(std::filesystem::absolute(directory).lexically_normal());
  if (dry_run) return TryCheckout(globals, agent, request);
  auto call = Admin::Call(kLongCall);
  auto stream = agent->Checkout(call.get(), request);
  agent::v1::WorkEvent event, last;
  {
    Progress progress(absl::StrCat("checking out ", name));
    while (stream->Read(&event)) {
      progress.Update(event.done_bytes(), event.total_bytes());
      last = event;
    }
  }
  BW_RETURN_IF_ERROR(agent.Check(stream->Finish()));
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), {{"dataset", Text(name)},
                                 {"number", Number(number)},
                                 {"site", Text(site)},
                                 {"directory", Text(request.directory())},
                                 {"entries", Number(last.entries())},
                                 {"redactedFiles", Number(last.redacted())}});
  } else {
    std::cout << name << " version " << number << " is in " << request.directory() << " on the machine of site " << site
              << "\n";
    if (last.redacted() != 0)
      std::cout << last.redacted() << " files are redacted and not among them; see: bailiwick redaction list --dataset "
                << name << "\n";
  }
  return absl::OkStatus();
}

absl::StatusOr<agent::v1::WorkEvent> VerifyAt(Admin& admin, const control::v1::DatasetStatus& dataset, uint64_t number,
                                              const std::string& site) {
  BW_ASSIGN_OR_RETURN(SiteAgent agent, AgentOf(admin, site));
  agent::v1::VerifyRequest request;
  request.set_dataset(dataset.name());
  request.set_dataset_id(dataset.dataset_id());
  request.set_number(number);
  auto call = Admin::Call(kLongCall);
  auto stream = agent->Verify(call.get(), request);
  agent::v1::WorkEvent event, last;
  {
    Progress progress(absl::StrCat("verifying ", dataset.name(), " at ", site));
    while (stream->Read(&event)) {
      progress.Update(event.done_bytes(), event.total_bytes());
      last = event;
    }
  }
  BW_RETURN_IF_ERROR(agent.Check(stream->Finish()));
  if (!last.finished())
    return absl::InternalError(absl::StrCat("the agent of site ", site, " ended the check before its end"));
  return last;
}

// Where to look: the site that was named, else every site that holds it.
absl::StatusOr<std::vector<std::string>> SitesToVerify(Admin& admin, const std::string& name, uint64_t number,
                                                       const std::string& site) {
  if (!site.empty()) return std::vector<std::string>{site};
  BW_ASSIGN_OR_RETURN(auto replicas, Replicas(admin, name));
  std::vector<std::string> sites;
  for (const auto& r : replicas) {
    std::set<uint64_t> there(r.versions().begin(), r.versions().end());
    there.insert(r.damaged().begin(), r.damaged().end());
    if (number == 0 ? !there.empty() : there.count(number) != 0) sites.push_back(r.site());
  }
  if (sites.empty()) {
    return absl::NotFoundError(
        number == 0
            ? absl::StrCat("no site holds a version of ", name, " yet; run: bailiwick dataset commit ", name)
            : absl::StrCat("no site holds version ", number, " of ", name, "; see: bailiwick dataset versions ", name));
  }
  return sites;
}

// A site that cannot be asked does not keep the others from being checked; the answer is then its error.
absl::StatusOr<int> Verify(const Globals& globals, const std::string& name, uint64_t number, const std::string& site) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(const control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  BW_ASSIGN_OR_RETURN(std::vector<std::string> sites, SitesToVerify(*admin, name, number, site));
  absl::Status unasked;
  uint64_t problems = 0;
  std::vector<Json> json;
  for (const std::string& s : sites) {
    auto result = VerifyAt(*admin, dataset, number, s);
    if (!result.ok()) {
      if (sites.size() == 1) return result.status();
      std::cerr << "warning: " << s << " was not checked: " << FormatMessage(std::string(result.status().message()))
                << "\n";
      if (unasked.ok())
        unasked =
            absl::Status(result.status().code(), absl::StrCat("not every site that holds ", name, " was checked"));
      continue;
    }
    problems += result->problem_count();
    if (globals.table()) {
      std::cout << name << " at " << s << ": " << result->versions() << " versions, " << result->checked_chunks()
                << " chunks, " << FormatBytes(result->done_bytes())
                << (result->problem_count() == 0 ? ", all true"
                                                 : absl::StrCat(", ", result->problem_count(), " PROBLEMS"))
                << (result->redacted() == 0 ? "" : absl::StrCat("; ", result->redacted(), " chunks are redacted"))
                << (result->dropped() == 0 ? "" : absl::StrCat("; ", result->dropped(), " chunks were given up here"))
                << std::endl;
      for (const auto& p : result->problems()) std::cout << "  " << FormatMessage(p) << "\n";
    }
    json.push_back(Object({{"site", Text(s)},
                           {"versions", Number(result->versions())},
                           {"chunks", Number(result->checked_chunks())},
                           {"bytes", Number(result->done_bytes())},
                           {"redactedChunks", Number(result->redacted())},
                           {"givenUpChunks", Number(result->dropped())},
                           {"problemCount", Number(result->problem_count())},
                           {"problems", Texts(result->problems())}}));
  }
  if (!globals.table()) PrintJson(globals.format(), {{"dataset", Text(name)}, {"sites", List(std::move(json))}});
  if (problems != 0) return 1;
  BW_RETURN_IF_ERROR(unasked);
  return 0;
}

absl::Status Rollback(const Globals& globals, const std::string& name, const std::string& to, const std::string& site,
                      absl::Duration timeout, bool dry_run) {
  if (to != "latest") BW_RETURN_IF_ERROR(ParseVersion(to).status());  // said before anybody is asked
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (dry_run) {
    BW_RETURN_IF_ERROR(FindDataset(*admin, name).status());
    control::v1::DryRunRequest act;
    act.mutable_pin()->set_dataset(name);
    act.mutable_pin()->set_site(site);
    if (to != "latest") act.mutable_pin()->set_number(*ParseVersion(to));
    return TryAct(globals, *admin, act);
  }
  BW_ASSIGN_OR_RETURN(const RollbackResult result, RollBack(*admin, name, to, site, timeout));
  if (!globals.table()) {
    PrintJson(globals.format(), result.ToFields());
    return absl::OkStatus();
  }
  const std::string shown = absl::StrJoin(result.shown, ", "), offline = absl::StrJoin(result.offline, ", ");
  if (!shown.empty() && result.number == 0) {
    std::cout << name << " follows the newest version again at " << shown << "\n";
  } else if (!shown.empty()) {
    std::cout << name << " shows version " << result.number << " at " << shown << " until: bailiwick dataset rollback "
              << name << " latest\n";
  }
  if (!offline.empty()) std::cout << "offline, will do so when back: " << offline << "\n";
  if (shown.empty() && offline.empty())
    std::cout << "no replica of " << name << " holds a version yet; those to come will\n";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Fields> DatasetsView(Admin& admin) {
  control::v1::ListDatasetsResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListDatasets(Admin::Call().get(), {}, &response)));
  std::vector<Json> json;
  for (const auto& d : response.datasets()) {
    json.push_back(Object({{"name", Text(d.name())},
                           {"family", Text(d.family())},
                           {"home", Text(d.home_site())},
                           {"newest", Number(d.newest())},
                           {"versions", Number(d.versions())},
                           {"files", Number(d.files())},
                           {"logicalBytes", Number(d.logical_bytes())},
                           {"committedAt", Text(TimeText(d.committed_at()))},
                           {"replicasWanted", Number(d.replicas_wanted())},
                           {"replicasCurrent", Number(d.replicas_current())},
                           {"problem", Text(d.source_problem())}}));
  }
  return Fields{{"datasets", List(std::move(json))}};
}

absl::StatusOr<Fields> VersionsView(Admin& admin, const std::string& dataset) {
  BW_ASSIGN_OR_RETURN(auto versions, ReadVersions(admin, dataset));
  std::vector<Json> json;
  for (const auto& v : versions) json.push_back(JsonOf(v));
  return Fields{{"versions", List(std::move(json))}};
}

Fields RollbackResult::ToFields() const {
  return {{"dataset", Text(dataset)}, {"number", Number(number)}, {"sites", Texts(shown)}, {"offline", Texts(offline)}};
}

absl::StatusOr<RollbackResult> RollBack(Admin& admin, const std::string& dataset, const std::string& to,
                                        const std::string& site, absl::Duration timeout) {
  RollbackResult result{dataset, 0, {}, {}};
  if (to != "latest") {
    BW_ASSIGN_OR_RETURN(result.number, ParseVersion(to));
  }
  BW_RETURN_IF_ERROR(FindDataset(admin, dataset).status());
  control::v1::PinRequest request;
  request.set_dataset(dataset);
  request.set_number(result.number);
  request.set_site(site);
  control::v1::PinResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().Pin(Admin::Call().get(), request, &response)));
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto replicas, Patiently(deadline, [&] { return Replicas(admin, dataset); }));
    std::vector<std::string> waiting;
    result.shown.clear();
    result.offline.clear();
    for (const auto& r : replicas) {
      if (std::find(response.sites().begin(), response.sites().end(), r.site()) == response.sites().end()) continue;
      if (r.version() == 0) continue;  // holds nothing that it could show
      const bool there = r.current() == (result.number == 0 ? r.version() : result.number) || !r.materialize();
      (there ? result.shown : (r.state() == "offline" ? result.offline : waiting)).push_back(r.site());
    }
    if (waiting.empty()) return result;
    if (clock->BootTime() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("timed out after ", FormatAge(timeout), ": ", dataset, " is told to show ",
                       result.number == 0 ? "its newest version" : absl::StrCat("version ", result.number),
                       ", but does not yet at ", absl::StrJoin(waiting, ", ")));
    }
    clock->SleepFor(kPoll);
  }
}

absl::Status GetVersions(const Globals& globals, const std::string& dataset, bool watch) {
  return Versions(globals, dataset, watch);
}

void RegisterDatasets(CLI::App& app, Globals& globals) {
  auto* dataset = app.add_subcommand(
      "dataset", "list, commit, versions, diff, checkout, verify, rollback, redact, hold, holds, release");
  dataset->require_subcommand(1);
  dataset->footer("Example:\n  bailiwick dataset commit planner --wait");
  {
    auto* c = dataset->add_subcommand("list", "every dataset and stream with its newest version");
    c->footer("Example:\n  bailiwick dataset list");
    OnRun(c, globals, [&globals] { return ListAll(globals); });
  }
  RegisterCommit(*dataset, globals);
  {
    auto* c = dataset->add_subcommand("versions", "what was committed, newest first, and who holds it");
    auto name = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->type_name("DATASET")->required();
    c->footer("Example:\n  bailiwick dataset versions planner");
    OnRun(c, globals, [&globals, name] { return Versions(globals, *name, false); });
  }
  {
    auto* c = dataset->add_subcommand("diff", "what changed between two versions, path by path");
    auto name = std::make_shared<std::string>(), from = std::make_shared<std::string>(),
         to = std::make_shared<std::string>(), site = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->type_name("DATASET")->required();
    c->add_option("N", *from, "older version")->type_name("VERSION")->required();
    c->add_option("M", *to, "newer version")->type_name("VERSION")->required();
    c->add_option("--site", *site, "ask this site (default: the home)")->type_name("SITE");
    c->footer("Example:\n  bailiwick dataset diff planner 3 4");
    OnRun(c, globals, [&globals, name, from, to, site]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(uint64_t n, ParseVersion(*from));
      BW_ASSIGN_OR_RETURN(uint64_t m, ParseVersion(*to));
      return Diff(globals, *name, n, m, *site);
    });
  }
  {
    auto* c = dataset->add_subcommand("checkout", "lay a version out in a new directory on the site's machine");
    auto name = std::make_shared<std::string>(), number = std::make_shared<std::string>(),
         directory = std::make_shared<std::string>(), site = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->type_name("DATASET")->required();
    c->add_option("N", *number, "version")->type_name("VERSION")->required();
    c->add_option("DIR", *directory, "new or empty directory")->type_name("PATH")->required();
    c->add_option("--site", *site, "at this site (default: the home)")->type_name("SITE");
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick dataset checkout planner 3 /tmp/planner-3");
    OnRun(c, globals, [&globals, name, number, directory, site, dry_run]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(uint64_t n, ParseVersion(*number));
      return Checkout(globals, *name, n, *directory, *site, *dry_run);
    });
  }
  {
    auto* c = dataset->add_subcommand(
        "verify", "read everything back and check it against its digests; exit code 1 when something is wrong");
    auto name = std::make_shared<std::string>(), number = std::make_shared<std::string>("0"),
         site = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->type_name("DATASET")->required();
    c->add_option("--version", *number, "one version (default: all)")->type_name("VERSION");
    c->add_option("--site", *site, "one site (default: every site that holds it)")->type_name("SITE");
    c->footer("Example:\n  bailiwick dataset verify planner --site core");
    OnRunCode(c, globals, [&globals, name, number, site]() -> absl::StatusOr<int> {
      BW_ASSIGN_OR_RETURN(uint64_t n, ParseVersion(*number, 0));
      return Verify(globals, *name, n, *site);
    });
  }
  {
    auto* c = dataset->add_subcommand("rollback",
                                      "show an older version at the replicas, until told to follow the latest again");
    auto name = std::make_shared<std::string>(), number = std::make_shared<std::string>(),
         site = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->type_name("DATASET")->required();
    c->add_option("N", *number, "version, or latest")->type_name("VERSION")->required();
    c->add_option("--site", *site, "at one site (default: at every replica that holds it)")->type_name("SITE");
    auto timeout = TimeoutFlag(c, "how long to wait until it is shown (default 30s)", "30s");
    auto dry_run = DryRunFlag(c);
    c->footer("Examples:\n  bailiwick dataset rollback planner 3\n  bailiwick dataset rollback planner latest");
    OnRun(c, globals, [&globals, name, number, site, timeout, dry_run]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(absl::Duration t, timeout());
      return Rollback(globals, *name, *number, *site, t, *dry_run);
    });
  }
  RegisterHolds(*dataset, globals);
}

}  // namespace bailiwick::cli
