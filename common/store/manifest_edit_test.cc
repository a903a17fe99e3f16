#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "common/crypto/digest.h"
#include "common/store/manifest.h"
#include "common/store/memory_nodes.h"

namespace bailiwick::store {
namespace {

struct InOrder {
  bool operator()(const std::string& a, const std::string& b) const { return ComparePaths(a, b) < 0; }
};
using Tree = std::map<std::string, Entry, InOrder>;

Entry Directory(const std::string& path) {
  Entry e;
  e.path = path;
  e.type = EntryType::kDirectory;
  e.mode = 0755;
  return e;
}

Entry File(const std::string& path, const std::string& salt) {
  Entry e;
  e.path = path;
  e.mode = 0644;
  e.chunks.push_back({crypto::Sha256(path + salt), 100});
  e.size = 100;
  return e;
}

ManifestSummary Build(MemoryNodes& nodes, const Tree& tree) {
  ManifestBuilder builder(nodes.Sink());
  for (const auto& [path, entry] : tree) EXPECT_TRUE(builder.Add(entry).ok()) << path;
  auto summary = builder.Finish();
  EXPECT_TRUE(summary.ok());
  return *summary;
}

void Clear(Tree& tree, const std::string& directory) {
  auto from = tree.lower_bound(directory + "/");
  while (from != tree.end() && from->first.starts_with(directory + "/")) from = tree.erase(from);
}

// What the edits say, done to a plain map.
void Do(Tree& tree, const std::vector<ManifestEdit>& edits) {
  for (const ManifestEdit& edit : edits) {
    if (edit.clear_below || !edit.entry || edit.entry->type != EntryType::kDirectory) Clear(tree, edit.path);
    tree.erase(edit.path);
    if (edit.entry) tree[edit.path] = *edit.entry;
  }
}

void ExpectSame(const ManifestSummary& edited, const ManifestSummary& built) {
  EXPECT_EQ(edited.root, built.root);
  EXPECT_EQ(edited.height, built.height);
  EXPECT_EQ(edited.entries, built.entries);
  EXPECT_EQ(edited.files, built.files);
  EXPECT_EQ(edited.logical_bytes, built.logical_bytes);
}

std::string Path(std::mt19937& rng, int names) {
  std::string path = "p" + std::to_string(rng() % static_cast<unsigned>(names));
  for (int depth = static_cast<int>(rng() % 4); depth > 0; --depth) path += "/q" + std::to_string(rng() % 12);
  return path;
}

TEST(EditManifest, GivesTheManifestThatABuilderMakes) {
  std::mt19937 rng(5);
  for (int round = 0; round < 300; ++round) {
    MemoryNodes nodes;
    Tree tree;
    const int names = 1 << (rng() % 9);
    const int n = static_cast<int>(rng() % 3000);
    for (int i = 0; i < n; ++i) {
      const std::string path = Path(rng, names);
      Clear(tree, path);
      tree[path] = rng() % 8 == 0 ? Directory(path) : File(path, "");
    }
    ManifestSummary now = Build(nodes, tree);
    for (int step = 0; step < 3; ++step) {
      std::map<std::string, ManifestEdit, InOrder> edits;
      for (int k = static_cast<int>(rng() % 12); k > 0; --k) {
        ManifestEdit edit;
        edit.path = Path(rng, names);
        if (rng() % 2 == 0 && !tree.empty()) {
          edit.path = std::next(tree.begin(), static_cast<std::ptrdiff_t>(rng() % tree.size()))->first;
        }
        const unsigned kind = rng() % 4;
        if (kind == 1) edit.entry = File(edit.path, std::to_string(rng()));
        if (kind >= 2) edit.entry = Directory(edit.path);
        edit.clear_below = kind == 3;
        edits[edit.path] = edit;
      }
      if (rng() % 4 == 0) edits["z"].path = "z", edits["z"].entry = File("z", "last");
      std::vector<ManifestEdit> list;
      for (auto& [path, edit] : edits) list.push_back(edit);
      auto edited = EditManifest(&nodes, now.root, now.files, list, nodes.Sink());
      ASSERT_TRUE(edited.ok()) << edited.status();
      Do(tree, list);
      ExpectSame(*edited, Build(nodes, tree));
      now = *edited;
    }
  }
}

TEST(EditManifest, TenChangesInAHundredThousandTouchFewNodes) {
  MemoryNodes nodes;
  Tree tree;
  for (int i = 0; i < 100'000; ++i) {
    const std::string path = "dir" + std::to_string(i / 1000) + "/f" + std::to_string(i);
    tree[path] = File(path, "");
  }
  const ManifestSummary before = Build(nodes, tree);
  std::vector<ManifestEdit> edits;
  for (int i = 3; i < 100'000; i += 10'000) {
    const std::string path = "dir" + std::to_string(i / 1000) + "/f" + std::to_string(i);
    edits.push_back({path, File(path, "new"), false});
  }
  std::sort(edits.begin(), edits.end(), [](const auto& a, const auto& b) { return ComparePaths(a.path, b.path) < 0; });
  nodes.loads = nodes.written = 0;
  auto after = EditManifest(&nodes, before.root, before.files, edits, nodes.Sink());
  ASSERT_TRUE(after.ok());
  EXPECT_LT(nodes.loads, 60);
  EXPECT_LT(nodes.written, 60);
  Do(tree, edits);
  ExpectSame(*after, Build(nodes, tree));
}

TEST(EditManifest, ACountOfFilesThatCannotBeIsRefused) {
  MemoryNodes nodes;
  const ManifestSummary one = Build(nodes, {{"a", File("a", "")}});
  EXPECT_EQ(EditManifest(&nodes, one.root, 0, {{"a", std::nullopt, false}}, nodes.Sink()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bailiwick::store
