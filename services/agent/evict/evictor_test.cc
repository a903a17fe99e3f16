// Power loss at every file operation of a fence and an erasure: the fence outlives it, the erasure ends in one receipt,
// and nothing of the dataset is left; what is held and what is lawful is.
#include "services/agent/evict/evictor.h"

#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "services/agent/evict/erasing_fixture.h"

namespace bailiwick::agent {
namespace {

constexpr VersionNumber kVersions = 2;

class EvictorTest : public ErasingFixture {
 protected:
  absl::Status Open() {
    std::vector<std::string> migrations = store::VersionCatalog::AllMigrations();
    for (auto& m : Evictor::Migrations()) migrations.push_back(m);
    BW_RETURN_IF_ERROR(OpenRecords(std::move(migrations)));
    return OpenStore();
  }
  absl::Status Fill() {
    BW_RETURN_IF_ERROR(Open());
    BW_RETURN_IF_ERROR(AddVersions(kVersions));
    return os::WriteFileAtomically(faults_.get(), dir_.path() + "/tree", "laid out");
  }

  Facts Unlawful() const {
    Facts facts;
    facts.verdict = {.lawful = false,
                     .judged = true,
                     .reason = "FORBIDDEN",
                     .rule = "p/r",
                     .sentence = "no",
                     .revision = 7,
                     .digest = std::string(32, 'd')};
    facts.now = clock_.Now();
    return facts;
  }
  absl::Status Evict(bool ordered = true) {
    if (ordered) evictor_->Order(id_, {identities_[1], identities_[2]});
    BW_ASSIGN_OR_RETURN(const bool laid_out, faults_->Exists(dir_.path() + "/tree"));
    BW_RETURN_IF_ERROR(evictor_->Evaluate(dataset_, laid_out, Unlawful()).status());
    return evictor_->CarryOut(dataset_, [this](const std::vector<VersionNumber>*) {
      absl::Status removed = faults_->Remove(dir_.path() + "/tree");
      if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
      return faults_->SyncDir(dir_.path());
    });
  }

  // Both versions are there, and opened anew under a hold.
  void HoldTheSecond() {
    Fresh();
    ASSERT_TRUE(Fill().ok());
    agent::v1::Holds holds;
    auto* hold = holds.add_holds();
    hold->set_hold_id("h");
    hold->set_dataset_id(id_.str());
    hold->set_number(2);
    ASSERT_TRUE(evictor_->SetHolds(holds).ok());
    ASSERT_TRUE(Open().ok());
  }

  size_t Packs() {
    auto names = hasty_.List(dataset_.directory + "/packs");
    return names.ok() ? names->size() : 0;
  }
};

TEST_F(EvictorTest, AFenceOutlivesARestart) {
  Fresh();
  ASSERT_TRUE(Fill().ok());
  std::string sentence, rule;
  EXPECT_FALSE(evictor_->Withheld(id_, 1, &sentence, &rule));
  ASSERT_TRUE(Evict(/*ordered=*/false).ok());
  EXPECT_TRUE(evictor_->Withheld(id_, 1, &sentence, &rule));
  EXPECT_EQ(rule, "p/r");
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(evictor_->Withheld(id_, 1, &sentence, &rule));
  EXPECT_EQ(catalog_->List(id_)->size(), 2u) << "without an order nothing goes";
  EXPECT_TRUE(Receipts().empty());
  Facts lawful;
  lawful.now = clock_.Now();
  ASSERT_TRUE(evictor_->Evaluate(dataset_, true, lawful).ok());
  EXPECT_FALSE(evictor_->Withheld(id_, 1, &sentence, &rule));
  ASSERT_TRUE(Open().ok());
  EXPECT_FALSE(evictor_->Find(id_).has_value());
}

TEST_F(EvictorTest, ErasedWithAReceiptUntilItIsAcknowledged) {
  Fresh();
  ASSERT_TRUE(Fill().ok());
  ASSERT_TRUE(Evict().ok());
  EXPECT_TRUE(catalog_->List(id_)->empty());
  EXPECT_EQ(Packs(), 0u);
  EXPECT_FALSE(*hasty_.Exists(dir_.path() + "/tree"));
  ASSERT_EQ(Receipts().size(), 1u);
  const rpc::ErasureReceipt receipt = Receipts()[0];
  EXPECT_EQ(receipt.versions, (std::vector<rpc::VersionRef>{{1, identities_[1]}, {2, identities_[2]}}));
  EXPECT_TRUE(receipt.everything);
  EXPECT_GT(receipt.bytes, 6000u);
  EXPECT_EQ(receipt.cause, "unlawful");
  EXPECT_EQ(receipt.method, "deleted");
  ASSERT_TRUE(Evict().ok()) << "again";
  ASSERT_TRUE(Open().ok());
  ASSERT_EQ(Receipts().size(), 1u);
  ASSERT_TRUE(evictor_->Acknowledge(receipt.receipt_id).ok());
  EXPECT_TRUE(Receipts().empty());
}

TEST_F(EvictorTest, AHeldVersionAndItsChunksStay) {
  HoldTheSecond();
  ASSERT_TRUE(Evict().ok());
  auto left = catalog_->List(id_);
  ASSERT_EQ(left->size(), 1u);
  EXPECT_EQ((*left)[0].record.number, 2u);
  EXPECT_TRUE(dataset_.store->Read(store::ChunkOf(2, 3000).digest).ok());
  EXPECT_TRUE(absl::IsNotFound(dataset_.store->Read(store::ChunkOf(1, 3000).digest).status())) << "to the last chunk";
  ASSERT_EQ(Receipts().size(), 1u);
  EXPECT_FALSE(Receipts()[0].everything);
  EXPECT_EQ(evictor_->Find(id_)->stage, FenceStage::kFenced);
}

TEST_F(EvictorTest, AHoldEndsWhenItWasReleasedAndNotBecauseAListLacksIt) {
  HoldTheSecond();
  agent::v1::Holds list;  // of a coordinator that knows nothing of it
  list.set_tells_releases(true);
  list.add_released("another");
  ASSERT_TRUE(evictor_->SetHolds(list).ok());
  EXPECT_TRUE(evictor_->Held(id_, 2));
  ASSERT_EQ(evictor_->KeptHolds().size(), 1u);
  EXPECT_EQ(evictor_->KeptHolds()[0].hold_id(), "h");
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(evictor_->Held(id_, 2)) << "over a restart, before it is there";
  auto* new_one = list.add_holds();
  new_one->set_hold_id("n");
  new_one->set_dataset_id(id_.str());
  new_one->set_number(1);
  ASSERT_TRUE(evictor_->SetHolds(list).ok());
  EXPECT_TRUE(evictor_->Held(id_, 1));
  EXPECT_TRUE(evictor_->Held(id_, 2));
  ASSERT_EQ(evictor_->KeptHolds().size(), 1u);
  list.add_released("h");
  ASSERT_TRUE(evictor_->SetHolds(list).ok());
  EXPECT_TRUE(evictor_->Held(id_, 1));
  EXPECT_FALSE(evictor_->Held(id_, 2));
  EXPECT_TRUE(evictor_->KeptHolds().empty());
  ASSERT_TRUE(Open().ok());
  EXPECT_FALSE(evictor_->Held(id_, 2));
}

TEST_F(EvictorTest, AnOlderCoordinatorsListIsAllThereIs) {
  HoldTheSecond();
  ASSERT_TRUE(evictor_->SetHolds({}).ok());
  EXPECT_FALSE(evictor_->Held(id_, 2));
  EXPECT_TRUE(evictor_->KeptHolds().empty());
}

TEST_F(EvictorTest, ListsThatFollowOneAnotherFillNoDisk) {
  HoldTheSecond();
  agent::v1::Holds list;
  list.set_tells_releases(true);
  for (size_t i = 0; i < Evictor::kMaxHolds; ++i) list.add_holds()->set_hold_id(absl::StrCat("n", i));
  EXPECT_TRUE(absl::IsOutOfRange(evictor_->SetHolds(list)));
  EXPECT_TRUE(evictor_->Held(id_, 2)) << "all is as it was";
  list.add_released("h");
  EXPECT_TRUE(evictor_->SetHolds(list).ok());
  EXPECT_FALSE(evictor_->Held(id_, 2));
}

TEST_F(EvictorTest, DamageOfWhatStaysKeepsNothingThatHasToGo) {
  HoldTheSecond();
  const Digest root = catalog_->List(id_)->back().record.manifest_root;
  auto node = index_->Get(id_, root);
  ASSERT_TRUE(node.ok() && node->has_value());
  ASSERT_TRUE(index_->Forget(id_, root, (*node)->pack).ok());
  EXPECT_FALSE(Evict().ok()) << "what is held may lie below the damage";
  EXPECT_TRUE(dataset_.store->Read(store::ChunkOf(2, 3000).digest).ok());
  ASSERT_TRUE(evictor_->SetHolds({}).ok());
  ASSERT_TRUE(Evict().ok());
  EXPECT_EQ(catalog_->List(id_)->size(), 1u);
  EXPECT_TRUE(absl::IsNotFound(dataset_.store->Read(store::ChunkOf(1, 3000).digest).status()));
  EXPECT_EQ(Receipts().size(), 1u);
}

TEST_F(EvictorTest, WhatIsPastItsTimeIsWithheldOverARestartAndGoesByAnOrder) {
  Fresh();
  ASSERT_TRUE(Fill().ok());
  Facts facts;
  facts.verdict.max_retention = absl::Hours(1);
  facts.verdict.retention_rule = "p/limit";
  facts.now = facts.known = clock_.Now();
  evictor_->Order(id_, {identities_[1], identities_[2]});  // of a copy that is in use it means nothing
  ASSERT_TRUE(evictor_->Evaluate(dataset_, true, facts).ok());
  EXPECT_FALSE(evictor_->Find(id_).has_value());
  facts.now = facts.known = clock_.Now() + absl::Hours(2);
  ASSERT_TRUE(evictor_->Evaluate(dataset_, true, facts).ok());
  ASSERT_TRUE(Open().ok());
  std::string sentence, rule;
  EXPECT_TRUE(evictor_->Withheld(id_, 1, &sentence, &rule));
  EXPECT_EQ(rule, "p/limit");
  EXPECT_EQ(evictor_->WithheldVersions(id_), (std::set<VersionNumber>{1, 2}));
  EXPECT_FALSE(evictor_->Withheld(id_, 3, &sentence, &rule)) << "the copy as a whole stays in use";
  EXPECT_EQ(catalog_->List(id_)->size(), 2u);

  evictor_->Order(id_, {identities_[1]});
  ASSERT_TRUE(evictor_->Evaluate(dataset_, true, facts).ok());
  auto trees = [](const std::vector<VersionNumber>* only) {
    EXPECT_EQ(*only, std::vector<VersionNumber>{1});
    return absl::OkStatus();
  };
  ASSERT_TRUE(evictor_->CarryOut(dataset_, trees).ok());
  ASSERT_EQ(catalog_->List(id_)->size(), 1u);
  EXPECT_EQ((*catalog_->List(id_))[0].record.number, 2u);
  ASSERT_EQ(Receipts().size(), 1u);
  EXPECT_EQ(Receipts()[0].cause, "max-retention");
  EXPECT_EQ(Receipts()[0].rule, "p/limit");
  ASSERT_TRUE(evictor_->Evaluate(dataset_, true, facts).ok());
  EXPECT_EQ(evictor_->WithheldVersions(id_), std::set<VersionNumber>{2});
}

TEST_F(EvictorTest, PowerLossAtEveryOperation) {
  Fresh();
  ASSERT_TRUE(Fill().ok());
  const uint64_t begin = faults_->operations();
  ASSERT_TRUE(Evict().ok());
  const uint64_t end = faults_->operations();
  ASSERT_GT(end, begin + 8);
  for (uint64_t n = begin; n <= end; ++n) {
    for (const bool kind : {false, true}) {
      SCOPED_TRACE(absl::StrCat("power loss after operation ", n, kind ? ", kind" : ", harsh"));
      Fresh();
      ASSERT_TRUE(Fill().ok());
      ASSERT_EQ(faults_->operations(), begin);
      faults_->StopAfter(n);
      const bool done = Evict().ok();
      Close();
      ASSERT_TRUE((kind ? faults_->KeepUnsynced() : faults_->DropUnsynced()).ok());
      absl::Status opened = Open();
      ASSERT_TRUE(opened.ok()) << opened;
      const bool whole = catalog_->List(id_)->size() == kVersions;
      if (whole && evictor_->Find(id_).has_value() && evictor_->Find(id_)->stage == FenceStage::kFenced) {
        ASSERT_FALSE(done);
      }
      if (done) {
        ASSERT_EQ(Receipts().size(), 1u);
      }
      ASSERT_TRUE(Evict().ok());
      ASSERT_EQ(Receipts().size(), 1u);
      ASSERT_EQ(Receipts()[0].versions.size(), kVersions);
      ASSERT_TRUE(catalog_->List(id_)->empty());
      ASSERT_EQ(Packs(), 0u);
      ASSERT_FALSE(*hasty_.Exists(dir_.path() + "/tree"));
      ASSERT_EQ(evictor_->Find(id_)->stage, FenceStage::kErased);
    }
  }
}

}  // namespace
}  // namespace bailiwick::agent
