#include "services/agent/api/admin_service.h"

#include <atomic>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/rpc/audit.h"
#include "common/rpc/credentials.h"
#include "services/agent/work/find_content.h"
#include "services/agent/work/verify.h"

namespace bailiwick::agent {
namespace {

// Progress at most this often, so that a fast job does not spend its time telling.
constexpr absl::Duration kProgressEvery = absl::Milliseconds(200);
constexpr size_t kDigestsInAPart = 10'000;

class Pace {
 public:
  explicit Pace(const os::Clock* clock) : clock_(clock) {}
  bool Due() {
    const absl::Duration now = clock_->BootTime();
    if (now - last_ < kProgressEvery) return false;
    last_ = now;
    return true;
  }

 private:
  const os::Clock* clock_;
  absl::Duration last_ = -absl::InfiniteDuration();
};

// A caller's mistake, asked before the source is: it is no problem of the dataset's.
absl::StatusOr<CommitOptions> OptionsOf(const agent::v1::CommitRequest& request) {
  BW_RETURN_IF_ERROR(CheckCommitMessage(request.message()));
  return CommitOptions{.message = request.message(),
                       .allow_changing = request.allow_changing(),
                       .allow_empty = request.allow_empty(),
                       .scan = request.scan(),
                       .count = request.count()};
}

// On the disk where the directory is, or will be; 0: not known.
uint64_t FreeAt(os::Files& files, std::string directory) {
  while (!directory.empty()) {
    if (absl::StatusOr<uint64_t> free = files.FreeBytes(directory); free.ok()) return *free;
    directory.resize(directory.find_last_of('/'));
  }
  return files.FreeBytes("/").value_or(0);
}

void FillChange(const store::Entry* before, const store::Entry* after, agent::v1::DiffEntry* change) {
  change->set_path(after != nullptr ? after->path : before->path);
  const bool touched = before != nullptr && after != nullptr && before->type == after->type && Unread(*after) &&
                       before->size == after->size;
  change->set_change(touched ? "touched" : DescribeChange(before, after));
  if (before != nullptr) change->set_old_size(before->size);
  if (after != nullptr) change->set_new_size(after->size);
}

}  // namespace

absl::StatusOr<rpc::Peer> AdminService::Authorize(const grpc::ServerContext& context, const char* method) const {
  return gate_->Authorize(context, absl::StrCat("bailiwick.agent.v1.AgentAdmin/", method));
}

grpc::Status AdminService::ReadAudit(grpc::ServerContext* context, const agent::v1::ReadAuditRequest* request,
                                     grpc::ServerWriter<agent::v1::AuditChunk>* writer) {
  auto peer = Authorize(*context, "ReadAudit");
  if (!peer.ok()) return rpc::ToGrpc(peer.status());
  return rpc::ToGrpc(rpc::ServeAudit(*agent_->audit(), *request, peer->uri,
                                     [&](const agent::v1::AuditChunk& chunk) { return writer->Write(chunk); }));
}

grpc::Status AdminService::Commit(grpc::ServerContext* context, const agent::v1::CommitRequest* request,
                                  grpc::ServerWriter<agent::v1::CommitEvent>* writer) {
  if (auto peer = Authorize(*context, "Commit"); !peer.ok()) return rpc::ToGrpc(peer.status());
  const absl::StatusOr<CommitOptions> options = OptionsOf(*request);
  if (!options.ok()) return rpc::ToGrpc(options.status());
  std::atomic<bool> cancelled{false};
  Pace pace(clock_);
  auto outcome = agent_->CommitNow(
      request->dataset(), *options,
      [&](const CommitProgress& progress) {
        if (context->IsCancelled()) cancelled = true;
        if (!pace.Due()) return;
        agent::v1::CommitEvent event;
        event.mutable_progress()->set_files(progress.files);
        event.mutable_progress()->set_read_bytes(progress.read_bytes);
        event.mutable_progress()->set_new_bytes(progress.new_bytes);
        event.mutable_progress()->set_scanned_bytes(progress.scanned_bytes);
        event.mutable_progress()->set_total_bytes(progress.total_bytes);
        event.mutable_progress()->set_total_estimated(progress.total_estimated);
        writer->Write(event);
      },
      cancelled);
  if (!outcome.ok()) return rpc::ToGrpc(outcome.status());
  agent::v1::CommitEvent event;
  auto* result = event.mutable_result();
  result->set_number(outcome->version.record.number);
  result->set_unchanged(outcome->unchanged);
  result->set_files(outcome->version.record.files);
  result->set_entries(outcome->version.record.entries);
  result->set_logical_bytes(outcome->version.record.logical_bytes);
  result->set_new_bytes(outcome->new_bytes);
  for (const auto& path : outcome->skipped) result->add_skipped(path);
  result->set_skipped_count(outcome->skipped_count);
  for (const auto& path : outcome->unsettled) result->add_unsettled(path);
  result->set_unsettled_count(outcome->unsettled_count);
  writer->Write(event);
  return grpc::Status::OK;
}

grpc::Status AdminService::PreviewCommit(grpc::ServerContext* context, const agent::v1::CommitRequest* request,
                                         grpc::ServerWriter<agent::v1::CommitPreviewEvent>* writer) {
  if (auto peer = Authorize(*context, "PreviewCommit"); !peer.ok()) return rpc::ToGrpc(peer.status());
  const absl::StatusOr<CommitOptions> options = OptionsOf(*request);
  if (!options.ok()) return rpc::ToGrpc(options.status());
  const std::atomic<bool> cancelled{false};
  auto forecast = agent_->PreviewCommit(
      request->dataset(), *options,
      [&](const store::Entry* before, const store::Entry* after) -> absl::Status {
        agent::v1::CommitPreviewEvent event;
        FillChange(before, after, event.mutable_change());
        return writer->Write(event) ? absl::OkStatus() : absl::CancelledError("the caller went away");
      },
      cancelled);
  if (!forecast.ok()) return rpc::ToGrpc(forecast.status());
  agent::v1::CommitPreviewEvent event;
  auto* result = event.mutable_result();
  result->set_newest(forecast->newest);
  result->set_unchanged(forecast->unchanged());
  result->set_added(forecast->added);
  result->set_changed(forecast->changed);
  result->set_removed(forecast->removed);
  result->set_to_read_files(forecast->to_read_files);
  result->set_to_read_bytes(forecast->to_read_bytes);
  result->mutable_skipped()->Assign(forecast->skipped.begin(), forecast->skipped.end());
  result->set_skipped_count(forecast->skipped_count);
  result->mutable_unsettled()->Assign(forecast->unsettled.begin(), forecast->unsettled.end());
  result->set_unsettled_count(forecast->unsettled_count);
  writer->Write(event);
  return grpc::Status::OK;
}

grpc::Status AdminService::Diff(grpc::ServerContext* context, const agent::v1::DiffRequest* request,
                                grpc::ServerWriter<agent::v1::DiffEntry>* writer) {
  auto run = [&]() -> absl::Status {
    BW_RETURN_IF_ERROR(Authorize(*context, "Diff").status());
    BW_ASSIGN_OR_RETURN(DatasetHandle * dataset, agent_->Held(request->dataset(), request->dataset_id()));
    BW_ASSIGN_OR_RETURN(store::CatalogVersion from, agent_->HeldVersion(*dataset, request->from()));
    BW_ASSIGN_OR_RETURN(store::CatalogVersion to, agent_->HeldVersion(*dataset, request->to()));
    return store::DiffManifests(dataset->nodes.get(), from.record.manifest_root, to.record.manifest_root,
                                [&](const store::Entry* before, const store::Entry* after) -> absl::Status {
                                  agent::v1::DiffEntry entry;
                                  FillChange(before, after, &entry);
                                  return writer->Write(entry) ? absl::OkStatus()
                                                              : absl::CancelledError("the caller went away");
                                });
  };
  return rpc::ToGrpc(run());
}

grpc::Status AdminService::Checkout(grpc::ServerContext* context, const agent::v1::CheckoutRequest* request,
                                    grpc::ServerWriter<agent::v1::WorkEvent>* writer) {
  std::atomic<bool> cancelled{false};
  Pace pace(clock_);
  auto run = [&]() -> absl::Status {
    BW_RETURN_IF_ERROR(Authorize(*context, "Checkout").status());
    if (request->directory().empty() || request->directory()[0] != '/') {
      return absl::InvalidArgumentError("checkout needs an absolute directory");
    }
    BW_ASSIGN_OR_RETURN(DatasetHandle * dataset, agent_->Held(request->dataset(), request->dataset_id()));
    BW_ASSIGN_OR_RETURN(store::CatalogVersion version, agent_->HeldVersion(*dataset, request->number()));
    BW_RETURN_IF_ERROR(agent_->CheckWhole(*dataset, request->number()));
    BW_RETURN_IF_ERROR(agent_->MayLayOut(*dataset, request->directory()));
    uint64_t redacted = 0;
    BW_RETURN_IF_ERROR(agent::Checkout(
        *dataset, version, request->directory(), agent_->records_owner(*dataset),
        [&](uint64_t done_bytes) {
          if (context->IsCancelled()) cancelled = true;
          if (!pace.Due()) return;
          agent::v1::WorkEvent event;
          event.set_done_bytes(done_bytes);
          event.set_total_bytes(version.record.logical_bytes);
          writer->Write(event);
        },
        cancelled, &redacted));
    agent::v1::WorkEvent event;
    event.set_redacted(redacted);
    event.set_finished(true);
    event.set_done_bytes(version.record.logical_bytes);
    event.set_total_bytes(version.record.logical_bytes);
    event.set_entries(version.record.entries);
    writer->Write(event);
    return absl::OkStatus();
  };
  return rpc::ToGrpc(run());
}

grpc::Status AdminService::PreviewCheckout(grpc::ServerContext* context, const agent::v1::CheckoutRequest* request,
                                           agent::v1::CheckoutPreview* response) {
  auto run = [&]() -> absl::Status {
    BW_RETURN_IF_ERROR(Authorize(*context, "PreviewCheckout").status());
    BW_ASSIGN_OR_RETURN(DatasetHandle * dataset, agent_->Held(request->dataset(), request->dataset_id()));
    BW_ASSIGN_OR_RETURN(store::CatalogVersion version, agent_->HeldVersion(*dataset, request->number()));
    BW_RETURN_IF_ERROR(agent_->CheckWhole(*dataset, request->number()));
    BW_RETURN_IF_ERROR(MayCheckOutInto(request->directory()));
    BW_RETURN_IF_ERROR(agent_->MayLayOut(*dataset, request->directory()));
    response->set_entries(version.record.entries);
    response->set_logical_bytes(version.record.logical_bytes);
    response->set_free_bytes(FreeAt(*dataset->files, request->directory()));
    return absl::OkStatus();
  };
  return rpc::ToGrpc(run());
}

grpc::Status AdminService::Verify(grpc::ServerContext* context, const agent::v1::VerifyRequest* request,
                                  grpc::ServerWriter<agent::v1::WorkEvent>* writer) {
  Pace pace(clock_);
  auto run = [&]() -> absl::Status {
    BW_RETURN_IF_ERROR(Authorize(*context, "Verify").status());
    BW_ASSIGN_OR_RETURN(DatasetHandle * dataset, agent_->Held(request->dataset(), request->dataset_id()));
    std::vector<store::CatalogVersion> versions;
    if (request->number() != 0) {
      BW_ASSIGN_OR_RETURN(store::CatalogVersion one, agent_->HeldVersion(*dataset, request->number()));
      versions.push_back(std::move(one));
    } else {
      BW_ASSIGN_OR_RETURN(versions, dataset->catalog->List(dataset->id));
      if (versions.empty()) {
        return absl::NotFoundError(absl::StrCat("this site holds no version of ", request->dataset()));
      }
    }
    VerifyReport report;
    BW_RETURN_IF_ERROR(VerifyVersions(
        *dataset, versions,
        [&](const VerifyReport& so_far) -> absl::Status {
          if (context->IsCancelled()) return absl::CancelledError("the caller went away");
          if (!pace.Due()) return absl::OkStatus();
          agent::v1::WorkEvent event;
          event.set_done_bytes(so_far.checked_bytes);
          event.set_total_bytes(so_far.total_bytes);
          event.set_checked_chunks(so_far.checked_chunks);
          writer->Write(event);
          return absl::OkStatus();
        },
        &report));
    if (request->number() == 0) BW_RETURN_IF_ERROR(agent_->NoteReadBack(*dataset, report));
    std::vector<std::string> tree;
    BW_RETURN_IF_ERROR(agent_->VerifyTree(*dataset, &tree));
    for (auto& problem : tree) report.Add(std::move(problem));
    agent::v1::WorkEvent event;
    event.set_finished(true);
    event.set_done_bytes(report.checked_bytes);
    event.set_total_bytes(report.checked_bytes);
    event.set_checked_chunks(report.checked_chunks);
    event.set_versions(versions.size());
    for (const auto& v : versions) event.set_entries(event.entries() + v.record.entries);
    for (const auto& problem : report.problems) event.add_problems(problem);
    event.set_problem_count(report.problem_count);
    event.set_redacted(report.redacted_chunks);
    event.set_dropped(report.dropped_chunks);
    writer->Write(event);
    return absl::OkStatus();
  };
  return rpc::ToGrpc(run());
}

grpc::Status AdminService::FindContent(grpc::ServerContext* context, const agent::v1::FindContentRequest* request,
                                       grpc::ServerWriter<agent::v1::FoundContent>* writer) {
  auto run = [&]() -> absl::Status {
    BW_RETURN_IF_ERROR(Authorize(*context, "FindContent").status());
    BW_ASSIGN_OR_RETURN(DatasetHandle * dataset, agent_->Held(request->dataset(), request->dataset_id()));
    if (request->paths_size() == 0) return absl::InvalidArgumentError("name at least one path");
    BW_ASSIGN_OR_RETURN(agent::FoundContent found,
                        agent::FindContent(*dataset, {request->paths().begin(), request->paths().end()},
                                           [&](uint64_t searched, uint64_t of) {
                                             agent::v1::FoundContent far;
                                             far.set_searched(searched);
                                             far.set_to_search(of);
                                             writer->Write(far);
                                           }));
    agent::v1::FoundContent part;
    auto add = [&](const std::vector<Digest>& digests, auto append) {
      for (const Digest& digest : digests) {
        append(std::string(digest.view()));
        if (static_cast<size_t>(part.contents_size() + part.chunks_size()) < kDigestsInAPart) continue;
        writer->Write(part);
        part.Clear();
      }
    };
    add(found.contents, [&](std::string digest) { part.add_contents(std::move(digest)); });
    add(found.chunks, [&](std::string digest) { part.add_chunks(std::move(digest)); });
    part.set_last(true);
    part.set_files(found.files);
    part.set_versions(found.versions);
    part.set_bytes(found.bytes);
    part.set_shared(found.shared);
    part.set_copies(found.copies);
    for (const std::string& path : found.copy_paths) part.add_copy_paths(path);
    writer->Write(part);
    return absl::OkStatus();
  };
  return rpc::ToGrpc(run());
}

}  // namespace bailiwick::agent
