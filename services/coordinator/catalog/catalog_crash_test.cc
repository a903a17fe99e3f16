// Power loss at every file operation while changes wait for signatures and take effect: what was acknowledged is there,
// what was not is there whole or not at all. A change that takes effect, its place in the history and the end of its
// waiting are one; so are all versions that are forgotten at once, and what stays of them, and a hold that is gone and
// its release. And while receipts of a build of before are read: the next start goes on with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/crypto/digest.h"
#include "common/os/fault_files.h"
#include "common/rpc/codec.h"
#include "common/store/store_fixture.h"
#include "services/coordinator/catalog/sqlite_catalog.h"

namespace bailiwick::coordinator {
namespace {

using Step = std::function<absl::Status(Catalog&)>;

class CatalogCrashTest : public ::testing::Test {
 protected:
  static Change Law(uint64_t revision, bool drops) {
    Change change;
    change.generation = revision;
    change.bundle = crypto::Envelope{"type", absl::StrCat("bundle ", revision), {{"key", "signature"}}};
    change.bundle_revision = revision;
    change.root_sha256 = std::string(32, 'r');
    change.drop_pending = drops;
    change.by = "alice";
    change.summary = absl::StrCat("change ", revision);
    change.at = absl::FromUnixSeconds(1'700'000'000);
    return change;
  }
  static Step Wait(const std::string& by, int signatures) {
    return [by, signatures](Catalog& catalog) {
      PendingRow row;
      row.by = by;
      for (int i = 0; i < signatures; ++i) {
        row.request.mutable_bundle()->add_signatures()->set_signature(std::string(64, static_cast<char>('a' + i)));
      }
      return catalog.PutPending(&row);
    };
  }
  static VersionRow Version(VersionNumber number) {
    VersionRow row;
    row.record.dataset_id.bytes.fill('d');
    row.record.dataset = "planner";
    row.record.home_site = "factory";
    row.record.number = number;
    row.record.manifest_root = crypto::Sha256("nothing");
    row.record.committed_at = absl::FromUnixSeconds(1'700'000'000);
    row.envelope = crypto::Envelope{"type", store::EncodeVersionRecord(row.record), {{"key", "signature"}}};
    row.identity = store::VersionIdentity(row.envelope);
    return row;
  }
  static agent::v1::ReleasedHold Hold(const std::string& id) {
    agent::v1::ReleasedHold released;
    released.mutable_hold()->set_hold_id(id);
    return released;
  }
  static std::vector<Step> Steps() {
    return {[](Catalog& catalog) { return catalog.Apply(Law(1, false)); },
            Wait("bob", 1),
            Wait("bob", 2),
            [](Catalog& catalog) { return catalog.Apply(Law(2, true)); },
            Wait("carol", 1),
            [](Catalog& catalog) { return catalog.PutPending(nullptr); },
            [](Catalog& catalog) { return catalog.PutVersion(Version(1)); },
            [](Catalog& catalog) { return catalog.PutVersion(Version(2)); },
            [](Catalog& catalog) {
              const VersionRow one = Version(1), two = Version(2);
              return catalog.ForgetVersions(one.record.dataset_id, {&one, &two});
            },
            [](Catalog& catalog) { return catalog.PutHold(Hold("h").hold()); },
            [](Catalog& catalog) { return catalog.ReleaseHold(1, Hold("h")); }};
  }

  void Fresh() {
    catalog_ = nullptr;
    faults_ = nullptr;
    ASSERT_TRUE(hasty_.RemoveTree(dir_.path()).ok());
    ASSERT_TRUE(hasty_.MakeDirs(dir_.path()).ok());
    faults_ = std::make_unique<os::FaultFiles>(&hasty_, dir_.path());
  }
  absl::Status Open() {
    catalog_ = nullptr;
    auto opened = Catalog::Open(faults_.get(), dir_.path() + "/catalog.db");
    if (!opened.ok()) return opened.status();
    catalog_ = *std::move(opened);
    return absl::OkStatus();
  }
  size_t Run() {  // how many steps were acknowledged
    if (!Open().ok()) return 0;
    size_t done = 0;
    for (const Step& step : Steps()) {
      if (!step(*catalog_).ok()) break;
      ++done;
    }
    return done;
  }
  std::string State() {
    auto loaded = catalog_->Load();
    auto bundles = catalog_->Bundles(0, 100);
    EXPECT_TRUE(loaded.ok() && bundles.ok()) << loaded.status() << bundles.status();
    if (!loaded.ok() || !bundles.ok()) return "";
    const std::string newest = loaded->bundle.has_value() ? loaded->bundle->payload : "none";
    const std::string waits =
        loaded->pending.has_value()
            ? absl::StrCat(loaded->pending->by, " with ", loaded->pending->request.bundle().signatures_size())
            : "nobody";
    std::string versions;
    for (VersionNumber number : {1, 2}) {
      const VersionRow row = Version(number);
      auto forgotten = catalog_->ForgottenVersion(row.record.dataset_id, number);
      EXPECT_TRUE(forgotten.ok()) << forgotten.status();
      if (loaded->versions[row.record.dataset_id].count(number) != 0) absl::StrAppend(&versions, "; knows ", number);
      if (forgotten.ok() && *forgotten == row.identity) absl::StrAppend(&versions, "; knew ", number);
    }
    std::string holds;
    for (const auto& [id, hold] : loaded->holds) absl::StrAppend(&holds, "; holds ", id);
    for (const auto& [ordinal, released] : loaded->released_holds) {
      absl::StrAppend(&holds, "; released ", released.hold().hold_id());
    }
    return absl::StrCat("generation ", loaded->generation, ", ", newest, "; ",
                        absl::StrJoin(*bundles, ", ",
                                      [](std::string* out, const BundleRow& row) {
                                        absl::StrAppend(out, row.envelope.payload, " by ", row.by, ": ", row.summary);
                                      }),
                        "; waits: ", waits, versions, holds);
  }

  store::TempDir dir_;
  store::HastyFiles hasty_;
  std::unique_ptr<os::FaultFiles> faults_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(CatalogCrashTest, PowerLossAtEveryOperation) {
  Fresh();
  ASSERT_TRUE(Open().ok());
  std::vector<std::string> states = {State()};  // after so many steps
  for (const Step& step : Steps()) {
    ASSERT_TRUE(step(*catalog_).ok());
    states.push_back(State());
  }
  EXPECT_EQ(states[3], "generation 1, bundle 1; bundle 1 by alice: change 1; waits: bob with 2");
  EXPECT_EQ(states[4],
            "generation 2, bundle 2; bundle 2 by alice: change 2, bundle 1 by alice: change 1; waits: nobody");
  EXPECT_THAT(states[8], testing::EndsWith("; knows 1; knows 2"));
  EXPECT_THAT(states[9], testing::EndsWith("waits: nobody; knew 1; knew 2"));
  EXPECT_THAT(states[10], testing::EndsWith("; holds h"));
  EXPECT_THAT(states[11], testing::EndsWith("; knew 2; released h"));
  const uint64_t end = faults_->operations();
  ASSERT_GT(end, states.size());
  for (uint64_t n = 0; n <= end; ++n) {
    for (const bool kind : {false, true}) {
      SCOPED_TRACE(absl::StrCat("power loss after operation ", n, kind ? ", kind" : ", harsh"));
      Fresh();
      faults_->StopAfter(n);
      const size_t done = Run();
      catalog_ = nullptr;
      ASSERT_TRUE((kind ? faults_->KeepUnsynced() : faults_->DropUnsynced()).ok());
      const absl::Status opened = Open();
      ASSERT_TRUE(opened.ok()) << opened;
      const std::string state = State();
      const bool next = done + 1 < states.size() && state == states[done + 1];
      ASSERT_TRUE(state == states[done] || next) << state << "\nafter " << done << " steps: " << states[done];
    }
  }
}

TEST_F(CatalogCrashTest, PowerLossWhileReceiptsOfABuildOfBeforeAreRead) {
  const auto put = [this]() -> absl::Status {
    std::vector<std::string> migrations = SqliteCatalog::Migrations();
    migrations.resize(9);
    BW_ASSIGN_OR_RETURN(auto db, sql::Database::Open({.files = faults_.get(),
                                                      .path = dir_.path() + "/catalog.db",
                                                      .migrations = std::move(migrations)}));
    return db->Transaction([](sql::Database& open) -> absl::Status {
      BW_ASSIGN_OR_RETURN(auto insert, open.Prepare("INSERT INTO receipts(id, dataset, site, envelope) "
                                                    "VALUES(?, ?, 'core', ?)"));
      int made = 0;
      for (const char* order : {"", "order", ""}) {
        agent::v1::ErasureReceipt receipt;
        receipt.set_dataset("planner");
        receipt.set_order_id(order);
        types::v1::Envelope envelope;
        rpc::ToProto(crypto::Envelope{"type", receipt.SerializeAsString(), {{"key", "signature"}}}, &envelope);
        BW_RETURN_IF_ERROR(insert.BindBlob(1, absl::StrCat("r", ++made))
                               .BindBlob(2, DatasetId().view())
                               .BindBlob(3, envelope.SerializeAsString())
                               .Run());
      }
      return absl::OkStatus();
    });
  };
  Fresh();
  ASSERT_TRUE(put().ok());
  faults_->ResetOperations();
  ASSERT_TRUE(Open().ok());
  const uint64_t end = faults_->operations();
  ASSERT_GT(end, 0u);
  for (uint64_t n = 0; n <= end; ++n) {
    for (const bool kind : {false, true}) {
      SCOPED_TRACE(absl::StrCat("power loss after operation ", n, kind ? ", kind" : ", harsh"));
      Fresh();
      ASSERT_TRUE(put().ok());
      faults_->ResetOperations();
      faults_->StopAfter(n);
      Open().IgnoreError();
      catalog_ = nullptr;
      ASSERT_TRUE((kind ? faults_->KeepUnsynced() : faults_->DropUnsynced()).ok());
      const absl::Status opened = Open();
      ASSERT_TRUE(opened.ok()) << opened;
      auto page = catalog_->Receipts({"planner", "core"}, 0, 1 << 20);
      auto loaded = catalog_->Load();
      ASSERT_TRUE(page.ok() && loaded.ok()) << page.status() << loaded.status();
      EXPECT_EQ(page->receipts.size(), 2u);
      ASSERT_EQ(loaded->redaction_receipts.size(), 1u);
      EXPECT_EQ(loaded->redaction_receipts.at("order").size(), 1u);
    }
  }
}

}  // namespace
}  // namespace bailiwick::coordinator
