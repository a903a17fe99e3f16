// dataset ..., wait.
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/clock.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/progress.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(100);
constexpr absl::Duration kLongCall = absl::Hours(24 * 7);  // commits, checks and checkouts last as long as they last

absl::StatusOr<std::vector<control::v1::Replica>> Replicas(Admin& admin, const std::string& dataset) {
  control::v1::ListReplicasRequest request;
  request.set_dataset(dataset);
  control::v1::ListReplicasResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListReplicas(Admin::Call().get(), request, &response)));
  return std::vector<control::v1::Replica>(response.replicas().begin(), response.replicas().end());
}

// Holds the version or a newer one, laid out where it is to be; a replica that was rolled back shows what it was told to.
bool Shows(const control::v1::Replica& r, uint64_t number) {
  return r.version() >= number && (r.role() == "home" || !r.materialize() || r.current() >= number || r.pinned() != 0);
}

// Until every replica that is wanted and not denied holds the version.
absl::Status WaitForReplicas(Admin& admin, const std::string& dataset, uint64_t number, absl::Duration timeout) {
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto replicas, Replicas(admin, dataset));
    std::string missing;
    bool known = false;
    for (const auto& r : replicas) {
      known |= r.role() == "home" && r.newest() >= number;
      if (r.role() == "home" || r.state() == "denied" || r.state() == "unwanted") continue;
      const bool here = Shows(r, number);
      if (!here) absl::StrAppend(&missing, missing.empty() ? "" : "; ", r.site(), ": ", r.reason().empty() ? r.state() : r.reason());
    }
    if (known && missing.empty()) return absl::OkStatus();
    if (clock->BootTime() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("version ", number, " of ", dataset, " is not everywhere after ",
                                                      FormatAge(timeout), ": ", missing.empty() ? "the coordinator has not heard of it" : missing));
    }
    clock->SleepFor(kPoll);
  }
}

absl::Status Commit(const Globals& globals, const std::string& name, const std::string& message, bool wait, bool allow_changing,
                    bool allow_empty, absl::Duration timeout) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  BW_ASSIGN_OR_RETURN(auto agent, AgentOf(*admin, dataset.home_site()));
  agent::v1::CommitRequest request;
  request.set_dataset(name);
  request.set_message(message);
  request.set_allow_changing(allow_changing);
  request.set_allow_empty(allow_empty);
  auto call = Admin::Call(kLongCall);
  auto stream = agent->Commit(call.get(), request);
  agent::v1::CommitEvent event;
  agent::v1::CommitResult result;
  {
    Progress progress("committing");
    while (stream->Read(&event)) {
      if (event.has_progress()) {
        progress.Update(event.progress().scanned_bytes(), 0,
                        absl::StrCat(event.progress().files(), " files, ", FormatBytes(event.progress().new_bytes()), " new"));
      } else {
        result = event.result();
      }
    }
  }
  BW_RETURN_IF_ERROR(Admin::Error(stream->Finish()));
  for (const auto& path : result.skipped()) std::cerr << "warning: skipped (device, socket or FIFO): " << Printable(path) << "\n";
  if (result.skipped_count() > static_cast<uint64_t>(result.skipped_size())) {
    std::cerr << "warning: and " << result.skipped_count() - result.skipped_size() << " more\n";
  }
  for (const auto& path : result.unsettled()) std::cerr << "warning: still changing: " << Printable(path) << "\n";
  if (wait) BW_RETURN_IF_ERROR(WaitForReplicas(*admin, name, result.number(), timeout));
  if (globals.format() != Format::kTable) {
    std::vector<Json> skipped, unsettled;
    for (const auto& path : result.skipped()) skipped.push_back(Text(Printable(path)));
    for (const auto& path : result.unsettled()) unsettled.push_back(Text(Printable(path)));
    PrintJson(globals.format(), {{"dataset", Text(name)},
                                 {"number", Number(result.number())},
                                 {"unchanged", Bool(result.unchanged())},
                                 {"files", Number(result.files())},
                                 {"entries", Number(result.entries())},
                                 {"logicalBytes", Number(result.logical_bytes())},
                                 {"newBytes", Number(result.new_bytes())},
                                 {"skipped", List(std::move(skipped))},
                                 {"unsettled", List(std::move(unsettled))}});
    return absl::OkStatus();
  }
  if (result.unchanged()) {
    std::cout << name << " version " << result.number() << ": nothing changed since\n";
  } else {
    std::cout << name << " version " << result.number() << ": " << result.files() << " files, " << FormatBytes(result.logical_bytes())
              << ", " << FormatBytes(result.new_bytes()) << " new\n";
  }
  return absl::OkStatus();
}

absl::Status Versions(const Globals& globals, const std::string& name) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_RETURN_IF_ERROR(FindDataset(*admin, name).status());
  control::v1::ListVersionsRequest request;
  request.set_dataset(name);
  control::v1::ListVersionsResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListVersions(Admin::Call().get(), request, &response)));
  std::vector<Json> json;
  std::vector<std::vector<std::string>> rows;
  for (const auto& v : response.versions()) {
    std::string sites;
    std::vector<Json> site_list;
    for (const auto& s : v.sites()) {
      absl::StrAppend(&sites, sites.empty() ? "" : ",", s);
      site_list.push_back(Text(s));
    }
    auto identity = Digest::From(1, v.identity());
    const std::string hex = identity.ok() ? identity->Hex() : "";
    rows.push_back({absl::StrCat(v.number()), TimeText(v.committed_at()), absl::StrCat(v.files()), FormatBytes(v.logical_bytes()),
                    hex.substr(0, 12), sites.empty() ? "-" : sites, v.message()});
    json.push_back(Object({{"number", Number(v.number())}, {"committedAt", Text(TimeText(v.committed_at()))},
                           {"files", Number(v.files())}, {"entries", Number(v.entries())},
                           {"logicalBytes", Number(v.logical_bytes())}, {"identity", Text(hex)},
                           {"sites", List(std::move(site_list))}, {"message", Text(v.message())}}));
  }
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), {{"versions", List(std::move(json))}});
  } else {
    PrintTable({"NUMBER", "COMMITTED", "FILES", "SIZE", "IDENTITY", "SITES", "MESSAGE"}, rows);
  }
  return absl::OkStatus();
}

absl::Status Diff(const Globals& globals, const std::string& name, uint64_t from, uint64_t to, std::string site) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  if (site.empty()) site = dataset.home_site();
  BW_ASSIGN_OR_RETURN(auto agent, AgentOf(*admin, site));
  agent::v1::DiffRequest request;
  request.set_dataset(name);
  request.set_from(from);
  request.set_to(to);
  auto call = Admin::Call(kLongCall);
  auto stream = agent->Diff(call.get(), request);
  agent::v1::DiffEntry entry;
  std::vector<Json> rows;
  while (stream->Read(&entry)) {
    if (globals.format() == Format::kTable) {
      const char sign = entry.change() == "added" ? '+' : (entry.change() == "removed" ? '-' : '~');
      std::cout << sign << " " << Printable(entry.path()) << "  " << entry.change();
      if (entry.change() == "modified") std::cout << " (" << FormatBytes(entry.old_size()) << " -> " << FormatBytes(entry.new_size()) << ")";
      std::cout << "\n";
    } else {
      rows.push_back(Object({{"path", Text(Printable(entry.path()))}, {"change", Text(entry.change())},
                             {"oldSize", Number(entry.old_size())},
                             {"newSize", Number(entry.new_size())}}));
    }
  }
  BW_RETURN_IF_ERROR(Admin::Error(stream->Finish()));
  if (globals.format() != Format::kTable) PrintJson(globals.format(), {{"entries", List(std::move(rows))}});
  return absl::OkStatus();
}

absl::Status Checkout(const Globals& globals, const std::string& name, uint64_t number, const std::string& directory, std::string site) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  if (site.empty()) site = dataset.home_site();
  BW_ASSIGN_OR_RETURN(auto agent, AgentOf(*admin, site));
  agent::v1::CheckoutRequest request;
  request.set_dataset(name);
  request.set_number(number);
  request.set_directory(std::filesystem::absolute(directory).lexically_normal());
  auto call = Admin::Call(kLongCall);
  auto stream = agent->Checkout(call.get(), request);
  agent::v1::WorkEvent event, last;
  {
    Progress progress("checking out");
    while (stream->Read(&event)) {
      progress.Update(event.done_bytes(), event.total_bytes());
      last = event;
    }
  }
  BW_RETURN_IF_ERROR(Admin::Error(stream->Finish()));
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), {{"dataset", Text(name)}, {"number", Number(number)}, {"site", Text(site)},
                                 {"directory", Text(request.directory())}, {"entries", Number(last.entries())}});
  } else {
    std::cout << name << " version " << number << " is in " << request.directory() << " on the machine of site " << site << "\n";
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Verify(const Globals& globals, const std::string& name, uint64_t number, const std::string& site) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  std::vector<std::string> sites;
  if (!site.empty()) {
    sites.push_back(site);
  } else {
    BW_ASSIGN_OR_RETURN(auto replicas, Replicas(*admin, name));
    for (const auto& r : replicas) {
      if (r.version() != 0) sites.push_back(r.site());
    }
  }
  uint64_t problems = 0;
  std::vector<Json> json;
  for (const std::string& s : sites) {
    BW_ASSIGN_OR_RETURN(auto agent, AgentOf(*admin, s));
    agent::v1::VerifyRequest request;
    request.set_dataset(name);
    request.set_number(number);
    auto call = Admin::Call(kLongCall);
    auto stream = agent->Verify(call.get(), request);
    agent::v1::WorkEvent event, last;
    {
      Progress progress(absl::StrCat("verifying at ", s));
      while (stream->Read(&event)) {
        progress.Update(event.done_bytes(), event.total_bytes());
        last = event;
      }
    }
    BW_RETURN_IF_ERROR(Admin::Error(stream->Finish()));
    problems += last.problem_count();
    std::vector<Json> list;
    for (const auto& p : last.problems()) list.push_back(Text(Printable(p)));
    if (globals.format() == Format::kTable) {
      std::cout << name << " at " << s << ": " << last.versions() << " versions, " << last.checked_chunks() << " chunks, "
                << FormatBytes(last.done_bytes()) << (last.problem_count() == 0 ? ", all true\n" : absl::StrCat(", ", last.problem_count(), " PROBLEMS\n"));
      for (const auto& p : last.problems()) std::cout << "  " << Printable(p) << "\n";
    }
    json.push_back(Object({{"site", Text(s)}, {"versions", Number(last.versions())},
                           {"chunks", Number(last.checked_chunks())},
                           {"bytes", Number(last.done_bytes())},
                           {"problemCount", Number(last.problem_count())}, {"problems", List(std::move(list))}}));
  }
  if (globals.format() != Format::kTable) PrintJson(globals.format(), {{"dataset", Text(name)}, {"sites", List(std::move(json))}});
  return problems == 0 ? 0 : 1;
}

absl::Status Rollback(const Globals& globals, const std::string& name, const std::string& to, const std::string& site, absl::Duration timeout) {
  uint64_t number = 0;
  if (to != "latest") {
    BW_ASSIGN_OR_RETURN(number, ParseVersion(to));
  }
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  control::v1::PinRequest request;
  request.set_dataset(name);
  request.set_number(number);
  request.set_site(site);
  control::v1::PinResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().Pin(Admin::Call().get(), request, &response)));
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  std::vector<Json> rows;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto replicas, Replicas(*admin, name));
    std::string waiting;
    for (const std::string& s : response.sites()) {
      for (const auto& r : replicas) {
        if (r.site() != s) continue;
        const uint64_t want = number == 0 ? r.version() : number;
        if (r.current() != want && r.state() != "offline") absl::StrAppend(&waiting, waiting.empty() ? "" : ", ", s);
      }
    }
    if (waiting.empty()) break;
    if (clock->BootTime() > deadline) return absl::DeadlineExceededError(absl::StrCat("not shown yet at ", waiting));
    clock->SleepFor(absl::Milliseconds(20));
  }
  std::string sites;
  for (const std::string& s : response.sites()) {
    absl::StrAppend(&sites, sites.empty() ? "" : ", ", s);
    rows.push_back(Text(s));
  }
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), {{"dataset", Text(name)}, {"number", Number(number)}, {"sites", List(std::move(rows))}});
  } else if (number == 0) {
    std::cout << name << " follows the newest version again at " << sites << "\n";
  } else {
    std::cout << name << " shows version " << number << " at " << sites << " until: bailiwick dataset rollback " << name << " latest\n";
  }
  return absl::OkStatus();
}

absl::Status WaitVersion(const Globals& globals, const std::string& name, const std::string& version, const std::string& site,
                         absl::Duration timeout) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  BW_ASSIGN_OR_RETURN(auto sites, SitesByName(*admin));
  if (sites.count(site) == 0) return absl::NotFoundError(absl::StrCat("site ", site, " does not exist"));
  uint64_t number = dataset.newest();
  if (version != "latest") {
    BW_ASSIGN_OR_RETURN(number, ParseVersion(version));
  }
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto replicas, Replicas(*admin, name));
    for (const auto& r : replicas) {
      if (r.site() == site && Shows(r, number)) {
        if (globals.format() != Format::kTable) {
          PrintJson(globals.format(), {{"dataset", Text(name)}, {"site", Text(site)}, {"number", Number(r.version())}});
        } else {
          std::cout << site << " holds version " << r.version() << " of " << name << "\n";
        }
        return absl::OkStatus();
      }
    }
    if (clock->BootTime() > deadline) {
      control::v1::WhyRequest request;
      request.set_dataset(name);
      request.set_site(site);
      control::v1::WhyResponse why;
      BW_RETURN_IF_ERROR(admin->Check(admin->control().Why(Admin::Call().get(), request, &why)));
      return absl::DeadlineExceededError(absl::StrCat("timed out after ", FormatAge(timeout), ": version ", number, " of ", name,
                                                      " is not at ", site, ": ", why.sentence()));
    }
    clock->SleepFor(kPoll);
  }
}

std::function<absl::StatusOr<absl::Duration>()> DurationFlag(CLI::App* c, const char* help, const char* fallback) {
  auto text = std::make_shared<std::string>(fallback);
  c->add_option("--timeout", *text, help);
  return [text] { return ParseDuration(*text); };
}

}  // namespace

void RegisterDatasets(CLI::App& app, Globals& globals) {
  auto* dataset = app.add_subcommand("dataset", "commit, versions, diff, checkout, verify, rollback");
  dataset->require_subcommand(1);
  {
    auto* c = dataset->add_subcommand("commit", "make a version of the source directory, at its home");
    auto name = std::make_shared<std::string>(), message = std::make_shared<std::string>();
    auto wait = std::make_shared<bool>(false), changing = std::make_shared<bool>(false), empty = std::make_shared<bool>(false);
    c->add_option("NAME", *name, "dataset, or a family's stream NAME@SITE")->required();
    c->add_option("-m,--message", *message, "kept with the version");
    c->add_flag("--wait", *wait, "until every replica that the law allows holds it");
    auto timeout = DurationFlag(c, "of --wait (default 10m)", "10m");
    c->add_flag("--allow-changing", *changing, "take files that change while they are read as they are");
    c->add_flag("--allow-empty", *empty, "take an empty source for what it is");
    c->footer("Example:\n  bailiwick dataset commit planner --message 'epoch 12' --wait");
    OnRun(c, globals, [&globals, name, message, wait, changing, empty, timeout]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(absl::Duration t, timeout());
      return Commit(globals, *name, *message, *wait, *changing, *empty, t);
    });
  }
  {
    auto* c = dataset->add_subcommand("versions", "what was committed, newest first, and who holds it");
    auto name = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->required();
    c->footer("Example:\n  bailiwick dataset versions planner");
    OnRun(c, globals, [&globals, name] { return Versions(globals, *name); });
  }
  {
    auto* c = dataset->add_subcommand("diff", "what changed between two versions, path by path");
    auto name = std::make_shared<std::string>(), from = std::make_shared<std::string>(), to = std::make_shared<std::string>(),
         site = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->required();
    c->add_option("N", *from, "older version")->required();
    c->add_option("M", *to, "newer version")->required();
    c->add_option("--site", *site, "ask this site (default: the home)");
    c->footer("Example:\n  bailiwick dataset diff planner 3 4");
    OnRun(c, globals, [&globals, name, from, to, site]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(uint64_t n, ParseVersion(*from));
      BW_ASSIGN_OR_RETURN(uint64_t m, ParseVersion(*to));
      return Diff(globals, *name, n, m, *site);
    });
  }
  {
    auto* c = dataset->add_subcommand("checkout", "lay a version out in a new directory on the site's machine");
    auto name = std::make_shared<std::string>(), number = std::make_shared<std::string>(), directory = std::make_shared<std::string>(),
         site = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->required();
    c->add_option("N", *number, "version")->required();
    c->add_option("DIR", *directory, "new or empty directory")->required();
    c->add_option("--site", *site, "at this site (default: the home)");
    c->footer("Example:\n  bailiwick dataset checkout planner 3 /tmp/planner-3");
    OnRun(c, globals, [&globals, name, number, directory, site]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(uint64_t n, ParseVersion(*number));
      return Checkout(globals, *name, n, *directory, *site);
    });
  }
  {
    auto* c = dataset->add_subcommand("verify", "read everything back and check it against its digests; exit code 1 when something is wrong");
    auto name = std::make_shared<std::string>(), number = std::make_shared<std::string>("0"), site = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->required();
    c->add_option("--version", *number, "one version (default: all)");
    c->add_option("--site", *site, "one site (default: every site that holds it)");
    c->footer("Example:\n  bailiwick dataset verify planner --site core");
    OnRunCode(c, globals, [&globals, name, number, site]() -> absl::StatusOr<int> {
      BW_ASSIGN_OR_RETURN(uint64_t n, ParseVersion(*number, 0));
      return Verify(globals, *name, n, *site);
    });
  }
  {
    auto* c = dataset->add_subcommand("rollback", "show an older version at the replicas, until told to follow the latest again");
    auto name = std::make_shared<std::string>(), number = std::make_shared<std::string>(), site = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->required();
    c->add_option("N", *number, "version, or latest")->required();
    c->add_option("--site", *site, "at one site (default: at every replica that holds it)");
    auto timeout = DurationFlag(c, "how long to wait until it is shown (default 30s)", "30s");
    c->footer("Examples:\n  bailiwick dataset rollback planner 3\n  bailiwick dataset rollback planner latest");
    OnRun(c, globals, [&globals, name, number, site, timeout]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(absl::Duration t, timeout());
      return Rollback(globals, *name, *number, *site, t);
    });
  }
  auto* wait = app.add_subcommand("wait", "wait for something");
  wait->require_subcommand(1);
  auto* c = wait->add_subcommand("dataset", "until a site holds a version or a newer one; exit code 6 when it does not in time");
  auto name = std::make_shared<std::string>(), version = std::make_shared<std::string>("latest"), site = std::make_shared<std::string>();
  c->add_option("NAME", *name, "dataset")->required();
  c->add_option("--version", *version, "number (default: latest)");
  c->add_option("--site", *site, "site")->required();
  auto timeout = DurationFlag(c, "how long (default 10m)", "10m");
  c->footer("Example:\n  bailiwick wait dataset planner --version 4 --site core --timeout 5m");
  OnRun(c, globals, [&globals, name, version, site, timeout]() -> absl::Status {
    BW_ASSIGN_OR_RETURN(absl::Duration t, timeout());
    return WaitVersion(globals, *name, *version, *site, t);
  });
}

}  // namespace bailiwick::cli
