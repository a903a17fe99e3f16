#include "services/coordinator/planner/caps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bailiwick::coordinator {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kMiB = 1 << 20;

class CapsTest : public ::testing::Test {
 protected:
  CapsTest() {
    for (const auto& [name, region] : {std::pair("factory", "eu/de"), {"core", "eu/fr"}, {"cloud", "us/east"}}) {
      sites_[name].name = name;
      sites_[name].region = region;
    }
    policy::TimeZone berlin;
    berlin.transitions = {{absl::FromCivil(absl::CivilDay(2026, 3, 29), absl::UTCTimeZone()), absl::Hours(2)}};
    berlin.horizon = absl::FromCivil(absl::CivilDay(2026, 10, 25), absl::UTCTimeZone());
    zones_.time_zones["Europe/Berlin"] = berlin;
  }
  void Runs(const std::string& from, const std::string& to) {
    RunningTransfer transfer;
    transfer.source = from;
    transfer.destination = to;
    running_.push_back(transfer);
  }
  std::map<std::string, std::vector<SiteCap>> At(absl::Time now) {
    return CapsBySite(caps_, sites_, running_, zones_, now);
  }
  static absl::Time July1(int hour) {  // a Wednesday
    return absl::FromCivil(absl::CivilHour(2026, 7, 1, hour), absl::UTCTimeZone());
  }

  std::map<std::string, PlannedSite> sites_;
  std::vector<RunningTransfer> running_;
  std::vector<PlannedCap> caps_;
  policy::World zones_;
};

TEST_F(CapsTest, OfASiteIsForItAlone) {
  caps_ = {{"p/0", "factory", "", "us", 4 * kMiB, {}}};
  Runs("factory", "cloud");
  Runs("core", "cloud");
  const auto caps = At(July1(0));
  ASSERT_THAT(caps, SizeIs(1));
  ASSERT_THAT(caps.at("factory"), SizeIs(1));
  EXPECT_EQ(caps.at("factory")[0].id, "p/0");
  EXPECT_EQ(caps.at("factory")[0].to, "us");
  EXPECT_EQ(caps.at("factory")[0].bytes_per_second, 4 * kMiB);
}

TEST_F(CapsTest, OfAPairOfRegionsIsDividedAmongThoseThatSend) {
  caps_ = {{"p/0", "", "eu", "us", 30 * kMiB, {}}};
  EXPECT_EQ(At(July1(0)).at("factory")[0].bytes_per_second, 30 * kMiB) << "nobody sends";
  Runs("factory", "cloud");
  Runs("factory", "cloud");
  Runs("core", "cloud");
  Runs("core", "factory");  // another line
  const auto caps = At(July1(0));
  EXPECT_EQ(caps.at("factory")[0].bytes_per_second, 20 * kMiB);
  EXPECT_EQ(caps.at("core")[0].bytes_per_second, 10 * kMiB);
  EXPECT_EQ(caps.count("cloud"), 0u);
}

TEST_F(CapsTest, HoldsInItsWindows) {
  PlannedCap cap = {"p/0", "factory", "", "", kMiB, {}};
  cap.when.daily = {{0x1f, 8 * 60, 18 * 60, "Europe/Berlin"}};
  caps_ = {cap};
  EXPECT_THAT(At(July1(5)), IsEmpty());  // 7:00
  EXPECT_THAT(At(July1(6)), SizeIs(1));
  EXPECT_THAT(At(July1(15)), SizeIs(1));
  EXPECT_THAT(At(July1(16)), IsEmpty());
  EXPECT_THAT(At(July1(12) + 3 * absl::Hours(24)), IsEmpty()) << "a Saturday";
  EXPECT_THAT(At(July1(5) + 365 * absl::Hours(24)), SizeIs(1)) << "what local time it is nobody knows";
}

TEST_F(CapsTest, WhatDoesNotSendHasNoShare) {
  caps_ = {{.id = "a", .from = "eu", .to = "us", .bytes_per_second = 10 * kMiB}};
  Runs("factory", "cloud");
  Runs("core", "cloud");
  EXPECT_EQ(At(July1(0))["factory"][0].bytes_per_second, 5 * kMiB);
  running_[1].yields = true;
  EXPECT_EQ(At(July1(0))["factory"][0].bytes_per_second, 10 * kMiB);
  running_[1].yields = false;
  running_[1].stalled = true;
  EXPECT_EQ(At(July1(0))["factory"][0].bytes_per_second, 10 * kMiB);
}

TEST_F(CapsTest, WhatIsLessUrgentYieldsAtTheSourceAndAtTheDestination) {
  auto add = [&](const std::string& id, const std::string& from, const std::string& to, int priority) {
    Runs(from, to);
    running_.back().transfer_id = id;
    running_.back().priority = priority;
  };
  add("low", "factory", "core", 1);
  add("normal", "factory", "cloud", 2);
  EXPECT_EQ(Yielding(running_), std::set<std::string>({"low"}));
  add("high", "elsewhere", "cloud", 3);
  EXPECT_EQ(Yielding(running_), std::set<std::string>({"normal"})) << "nothing else moves from the factory";
  add("apart", "one", "two", 1);
  EXPECT_EQ(Yielding(running_), std::set<std::string>({"normal"}));
  running_[2].stalled = true;  // it gets nowhere: nobody waits for it
  EXPECT_EQ(Yielding(running_), std::set<std::string>({"low"}));
  EXPECT_TRUE(Yielding({}).empty());
}

}  // namespace
}  // namespace bailiwick::coordinator
