// What a receiver does next, without I/O: walks a granted manifest from its root, asks only for what is missing, keeps
// a bounded number of bytes in flight. The driver loads nodes, tells which children are here, stores what arrives.
//
// Invariants: a want names only children of nodes whose digest was verified; bytes in flight stay under kInFlightBytes
// plus one piece; the walk goes deep before wide and looks into few nodes ahead, so memory does not grow with the
// version; finished() is true exactly when everything below the root is here, but for what was absent.
//
// Several machines may work on one version, each with a source of its own: one from the front, the next from the back,
// and before it asks each looks again at what the others have brought (Ahead, Found). Where they meet some is asked for
// twice.
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
  static constexpr size_t kMaxWantPieces = 4096;
  static constexpr uint64_t kNodeGuessBytes = 16 << 10;
  static constexpr size_t kMaxOpenWants = 64;            // so the queue of unsent wants is bounded too
  static constexpr size_t kMaxAsked = 1 << 17;  // digests remembered so that a repeated chunk is asked for once,
                                                // and as many of nodes so that they are looked into once
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

  explicit ReceiveMachine(const Digest& root, bool backwards = false) : root_(root), backwards_(backwards) {}

  void Begin(Have root);

  // A node that is in the store and must be looked into; the driver then calls Loaded.
  std::optional<NodeRef> NextLoad();
  // `have` matches node.Children(). INVALID_ARGUMENT: the manifest contradicts itself (the version is not to be taken).
  absl::Status Loaded(const NodeRef& ref, const store::Node& node, const std::vector<Have>& have);

  std::optional<Want> NextWant();
  // What the next want would ask for; `have` matches it. A node that is kHere comes back from NextLoad.
  std::vector<Expected> Ahead() const;
  void Found(const std::vector<Have>& have);
  // A piece of a want, which Data frames answer in order: the oldest unanswered one, or that many behind it.
  // INVALID_ARGUMENT: no such want, or no such piece of it.
  absl::StatusOr<Expected> Next(uint64_t want_id, size_t behind = 0) const;
  // The oldest unanswered piece is verified and stored.
  void Stored(uint64_t want_id);
  // It is not to be had: the walk goes on without it and what is below it.
  void Absent(uint64_t want_id);

  bool finished() const { return begun_ && loads_.empty() && missing_.empty() && in_flight_.empty(); }
  bool idle() const { return in_flight_.empty(); }  // nothing will come by itself
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
  // By place in the tree: what lies below a node comes before it, and what is walked first before what is walked later.
  struct Order {
    bool operator()(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) const;
  };
  template <typename T>
  using Walk = std::map<std::vector<uint32_t>, T, Order>;
  std::vector<uint32_t> Place(const std::vector<uint32_t>& path) const;

  void Load(NodeRef ref);
  void Answered(std::map<uint64_t, Flight>::iterator flight);  // the oldest unanswered piece of it
  size_t Taking(const Missing& from) const;  // pieces that one want takes of it
  static uint64_t Cost(const Expected& e) { return e.is_node ? kNodeGuessBytes : e.length; }

  const Digest root_;
  const bool backwards_;
  bool begun_ = false;
  Walk<NodeRef> loads_;
  Walk<Missing> missing_;  // one a node
  std::map<uint64_t, Flight> in_flight_;
  absl::flat_hash_set<Digest> asked_;
  absl::flat_hash_set<std::pair<Digest, uint64_t>> walked_;  // nodes, with the length that their parents say
  absl::flat_hash_set<Digest> trees_;  // those that are no lists: of them nothing tells that a length is wrong
  uint64_t in_flight_bytes_ = 0;
  uint64_t next_id_ = 1;
  uint64_t done_bytes_ = 0;
};

}  // namespace bailiwick::agent
