// Manifest nodes from a peer, alone and as a tree whose every reference leads to one of them: loops, too.
#include "common/store/manifest.h"

#include "absl/strings/str_cat.h"
#include "common/crypto/digest.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace bailiwick;

struct Nodes : store::NodeSource {
  absl::StatusOr<std::shared_ptr<const store::Node>> Load(const Digest& digest) override {
    // A real walk is bounded by what was transferred.
    if (++loads > 2000) return absl::ResourceExhaustedError("a walk that does not end");
    return nodes[digest.bytes[0] % nodes.size()];
  }
  std::vector<std::shared_ptr<const store::Node>> nodes;
  int loads = 0;
};

// Entries of a walk come in order, each path once.
void Walk(Nodes& nodes, const Digest& root, std::vector<std::string>* paths) {
  nodes.loads = 0;
  store::ManifestCursor cursor(&nodes, root);
  store::Entry entry;
  for (auto more = cursor.Next(&entry); more.ok() && *more; more = cursor.Next(&entry)) {
    REQUIRE(store::CheckPath(entry.path).ok());
    REQUIRE(paths->empty() || store::ComparePaths(paths->back(), entry.path) < 0);
    paths->push_back(entry.path);
    if (paths->size() > 5000) return;
  }
}

}  // namespace

FUZZ_TARGET(manifest) {
  Nodes nodes;
  while (!in.done() && nodes.nodes.size() < 16) {
    const std::string_view bytes = in.Chunk();
    auto node = store::DecodeNode(bytes);
    if (!node.ok()) continue;
    REQUIRE(store::EncodeNode(*node) == bytes);
    REQUIRE(node->Children().size() <= 64 * 1024);
    nodes.nodes.push_back(std::make_shared<const store::Node>(*std::move(node)));
  }
  if (nodes.nodes.empty()) return;
  Digest first = crypto::Sha256(""), second = first;
  first.bytes[0] = 0;
  second.bytes[0] = 1;
  std::vector<std::string> paths, others;
  Walk(nodes, first, &paths);
  Walk(nodes, second, &others);
  for (size_t i = 0; i < paths.size() && i < 8; ++i) {
    nodes.loads = 0;
    auto found = store::FindEntry(&nodes, first, paths[i]);
    REQUIRE(!found.ok() || !found->has_value() || (*found)->path == paths[i]);
    if (!found.ok() || !found->has_value()) continue;
    nodes.loads = 0;
    store::ForEachChunk(&nodes, **found, [](const store::Reference&) { return absl::OkStatus(); }).IgnoreError();
  }
  nodes.loads = 0;
  std::string last;
  store::DiffManifests(&nodes, first, second, [&](const store::Entry* before, const store::Entry* after) {
    const std::string& path = (before != nullptr ? before : after)->path;
    REQUIRE(last.empty() || store::ComparePaths(last, path) < 0);
    last = path;
    return absl::OkStatus();
  }).IgnoreError();
  nodes.loads = 0;
  const auto sink = [](const Digest&, std::string_view encoded) {
    REQUIRE(store::DecodeNode(encoded).ok());
    return absl::OkStatus();
  };
  store::EditManifest(&nodes, first, 0, {{.path = "m", .entry = store::Entry{.path = "m"}}}, sink).IgnoreError();
  nodes.loads = 0;
  store::WalkDag(
      &nodes, first, [](const Digest&) { return true; }, [](const store::NodeChild&) { return absl::OkStatus(); })
      .IgnoreError();
}
