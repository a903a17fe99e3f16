#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/tree.h"
#include "services/agent/replica/replica_tree.h"
#include "services/agent/replica/tree_writer.h"

namespace bailiwick::agent {

absl::Status MayCheckOutInto(const std::string& directory) {
  if (directory.empty() || directory.front() != '/') {
    return absl::InvalidArgumentError(absl::StrCat("\"", directory, "\" is not an absolute path"));
  }
  auto opened = os::OpenTree(directory);
  if (absl::IsNotFound(opened.status())) return absl::OkStatus();
  if (!opened.ok()) return opened.status();
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, (*opened)->List());
  if (names.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(directory, " is not empty; check out into a new or empty directory"));
}

absl::Status Checkout(DatasetHandle& dataset, const store::CatalogVersion& version, const std::string& directory,
                      bool owner, const LayoutCallback& progress, const std::atomic<bool>& cancelled,
                      uint64_t* redacted) {
  BW_RETURN_IF_ERROR(MayCheckOutInto(directory));
  auto opened = os::OpenTree(directory);
  if (absl::IsNotFound(opened.status())) {
    BW_RETURN_IF_ERROR(dataset.files->MakeDirs(directory));
    opened = os::OpenTree(directory);
  }
  if (!opened.ok()) return opened.status();
  os::TreeDir& target = **opened;
  uint64_t done = 0;
  TreeWriter writer(
      &dataset, &target, {.writable = true, .owner = owner},
      [&](uint64_t bytes) {
        done += bytes;
        if (progress) progress(done);
      },
      &cancelled);
  absl::Status status = writer.Apply(Digest(), version.record.manifest_root);
  if (redacted != nullptr) *redacted = writer.redacted();
  if (status.ok()) status = os::SyncFileSystem(target);
  if (status.ok()) return status;
  EmptyDirectory(target).IgnoreError();  // half a version is worse than none; it was empty before
  if (absl::IsResourceExhausted(status)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no space for version ", version.record.number, " in ", directory));
  }
  return Annotate(status, absl::StrCat("checking out version ", version.record.number, " into ", directory));
}

}  // namespace bailiwick::agent
