#include "services/agent/transfer/receive_machine.h"

#include <gtest/gtest.h>

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

  explicit World(int files, int chunks_each) {
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
        e.chunks.push_back({crypto::Sha256(std::string(name) + "/" + std::to_string(c)), 1000});
        e.size += 1000;
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
        for (const auto& child : node->Children()) have.push_back(here.count(child.digest) ? Have::kHere : Have::kMissing);
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
