#include "services/agent/transfer/source.h"

#include <span>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "services/agent/transfer/receive_machine.h"

namespace bailiwick::agent {

absl::Status WantServer::Check(const transfer::v1::Want& want) {
  if (static_cast<size_t>(want.node_path_size()) > ReceiveMachine::kMaxDepth) {
    return absl::InvalidArgumentError("a path deeper than any manifest");
  }
  if (want.spans_size() > kMaxSpans) {
    return absl::InvalidArgumentError(absl::StrCat("a want with ", want.spans_size(), " spans"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const store::Node>> WantServer::Resolve(const transfer::v1::Want& want) {
  BW_ASSIGN_OR_RETURN(std::shared_ptr<const store::Node> node, dataset_->nodes->Load(root_));
  for (uint32_t index : want.node_path()) {
    std::vector<store::NodeChild> children = node->Children();
    if (index >= children.size()) return absl::InvalidArgumentError(absl::StrCat("no child ", index, " on that path"));
    if (!children[index].is_node) return absl::InvalidArgumentError("a path through file content");
    BW_ASSIGN_OR_RETURN(node, dataset_->nodes->Load(children[index].digest));
  }
  return node;
}

absl::Status WantServer::Serve(const transfer::v1::Want& want, const Size& size, const Send& send) {
  BW_RETURN_IF_ERROR(Check(want));
  DataFrame frame(want.want_id());
  std::vector<Digest> digests;
  std::vector<uint64_t> lengths;  // about what reading each brings
  if (want.fetch_root()) {
    if (want.node_path_size() != 0 || want.spans_size() != 0) {
      return absl::InvalidArgumentError("a want for the root that names children too");
    }
    digests.push_back(root_);
    lengths.push_back(store::kMaxNodeBytes);
  } else {
    if (want.spans_size() == 0) return absl::InvalidArgumentError("a want for nothing");
    BW_ASSIGN_OR_RETURN(std::shared_ptr<const store::Node> node, Resolve(want));
    std::vector<store::NodeChild> children = node->Children();
    uint64_t next = 0;
    for (const auto& span : want.spans()) {
      uint64_t end = uint64_t{span.first()} + span.count();
      if (span.count() == 0 || span.first() < next || end > children.size()) {
        return absl::InvalidArgumentError("a want for children that do not exist or are out of order");
      }
      next = end;
      if (digests.size() + span.count() > kMaxChildren)
        return absl::InvalidArgumentError("a want for too many children");
      for (uint64_t i = span.first(); i < end; ++i) {
        digests.push_back(children[i].digest);
        lengths.push_back(children[i].is_node ? ReceiveMachine::kNodeGuessBytes : children[i].length);
      }
    }
  }
  // A frame's worth at a time: what lies side by side in a pack is read at once.
  size_t frame_bytes = size();
  for (size_t begin = 0, end = 0; begin < digests.size(); begin = end) {
    for (uint64_t bytes = 0; end < digests.size() && bytes < frame_bytes; ++end) bytes += lengths[end];
    std::vector<absl::StatusOr<store::ChunkView>> chunks =
        dataset_->store->ReadMany(std::span(digests).subspan(begin, end - begin));
    for (size_t i = begin; i < end; ++i) {
      absl::StatusOr<store::ChunkView>& chunk = chunks[i - begin];
      if (chunk.ok()) {
        frame.Add(*std::move(chunk));
      } else if (absl::IsNotFound(chunk.status()) || absl::IsDataLoss(chunk.status())) {
        frame.AddAbsent();
        lacks_ = true;
      } else {
        return chunk.status();
      }
      const bool last = i + 1 == digests.size();
      if (last || frame.payload_bytes() >= frame_bytes - frame_bytes / 128 || frame.pieces() >= 4096) {
        BW_RETURN_IF_ERROR(send(frame, last));
        frame = DataFrame(want.want_id());
        if (!last) frame_bytes = size();
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
