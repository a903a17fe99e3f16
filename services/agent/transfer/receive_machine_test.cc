#include "services/agent/transfer/receive_machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/crypto/digest.h"

namespace bailiwick::agent {
namespace {

using Have = ReceiveMachine::Have;

// A manifest held in memory, standing for the source; `here` stands for the receiver's store.
struct World {
  std::map<Digest, std::string> nodes;
  std::set<Digest> here;
  Digest root;
  uint64_t bytes = 0;
  std::map<std::vector<uint32_t>, int> asked;

  explicit World(int files, int chunks_each, uint64_t chunk_bytes = 1000) {
    store::ManifestBuilder builder([&](const Digest& d, std::string_view encoded) {
      nodes[d] = std::string(encoded);
      return absl::OkStatus();
    });
    for (int i = 0; i < files; ++i) {
      store::Entry e;
      char name[32];
      snprintf(name, sizeof name, "f%06d", i);
      e.path = name;
      e.mode = 0644;
      for (int c = 0; c < chunks_each; ++c) {
        e.chunks.push_back({crypto::Sha256(std::string(name) + "/" + std::to_string(c)), chunk_bytes});
        e.size += chunk_bytes;
      }
      bytes += e.size;
      EXPECT_TRUE(builder.Add(e).ok());
    }
    root = builder.Finish()->root;
  }

  // Plays driver and source until finished, or until `stop_after` pieces. Returns the pieces that travelled.
  int Run(int stop_after = 1 << 30) {
    ReceiveMachine machine(root);
    machine.Begin(here.count(root) ? Have::kHere : Have::kMissing);
    int pieces = 0;
    std::vector<ReceiveMachine::Want> open;
    while (!machine.finished()) {
      while (auto ref = machine.NextLoad()) {
        auto node = store::DecodeNode(nodes.at(ref->digest));
        EXPECT_TRUE(node.ok());
        std::vector<Have> have;
        for (const auto& child : node->Children())
          have.push_back(here.count(child.digest) ? Have::kHere : Have::kMissing);
        EXPECT_TRUE(machine.Loaded(*ref, *node, have).ok());
      }
      while (auto want = machine.NextWant()) open.push_back(*want);
      if (open.empty()) {
        EXPECT_TRUE(machine.finished()) << "stuck";
        break;
      }
      ReceiveMachine::Want want = open.front();
      open.erase(open.begin());
      for (const auto& piece : want.pieces) {
        auto next = machine.Next(want.id);
        EXPECT_TRUE(next.ok());
        EXPECT_EQ(next->digest, piece.digest);
        here.insert(piece.digest);
        machine.Stored(want.id);
        if (++pieces == stop_after) return pieces;
      }
      EXPECT_FALSE(machine.Next(want.id).ok());
    }
    EXPECT_EQ(machine.done_bytes(), bytes);
    return pieces;
  }
};

// One of several machines over the same store, each with its source.
class Sharer {
 public:
  Sharer(World* world, bool backwards) : world_(world), machine_(world->root, backwards) {
    machine_.Begin(world_->here.count(world_->root) ? Have::kHere : Have::kMissing);
  }
  bool finished() const { return machine_.finished(); }
  int pieces() const { return pieces_; }
  uint64_t done_bytes() const { return machine_.done_bytes(); }
  void Step() {  // up to one want that is answered
    while (auto ref = machine_.NextLoad()) {
      auto node = store::DecodeNode(world_->nodes.at(ref->digest));
      ASSERT_TRUE(machine_.Loaded(*ref, *node, Presence(node->Children())).ok());
    }
    for (;;) {
      for (auto ahead = machine_.Ahead(); !ahead.empty(); ahead = machine_.Ahead()) {
        const std::vector<Have> have = Presence(ahead);
        machine_.Found(have);
        if (std::count(have.begin(), have.end(), Have::kMissing) > 0) break;
      }
      auto want = machine_.NextWant();
      if (!want) break;
      open_.push_back(*want);
    }
    if (open_.empty()) return;
    const ReceiveMachine::Want want = open_.front();
    open_.erase(open_.begin());
    for (const auto& piece : want.pieces) {
      EXPECT_EQ(machine_.Next(want.id)->digest, piece.digest);
      world_->here.insert(piece.digest);
      machine_.Stored(want.id);
      ++pieces_;
    }
  }

 private:
  template <typename Piece>
  std::vector<Have> Presence(const std::vector<Piece>& pieces) const {
    std::vector<Have> have;
    for (const auto& piece : pieces) have.push_back(world_->here.count(piece.digest) ? Have::kHere : Have::kMissing);
    return have;
  }
  World* const world_;
  ReceiveMachine machine_;
  std::vector<ReceiveMachine::Want> open_;
  int pieces_ = 0;
};

TEST(ReceiveMachine, TwoFromBothEndsShareTheWork) {
  for (int slower : {1, 4}) {  // the second source is that much slower
    World world(3000, 2, 1 << 20);
    Sharer front(&world, false), back(&world, true);
    for (int step = 0; !front.finished() || !back.finished(); ++step) {
      ASSERT_LT(step, 100'000) << "stuck";
      front.Step();
      if (step % slower == 0) back.Step();
    }
    const int all = static_cast<int>(world.nodes.size()) + 6000;
    EXPECT_EQ(world.here.size(), static_cast<size_t>(all));
    EXPECT_LT(front.pieces() + back.pieces(), all + static_cast<int>(world.nodes.size()) + 150) << "asked for twice";
    EXPECT_GT(back.pieces(), 6000 / (slower + 2));
    EXPECT_EQ(front.done_bytes(), world.bytes);
    EXPECT_EQ(back.done_bytes(), world.bytes);
  }
}

TEST(ReceiveMachine, FetchesEverythingOnceAndNothingTheSecondTime) {
  World world(3000, 2);
  int first = world.Run();
  EXPECT_EQ(static_cast<size_t>(first), world.nodes.size() + 6000);
  EXPECT_EQ(world.Run(), 0);
}

TEST(ReceiveMachine, ResumesAfterABreakAtEveryHundredthPiece) {
  World whole(500, 3);
  int all = whole.Run();
  for (int cut = 1; cut < all; cut += 100) {
    World world(500, 3);
    int before = world.Run(cut);
    EXPECT_EQ(before, cut);
    EXPECT_EQ(world.Run(), all - cut) << "sent again after a break at " << cut;
  }
}

TEST(ReceiveMachine, BigFileGoesThroughChunkLists) {
  World world(2, 5000);
  EXPECT_EQ(static_cast<size_t>(world.Run()), world.nodes.size() + 10000);
}

TEST(ReceiveMachine, RefusesAListWhoseSizesDoNotAddUp) {
  ReceiveMachine machine(crypto::Sha256("root"));
  store::Node list;
  list.kind = store::NodeKind::kList;
  list.height = 1;
  list.references = {{crypto::Sha256("a"), 10}, {crypto::Sha256("b"), 20}};
  ReceiveMachine::NodeRef ref{.path = {0}, .digest = crypto::Sha256("x"), .length = 31};
  EXPECT_FALSE(machine.Loaded(ref, list, {Have::kMissing, Have::kMissing}).ok());
}

// By 2^11 ways one comes to the last of these nodes.
TEST(ReceiveMachine, LooksIntoANodeOnceHoweverOftenItIsNamed) {
  constexpr uint8_t kHeight = store::kMaxHeight;
  std::map<Digest, store::Node> nodes;
  auto name = [](int height) { return crypto::Sha256(std::to_string(height)); };
  for (uint8_t height = 1; height <= kHeight; ++height) {
    store::Node& list = nodes[name(height)];
    list.kind = store::NodeKind::kList;
    list.height = height;
    list.references = {{name(height - 1), uint64_t{1} << height}, {name(height - 1), uint64_t{1} << height}};
  }
  ReceiveMachine machine(name(kHeight));
  machine.Begin(Have::kHere);
  int loads = 0;
  while (auto ref = machine.NextLoad()) {
    ASSERT_LE(++loads, kHeight);
    ASSERT_TRUE(machine.Loaded(*ref, nodes.at(ref->digest), {Have::kHere, Have::kHere}).ok());
  }
  EXPECT_EQ(loads, kHeight);
  EXPECT_TRUE(machine.finished());
}

// The same where each way gives it another length, which nothing of a directory's node proves wrong.
TEST(ReceiveMachine, LooksIntoANodeOnceWhateverLengthsItIsGiven) {
  constexpr uint8_t kHeight = store::kMaxHeight;
  auto name = [](int height) { return crypto::Sha256(std::to_string(height)); };
  std::map<Digest, store::Node> nodes;
  nodes[name(0)].kind = store::NodeKind::kLeaf;
  for (uint8_t height = 1; height <= kHeight; ++height) {
    store::Node& inner = nodes[name(height)];
    inner.kind = store::NodeKind::kInner;
    inner.height = height;
    inner.inner.resize(4);
    for (uint64_t i = 0; i < inner.inner.size(); ++i) {
      inner.inner[i].digest = name(height - 1);
      inner.inner[i].bytes = i + 1;
    }
  }
  ReceiveMachine machine(name(kHeight));
  machine.Begin(Have::kHere);
  int loads = 0;
  while (auto ref = machine.NextLoad()) {
    ASSERT_LE(++loads, 4 * kHeight + 1);
    const store::Node& node = nodes.at(ref->digest);
    ASSERT_TRUE(machine.Loaded(*ref, node, std::vector<Have>(node.Children().size(), Have::kHere)).ok());
  }
  EXPECT_TRUE(machine.finished());
}

TEST(ReceiveMachine, GoesOnWithoutWhatIsAbsent) {
  World world(3000, 2);
  ReceiveMachine machine(world.root);
  machine.Begin(Have::kMissing);
  int pieces = 0, absent = 0;
  std::vector<ReceiveMachine::Want> open;
  while (!machine.finished()) {
    while (auto ref = machine.NextLoad()) {
      auto node = store::DecodeNode(world.nodes.at(ref->digest));
      ASSERT_TRUE(machine.Loaded(*ref, *node, std::vector<Have>(node->Children().size(), Have::kMissing)).ok());
    }
    while (auto want = machine.NextWant()) open.push_back(*want);
    ASSERT_FALSE(open.empty()) << "stuck";
    for (const auto& piece : open.front().pieces) {
      const bool lost = !piece.is_node && ++pieces % 10 == 0;
      lost ? machine.Absent(open.front().id) : machine.Stored(open.front().id);
      absent += lost;
    }
    open.erase(open.begin());
  }
  EXPECT_EQ(pieces, 6000);
  EXPECT_EQ(machine.done_bytes(), world.bytes - static_cast<uint64_t>(absent) * 1000);
}

TEST(ReceiveMachine, RefusesDataNobodyAskedFor) {
  ReceiveMachine machine(crypto::Sha256("root"));
  machine.Begin(Have::kMissing);
  EXPECT_FALSE(machine.Next(7).ok());
}

TEST(ReceiveMachine, ACompleteRootNeedsNothing) {
  ReceiveMachine machine(crypto::Sha256("root"));
  machine.Begin(Have::kComplete);
  EXPECT_TRUE(machine.finished());
  EXPECT_FALSE(machine.NextWant().has_value());
}

}  // namespace
}  // namespace bailiwick::agent
