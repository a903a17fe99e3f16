#include "services/cli/dev/dev.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/files.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/yes_flag.h"
#include "services/cli/dev/fleet.h"

namespace bailiwick::cli {
namespace {

// --dir, else the context's directory, else ./bailiwick-dev.
std::string DirectoryOf(const std::string& flag, const Globals& globals) {
  if (!flag.empty()) return flag;
  std::string context = globals.context;
  if (const char* env = std::getenv("BAILIWICK_CONTEXT"); context.empty() && env != nullptr) context = env;
  if (context.empty()) return "bailiwick-dev";
  // A context may be named by its file.
  const std::filesystem::path path(context);
  if (path.filename() != "context.yaml") return context;
  return path.has_parent_path() ? path.parent_path().string() : ".";
}

absl::Status Up(const Globals& globals, const std::string& directory, const std::vector<std::string>& texts,
                bool dry_run) {
  std::vector<FleetSite> sites;
  for (const std::string& text : texts) {
    BW_ASSIGN_OR_RETURN(FleetSite site, Fleet::ParseSite(text));
    sites.push_back(std::move(site));
  }
  if (sites.empty()) {
    BW_RETURN_IF_ERROR(Fleet::Load(directory).status());  // without --site only an existing fleet can come up
  }
  if (dry_run) {
    BW_ASSIGN_OR_RETURN(const std::vector<std::string> effects, Fleet::TryUp(directory, sites));
    return SayTried(globals, effects, "");
  }
  BW_ASSIGN_OR_RETURN(Fleet fleet, Fleet::OpenOrCreate(directory));
  BW_RETURN_IF_ERROR(fleet.Up(sites));
  std::cout << "\nuse it with:  export BAILIWICK_CONTEXT=" << fleet.directory() << "\nthen:         bailiwick status\n"
            << "stop it with: bailiwick dev down --dir " << fleet.directory() << "\n";
  return absl::OkStatus();
}

absl::Status Status(const Globals& globals, const std::string& directory) {
  BW_ASSIGN_OR_RETURN(Fleet fleet, Fleet::Load(directory));
  std::vector<Json> json;
  std::vector<std::vector<std::string>> rows;
  auto add = [&](const std::string& name, const Process& process) {
    const bool alive = Alive(process);
    rows.push_back({name, alive ? "running" : "stopped", alive ? absl::StrCat(process.pid) : "-", fleet.Address(name),
                    fleet.LogOf(name)});
    json.push_back(Object({{"name", Text(name)},
                           {"running", Bool(alive)},
                           {"pid", Number(alive ? process.pid : 0)},
                           {"address", Text(fleet.Address(name))},
                           {"log", Text(fleet.LogOf(name))}}));
  };
  add("coordinator", fleet.coordinator());
  for (const auto& [name, site] : fleet.sites()) add(name, site.process);
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), {{"directory", Text(fleet.directory())}, {"processes", List(std::move(json))}});
  } else {
    PrintTable({"PROCESS", "STATE", "PID", "ADDRESS", "LOG"}, rows);
  }
  return absl::OkStatus();
}

absl::Status TryDown(const Globals& globals, const std::string& directory, bool purge) {
  BW_ASSIGN_OR_RETURN(Fleet fleet, Fleet::Load(directory));
  std::vector<std::string> effects;
  for (const auto& [name, site] : fleet.sites()) {
    if (Alive(site.process)) effects.push_back(absl::StrCat(name, " is stopped"));
  }
  if (Alive(fleet.coordinator())) effects.push_back("coordinator is stopped");
  if (purge) effects.push_back(absl::StrCat(fleet.directory(), " is removed, with all data in it"));
  if (effects.empty()) effects.push_back("nothing is running");
  return SayTried(globals, effects, "");
}

}  // namespace

void RegisterDev(CLI::App& app, Globals& globals) {
  auto* dev = app.add_subcommand("dev", "a fleet on this machine: a coordinator and an agent for each site");
  dev->require_subcommand(1);
  dev->footer("Example:\n  bailiwick dev up --dir fleet --site factory=eu/de/fra --site core=eu/de");
  auto dir = std::make_shared<std::string>();
  auto add_dir = [dir](CLI::App* c) {
    c->add_option("--dir", *dir, "directory of the fleet (default: the context's, else ./bailiwick-dev)")
        ->type_name("PATH");
  };
  {
    auto* c = dev->add_subcommand("up", "start the fleet; makes what is missing, joins new sites");
    auto sites = std::make_shared<std::vector<std::string>>();
    add_dir(c);
    c->add_option("--site", *sites, "NAME=REGION[,label=value...], again for each site");
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick dev up --dir fleet --site factory=eu/de/fra,tier=edge --site core=eu/de");
    OnRun(c, globals,
          [&globals, dir, sites, dry_run] { return Up(globals, DirectoryOf(*dir, globals), *sites, *dry_run); });
  }
  {
    auto* c = dev->add_subcommand("status", "which processes run");
    add_dir(c);
    c->footer("Example:\n  bailiwick dev status --dir fleet");
    OnRun(c, globals, [&globals, dir] { return Status(globals, DirectoryOf(*dir, globals)); });
  }
  auto single = [&](const char* verb, const char* help, bool starts, const char* effect,
                    std::function<absl::Status(Fleet&, const std::string&)> act) {
    auto* c = dev->add_subcommand(verb, help);
    auto name = std::make_shared<std::string>();
    add_dir(c);
    c->add_option("NAME", *name, "a site, or coordinator")->required();
    c->footer(absl::StrCat("Example:\n  bailiwick dev ", verb, " core"));
    auto dry_run = DryRunFlag(c);
    OnRun(c, globals, [&globals, dir, name, dry_run, starts, effect, act = std::move(act)]() -> absl::Status {
      if (*dry_run) {
        BW_ASSIGN_OR_RETURN(Fleet fleet, Fleet::Load(DirectoryOf(*dir, globals)));
        BW_ASSIGN_OR_RETURN(const Process process, fleet.Find(*name));
        return SayTried(globals,
                        {Alive(process) != starts ? absl::StrCat(*name, " is ", effect)
                                                  : absl::StrCat(*name, " is ", starts ? "running" : "not running")},
                        "");
      }
      BW_ASSIGN_OR_RETURN(Fleet fleet, Fleet::Open(DirectoryOf(*dir, globals)));
      return act(fleet, *name);
    });
  };
  single("start", "start one process", true, "started",
         [](Fleet& fleet, const std::string& name) { return fleet.Start(name); });
  single("stop", "stop one process in good order", false, "stopped",
         [](Fleet& fleet, const std::string& name) { return fleet.Stop(name, absl::Seconds(10)); });
  single("kill", "SIGKILL one process: what a power cut looks like", false, "killed",
         [](Fleet& fleet, const std::string& name) { return fleet.Stop(name, absl::ZeroDuration()); });
  {
    auto* c = dev->add_subcommand("down", "stop every process of the fleet");
    auto purge = std::make_shared<bool>(false);
    auto yes = YesFlag(c);
    add_dir(c);
    c->add_flag("--purge", *purge, "remove the directory too, with all data in it");
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick dev down --dir fleet --purge");
    OnRun(c, globals, [&globals, dir, purge, yes, dry_run]() -> absl::Status {
      if (*dry_run) return TryDown(globals, DirectoryOf(*dir, globals), *purge);
      BW_ASSIGN_OR_RETURN(Fleet fleet, Fleet::Open(DirectoryOf(*dir, globals)));
      if (!*purge) return fleet.Down();
      BW_RETURN_IF_ERROR(Confirm(globals, *yes, absl::StrCat("Remove ", fleet.directory(), " with all data in it?"),
                                 "nothing was stopped or removed"));
      return fleet.Purge();
    });
  }
}

}  // namespace bailiwick::cli
