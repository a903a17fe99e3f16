// Alarms over the RPO as the core raises and ends them.
#include <algorithm>

#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::HasSubstr;

class CoreRpoTest : public CoreTest {
 protected:
  int Count(const std::string& kind) {
    const std::vector<std::string> kinds = EventKinds();
    return static_cast<int>(std::count(kinds.begin(), kinds.end(), kind));
  }
  control::v1::Replica AtCore() {
    auto replicas = core_->Replicas("planner", "core");
    EXPECT_TRUE(replicas.ok() && replicas->replicas_size() == 1) << replicas.status();
    return replicas.ok() && replicas->replicas_size() == 1 ? replicas->replicas(0) : control::v1::Replica();
  }
};

TEST_F(CoreRpoTest, OneEventABreachAndOneARecoveryAlsoOverARestart) {
  Fleet();
  const std::string policy = R"(
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {name: everywhere}
spec: {select: {matchLabels: {class: model}}, to: [{site: core}], rpo: 5m}
)";
  ASSERT_TRUE(Apply(policy).ok());
  const crypto::Envelope record = SignedRecord(Record(1), "factory");
  Report("factory", {record});
  Disconnect("core");
  clock_.Advance(absl::Minutes(5));
  core_->Reconcile();
  EXPECT_EQ(Count("rpo-breached"), 0);
  EXPECT_EQ(AtCore().lag().seconds(), 300);
  EXPECT_EQ(AtCore().rpo().seconds(), 300);
  EXPECT_FALSE(AtCore().rpo_breached());

  clock_.Advance(absl::Seconds(10));
  core_->Reconcile();
  core_->Reconcile();
  EXPECT_EQ(Count("rpo-breached"), 1);
  EXPECT_TRUE(AtCore().rpo_breached());
  EXPECT_TRUE(AtCore().has_rpo_breached_since());
  EXPECT_EQ(core_->Datasets().datasets(0).replicas_over_rpo(), 1u);
  auto why = core_->Why("planner", "core");
  ASSERT_TRUE(why.ok());
  EXPECT_TRUE(why->rpo_breached());
  EXPECT_EQ(why->lag().seconds(), 310);
  auto events = core_->Events({});
  ASSERT_TRUE(events.ok());
  for (const auto& event : *events) {
    if (event.kind() != "rpo-breached") continue;
    EXPECT_EQ(event.site(), "core");
    EXPECT_EQ(event.dataset(), "planner");
    EXPECT_EQ(event.version(), 1u);
    EXPECT_THAT(event.message(), HasSubstr("missing for 5m10s, over the RPO of 5m00s"));
  }

  Restart();
  clock_.Advance(absl::Minutes(1));
  core_->Reconcile();
  EXPECT_EQ(Count("rpo-breached"), 1) << "it is the same breach";
  EXPECT_TRUE(AtCore().rpo_breached());

  Connect("factory");
  Connect("core");
  Report("core", {record});
  core_->Reconcile();
  EXPECT_EQ(Count("rpo-recovered"), 1);
  EXPECT_FALSE(AtCore().rpo_breached());
  EXPECT_FALSE(AtCore().has_rpo_breached_since());
  EXPECT_EQ(AtCore().lag().seconds(), 0);
  core_->Reconcile();
  EXPECT_EQ(Count("rpo-recovered"), 1);
}

}  // namespace
}  // namespace bailiwick::coordinator
