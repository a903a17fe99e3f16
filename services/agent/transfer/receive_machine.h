// What a receiver does next, without I/O: walks a granted manifest from its root, asks only for what is missing, keeps a
// bounded number of bytes in flight. The driver loads nodes, tells which children are here, stores what arrives.
//
// Invariants: a want names only children of nodes whose digest was verified; bytes in flight stay under kInFlightBytes plus
// one piece; the stacks hold at most the siblings along one path (depth-first), so memory does not grow with the version;
// finished() is true exactly when everything below the root is here.
//
// A break loses only the machine: a new one over the same store starts at the root again and finds what arrived.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/store/manifest.h"

namespace bailiwick::agent {

class ReceiveMachine {
 public:
  static constexpr uint64_t kInFlightBytes = 24 << 20;  // covers 1 Gbit/s at 100 ms twice
  static constexpr uint64_t kWantBytes = 4 << 20;       // one want: a few frames, so that several are in flight
  static constexpr uint64_t kNodeGuessBytes = 16 << 10;
  static constexpr size_t kMaxOpenWants = 64;            // so the queue of unsent wants is bounded too
  static constexpr size_t kMaxAsked = 1 << 17;          // digests remembered so that a repeated chunk is asked for once
  static constexpr size_t kMaxDepth = 2 * store::kMaxHeight;

  struct NodeRef {
    std::vector<uint32_t> path;
    Digest digest;
    uint64_t length = 0;           // of file content below, as the parent says
    bool length_known = true;      // not for the root
  };
  struct Expected {
    uint32_t child = 0;
    Digest digest;
    uint64_t length = 0;  // of content; for a chunk its raw length
    bool is_node = false;
  };
  struct Want {
    uint64_t id = 0;
    bool fetch_root = false;
    std::vector<uint32_t> path;
    std::vector<Expected> pieces;  // ascending by child
  };
  enum class Have : uint8_t { kMissing, kHere, kComplete /* a node with everything below it */ };

  explicit ReceiveMachine(const Digest& root) : root_(root) {}

  void Begin(Have root);

  // A node that is in the store and must be looked into; the driver then calls Loaded.
  std::optional<NodeRef> NextLoad();
  // `have` matches node.Children(). INVALID_ARGUMENT: the manifest contradicts itself (the version is not to be taken).
  absl::Status Loaded(const NodeRef& ref, const store::Node& node, const std::vector<Have>& have);

  std::optional<Want> NextWant();
  // The oldest unanswered piece of a want, which Data frames answer in order. INVALID_ARGUMENT: no such want.
  absl::StatusOr<Expected> Next(uint64_t want_id) const;
  // That piece is verified and stored.
  void Stored(uint64_t want_id);

  bool finished() const { return begun_ && loads_.empty() && missing_.empty() && in_flight_.empty(); }
  bool idle() const { return loads_.empty() && in_flight_.empty(); }
  uint64_t done_bytes() const { return done_bytes_; }  // content known to be here

 private:
  struct Missing {
    std::vector<uint32_t> path;
    std::deque<Expected> pieces;
    bool root = false;
  };
  struct Flight {
    Want want;
    size_t next = 0;
  };
  static uint64_t Cost(const Expected& e) { return e.is_node ? kNodeGuessBytes : e.length; }

  const Digest root_;
  bool begun_ = false;
  std::vector<NodeRef> loads_;     // stack
  std::vector<Missing> missing_;   // stack, one a node
  std::map<uint64_t, Flight> in_flight_;
  absl::flat_hash_set<Digest> asked_;
  uint64_t in_flight_bytes_ = 0;
  uint64_t next_id_ = 1;
  uint64_t done_bytes_ = 0;
};

}  // namespace bailiwick::agent
