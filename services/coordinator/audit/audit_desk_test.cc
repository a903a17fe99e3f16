// Who cosigns the coordinator's log, and who says that it contradicts what he saw. The log is a real one, agents are
// sessions with a memory and keys.
#include "services/coordinator/audit/audit_desk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/crypto/sign.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Listener : public Session {
 public:
  explicit Listener(const std::string& site) {
    peer_.id = {.kind = identity::Kind::kAgent, .trust_domain = "acme", .region = "eu", .site = site, .name = site};
  }
  const rpc::Peer& peer() const override { return peer_; }
  void Send(agent::v1::CoordinatorMessage message) override { sent.push_back(std::move(message)); }
  void Close(const absl::Status&) override {}
  void Drain() override {}

  std::vector<agent::v1::CoordinatorMessage> sent;

 private:
  rpc::Peer peer_;
};

class AuditDeskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(::testing::TempDir(), "/bw-desk-", getpid(), "-",
                              ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(files_->RemoveTree(directory_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
    auto log = audit::Log::Open(files_, &clock_, os::Random::System(), directory_ + "/audit");
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    ASSERT_TRUE(log_->SignAs("acme/coordinator", own_key_).ok());
    desk_ = std::make_unique<AuditDesk>(AuditDesk::Parts{
        .files = files_,
        .clock = &clock_,
        .directory = directory_ + "/audit-logs",
        .trust_domain = "acme",
        .log = log_.get(),
        .public_key = own_key_.public_key(),
        .pinned_keys =
            [this](const std::string& site) {
              auto key = keys_.find(site);
              return key == keys_.end() ? std::vector<std::string>() : std::vector{key->second.public_key()};
            },
        .alarm = [this](const std::string& kind, const std::string& site,
                        const std::string&) { alarms_.push_back(absl::StrCat(kind, " ", site)); }});
    ASSERT_TRUE(desk_->Load().ok());
  }
  void TearDown() override {
    desk_.reset();
    log_.reset();
    EXPECT_TRUE(files_->RemoveTree(directory_).ok());
  }

  // Its site is asked from the next round on.
  void Connect(const std::string& site) {
    keys_.try_emplace(site, *crypto::SigningKey::Generate());
    sessions_[site] = std::make_shared<Listener>(site);
    auto own = audit::Log::Open(files_, &clock_, os::Random::System(), absl::StrCat(directory_, "/", site));
    ASSERT_TRUE(own.ok()) << own.status();
    ASSERT_TRUE((*own)->SignAs(absl::StrCat("acme/site/", site), keys_.at(site)).ok());
    ASSERT_TRUE((*own)->Sign().ok());
    agent::v1::AgentMessage message;
    message.mutable_audit()->set_checkpoint((*own)->checkpoint());
    Say(site, message);
  }
  void Say(const std::string& site, const agent::v1::AgentMessage& message) {
    desk_->OnMessage(sessions_.at(site), message);
    while (desk_->HandleOne()) continue;
  }
  // Something new, and all are asked.
  void Round() {
    clock_.Advance(absl::Minutes(1));
    ASSERT_TRUE(log_->Append("policy-applied", "policy", "{}").ok());
    desk_->Round();
  }
  std::string Asked(const std::string& site) {
    const auto& sent = sessions_.at(site)->sent;
    return sent.empty() || !sent.back().has_audit_witness() ? "" : sent.back().audit_witness().checkpoint();
  }
  void Cosign(const std::string& site) {
    auto asked = audit::Note::Parse(Asked(site));
    ASSERT_TRUE(asked.ok()) << asked.status();
    audit::Note answer{.text = asked->text, .signatures = {}};
    answer.signatures.push_back(
        audit::Cosign(asked->text, absl::StrCat("acme/site/", site), keys_.at(site), clock_.Now()));
    agent::v1::AgentMessage message;
    message.mutable_audit_cosignature()->set_seen_size(log_->size());
    message.mutable_audit_cosignature()->set_checkpoint(answer.Encode());
    Say(site, message);
  }
  void Dispute(const std::string& site, const std::string& said) {
    agent::v1::AgentMessage message;
    message.mutable_audit_cosignature()->set_problem(said);
    Say(site, message);
  }
  std::string Problem() { return desk_->Logs().logs(0).problem(); }

  os::Files* files_ = os::Files::System();
  os::FakeClock clock_;
  std::string directory_;
  const crypto::SigningKey own_key_ = *crypto::SigningKey::Generate();
  std::map<std::string, crypto::SigningKey> keys_;
  std::map<std::string, std::shared_ptr<Listener>> sessions_;
  std::vector<std::string> alarms_;
  std::unique_ptr<audit::Log> log_;
  std::unique_ptr<AuditDesk> desk_;
};

TEST_F(AuditDeskTest, SitesThatAreAwayDisputeNothing) {
  Connect("core");
  Round();
  EXPECT_EQ(desk_->Witnessed(), 0u);
  Cosign("core");
  EXPECT_EQ(desk_->Witnessed(), log_->size());
  desk_->OnClosed(sessions_.at("core"));
  clock_.Advance(absl::Hours(100));
  Round();
  EXPECT_LT(desk_->Witnessed(), log_->size());
  EXPECT_EQ(Problem(), "");
  EXPECT_EQ(desk_->Disputing(), 0u);
}

TEST_F(AuditDeskTest, WhoDisputesIsKnownUntilHeCosignsAgain) {
  Connect("core");
  Connect("factory");
  Round();
  Cosign("core");
  const std::string cosigned = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", clock_.Now(), absl::UTCTimeZone());
  for (int round = 0; round < 3; ++round) {
    Round();
    Dispute("factory", absl::StrCat("it has two histories, ", round));
    Dispute("core", absl::StrCat("it went back from 9 records to ", round));
  }
  EXPECT_EQ(Problem(), absl::StrCat("not cosigned since ", cosigned,
                                    ": disputed by core, factory (it went back from 9 records to 2)"));
  EXPECT_EQ(desk_->Disputing(), 2u);
  EXPECT_EQ(alarms_, (std::vector<std::string>{"coordinator-log-disputed factory", "coordinator-log-disputed core"}))
      << "once each, whatever they say from round to round";
  desk_->OnClosed(sessions_.at("core"));
  EXPECT_EQ(desk_->Disputing(), 2u) << "nor is it forgotten when the session ends";
  Connect("core");
  Round();
  Cosign("core");
  EXPECT_EQ(Problem(), "disputed by factory (it has two histories, 2)") << "the other cosigns";
  Round();
  Cosign("factory");
  EXPECT_THAT(Problem(), IsEmpty());
  EXPECT_EQ(desk_->Disputing(), 0u);
  Dispute("factory", "it has two histories");
  EXPECT_EQ(alarms_.size(), 2u) << "who says so in turns is not an alarm each time";
  Round();
  Cosign("factory");
  clock_.Advance(absl::Minutes(10));
  Dispute("factory", "it has two histories");
  EXPECT_EQ(alarms_.size(), 3u) << "anew is an alarm again";
}

TEST_F(AuditDeskTest, AFalseCosignatureEndsNoDispute) {
  Connect("core");
  Round();
  Dispute("core", "it has two histories");
  EXPECT_THAT(Problem(), HasSubstr("never cosigned: disputed by core"));
  Round();
  auto asked = audit::Note::Parse(Asked("core"));
  ASSERT_TRUE(asked.ok()) << asked.status();
  audit::Note answer{.text = asked->text, .signatures = {}};
  answer.signatures.push_back(
      audit::Cosign(asked->text, "acme/site/core", *crypto::SigningKey::Generate(), clock_.Now()));
  agent::v1::AgentMessage message;
  message.mutable_audit_cosignature()->set_checkpoint(answer.Encode());
  Say("core", message);
  EXPECT_EQ(desk_->Disputing(), 1u);
  keys_.erase("core");
  EXPECT_EQ(Problem(), "") << "the law knows no such witness any more";
}

}  // namespace
}  // namespace bailiwick::coordinator
