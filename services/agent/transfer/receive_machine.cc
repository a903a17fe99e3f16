#include "services/agent/transfer/receive_machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bailiwick::agent {

bool ReceiveMachine::Order::operator()(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) const {
  const size_t common = std::min(a.size(), b.size());
  for (size_t i = 0; i < common; ++i) {
    if (a[i] != b[i]) return a[i] < b[i];
  }
  return a.size() > b.size();
}

std::vector<uint32_t> ReceiveMachine::Place(const std::vector<uint32_t>& path) const {
  std::vector<uint32_t> place = path;
  if (backwards_) {
    for (uint32_t& child : place) child = UINT32_MAX - child;
  }
  return place;
}

void ReceiveMachine::Load(NodeRef ref) {
  if (walked_.size() >= kMaxAsked) walked_.clear();
  if (!walked_.emplace(ref.digest, ref.length).second) {
    done_bytes_ += ref.length;  // looked into where it was named first, or going to be
    return;
  }
  std::vector<uint32_t> place = Place(ref.path);
  loads_.emplace(std::move(place), std::move(ref));
}

void ReceiveMachine::Begin(Have root) {
  begun_ = true;
  if (root == Have::kComplete) return;
  NodeRef ref{.path = {}, .digest = root_, .length = 0, .length_known = false};
  if (root == Have::kHere) {
    Load(std::move(ref));
    return;
  }
  Missing missing;
  missing.root = true;
  missing.pieces.push_back({.child = 0, .digest = root_, .length = 0, .is_node = true});
  missing_.emplace(std::vector<uint32_t>(), std::move(missing));
}

std::optional<ReceiveMachine::NodeRef> ReceiveMachine::NextLoad() {
  if (loads_.empty()) return std::nullopt;
  // Not while plenty is already waiting to be asked for.
  if (missing_.size() > 64) return std::nullopt;
  return std::move(loads_.extract(loads_.begin()).mapped());
}

absl::Status ReceiveMachine::Loaded(const NodeRef& ref, const store::Node& node, const std::vector<Have>& have) {
  std::vector<store::NodeChild> children = node.Children();
  if (children.size() != have.size()) return absl::InternalError("presence does not match the node's children");
  if (ref.path.size() >= kMaxDepth)
    return absl::InvalidArgumentError("the manifest is deeper than any manifest can be");
  uint64_t sum = 0;
  for (const auto& child : children) {
    if (child.length > UINT64_MAX - sum) return absl::InvalidArgumentError("the manifest's sizes overflow");
    sum += child.length;
  }
  if (node.kind == store::NodeKind::kList && ref.length_known && sum != ref.length) {
    return absl::InvalidArgumentError(absl::StrCat("a chunk list of ", sum, " bytes stands for ", ref.length));
  }
  if (node.kind != store::NodeKind::kList) {
    if (trees_.size() >= kMaxAsked) trees_.clear();
    if (!trees_.insert(ref.digest).second) {
      done_bytes_ += ref.length;
      return absl::OkStatus();
    }
  }
  Missing missing;
  missing.path = ref.path;
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
          Load(std::move(next));
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
  if (!missing.pieces.empty()) missing_.emplace(Place(ref.path), std::move(missing));
  return absl::OkStatus();
}

size_t ReceiveMachine::Taking(const Missing& from) const {
  size_t count = 0;
  for (uint64_t bytes = 0; count < std::min(from.pieces.size(), kMaxWantPieces) && bytes < kWantBytes; ++count) {
    bytes += Cost(backwards_ ? from.pieces[from.pieces.size() - 1 - count] : from.pieces[count]);
  }
  return count;
}

std::optional<ReceiveMachine::Want> ReceiveMachine::NextWant() {
  while (!missing_.empty() && in_flight_bytes_ < kInFlightBytes && in_flight_.size() < kMaxOpenWants) {
    Missing& from = missing_.begin()->second;
    Want want;
    want.fetch_root = from.root;
    want.path = from.path;
    uint64_t bytes = 0;
    for (size_t left = Taking(from); left > 0; --left) {
      Expected piece = std::move(backwards_ ? from.pieces.back() : from.pieces.front());
      backwards_ ? from.pieces.pop_back() : from.pieces.pop_front();
      if (asked_.size() >= kMaxAsked) asked_.clear();
      if (!asked_.insert(piece.digest).second) {
        done_bytes_ += piece.length;  // the first request for it brings it, or the transfer fails in the end
        continue;
      }
      bytes += Cost(piece);
      want.pieces.push_back(std::move(piece));
    }
    if (from.pieces.empty()) missing_.erase(missing_.begin());
    if (want.pieces.empty()) continue;
    if (backwards_) std::reverse(want.pieces.begin(), want.pieces.end());
    want.id = next_id_++;
    in_flight_bytes_ += bytes;
    in_flight_[want.id] = Flight{.want = want};
    return want;
  }
  return std::nullopt;
}

std::vector<ReceiveMachine::Expected> ReceiveMachine::Ahead() const {
  if (missing_.empty() || missing_.begin()->second.root || in_flight_bytes_ >= kInFlightBytes) return {};
  const Missing& from = missing_.begin()->second;
  const auto& pieces = from.pieces;
  const auto count = static_cast<std::ptrdiff_t>(Taking(from));
  return backwards_ ? std::vector<Expected>(pieces.end() - count, pieces.end())
                    : std::vector<Expected>(pieces.begin(), pieces.begin() + count);
}

void ReceiveMachine::Found(const std::vector<Have>& have) {
  Missing& from = missing_.begin()->second;
  const size_t first = backwards_ ? from.pieces.size() - have.size() : 0;
  std::deque<Expected> kept;
  for (size_t i = 0; i < from.pieces.size(); ++i) {
    Expected& piece = from.pieces[i];
    const Have here = i < first || i >= first + have.size() ? Have::kMissing : have[i - first];
    if (here == Have::kMissing) {
      kept.push_back(std::move(piece));
    } else if (piece.is_node && here == Have::kHere) {
      NodeRef ref{.path = from.path, .digest = piece.digest, .length = piece.length};
      ref.path.push_back(piece.child);
      Load(std::move(ref));
    } else {
      done_bytes_ += piece.length;
    }
  }
  from.pieces = std::move(kept);
  if (from.pieces.empty()) missing_.erase(missing_.begin());
}

absl::StatusOr<ReceiveMachine::Expected> ReceiveMachine::Next(uint64_t want_id, size_t behind) const {
  auto it = in_flight_.find(want_id);
  if (it == in_flight_.end())
    return absl::InvalidArgumentError(absl::StrCat("data for want ", want_id, ", which is not open"));
  const Flight& flight = it->second;
  if (behind >= flight.want.pieces.size() - flight.next) {
    return absl::InvalidArgumentError(absl::StrCat("more data for want ", want_id, " than it asked for"));
  }
  return flight.want.pieces[flight.next + behind];
}

void ReceiveMachine::Stored(uint64_t want_id) {
  auto it = in_flight_.find(want_id);
  if (it == in_flight_.end()) return;
  Flight& flight = it->second;
  const Expected& piece = flight.want.pieces[flight.next];
  if (piece.is_node) {
    NodeRef ref{.path = flight.want.path,
                .digest = piece.digest,
                .length = piece.length,
                .length_known = !flight.want.fetch_root};
    if (!flight.want.fetch_root) ref.path.push_back(piece.child);
    Load(std::move(ref));
  } else {
    done_bytes_ += piece.length;
  }
  Answered(it);
}

void ReceiveMachine::Absent(uint64_t want_id) {
  auto it = in_flight_.find(want_id);
  if (it == in_flight_.end()) return;
  Answered(it);
}

void ReceiveMachine::Answered(std::map<uint64_t, Flight>::iterator it) {
  Flight& flight = it->second;
  in_flight_bytes_ -= Cost(flight.want.pieces[flight.next]);
  if (++flight.next == flight.want.pieces.size()) in_flight_.erase(it);
}

}  // namespace bailiwick::agent
