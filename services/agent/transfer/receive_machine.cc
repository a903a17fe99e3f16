#include "services/agent/transfer/receive_machine.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace bailiwick::agent {

void ReceiveMachine::Begin(Have root) {
  begun_ = true;
  if (root == Have::kComplete) return;
  NodeRef ref{.path = {}, .digest = root_, .length = 0, .length_known = false};
  if (root == Have::kHere) {
    loads_.push_back(std::move(ref));
    return;
  }
  Missing missing;
  missing.root = true;
  missing.pieces.push_back({.child = 0, .digest = root_, .length = 0, .is_node = true});
  missing_.push_back(std::move(missing));
}

std::optional<ReceiveMachine::NodeRef> ReceiveMachine::NextLoad() {
  if (loads_.empty()) return std::nullopt;
  // Deep before wide, but not while plenty is already waiting to be asked for: the stacks stay small.
  if (missing_.size() > 64) return std::nullopt;
  NodeRef ref = std::move(loads_.back());
  loads_.pop_back();
  return ref;
}

absl::Status ReceiveMachine::Loaded(const NodeRef& ref, const store::Node& node, const std::vector<Have>& have) {
  std::vector<store::NodeChild> children = node.Children();
  if (children.size() != have.size()) return absl::InternalError("presence does not match the node's children");
  if (ref.path.size() >= kMaxDepth) return absl::InvalidArgumentError("the manifest is deeper than any manifest can be");
  uint64_t sum = 0;
  for (const auto& child : children) {
    if (child.length > UINT64_MAX - sum) return absl::InvalidArgumentError("the manifest's sizes overflow");
    sum += child.length;
  }
  if (node.kind == store::NodeKind::kList && ref.length_known && sum != ref.length) {
    return absl::InvalidArgumentError(absl::StrCat("a chunk list of ", sum, " bytes stands for ", ref.length));
  }
  Missing missing;
  missing.path = ref.path;
  std::vector<NodeRef> here;
  for (size_t i = 0; i < children.size(); ++i) {
    const store::NodeChild& child = children[i];
    switch (have[i]) {
      case Have::kComplete:
        done_bytes_ += child.length;
        break;
      case Have::kHere:
        if (!child.is_node) {
          done_bytes_ += child.length;
        } else {
          NodeRef next{.path = ref.path, .digest = child.digest, .length = child.length};
          next.path.push_back(static_cast<uint32_t>(i));
          here.push_back(std::move(next));
        }
        break;
      case Have::kMissing:
        missing.pieces.push_back({.child = static_cast<uint32_t>(i),
                                  .digest = child.digest,
                                  .length = child.length,
                                  .is_node = child.is_node});
        break;
    }
  }
  loads_.insert(loads_.end(), std::make_move_iterator(here.rbegin()), std::make_move_iterator(here.rend()));
  if (!missing.pieces.empty()) missing_.push_back(std::move(missing));
  return absl::OkStatus();
}

std::optional<ReceiveMachine::Want> ReceiveMachine::NextWant() {
  while (!missing_.empty() && in_flight_bytes_ < kInFlightBytes && in_flight_.size() < kMaxOpenWants) {
    Missing& from = missing_.back();
    Want want;
    want.fetch_root = from.root;
    want.path = from.path;
    uint64_t bytes = 0;
    while (!from.pieces.empty() && bytes < kWantBytes && want.pieces.size() < 4096) {
      Expected piece = std::move(from.pieces.front());
      from.pieces.pop_front();
      if (asked_.size() >= kMaxAsked) asked_.clear();
      if (!asked_.insert(piece.digest).second) {
        done_bytes_ += piece.length;  // the first request for it brings it, or the whole transfer ends
        continue;
      }
      bytes += Cost(piece);
      want.pieces.push_back(std::move(piece));
    }
    if (from.pieces.empty()) missing_.pop_back();
    if (want.pieces.empty()) continue;
    want.id = next_id_++;
    in_flight_bytes_ += bytes;
    in_flight_[want.id] = Flight{.want = want};
    return want;
  }
  return std::nullopt;
}

absl::StatusOr<ReceiveMachine::Expected> ReceiveMachine::Next(uint64_t want_id) const {
  auto it = in_flight_.find(want_id);
  if (it == in_flight_.end()) return absl::InvalidArgumentError(absl::StrCat("data for want ", want_id, ", which is not open"));
  return it->second.want.pieces[it->second.next];
}

void ReceiveMachine::Stored(uint64_t want_id) {
  auto it = in_flight_.find(want_id);
  if (it == in_flight_.end()) return;
  Flight& flight = it->second;
  const Expected& piece = flight.want.pieces[flight.next];
  in_flight_bytes_ -= Cost(piece);
  if (piece.is_node) {
    NodeRef ref{.path = flight.want.path, .digest = piece.digest, .length = piece.length,
                .length_known = !flight.want.fetch_root};
    if (!flight.want.fetch_root) ref.path.push_back(piece.child);
    loads_.push_back(std::move(ref));
  } else {
    done_bytes_ += piece.length;
  }
  if (++flight.next == flight.want.pieces.size()) in_flight_.erase(it);
}

}  // namespace bailiwick::agent
