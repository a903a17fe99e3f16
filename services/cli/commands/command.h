// What the commands share: global flags, one way to run and to fail, look-ups of datasets and sites, patience.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/os/clock.h"
#include "services/cli/commands/output.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {

struct Globals {
  std::string context;
  std::string output = "table";
  bool no_input = false;
  int exit_code = 0;
  Format format() const { return output::ParseFormat(output); }
  bool table() const { return format() == Format::kTable; }
};

// Runs `body` when the command is chosen; prints an error as one sentence and keeps its exit code.
void OnRun(CLI::App* command, Globals& globals, std::function<absl::Status()> body);
// The same for bodies that choose their exit code.
void OnRunCode(CLI::App* command, Globals& globals, std::function<absl::StatusOr<int>()> body);
// A flag --timeout; the function gives what it says. INVALID_ARGUMENT.
std::function<absl::StatusOr<absl::Duration>()> TimeoutFlag(CLI::App* command, const char* help, const char* fallback);

absl::StatusOr<std::unique_ptr<Admin>> Connect(const Globals& globals);

using SiteMap = std::map<std::string, control::v1::SiteStatus>;
absl::StatusOr<SiteMap> SitesByName(Admin& admin);
absl::Status NoSite(const SiteMap& sites, const std::string& name);  // NOT_FOUND, with the nearest
// One dataset or stream. NOT_FOUND; a family's name says what its streams are.
absl::StatusOr<control::v1::DatasetStatus> FindDataset(Admin& admin, const std::string& name);
// Of one dataset, or of all when the name is empty.
absl::StatusOr<std::vector<control::v1::Replica>> Replicas(Admin& admin, const std::string& dataset,
                                                           const std::string& site = "");
// Why the dataset's newest version is not at the site.
absl::StatusOr<control::v1::WhyResponse> AskWhy(Admin& admin, const std::string& dataset, const std::string& site);

inline constexpr absl::Duration kLongCall = absl::Hours(24 * 7);  // for what lasts as long as the data is large

// The agent of a site, for its admin service.
struct SiteAgent {
  std::string site, address;
  bool connected = true;  // to the coordinator; an agent that is not may serve all the same
  std::unique_ptr<agent::v1::AgentAdmin::Stub> stub;
  agent::v1::AgentAdmin::Stub* operator->() const { return stub.get(); }
  absl::Status Check(const grpc::Status& status) const;  // of a call to it
  absl::Status Tried(const grpc::Status& status) const;  // the same of a preview; an old agent knows none
};
// NOT_FOUND, UNAVAILABLE when nobody knows where it serves.
absl::StatusOr<SiteAgent> AgentOf(Admin& admin, const std::string& site);

// A whole number of at least `least`. INVALID_ARGUMENT.
absl::StatusOr<uint64_t> ParseVersion(const std::string& text, uint64_t least = 1);
// "a=1,b=2", sorted.
template <typename Labels>
std::string LabelText(const Labels& labels) {
  std::string text;
  for (const auto& [k, v] : std::map<std::string, std::string>(labels.begin(), labels.end())) {
    text += (text.empty() ? "" : ",") + k + "=" + v;
  }
  return text;
}

// Asks again while the answer is UNAVAILABLE: a coordinator that restarts does not end a wait. `deadline` on the boot
// clock.
template <typename Ask>
auto Patiently(absl::Duration deadline, const Ask& ask) {
  const os::Clock* clock = os::Clock::System();
  while (true) {
    auto answer = ask();
    if (!absl::IsUnavailable(answer.status()) || clock->BootTime() >= deadline) return answer;
    clock->SleepFor(absl::Milliseconds(200));
  }
}

// Whether the replica holds the version or a newer one, laid out where it is to be; one that was rolled back shows what
// it was told to.
bool Shows(const control::v1::Replica& replica, uint64_t number);
// Until every replica that is wanted and not denied shows the version. DEADLINE_EXCEEDED says which do not, and why.
absl::Status WaitForReplicas(Admin& admin, const std::string& dataset, uint64_t number, absl::Duration timeout);

void RegisterResources(CLI::App& app, Globals& globals);  // apply, diff, get, describe, delete
void RegisterDatasets(CLI::App& app, Globals& globals);   // dataset ...
void RegisterContexts(CLI::App& app, Globals& globals);   // context ...
void RegisterWait(CLI::App& app, Globals& globals);       // wait ...
void RegisterSeeing(CLI::App& app, Globals& globals);     // status, why, events
void RegisterDoctor(CLI::App& app, Globals& globals);     // doctor
void RegisterTransfers(CLI::App& app, Globals& globals);  // transfer ...
void RegisterPolicy(CLI::App& app, Globals& globals);     // policy ...
void RegisterPolicySigning(CLI::App& app,
                           Globals& globals);  // policy pending, approve, sign, ...; after RegisterPolicy
void RegisterPolicyHistory(CLI::App& app, Globals& globals);  // policy history, show, rollback; the same
void RegisterPeople(CLI::App& app, Globals& globals);      // login, login-token, whoami, proposals, approve, withdraw
void RegisterAgents(CLI::App& app, Globals& globals);      // agent ..., ca ...
void RegisterSites(CLI::App& app, Globals& globals);       // site ...
void RegisterEvictions(CLI::App& app, Globals& globals);   // eviction ...
void RegisterCommit(CLI::App& dataset, Globals& globals);  // commit under dataset
void RegisterHolds(CLI::App& dataset, Globals& globals);   // hold, holds, release under dataset
void RegisterRedactions(CLI::App& app, Globals& globals);  // dataset redact, redaction ...; after RegisterDatasets
void RegisterAudit(CLI::App& app, Globals& globals);       // audit ...
void RegisterAuditReport(CLI::App& audit, Globals& globals);  // report under audit

// Bodies of `get` for what is not declared but happens.
absl::Status GetReplicas(const Globals& globals, const std::string& dataset, const std::string& site, bool watch);
inline constexpr uint32_t kErasuresShown = 100;
// `limit`: of what was erased; 0: all.
absl::Status GetEvictions(const Globals& globals, const std::string& dataset, const std::string& site, bool watch,
                          uint32_t limit = kErasuresShown);
absl::Status GetRedactions(const Globals& globals, const std::string& dataset, bool watch);
absl::Status GetVersions(const Globals& globals, const std::string& dataset, bool watch);

// What waits for a second person now, and what to do.
absl::Status SayProposed(const Globals& globals, const control::v1::Proposal& proposal);

inline constexpr size_t kShortId = 16;  // hexadecimal digits: of proposals, and of a change as one of them
std::string ShortId(const control::v1::Pending& pending);
// What the change lacks, with its id behind the command that needs it.
std::string MissingOf(const control::v1::Pending& pending);
// What an act that waits for others says of itself. `pending`: what the coordinator says that is missing.
std::string NotInEffect(Admin& admin, const std::string& pending);

struct ApprovalFlags {
  bool yes = false, dry_run = false;
  std::optional<uint64_t> evictions;  // exactly so many copies may become unlawful; empty: what is shown and agreed to
};
// Shows what the change that waits would do and asks; then signs it where it lacks a signature, and submits it.
absl::Status ApproveChange(const Globals& globals, Admin& admin, const control::v1::ApplyRequest& request,
                           const ApprovalFlags& flags);
// The same with an order to redact. `paths`: files that it is said to be about; with any it is signed only if all that
// it erases lies in them.
absl::Status ApproveRedaction(const Globals& globals, const std::string& id, const std::vector<std::string>& paths,
                              bool yes, bool dry_run);

// Whether there is somebody to ask: a terminal that is read from, and no --no-input.
bool MayAsk(const Globals& globals);
// OK with `yes`, else as answered at the terminal. ABORTED, with `otherwise`: the answer was no. INVALID_ARGUMENT:
// there is no terminal to ask at, or --no-input forbids it.
absl::Status Confirm(const Globals& globals, bool yes, const std::string& question, const std::string& otherwise);

}  // namespace bailiwick::cli
