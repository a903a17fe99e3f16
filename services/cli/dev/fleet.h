// A fleet on this machine: a coordinator and one agent a site, really joined by token over mTLS.
//   D/context.yaml, D/fleet.json, D/fleet.lock, D/admin/, D/keys/policy.pem, D/coordinator/, D/coordinator.log,
//   D/sites/<site>/, D/sites/<site>.log
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/os/files.h"
#include "services/cli/dev/process.h"

namespace bailiwick::cli {

struct FleetSite {
  std::string name;
  std::string region;
  std::map<std::string, std::string> labels;
  int port = 0;
  bool joined = false;
  Process process;
};

class Fleet {
 public:
  static absl::StatusOr<Fleet> Load(const std::string& directory);  // to look; NOT_FOUND: no fleet there
  // To change: one command at a time, the next one waits for it (FAILED_PRECONDITION after a minute).
  static absl::StatusOr<Fleet> Open(const std::string& directory);
  // FAILED_PRECONDITION: other files lie there.
  static absl::StatusOr<Fleet> OpenOrCreate(const std::string& directory);
  absl::Status Save() const;

  // NAME=REGION[,label=value...]. INVALID_ARGUMENT.
  static absl::StatusOr<FleetSite> ParseSite(const std::string& text);

  absl::Status Up(const std::vector<FleetSite>& sites);
  // What Up would do, for people; its errors where they can be foreseen.
  static absl::StatusOr<std::vector<std::string>> TryUp(const std::string& directory,
                                                        const std::vector<FleetSite>& sites);
  absl::StatusOr<Process> Find(const std::string& name) const;  // "coordinator" or a site
  absl::Status Start(const std::string& name);
  absl::Status Stop(const std::string& name, absl::Duration patience);
  absl::Status Down();   // every process; goes on after a failure and tells the first
  absl::Status Purge();  // and the directory with all data in it

  const std::string& directory() const { return directory_; }
  const std::map<std::string, FleetSite>& sites() const { return sites_; }
  const Process& coordinator() const { return coordinator_; }
  std::string Address(const std::string& name) const;
  std::string LogOf(const std::string& name) const;

 private:
  absl::StatusOr<FleetSite*> FindSite(const std::string& name);
  absl::Status CheckSites(const std::vector<FleetSite>& wanted) const;
  absl::Status Init();
  absl::Status StartCoordinator();
  absl::Status StartAgent(FleetSite& site);
  absl::StatusOr<std::string> StorageKey(const std::string& site);  // its id; made when there is none
  absl::Status WaitForFile(const std::string& path, const Process& process, const std::string& log);
  absl::Status WaitUntilConnected(const std::vector<std::string>& names);
  std::string SiteDirectory(const std::string& name) const;
  absl::Status Lock();
  absl::Status CheckPorts(const std::string& who, const std::vector<int>& ports) const;
  std::set<int> Ports() const;
  absl::StatusOr<int> ChoosePort();  // held until this command ends

  std::string directory_;
  bool initialized_ = false;
  int control_port_ = 0, join_port_ = 0, health_port_ = 0;
  std::vector<HeldPort> held_;
  Process coordinator_;
  std::map<std::string, FleetSite> sites_;
  std::unique_ptr<os::FileLock> lock_;
};

}  // namespace bailiwick::cli
