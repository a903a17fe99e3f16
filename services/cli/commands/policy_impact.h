// What a change of the law does to what exists at the coordinator: replicas that would have to go, transfers that stop.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/policy/diff.h"
#include "common/policy/reach.h"
#include "services/cli/commands/policy_law.h"

namespace bailiwick::cli {

struct ImpactReport {
  policy::Inventory inventory;
  policy::Impact impact;
  bool any() const { return !impact.evictions.empty() || !impact.stops.empty(); }
  void Print() const;  // nothing but one line when nothing has to go
  // "2 copies (1.00 MiB) at cloud-us, core become unlawful and are erased"; empty when none does.
  std::string Sentence() const;
  Json ToJson() const;
};

// The law as it would be after the change; datasets with the labels that they would have.
absl::StatusOr<Law> LawAfter(const Law& before, const CatalogChange& change, absl::Time now);
// Asks for replicas, holds, transfers and sizes. A copy's bytes are those of the newest version that it holds,
// uncompressed.
absl::StatusOr<ImpactReport> AssessLive(Admin& admin, const Law& before, const Law& after, absl::Time now);
// What the change would do to copies and transfers that exist; nothing when there is no law yet.
absl::StatusOr<std::optional<ImpactReport>> ImpactOf(Admin& admin, const CatalogChange& change);

// On standard error, whatever the format: what the change gives up, and whose change of the law is gone by this one.
void SayBeside(const ChangeReport& report);
// What a change that was only tried would make of the law, as a table's last lines.
void PrintTried(const ChangeReport& report, const std::optional<ImpactReport>& impact);
// A change of resources as the answers tell it, with `impact` where it was looked for.
Fields FieldsOf(const ChangeReport& report, bool dry_run, const std::optional<ImpactReport>& impact);

// --expect-evictions: nothing when it is not given.
std::shared_ptr<std::optional<uint64_t>> ExpectEvictionsFlag(CLI::App* command);

// What it says, before the coordinator is asked for anything. FAILED_PRECONDITION: the change makes another number of
// copies unlawful; `see` shows which.
absl::Status ExpectEvictions(const std::optional<ImpactReport>& impact, uint64_t expected, const std::string& see);

// Asks before copies go by the change: `act` is what is asked for, "Apply?". Says how many were agreed to, for
// ApplyChange; nothing when none goes or there is nobody to ask. ABORTED, with `otherwise`: the answer was no.
absl::StatusOr<std::optional<uint64_t>> ConfirmEvictions(const Globals& globals, Admin& admin,
                                                         const CatalogChange& change, const std::string& act,
                                                         const std::string& otherwise);

}  // namespace bailiwick::cli
