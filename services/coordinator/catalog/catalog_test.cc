#include "services/coordinator/catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/rpc/codec.h"
#include "services/coordinator/catalog/sqlite_catalog.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

DatasetId Id(uint8_t n) {
  DatasetId id;
  id.bytes.fill(n);
  return id;
}

config::Resource Region(const std::string& name) {
  config::Resource r;
  r.mutable_metadata()->set_name(name);
  r.mutable_region();
  return r;
}

crypto::Envelope Signed(const std::string& payload) { return {"type", payload, {{"key", "signature"}}}; }

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(::testing::TempDir(), "/bw-catalog-", getpid(), "-",
                              ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(files_->RemoveTree(directory_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
    Reopen();
  }
  void TearDown() override {
    catalog_.reset();
    EXPECT_TRUE(files_->RemoveTree(directory_).ok());
  }
  void Reopen() {
    catalog_.reset();
    auto opened = Catalog::Open(files_, directory_ + "/catalog.db");
    ASSERT_TRUE(opened.ok()) << opened.status();
    catalog_ = *std::move(opened);
  }
  Snapshot Reloaded() {
    Reopen();
    auto loaded = catalog_->Load();
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return loaded.ok() ? *std::move(loaded) : Snapshot();
  }

  os::Files* const files_ = os::Files::System();
  std::string directory_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(CatalogTest, ANewOneIsEmpty) {
  const Snapshot s = Reloaded();
  EXPECT_TRUE(s.resources.empty());
  EXPECT_EQ(s.generation, 0u);
  EXPECT_FALSE(s.bundle.has_value());
  EXPECT_EQ(catalog_->sequence(), 0u);
}

TEST_F(CatalogTest, AnApplyIsThereAfterReopening) {
  Change change;
  change.upserts = {Region("eu"), Region("us")};
  change.generation = 1;
  change.bundle = Signed("bundle");
  change.bundle_revision = 1;
  change.root_sha256 = std::string(32, '\0');
  change.classifications = {{Id(1), Signed("classification")}};
  change.dataset_ids = {{"planner", Id(1)}};
  ASSERT_TRUE(catalog_->Apply(change).ok());
  change = {};
  change.deletes = {{"Region", "us"}};
  change.generation = 2;
  change.root_sha256 = std::string(32, '\0');
  change.dataset_ids = {{"planner", Id(1)}};
  ASSERT_TRUE(catalog_->Apply(change).ok());

  const Snapshot s = Reloaded();
  EXPECT_EQ(s.resources.size(), 1u);
  EXPECT_EQ(s.resources.count({"Region", "eu"}), 1u);
  EXPECT_EQ(s.generation, 2u);
  ASSERT_TRUE(s.bundle.has_value());
  EXPECT_EQ(s.bundle->payload, "bundle");
  EXPECT_EQ(s.bundle->signatures.at(0).signature, "signature");
  EXPECT_EQ(s.root_sha256, std::string(32, '\0'));
  EXPECT_EQ(s.classifications.at(Id(1)).payload, "classification");
  EXPECT_EQ(s.dataset_ids.at("planner"), Id(1));
}

TEST_F(CatalogTest, AnApplyThatFailsLeavesNothing) {
  Change first;
  first.bundle = Signed("one");
  first.bundle_revision = 1;
  first.generation = 1;
  ASSERT_TRUE(catalog_->Apply(first).ok());
  const uint64_t sequence = catalog_->sequence();
  Change again = first;  // the revision is taken
  again.generation = 2;
  again.upserts = {Region("eu")};
  EXPECT_FALSE(catalog_->Apply(again).ok());
  EXPECT_EQ(catalog_->sequence(), sequence);
  const Snapshot s = Reloaded();
  EXPECT_TRUE(s.resources.empty());
  EXPECT_EQ(s.generation, 1u);
}

TEST_F(CatalogTest, AgentsReplicasAndPinsAreKept) {
  AgentRow agent;
  agent.site = "core";
  agent.spiffe_id = "spiffe://acme/region/eu/site/core/agent/core";
  agent.enrolment_key = std::string("\0key", 4);
  agent.incarnation = std::string(16, 'i');
  agent.endpoint = "127.0.0.1:7";
  agent.policy_revision = 3;
  agent.last_seen = absl::FromUnixMillis(1'700'000'000'123);
  ASSERT_TRUE(catalog_->PutAgent(agent).ok());
  ReplicaRow replica{{1, 2, 500}, 2, "a problem", "a source problem"};
  ASSERT_TRUE(catalog_->PutReplica(Id(1), "core", replica).ok());
  ASSERT_TRUE(catalog_->PutPin(Id(1), "", 2).ok());
  ASSERT_TRUE(catalog_->PutPin(Id(1), "core", 1).ok());
  ASSERT_TRUE(catalog_->RemovePin(Id(1), "core").ok());
  ASSERT_TRUE(catalog_->PutPin(Id(1), "edge", 0).ok());

  Snapshot s = Reloaded();
  EXPECT_EQ(s.agents.at("core").enrolment_key, agent.enrolment_key);
  EXPECT_EQ(s.agents.at("core").policy_revision, 3u);
  EXPECT_EQ(s.agents.at("core").last_seen, agent.last_seen);
  EXPECT_THAT(s.replicas.at(Id(1)).at("core").versions, ElementsAre(1, 2, 500));
  EXPECT_EQ(s.replicas.at(Id(1)).at("core").source_problem, "a source problem");
  EXPECT_EQ(s.pins.size(), 2u);
  EXPECT_EQ(s.pins.at({Id(1), ""}), 2u);
  EXPECT_EQ(s.pins.at({Id(1), "edge"}), 0u);
}

TEST_F(CatalogTest, AVersionIsNeverReplaced) {
  VersionRow v;
  v.record.dataset_id = Id(1);
  v.record.dataset = "planner";
  v.record.home_site = "factory";
  v.record.home_incarnation.bytes.fill(7);
  v.record.home_epoch = 1;
  v.record.number = 1;
  v.record.manifest_root = *Digest::From(Digest::kSha256, std::string(32, 'm'));
  v.record.committed_at = absl::FromUnixSeconds(1'700'000'000);
  v.record.message = "first";
  v.envelope = {std::string(crypto::kVersionType), store::EncodeVersionRecord(v.record), {}};
  ASSERT_TRUE(catalog_->PutVersion(v).ok());
  VersionRow other = v;
  other.record.message = "forged";
  other.envelope.payload = store::EncodeVersionRecord(other.record);
  ASSERT_TRUE(catalog_->PutVersion(other).ok());
  const Snapshot s = Reloaded();
  const VersionRow& kept = s.versions.at(Id(1)).at(1);
  EXPECT_EQ(kept.record.message, "first");
  EXPECT_EQ(kept.identity, store::VersionIdentity(v.envelope));
}

TEST_F(CatalogTest, ATokenOpensOneDoorOnce) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  ASSERT_TRUE(catalog_->PutToken("hash", "core", now + absl::Hours(1)).ok());
  ASSERT_TRUE(catalog_->PutToken("old", "core", now - absl::Seconds(1)).ok());
  EXPECT_THAT(std::string(catalog_->SpendToken("old", now).status().message()), HasSubstr("expired"));
  EXPECT_TRUE(absl::IsUnauthenticated(catalog_->SpendToken("unknown", now).status()));
  Reopen();
  auto site = catalog_->SpendToken("hash", now);
  ASSERT_TRUE(site.ok()) << site.status();
  EXPECT_EQ(*site, "core");
  Reopen();
  auto again = catalog_->SpendToken("hash", now);
  EXPECT_TRUE(absl::IsUnauthenticated(again.status()));
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("used"));
}

TEST_F(CatalogTest, EventsAreNumberedAndPaged) {
  for (int i = 1; i <= 5; ++i) {
    control::v1::Event event;
    event.set_kind(absl::StrCat("kind-", i));
    auto sequence = catalog_->AppendEvent(event);
    ASSERT_TRUE(sequence.ok());
    EXPECT_EQ(*sequence, static_cast<uint64_t>(i));
  }
  Reopen();
  auto kinds = [](const absl::StatusOr<std::vector<control::v1::Event>>& events) {
    std::vector<std::string> out;
    for (const auto& event : *events) out.push_back(absl::StrCat(event.sequence(), event.kind()));
    return out;
  };
  EXPECT_THAT(kinds(catalog_->Events(2, 2)), ElementsAre("3kind-3", "4kind-4"));
  EXPECT_THAT(kinds(catalog_->NewestEvents(2)), ElementsAre("4kind-4", "5kind-5"));
}

TEST_F(CatalogTest, AnRpoAlarmIsKeptWithItsEvent) {
  control::v1::Event event;
  event.set_kind("rpo-breached");
  const RpoAlarm alarm = {Id(1), "planner", "core", absl::FromUnixMillis(1'700'000'000'123)};
  ASSERT_TRUE(catalog_->PutRpoAlarm(alarm, true, event).ok());
  ASSERT_TRUE(catalog_->PutRpoAlarm({Id(1), "planner", "edge", alarm.since}, true, event).ok());
  Snapshot s = Reloaded();
  ASSERT_EQ(s.rpo_alarms.size(), 2u);
  EXPECT_EQ(s.rpo_alarms.at({Id(1), "core"}).dataset_name, "planner");
  EXPECT_EQ(s.rpo_alarms.at({Id(1), "core"}).since, alarm.since);
  event.set_kind("rpo-recovered");
  ASSERT_TRUE(catalog_->PutRpoAlarm(alarm, false, event).ok());
  s = Reloaded();
  EXPECT_EQ(s.rpo_alarms.size(), 1u);
  EXPECT_EQ(s.rpo_alarms.count({Id(1), "edge"}), 1u);
  auto events = catalog_->NewestEvents(10);
  ASSERT_TRUE(events.ok());
  ASSERT_EQ(events->size(), 3u);
  EXPECT_EQ(events->back().kind(), "rpo-recovered");
}

TEST_F(CatalogTest, RunningTransfersStayAndOnlyTheNewestEnded) {
  auto put = [&](const std::string& id, bool ended) {
    TransferRow row;
    row.view.set_transfer_id(id);
    row.dataset = Id(1);
    row.dialler = "core";
    row.ended = ended;
    ASSERT_TRUE(catalog_->PutTransfer(row).ok());
  };
  put("running", false);
  for (uint64_t i = 0; i < Catalog::kMaxEndedTransfers + 5; ++i) {
    put(absl::StrCat("t", i), false);
    put(absl::StrCat("t", i), true);
  }
  const Snapshot s = Reloaded();
  ASSERT_EQ(s.transfers.size(), Catalog::kMaxEndedTransfers + 1);
  EXPECT_EQ(s.transfers.front().view.transfer_id(), "running");
  EXPECT_FALSE(s.transfers.front().ended);
  EXPECT_EQ(s.transfers[1].view.transfer_id(), "t5");
  EXPECT_EQ(s.transfers.back().view.transfer_id(), absl::StrCat("t", Catalog::kMaxEndedTransfers + 4));
}

TEST_F(CatalogTest, TheNewestReleasesAndWhatSitesKeepAreThereAfterReopening) {
  agent::v1::ReleasedHold released;
  auto release = [&](uint64_t ordinal, const std::string& id) {
    released.mutable_hold()->set_hold_id(id);
    return catalog_->ReleaseHold(ordinal, released);
  };
  ASSERT_TRUE(release(4, "a").ok());
  ASSERT_TRUE(release(5, "b").ok());
  released.set_kept(true);
  ASSERT_TRUE(release(Catalog::kMaxReleasedHolds + 4, "c").ok());
  agent::v1::KeptHolds kept;
  *kept.add_holds() = released.hold();
  ASSERT_TRUE(catalog_->PutKeptHolds("core", kept).ok());
  ASSERT_TRUE(catalog_->PutKeptHolds("cloud", kept).ok());
  ASSERT_TRUE(catalog_->PutKeptHolds("cloud", {}).ok());
  const Snapshot s = Reloaded();
  ASSERT_EQ(s.released_holds.size(), 2u) << "the first is one too many";
  EXPECT_EQ(s.released_holds.at(5).hold().hold_id(), "b");
  EXPECT_FALSE(s.released_holds.at(5).kept());
  EXPECT_TRUE(s.released_holds.at(Catalog::kMaxReleasedHolds + 4).kept());
  ASSERT_EQ(s.kept_holds.size(), 1u);
  EXPECT_EQ(s.kept_holds.at("core").holds(0).hold_id(), "c");
}

class ReceiptsTest : public CatalogTest {
 protected:
  static constexpr size_t kAny = 1 << 20;

  static ReceiptRow Receipt(int n, const std::string& name, const std::string& site, const std::string& order = "") {
    agent::v1::ErasureReceipt receipt;
    receipt.set_receipt_id(absl::StrCat("r", n));
    receipt.set_dataset(name);
    receipt.set_order_id(order);
    ReceiptRow row;
    row.id = receipt.receipt_id();
    row.dataset = Id(1);
    row.dataset_name = name;
    row.site = site;
    row.order_id = order;
    row.envelope = Signed(receipt.SerializeAsString());
    return row;
  }
  void Put(const std::vector<ReceiptRow>& rows) {
    for (const ReceiptRow& row : rows) ASSERT_TRUE(catalog_->PutReceipt(row).ok());
  }
  // As the schema was when nothing but the envelope said whose receipt it is.
  void PutAsBefore(const std::vector<ReceiptRow>& rows) {
    catalog_.reset();
    ASSERT_TRUE(files_->RemoveTree(directory_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
    std::vector<std::string> migrations = SqliteCatalog::Migrations();
    migrations.resize(9);
    auto db = sql::Database::Open({.files = files_, .path = directory_ + "/catalog.db", .migrations = migrations});
    ASSERT_TRUE(db.ok()) << db.status();
    const absl::Status put = (*db)->Transaction([&](sql::Database& open) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto insert,
                          open.Prepare("INSERT INTO receipts(id, dataset, site, envelope) VALUES(?, ?, ?, ?)"));
      for (const ReceiptRow& row : rows) {
        types::v1::Envelope envelope;
        rpc::ToProto(row.envelope, &envelope);
        BW_RETURN_IF_ERROR(insert.BindBlob(1, row.id)
                               .BindBlob(2, row.dataset.view())
                               .BindText(3, row.site)
                               .BindBlob(4, envelope.SerializeAsString())
                               .Run());
      }
      return absl::OkStatus();
    });
    ASSERT_TRUE(put.ok()) << put;
  }
  std::vector<std::string> Ids(const ReceiptFilter& filter, uint32_t limit = 0, size_t bytes = kAny) {
    auto page = catalog_->Receipts(filter, limit, bytes);
    EXPECT_TRUE(page.ok()) << page.status();
    std::vector<std::string> ids;
    if (!page.ok()) return ids;
    for (const ReceiptRow& row : page->receipts) ids.push_back(row.id);
    if (page->more) ids.push_back("more");
    return ids;
  }
};

TEST_F(ReceiptsTest, ArePagedNewestFirst) {
  EXPECT_THAT(Ids({}), ElementsAre());
  Put({Receipt(1, "planner", "core"), Receipt(2, "planner", "edge"), Receipt(3, "maps", "core"),
       Receipt(4, "planner", "core", "order"), Receipt(5, "planner", "core")});
  Put({Receipt(1, "another", "name")});  // of an id that is taken
  Reopen();
  EXPECT_THAT(Ids({}), ElementsAre("r5", "r3", "r2", "r1"));
  EXPECT_THAT(Ids({}, 4), ElementsAre("r5", "r3", "r2", "r1"));
  EXPECT_THAT(Ids({}, 3), ElementsAre("r5", "r3", "r2", "more"));
  EXPECT_THAT(Ids({"planner", ""}), ElementsAre("r5", "r2", "r1"));
  EXPECT_THAT(Ids({"", "core"}), ElementsAre("r5", "r3", "r1"));
  EXPECT_THAT(Ids({"planner", "core"}), ElementsAre("r5", "r1"));
  EXPECT_THAT(Ids({"planner", "core"}, 1), ElementsAre("r5", "more"));
  EXPECT_THAT(Ids({"another", ""}), ElementsAre());
  auto page = catalog_->Receipts({}, 2, kAny);
  ASSERT_TRUE(page.ok());
  const uint64_t before = page->receipts.back().ordinal;
  EXPECT_THAT(Ids({"", "", before}), ElementsAre("r2", "r1"));
  EXPECT_THAT(Ids({"planner", "core", before}), ElementsAre("r1"));
  EXPECT_THAT(Ids({"", "", UINT64_MAX}), ElementsAre("r5", "r3", "r2", "r1"));
  EXPECT_THAT(Ids({}, 0, 0), ElementsAre("r5", "more")) << "one at least";
  types::v1::Envelope envelope;
  rpc::ToProto(page->receipts[0].envelope, &envelope);
  const size_t one = envelope.ByteSizeLong();
  EXPECT_THAT(Ids({"planner", ""}, 0, 2 * one), ElementsAre("r5", "r2", "more"));
  EXPECT_THAT(Ids({"planner", ""}, 0, 3 * one - 1), ElementsAre("r5", "r2", "more"));
  EXPECT_THAT(Ids({"planner", ""}, 0, 3 * one), ElementsAre("r5", "r2", "r1"));
}

TEST_F(ReceiptsTest, AreFoundByIdAndThoseOfRedactionsByOrder) {
  Put({Receipt(1, "planner", "core"), Receipt(2, "planner", "edge", "b"), Receipt(3, "planner", "core", "b"),
       Receipt(4, "maps", "core", "a")});
  const Snapshot s = Reloaded();
  auto found = catalog_->FindReceipt("r3");
  ASSERT_TRUE(found.ok() && found->has_value()) << found.status();
  EXPECT_EQ((*found)->dataset, Id(1));
  EXPECT_EQ((*found)->dataset_name, "planner");
  EXPECT_EQ((*found)->site, "core");
  EXPECT_EQ((*found)->order_id, "b");
  EXPECT_EQ((*found)->envelope.payload, Receipt(3, "planner", "core", "b").envelope.payload);
  found = catalog_->FindReceipt("r1");
  ASSERT_TRUE(found.ok() && found->has_value()) << found.status();
  EXPECT_EQ((*found)->order_id, "");
  found = catalog_->FindReceipt("r5");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_FALSE(found->has_value());
  ASSERT_EQ(s.redaction_receipts.size(), 2u);
  EXPECT_EQ(s.redaction_receipts.at("a").at(0).id, "r4");
  ASSERT_EQ(s.redaction_receipts.at("b").size(), 2u);
  EXPECT_EQ(s.redaction_receipts.at("b")[0].id, "r2");
  EXPECT_EQ(s.redaction_receipts.at("b")[1].site, "core");
}

TEST_F(ReceiptsTest, OfABuildOfBeforeAreFoundAsThoseOfNow) {
  constexpr int kMany = 2500;  // more than are read at once
  std::vector<ReceiptRow> rows;
  for (int n = 0; n < kMany; ++n) rows.push_back(Receipt(n, n % 2 == 0 ? "planner" : "maps", "core"));
  rows[7] = Receipt(7, "planner", "core", "order");
  rows[2400] = Receipt(2400, "planner", "core", "order");
  rows[9].envelope.payload = "not a receipt";
  PutAsBefore(rows);
  const Snapshot s = Reloaded();
  EXPECT_EQ(catalog_->sequence(), 0u);
  ASSERT_EQ(s.redaction_receipts.size(), 1u);
  ASSERT_EQ(s.redaction_receipts.at("order").size(), 2u);
  EXPECT_EQ(s.redaction_receipts.at("order")[1].id, "r2400");
  EXPECT_EQ(Ids({}).size(), size_t{kMany - 2});
  EXPECT_EQ(Ids({"planner", "core"}).size(), size_t{kMany / 2 - 1});
  EXPECT_THAT(Ids({"maps", "core"}, 2), ElementsAre("r2499", "r2497", "more"));
  auto found = catalog_->FindReceipt("r2498");
  ASSERT_TRUE(found.ok() && found->has_value()) << found.status();
  EXPECT_EQ((*found)->dataset_name, "planner");
  EXPECT_EQ((*found)->envelope.payload, rows[2498].envelope.payload);
  Put({Receipt(kMany, "planner", "core")});
  Reopen();
  EXPECT_THAT(Ids({"planner", ""}, 2), ElementsAre("r2500", "r2498", "more"));
}

TEST_F(CatalogTest, TheSequenceRisesWithEveryChangeAcrossRestarts) {
  uint64_t last = catalog_->sequence();
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(catalog_->PutPin(Id(1), "core", i).ok());
    EXPECT_GT(catalog_->sequence(), last);
    last = catalog_->sequence();
    Reopen();
    EXPECT_EQ(catalog_->sequence(), last);
  }
}

TEST_F(CatalogTest, GarbageIsNotACatalog) {
  catalog_.reset();
  ASSERT_TRUE(os::WriteFileAtomically(files_, directory_ + "/garbage.db", std::string(8192, 'x')).ok());
  EXPECT_TRUE(absl::IsDataLoss(Catalog::Open(files_, directory_ + "/garbage.db").status()));
}

}  // namespace
}  // namespace bailiwick::coordinator
