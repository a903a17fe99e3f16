#include "common/store/catalog.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <set>

#include "common/crypto/digest.h"

namespace bailiwick::store {
namespace {

class MemoryNodes : public NodeSource {
 public:
  absl::StatusOr<std::shared_ptr<const Node>> Load(const Digest& digest) override {
    auto it = nodes.find(digest);
    if (it == nodes.end()) return absl::NotFoundError("no node");
    return std::make_shared<const Node>(*DecodeNode(it->second));
  }
  std::map<Digest, std::string> nodes;
};

class CatalogTest : public ::testing::Test {
 protected:
  CatalogTest()
      : dir_(::testing::TempDir() + "/catalog-" + std::to_string(getpid())), key_(*crypto::SigningKey::Generate()) {
    EXPECT_TRUE(os::Files::System()->RemoveTree(dir_).ok());
    EXPECT_TRUE(os::Files::System()->MakeDirs(dir_).ok());
    Reopen();
    id_.bytes[0] = 7;
  }
  ~CatalogTest() override {
    db_ = nullptr;
    os::Files::System()->RemoveTree(dir_).IgnoreError();
  }
  void Reopen() {
    db_ = nullptr;
    auto db = sql::Database::Open(
        {.files = os::Files::System(), .path = dir_ + "/db", .migrations = VersionCatalog::AllMigrations()});
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
    catalog_ = std::make_unique<VersionCatalog>(db_.get());
  }
  // A manifest of files, all alike but for `changed`.
  Digest Manifest(int files, int changed) {
    ManifestBuilder builder([&](const Digest& d, std::string_view bytes) {
      nodes_.nodes[d] = std::string(bytes);
      return absl::OkStatus();
    });
    for (int i = 0; i < files; ++i) {
      Entry e;
      char name[16];
      snprintf(name, sizeof name, "f%05d", i);
      e.path = name;
      e.chunks = {{crypto::Sha256(std::string(name) + (i == changed ? "x" : "")), 10}};
      e.size = 10;
      EXPECT_TRUE(builder.Add(e).ok());
    }
    return builder.Finish()->root;
  }
  crypto::Envelope Version(VersionNumber number, const Digest& root) {
    VersionRecord r;
    r.dataset_id = id_;
    r.dataset = "d";
    r.home_site = "s";
    r.number = number;
    r.manifest_root = root;
    r.committed_at = absl::FromUnixSeconds(1'700'000'000 + static_cast<int64_t>(number));
    return crypto::SignEnvelope(crypto::kVersionType, EncodeVersionRecord(r), key_);
  }
  // Counts anew from the versions that are there.
  void CheckCounts(const std::map<VersionNumber, Digest>& versions) {
    std::map<Digest, int> counts;
    std::function<void(const Digest&)> count = [&](const Digest& d) {
      if (counts[d]++ > 0) return;
      for (const auto& child : (*nodes_.Load(d))->Children()) {
        if (child.is_node) count(child.digest);
      }
    };
    for (const auto& [number, root] : versions) count(root);
    std::map<Digest, int> table;
    ASSERT_TRUE(db_->Read([&](sql::Database& db) -> absl::Status {
                     auto select = db.Prepare("SELECT node, refs FROM node_refs");
                     if (!select.ok()) return select.status();
                     while (true) {
                       auto row = select->Step();
                       if (!row.ok()) return row.status();
                       if (!*row) return absl::OkStatus();
                       const std::string key = select->Blob(0);
                       table[*Digest::From(static_cast<uint8_t>(key[0]), std::string_view(key).substr(1))] =
                           static_cast<int>(select->Int(1));
                     }
                   })
                    .ok());
    EXPECT_TRUE(table == counts);
    auto live = catalog_->LiveNodes(id_);
    ASSERT_TRUE(live.ok());
    EXPECT_EQ(std::set<Digest>(live->begin(), live->end()).size(), counts.size());
    for (const auto& [d, n] : counts) EXPECT_TRUE(*catalog_->IsComplete(id_, d));
  }

  std::string dir_;
  std::unique_ptr<sql::Database> db_;
  std::unique_ptr<VersionCatalog> catalog_;
  MemoryNodes nodes_;
  crypto::SigningKey key_;
  DatasetId id_;
};

TEST_F(CatalogTest, ProvenanceComesAndGoesWithItsVersion) {
  const Digest root = Manifest(20, 0);
  auto hop = [&](const std::string& payload) { return crypto::SignEnvelope(crypto::kHopType, payload, key_); };
  ASSERT_TRUE(catalog_->Add(Version(1, root), &nodes_).ok());
  ASSERT_TRUE(catalog_->Add(Version(2, root), &nodes_, {hop("a"), hop(std::string("b\0c", 3))}).ok());
  ASSERT_TRUE(catalog_->Add(Version(3, root), &nodes_, {hop("z")}).ok());
  Reopen();
  EXPECT_TRUE(catalog_->Provenance(id_, 1)->empty());
  auto chain = catalog_->Provenance(id_, 2);
  ASSERT_TRUE(chain.ok());
  ASSERT_EQ(chain->size(), 2u);
  EXPECT_EQ((*chain)[1].payload, std::string("b\0c", 3));
  EXPECT_TRUE(crypto::VerifyEnvelope((*chain)[1], crypto::kHopType, {key_.public_key()}).ok());
  EXPECT_EQ(*catalog_->Hops(id_), (std::map<VersionNumber, uint32_t>{{2, 2}, {3, 1}}));
  ASSERT_TRUE(catalog_->PutProvenance(id_, 2, {hop("direct")}).ok());
  EXPECT_EQ(catalog_->Provenance(id_, 2)->size(), 1u);
  EXPECT_TRUE(absl::IsNotFound(catalog_->PutProvenance(id_, 9, {hop("x")})));
  ASSERT_TRUE(catalog_->Drop(id_, 2, &nodes_).ok());
  EXPECT_EQ(*catalog_->Hops(id_), (std::map<VersionNumber, uint32_t>{{3, 1}}));
  ASSERT_TRUE(catalog_->DropDataset(id_).ok());
  EXPECT_TRUE(catalog_->Hops(id_)->empty());
}

TEST_F(CatalogTest, CountsFollowAddsAndDropsInAnyOrder) {
  std::map<VersionNumber, Digest> versions;
  for (VersionNumber n = 1; n <= 8; ++n) {
    versions[n] = Manifest(2000, static_cast<int>(n % 3) * 700);
    ASSERT_TRUE(catalog_->Add(Version(n, versions[n]), &nodes_).ok());
    CheckCounts(versions);
  }
  for (VersionNumber n : {3, 1, 8, 5, 2, 4, 7, 6}) {
    ASSERT_TRUE(catalog_->Drop(id_, n, &nodes_).ok());
    versions.erase(n);
    CheckCounts(versions);
  }
  EXPECT_TRUE(catalog_->LiveNodes(id_)->empty());
  EXPECT_TRUE(absl::IsNotFound(catalog_->Drop(id_, 1, &nodes_)));
}

TEST_F(CatalogTest, ANodeThatOneParentNamesTwiceCountsTwice) {
  // Two files with the same long content share its chunk list.
  ManifestBuilder builder([&](const Digest& d, std::string_view bytes) {
    nodes_.nodes[d] = std::string(bytes);
    return absl::OkStatus();
  });
  Entry e;
  for (int i = 0; i < 500; ++i) e.chunks.push_back({crypto::Sha256(std::to_string(i)), 10});
  e.size = 5000;
  for (const char* path : {"one", "two"}) {
    e.path = path;
    ASSERT_TRUE(builder.Add(e).ok());
  }
  const Digest root = builder.Finish()->root;
  ASSERT_TRUE(catalog_->Add(Version(1, root), &nodes_).ok());
  CheckCounts({{1, root}});
  ASSERT_TRUE(catalog_->Add(Version(2, root), &nodes_).ok());
  CheckCounts({{1, root}, {2, root}});
  ASSERT_TRUE(catalog_->Drop(id_, 1, &nodes_).ok());
  CheckCounts({{2, root}});
  ASSERT_TRUE(catalog_->Drop(id_, 2, &nodes_).ok());
  CheckCounts({});
}

// Damage to what must go anyway does not keep it, and what is left counts for no more than it is.
TEST_F(CatalogTest, AVersionWithADamagedNodeIsDroppedAndTheOthersCountAsBefore) {
  const Digest first = Manifest(2000, -1), second = Manifest(2000, 700), third = Manifest(2000, 1400);
  ASSERT_TRUE(catalog_->Add(Version(1, first), &nodes_).ok());
  ASSERT_TRUE(catalog_->Add(Version(2, second), &nodes_).ok());
  ASSERT_TRUE(catalog_->Add(Version(3, third), &nodes_).ok());
  const std::string root = nodes_.nodes.at(first);
  nodes_.nodes.erase(first);
  ASSERT_TRUE(catalog_->Drop(id_, 1, &nodes_).ok());
  EXPECT_EQ(catalog_->List(id_)->size(), 2u);
  CheckCounts({{2, second}, {3, third}});

  // Of a node that a version still needs.
  Digest shared;
  const std::vector<NodeChild> children = DecodeNode(nodes_.nodes.at(second))->Children();
  for (const NodeChild& child : DecodeNode(nodes_.nodes.at(third))->Children()) {
    if (std::any_of(children.begin(), children.end(), [&](const auto& c) { return c.digest == child.digest; }))
      shared = child.digest;
  }
  ASSERT_FALSE(shared.empty());
  const std::string bytes = nodes_.nodes.at(shared);
  nodes_.nodes.erase(shared);
  nodes_.nodes.erase(second);
  ASSERT_TRUE(catalog_->Drop(id_, 2, &nodes_).ok());
  EXPECT_TRUE(*catalog_->IsComplete(id_, third));
  nodes_.nodes[shared] = bytes;  // it came anew
  ASSERT_TRUE(catalog_->Drop(id_, 3, &nodes_).ok());
  EXPECT_TRUE(catalog_->LiveNodes(id_)->empty());
}

TEST_F(CatalogTest, DroppingADatasetLeavesTheOthers) {
  ASSERT_TRUE(catalog_->Add(Version(1, Manifest(10, 1)), &nodes_).ok());
  const DatasetId first = id_;
  id_.bytes[0] = 8;
  ASSERT_TRUE(catalog_->Add(Version(1, Manifest(10, 1)), &nodes_).ok());
  ASSERT_TRUE(catalog_->DropDataset(first).ok());
  EXPECT_TRUE(catalog_->List(first)->empty());
  EXPECT_TRUE(catalog_->LiveNodes(first)->empty());
  CheckCounts({{1, Manifest(10, 1)}});
}

TEST_F(CatalogTest, SameVersionTwiceIsFineAnotherUnderItsNumberIsNot) {
  Digest root = Manifest(10, -1);
  crypto::Envelope first = Version(1, root);
  ASSERT_TRUE(catalog_->Add(first, &nodes_).ok());
  ASSERT_TRUE(catalog_->Add(first, &nodes_).ok());
  EXPECT_EQ(catalog_->List(id_)->size(), 1u);
  EXPECT_TRUE(absl::IsAlreadyExists(catalog_->Add(Version(1, Manifest(10, 3)), &nodes_)));
  CheckCounts({{1, root}});
}

TEST_F(CatalogTest, SurvivesAReopenAndFindsTheNewest) {
  ASSERT_TRUE(catalog_->Add(Version(1, Manifest(10, 1)), &nodes_).ok());
  ASSERT_TRUE(catalog_->Add(Version(2, Manifest(10, 2)), &nodes_).ok());
  Reopen();
  EXPECT_EQ((*catalog_->Newest(id_))->record.number, 2u);
  EXPECT_TRUE((*catalog_->Find(id_, 1)).has_value());
  EXPECT_FALSE((*catalog_->Find(id_, 3)).has_value());
}

TEST_F(CatalogTest, AVersionWhoseNodesAreMissingIsNotAdded) {
  Digest root = Manifest(2000, -1);
  nodes_.nodes.erase(std::prev(nodes_.nodes.end()));
  EXPECT_FALSE(catalog_->Add(Version(1, root), &nodes_).ok());
  EXPECT_TRUE(catalog_->List(id_)->empty());
  EXPECT_TRUE(catalog_->LiveNodes(id_)->empty());
}

TEST(Retention, KeepsTheLastTheHourlyAndTheDaily) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  std::vector<std::pair<VersionNumber, absl::Time>> versions;
  for (int i = 0; i < 5000; ++i) versions.emplace_back(i + 1, now - absl::Minutes(10) * (5000 - i));
  auto expired = Expired(versions, {.last = 10, .hourly = 24, .daily = 30}, now);
  std::set<VersionNumber> gone(expired.begin(), expired.end());
  EXPECT_EQ(gone.count(5000), 0u);
  for (VersionNumber n = 4991; n <= 5000; ++n) EXPECT_EQ(gone.count(n), 0u) << n;
  const size_t kept = versions.size() - expired.size();
  EXPECT_GE(kept, 10u + 20u + 25u);
  EXPECT_LE(kept, 10u + 25u + 31u);
  EXPECT_TRUE(Expired({{1, now - absl::Hours(24 * 400)}}, {.last = 0, .hourly = 0, .daily = 0}, now).empty())
      << "the newest always stays";
}

}  // namespace
}  // namespace bailiwick::store
