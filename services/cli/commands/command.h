// What the commands share: global flags, one way to run and to fail, look-ups of datasets and sites.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "absl/status/statusor.h"
#include "services/cli/commands/output.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {

struct Globals {
  std::string context;
  std::string output = "table";
  int exit_code = 0;
  Format format() const { return output == "json" ? Format::kJson : (output == "yaml" ? Format::kYaml : Format::kTable); }
};

// Runs `body` when the command is chosen; prints an error as one sentence and keeps its exit code.
void OnRun(CLI::App* command, Globals& globals, std::function<absl::Status()> body);
// The same for bodies that choose their exit code.
void OnRunCode(CLI::App* command, Globals& globals, std::function<absl::StatusOr<int>()> body);

absl::StatusOr<std::unique_ptr<Admin>> Connect(const Globals& globals);

absl::StatusOr<std::map<std::string, control::v1::SiteStatus>> SitesByName(Admin& admin);
// One dataset or stream. NOT_FOUND; a family's name says what its streams are.
absl::StatusOr<control::v1::DatasetStatus> FindDataset(Admin& admin, const std::string& name);
// The agent of a site, for its admin service. NOT_FOUND, UNAVAILABLE when it is not connected.
absl::StatusOr<std::unique_ptr<agent::v1::AgentAdmin::Stub>> AgentOf(Admin& admin, const std::string& site);
// A whole number of at least `least`. INVALID_ARGUMENT.
absl::StatusOr<uint64_t> ParseVersion(const std::string& text, uint64_t least = 1);

void RegisterResources(CLI::App& app, Globals& globals);  // apply, diff, get, describe, delete
void RegisterDatasets(CLI::App& app, Globals& globals);   // dataset ..., wait
void RegisterSeeing(CLI::App& app, Globals& globals);     // status, transfer, why, events
void RegisterPolicy(CLI::App& app, Globals& globals);     // policy ..., site ...

// Shared by `get replicas` and `status`.
absl::Status PrintReplicas(Admin& admin, const Globals& globals, const std::string& dataset, const std::string& site, bool watch);

}  // namespace bailiwick::cli
