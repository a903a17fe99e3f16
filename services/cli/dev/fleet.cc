#include "services/cli/dev/fleet.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <filesystem>
#include <iostream>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/config/world.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {
namespace {

constexpr const char* kTrustDomain = "dev.bailiwick";
constexpr absl::Duration kPortPatience = absl::Seconds(2);  // for one that somebody killed a moment ago
constexpr absl::Duration kStartTimeout = absl::Seconds(30);
constexpr absl::Duration kConnectTimeout = absl::Seconds(60);
constexpr absl::Duration kLockTimeout = absl::Seconds(60);
constexpr absl::Duration kStopPatience = absl::Seconds(10);
constexpr const char* kLockName = "fleet.lock";

using google::protobuf::Struct;
using google::protobuf::Value;

double NumberOf(const Struct& s, const std::string& key) {
  auto it = s.fields().find(key);
  return it == s.fields().end() ? 0 : it->second.number_value();
}
std::string TextOf(const Struct& s, const std::string& key) {
  auto it = s.fields().find(key);
  return it == s.fields().end() ? "" : it->second.string_value();
}
void Set(Struct* s, const std::string& key, double n) { (*s->mutable_fields())[key].set_number_value(n); }
void Set(Struct* s, const std::string& key, const std::string& t) { (*s->mutable_fields())[key].set_string_value(t); }

void Step(const std::string& text) { std::cout << text << std::endl; }

std::string Absolute(const std::string& directory) {
  std::error_code error;
  std::string path = std::filesystem::absolute(directory, error).lexically_normal();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string Loopback(int port) { return absl::StrCat("127.0.0.1:", port); }

absl::Status NotMade(const std::string& directory, const std::string& who) {
  return absl::FailedPreconditionError(
      absl::StrCat(who, " was never completely made; run: bailiwick dev up --dir ", directory));
}

// A document of YAML for each region on the way to this one.
std::string RegionYaml(const std::string& region, std::set<std::string>* written) {
  std::string out, path;
  for (absl::string_view part : absl::StrSplit(region, '/')) {
    absl::StrAppend(&path, path.empty() ? "" : "/", part);
    if (!written->insert(path).second) continue;
    absl::StrAppend(&out, "---\napiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: ", path, "}\nspec: {}\n");
  }
  return out;
}

// `key`: id of the site's storage key, declared for its region; may be empty.
std::string SiteYaml(const FleetSite& site, const std::string& key) {
  std::string labels;
  for (const auto& [k, v] : site.labels) absl::StrAppend(&labels, labels.empty() ? "" : ", ", k, ": \"", v, "\"");
  return absl::StrCat("---\napiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: ", site.name, ", labels: {", labels,
                      "}}\nspec: {region: ", site.region,
                      key.empty() ? "" : absl::StrCat(", storageKeys: [{id: ", key, ", region: ", site.region, "}]"),
                      "}\n");
}

// A fleet is begun anew and purged as a whole, so nothing of somebody else's may lie in its directory.
absl::Status CheckUnused(const std::string& directory) {
  auto names = os::Files::System()->List(directory);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  BW_RETURN_IF_ERROR(names.status());
  std::erase(*names, kLockName);
  if (names->empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(directory, " holds other files (", (*names)[0],
                                                    ") and no fleet; name an empty or a new directory with --dir"));
}

}  // namespace

std::string Fleet::SiteDirectory(const std::string& name) const {
  return os::JoinPath(os::JoinPath(directory_, "sites"), name);
}
std::string Fleet::LogOf(const std::string& name) const {
  return name == "coordinator" ? os::JoinPath(directory_, "coordinator.log") : SiteDirectory(name) + ".log";
}
std::string Fleet::Address(const std::string& name) const {
  if (name == "coordinator") return Loopback(control_port_);
  auto it = sites_.find(name);
  return it == sites_.end() ? "" : Loopback(it->second.port);
}

absl::StatusOr<FleetSite> Fleet::ParseSite(const std::string& text) {
  const absl::Status bad = absl::InvalidArgumentError(
      absl::StrCat("--site ", text, ": write NAME=REGION[,label=value...], e.g. factory=eu/de/fra,tier=edge"));
  std::vector<std::string> parts = absl::StrSplit(text, ',');
  std::vector<std::string> head = absl::StrSplit(parts[0], absl::MaxSplits('=', 1));
  if (head.size() != 2 || head[0].empty() || head[1].empty()) return bad;
  FleetSite site;
  site.name = head[0];
  site.region = head[1];
  if (site.name == "coordinator") return absl::InvalidArgumentError("a site cannot be called coordinator");
  for (size_t i = 1; i < parts.size(); ++i) {
    std::vector<std::string> label = absl::StrSplit(parts[i], absl::MaxSplits('=', 1));
    if (label.size() != 2 || label[0].empty()) return bad;
    site.labels[label[0]] = label[1];
  }
  // Names and labels are checked as resources are, before anything is made.
  std::set<std::string> regions;
  auto parsed =
      config::ParseYaml(RegionYaml(site.region, &regions) + SiteYaml(site, ""), absl::StrCat("--site ", text));
  if (!parsed.ok()) return parsed.status();
  return site;
}

absl::StatusOr<Fleet> Fleet::Load(const std::string& directory) {
  Fleet fleet;
  fleet.directory_ = Absolute(directory);
  auto text = os::ReadFile(os::Files::System(), os::JoinPath(fleet.directory_, "fleet.json"), 16 << 20);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat("there is no fleet in ", fleet.directory_, "; run: bailiwick dev up --dir ",
                                            fleet.directory_, " --site NAME=REGION"));
  }
  BW_RETURN_IF_ERROR(text.status());
  Struct root;
  if (!google::protobuf::util::JsonStringToMessage(*text, &root).ok()) {
    return absl::DataLossError(absl::StrCat(fleet.directory_, "/fleet.json cannot be read"));
  }
  fleet.initialized_ = NumberOf(root, "initialized") != 0;
  fleet.control_port_ = static_cast<int>(NumberOf(root, "controlPort"));
  fleet.join_port_ = static_cast<int>(NumberOf(root, "joinPort"));
  fleet.health_port_ = static_cast<int>(NumberOf(root, "healthPort"));
  fleet.coordinator_ = {static_cast<int>(NumberOf(root, "pid")), static_cast<uint64_t>(NumberOf(root, "startTicks"))};
  auto sites = root.fields().find("sites");
  if (sites == root.fields().end()) return fleet;
  for (const auto& value : sites->second.list_value().values()) {
    const Struct& s = value.struct_value();
    FleetSite site;
    site.name = TextOf(s, "name");
    site.region = TextOf(s, "region");
    site.port = static_cast<int>(NumberOf(s, "port"));
    site.joined = NumberOf(s, "joined") != 0;
    site.process = {static_cast<int>(NumberOf(s, "pid")), static_cast<uint64_t>(NumberOf(s, "startTicks"))};
    if (auto labels = s.fields().find("labels"); labels != s.fields().end()) {
      for (const auto& [k, v] : labels->second.struct_value().fields()) site.labels[k] = v.string_value();
    }
    fleet.sites_[site.name] = site;
  }
  return fleet;
}

absl::Status Fleet::Lock() {
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + kLockTimeout;
  while (true) {
    auto lock = os::Files::System()->Lock(os::JoinPath(directory_, kLockName));
    if (lock.ok()) {
      lock_ = *std::move(lock);
      return absl::OkStatus();
    }
    if (!absl::IsFailedPrecondition(lock.status())) return lock.status();
    if (clock->BootTime() > deadline) return Annotate(lock.status(), "another dev command works on this fleet");
    clock->SleepFor(absl::Milliseconds(50));
  }
}

absl::StatusOr<Fleet> Fleet::Open(const std::string& directory) {
  BW_ASSIGN_OR_RETURN(Fleet looked, Load(directory));
  BW_RETURN_IF_ERROR(looked.Lock());
  BW_ASSIGN_OR_RETURN(Fleet fleet, Load(directory));  // as the command before left it
  fleet.lock_ = std::move(looked.lock_);
  return fleet;
}

absl::StatusOr<Fleet> Fleet::OpenOrCreate(const std::string& directory) {
  auto opened = Open(directory);
  if (!absl::IsNotFound(opened.status())) return opened;
  Fleet fleet;
  fleet.directory_ = Absolute(directory);
  os::Files* files = os::Files::System();
  BW_RETURN_IF_ERROR(files->MakeDirs(fleet.directory_));
  BW_RETURN_IF_ERROR(CheckUnused(fleet.directory_));
  BW_RETURN_IF_ERROR(fleet.Lock());
  if (auto made = Load(directory); made.ok()) {  // by the command that had the lock
    made->lock_ = std::move(fleet.lock_);
    return made;
  }
  BW_RETURN_IF_ERROR(files->MakeDirs(os::JoinPath(fleet.directory_, "sites")));
  BW_RETURN_IF_ERROR(fleet.Save());
  return fleet;
}

absl::Status Fleet::Save() const {
  Struct root;
  Set(&root, "version", 1);
  Set(&root, "initialized", initialized_ ? 1 : 0);
  Set(&root, "controlPort", control_port_);
  Set(&root, "joinPort", join_port_);
  Set(&root, "healthPort", health_port_);
  Set(&root, "pid", coordinator_.pid);
  Set(&root, "startTicks", static_cast<double>(coordinator_.start_ticks));
  auto* list = (*root.mutable_fields())["sites"].mutable_list_value();
  for (const auto& [name, site] : sites_) {
    Struct* s = list->add_values()->mutable_struct_value();
    Set(s, "name", name);
    Set(s, "region", site.region);
    Set(s, "port", site.port);
    Set(s, "joined", site.joined ? 1 : 0);
    Set(s, "pid", site.process.pid);
    Set(s, "startTicks", static_cast<double>(site.process.start_ticks));
    Struct* labels = (*s->mutable_fields())["labels"].mutable_struct_value();
    for (const auto& [k, v] : site.labels) Set(labels, k, v);
  }
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(root, &text).ok())
    return absl::InternalError("cannot write fleet.json");
  return os::WriteFileAtomically(os::Files::System(), os::JoinPath(directory_, "fleet.json"), text + "\n");
}

absl::StatusOr<Process> Fleet::Find(const std::string& name) const {
  if (name == "coordinator") return coordinator_;
  auto it = sites_.find(name);
  if (it != sites_.end()) return it->second.process;
  std::string names = "coordinator";
  for (const auto& [n, site] : sites_) absl::StrAppend(&names, ", ", n);
  return absl::NotFoundError(absl::StrCat("the fleet in ", directory_, " has no ", name, "; it has: ", names));
}

absl::StatusOr<FleetSite*> Fleet::FindSite(const std::string& name) {
  BW_RETURN_IF_ERROR(Find(name).status());
  return &sites_.at(name);
}

std::set<int> Fleet::Ports() const {
  std::set<int> ports = {control_port_, join_port_, health_port_};
  for (const auto& [name, site] : sites_) ports.insert(site.port);
  return ports;
}

absl::StatusOr<int> Fleet::ChoosePort() {
  BW_ASSIGN_OR_RETURN(HeldPort held, FreePort(Ports()));
  held_.push_back(std::move(held));
  return held_.back().number();
}

absl::Status Fleet::CheckPorts(const std::string& who, const std::vector<int>& ports) const {
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + kPortPatience;
  for (int port : ports) {
    while (PortIsTaken(port) && clock->BootTime() < deadline) clock->SleepFor(absl::Milliseconds(50));
    if (!PortIsTaken(port)) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("port ", port, " of ", who, " is taken by another process; stop that one (ss -ltnp shows it)"));
  }
  return absl::OkStatus();
}

absl::Status Fleet::WaitForFile(const std::string& path, const Process& process, const std::string& log) {
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + kStartTimeout;
  while (clock->BootTime() < deadline) {
    BW_ASSIGN_OR_RETURN(bool there, os::Files::System()->Exists(path));
    if (there) return absl::OkStatus();
    if (!Alive(process)) {
      return absl::UnavailableError(
          absl::StrCat("the process ended at once; the last lines of ", log, ":", LastLines(log, 5)));
    }
    clock->SleepFor(absl::Milliseconds(20));
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "the process does not serve after ", absl::FormatDuration(kStartTimeout), "; see ", log, ":", LastLines(log, 5)));
}

absl::Status Fleet::Init() {
  os::Files* files = os::Files::System();
  const std::string data = os::JoinPath(directory_, "coordinator");
  const std::string keys = os::JoinPath(directory_, "keys");
  for (int* port : {&control_port_, &join_port_, &health_port_}) {
    BW_ASSIGN_OR_RETURN(*port, ChoosePort());
  }
  // An init that was interrupted is begun anew: nothing has joined yet.
  BW_RETURN_IF_ERROR(files->RemoveTree(data));
  BW_RETURN_IF_ERROR(RunToEnd({os::JoinPath(BinaryDirectory(), "bailiwick-coordinator"), "init", "--data-dir", data,
                               "--trust-domain", kTrustDomain, "--admin-dir", os::JoinPath(directory_, "admin")}));
  BW_RETURN_IF_ERROR(files->MakeDirs(keys));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey key, crypto::SigningKey::Generate());
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(keys, "policy.pem"), key.ToPem()));
  config::PolicyRoot root;
  root.keys = {key.public_key()};
  BW_RETURN_IF_ERROR(SaveContext({.directory = directory_,
                                  .coordinator = Loopback(control_port_),
                                  .trust_domain = kTrustDomain,
                                  .credentials = "admin",
                                  .policy_keys = {"keys/policy.pem"},
                                  .policy_root_sha256 = config::PolicyRootSha256(root)}));
  initialized_ = true;
  return Save();
}

absl::Status Fleet::StartCoordinator() {
  if (Alive(coordinator_)) return absl::OkStatus();
  if (!initialized_) return NotMade(directory_, "the coordinator");
  BW_RETURN_IF_ERROR(CheckPorts("the coordinator", {control_port_, join_port_, health_port_}));
  os::Files* files = os::Files::System();
  const std::string data = os::JoinPath(directory_, "coordinator");
  const std::string endpoints = os::JoinPath(data, "endpoints.json");
  absl::Status stale = files->Remove(endpoints);
  if (!stale.ok() && !absl::IsNotFound(stale)) return stale;
  BW_ASSIGN_OR_RETURN(
      coordinator_, StartDaemon({os::JoinPath(BinaryDirectory(), "bailiwick-coordinator"), "serve", "--data-dir", data,
                                 "--control-listen", Loopback(control_port_), "--join-listen", Loopback(join_port_),
                                 "--health-listen", Loopback(health_port_), "--metrics-listen", Loopback(0)},
                                LogOf("coordinator")));
  BW_RETURN_IF_ERROR(Save());
  BW_RETURN_IF_ERROR(Annotate(WaitForFile(endpoints, coordinator_, LogOf("coordinator")), "coordinator"));
  Step(absl::StrCat("coordinator: serving on ", Loopback(control_port_), ", pid ", coordinator_.pid));
  return absl::OkStatus();
}

absl::Status Fleet::StartAgent(FleetSite& site) {
  if (Alive(site.process)) return absl::OkStatus();
  if (!site.joined) return NotMade(directory_, absl::StrCat("the agent of ", site.name));
  BW_RETURN_IF_ERROR(CheckPorts(absl::StrCat("the agent of ", site.name), {site.port}));
  os::Files* files = os::Files::System();
  const std::string endpoints = os::JoinPath(SiteDirectory(site.name), "endpoints.json");
  absl::Status stale = files->Remove(endpoints);
  if (!stale.ok() && !absl::IsNotFound(stale)) return stale;
  BW_ASSIGN_OR_RETURN(site.process, StartDaemon({os::JoinPath(BinaryDirectory(), "bailiwick-agent"), "run",
                                                 "--data-dir", SiteDirectory(site.name), "--listen",
                                                 Loopback(site.port), "--metrics-listen", Loopback(0)},
                                                LogOf(site.name)));
  BW_RETURN_IF_ERROR(Save());
  BW_RETURN_IF_ERROR(
      Annotate(WaitForFile(endpoints, site.process, LogOf(site.name)), absl::StrCat("agent of ", site.name)));
  Step(absl::StrCat("agent of ", site.name, " (", site.region, "): serving on ", Loopback(site.port), ", pid ",
                    site.process.pid));
  return absl::OkStatus();
}

absl::Status Fleet::WaitUntilConnected(const std::vector<std::string>& names) {
  BW_ASSIGN_OR_RETURN(Context context, LoadContext(directory_));
  BW_ASSIGN_OR_RETURN(auto admin, Admin::Connect(context));
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + kConnectTimeout;
  std::string missing;
  while (clock->BootTime() < deadline) {
    control::v1::ListSitesResponse sites;
    control::v1::GetInfoResponse info;
    absl::Status listed = Admin::Error(admin->control().ListSites(Admin::Call().get(), {}, &sites));
    if (listed.ok()) listed = Admin::Error(admin->control().GetInfo(Admin::Call().get(), {}, &info));
    missing.clear();
    for (const std::string& name : names) {
      bool ready = false;
      for (const auto& site : sites.sites()) {
        ready |= site.name() == name && site.connected() && site.approved() &&
                 site.policy_revision() == info.policy_revision();
      }
      if (!ready) absl::StrAppend(&missing, missing.empty() ? "" : ", ", name);
    }
    if (listed.ok() && missing.empty()) return absl::OkStatus();
    for (const auto& [name, site] : sites_) {
      if (site.process.pid == 0 || Alive(site.process)) continue;
      return absl::UnavailableError(absl::StrCat("the agent of ", name, " ended; the last lines of ", LogOf(name), ":",
                                                 LastLines(LogOf(name), 5)));
    }
    if (!Alive(coordinator_)) {
      const std::string log = LogOf("coordinator");
      return absl::UnavailableError(
          absl::StrCat("the coordinator ended; the last lines of ", log, ":", LastLines(log, 5)));
    }
    clock->SleepFor(absl::Milliseconds(50));
  }
  return absl::DeadlineExceededError(absl::StrCat("not connected after ", absl::FormatDuration(kConnectTimeout), ": ",
                                                  missing, "; see the logs in ", directory_, "/sites"));
}

absl::StatusOr<std::string> Fleet::StorageKey(const std::string& site) {
  const std::string keys = os::JoinPath(SiteDirectory(site), "keys");
  constexpr absl::string_view kSuffix = ".key";
  for (bool made : {false, true}) {
    auto names = os::Files::System()->List(keys);
    if (!names.ok() && !absl::IsNotFound(names.status())) return names.status();
    if (names.ok()) {
      for (const std::string& name : *names) {
        if (absl::EndsWith(name, kSuffix)) return name.substr(0, name.size() - kSuffix.size());
      }
    }
    if (made) break;
    BW_RETURN_IF_ERROR(Annotate(RunToEnd({os::JoinPath(BinaryDirectory(), "bailiwick-agent"), "key", "generate",
                                          "--data-dir", SiteDirectory(site)}),
                                absl::StrCat("making a storage key for ", site)));
  }
  return absl::InternalError(absl::StrCat("no storage key appeared in ", keys));
}

absl::Status Fleet::CheckSites(const std::vector<FleetSite>& wanted) const {
  std::set<std::string> once;
  for (const FleetSite& site : wanted) {
    if (!once.insert(site.name).second)
      return absl::InvalidArgumentError(absl::StrCat("--site ", site.name, " is given twice"));
    auto it = sites_.find(site.name);
    if (it == sites_.end()) continue;
    if (it->second.region != site.region) {
      return absl::FailedPreconditionError(absl::StrCat("site ", site.name, " exists in region ", it->second.region));
    }
    if (it->second.labels != site.labels) {
      return absl::FailedPreconditionError(
          absl::StrCat("site ", site.name, " exists with other labels; change them with: bailiwick apply -f FILE"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Fleet::TryUp(const std::string& directory,
                                                      const std::vector<FleetSite>& wanted) {
  Fleet fleet;
  fleet.directory_ = Absolute(directory);
  auto there = Load(directory);
  if (there.ok()) {
    fleet = *std::move(there);
  } else {
    if (!absl::IsNotFound(there.status())) return there.status();
    BW_RETURN_IF_ERROR(CheckUnused(fleet.directory_));
  }
  BW_RETURN_IF_ERROR(fleet.CheckSites(wanted));
  std::vector<std::string> effects;
  if (!fleet.initialized_) {
    effects.push_back(absl::StrCat("a coordinator and a policy key are made in ", fleet.directory_));
  }
  if (!Alive(fleet.coordinator_)) effects.push_back("coordinator is started");
  for (const FleetSite& site : wanted) {
    if (fleet.sites_.count(site.name) != 0) continue;
    effects.push_back(absl::StrCat("site ", site.name, " is declared in ", site.region, ", and its agent joins"));
    fleet.sites_[site.name] = site;
  }
  for (const auto& [name, site] : fleet.sites_) {
    if (!Alive(site.process)) effects.push_back(absl::StrCat("the agent of ", name, " is started"));
  }
  if (effects.empty()) effects.push_back("everything is running");
  return effects;
}

absl::Status Fleet::Up(const std::vector<FleetSite>& wanted) {
  BW_RETURN_IF_ERROR(CheckSites(wanted));
  if (!initialized_) {
    Step(absl::StrCat("making a coordinator and a policy key in ", directory_));
    BW_RETURN_IF_ERROR(Init());
  }
  BW_RETURN_IF_ERROR(StartCoordinator());
  BW_ASSIGN_OR_RETURN(Context context, LoadContext(directory_));
  BW_ASSIGN_OR_RETURN(auto admin, Admin::Connect(context));
  std::set<std::string> regions;  // declared already, or written below
  control::v1::ListResourcesResponse known;
  BW_RETURN_IF_ERROR(Admin::Error(admin->control().ListResources(Admin::Call().get(), {}, &known)));
  for (const auto& r : known.resources()) {
    if (config::KindOf(r) == "Region") regions.insert(r.metadata().name());
  }
  std::string yaml;
  for (const FleetSite& site : wanted) {
    if (sites_.count(site.name) != 0) continue;
    BW_ASSIGN_OR_RETURN(std::string key, StorageKey(site.name));
    absl::StrAppend(&yaml, RegionYaml(site.region, &regions), SiteYaml(site, key));
  }
  if (!yaml.empty()) {
    CatalogChange change;
    BW_ASSIGN_OR_RETURN(change.upserts, config::ParseYaml(yaml, "--site"));
    BW_ASSIGN_OR_RETURN(ChangeReport report, ApplyChange(*admin, change, Extent::kApply));
    Step(absl::StrCat("regions and sites declared, policy revision ", report.policy_revision));
  }
  for (const FleetSite& site : wanted) {
    if (sites_.count(site.name) == 0) sites_[site.name] = site;
  }
  std::vector<std::string> names;
  for (auto& [name, site] : sites_) {
    names.push_back(name);
    if (site.port == 0) {
      BW_ASSIGN_OR_RETURN(site.port, ChoosePort());
    }
    if (!site.joined) {
      BW_ASSIGN_OR_RETURN(std::string join, MakeJoinString(*admin, name, absl::Minutes(10)));
      BW_RETURN_IF_ERROR(Annotate(RunToEnd({os::JoinPath(BinaryDirectory(), "bailiwick-agent"), "join", "--data-dir",
                                            SiteDirectory(name), "--join", join}),
                                  absl::StrCat("joining ", name)));
      site.joined = true;
      BW_RETURN_IF_ERROR(Save());
    }
    BW_RETURN_IF_ERROR(StartAgent(site));
  }
  if (names.empty()) return Save();
  BW_ASSIGN_OR_RETURN(const std::vector<Approval> approvals, FindApprovals(*admin, names));
  if (!approvals.empty()) {
    BW_RETURN_IF_ERROR(Approve(*admin, approvals).status());
    Step("keys of the agents pinned in the signed policy");
  }
  BW_RETURN_IF_ERROR(WaitUntilConnected(names));
  Step("every site is connected");
  return Save();
}

absl::Status Fleet::Start(const std::string& name) {
  if (name == "coordinator") return StartCoordinator();
  BW_ASSIGN_OR_RETURN(FleetSite * site, FindSite(name));
  return StartAgent(*site);
}

absl::Status Fleet::Stop(const std::string& name, absl::Duration patience) {
  Process* process = &coordinator_;
  if (name != "coordinator") {
    BW_ASSIGN_OR_RETURN(FleetSite * site, FindSite(name));
    process = &site->process;
  }
  const bool alive = Alive(*process);
  BW_RETURN_IF_ERROR(Annotate(StopProcess(*process, patience), name));
  Step(absl::StrCat(name, ": ", !alive ? "was not running" : patience > absl::ZeroDuration() ? "stopped" : "killed"));
  *process = {};
  return Save();
}

absl::Status Fleet::Down() {
  // All agents at once, since each takes its time; the coordinator last, so that they can take leave.
  std::vector<std::pair<std::string, Process*>> order;
  for (auto& [name, site] : sites_) order.emplace_back(name, &site.process);
  order.emplace_back("coordinator", &coordinator_);
  std::set<std::string> running;
  for (const auto& [name, process] : order) {
    if (Alive(*process)) running.insert(name);
    if (process != &coordinator_) AskToStop(*process);
  }
  absl::Status first;
  for (const auto& [name, process] : order) {
    const absl::Status stopped = Annotate(StopProcess(*process, kStopPatience), name);
    if (stopped.ok()) *process = {};
    if (stopped.ok() && running.count(name) != 0) Step(absl::StrCat(name, ": stopped"));
    if (first.ok()) first = stopped;
  }
  if (first.ok() && running.empty()) Step("nothing was running");
  const absl::Status saved = Save();
  return first.ok() ? saved : first;
}

absl::Status Fleet::Purge() {
  BW_RETURN_IF_ERROR(Down());
  BW_RETURN_IF_ERROR(os::Files::System()->RemoveTree(directory_));
  Step(absl::StrCat(directory_, ": removed"));
  return absl::OkStatus();
}

}  // namespace bailiwick::cli
