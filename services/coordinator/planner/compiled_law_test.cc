#include "services/coordinator/planner/compiled_law.h"

#include <gtest/gtest.h>

#include "common/policy/residence.h"
#include "common/policy/world_fixture.h"

namespace bailiwick::coordinator {
namespace {

using policy::Random;

TEST(CompiledLawPropertyTest, SaysWhatTheEvaluatorSaysWheneverItIsAsked) {
  int permitted = 0, resident = 0, bounded = 0;
  for (uint64_t seed = 1; seed <= 1500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const policy::World world = random.SomeWorld();
    CompiledLaw law(&world);
    for (int i = 0; i < 12; ++i) {  // times in any order: also back, as a clock that is set
      const policy::Request request = random.SomeRequest();
      const std::string home = i % 3 == 0 ? "" : i % 3 == 1 ? "s1" : "nowhere";
      const absl::Time now = random.SomeTime();
      const policy::Decision flow = policy::EvaluateReplication(
          world, {request.data, request.from_site, request.to_site, request.purpose, home}, now);
      const policy::Verdict verdict =
          law.Replication(request.data, request.from_site, request.to_site, request.purpose, home, now);
      ASSERT_EQ(verdict.permitted, flow.permitted) << flow.sentence;
      if (flow.permitted) {
        ASSERT_EQ(verdict.obligations, flow.obligations);
      }

      const policy::Decision lies =
          policy::EvaluateResidence(world, request.data, request.from_site, request.to_site, now);
      const policy::Verdict there = law.Residence(request.data, request.from_site, request.to_site, now);
      ASSERT_EQ(there.permitted, lies.permitted) << lies.sentence;
      ASSERT_EQ(there.reason, lies.reason);
      if (lies.permitted) {
        ASSERT_EQ(there.obligations, lies.obligations);
      }
      const bool limited = lies.permitted && lies.obligations.max_retention != absl::InfiniteDuration();
      ASSERT_EQ(lies.retention_rule.empty(), !limited);
      permitted += flow.permitted;
      resident += lies.permitted;
      bounded += !lies.retention_rule.empty();
    }
  }
  EXPECT_GT(permitted, 300);
  EXPECT_GT(resident, 300);
  EXPECT_GT(bounded, 30);
}

}  // namespace
}  // namespace bailiwick::coordinator
