#include "services/agent/work/verify.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "services/agent/evict/dropper.h"

namespace bailiwick::agent {
namespace {

// The first 8 bytes: a clash only means that a chunk is read once instead of twice, or is said to be missing.
constexpr size_t kRemembered = 2 << 20;  // chunks, 40 MiB: bounds what verifying hundreds of millions takes

uint64_t HeadOf(const Digest& digest) {
  uint64_t head;
  std::copy_n(digest.bytes.begin(), sizeof head, reinterpret_cast<uint8_t*>(&head));
  return head;
}

// What must be here of a dataset of which content was given up; of others all must.
absl::StatusOr<absl::flat_hash_set<uint64_t>> Expected(DatasetHandle& dataset) {
  absl::flat_hash_set<uint64_t> expected;
  if (dataset.dropped->empty()) return expected;
  const auto mark = MarkKept(dataset, [](VersionNumber) { return false; });
  BW_RETURN_IF_ERROR(mark([&](const Digest& digest) { expected.insert(HeadOf(digest)); }));
  return expected;
}

}  // namespace

absl::Status VerifyVersions(DatasetHandle& dataset, const std::vector<store::CatalogVersion>& versions,
                            const std::function<absl::Status(const VerifyReport&)>& progress, VerifyReport* report) {
  for (const auto& v : versions) report->total_bytes += v.record.logical_bytes;
  BW_RETURN_IF_ERROR(dataset.store->MissRemovedPacks());
  absl::flat_hash_set<Digest> nodes;
  absl::flat_hash_set<uint64_t> chunks;
  const Dropped::Versions given_up = dataset.dropped->versions();
  BW_ASSIGN_OR_RETURN(const absl::flat_hash_set<uint64_t> expected, Expected(dataset));
  auto check = [&](const Digest& digest) -> absl::StatusOr<bool> {
    if (dataset.redactions->HasChunk(digest)) {
      ++report->redacted_chunks;
      return false;
    }
    auto stored = dataset.store->Read(digest);
    absl::Status status = stored.status();
    if (absl::IsNotFound(status) && given_up != dataset.dropped->versions()) {
      return absl::AbortedError("the home gave up content while it was read; verify it again");
    }
    if (absl::IsNotFound(status) && !given_up.empty() && expected.count(HeadOf(digest)) == 0) {
      ++report->dropped_chunks;
      return false;
    }
    if (status.ok()) {
      auto raw = store::DecodeChunk(*stored, digest);
      status = raw.status();
      if (status.ok()) report->checked_bytes += raw->size();
    }
    ++report->checked_chunks;
    if (status.ok()) return true;
    if (!absl::IsDataLoss(status) && !absl::IsNotFound(status)) return status;
    report->Add(absl::StrCat("chunk ", digest.ShortHex(), ": ", status.message()));
    return false;
  };
  for (const auto& v : versions) {
    if (store::VersionIdentity(v.envelope) != v.identity) {
      report->Add(absl::StrCat("version ", v.record.number, ": its record does not match its identity"));
    }
    absl::Status walked = store::WalkDag(
        dataset.nodes.get(), v.record.manifest_root,
        [&](const Digest& node) -> absl::StatusOr<bool> {
          if (!nodes.insert(node).second) return false;
          BW_RETURN_IF_ERROR(progress(*report));
          return check(node);
        },
        [&](const store::NodeChild& chunk) -> absl::Status {
          if (chunks.size() >= kRemembered) chunks.clear();  // what comes again is then checked again
          if (!chunks.insert(HeadOf(chunk.digest)).second) return absl::OkStatus();
          BW_RETURN_IF_ERROR(progress(*report));
          return check(chunk.digest).status();
        });
    if (!walked.ok()) {
      if (absl::IsCancelled(walked) || absl::IsAborted(walked)) return walked;
      report->Add(absl::StrCat("version ", v.record.number, ": ", walked.message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::set<VersionNumber>> DamagedVersions(DatasetHandle& dataset,
                                                        const std::vector<store::CatalogVersion>& versions) {
  constexpr size_t kBatch = 4096;
  std::set<VersionNumber> damaged;
  for (const auto& version : versions) {
    std::vector<Digest> chunks;
    auto look = [&]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(const std::vector<bool> here, dataset.store->HasMany(chunks));
      for (size_t i = 0; i < chunks.size(); ++i) {
        if (!here[i] && !dataset.redactions->HasChunk(chunks[i])) return absl::DataLossError("a chunk is not here");
      }
      chunks.clear();
      return absl::OkStatus();
    };
    absl::Status walked = store::WalkDag(
        dataset.nodes.get(), version.record.manifest_root,
        [&](const Digest& node) -> absl::StatusOr<bool> {
          BW_ASSIGN_OR_RETURN(const bool here, dataset.store->Has(node));  // not only in the cache of nodes
          if (!here) return absl::DataLossError("a node is not here");
          return true;
        },
        [&](const store::NodeChild& chunk) -> absl::Status {
          chunks.push_back(chunk.digest);
          return chunks.size() < kBatch ? absl::OkStatus() : look();
        });
    if (walked.ok()) walked = look();
    if (absl::IsDataLoss(walked) || absl::IsNotFound(walked)) {
      damaged.insert(version.record.number);
    } else {
      BW_RETURN_IF_ERROR(walked);
    }
  }
  return damaged;
}

std::string DescribeChange(const store::Entry* before, const store::Entry* after) {
  if (before == nullptr) return "added";
  if (after == nullptr) return "removed";
  if (before->type != after->type) return "type";
  auto same_references = [](const store::Reference& a, const store::Reference& b) { return a.digest == b.digest; };
  if (before->size != after->size || before->target != after->target ||
      !std::equal(before->chunks.begin(), before->chunks.end(), after->chunks.begin(), after->chunks.end(),
                  same_references)) {
    return "modified";
  }
  if (before->mode != after->mode) return "mode";
  return "meta";
}

}  // namespace bailiwick::agent
