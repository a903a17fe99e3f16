#include "services/agent/keys/key_commands.h"

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/utc_text.h"
#include "common/cli/dry_run.h"
#include "common/store/data_key.h"
#include "common/store/key_files.h"
#include "services/agent/state/agent_state.h"

namespace bailiwick::agent {
namespace {

constexpr uint64_t kMaxKeyText = 4096;

}  // namespace

absl::StatusOr<std::map<std::string, int>> StorageKeyUses(os::Files* files, const std::string& data_dir) {
  std::map<std::string, int> uses;
  const std::string datasets = os::JoinPath(data_dir, "datasets");
  auto names = files->List(datasets);
  if (absl::IsNotFound(names.status())) return uses;
  BW_RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    auto key = store::ReadDataKeyFile(files, os::JoinPath(datasets, name));
    if (key.ok() && key->has_value() && !(*key)->erased) ++uses[(*key)->wrapping_key];
  }
  return uses;
}

absl::Status KeyCommands::Tried(const std::string& effect) {
  cli::SayTried(*out_, {effect});
  return absl::OkStatus();
}

absl::Status KeyCommands::Make() {
  store::KeyFiles keys(files_, random_, KeyDirectory(data_dir_, key_dir_));
  if (dry_run_) return Tried(absl::StrCat("a new storage key is in ", keys.directory()));
  BW_ASSIGN_OR_RETURN(store::WrappingKey key, keys.Generate(clock_->Now()));
  *out_ << "storage key " << key.id << "\n"
        << "declare it with `bailiwick apply`, under spec of the Site:\n"
        << "  storageKeys: [{id: " << key.id << ", region: REGION}]\n"
        << "keep a copy in a safe place, without it what it protects is lost:\n"
        << "  bailiwick-agent key export --data-dir " << data_dir_ << " --id " << key.id.substr(0, 16)
        << " --to FILE\n";
  return absl::OkStatus();
}

absl::Status KeyCommands::Generate() {
  store::KeyFiles keys(files_, random_, KeyDirectory(data_dir_, key_dir_));
  BW_ASSIGN_OR_RETURN(std::vector<store::WrappingKey> known, keys.List());
  if (!known.empty()) {
    return absl::AlreadyExistsError(absl::StrCat(keys.directory(), " holds the storage key ", known[0].id.substr(0, 16),
                                                 " already; make a further one with: bailiwick-agent key rotate"));
  }
  return Make();
}

absl::Status KeyCommands::Rotate() {
  store::KeyFiles keys(files_, random_, KeyDirectory(data_dir_, key_dir_));
  BW_ASSIGN_OR_RETURN(std::vector<store::WrappingKey> known, keys.List());
  if (known.empty()) {
    return absl::NotFoundError(
        absl::StrCat(keys.directory(), " holds no storage key; make the first one with: bailiwick-agent key generate"));
  }
  BW_RETURN_IF_ERROR(Make());
  if (dry_run_) return absl::OkStatus();
  *out_ << "once it is declared the agent wraps its data keys anew under it, no data is written again; when "
           "`bailiwick-agent"
        << " key list` shows no dataset under the old key, take that one from the Site\n";
  return absl::OkStatus();
}

absl::Status KeyCommands::List(output::Format format) {
  BW_ASSIGN_OR_RETURN(const bool there, files_->Exists(data_dir_));
  if (!there)
    return absl::NotFoundError(absl::StrCat("there is no directory ", data_dir_, "; --data-dir names the agent's"));
  store::KeyFiles keys(files_, random_, KeyDirectory(data_dir_, key_dir_));
  BW_ASSIGN_OR_RETURN(std::vector<store::WrappingKey> known, keys.List());
  BW_ASSIGN_OR_RETURN(auto uses, StorageKeyUses(files_, data_dir_));
  for (const auto& [id, count] : uses) {
    bool here = false;
    for (const auto& key : known) here |= key.id == id;
    if (here) continue;
    known.push_back({.id = id,
                     .public_key = "",
                     .created = absl::InfinitePast(),
                     .problem = "missing; bring it back with: bailiwick-agent key import"});
  }
  output::Rows rows;
  std::vector<output::Json> items;
  for (const auto& key : known) {
    const std::string created = key.created == absl::InfinitePast() ? "" : UtcText(key.created);
    rows.push_back(
        {key.id, created.empty() ? "-" : created, absl::StrCat(uses[key.id]), key.problem.empty() ? "-" : key.problem});
    items.push_back(output::Object({{"id", output::Text(key.id)},
                                    {"created", output::Text(created)},
                                    {"datasets", output::Number(uses[key.id])},
                                    {"usable", output::Bool(key.problem.empty())}}));
  }
  *out_ << (format == output::Format::kTable
                ? output::FormatTable({"ID", "CREATED", "DATASETS", "PROBLEM"}, rows)
                : output::FormatAnswer(format, {{"keys", output::List(std::move(items))}}));
  return absl::OkStatus();
}

absl::Status KeyCommands::Export(const std::string& id, const std::string& file) {
  store::KeyFiles keys(files_, random_, KeyDirectory(data_dir_, key_dir_));
  BW_ASSIGN_OR_RETURN(std::vector<store::WrappingKey> known, keys.List());
  std::vector<std::string> matching;
  for (const auto& key : known) {
    if (absl::StartsWith(key.id, id)) matching.push_back(key.id);
  }
  if (matching.size() != 1) {
    return absl::NotFoundError(absl::StrCat(keys.directory(), " holds ", matching.size(),
                                            " storage keys whose id begins with \"", id,
                                            "\"; `bailiwick-agent key list` shows them, name one with --id"));
  }
  BW_ASSIGN_OR_RETURN(std::string text, keys.Export(matching[0]));
  if (dry_run_) {
    BW_ASSIGN_OR_RETURN(const bool there, files_->Exists(file));
    if (!there) return Tried(absl::StrCat("storage key ", matching[0], " is in ", file, " too"));
    return absl::AlreadyExistsError(absl::StrCat(file, " exists; name a new file with --to"));
  }
  auto made = files_->CreateNew(file);
  if (absl::IsAlreadyExists(made.status())) {
    return absl::AlreadyExistsError(absl::StrCat(file, " exists; name a new file with --to"));
  }
  BW_RETURN_IF_ERROR(made.status());
  BW_RETURN_IF_ERROR((*made)->WriteAt(0, text));
  BW_RETURN_IF_ERROR((*made)->Sync());
  *out_ << "storage key " << matching[0] << " written to " << file << "; whoever has it reads what it protects\n";
  return absl::OkStatus();
}

absl::Status KeyCommands::Import(const std::string& file) {
  store::KeyFiles keys(files_, random_, KeyDirectory(data_dir_, key_dir_));
  BW_ASSIGN_OR_RETURN(std::string text, os::ReadFile(files_, file, kMaxKeyText));
  auto key = dry_run_ ? keys.Read(text) : keys.Import(text);
  if (!key.ok()) return Annotate(key.status(), file);
  if (dry_run_) return Tried(absl::StrCat("storage key ", key->id, " is in ", keys.directory()));
  *out_ << "storage key " << key->id << " is in " << keys.directory()
        << "; a running agent opens what it protects within ten minutes, or at its next start\n";
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
