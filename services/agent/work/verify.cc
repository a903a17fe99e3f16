#include "services/agent/work/verify.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
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

// Whether a manifest is here as a whole, from the bottom up, so that what versions share is looked at once.
class WholeTrees {
 public:
  explicit WholeTrees(DatasetHandle& dataset) : dataset_(dataset) {}
  absl::StatusOr<bool> Has(const Digest& node, int depth = 0) {
    if (auto known = known_.find(node); known != known_.end()) return known->second;
    if (depth > 2 * store::kMaxHeight + 2) return false;
    absl::StatusOr<bool> here = Look(node, depth);
    if (absl::IsDataLoss(here.status()) || absl::IsNotFound(here.status())) here = false;
    if (here.ok()) known_[node] = *here;
    return here;
  }

 private:
  absl::StatusOr<bool> Look(const Digest& digest, int depth) {
    BW_ASSIGN_OR_RETURN(const bool here, dataset_.store->Has(digest));  // not only in the cache of nodes
    if (!here) return false;
    BW_ASSIGN_OR_RETURN(std::shared_ptr<const store::Node> node, dataset_.nodes->Load(digest));
    const std::vector<store::NodeChild> children = node->Children();
    std::vector<Digest> chunks;
    for (const store::NodeChild& child : children) {
      if (!child.is_node) chunks.push_back(child.digest);
    }
    BW_ASSIGN_OR_RETURN(const std::vector<bool> stored, dataset_.store->HasMany(chunks));
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (!stored[i] && !dataset_.redactions->HasChunk(chunks[i])) return false;
    }
    for (const store::NodeChild& child : children) {
      if (!child.is_node) continue;
      BW_ASSIGN_OR_RETURN(const bool whole, Has(child.digest, depth + 1));
      if (!whole) return false;
    }
    return true;
  }

  DatasetHandle& dataset_;
  absl::flat_hash_map<Digest, bool> known_;
};

// What was dropped or given up while it was read is missing with good reason: what counts is what is left.
absl::Status Settle(DatasetHandle& dataset, const std::vector<store::CatalogVersion>& read,
                    const Dropped::Versions& given_up, const VerifyReport& lasting, VerifyReport* report) {
  if (report->problem_count == 0) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(std::vector<store::CatalogVersion> left, dataset.catalog->List(dataset.id));
  std::erase_if(left, [&](const auto& v) {
    return std::none_of(read.begin(), read.end(), [&](const auto& r) { return r.identity == v.identity; });
  });
  if (left.size() == read.size() && given_up == dataset.dropped->versions()) return absl::OkStatus();
  std::erase_if(left, [&](const auto& v) { return dataset.dropped->BaseOf(v.record.number) != 0; });
  BW_ASSIGN_OR_RETURN(const std::set<VersionNumber> damaged, DamagedVersions(dataset, left));
  report->problems = lasting.problems;
  report->problem_count = lasting.problem_count;
  for (VersionNumber number : damaged) report->Add(absl::StrCat("version ", number, ": something of it is damaged"));
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyVersions(DatasetHandle& dataset, const std::vector<store::CatalogVersion>& versions,
                            const std::function<absl::Status(const VerifyReport&)>& progress, VerifyReport* report) {
  for (const auto& v : versions) report->total_bytes += v.record.logical_bytes;
  BW_RETURN_IF_ERROR(dataset.store->MissRemovedPacks());
  absl::flat_hash_set<Digest> nodes;
  absl::flat_hash_set<uint64_t> chunks;
  VerifyReport lasting;  // problems that dropping versions does not explain
  const Dropped::Versions given_up = dataset.dropped->versions();
  BW_ASSIGN_OR_RETURN(const absl::flat_hash_set<uint64_t> expected, Expected(dataset));
  auto check = [&](const Digest& digest) -> absl::StatusOr<bool> {
    if (dataset.redactions->HasChunk(digest)) {
      ++report->redacted_chunks;
      return false;
    }
    auto stored = dataset.store->Read(digest);
    absl::Status status = stored.status();
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
    std::string problem = absl::StrCat("chunk ", digest.ShortHex(), ": ", status.message());
    if (stored.ok()) lasting.Add(problem);  // it is here, and no look at what is here finds that it is another one
    report->Add(std::move(problem));
    return false;
  };
  for (const auto& v : versions) {
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
      if (absl::IsCancelled(walked)) return walked;
      std::string problem = absl::StrCat("version ", v.record.number, ": ", walked.message());
      if (!absl::IsDataLoss(walked) && !absl::IsNotFound(walked)) lasting.Add(problem);
      report->Add(std::move(problem));
    }
  }
  BW_RETURN_IF_ERROR(Settle(dataset, versions, given_up, lasting, report));
  for (const auto& v : versions) {
    if (store::VersionIdentity(v.envelope) != v.identity) {
      report->Add(absl::StrCat("version ", v.record.number, ": its record does not match its identity"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::set<VersionNumber>> DamagedVersions(DatasetHandle& dataset,
                                                        const std::vector<store::CatalogVersion>& versions) {
  std::set<VersionNumber> damaged;
  WholeTrees trees(dataset);
  for (const auto& version : versions) {
    BW_ASSIGN_OR_RETURN(const bool whole, trees.Has(version.record.manifest_root));
    if (!whole) damaged.insert(version.record.number);
  }
  return damaged;
}

std::string DescribeChange(const store::Entry* before, const store::Entry* after) {
  if (before == nullptr) return "added";
  if (after == nullptr) return "removed";
  if (before->type != after->type) return "type";
  const bool file = before->type == store::EntryType::kFile;
  if (before->target != after->target || (file && !store::SameContent(*before, *after))) return "modified";
  if (before->mode != after->mode) return "mode";
  return "meta";
}

}  // namespace bailiwick::agent
