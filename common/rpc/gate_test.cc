#include "common/rpc/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/audit/log.h"
#include "common/os/clock.h"
#include "common/os/fault_files.h"
#include "common/os/files.h"
#include "common/os/random.h"
#include "common/rpc/refusals.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

Peer Factory(const std::string& domain = "example.org") {
  Peer peer;
  peer.id = {identity::Kind::kAgent, domain, "eu/de", "factory", "factory"};
  peer.uri = peer.id.str();
  peer.not_before = kNow - absl::Hours(1);
  peer.not_after = kNow + absl::Hours(1);
  return peer;
}

struct Seen {
  std::vector<std::pair<std::string, std::string>> refusals;  // who, code
  absl::Time now = kNow;
  Gate gate{Gate::Options{.trust_domain = "example.org",
                          .now = [this] { return now; },
                          .refused = [this](const std::string& who, const absl::Status& why,
                                            Named) { refusals.emplace_back(who, identity::RefusalCode(why)); }}};
};

TEST(Gate, LetsInWhoIsValidAndOurs) {
  Seen seen;
  EXPECT_TRUE(seen.gate.Check(Factory()).ok());
  EXPECT_TRUE(seen.refusals.empty());
}

TEST(Gate, SaysWhyAndToWhom) {
  Seen seen;
  const Peer foreign = Factory("example.com");
  EXPECT_EQ(identity::RefusalCode(seen.gate.Check(foreign)), "FOREIGN_DOMAIN");
  seen.now = kNow + absl::Hours(2);
  EXPECT_EQ(identity::RefusalCode(seen.gate.Check(Factory())), "EXPIRED");
  EXPECT_TRUE(seen.gate.Check(Factory(), kNow + absl::Hours(3)).ok()) << "proved a newer certificate";
  seen.now = kNow - absl::Hours(2);
  EXPECT_EQ(identity::RefusalCode(seen.gate.Check(Factory())), "NOT_YET_VALID");
  using Refusal = std::pair<std::string, std::string>;
  EXPECT_THAT(seen.refusals,
              ::testing::ElementsAre(Refusal(foreign.uri, "FOREIGN_DOMAIN"), Refusal(Factory().uri, "EXPIRED"),
                                     Refusal(Factory().uri, "NOT_YET_VALID")));
}

TEST(Gate, ARevokedIdentityIsOutUntilACertificateThatBeganLater) {
  Seen seen;
  Peer peer = Factory();
  seen.gate.SetDenied({{peer.uri, kNow - absl::Hours(2)}, {peer.uri, kNow}, {peer.uri, kNow - absl::Hours(3)}});
  EXPECT_EQ(identity::RefusalCode(seen.gate.Check(peer)), "REVOKED");
  EXPECT_EQ(identity::RefusalCode(seen.gate.Check(peer, kNow + absl::Hours(9))), "REVOKED")
      << "a newer certificate proved over an old connection changes nothing";
  peer.not_before = kNow;
  EXPECT_EQ(identity::RefusalCode(seen.gate.Check(peer)), "REVOKED");
  peer.not_before = kNow + absl::Seconds(1);
  seen.now = kNow + absl::Seconds(1);
  EXPECT_TRUE(seen.gate.Check(peer).ok());
  Peer other = Factory();
  other.uri = "spiffe://example.org/region/eu/de/site/core/agent/core";
  EXPECT_TRUE(seen.gate.Check(other).ok());
  seen.gate.SetDenied({});
  EXPECT_TRUE(seen.gate.Check(Factory()).ok());
}

TEST(Gate, WhoIsNotToldWhoWasRevokedRefusesPeopleAfterAWhile) {
  constexpr char kVerify[] = "bailiwick.agent.v1.AgentAdmin/Verify";
  Seen seen;
  Peer alice = Factory();
  alice.id = {identity::Kind::kAdmin, "example.org", "", "", "alice"};
  alice.uri = alice.id.str();
  EXPECT_TRUE(seen.gate.CheckMayAsk(alice, kVerify).ok()) << "who knows by itself";
  const absl::Duration boot = absl::Hours(100);
  seen.gate.Heard(boot, false);  // it began without a coordinator
  EXPECT_TRUE(seen.gate.CheckMayAsk(alice, kVerify).ok());
  seen.gate.Heard(boot + Gate::kMaxUnheard, false);
  EXPECT_TRUE(seen.gate.CheckMayAsk(alice, kVerify).ok());
  seen.gate.Heard(boot + Gate::kMaxUnheard + absl::Seconds(1), false);
  const absl::Status refused = seen.gate.CheckMayAsk(alice, kVerify);
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("for 10m this agent has heard nothing from the coordinator"));
  EXPECT_EQ(seen.refusals.size(), 1u);
  EXPECT_TRUE(seen.gate.Check(Factory()).ok()) << "machines are bound by what their grants say";
  EXPECT_TRUE(seen.gate.CheckMayAsk(Factory(), "bailiwick.transfer.v1.Transfer/Exchange").ok());
  seen.gate.Heard(boot + absl::Hours(1), true);
  EXPECT_TRUE(seen.gate.CheckMayAsk(alice, kVerify).ok());
  seen.gate.Heard(boot + absl::Hours(2), false);
  EXPECT_FALSE(seen.gate.CheckMayAsk(alice, kVerify).ok()) << "it slept meanwhile";
}

class RefusalsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    telemetry::InitLogging("rpc-test", telemetry::Format::kText, telemetry::Level::kError);
    root_ = ::testing::TempDir() + "bw-refusals-" + std::to_string(::getpid());
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
    auto log = audit::Log::Open(files_, &clock_, os::Random::System(), root_ + "/audit");
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  void TearDown() override {
    log_.reset();
    EXPECT_TRUE(files_->RemoveTree(root_).ok());
  }
  std::vector<std::string> Details() {
    std::vector<std::string> details;
    auto records = log_->Read(1, 10'000);
    EXPECT_TRUE(records.ok()) << records.status();
    if (records.ok()) {
      for (const auto& record : *records) details.push_back(record.subject + " " + record.detail);
    }
    return details;
  }
  static void Knock(Refusals& refusals, const std::string& who, Named named = Named::kProven,
                    const char* code = "EXPIRED") {
    refusals.Record(who, identity::Refuse(code, "it is so"), named);
  }
  static std::string Text(const std::string& detail, const std::string& field) {
    const std::string key = absl::StrCat("\"", field, "\":");
    const size_t at = detail.find(key);
    return at == std::string::npos ? ""
                                   : detail.substr(at + key.size(), detail.find_first_of(",}", at) - at - key.size());
  }
  uint64_t Sum(const std::string& field) {
    uint64_t sum = 0;
    for (const std::string& detail : Details()) {
      const std::string text = Text(detail, field);
      if (!text.empty()) sum += std::stoull(text);
    }
    return sum;
  }
  os::Files* files_ = os::Files::System();
  std::string root_;
  os::FakeClock clock_;
  std::unique_ptr<audit::Log> log_;
};

TEST_F(RefusalsTest, TheFirstAtOnceTheRestAsOne) {
  Refusals refusals(log_.get(), &clock_);
  for (int i = 0; i < 1000; ++i) Knock(refusals, "spiffe://a/b");
  ASSERT_EQ(Details().size(), 1u);
  EXPECT_THAT(Details()[0], HasSubstr("peer/spiffe://a/b"));
  EXPECT_THAT(Details()[0], HasSubstr("\"count\":1,"));
  Knock(refusals, "spiffe://a/b", Named::kProven, "REVOKED");
  EXPECT_EQ(Details().size(), 2u) << "another reason is another refusal";
  refusals.Flush(false);
  EXPECT_EQ(Details().size(), 2u) << "not due yet";
  clock_.Advance(Refusals::kEvery);
  refusals.Flush(false);
  ASSERT_EQ(Details().size(), 3u);
  EXPECT_THAT(Details()[2], HasSubstr("\"count\":999,"));
  Knock(refusals, "spiffe://a/b");
  EXPECT_EQ(Details().size(), 3u) << "who goes on is told less often";
  clock_.Advance(2 * Refusals::kEvery);
  refusals.Flush(false);
  EXPECT_EQ(Details().size(), 4u);
  clock_.Advance(Refusals::kSeldom);
  refusals.Flush(false);
  Knock(refusals, "spiffe://a/b");
  EXPECT_EQ(Details().size(), 5u) << "after an hour of quiet the first is a record at once again";
}

TEST_F(RefusalsTest, OneThatKnocksAllDayIsThirtyRecordsWithEachKnockInThem) {
  Refusals refusals(log_.get(), &clock_);
  const absl::Time start = clock_.Now();
  uint64_t knocks = 0;
  for (; clock_.Now() - start < absl::Hours(24); clock_.Advance(absl::Seconds(10)), ++knocks) {
    Knock(refusals, "spiffe://a/b");
    refusals.Flush(false);
  }
  EXPECT_LE(Details().size(), 30u);
  refusals.Flush(true);
  EXPECT_EQ(Sum("count"), knocks);
  const std::vector<std::string> details = Details();
  for (size_t i = 1; i < details.size(); ++i) {
    const std::string ended = Text(details[i - 1], "last"), began = Text(details[i], "first");
    EXPECT_LT(ended, began);
    EXPECT_LE(began, Text(details[i], "last"));
  }
}

// A handshake costs a stranger nothing, and in each there can be another name.
TEST_F(RefusalsTest, ADayOfFreshNamesThatNobodyVouchesForIsFewRecordsWithEachKnockInThem) {
  Refusals refusals(log_.get(), &clock_);
  uint64_t knocks = 0;
  for (int minute = 0; minute < 24 * 60; ++minute) {
    for (int i = 0; i < 256; ++i) Knock(refusals, absl::StrCat("spiffe://a/", knocks++), Named::kClaimed, "UNKNOWN_CA");
    for (int i = 0; i < 6; ++i, clock_.Advance(absl::Seconds(10))) refusals.Flush(false);
    ASSERT_LE(log_->size(), 600u) << "in minute " << minute;
  }
  refusals.Flush(true);
  EXPECT_LE(log_->size(), 600u) << "20 names an hour, and `many`";
  EXPECT_EQ(Sum("count"), knocks);
  uint64_t named = 0;
  for (const std::string& detail : Details()) named += detail.find("\"claimed\":true") != std::string::npos;
  EXPECT_EQ(named + Sum("names"), knocks) << "each name was another one";
  EXPECT_THAT(Details()[0], HasSubstr("peer/spiffe://a/0 ")) << "the first of them are known by name";
}

TEST_F(RefusalsTest, ClaimedNamesDoNotPushOutWhoProvedTheirs) {
  Refusals refusals(log_.get(), &clock_);
  for (int i = 0; i < 5000; ++i) Knock(refusals, absl::StrCat("spiffe://a/", i), Named::kClaimed);
  const size_t before = Details().size();
  Knock(refusals, "spiffe://a/7");
  ASSERT_EQ(Details().size(), before + 1);
  EXPECT_THAT(Details().back(), HasSubstr("peer/spiffe://a/7 "));
  EXPECT_THAT(Details().back(), Not(HasSubstr("claimed")));
}

TEST_F(RefusalsTest, ManyNamesDoNotFillTheDiskAndAreCounted) {
  Refusals refusals(log_.get(), &clock_);
  for (int i = 0; i < 5000; ++i) {
    refusals.Record(absl::StrCat("spiffe://a/", i), identity::Refuse("WRONG_KIND", "a \"quoted\"\n reason"),
                    Named::kProven);
  }
  EXPECT_LE(Details().size(), Refusals::kMaxPeers + 1);
  refusals.Flush(true);
  EXPECT_EQ(Sum("count"), 5000u);
}

TEST_F(RefusalsTest, WhatCouldNotBeRecordedIsCountedInTheNextRecord) {
  log_.reset();
  os::FaultFiles faults(files_, root_);
  log_ = *audit::Log::Open(&faults, &clock_, os::Random::System(), root_ + "/audit");
  Refusals refusals(log_.get(), &clock_);
  const absl::Time first = clock_.Now();
  faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left"));
  Knock(refusals, "spiffe://a/b");
  EXPECT_EQ(Details().size(), 0u);
  clock_.Advance(absl::Seconds(1));
  Knock(refusals, "spiffe://a/b");
  clock_.Advance(Refusals::kEvery);
  refusals.Flush(false);
  ASSERT_EQ(Details().size(), 1u);
  EXPECT_THAT(Details()[0], HasSubstr("\"count\":2,"));
  EXPECT_EQ(Text(Details()[0], "first"), absl::FormatTime("\"%Y-%m-%dT%H:%M:%SZ\"", first, absl::UTCTimeZone()));
  log_.reset();
}

}  // namespace
}  // namespace bailiwick::rpc
