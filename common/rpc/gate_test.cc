#include "common/rpc/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/audit/log.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/os/random.h"
#include "common/rpc/refusals.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

using ::testing::HasSubstr;

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
  Gate gate{Gate::Options{.trust_domain = "example.org", .now = [this] { return now; }, .refused = [this](
                              const std::string& who, const absl::Status& why) {
                            refusals.emplace_back(who, identity::RefusalCode(why));
                          }}};
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
    auto records = log_->Read(1, 1000);
    EXPECT_TRUE(records.ok()) << records.status();
    if (records.ok()) {
      for (const auto& record : *records) details.push_back(record.subject + " " + record.detail);
    }
    return details;
  }
  os::Files* files_ = os::Files::System();
  std::string root_;
  os::FakeClock clock_;
  std::unique_ptr<audit::Log> log_;
};

TEST_F(RefusalsTest, TheFirstAtOnceTheRestAsOne) {
  Refusals refusals(log_.get(), &clock_);
  for (int i = 0; i < 1000; ++i) refusals.Record("spiffe://a/b", identity::Refuse("EXPIRED", "it expired"));
  ASSERT_EQ(Details().size(), 1u);
  EXPECT_THAT(Details()[0], HasSubstr("peer/spiffe://a/b"));
  EXPECT_THAT(Details()[0], HasSubstr("\"count\":1,"));
  refusals.Record("spiffe://a/b", identity::Refuse("REVOKED", "it was revoked"));
  EXPECT_EQ(Details().size(), 2u) << "another reason is another refusal";
  refusals.Flush(false);
  EXPECT_EQ(Details().size(), 2u) << "not due yet";
  clock_.Advance(Refusals::kEvery);
  refusals.Flush(false);
  ASSERT_EQ(Details().size(), 3u);
  EXPECT_THAT(Details()[2], HasSubstr("\"count\":999,"));
  refusals.Record("spiffe://a/b", identity::Refuse("EXPIRED", "it expired"));
  EXPECT_EQ(Details().size(), 4u);
}

TEST_F(RefusalsTest, ManyNamesDoNotFillTheDiskAndAreCounted) {
  Refusals refusals(log_.get(), &clock_);
  for (int i = 0; i < 5000; ++i) {
    refusals.Record(absl::StrCat("spiffe://a/", i), identity::Refuse("UNKNOWN_CA", "a \"quoted\"\n reason"));
  }
  EXPECT_LE(Details().size(), Refusals::kMaxPeers + 1);
  refusals.Flush(true);
  uint64_t total = 0;
  for (const std::string& detail : Details()) {
    const size_t at = detail.find("\"count\":") + 8;
    total += std::stoull(detail.substr(at));
  }
  EXPECT_EQ(total, 5000u);
}

}  // namespace
}  // namespace bailiwick::rpc
