// wait ..., and what other commands wait for.
#include <algorithm>
#include <iostream>

#include "common/base/status.h"
#include "common/base/units.h"
#include "services/cli/commands/command.h"

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

absl::Status WaitVersion(const Globals& globals, const std::string& name, const std::string& version,
                         const std::string& site, absl::Duration timeout) {
  uint64_t number = 0;  // the newest
  if (version != "latest") {
    BW_ASSIGN_OR_RETURN(number, ParseVersion(version, 0));
  }
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  BW_ASSIGN_OR_RETURN(auto sites, SitesByName(*admin));
  if (sites.count(site) == 0)
    return absl::NotFoundError(absl::StrCat("site ", site, " does not exist; see: bailiwick get sites"));
  if (number == 0) number = dataset.newest();
  if (number == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("dataset ", name, " has no version yet; run: bailiwick dataset commit ", name));
  }
  const os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  Pauses pauses;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto replicas, Patiently(deadline, [&] { return Replicas(*admin, name); }));
    for (const auto& r : replicas) {
      if (r.site() != site || !Shows(r, number)) continue;
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
    pauses.Sleep();
  }
}

}  // namespace

bool Shows(const control::v1::Replica& r, uint64_t number) {
  return r.version() >= number && (r.role() == "home" || !r.materialize() || r.current() >= number || r.pinned() != 0);
}

absl::Status WaitForReplicas(Admin& admin, const std::string& dataset, uint64_t number, absl::Duration timeout) {
  const os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + timeout;
  Pauses pauses;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto replicas, Patiently(deadline, [&] { return Replicas(admin, dataset); }));
    std::string missing;
    bool known = false;
    for (const auto& r : replicas) {
      known |= r.role() == "home" && r.newest() >= number;
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
}

}  // namespace bailiwick::cli
