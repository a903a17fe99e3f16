// Caps as the core tells them to sites, and the pace of transfers as it shows it.
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

constexpr char kCaps[] = R"(
apiVersion: bailiwick/v1
kind: BandwidthPolicy
metadata: {name: lines}
spec:
  caps:
  - {site: factory, limit: 4MiB}
  - {from: eu, to: us, limit: 1MiB, daily: [{days: mon-fri, hours: "08:00-18:00", tz: Europe/Berlin}]}
)";

class CoreCapsTest : public CoreTest {
 protected:
  const agent::v1::SendCaps* Told(const std::string& site) {
    const Message* message = sessions_.at(site)->Last(Message::kCaps);
    return message == nullptr ? nullptr : &message->caps();
  }
  void AdvanceTo(absl::CivilHour hour) { clock_.Advance(absl::FromCivil(hour, absl::UTCTimeZone()) - clock_.Now()); }
};

TEST_F(CoreCapsTest, SitesAreToldWhatTheyMaySendAsItChanges) {
  AdvanceTo(absl::CivilHour(2030, 7, 1, 12));  // a Monday, 14:00 in Berlin
  Restart();
  Fleet();
  core_->Reconcile();
  ASSERT_NE(Told("factory"), nullptr) << "also that there is none: it may know one of before";
  EXPECT_EQ(Told("factory")->caps_size(), 0);

  ASSERT_TRUE(Apply(kCaps).ok());
  core_->Reconcile();
  ASSERT_EQ(Told("factory")->caps_size(), 2);
  EXPECT_EQ(Told("factory")->caps(0).id(), "lines/0");
  EXPECT_EQ(Told("factory")->caps(0).to(), "");
  EXPECT_EQ(Told("factory")->caps(0).bytes_per_second(), uint64_t{4} << 20);
  EXPECT_EQ(Told("factory")->caps(1).to(), "us");
  ASSERT_EQ(Told("core")->caps_size(), 1);
  EXPECT_EQ(Told("cloud")->caps_size(), 0);

  const size_t sent = sessions_.at("factory")->sent.size();
  core_->Reconcile();
  EXPECT_EQ(sessions_.at("factory")->sent.size(), sent) << "nothing changed";
  clock_.Advance(absl::Hours(5));  // 19:00 in Berlin
  core_->Reconcile();
  EXPECT_EQ(Told("factory")->caps_size(), 1);
}

TEST_F(CoreCapsTest, TransfersShowTheirPaceAndWhatHoldsThemBack) {
  Fleet();
  Report("factory", {SignedRecord(Record(1), "factory")});
  SayInstalled();
  core_->Reconcile();
  ASSERT_EQ(core_->Transfers("").transfers_size(), 1);
  const std::string id = core_->Transfers("").transfers(0).transfer_id();
  auto say = [&](const std::string& site, uint64_t bytes, const std::string& limit) {
    agent::v1::AgentMessage message;
    auto* report = message.mutable_transfer();
    report->set_transfer_id(id);
    report->set_state(agent::v1::TRANSFER_STATE_RUNNING);
    report->set_done_bytes(bytes);
    report->set_wire_bytes(bytes);
    report->set_limit(limit);
    Say(site, message);
  };
  say("core", 0, "");
  EXPECT_EQ(core_->Transfers("").transfers(0).rate_bytes(), 0u);
  EXPECT_FALSE(core_->Transfers("").transfers(0).has_eta());
  for (uint64_t i = 1; i <= 4; ++i) {
    clock_.Advance(absl::Seconds(1));
    say("core", i * 100, "");
    say("factory", 0, "cap");
  }
  auto view = core_->Transfers("").transfers(0);
  EXPECT_EQ(view.rate_bytes(), 100u);
  EXPECT_EQ(view.eta().seconds(), 6);
  EXPECT_EQ(view.limit(), "cap");
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(core_->Transfers("").transfers(0).limit(), "") << "its source says so no more";

  struct Case {
    const char *source, *destination, *limit, *site;
  };
  uint64_t bytes = 400;
  for (const Case& c :
       {Case{"cap", "disk", "cap", "factory"}, Case{"priority", "link", "priority", "factory"},
        Case{"link", "disk", "disk", "core"}, Case{"peer", "cpu", "cpu", "core"},
        Case{"disk", "link", "disk", "factory"}, Case{"link", "link", "link", ""}, Case{"peer", "link", "link", ""}}) {
    say("core", ++bytes, c.destination);
    say("factory", 0, c.source);
    view = core_->Transfers("").transfers(0);
    EXPECT_EQ(view.limit(), c.limit) << c.source << ", " << c.destination;
    EXPECT_EQ(view.limit_site(), c.site) << c.source << ", " << c.destination;
  }
  for (int i = 0; i < 5; ++i) {  // nothing comes, and one end says nothing
    clock_.Advance(absl::Seconds(1));
    say("core", bytes, "link");
  }
  EXPECT_EQ(core_->Transfers("").transfers(0).limit(), "peer");
  EXPECT_EQ(core_->Transfers("").transfers(0).limit_site(), "factory");
}

}  // namespace
}  // namespace bailiwick::coordinator
