// wait ..., and what other commands wait for.
#include <algorithm>
#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "services/cli/commands/named.h"
#include "services/cli/commands/transfer_progress.h"

namespace bailiwick::cli {
namespace {

// Most changes are everywhere within a tenth of a second: looks often at first, then seldom.
class Pauses {
 public:
  void Sleep() {
    os::Clock::System()->SleepFor(next_);
    next_ = std::min(next_ * 1.5, absl::Milliseconds(100));
  }

 private:
  absl::Duration next_ = absl::Milliseconds(5);
};

// Whether the home has other content under the number, or one before it, than what it announced and others hold.
bool Contradicts(const control::v1::Replica& r, uint64_t number) {
  return r.role() == "home" && r.state() == "conflict" && number > r.version();
}

absl::Status Contradiction(const control::v1::Replica& r, uint64_t number) {
  return absl::FailedPreconditionError(absl::StrCat("version ", number, " of ", r.dataset(), " at its home ", r.site(),
                                                    " counts for nobody: ", r.reason()));
}

absl::Status WaitVersion(const Globals& globals, const std::string& name, const std::string& version,
                         const std::string& site, absl::Duration timeout) {
  uint64_t number = 0;  // the newest
  if (version != "latest") {
    BW_ASSIGN_OR_RETURN(number, ParseVersion(version));
  }
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  BW_ASSIGN_OR_RETURN(auto sites, SitesByName(*admin));
  if (sites.count(site) == 0) return NoSite(sites, site);
  if (number == 0) number = dataset.newest();
  if (number == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("dataset ", name, " has no version yet; run: bailiwick dataset commit ", name));
  }
  const os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  TransferProgress progress(admin.get(), name, site);
  Pauses pauses;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto replicas, Patiently(deadline, [&] { return Replicas(*admin, name); }));
    for (const auto& r : replicas) {
      if (Contradicts(r, number)) return Contradiction(r, number);
    }
    for (const auto& r : replicas) {
      if (r.site() != site || !Shows(r, number)) continue;
      progress.Clear();
      if (globals.table()) {
        std::cout << site << " holds version " << r.version() << " of " << name << "\n";
      } else {
        PrintJson(globals.format(), {{"dataset", Text(name)}, {"site", Text(site)}, {"number", Number(r.version())}});
      }
      return absl::OkStatus();
    }
    if (clock->BootTime() >= deadline) {
      auto why = AskWhy(*admin, name, site);
      const std::string cause = !why.ok() ? std::string(why.status().message())
                                : why->satisfied() && number > dataset.newest()
                                    ? absl::StrCat("nobody has committed it; the newest is ", why->version())
                                    : why->sentence();
      return absl::DeadlineExceededError(absl::StrCat("timed out after ", FormatAge(timeout), ": version ", number,
                                                      " of ", name, " is not at ", site, ": ", cause));
    }
    progress.Look();
    pauses.Sleep();
  }
}

// What is asked again until it is so. The sentence says what is not yet; empty: it is so.
absl::Status Await(absl::Duration timeout, const std::function<absl::StatusOr<std::string>()>& missing) {
  const os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  Pauses pauses;
  while (true) {
    BW_ASSIGN_OR_RETURN(const std::string sentence, Patiently(deadline, missing));
    if (sentence.empty()) return absl::OkStatus();
    if (clock->BootTime() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat("timed out after ", FormatAge(timeout), ": ", sentence));
    }
    pauses.Sleep();
  }
}

absl::Status WaitSite(const Globals& globals, const std::string& name, bool approved, absl::Duration timeout) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  auto missing = [&]() -> absl::StatusOr<std::string> {
    BW_ASSIGN_OR_RETURN(const SiteStates states, ReadSiteStates(*admin));
    const auto site = states.sites.find(name);
    if (site == states.sites.end()) return NoSite(states.sites, name);
    const std::string state = states.Of(name);
    if (state == "not joined") {
      return absl::StrCat("no agent of site ", name, " has joined; run: bailiwick site join-token ", name);
    }
    if (state != "connected") return absl::StrCat("the agent of site ", name, " is ", state);
    if (!approved || site->second.approved()) return "";
    return absl::StrCat("site ", name, " is connected, but not approved; run: bailiwick site approve ", name);
  };
  BW_RETURN_IF_ERROR(Await(timeout, missing));
  if (globals.table()) {
    std::cout << "site " << name << " is connected" << (approved ? " and approved" : "") << "\n";
  } else {
    PrintJson(globals.format(), {{"site", Text(name)}, {"state", Text(approved ? "approved" : "connected")}});
  }
  return absl::OkStatus();
}

// Of the sites that have an agent, whose word counts.
std::vector<std::string> Governed(const SiteStates& states) {
  std::vector<std::string> names;
  for (const auto& [name, site] : states.sites) {
    if (!site.agent().empty() && !states.Revoked(name)) names.push_back(name);
  }
  return names;
}

absl::Status WaitPolicy(const Globals& globals, uint64_t revision, std::vector<std::string> sites,
                        absl::Duration timeout) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::GetInfoResponse info;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().GetInfo(Admin::Call().get(), {}, &info)));
  if (revision == 0) revision = info.policy_revision();
  const bool all = sites.empty();
  auto missing = [&]() -> absl::StatusOr<std::string> {
    BW_ASSIGN_OR_RETURN(const SiteStates states, ReadSiteStates(*admin));
    if (all) sites = Governed(states);
    std::vector<std::string> without;
    for (const std::string& name : sites) {
      const auto site = states.sites.find(name);
      if (site == states.sites.end()) return NoSite(states.sites, name);
      if (site->second.policy_revision() >= revision) continue;
      without.push_back(absl::StrCat(name, " (", states.Of(name), ", has ", site->second.policy_revision(),
                                     site->second.policy_error().empty() ? "" : ": ", site->second.policy_error(),
                                     ")"));
    }
    if (without.empty()) return "";
    return absl::StrCat("policy revision ", revision, " is not installed at ", absl::StrJoin(without, ", "));
  };
  BW_RETURN_IF_ERROR(Await(timeout, missing));
  if (globals.table()) {
    std::cout << "policy revision " << revision << " is installed at "
              << (sites.empty() ? "every site: none has an agent" : absl::StrJoin(sites, ", ")) << "\n";
  } else {
    PrintJson(globals.format(), {{"policyRevision", Number(revision)}, {"sites", Texts(sites)}});
  }
  return absl::OkStatus();
}

void RegisterWaitSite(CLI::App& wait, Globals& globals) {
  auto* c =
      wait.add_subcommand("site", "until a site's agent is connected and approved; exit code 6 when it is not in time");
  auto name = std::make_shared<std::string>(), what = std::make_shared<std::string>("approved");
  c->add_option("NAME", *name, "site")->type_name("SITE")->required();
  c->add_option("--for", *what, "connected, or approved as well (default)")
      ->check(CLI::IsMember({"connected", "approved"}));
  auto timeout = TimeoutFlag(c, "how long (default 10m)", "10m");
  c->footer("Example:\n  bailiwick wait site core --for connected --timeout 2m");
  OnRun(c, globals, [&globals, name, what, timeout]() -> absl::Status {
    BW_ASSIGN_OR_RETURN(absl::Duration t, timeout());
    return WaitSite(globals, *name, *what == "approved", t);
  });
}

void RegisterWaitPolicy(CLI::App& wait, Globals& globals) {
  auto* c = wait.add_subcommand(
      "policy", "until every agent has installed a revision of the law; exit code 6 when one has not in time");
  auto revision = std::make_shared<std::string>("latest");
  auto sites = std::make_shared<std::vector<std::string>>();
  c->add_option("--revision", *revision, "number (default: latest, the newest when the wait begins)");
  c->add_option("--site", *sites, "these sites only (default: every one with an agent that is not revoked)")
      ->type_name("SITE");
  auto timeout = TimeoutFlag(c, "how long (default 10m)", "10m");
  c->footer("Examples:\n  bailiwick wait policy\n  bailiwick wait policy --revision 12 --site core --timeout 1m");
  OnRun(c, globals, [&globals, revision, sites, timeout]() -> absl::Status {
    BW_ASSIGN_OR_RETURN(absl::Duration t, timeout());
    uint64_t number = 0;
    if (*revision != "latest" && (!absl::SimpleAtoi(*revision, &number) || number == 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", *revision, "\" is not a revision; see: bailiwick policy history"));
    }
    return WaitPolicy(globals, number, *sites, t);
  });
}

}  // namespace

bool Shows(const control::v1::Replica& r, uint64_t number) {
  return r.version() >= number && (r.role() == "home" || !r.materialize() || r.current() >= number || r.pinned() != 0);
}

absl::Status WaitForReplicas(Admin& admin, const std::string& dataset, uint64_t number, absl::Duration timeout) {
  const os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  TransferProgress progress(&admin, dataset);
  Pauses pauses;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto replicas, Patiently(deadline, [&] { return Replicas(admin, dataset); }));
    std::string missing;
    bool known = false;
    for (const auto& r : replicas) {
      if (Contradicts(r, number)) return Contradiction(r, number);
      // One that is away has not said yet whether what the coordinator knows under the number is what it committed.
      known |= r.role() == "home" && r.newest() >= number && r.state() != "offline";
      if (r.role() == "home" || r.state() == "denied" || r.state() == "unwanted" || Shows(r, number)) continue;
      absl::StrAppend(&missing, missing.empty() ? "" : "; ", r.site(), ": ",
                      r.reason().empty() ? r.state() : r.reason());
    }
    if (known && missing.empty()) return absl::OkStatus();
    if (clock->BootTime() >= deadline) {
      if (missing.empty()) missing = "the coordinator has not heard of it";
      return absl::DeadlineExceededError(absl::StrCat("timed out after ", FormatAge(timeout), ": version ", number,
                                                      " of ", dataset, " is committed, but not everywhere: ", missing));
    }
    progress.Look();
    pauses.Sleep();
  }
}

void RegisterWait(CLI::App& app, Globals& globals) {
  auto* wait = app.add_subcommand("wait", "wait for something");
  wait->require_subcommand(1);
  wait->footer("Example:\n  bailiwick wait dataset planner --version 4 --site core");
  auto* c = wait->add_subcommand("dataset",
                                 "until a site holds a version or a newer one; exit code 6 when it does not in time");
  auto name = std::make_shared<std::string>(), version = std::make_shared<std::string>("latest"),
       site = std::make_shared<std::string>();
  c->add_option("NAME", *name, "dataset, or a family's stream NAME@SITE")->type_name("DATASET")->required();
  c->add_option("--version", *version, "number (default: latest, the newest when the wait begins)");
  c->add_option("--site", *site, "site")->type_name("SITE")->required();
  auto timeout = TimeoutFlag(c, "how long (default 10m)", "10m");
  c->footer("Example:\n  bailiwick wait dataset planner --version 4 --site core --timeout 5m");
  OnRun(c, globals, [&globals, name, version, site, timeout]() -> absl::Status {
    BW_ASSIGN_OR_RETURN(absl::Duration t, timeout());
    return WaitVersion(globals, *name, *version, *site, t);
  });
  RegisterWaitSite(*wait, globals);
  RegisterWaitPolicy(*wait, globals);
}

}  // namespace bailiwick::cli
