// dataset commit
#include "services/cli/commands/commit.h"

#include <unistd.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/progress.h"

namespace bailiwick::cli {
namespace {

using Paths = google::protobuf::RepeatedPtrField<std::string>;

void Warn(const std::string& what, const Paths& paths, uint64_t count) {
  for (const std::string& path : paths) std::cerr << "warning: " << what << ": " << FormatMessage(path) << "\n";
  if (count > static_cast<uint64_t>(paths.size()))
    std::cerr << "warning: " << what << ": " << count - paths.size() << " more\n";
}

void PrintCommit(const Globals& globals, const std::string& name, const agent::v1::CommitResult& result) {
  if (!globals.table()) {
    PrintJson(globals.format(), {{"dataset", Text(name)},
                                 {"number", Number(result.number())},
                                 {"unchanged", Bool(result.unchanged())},
                                 {"files", Number(result.files())},
                                 {"entries", Number(result.entries())},
                                 {"logicalBytes", Number(result.logical_bytes())},
                                 {"newBytes", Number(result.new_bytes())},
                                 {"skipped", Texts(result.skipped())},
                                 {"skippedCount", Number(result.skipped_count())},
                                 {"unsettled", Texts(result.unsettled())},
                                 {"unsettledCount", Number(result.unsettled_count())}});
    return;
  }
  std::cout << name << " version " << result.number() << ": ";
  if (result.unchanged()) {
    std::cout << "nothing changed since" << std::endl;
  } else {
    std::cout << result.files() << " files, " << FormatBytes(result.logical_bytes()) << ", "
              << FormatBytes(result.new_bytes()) << " new" << std::endl;
  }
}

// What was found: the changes were printed as they came, or are in `entries`.
void PrintPreview(const Globals& globals, const std::string& name, const agent::v1::CommitPreview& found,
                  std::vector<Json> entries) {
  const uint64_t number = found.newest() + (found.unchanged() ? 0 : 1);
  if (!globals.table()) {
    PrintJson(globals.format(), {{"dryRun", Bool(true)},
                                 {"dataset", Text(name)},
                                 {"number", Number(number)},
                                 {"unchanged", Bool(found.unchanged())},
                                 {"entries", List(std::move(entries))},
                                 {"added", Number(found.added())},
                                 {"changed", Number(found.changed())},
                                 {"removed", Number(found.removed())},
                                 {"filesToRead", Number(found.to_read_files())},
                                 {"bytesToRead", Number(found.to_read_bytes())},
                                 {"skipped", Texts(found.skipped())},
                                 {"skippedCount", Number(found.skipped_count())},
                                 {"unsettled", Texts(found.unsettled())},
                                 {"unsettledCount", Number(found.unsettled_count())}});
    return;
  }
  std::cout << "dry run: no version was made; a commit would ";
  if (found.unchanged()) {
    std::cout << "find nothing changed since version " << number;
  } else {
    std::cout << "make version " << number << " of " << name << ": " << found.added() << " added, " << found.changed()
              << " changed, " << found.removed() << " removed";
  }
  std::cout << "\nit would read " << found.to_read_files() << " files, " << FormatBytes(found.to_read_bytes())
            << (found.unchanged() && found.to_read_files() != 0 ? ", which may say otherwise" : "") << std::endl;
}

absl::Status TryCommit(const Globals& globals, SiteAgent& agent, const agent::v1::CommitRequest& request) {
  auto call = Admin::Call(kLongCall);
  auto stream = agent->PreviewCommit(call.get(), request);
  agent::v1::CommitPreviewEvent event;
  agent::v1::CommitPreview found;
  std::vector<Json> entries;
  bool told = false;
  while (stream->Read(&event)) {
    if (event.has_result()) {
      found = event.result();
      told = true;
    } else if (globals.table()) {
      std::cout << ChangeLine(event.change()) << "\n";
    } else {
      entries.push_back(ChangeJson(event.change()));
    }
  }
  BW_RETURN_IF_ERROR(agent.Tried(stream->Finish()));
  if (!told) return absl::InternalError(absl::StrCat("the agent of site ", agent.site, " ended without an answer"));
  Warn("skipped (device, socket or FIFO)", found.skipped(), found.skipped_count());
  Warn("still changing", found.unsettled(), found.unsettled_count());
  PrintPreview(globals, request.dataset(), found, std::move(entries));
  return absl::OkStatus();
}

absl::Status Commit(const Globals& globals, const agent::v1::CommitRequest& request, bool wait, absl::Duration timeout,
                    bool dry_run) {
  const std::string& name = request.dataset();
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, name));
  BW_ASSIGN_OR_RETURN(auto agent, AgentOf(*admin, dataset.home_site()));
  if (dry_run) return TryCommit(globals, agent, request);
  auto call = Admin::Call(kLongCall);
  auto stream = agent->Commit(call.get(), request);
  agent::v1::CommitEvent event;
  agent::v1::CommitResult result;
  {
    Progress progress(absl::StrCat("committing ", name));
    while (stream->Read(&event)) {
      if (event.has_progress()) {
        const auto& p = event.progress();
        const std::string more = absl::StrCat(p.files(), " files, ", FormatBytes(p.new_bytes()), " new");
        // Where nobody knows the end of the walk before it, there is no telling how long it takes.
        const bool known = p.total_bytes() != 0;
        progress.Update(known ? p.scanned_bytes() : p.read_bytes(), p.total_bytes(), more, p.total_estimated());
      } else {
        result = event.result();
      }
    }
  }
  BW_RETURN_IF_ERROR(agent.Check(stream->Finish()));
  if (result.number() == 0)
    return absl::InternalError(absl::StrCat("the agent of site ", agent.site, " ended the commit without a version"));
  // The agent has made these paths printable.
  Warn("skipped (device, socket or FIFO)", result.skipped(), result.skipped_count());
  Warn("still changing", result.unsettled(), result.unsettled_count());
  PrintCommit(globals, name, result);
  return wait ? WaitForReplicas(*admin, name, result.number(), timeout) : absl::OkStatus();
}

}  // namespace

std::string ChangeLine(const agent::v1::DiffEntry& entry) {
  const char sign = entry.change() == "added" ? '+' : (entry.change() == "removed" ? '-' : '~');
  std::string line = absl::StrCat(std::string(1, sign), " ", Printable(entry.path()), "  ", entry.change());
  if (entry.change() == "modified") {
    absl::StrAppend(&line, " (", FormatBytes(entry.old_size()), " -> ", FormatBytes(entry.new_size()), ")");
  }
  return line;
}

Json ChangeJson(const agent::v1::DiffEntry& entry) {
  return Object({{"path", Text(Printable(entry.path()))},
                 {"change", Text(entry.change())},
                 {"oldSize", Number(entry.old_size())},
                 {"newSize", Number(entry.new_size())}});
}

void RegisterCommit(CLI::App& dataset, Globals& globals) {
  auto* c = dataset.add_subcommand("commit", "make a version of the source directory, at its home");
  auto name = std::make_shared<std::string>(), message = std::make_shared<std::string>();
  auto wait = std::make_shared<bool>(false), changing = std::make_shared<bool>(false),
       empty = std::make_shared<bool>(false), scan = std::make_shared<bool>(false);
  c->add_option("NAME", *name, "dataset, or a family's stream NAME@SITE")->type_name("DATASET")->required();
  c->add_option("-m,--message", *message, "kept with the version");
  c->add_flag("--wait", *wait, "until every replica that the law allows holds it");
  auto timeout = TimeoutFlag(c, "of --wait (default 10m)", "10m");
  c->add_flag("--allow-changing", *changing, "take files that change while they are read as they are");
  c->add_flag("--allow-empty", *empty, "take an empty source for what it is");
  c->add_flag("--scan", *scan, "look at every file, not only at those that the agent saw change");
  auto dry_run = DryRunFlag(c);
  c->footer("Example:\n  bailiwick dataset commit planner --message 'epoch 12' --wait");
  OnRun(c, globals, [&globals, name, message, wait, changing, empty, scan, timeout, dry_run]() -> absl::Status {
    BW_ASSIGN_OR_RETURN(absl::Duration t, timeout());
    if (!IsUtf8(*message)) return absl::InvalidArgumentError("--message is not UTF-8");
    agent::v1::CommitRequest request;
    request.set_dataset(*name);
    request.set_message(*message);
    request.set_allow_changing(*changing);
    request.set_allow_empty(*empty);
    request.set_scan(*scan);
    request.set_count(IsTerminal(STDERR_FILENO));  // counting costs time: only where somebody sees the bar
    return Commit(globals, request, *wait, t, *dry_run);
  });
}

}  // namespace bailiwick::cli
