#include "services/coordinator/planner/rpo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bailiwick::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

Wanted Copy(const std::string& site, absl::Duration lag, absl::Duration rpo) {
  Wanted w;
  w.dataset.bytes[0] = 1;
  w.dataset_name = "planner";
  w.site = site;
  w.rpo = rpo;
  w.lag = lag;
  w.lagging_at = lag == absl::ZeroDuration() ? 0 : 7;
  w.rpo_breached = lag > rpo;
  w.reason.sentence = "site core is offline";
  return w;
}

class RpoTest : public ::testing::Test {
 protected:
  std::vector<RpoChange> Step(const std::vector<Wanted>& wanted, absl::Duration later = absl::ZeroDuration()) {
    std::vector<RpoChange> changes = RpoChanges(wanted, alarms_, kNow + later);
    for (const RpoChange& change : changes) {
      if (change.raised) {
        alarms_[{change.alarm.dataset, change.alarm.site}] = change.alarm;
      } else {
        alarms_.erase({change.alarm.dataset, change.alarm.site});
      }
    }
    return changes;
  }
  RpoAlarms alarms_;
};

TEST_F(RpoTest, IsRaisedOnceAndEndedOnce) {
  EXPECT_THAT(Step({Copy("core", absl::Minutes(5), absl::Minutes(5))}), IsEmpty()) << "not over it yet";
  const auto raised =
      Step({Copy("core", absl::Minutes(7), absl::Minutes(5)), Copy("us", absl::Hours(1), absl::Hours(2))});
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_TRUE(raised[0].raised);
  EXPECT_EQ(raised[0].alarm.site, "core");
  EXPECT_EQ(raised[0].alarm.since, kNow - absl::Minutes(2));
  EXPECT_EQ(raised[0].version, 7u);
  EXPECT_EQ(raised[0].sentence, "missing for 7m00s, over the RPO of 5m00s: site core is offline");
  EXPECT_THAT(Step({Copy("core", absl::Minutes(9), absl::Minutes(5))}, absl::Minutes(2)), IsEmpty()) << "the same one";
  const auto ended = Step({Copy("core", absl::ZeroDuration(), absl::Minutes(5))}, absl::Minutes(3));
  ASSERT_THAT(ended, SizeIs(1));
  EXPECT_FALSE(ended[0].raised);
  EXPECT_EQ(ended[0].version, 0u);
  EXPECT_EQ(ended[0].sentence, "within the RPO of 5m00s again, after 5m00s");
  EXPECT_THAT(Step({Copy("core", absl::ZeroDuration(), absl::Minutes(5))}, absl::Minutes(4)), IsEmpty());
}

TEST_F(RpoTest, EndsWhenNobodyAsksAnyMore) {
  EXPECT_THAT(Step({Copy("core", absl::Minutes(7), absl::Minutes(5)), Copy("us", absl::Minutes(7), absl::Minutes(5))}),
              SizeIs(2));
  const auto ended = Step({Copy("us", absl::Minutes(8), absl::InfiniteDuration())});
  ASSERT_THAT(ended, SizeIs(2));
  EXPECT_THAT(ended[0].sentence, HasSubstr("no ReplicationPolicy asks for a copy"));
  EXPECT_THAT(ended[1].sentence, HasSubstr("no ReplicationPolicy sets an RPO"));
  EXPECT_THAT(alarms_, IsEmpty());
}

}  // namespace
}  // namespace bailiwick::coordinator
