#include "services/agent/law/law.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "bailiwick/agent/v1/session.pb.h"
#include "common/audit/log.h"
#include "common/base/status.h"
#include "common/config/yaml.h"
#include "common/os/fault_files.h"
#include "common/rpc/codec.h"

namespace bailiwick::agent {
namespace {

using ::testing::HasSubstr;

constexpr char kSites[] = R"(
apiVersion: bailiwick/v1
kind: Region
metadata: {name: eu}
spec: {}
---
apiVersion: bailiwick/v1
kind: Region
metadata: {name: us}
spec: {}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: factory, labels: {tier: edge}}
spec: {region: eu}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: cloud, labels: {tier: cloud}}
spec: {region: us}
)";

class LawTest : public ::testing::Test {
 protected:
  LawTest() {
    for (int i = 0; i < 3; ++i) keys_.push_back(*crypto::SigningKey::Generate());
    first_ = {{keys_[0].public_key()}, 1, 1};
    root_ = first_;
  }
  void SetUp() override {
    directory_ = absl::StrCat(::testing::TempDir(), "/bw-law-", getpid(), "-",
                              ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(files_->RemoveTree(directory_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
    Restart();
  }
  void TearDown() override {
    law_.reset();
    db_.reset();
    EXPECT_TRUE(files_->RemoveTree(directory_).ok());
  }
  void Restart() {
    law_.reset();
    db_.reset();
    std::vector<std::string> migrations = Law::Migrations();
    migrations.push_back(Law::LaterMigration());
    auto db = sql::Database::Open({files_, directory_ + "/agent.db", migrations});
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
    law_ = std::make_unique<Law>(config::PolicyRootSha256(pinned_.value_or(first_)), db_.get(), &clock_);
    ASSERT_TRUE(law_->Load().ok());
  }

  resource::v1::PolicyBundle Bundle(uint64_t revision) {
    resource::v1::PolicyBundle bundle;
    bundle.set_format(1);
    bundle.set_revision(revision);
    bundle.set_trust_domain("acme");
    rpc::ToProto(clock_.Now(), bundle.mutable_issued_at());
    bundle.set_root(config::EncodePolicyRoot(root_));
    config::Catalog catalog;
    auto parsed = config::ParseYaml(kSites, "sites.yaml");
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    for (const auto& l : *parsed) catalog[{config::KindOf(l.resource), l.resource.metadata().name()}] = l.resource;
    config::AddLaw(catalog, &bundle);
    bundle.add_classifier_keys()->set_ed25519(keys_[0].public_key());
    bundle.add_timestamp_keys()->set_ed25519(timestamp_key_.public_key());
    return bundle;
  }
  crypto::Envelope Sign(const resource::v1::PolicyBundle& bundle, int key = 0) {
    return crypto::SignEnvelope(crypto::kBundleType, bundle.SerializeAsString(), keys_[key]);
  }
  LawOffer Offer(const resource::v1::PolicyBundle& bundle, int key = 0) {
    LawOffer offer;
    offer.bundle = Sign(bundle, key);
    offer.roots = chain_;
    offer.timestamp = Timestamp(*offer.bundle);
    return offer;
  }
  crypto::Envelope Timestamp(const crypto::Envelope& bundle) {
    auto opened = config::OpenUnsigned(bundle);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return config::SignTimestamp(opened->world, clock_.Now(), timestamp_key_);
  }
  crypto::Envelope Record(const std::string& labels, uint64_t revision, int key = 0,
                          const std::string& name = "planner", char id = 'p') {
    resource::v1::Classification c;
    c.set_format(1);
    c.set_dataset_id(std::string(16, id));
    c.set_dataset(name);
    (*c.mutable_labels())["class"] = labels;
    c.set_home_site("factory");
    c.set_epoch(1);
    c.set_revision(revision);
    return crypto::SignEnvelope(crypto::kClassificationType, c.SerializeAsString(), keys_[key]);
  }
  absl::Status Records(const std::vector<crypto::Envelope>& records) {
    LawOffer offer;
    offer.classifications = records;
    return law_->Install(offer);
  }
  std::string ClassOf(char id = 'p', const std::string& name = "planner") {
    auto c = law_->current()->Classify(*DatasetId::From(std::string(16, id)), name);
    return c.ok() ? c->labels.at("class") : "unknown";
  }
  // The next root: `signers` sign it.
  void Rotate(std::vector<int> keys, uint32_t threshold, const std::vector<int>& signers) {
    if (chain_.empty()) chain_.push_back({std::string(crypto::kRootType), config::EncodePolicyRoot(root_), {}});
    root_.keys.clear();
    for (int key : keys) root_.keys.push_back(keys_[key].public_key());
    root_.threshold = threshold;
    ++root_.number;
    crypto::Envelope link{std::string(crypto::kRootType), config::EncodePolicyRoot(root_), {}};
    for (int key : signers) crypto::AddSignature(link, keys_[key]);
    chain_.push_back(link);
  }

  os::Files* const files_ = os::Files::System();
  os::FakeClock clock_;
  std::string directory_;
  std::vector<crypto::SigningKey> keys_;
  const crypto::SigningKey timestamp_key_ = *crypto::SigningKey::Generate();
  config::PolicyRoot first_, root_;
  std::optional<config::PolicyRoot> pinned_;  // when it is not the first
  config::RootChain chain_;
  std::unique_ptr<sql::Database> db_;
  std::unique_ptr<Law> law_;
};

TEST_F(LawTest, InstallsAndKeeps) {
  EXPECT_EQ(law_->CheckFresh().code, "POLICY_DENIED");
  LawOffer offer = Offer(Bundle(3));
  offer.classifications = {Record("telemetry", 1)};
  ASSERT_TRUE(law_->Install(offer).ok());
  ASSERT_TRUE(law_->Install(offer).ok()) << "the same again";
  EXPECT_EQ(law_->revision(), 3u);
  EXPECT_EQ(ClassOf(), "telemetry");
  EXPECT_TRUE(law_->CheckFresh().permitted) << law_->CheckFresh().message;
  Restart();
  EXPECT_EQ(law_->revision(), 3u);
  EXPECT_EQ(ClassOf(), "telemetry");
  EXPECT_TRUE(law_->CheckFresh().permitted) << law_->CheckFresh().message;
}

TEST_F(LawTest, IsRecordedWhenItIsVerifiedAndBeforeItCounts) {
  std::vector<uint64_t> recorded;
  absl::Status answer;
  const auto record = [&](uint64_t revision) {
    recorded.push_back(revision);
    EXPECT_LT(law_->revision(), revision) << "it is in force before it is recorded";
    absl::Status read = db_->Read([&](sql::Database& db) -> absl::Status {
      BW_ASSIGN_OR_RETURN(sql::Statement kept, db.Prepare("SELECT count(*) FROM law WHERE revision = ?"));
      kept.Bind(1, revision);
      BW_RETURN_IF_ERROR(kept.Step().status());
      EXPECT_EQ(kept.Int(0), 0) << "it is durable before it is recorded";
      return absl::OkStatus();
    });
    EXPECT_TRUE(read.ok()) << read;
    return answer;
  };
  ASSERT_TRUE(law_->Install(Offer(Bundle(3)), record).ok());
  ASSERT_TRUE(law_->Install(Offer(Bundle(3)), record).ok());
  EXPECT_FALSE(law_->Install(Offer(Bundle(9), 2), record).ok()) << "signed by nobody who may";
  EXPECT_FALSE(law_->Install(Offer(Bundle(2)), record).ok()) << "older";
  EXPECT_EQ(recorded, (std::vector<uint64_t>{3})) << "once, and nothing of what was refused";
  answer = absl::UnavailableError("the audit log cannot be written");
  EXPECT_EQ(law_->Install(Offer(Bundle(4)), record), answer);
  EXPECT_EQ(law_->revision(), 3u);
  Restart();
  EXPECT_EQ(law_->revision(), 3u);
  answer = absl::OkStatus();
  ASSERT_TRUE(law_->Install(Offer(Bundle(4)), record).ok());
  EXPECT_EQ(law_->revision(), 4u);
  EXPECT_EQ(recorded, (std::vector<uint64_t>{3, 4, 4}));
}

TEST_F(LawTest, AFullDiskDoesNotKeepTheLawOfYesterdayInForce) {
  ASSERT_TRUE(files_->MakeDirs(directory_ + "/log").ok());
  os::FaultFiles faults(files_, directory_ + "/log");
  auto log = audit::Log::Open(&faults, &clock_, os::Random::System(), directory_ + "/log/audit");
  ASSERT_TRUE(log.ok()) << log.status();
  faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left"));
  const auto record = [&](uint64_t revision) { return RecordLaw(log->get(), revision); };
  ASSERT_TRUE(law_->Install(Offer(Bundle(3)), record).ok());
  EXPECT_EQ(law_->revision(), 3u);
  EXPECT_EQ((*log)->size(), 1u) << "there was no room";
  ASSERT_TRUE(law_->Install(Offer(Bundle(4)), record).ok());
  auto records = (*log)->Read(1, 10);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 2u) << "what was owed, first";
  EXPECT_EQ((*records)[0].subject, "revision/3");
  EXPECT_EQ((*records)[1].subject, "revision/4");
  faults.FailAt(faults.operations() + 1, absl::InternalError("the disk is gone"));
  EXPECT_FALSE(law_->Install(Offer(Bundle(5)), record).ok());
  EXPECT_EQ(law_->revision(), 4u) << "what is not recorded and not owed either is not done";
  *log = nullptr;
}

TEST_F(LawTest, NeitherBundleNorClassificationGoesBack) {
  ASSERT_TRUE(law_->Install(Offer(Bundle(3))).ok());
  ASSERT_TRUE(Records({Record("telemetry", 1)}).ok());
  ASSERT_TRUE(Records({Record("health", 2)}).ok());
  EXPECT_EQ(ClassOf(), "health");
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(absl::IsFailedPrecondition(law_->Install(Offer(Bundle(2)))));
    auto other = Bundle(3);
    other.clear_grant_keys();
    other.add_grant_keys()->set_ed25519(std::string(32, 'g'));
    EXPECT_TRUE(absl::IsFailedPrecondition(law_->Install(Offer(other))));
    ASSERT_TRUE(Records({Record("telemetry", 1), Record("telemetry", 2)}).ok());
    EXPECT_EQ(ClassOf(), "health");
    EXPECT_EQ(ClassOf('p', "other"), "unknown") << "an id is known by its name";
    Restart();
  }
}

TEST_F(LawTest, WhatNobodySignsForAnyMoreIsUnknownAndStillNotRolledBack) {
  auto bundle = Bundle(3);
  bundle.mutable_classifier_keys(0)->set_ed25519(keys_[1].public_key());
  ASSERT_TRUE(law_->Install(Offer(bundle)).ok());
  ASSERT_TRUE(Records({Record("health", 2, 1)}).ok());
  EXPECT_EQ(ClassOf(), "health");
  bundle.set_revision(4);
  bundle.mutable_classifier_keys(0)->set_ed25519(keys_[2].public_key());
  ASSERT_TRUE(law_->Install(Offer(bundle)).ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(ClassOf(), "unknown");
    ASSERT_TRUE(Records({Record("telemetry", 1, 2), Record("telemetry", 2, 2)}).ok());
    EXPECT_EQ(ClassOf(), "unknown");
    Restart();
  }
  ASSERT_TRUE(Records({Record("health", 2, 2)}).ok());  // the same said again by somebody who may
  EXPECT_EQ(ClassOf(), "health");
  ASSERT_TRUE(Records({Record("robots", 3, 2)}).ok());
  EXPECT_EQ(ClassOf(), "robots");
}

TEST_F(LawTest, ADelegatedClassifierStaysWithinItsLimits) {
  auto bundle = Bundle(3);
  auto* limited = bundle.add_classifiers();
  limited->mutable_key()->set_ed25519(keys_[1].public_key());
  auto* label = limited->add_labels();
  label->set_key("class");
  label->add_values("telemetry");
  limited->add_datasets("robot-*");
  limited->add_home_regions("eu");
  ASSERT_TRUE(law_->Install(Offer(bundle)).ok());
  ASSERT_TRUE(Records({Record("telemetry", 1, 1, "robot-1", 'r'), Record("health", 1, 1, "robot-2", 's'),
                       Record("telemetry", 1, 1, "planner", 't'), Record("health", 1, 0, "robot-3", 'u')})
                  .ok());
  EXPECT_EQ(ClassOf('r', "robot-1"), "telemetry");
  EXPECT_EQ(ClassOf('s', "robot-2"), "unknown");
  EXPECT_EQ(ClassOf('t', "planner"), "unknown");
  EXPECT_EQ(ClassOf('u', "robot-3"), "health");
  ASSERT_TRUE(Records({Record("telemetry", 2, 1, "robot-3", 'u'), Record("telemetry", 2, 1, "robot-9", 'u')}).ok());
  EXPECT_EQ(ClassOf('u', "robot-3"), "health") << "what others called health is not theirs to relabel or rename";
}

TEST_F(LawTest, AnAgentThatSleptWalksTheChainOfRoots) {
  ASSERT_TRUE(law_->Install(Offer(Bundle(3))).ok());
  Rotate({0, 1}, 2, {0, 1});
  Rotate({1, 2}, 1, {0, 1, 2});
  ASSERT_TRUE(law_->Install(Offer(Bundle(9), 2)).ok());
  EXPECT_EQ(law_->revision(), 9u);
  Restart();
  EXPECT_EQ(law_->revision(), 9u);
  // The first root's key signs no more: neither with a chain that leaves the rotations out nor with the first root
  // alone.
  root_ = first_;
  chain_.clear();
  EXPECT_TRUE(absl::IsPermissionDenied(law_->Install(Offer(Bundle(10)))));
  EXPECT_EQ(law_->revision(), 9u);
}

TEST_F(LawTest, AnAgentThatJoinsAnewAfterASleptRotationWaitsForItsLaw) {
  ASSERT_TRUE(law_->Install(Offer(Bundle(3))).ok());
  ASSERT_TRUE(Records({Record("telemetry", 1), Record("health", 2)}).ok());
  const auto first_offer = Offer(Bundle(4));
  Rotate({0, 1}, 1, {0, 1});
  pinned_ = root_;  // of the new join string
  for (int round = 0; round < 2; ++round) {
    Restart();
    EXPECT_EQ(law_->current(), nullptr);
    EXPECT_EQ(law_->CheckFresh().code, "POLICY_DENIED");
    EXPECT_EQ(law_->resources().count({"Site", "factory"}), 1u) << "where things lie here is known all the same";
    EXPECT_TRUE(absl::IsPermissionDenied(law_->Install(first_offer))) << "of the root before";
    EXPECT_TRUE(absl::IsFailedPrecondition(law_->Install(Offer(Bundle(2))))) << "an older law under the new root";
    EXPECT_TRUE(absl::IsFailedPrecondition(law_->Install(Offer(Bundle(3))))) << "another law of the same revision";
    EXPECT_EQ(law_->current(), nullptr);
  }
  LawOffer offer = Offer(Bundle(5), 1);
  offer.classifications = {Record("telemetry", 1)};
  ASSERT_TRUE(law_->Install(offer).ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(law_->revision(), 5u);
    EXPECT_EQ(ClassOf(), "health") << "nor did any label go back";
    EXPECT_TRUE(law_->CheckFresh().permitted) << law_->CheckFresh().message;
    Restart();
  }
}

TEST_F(LawTest, WhatTheDiskChangedComesAnewFromTheCoordinator) {
  const LawOffer offer = Offer(Bundle(3));
  for (const bool unreadable : {false, true}) {
    SCOPED_TRACE(unreadable);
    ASSERT_TRUE(law_->Install(offer).ok());
    ASSERT_TRUE(db_->Transaction([&](sql::Database& db) -> absl::Status {
                     std::string bytes;
                     {
                       auto select = db.Prepare("SELECT offer FROM law");
                       if (!select.ok() || !select->Step().ok()) return absl::InternalError("no law");
                       bytes = select->Blob(0);
                     }
                     bytes[unreadable ? 0 : bytes.find("factory")] ^= 0x77;
                     auto put = db.Prepare("UPDATE law SET offer = ?");
                     return put.ok() ? put->BindBlob(1, bytes).Run() : put.status();
                   })
                    .ok());
    Restart();
    EXPECT_EQ(law_->current(), nullptr);
    EXPECT_TRUE(absl::IsFailedPrecondition(law_->Install(Offer(Bundle(2))))) << "an older one";
    resource::v1::PolicyBundle other = Bundle(3);
    other.set_trust_domain("acme2");
    EXPECT_FALSE(law_->Install(Offer(other)).ok()) << "another one";
    ASSERT_TRUE(law_->Install(offer).ok());
    EXPECT_EQ(law_->revision(), 3u);
    Restart();
    EXPECT_EQ(law_->revision(), 3u);
  }
}

TEST_F(LawTest, ARootThatOldOrNewKeysDidNotSignIsRefused) {
  ASSERT_TRUE(law_->Install(Offer(Bundle(3))).ok());
  const config::PolicyRoot before = root_;
  for (const std::vector<int>& signers : {std::vector<int>{1, 2}, {0}, {0, 1}, {}}) {
    root_ = before;
    chain_.clear();
    Rotate({1, 2}, 2, signers);
    auto bundle = Bundle(4);
    LawOffer offer = Offer(bundle, 1);
    crypto::AddSignature(*offer.bundle, keys_[2]);
    EXPECT_TRUE(absl::IsPermissionDenied(law_->Install(offer)));
  }
  EXPECT_EQ(law_->revision(), 3u);
}

TEST_F(LawTest, NothingFlowsWithoutAFreshTimestamp) {
  auto bundle = Bundle(3);
  bundle.mutable_timestamp_life()->set_seconds(600);
  LawOffer offer = Offer(bundle);
  const crypto::Envelope timestamp = *offer.timestamp;
  offer.timestamp.reset();
  ASSERT_TRUE(law_->Install(offer).ok());
  EXPECT_EQ(law_->CheckFresh().code, "POLICY_STALE");
  ASSERT_TRUE(law_->Refresh(timestamp).ok());
  EXPECT_TRUE(law_->CheckFresh().permitted);
  clock_.Advance(absl::Seconds(599));
  EXPECT_TRUE(law_->CheckFresh().permitted);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(law_->CheckFresh().code, "POLICY_STALE");
  EXPECT_THAT(law_->CheckFresh().message, HasSubstr("10m ago"));
  clock_.SetWall(clock_.Now() - absl::Seconds(50));  // setting the clock back gives it no longer life
  EXPECT_EQ(law_->CheckFresh().code, "POLICY_STALE");
  ASSERT_TRUE(law_->KeepTime().ok());
  Restart();
  EXPECT_EQ(law_->CheckFresh().code, "POLICY_STALE");
  clock_.SetWall(clock_.Now() + absl::Seconds(50));
  const crypto::Envelope fresh = Timestamp(*offer.bundle);
  ASSERT_TRUE(law_->Refresh(fresh).ok());
  EXPECT_TRUE(law_->CheckFresh().permitted);
  EXPECT_TRUE(absl::IsFailedPrecondition(law_->Refresh(timestamp))) << "an older one";
}

TEST_F(LawTest, TimestampsOfOthersCountNothing) {
  auto bundle = Bundle(3);
  LawOffer offer = Offer(bundle);
  offer.timestamp = config::SignTimestamp(config::OpenUnsigned(*offer.bundle)->world, clock_.Now(), keys_[1]);
  ASSERT_TRUE(law_->Install(offer).ok());
  EXPECT_EQ(law_->CheckFresh().code, "POLICY_STALE");
  EXPECT_TRUE(absl::IsFailedPrecondition(law_->Refresh(Timestamp(Sign(Bundle(2))))));
  policy::World forever = config::OpenUnsigned(*offer.bundle)->world;
  forever.timestamp_life = absl::Hours(1000);
  EXPECT_FALSE(law_->Refresh(config::SignTimestamp(forever, clock_.Now(), timestamp_key_)).ok());
  EXPECT_EQ(law_->CheckFresh().code, "POLICY_STALE");
}

TEST_F(LawTest, TheBundleItselfComesToAnEnd) {
  auto bundle = Bundle(3);
  bundle.mutable_max_age()->set_seconds(7200);
  LawOffer offer = Offer(bundle);
  ASSERT_TRUE(law_->Install(offer).ok());
  EXPECT_TRUE(law_->CheckFresh().permitted);
  clock_.Advance(absl::Hours(2));
  ASSERT_TRUE(law_->Refresh(Timestamp(*offer.bundle)).ok());  // what a captured coordinator can go on saying
  EXPECT_EQ(law_->CheckFresh().code, "POLICY_STALE");
  EXPECT_THAT(law_->CheckFresh().message, HasSubstr("policy refresh"));
}

TEST_F(LawTest, AClockThatIsOffStopsEverythingAndSaysSo) {
  ASSERT_TRUE(law_->Install(Offer(Bundle(3))).ok());
  clock_.SetWall(clock_.Now() + absl::Minutes(5));
  EXPECT_EQ(law_->CheckFresh().code, "CLOCK_SKEW");
  EXPECT_THAT(law_->CheckFresh().message, HasSubstr("5m ahead of"));
}

TEST_F(LawTest, ASignerThatLiesAboutTheTimeIsNotBelievedForLong) {
  LawOffer offer = Offer(Bundle(3));
  ASSERT_TRUE(law_->Install(offer).ok());
  const policy::World world = law_->current()->world;
  EXPECT_FALSE(law_->Refresh(config::SignTimestamp(world, clock_.Now() + absl::Hours(9999), timestamp_key_)).ok());
  EXPECT_EQ(law_->CheckFresh().code, "CLOCK_SKEW");
  ASSERT_TRUE(law_->Refresh(Timestamp(*offer.bundle)).ok());
  EXPECT_TRUE(law_->CheckFresh().permitted);
}

TEST_F(LawTest, ABundleOfAnOlderVersionAsksForNoTimestamp) {
  auto bundle = Bundle(3);
  bundle.clear_timestamp_keys();
  LawOffer offer = Offer(bundle);
  offer.timestamp.reset();
  ASSERT_TRUE(law_->Install(offer).ok());
  EXPECT_TRUE(law_->CheckFresh().permitted);
}

TEST_F(LawTest, WhatAnOlderVersionStoredIsRead) {
  LawOffer offer = Offer(Bundle(3));
  agent::v1::PolicyOffer stored;
  rpc::ToProto(*offer.bundle, stored.mutable_bundle());
  rpc::ToProto(Record("telemetry", 4), stored.add_classifications());
  const std::string bytes = stored.SerializeAsString();
  ASSERT_TRUE(db_->Transaction([&](sql::Database& db) -> absl::Status {
                   auto put = db.Prepare("INSERT INTO law(id, revision, offer) VALUES(1, 3, ?)");
                   return put->BindBlob(1, bytes).Run();
                 })
                  .ok());
  Restart();
  EXPECT_EQ(ClassOf(), "telemetry");
  ASSERT_TRUE(law_->Install(Offer(Bundle(4))).ok());
  Restart();
  EXPECT_EQ(ClassOf(), "telemetry");
  ASSERT_TRUE(Records({Record("health", 3)}).ok());
  EXPECT_EQ(ClassOf(), "telemetry");
}

// Power goes at every point of an installation: what was there before or all of the new is there after.
TEST_F(LawTest, PowerLossLeavesTheOldOrTheNewLaw) {
  std::vector<std::string> migrations = Law::Migrations();
  migrations.push_back(Law::LaterMigration());
  LawOffer old = Offer(Bundle(3)), next = Offer(Bundle(4));
  old.classifications = {Record("telemetry", 1)};
  next.classifications = {Record("health", 2)};
  bool finished = false;
  for (uint64_t stop = 0; !finished; ++stop) {
    SCOPED_TRACE(stop);
    ASSERT_LT(stop, 500u);
    const std::string directory = absl::StrCat(directory_, "/", stop);
    ASSERT_TRUE(files_->MakeDirs(directory).ok());
    os::FaultFiles faults(files_, directory);
    const std::string root = config::PolicyRootSha256(first_);
    {
      auto db = sql::Database::Open({&faults, directory + "/agent.db", migrations});
      ASSERT_TRUE(db.ok()) << db.status();
      Law law(root, db->get(), &clock_);
      ASSERT_TRUE(law.Install(old).ok());
      faults.ResetOperations();
      faults.StopAfter(stop);
      finished = law.Install(next).ok() && faults.operations() < stop;
    }
    ASSERT_TRUE(faults.DropUnsynced().ok());
    auto db = sql::Database::Open({&faults, directory + "/agent.db", migrations});
    ASSERT_TRUE(db.ok()) << db.status();
    Law law(root, db->get(), &clock_);
    ASSERT_TRUE(law.Load().ok());
    const auto c = law.current()->Classify(*DatasetId::From(std::string(16, 'p')), "planner");
    ASSERT_TRUE(c.ok());
    EXPECT_EQ(c->labels.at("class"), law.revision() == 3 ? "telemetry" : "health");
    EXPECT_EQ(law.revision(), finished ? 4u : law.revision());
  }
}

}  // namespace
}  // namespace bailiwick::agent
