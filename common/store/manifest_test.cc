#include "common/store/manifest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "common/crypto/digest.h"
#include "common/store/memory_nodes.h"

namespace bailiwick::store {
namespace {

Entry File(const std::string& path, int chunks, const std::string& salt = "") {
  Entry e;
  e.path = path;
  e.mode = 0644;
  e.mtime_ns = 1'700'000'000'000'000'000 + static_cast<int64_t>(path.size());
  for (int i = 0; i < chunks; ++i) e.chunks.push_back({crypto::Sha256(path + salt + std::to_string(i)), 100});
  e.size = 100u * static_cast<uint64_t>(chunks);
  return e;
}

std::map<std::string, Entry, bool (*)(const std::string&, const std::string&)> Sorted() {
  return std::map<std::string, Entry, bool (*)(const std::string&, const std::string&)>(
      [](const std::string& a, const std::string& b) { return ComparePaths(a, b) < 0; });
}

template <typename Map>
Digest Build(MemoryNodes& nodes, const Map& entries) {
  ManifestBuilder builder(nodes.Sink());
  for (const auto& [path, entry] : entries) EXPECT_TRUE(builder.Add(entry).ok()) << path;
  auto summary = builder.Finish();
  EXPECT_TRUE(summary.ok());
  EXPECT_EQ(summary->entries, entries.size());
  return summary->root;
}

TEST(Paths, SlashSortsFirstAndBadPathsAreRefused) {
  EXPECT_LT(ComparePaths("a", "a/b"), 0);
  EXPECT_LT(ComparePaths("a/b", "a-b"), 0);
  EXPECT_LT(ComparePaths("a/b", "a\x01"), 0);
  EXPECT_EQ(ComparePaths("x", "x"), 0);
  for (const char* bad : {"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b"})
    EXPECT_FALSE(CheckPath(bad).ok()) << bad;
  EXPECT_FALSE(CheckPath(std::string("a\0b", 3)).ok());
  EXPECT_FALSE(CheckPath(std::string(256, 'x')).ok());
  for (const char* good : {"a", "...", "a/..b", ".git", "\xff\xfe", "new\nline"})
    EXPECT_TRUE(CheckPath(good).ok()) << good;
}

TEST(Manifest, EveryKindOfEntryComesBackAsItWas) {
  MemoryNodes nodes;
  auto entries = Sorted();
  Entry dir;
  dir.path = "d";
  dir.type = EntryType::kDirectory;
  dir.mode = 01777;
  dir.mtime_ns = -5;
  entries["d"] = dir;
  Entry link;
  link.path = "d/link";
  link.type = EntryType::kSymlink;
  link.mode = 0777;
  link.target = "../../\xff elsewhere";
  entries["d/link"] = link;
  Entry empty = File("empty", 0);
  empty.owner = {{1000, 65534}};
  entries["empty"] = empty;
  Entry sparse = File("sparse", 2);
  sparse.holes = {{0, 4096}, {4196, 1 << 20}};
  sparse.size = 200 + 4096 + (1 << 20);
  entries["sparse"] = sparse;
  entries["big"] = File("big", 5000);
  Digest root = Build(nodes, entries);
  ManifestCursor cursor(&nodes, root);
  Entry e;
  for (const auto& entry : entries) {
    const Entry& expected = entry.second;
    ASSERT_TRUE(*cursor.Next(&e));
    EXPECT_EQ(e.path, entry.first);
    EXPECT_EQ(e.type, expected.type);
    EXPECT_EQ(e.mode, expected.mode);
    EXPECT_EQ(e.mtime_ns, expected.mtime_ns);
    EXPECT_EQ(e.size, expected.size);
    EXPECT_EQ(e.target, expected.target);
    EXPECT_EQ(e.owner, expected.owner);
    EXPECT_EQ(e.holes.size(), expected.holes.size());
    size_t n = 0;
    ASSERT_TRUE(ForEachChunk(&nodes, e, [&](const Reference& r) {
                  EXPECT_EQ(r.digest, expected.chunks[n].digest);
                  ++n;
                  return absl::OkStatus();
                }).ok());
    EXPECT_EQ(n, expected.chunks.size());
  }
  EXPECT_FALSE(*cursor.Next(&e));
}

TEST(Manifest, AListThatIsPassedThroughGivesTheSameRoot) {
  MemoryNodes nodes;
  auto flat = Sorted();
  flat["big"] = File("big", 3000);
  Digest root = Build(nodes, flat);
  auto found = FindEntry(&nodes, root, "big");
  ASSERT_TRUE(found.ok() && found->has_value());
  EXPECT_GT((*found)->list_height, 0);
  auto again = Sorted();
  again["big"] = **found;
  EXPECT_EQ(Build(nodes, again), root);
}

TEST(Manifest, TenChangesInAHundredThousandReadFewNodes) {
  MemoryNodes nodes;
  auto entries = Sorted();
  for (int i = 0; i < 100'000; ++i) {
    std::string path = "dir" + std::to_string(i / 1000) + "/f" + std::to_string(i);
    entries[path] = File(path, 1);
  }
  Digest before = Build(nodes, entries);
  const size_t all = nodes.nodes.size();
  std::mt19937 rng(7);
  std::vector<std::string> paths;
  for (const auto& [path, e] : entries) paths.push_back(path);
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 10; ++i) {
    const std::string path = paths[rng() % paths.size()];
    if (expected.count(path) != 0) continue;
    if (i % 3 == 0) {
      entries.erase(path);
      expected[path] = "removed";
    } else if (i % 3 == 1) {
      entries[path] = File(path, 1, "changed");
      expected[path] = "changed";
    } else {
      entries[path + ".new"] = File(path + ".new", 1);
      expected[path + ".new"] = "added";
    }
  }
  Digest after = Build(nodes, entries);
  EXPECT_LT(nodes.nodes.size() - all, 60u) << "a version stores what changed";
  nodes.loads = 0;
  std::map<std::string, std::string> found;
  ASSERT_TRUE(DiffManifests(&nodes, before, after, [&](const Entry* a, const Entry* b) {
                found[a != nullptr ? a->path : b->path] =
                    a == nullptr ? "added" : (b == nullptr ? "removed" : "changed");
                return absl::OkStatus();
              }).ok());
  EXPECT_EQ(found, expected);
  EXPECT_LT(nodes.loads, 150);
}

TEST(Manifest, DiffOfRandomTreesIsExact) {
  std::mt19937 rng(11);
  for (int round = 0; round < 60; ++round) {
    MemoryNodes nodes;
    auto a = Sorted(), b = Sorted();
    const int n = 1 + static_cast<int>(rng() % 1500);
    for (int i = 0; i < n; ++i) {
      std::string path = "p" + std::to_string(rng() % 3000);
      if (rng() % 3 != 0) path += "/q" + std::to_string(rng() % 50);
      if (rng() % 10 != 0) a[path] = File(path, static_cast<int>(rng() % 3));
      if (rng() % 10 != 0)
        b[path] = rng() % 20 == 0 ? File(path, 2, "x")
                                  : File(path, a.count(path) ? static_cast<int>(a[path].chunks.size()) : 1);
    }
    Digest ra = Build(nodes, a), rb = Build(nodes, b);
    size_t differences = 0;
    for (const auto& [path, e] : a)
      differences += b.count(path) == 0 || EncodeNode({.entries = {e}}) != EncodeNode({.entries = {b[path]}});
    for (const auto& [path, e] : b) differences += a.count(path) == 0;
    size_t found = 0;
    std::string last;
    ASSERT_TRUE(DiffManifests(&nodes, ra, rb, [&](const Entry* x, const Entry* y) {
                  const std::string& path = x != nullptr ? x->path : y->path;
                  EXPECT_TRUE(last.empty() || ComparePaths(last, path) < 0);
                  last = path;
                  ++found;
                  return absl::OkStatus();
                }).ok());
    EXPECT_EQ(found, differences) << "round " << round;
  }
}

TEST(Manifest, EmptyHasARootToo) {
  MemoryNodes nodes;
  Digest root = Build(nodes, Sorted());
  EXPECT_FALSE(root.empty());
  ManifestCursor cursor(&nodes, root);
  Entry e;
  EXPECT_FALSE(*cursor.Next(&e));
}

TEST(Manifest, RefusesEntriesOutOfOrder) {
  MemoryNodes nodes;
  ManifestBuilder builder(nodes.Sink());
  ASSERT_TRUE(builder.Add(File("b", 1)).ok());
  EXPECT_FALSE(builder.Add(File("a", 1)).ok());
  EXPECT_FALSE(builder.Add(File("b", 1)).ok());
  EXPECT_FALSE(builder.Add(File("../etc", 1)).ok());
}

// A tree that a builder would never make, as a hostile peer might send it.
class HostileTree : public ::testing::Test {
 protected:
  Digest Add(const Node& node) {
    const std::string encoded = EncodeNode(node);
    EXPECT_TRUE(DecodeNode(encoded).ok()) << "each node is fine by itself";
    const Digest digest = crypto::Sha256(encoded);
    nodes_.nodes[digest] = encoded;
    return digest;
  }
  Node::Child Leaf(const std::vector<std::string>& paths) {
    Node leaf;
    Node::Child child;
    for (const std::string& path : paths) {
      leaf.entries.push_back(File(path, 1));
      child.bytes += 100;
    }
    child.first_path = paths[0];
    child.entries = paths.size();
    child.digest = Add(leaf);
    return child;
  }
  Digest Inner(std::vector<Node::Child> children, uint8_t height = 1) {
    Node inner;
    inner.kind = NodeKind::kInner;
    inner.height = height;
    inner.inner = std::move(children);
    return Add(inner);
  }
  absl::Status ReadAll(const Digest& root) {
    ManifestCursor cursor(&nodes_, root);
    Entry e;
    while (true) {
      auto more = cursor.Next(&e);
      if (!more.ok()) return more.status();
      if (!*more) return absl::OkStatus();
    }
  }
  // Every reader refuses it.
  void ExpectRefused(const Digest& root, const std::string& path) {
    EXPECT_TRUE(absl::IsDataLoss(ReadAll(root))) << ReadAll(root);
    EXPECT_TRUE(absl::IsDataLoss(
        DiffManifests(&nodes_, Digest(), root, [](const Entry*, const Entry*) { return absl::OkStatus(); })));
    EXPECT_TRUE(absl::IsDataLoss(FindEntry(&nodes_, root, path).status()));
  }
  MemoryNodes nodes_;
};

TEST_F(HostileTree, AWellMadeOneIsRead) { EXPECT_TRUE(ReadAll(Inner({Leaf({"a", "b"}), Leaf({"c"})})).ok()); }

TEST_F(HostileTree, AChildThatIsNotWhatItsParentSaysIsRefused) {
  auto wrong = [&](auto change) {
    Node::Child child = Leaf({"a", "b"});
    change(child);
    ExpectRefused(Inner({child, Leaf({"x"})}), "b");
  };
  wrong([](Node::Child& c) { ++c.entries; });
  wrong([](Node::Child& c) { c.bytes = 0; });
  wrong([](Node::Child& c) { c.first_path = "Z"; });
  wrong([&](Node::Child& c) { c.digest = Inner({Leaf({"a", "b"})}); });  // of another height
}

TEST_F(HostileTree, ChildrenThatOverlapAreRefused) {
  ExpectRefused(Inner({Leaf({"a", "m"}), Leaf({"b"})}), "aa");
  ExpectRefused(Inner({Leaf({"a", "b"}), Leaf({"b"})}), "aa");
  // One level further down.
  Node::Child left{"a", Inner({Leaf({"a"}), Leaf({"m", "n"})}), 3, 300};
  Node::Child right{"n", Inner({Leaf({"n"})}), 1, 100};
  EXPECT_TRUE(absl::IsDataLoss(ReadAll(Inner({left, right}, 2))));
}

TEST_F(HostileTree, AChunkListThatDoesNotAddUpIsRefused) {
  Node list;
  list.kind = NodeKind::kList;
  list.height = 1;
  list.references = {{crypto::Sha256("1"), 100}, {crypto::Sha256("2"), 200}};
  Entry e;
  e.path = "f";
  e.size = 301;
  e.list_height = 1;
  e.chunks = {{Add(list), 301}};
  auto visit = [](const Reference&) { return absl::OkStatus(); };
  EXPECT_TRUE(absl::IsDataLoss(ForEachChunk(&nodes_, e, visit)));
  e.chunks[0].length = 300;
  EXPECT_TRUE(ForEachChunk(&nodes_, e, visit).ok());
  e.list_height = 2;
  EXPECT_TRUE(absl::IsDataLoss(ForEachChunk(&nodes_, e, visit)));
}

TEST(Node, RefusesWhatNoBuilderMakes) {
  auto refused = [](const Node& node) { return absl::IsInvalidArgument(DecodeNode(EncodeNode(node)).status()); };
  Node many;
  for (int i = 0; i < 1025; ++i) many.entries.push_back(File("f" + std::to_string(100'000 + i), 0));
  EXPECT_TRUE(refused(many)) << "small when encoded, not when decoded";
  Node list;
  list.kind = NodeKind::kList;
  list.height = 1;
  list.references = {{crypto::Sha256("1"), (16 << 20) + 1}};
  EXPECT_TRUE(refused(list)) << "no chunk is that long";
  list.height = 2;
  EXPECT_FALSE(refused(list));
  list.references.assign(3, {crypto::Sha256("1"), uint64_t{1} << 62});
  EXPECT_TRUE(refused(list)) << "the sum overflows";
  Node inner;
  inner.kind = NodeKind::kInner;
  inner.height = 1;
  inner.inner = {{"a", crypto::Sha256("1"), UINT64_MAX, 0}, {"b", crypto::Sha256("2"), 2, 0}};
  EXPECT_TRUE(refused(inner)) << "the counts overflow";
}

TEST(Manifest, TheBuilderRefusesEntriesThatNobodyCouldRead) {
  MemoryNodes nodes;
  auto refused = [&](auto change) {
    Entry e = File("f", 2);
    change(e);
    ManifestBuilder builder(nodes.Sink());
    return absl::IsInvalidArgument(builder.Add(e));
  };
  EXPECT_FALSE(refused([](Entry&) {}));
  EXPECT_TRUE(refused([](Entry& e) { e.size = 201; }));
  EXPECT_TRUE(refused([](Entry& e) { e.chunks[0].length = 0; }));
  EXPECT_TRUE(refused([](Entry& e) { e.chunks[0].digest = Digest(); }));
  EXPECT_TRUE(refused([](Entry& e) { e.target = "x"; }));
  EXPECT_TRUE(refused([](Entry& e) { e.type = EntryType::kDirectory; }));
  EXPECT_TRUE(refused([](Entry& e) { e.holes = {{0, 10}}; }));
  EXPECT_TRUE(refused([](Entry& e) { e.size = 220, e.holes = {{0, 10}, {10, 10}}; }));
  EXPECT_TRUE(refused([](Entry& e) { e.size = 210, e.holes = {{205, 10}}; }));
  EXPECT_TRUE(refused([](Entry& e) { e = Entry{.path = "l", .type = EntryType::kSymlink}; }));
  EXPECT_FALSE(refused([](Entry& e) { e = Entry{.path = "d", .type = EntryType::kDirectory, .size = 4096}; }))
      << "a directory's size is no content";
}

TEST(Node, ASmallFileCostsLessThanNinetyBytes) {
  MemoryNodes nodes;
  ManifestBuilder builder(nodes.Sink());
  std::mt19937_64 rng(5);
  for (int i = 0; i < 5000; ++i) {
    Entry e = File("camera-front/2026-11-23/frame-" + std::to_string(1'000'000 + i) + ".jpeg", 1);
    e.mtime_ns += static_cast<int64_t>(rng() % 86'400'000'000'000);
    ASSERT_TRUE(builder.Add(e).ok());
  }
  ASSERT_TRUE(builder.Finish().ok());
  size_t bytes = 0;
  for (const auto& [digest, encoded] : nodes.nodes) bytes += encoded.size();
  EXPECT_LT(bytes / 5000, 90u);
}

TEST(Manifest, WalkingTheGraphMeetsEveryNodeOnceAndEveryChunk) {
  MemoryNodes nodes;
  auto entries = Sorted();
  for (int i = 0; i < 3000; ++i) entries["f" + std::to_string(i)] = File("f" + std::to_string(i), 2);
  entries["big"] = File("big", 2000);
  entries["copy"] = entries["big"];
  entries["copy"].path = "copy";
  Digest root = Build(nodes, entries);
  std::map<Digest, int> met;
  std::set<Digest> chunks;
  auto chunk = [&](const NodeChild& c) {
    EXPECT_FALSE(c.is_node);
    chunks.insert(c.digest);
    return absl::OkStatus();
  };
  ASSERT_TRUE(WalkDag(
                  &nodes, root,
                  [&](const Digest& d) -> absl::StatusOr<bool> {
                    ++met[d];
                    return true;
                  },
                  chunk)
                  .ok());
  EXPECT_EQ(met.size(), nodes.nodes.size());
  for (const auto& [digest, times] : met) EXPECT_EQ(times, 1);
  EXPECT_EQ(chunks.size(), 2u * 3000 + 2000);
  nodes.loads = 0;
  ASSERT_TRUE(WalkDag(
                  &nodes, root, [&](const Digest&) -> absl::StatusOr<bool> { return false; }, chunk)
                  .ok());
  EXPECT_EQ(nodes.loads, 0) << "what is not entered is not read";
}

TEST(Node, NoMutationIsAcceptedAsTheSameOrCrashes) {
  // Every accepted mutation must be a canonical node of its own; none may escape the path rules.
  Node leaf;
  for (int i = 0; i < 20; ++i) leaf.entries.push_back(File("dir/file" + std::to_string(100 + i), i % 4));
  const std::string good = EncodeNode(leaf);
  ASSERT_TRUE(DecodeNode(good).ok());
  std::mt19937 rng(3);
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good;
    const int flips = 1 + static_cast<int>(rng() % 3);
    for (int f = 0; f < flips; ++f) bad[rng() % bad.size()] = static_cast<char>(rng());
    if (rng() % 4 == 0) bad.resize(rng() % bad.size());
    auto node = DecodeNode(bad);
    if (!node.ok()) continue;
    EXPECT_EQ(EncodeNode(*node), bad);
    for (const Entry& e : node->entries) EXPECT_TRUE(CheckPath(e.path).ok());
  }
  EXPECT_FALSE(DecodeNode(good + "x").ok());
  EXPECT_FALSE(DecodeNode("").ok());
}

}  // namespace
}  // namespace bailiwick::store
