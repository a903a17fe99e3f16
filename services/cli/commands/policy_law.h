// The law that the analyses look at: of files, or in force at the coordinator; and the words for asking about it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/lint.h"
#include "common/config/time_zones.h"
#include "common/policy/check.h"
#include "common/policy/evaluator.h"
#include "services/cli/commands/command.h"

namespace bailiwick::cli {

struct Law {
  std::string name;  // the file or directory; "policy revision 7" at the coordinator
  config::Catalog catalog;
  std::vector<config::Located> located;  // of files
  config::TimeZones zones;
  policy::World world;
  std::vector<policy::NamedData> datasets;
};

// Every document of the files named; a directory means its *.yaml and *.yml, whole or not at all. INVALID_ARGUMENT
// lists every problem, a line each.
absl::StatusOr<std::vector<config::Located>> ReadResources(const std::vector<std::string>& paths);

// The same of text that came otherwise; `name` stands for the file in what is said of it.
absl::StatusOr<std::vector<config::Located>> ParseResources(const std::string& text, const std::string& name);

// Resources that were read, as one law. INVALID_ARGUMENT when they do not hold together; their tests are not run.
absl::StatusOr<Law> LawOf(std::string name, std::vector<config::Located> located, absl::Time now);
// Read and put together; a directory as above. INVALID_ARGUMENT.
absl::StatusOr<Law> LawOfFiles(const std::vector<std::string>& files, absl::Time now);
// In force, verified; datasets from their signed classifications. FAILED_PRECONDITION: none yet.
absl::StatusOr<Law> LawInForce(Admin& admin);
// Of the files when there are any, else in force.
absl::StatusOr<Law> LoadLaw(const Globals& globals, const std::vector<std::string>& files, absl::Time now);

// Directories with YAML files, the path itself first, sorted; a file is itself. Each is a law of its own.
absl::StatusOr<std::vector<std::string>> LawsBelow(const std::string& path);

// "class=health,pii=yes", given once or more. INVALID_ARGUMENT.
absl::StatusOr<policy::Labels> ParseLabels(const std::vector<std::string>& texts);
// RFC 3339 with an offset, or now for an empty text. INVALID_ARGUMENT.
absl::StatusOr<absl::Time> ParseAt(const std::string& text);
// The flags by which a command asks about a flow, and what they said.
struct Question {
  std::string dataset, to, at, purpose, action;
  std::vector<std::string> labels, from, files;
  bool any_sites = false;
};
std::shared_ptr<Question> AskFlags(CLI::App* command);  // --dataset, --label, --purpose, --at, -f
// The data of --dataset, which may be a family's stream, or of --label; exactly one is given. NOT_FOUND with a
// suggestion.
absl::StatusOr<policy::NamedData> ChooseData(const Law& law, const Question& question);
std::string LabelsText(const policy::Labels& labels);                 // "class=health,pii=yes"; "no labels"
std::string ObligationsText(const policy::Obligations& obligations);  // empty: none

// The groups of `policy`'s commands that ask about the law.
void RegisterPolicyCheck(CLI::App& policy, Globals& globals);    // check, test
void RegisterPolicyExplain(CLI::App& policy, Globals& globals);  // explain, can-i
void RegisterPolicyReach(CLI::App& policy, Globals& globals);    // reach
void RegisterPolicyDiff(CLI::App& policy, Globals& globals);     // diff

}  // namespace bailiwick::cli
