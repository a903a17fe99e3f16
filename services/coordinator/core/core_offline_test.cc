// What sites are told so that they can go on without the coordinator.
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

constexpr char kDelegation[] = R"(
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: away}
spec:
  offline: [{jurisdiction: eu, maxStaleness: 2m}]
  rules:
  - {id: models-anywhere, effect: permit, data: {matchLabels: {class: model}}, to: {in: [eu, us]}}
)";

class OfflineTest : public CoreTest {
 protected:
  std::vector<agent::v1::StandingPeer> Standing(const std::string& site) {
    const auto* told = sessions_.at(site)->Last(Message::kAssignments);
    if (told == nullptr || told->assignments().datasets_size() != 1) return {};
    const auto& peers = told->assignments().datasets(0).standing();
    return {peers.begin(), peers.end()};
  }
};

TEST_F(OfflineTest, WithoutADelegationNobodyIsTold) {
  Fleet();
  core_->Reconcile();
  EXPECT_TRUE(Standing("factory").empty());
  EXPECT_TRUE(Standing("core").empty());
}

TEST_F(OfflineTest, TheHomeKnowsItsReplicasInTheJurisdiction) {
  Fleet();
  ASSERT_TRUE(Apply(kDelegation).ok());
  core_->Reconcile();
  ASSERT_EQ(Standing("factory").size(), 1u);  // not the cloud, which is another jurisdiction
  const agent::v1::StandingPeer core = Standing("factory")[0];
  EXPECT_EQ(core.site(), "core");
  EXPECT_EQ(core.spiffe_id(), PeerOf("core", "eu").uri);
  EXPECT_EQ(core.endpoint(), "127.0.0.1:9");
  EXPECT_TRUE(Standing("core").empty());  // it is dialled
}

TEST_F(OfflineTest, AReplicaThatOnlyDialsOutKnowsItsHome) {
  Fleet();
  ASSERT_TRUE(Apply(kDelegation).ok());
  Disconnect("core");
  Connect("core", "");
  core_->Reconcile();
  ASSERT_EQ(Standing("factory").size(), 1u);
  EXPECT_EQ(Standing("factory")[0].endpoint(), "");
  ASSERT_EQ(Standing("core").size(), 1u);
  EXPECT_EQ(Standing("core")[0].site(), "factory");
  EXPECT_EQ(Standing("core")[0].endpoint(), "127.0.0.1:9");
}

TEST_F(OfflineTest, AReplicaThatNeedsEveryVersionWaitsForThePlanner) {
  Fleet();
  const std::string in_order =
      absl::StrCat("apiVersion: bailiwick/v1\nkind: ReplicationPolicy\nmetadata: {name: everywhere}\n",
                   "spec: {select: {matchLabels: {class: model}}, to: [{site: core}], order: in-order}\n");
  ASSERT_TRUE(Apply(absl::StrCat(kDelegation, "---\n", in_order)).ok());
  core_->Reconcile();
  EXPECT_TRUE(Standing("factory").empty());
}

TEST_F(OfflineTest, TimestampsAreFreshBesideTheDelegation) {
  Fleet();
  core_->Reconcile();
  ASSERT_TRUE(Apply(kDelegation).ok());
  core_->Reconcile();
  clock_.Advance(absl::Minutes(16));  // whatever was due before the law delegated
  core_->Reconcile();
  auto sent = [&] {
    int count = 0;
    for (const auto& message : sessions_.at("core")->sent) count += message.has_policy_timestamp() ? 1 : 0;
    return count;
  };
  const int before = sent();
  for (int i = 0; i < 12; ++i) {
    clock_.Advance(absl::Seconds(10));
    for (const char* site : {"factory", "core", "cloud"}) Say(site, {});
    core_->Reconcile();
  }
  EXPECT_GE(sent() - before, 12);  // a twentieth of two minutes is 6 s
}

}  // namespace
}  // namespace bailiwick::coordinator
