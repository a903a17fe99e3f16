// A dataset with very many versions: how they are listed, and that what nobody holds any more is forgotten without
// harm.
#include <set>

#include "common/store/store_fixture.h"
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr VersionNumber kMany = 20'000;
constexpr int kStay = 100;  // of those that nobody holds

class ForgetTest : public CoreTest {
 protected:
  void SetUp() override {
    files_ = &hasty_;
    CoreTest::SetUp();
  }
  // A fleet whose home made so many versions.
  void Make(VersionNumber count, const std::string& message = "") {
    Fleet();
    for (VersionNumber number = 1; number <= count; ++number) {
      store::VersionRecord record = Record(number);
      record.message = message;
      VersionRow row;
      row.envelope = SignedRecord(record, "factory");
      row.record = record;
      ASSERT_TRUE(catalog_->PutVersion(row).ok());
      made_[number] = row.envelope;
    }
    Restart();
    for (const char* site : {"factory", "core", "cloud"}) Connect(site);
  }
  // As an agent says it that has nothing to announce; `records`: with those.
  void Says(const std::string& site, const std::vector<VersionNumber>& held, bool records = false) {
    agent::v1::AgentMessage message;
    message.mutable_replica()->set_dataset_id(dataset().str());
    for (VersionNumber number : held) {
      auto* version = message.mutable_replica()->add_versions();
      version->set_number(number);
      version->set_identity(std::string(store::VersionIdentity(made_.at(number)).view()));
      if (records) rpc::ToProto(made_.at(number), version->mutable_record());
    }
    Say(site, message);
  }
  static std::vector<VersionNumber> Range(VersionNumber from, VersionNumber to) {
    std::vector<VersionNumber> numbers;
    for (VersionNumber number = from; number <= to; ++number) numbers.push_back(number);
    return numbers;
  }
  void Rounds(int count) {
    for (int i = 0; i < count; ++i) core_->Reconcile();
  }
  std::vector<VersionNumber> Listed() {
    std::vector<VersionNumber> numbers;
    auto versions = Versions("planner");
    EXPECT_TRUE(versions.ok()) << versions.status();
    if (!versions.ok()) return numbers;
    for (const auto& version : versions->versions()) numbers.push_back(version.number());
    return numbers;
  }
  std::vector<std::string> SitesOf(VersionNumber number) {
    auto versions = Versions("planner", 1, number + 1);
    EXPECT_TRUE(versions.ok()) << versions.status();
    if (!versions.ok() || versions->versions_size() != 1 || versions->versions(0).number() != number)
      return {"unknown"};
    return {versions->versions(0).sites().begin(), versions->versions(0).sites().end()};
  }

  store::HastyFiles hasty_;
  std::map<VersionNumber, crypto::Envelope> made_;
};

TEST_F(ForgetTest, ManyVersionsAreListedPageByPage) {
  Make(kMany, std::string(200, 'm'));
  Says("factory", Range(1, kMany));
  Says("core", {3, 9});
  const auto all = Versions("planner");
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->versions_size(), static_cast<int>(kMany));
  EXPECT_FALSE(all->more());
  EXPECT_GT(all->ByteSizeLong(), size_t{4 << 20});  // more than gRPC lets an answer have

  control::v1::ListVersionsResponse gathered;
  VersionNumber before = 0;
  while (true) {
    auto page = Versions("planner", kMany, before);
    ASSERT_TRUE(page.ok());
    ASSERT_GT(page->versions_size(), 0);
    EXPECT_LT(page->ByteSizeLong(), size_t{2 << 20});
    EXPECT_EQ(page->total(), kMany);
    for (const auto& version : page->versions()) *gathered.add_versions() = version;
    before = gathered.versions(gathered.versions_size() - 1).number();
    if (!page->more()) break;
  }
  gathered.set_total(kMany);
  EXPECT_TRUE(gathered.SerializeAsString() == all->SerializeAsString());

  auto page = Versions("planner", 3);
  EXPECT_EQ(page->versions_size(), 3);
  EXPECT_EQ(page->versions(0).number(), kMany);
  EXPECT_TRUE(page->more());
  page = Versions("planner", 1, 4);
  ASSERT_EQ(page->versions_size(), 1);
  EXPECT_EQ(page->versions(0).number(), 3u);
  EXPECT_THAT(page->versions(0).sites(), ElementsAre("core", "factory"));
  page = Versions("planner", 5, 4);
  EXPECT_EQ(page->versions_size(), 3);
  EXPECT_FALSE(page->more());
  EXPECT_EQ(Versions("planner", 5, 1)->versions_size(), 0);
}

TEST_F(ForgetTest, WhatNoSiteHoldsAnyMoreIsForgotten) {
  Make(kMany);
  Says("factory", Range(1, kMany));
  Rounds(3);
  EXPECT_EQ(Listed().size(), kMany);  // somebody holds them all

  Says("factory", Range(kMany - 9, kMany));
  size_t before = kMany;
  for (int round = 0; round < 40; ++round) {
    core_->Reconcile();
    const size_t left = Listed().size();
    EXPECT_LE(before - left, 1000u);  // not all in one breath
    before = left;
  }
  EXPECT_EQ(Listed(), [] {
    std::vector<VersionNumber> newest = Range(kMany - kStay + 1, kMany);
    std::reverse(newest.begin(), newest.end());
    return newest;
  }());
  EXPECT_EQ(core_->Datasets().datasets(0).newest(), kMany);
  EXPECT_EQ(sessions_.at("factory")->Last(Message::kAssignments)->assignments().datasets(0).acknowledged(), kMany);
  auto stored = catalog_->Load();
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->versions[dataset()].size(), size_t{kStay});
  Restart();
  EXPECT_EQ(Listed().size(), size_t{kStay});
}

TEST_F(ForgetTest, WhatSomethingRefersToStays) {
  Make(400);
  Says("factory", Range(1, 400));
  Says("core", {3, 5});  // a replica that is away keeps them
  control::v1::PinRequest pin;
  pin.set_dataset("planner");
  pin.set_site("core");
  pin.set_number(5);
  ASSERT_TRUE(core_->Pin("spiffe://acme/admin/alice", pin).ok());
  control::v1::HoldRequest hold;
  hold.set_dataset("planner");
  hold.set_number(7);
  hold.set_reason("case 4711");
  ASSERT_TRUE(core_->Hold("spiffe://acme/admin/alice", hold).ok());
  core_->Reconcile();
  const Message* order = sessions_.at("core")->Last(Message::kTransfer);
  ASSERT_NE(order, nullptr);
  const VersionNumber on_its_way = store::DecodeVersionRecord(order->transfer().version_record().payload())->number;
  EXPECT_EQ(on_its_way, 400u);
  Disconnect("core");
  Says("factory", {400});
  Rounds(5);
  std::vector<VersionNumber> expected = Range(301, 400);
  expected.insert(expected.begin(), {3, 5, 7});
  std::reverse(expected.begin(), expected.end());
  EXPECT_EQ(Listed(), expected);
  // Once it is back, holds them no more and follows the newest, they are as the others.
  Connect("core");
  pin.set_number(0);
  ASSERT_TRUE(core_->Pin("spiffe://acme/admin/alice", pin).ok());
  Says("core", {});
  EXPECT_THAT(SitesOf(3), ElementsAre());
}

TEST_F(ForgetTest, ASiteThatComesBackWithAForgottenVersionMakesItKnownAgain) {
  Make(400);
  Says("factory", {400});
  Rounds(3);
  ASSERT_THAT(SitesOf(3), ElementsAre("unknown"));

  Says("core", {3, 4});
  const Message* recall = sessions_.at("core")->Last(Message::kRecall);
  ASSERT_NE(recall, nullptr);
  EXPECT_EQ(recall->recall().dataset_id(), dataset().str());
  EXPECT_THAT(recall->recall().numbers(), ElementsAre(3, 4));
  Says("core", {3, 4}, /*records=*/true);
  EXPECT_THAT(SitesOf(3), ElementsAre("core"));
  EXPECT_THAT(SitesOf(4), ElementsAre("core"));
  EXPECT_EQ(core_->Replicas("planner", "core")->replicas(0).versions_size(), 2);
  EXPECT_EQ(core_->Datasets().datasets(0).source_problem(), "");
  Says("core", {3, 4});
  Rounds(3);
  EXPECT_THAT(SitesOf(3), ElementsAre("core"));
  Restart();
  EXPECT_THAT(SitesOf(3), ElementsAre("core"));
  // The home too, and it is the same version: nothing was announced anew.
  Connect("factory");
  Says("factory", {2, 400});
  EXPECT_THAT(sessions_.at("factory")->Last(Message::kRecall)->recall().numbers(), ElementsAre(2));
  Says("factory", {2, 400}, /*records=*/true);
  EXPECT_THAT(SitesOf(2), ElementsAre("factory"));
  EXPECT_EQ(core_->Datasets().datasets(0).source_problem(), "");
  EXPECT_THAT(EventKinds(), Not(Contains("version-committed")));
}

TEST_F(ForgetTest, AnAgentThatCannotSayTheRecordIsAskedOnce) {
  Make(400);
  Says("factory", {400});
  Rounds(3);
  for (int i = 0; i < 3; ++i) Says("core", {3});
  size_t asked = 0;
  for (const Message& message : sessions_.at("core")->sent) asked += message.kind_case() == Message::kRecall ? 1 : 0;
  EXPECT_EQ(asked, 1u);
  EXPECT_THAT(SitesOf(3), ElementsAre("unknown"));
  Disconnect("core");
  Connect("core");
  Says("core", {3});
  EXPECT_NE(sessions_.at("core")->Last(Message::kRecall), nullptr);
}

TEST_F(ForgetTest, NothingElseTakesTheNumberOfAForgottenVersion) {
  Make(400);
  Says("factory", {400});
  Rounds(3);
  store::VersionRecord other = Record(3);
  other.message = "another past";
  const crypto::Envelope rewritten = SignedRecord(other, "factory");
  const crypto::Envelope genuine = made_.at(3);

  // A replica that holds something else under the number is not asked, and cannot pass it off as the version.
  made_[3] = rewritten;
  Says("core", {3});
  EXPECT_EQ(sessions_.at("core")->Last(Message::kRecall), nullptr);
  agent::v1::AgentMessage lie;
  lie.mutable_replica()->set_dataset_id(dataset().str());
  auto* held = lie.mutable_replica()->add_versions();
  held->set_number(3);
  held->set_identity(std::string(store::VersionIdentity(genuine).view()));
  rpc::ToProto(rewritten, held->mutable_record());
  Say("core", lie);
  EXPECT_THAT(SitesOf(3), ElementsAre("unknown"));
  // Nor with a signature that is not the home's.
  rpc::ToProto(SignedRecord(Record(3), "core"), held->mutable_record());
  Say("core", lie);
  EXPECT_THAT(SitesOf(3), ElementsAre("unknown"));
  // Nor does the home, that lost its past, fill it.
  Says("factory", {3}, /*records=*/true);
  EXPECT_THAT(SitesOf(3), ElementsAre("unknown"));
  EXPECT_THAT(core_->Datasets().datasets(0).source_problem(), HasSubstr("version 3 is refused"));
  Says("factory", {3});
  EXPECT_THAT(core_->Datasets().datasets(0).source_problem(), HasSubstr("version 3 is not the one known here"));
  Says("factory", {400});
  EXPECT_EQ(core_->Datasets().datasets(0).source_problem(), "");
}

}  // namespace
}  // namespace bailiwick::coordinator
