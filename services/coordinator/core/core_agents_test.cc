#include "common/identity/certificates.h"
#include "common/rpc/codec.h"
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class AgentsTest : public CoreTest {
 protected:
  // Version 1 is committed and on its way to core; the order that core got.
  agent::v1::TransferOrder Underway() {
    Fleet();
    first_ = SignedRecord(Record(1), "factory");
    Report("factory", {first_}, 1);
    core_->Reconcile();
    const Message* order = sessions_.at("core")->Last(Message::kTransfer);
    EXPECT_NE(order, nullptr) << Why("core");
    return order == nullptr ? agent::v1::TransferOrder() : order->transfer();
  }
  void ReportTransfer(const std::string& site, const std::string& id, agent::v1::TransferState state,
                      const std::string& code = "") {
    agent::v1::AgentMessage message;
    message.mutable_transfer()->set_transfer_id(id);
    message.mutable_transfer()->set_state(state);
    message.mutable_transfer()->set_code(code);
    message.mutable_transfer()->set_wire_bytes(77);
    Say(site, message);
  }
  control::v1::Transfer Only() {
    auto transfers = core_->Transfers("");
    EXPECT_EQ(transfers.transfers_size(), 1);
    return transfers.transfers(0);
  }
  crypto::Envelope first_;
};

TEST_F(AgentsTest, ATokenLetsOneAgentInOnce) {
  ASSERT_TRUE(Apply(kLaw).ok());
  const std::string token = Token("core");
  auto joined = Join(token, "core");
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_EQ(joined->spiffe_id(), "spiffe://acme/region/eu/site/core/agent/core");
  EXPECT_EQ(identity::InspectCertificate(joined->certificate_chain_pem())->uri, joined->spiffe_id());
  EXPECT_EQ(joined->control_address(), "127.0.0.1:1");
  EXPECT_TRUE(absl::IsUnauthenticated(Join(token, "core").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(Join("made up", "core").status()));
}

TEST_F(AgentsTest, ATokenEnds) {
  ASSERT_TRUE(Apply(kLaw).ok());
  const std::string token = Token("core");
  clock_.Advance(absl::Hours(1) + absl::Seconds(1));
  EXPECT_TRUE(absl::IsUnauthenticated(Join(token, "core").status()));
  control::v1::CreateJoinTokenRequest request;
  request.set_site("core");
  request.mutable_ttl()->set_seconds(8 * 24 * 3600);
  EXPECT_TRUE(absl::IsInvalidArgument(core_->CreateJoinToken("alice", request).status()));
  request.set_site("nowhere");
  request.clear_ttl();
  EXPECT_TRUE(absl::IsNotFound(core_->CreateJoinToken("alice", request).status()));
}

TEST_F(AgentsTest, AMalformedJoinDoesNotCostTheToken) {
  ASSERT_TRUE(Apply(kLaw).ok());
  const std::string token = Token("core");
  const crypto::SigningKey key = *crypto::SigningKey::Generate();
  enroll::v1::JoinRequest request;
  request.set_token(token);
  request.set_csr_der("not a request");
  request.set_incarnation(std::string(16, 'i'));
  request.set_enrolment_ed25519(key.public_key());
  request.set_enrolment_proof(std::string(64, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(core_->Join(request).status()));  // proof
  request.set_enrolment_proof(
      key.Sign(absl::StrCat("bailiwick-join-v1", std::string(crypto::Sha256("not a request").view()), token)));
  EXPECT_TRUE(absl::IsInvalidArgument(core_->Join(request).status()));  // request
  EXPECT_TRUE(Join(token, "core").ok());
}

TEST_F(AgentsTest, OnlyAgentsOfDeclaredSitesHaveSessions) {
  ASSERT_TRUE(Apply(kLaw).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(Hello(std::make_shared<FakeSession>(PeerOf("nowhere", "eu")))));
  EXPECT_TRUE(absl::IsPermissionDenied(Hello(std::make_shared<FakeSession>(PeerOf("core", "us")))));
  rpc::Peer foreign = PeerOf("core", "eu");
  foreign.id.trust_domain = "other";
  EXPECT_TRUE(absl::IsPermissionDenied(Hello(std::make_shared<FakeSession>(foreign))));
  EXPECT_TRUE(Hello(std::make_shared<FakeSession>(PeerOf("core", "eu"))).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(core_->Renew(PeerOf("core", "us"), {}).status()));
}

TEST_F(AgentsTest, AProtocolOfTheFuture) {
  ASSERT_TRUE(Apply(kLaw).ok());
  agent::v1::AgentHello hello;
  hello.set_protocol_min(1000);
  hello.set_protocol_max(1001);
  EXPECT_TRUE(absl::IsFailedPrecondition(core_->OnHello(std::make_shared<FakeSession>(PeerOf("core", "eu")), hello)));
}

TEST_F(AgentsTest, ANewerSessionTakesOver) {
  ASSERT_TRUE(Apply(kLaw).ok());
  Connect("core");
  auto older = sessions_.at("core");
  Connect("core");
  ASSERT_TRUE(older->closed.has_value());
  EXPECT_TRUE(older->closed->ok());
  core_->OnClosed(older);
  EXPECT_TRUE(core_->Sites().sites(1).connected());
}

TEST_F(AgentsTest, ASilentSessionEnds) {
  ASSERT_TRUE(Apply(kLaw).ok());
  Connect("core");
  clock_.Advance(absl::Seconds(59));
  core_->Reconcile();
  EXPECT_FALSE(sessions_.at("core")->closed.has_value());
  clock_.Advance(absl::Seconds(2));
  core_->Reconcile();
  EXPECT_TRUE(sessions_.at("core")->closed.has_value());
}

TEST_F(AgentsTest, TheWholeStateFollowsTheHello) {
  Fleet();
  const FakeSession& home = *sessions_.at("factory");
  EXPECT_EQ(home.sent.at(0).kind_case(), Message::kWelcome);
  EXPECT_EQ(home.sent.at(0).welcome().protocol(), 1u);
  EXPECT_GT(home.sent.at(0).welcome().catalog_sequence(), 0u);
  ASSERT_NE(home.Last(Message::kPolicy), nullptr);
  EXPECT_EQ(home.Last(Message::kPolicy)->policy().classifications_size(), 1);
  ASSERT_NE(home.Last(Message::kAssignments), nullptr);
  const auto& assignment = home.Last(Message::kAssignments)->assignments().datasets(0);
  EXPECT_TRUE(assignment.home());
  EXPECT_EQ(assignment.spec().home().path(), "/data/planner");
  // The replica learns of its dataset, not where the home keeps it; what the law denies is not even named.
  const auto& replica = sessions_.at("core")->Last(Message::kAssignments)->assignments().datasets(0);
  EXPECT_FALSE(replica.home());
  EXPECT_TRUE(replica.materialize());
  EXPECT_EQ(replica.spec().home().path(), "");
  EXPECT_EQ(sessions_.at("cloud")->Last(Message::kAssignments)->assignments().datasets_size(), 0);
}

TEST_F(AgentsTest, AVersionOfTheHomeIsStoredAndAcknowledged) {
  Fleet();
  Report("factory", {SignedRecord(Record(1), "factory")}, 1);
  auto versions = Versions("planner");
  ASSERT_TRUE(versions.ok());
  ASSERT_EQ(versions->versions_size(), 1);
  EXPECT_EQ(versions->versions(0).files(), 3u);
  EXPECT_THAT(versions->versions(0).sites(), ElementsAre("factory"));
  EXPECT_EQ(sessions_.at("factory")->Last(Message::kAssignments)->assignments().datasets(0).acknowledged(), 1u);
  Restart();
  EXPECT_EQ(Versions("planner")->versions_size(), 1);
}

TEST_F(AgentsTest, VersionsThatAreNotTheHomesAreRefused) {
  Fleet();
  Report("factory", {SignedRecord(Record(1), "core")});  // another agent's key
  store::VersionRecord wrong = Record(1);
  wrong.home_epoch = 2;
  Report("factory", {SignedRecord(wrong, "factory")});
  wrong = Record(1);
  wrong.home_site = "core";
  Report("factory", {SignedRecord(wrong, "factory")});
  EXPECT_EQ(Versions("planner")->versions_size(), 0);
  EXPECT_THAT(EventKinds(), Contains("version-refused"));
}

TEST_F(AgentsTest, AWipedHomeDoesNotOverwriteItsPast) {
  Fleet();
  const crypto::Envelope one = SignedRecord(Record(1), "factory"), two = SignedRecord(Record(2), "factory");
  Report("factory", {one, two}, 2);
  store::VersionRecord again = Record(1);
  again.home_incarnation.bytes.fill('j');
  again.message = "after the loss";
  const crypto::Envelope other = SignedRecord(again, "factory");
  Report("factory", {other}, 1);
  auto versions = Versions("planner");
  ASSERT_EQ(versions->versions_size(), 2);
  EXPECT_EQ(versions->versions(1).identity(), store::VersionIdentity(one).view());
  EXPECT_EQ(versions->versions(1).sites_size(), 0);  // the home holds something else under that number
  EXPECT_THAT(core_->Datasets().datasets(0).source_problem(), HasSubstr("another identity"));
  // Nor does it go on behind it, as if nothing had happened.
  again.number = 3;
  Report("factory", {SignedRecord(again, "factory")}, 3);
  EXPECT_EQ(Versions("planner")->versions_size(), 2);
  EXPECT_THAT(core_->Datasets().datasets(0).source_problem(), HasSubstr("lost its data"));
  // Without its record too: the home sends none below what was acknowledged.
  agent::v1::AgentMessage message;
  message.mutable_replica()->set_dataset_id(dataset().str());
  auto* held = message.mutable_replica()->add_versions();
  held->set_number(1);
  held->set_identity(std::string(store::VersionIdentity(other).view()));
  Say("factory", message);
  EXPECT_THAT(core_->Datasets().datasets(0).source_problem(), HasSubstr("not the one known here"));
  EXPECT_THAT(EventKinds(), Contains("version-conflict"));
}

TEST_F(AgentsTest, AReplicaThatHoldsAnotherVersionUnderTheNumberIsToldOf) {
  Fleet();
  const crypto::Envelope known = SignedRecord(Record(1), "factory");
  Report("factory", {known});
  SayInstalled();
  store::VersionRecord other = Record(1);
  other.files = 99;
  Report("core", {SignedRecord(other, "factory")}, 1);
  core_->Reconcile();
  EXPECT_EQ(Why("core"), "conflict");
  auto why = core_->Why("planner", "core");
  EXPECT_THAT(why->sentence(), HasSubstr("version 1 is not the one known here"));
  EXPECT_THAT(why->sentence(), HasSubstr("dataset checkout planner 1 OUT --site core"));
  EXPECT_EQ(sessions_.at("core")->Last(Message::kTransfer), nullptr) << "it would be refused there";
  Report("factory", {known, SignedRecord(Record(2), "factory")});
  core_->Reconcile();
  ASSERT_NE(sessions_.at("core")->Last(Message::kTransfer), nullptr) << "the next one flows";
}

TEST_F(AgentsTest, AHomeThatTellsOfDamageGetsTheVersionBack) {
  const agent::v1::TransferOrder first = Underway();
  Report("core", {first_});
  agent::v1::AgentMessage message;
  message.mutable_replica()->set_dataset_id(dataset().str());
  auto* held = message.mutable_replica()->add_versions();
  held->set_number(1);
  held->set_identity(std::string(store::VersionIdentity(first_).view()));
  held->set_damaged(true);
  Say("factory", message);
  core_->Reconcile();
  control::v1::Transfer back;
  auto find = [&] {
    const auto listed = core_->Transfers("");
    for (const auto& transfer : listed.transfers()) {
      if (transfer.destination() == "factory") back = transfer;
    }
  };
  find();
  EXPECT_EQ(back.source(), "core");
  EXPECT_EQ(back.version(), 1u);
  Say("factory", message);  // still
  find();
  EXPECT_NE(back.state(), "done");
  held->set_damaged(false);
  Say("factory", message);
  find();
  EXPECT_EQ(back.state(), "done");
  core_->Reconcile();
  EXPECT_EQ(core_->Transfers("").transfers_size(), 2);
}

TEST_F(AgentsTest, TheVersionsOfARetiredStreamStayListed) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Join(Token("factory"), "factory").ok());
  ASSERT_TRUE(Apply(R"(
apiVersion: bailiwick/v1
kind: Dataset
metadata: {name: telemetry, labels: {class: model}}
spec: {home: {siteSelector: {matchLabels: {tier: edge}}, path: /data/telemetry}}
)")
                  .ok());
  Connect("factory");
  store::VersionRecord record = Record(1);
  record.dataset = "telemetry@factory";
  Report("factory", {SignedRecord(record, "factory")}, 1);
  ASSERT_EQ(Versions("telemetry@factory")->versions_size(), 1);
  ASSERT_TRUE(
      Apply(
          "apiVersion: bailiwick/v1\nkind: Site\nmetadata: {name: factory, labels: {tier: lab}}\nspec: {region: eu}\n")
          .ok());
  EXPECT_EQ(core_->Datasets().datasets_size(), 0);
  auto versions = Versions("telemetry@factory");
  ASSERT_TRUE(versions.ok()) << versions.status();
  EXPECT_EQ(versions->versions_size(), 1);
  EXPECT_TRUE(absl::IsNotFound(Versions("telemetry@core").status()));
}

TEST_F(AgentsTest, ATransferFromOrderToDone) {
  const agent::v1::TransferOrder order = Underway();
  EXPECT_TRUE(order.receive());
  EXPECT_EQ(order.peer(), "spiffe://acme/region/eu/site/factory/agent/factory");
  EXPECT_EQ(order.peer_endpoint(), "127.0.0.1:9");
  EXPECT_EQ(order.total_bytes(), 1000u);
  EXPECT_EQ(rpc::FromProto(order.version_record()).payload, first_.payload);
  auto grant = rpc::OpenGrant(rpc::FromProto(order.grant()), {grant_key_.public_key()});
  ASSERT_TRUE(grant.ok()) << grant.status();
  EXPECT_EQ(grant->source, "spiffe://acme/region/eu/site/factory/agent/factory");
  EXPECT_EQ(grant->destination, "spiffe://acme/region/eu/site/core/agent/core");
  EXPECT_EQ(grant->version, store::VersionIdentity(first_));
  EXPECT_EQ(grant->transfer_id, order.transfer_id());
  EXPECT_LE(grant->not_after - grant->not_before, policy::kMaxGrantLife);
  EXPECT_EQ(grant->policy_revision, core_->Info().policy_revision());
  // Neither the denied site nor the source got an order.
  EXPECT_EQ(sessions_.at("cloud")->Last(Message::kTransfer), nullptr);
  EXPECT_EQ(sessions_.at("factory")->Last(Message::kTransfer), nullptr);
  EXPECT_EQ(Why("cloud"), "denied");
  EXPECT_EQ(core_->Why("planner", "cloud")->rule(), "acme/eu-stays");

  ReportTransfer("core", order.transfer_id(), agent::v1::TRANSFER_STATE_DONE);
  EXPECT_NE(Only().state(), "done");  // until the destination says what it holds
  Report("core", {first_}, 1);
  EXPECT_EQ(Only().state(), "done");
  EXPECT_EQ(Only().wire_bytes(), 77u);
  core_->Reconcile();
  EXPECT_EQ(Why("core"), "current");
  EXPECT_EQ(Only().state(), "done");
}

TEST_F(AgentsTest, TheSourceDialsWhenTheReceiverCannotBeDialled) {
  Fleet();
  Disconnect("factory");
  Connect("factory", "");  // no endpoint: it only dials out
  Report("factory", {SignedRecord(Record(1), "factory")}, 1);
  core_->Reconcile();
  EXPECT_EQ(sessions_.at("core")->Last(Message::kTransfer), nullptr);
  const Message* order = sessions_.at("factory")->Last(Message::kTransfer);
  ASSERT_NE(order, nullptr) << Why("core");
  EXPECT_FALSE(order->transfer().receive());
}

TEST_F(AgentsTest, AGrantIsRenewedAtHalfItsLife) {
  const agent::v1::TransferOrder order = Underway();
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(absl::Seconds(55));
    ReportTransfer("core", order.transfer_id(), agent::v1::TRANSFER_STATE_RUNNING);
    agent::v1::AgentMessage alive;
    alive.mutable_heartbeat();
    for (const char* site : {"factory", "core", "cloud"}) Say(site, alive);
    core_->Reconcile();
  }
  const Message* renewal = sessions_.at("core")->Last(Message::kGrant);
  ASSERT_NE(renewal, nullptr);
  auto grant = rpc::OpenGrant(rpc::FromProto(renewal->grant().grant()), {grant_key_.public_key()});
  ASSERT_TRUE(grant.ok());
  EXPECT_GT(grant->not_after, clock_.Now() + absl::Minutes(4));
}

TEST_F(AgentsTest, ALawThatForbidsEndsWhatRuns) {
  const agent::v1::TransferOrder order = Underway();
  ASSERT_TRUE(Apply(R"(
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: freeze}
spec: {rules: [{id: nothing-moves, effect: forbid, actions: [transfer]}]}
)")
                  .ok());
  for (const char* site : {"core", "factory"}) {
    const Message* cancel = sessions_.at(site)->Last(Message::kCancel);
    ASSERT_NE(cancel, nullptr) << site;
    EXPECT_EQ(cancel->cancel().transfer_id(), order.transfer_id());
  }
  EXPECT_EQ(Only().state(), "failed");
  EXPECT_EQ(Only().code(), "POLICY_DENIED");
  EXPECT_EQ(Why("core"), "denied");
}

TEST_F(AgentsTest, ALawThatStillPermitsBringsAFreshGrantAtOnce) {
  Underway();
  EXPECT_EQ(sessions_.at("core")->Last(Message::kGrant), nullptr);
  ASSERT_TRUE(Apply("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: jp}\nspec: {}\n").ok());
  const Message* renewal = sessions_.at("core")->Last(Message::kGrant);
  ASSERT_NE(renewal, nullptr);
  auto grant = rpc::OpenGrant(rpc::FromProto(renewal->grant().grant()), {grant_key_.public_key()});
  EXPECT_EQ(grant->policy_revision, core_->Info().policy_revision());
}

TEST_F(AgentsTest, ATransferNobodySpeaksOfFails) {
  const agent::v1::TransferOrder order = Underway();
  agent::v1::AgentMessage alive;
  alive.mutable_heartbeat();
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(absl::Seconds(25));
    for (const char* site : {"factory", "core", "cloud"}) Say(site, alive);
    core_->Reconcile();
  }
  EXPECT_EQ(core_->Transfers(order.transfer_id()).transfers(0).state(), "failed");
}

TEST_F(AgentsTest, AFailureWaitsAndIsTriedAgain) {
  const agent::v1::TransferOrder order = Underway();
  ReportTransfer("core", order.transfer_id(), agent::v1::TRANSFER_STATE_FAILED, "DISK_FULL");
  core_->Reconcile();
  EXPECT_EQ(Why("core"), "failed");
  EXPECT_THAT(core_->Why("planner", "core")->sentence(), HasSubstr("DISK_FULL"));
  clock_.Advance(absl::Seconds(2));
  core_->Reconcile();
  EXPECT_EQ(core_->Transfers("").transfers_size(), 2);
}

TEST_F(AgentsTest, ADiallerThatLeavesEndsItsTransfers) {
  Underway();
  Disconnect("core");
  EXPECT_EQ(Only().state(), "failed");
  core_->Reconcile();
  EXPECT_EQ(Why("core"), "offline");
}

TEST_F(AgentsTest, WhatRanBeforeARestartRunsOn) {
  const agent::v1::TransferOrder order = Underway();
  Restart();
  for (const char* site : {"factory", "core", "cloud"}) Connect(site);
  Report("factory", {first_}, 1);
  ReportTransfer("core", order.transfer_id(), agent::v1::TRANSFER_STATE_RUNNING);
  core_->Reconcile();
  EXPECT_EQ(sessions_.at("core")->Last(Message::kTransfer), nullptr);  // no second order
  EXPECT_NE(sessions_.at("core")->Last(Message::kGrant), nullptr);     // but a fresh grant
  Report("core", {first_}, 1);
  EXPECT_EQ(Only().state(), "done");
}

TEST_F(AgentsTest, WhatNoLongerRunsAfterARestartStartsAnew) {
  const agent::v1::TransferOrder order = Underway();
  Restart();
  for (const char* site : {"factory", "core", "cloud"}) Connect(site);
  core_->Reconcile();
  EXPECT_EQ(sessions_.at("core")->Last(Message::kTransfer), nullptr);
  clock_.Advance(absl::Seconds(6));
  core_->Reconcile();
  EXPECT_EQ(core_->Transfers(order.transfer_id()).transfers(0).state(), "failed");
  clock_.Advance(absl::Seconds(2));
  core_->Reconcile();
  EXPECT_NE(sessions_.at("core")->Last(Message::kTransfer), nullptr);
}

TEST_F(AgentsTest, AnotherMachineTakesASiteOnceItsKeyIsPinned) {
  Fleet();
  Report("factory", {SignedRecord(Record(1), "factory")});
  auto hello = [&](const crypto::SigningKey& key, const std::string& incarnation) {
    agent::v1::AgentHello hello;
    hello.set_protocol_min(1);
    hello.set_protocol_max(1);
    hello.set_incarnation(incarnation);
    hello.set_enrolment_ed25519(key.public_key());
    hello.set_enrolment_proof(key.Sign(absl::StrCat("bailiwick-hello-v1", PeerOf("core", "eu").uri, incarnation)));
    return hello;
  };
  auto connect = [&](const agent::v1::AgentHello& with) {
    return core_->OnHello(std::make_shared<FakeSession>(PeerOf("core", "eu")), with);
  };
  const std::string csr = identity::NewTlsKey()->csr_der;
  auto renew = [&](const crypto::SigningKey* names, const crypto::SigningKey& signs) {
    agent::v1::RenewRequest request;
    request.set_csr_der(csr);
    if (names != nullptr) request.set_enrolment_ed25519(names->public_key());
    request.set_enrolment_proof(signs.Sign(
        absl::StrCat("bailiwick-renew-v1", std::string(crypto::Sha256(csr).view()), PeerOf("core", "eu").uri)));
    return core_->Renew(PeerOf("core", "eu"), request);
  };
  const crypto::SigningKey before = enrolment_.at("core"), other = *crypto::SigningKey::Generate();
  const std::string mine(16, 'i'), its(16, 'j');
  EXPECT_TRUE(renew(nullptr, before).ok()) << "a build of before, where there is one machine only";
  enrolment_.insert_or_assign("core", other);
  ASSERT_TRUE(Join(Token("core"), "core").ok());
  enrolment_.insert_or_assign("core", before);
  EXPECT_FALSE(sessions_.at("core")->closed.has_value());
  EXPECT_TRUE(connect(hello(before, mine)).ok()) << "the one that the law pins goes on";
  const absl::Status waits = connect(hello(other, its));
  EXPECT_TRUE(absl::IsPermissionDenied(waits)) << waits;
  EXPECT_THAT(std::string(waits.message()), HasSubstr("site approve core"));
  agent::v1::AgentHello forged = hello(other, mine);
  forged.set_enrolment_ed25519(before.public_key());
  EXPECT_TRUE(absl::IsPermissionDenied(connect(forged))) << "by a key that it has not";
  forged.clear_enrolment_ed25519();
  EXPECT_TRUE(absl::IsPermissionDenied(connect(forged))) << "by none";
  EXPECT_TRUE(renew(&before, before).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(renew(&other, other).status())) << "who waits renews nothing";
  EXPECT_TRUE(absl::IsPermissionDenied(renew(&before, other).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(renew(nullptr, other).status()));
  const auto site = core_->Sites().sites(1);
  ASSERT_EQ(site.name(), "core");
  EXPECT_TRUE(site.approved());
  EXPECT_EQ(site.newcomer_ed25519(), other.public_key());
  Restart();
  EXPECT_EQ(core_->Sites().sites(1).newcomer_ed25519(), other.public_key());
  EXPECT_FALSE(core_->Sites().sites(1).approved()) << "with the other one away it waits";
  EXPECT_EQ(Why("core"), "not-approved");
  Connect("factory");
  auto incumbent = std::make_shared<FakeSession>(PeerOf("core", "eu"));
  ASSERT_TRUE(core_->OnHello(incumbent, hello(before, mine)).ok());
  enrolment_.insert_or_assign("core", other);
  ASSERT_TRUE(Apply("apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: ap}\nspec: {}\n").ok());
  ASSERT_TRUE(incumbent->closed.has_value());
  EXPECT_TRUE(absl::IsPermissionDenied(*incumbent->closed));
  core_->OnClosed(incumbent);
  EXPECT_TRUE(absl::IsPermissionDenied(connect(hello(before, mine))));
  EXPECT_TRUE(absl::IsPermissionDenied(renew(&before, before).status())) << "nor renews it";
  EXPECT_TRUE(connect(hello(other, its)).ok());
  EXPECT_TRUE(renew(&other, other).ok());
  EXPECT_TRUE(core_->Sites().sites(1).approved());
  EXPECT_TRUE(core_->Sites().sites(1).newcomer_ed25519().empty());
}

TEST_F(AgentsTest, AnUnapprovedSiteGetsNothing) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Join(Token("factory"), "factory").ok());
  ASSERT_TRUE(Apply(absl::StrCat(kDataset, "---", kReplication)).ok());  // pins factory's key
  ASSERT_TRUE(Join(Token("core"), "core").ok());
  Connect("factory");
  Connect("core");
  Report("factory", {SignedRecord(Record(1), "factory")}, 1);
  core_->Reconcile();
  EXPECT_EQ(Why("core"), "not-approved");
  EXPECT_EQ(sessions_.at("core")->Last(Message::kTransfer), nullptr);
}

TEST_F(AgentsTest, APinReachesTheReplicasThatHoldIt) {
  Underway();
  Report("core", {first_}, 1);
  control::v1::PinRequest pin;
  pin.set_dataset("planner");
  pin.set_number(2);
  EXPECT_TRUE(absl::IsNotFound(core_->Pin("alice", pin).status()));
  pin.set_number(1);
  auto pinned = core_->Pin("alice", pin);
  ASSERT_TRUE(pinned.ok()) << pinned.status();
  EXPECT_THAT(pinned->sites(), ElementsAre("core"));
  EXPECT_EQ(sessions_.at("core")->Last(Message::kAssignments)->assignments().datasets(0).pinned(), 1u);
  Restart();
  Connect("core");
  EXPECT_EQ(sessions_.at("core")->Last(Message::kAssignments)->assignments().datasets(0).pinned(), 1u);
  pin.set_number(0);
  pin.set_site("core");  // although the pin is of every replica
  core_->Reconcile();
  ASSERT_TRUE(core_->Pin("alice", pin).ok());
  EXPECT_EQ(sessions_.at("core")->Last(Message::kAssignments)->assignments().datasets(0).pinned(), 0u);
  pin.set_number(1);
  pin.set_site("");
  ASSERT_TRUE(core_->Pin("alice", pin).ok());
  EXPECT_EQ(sessions_.at("core")->Last(Message::kAssignments)->assignments().datasets(0).pinned(), 1u);
  pin.set_number(0);
  core_->Reconcile();
  ASSERT_TRUE(core_->Pin("alice", pin).ok());
  EXPECT_EQ(sessions_.at("core")->Last(Message::kAssignments)->assignments().datasets(0).pinned(), 0u);
  pin.set_dataset("nothing");
  EXPECT_TRUE(absl::IsNotFound(core_->Pin("alice", pin).status()));
}

TEST_F(AgentsTest, ReportsAboutUnknownDatasetsAreNotKept) {
  Fleet();
  agent::v1::AgentMessage message;
  message.mutable_replica()->set_dataset_id(std::string(16, 'z'));
  message.mutable_replica()->set_problem("noise");
  Say("core", message);
  EXPECT_EQ(catalog_->Load()->replicas.count(*DatasetId::From(std::string(16, 'z'))), 0u);
}

}  // namespace
}  // namespace bailiwick::coordinator
