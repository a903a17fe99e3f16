// A receiver that walks a manifest which its source made up, from either end, is answered in any order, and finds things
// that others brought.
#include "services/agent/transfer/receive_machine.h"
#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(receive) {
  using namespace bailiwick;
  using agent::ReceiveMachine;
  std::vector<store::Node> nodes;
  for (int i = in.Byte() % 8; i >= 0; --i) {
    auto node = store::DecodeNode(in.Chunk());
    if (node.ok()) nodes.push_back(*std::move(node));
  }
  if (nodes.empty()) return;
  auto have = [&] { return static_cast<ReceiveMachine::Have>(in.Byte() % 3); };
  ReceiveMachine machine(Digest{}, in.Byte() % 2 == 1);
  machine.Begin(have());
  std::map<uint64_t, size_t> open;  // wants, and how many of their pieces have not come
  for (int step = 0; step < 4096 && !in.done(); ++step) {
    const uint8_t what = in.Byte();
    if (what % 4 == 0) {
      auto ref = machine.NextLoad();
      if (!ref.has_value()) continue;
      REQUIRE(ref->path.size() <= ReceiveMachine::kMaxDepth);
      const store::Node& node = nodes[what / 4 % nodes.size()];
      std::vector<ReceiveMachine::Have> all(node.Children().size());
      for (auto& one : all) one = have();
      if (!machine.Loaded(*ref, node, all).ok()) return;  // the transfer ends
    } else if (what % 4 == 1) {
      auto want = machine.NextWant();
      if (!want.has_value()) continue;
      REQUIRE(!want->pieces.empty() && want->pieces.size() <= 4096 && open.count(want->id) == 0);
      REQUIRE(want->path.size() <= ReceiveMachine::kMaxDepth);
      open[want->id] = want->pieces.size();
    } else if (what % 8 == 2) {
      std::vector<ReceiveMachine::Have> found(machine.Ahead().size());
      for (auto& one : found) one = have();
      if (!found.empty()) machine.Found(found);
    } else {
      const uint64_t id = what / 4;
      REQUIRE(machine.Next(id).ok() == (open.count(id) != 0));
      machine.Stored(id);
      if (auto it = open.find(id); it != open.end() && --it->second == 0) open.erase(it);
    }
    REQUIRE(open.size() <= ReceiveMachine::kMaxOpenWants);
    REQUIRE(!machine.finished() || open.empty());
  }
}
