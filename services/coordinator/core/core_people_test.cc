// Roles and second persons at the core.
#include "absl/strings/str_cat.h"
#include "common/audit/json.h"
#include "services/coordinator/core/core_fixture.h"
#include "services/coordinator/core/danger.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kTwo[] = R"(
apiVersion: bailiwick/v1
kind: RoleBinding
metadata: {name: admins}
spec: {roles: [policy-admin], people: [alice, bob]}
---
apiVersion: bailiwick/v1
kind: RoleBinding
metadata: {name: operators}
spec: {roles: [operator], people: [olga]}
)";

const std::string kAlice = "spiffe://acme/admin/alice", kBob = "spiffe://acme/admin/bob",
                  kOlga = "spiffe://acme/admin/olga";

class PeopleTest : public CoreTest {
 protected:
  absl::StatusOr<control::v1::ApplyResponse> ApplyAs(const std::string& who, const std::string& yaml) {
    return core_->Apply(who, Request(yaml));
  }
  void TwoAdmins() {
    ASSERT_TRUE(Apply(kLaw).ok());
    ASSERT_TRUE(Apply(kDataset).ok());
    auto bound = ApplyAs(kAlice, kTwo);
    ASSERT_TRUE(bound.ok()) << bound.status();
  }
  std::vector<audit::Record> Records(const std::string& kind) {
    std::vector<audit::Record> out;
    auto all = audit_->Read(1, 1000);
    EXPECT_TRUE(all.ok()) << all.status();
    for (audit::Record& record : *all) {
      if (record.kind == kind) out.push_back(std::move(record));
    }
    return out;
  }
  std::string Held() {
    control::v1::HoldRequest request;
    request.set_dataset("planner");
    request.set_reason("court");
    EXPECT_TRUE(core_->Hold(kAlice, request).ok());
    return "planner";
  }
};

TEST_F(PeopleTest, WhoWouldLockThemselvesOutIsTold) {
  ASSERT_TRUE(Apply(kLaw).ok());
  auto mine = ApplyAs("spiffe://acme/admin/carol", kTwo);
  EXPECT_TRUE(absl::IsFailedPrecondition(mine.status())) << mine.status();
  EXPECT_THAT(std::string(mine.status().message()), HasSubstr("name yourself"));
}

TEST_F(PeopleTest, AnOperatorChangesNeitherLawNorPeople) {
  TwoAdmins();
  EXPECT_TRUE(absl::IsPermissionDenied(
      ApplyAs(kOlga,
              "apiVersion: bailiwick/v1\nkind: RoleBinding\nmetadata: {name: more}\nspec: {roles: [auditor], people: "
              "[olga]}\n")
          .status()));
  control::v1::ApplyRequest intent = Request(kReplication);
  EXPECT_TRUE(absl::IsPermissionDenied(core_->Apply(kOlga, intent).status())) << "with a new law";
  intent.clear_bundle();
  EXPECT_TRUE(core_->Apply(kOlga, intent).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(
      ApplyAs(kOlga, "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: asia}\nspec: {}\n").status()));
}

TEST_F(PeopleTest, AHoldIsReleasedByTwo) {
  TwoAdmins();
  control::v1::ReleaseRequest request;
  request.set_dataset(Held());
  auto proposed = core_->Release(kAlice, request);
  ASSERT_TRUE(proposed.ok()) << proposed.status();
  ASSERT_TRUE(proposed->has_proposal());
  EXPECT_EQ(core_->Holds("planner")->holds_size(), 1);
  Restart();
  control::v1::ApproveRequest approve;
  approve.set_id(proposed->proposal().id());
  EXPECT_TRUE(absl::IsFailedPrecondition(core_->Approve(kAlice, approve).status()));
  ASSERT_EQ(core_->Proposals().proposals_size(), 1);
  ASSERT_TRUE(core_->Approve(kBob, approve).ok());
  EXPECT_EQ(core_->Holds("planner")->holds_size(), 0);
  EXPECT_TRUE(absl::IsNotFound(core_->Approve(kBob, approve).status())) << "once";
  EXPECT_EQ(core_->Proposals().proposals_size(), 0);
}

TEST_F(PeopleTest, ThoseHoldsAreReleasedThatThereWereWhenItWasProposed) {
  TwoAdmins();
  control::v1::ReleaseRequest request;
  request.set_dataset("planner");
  EXPECT_TRUE(absl::IsNotFound(core_->Release(kAlice, request).status())) << "nothing to propose";
  Held();
  auto proposed = core_->Release(kAlice, request);
  ASSERT_TRUE(proposed.ok()) << proposed.status();
  EXPECT_THAT(proposed->proposal().what(), HasSubstr("court"));
  auto again = core_->Release(kAlice, request);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->proposal().id(), proposed->proposal().id());
  EXPECT_EQ(core_->Proposals().proposals_size(), 1) << "the same is proposed once";
  Held();  // made since
  control::v1::ApproveRequest approve;
  approve.set_id(proposed->proposal().id());
  ASSERT_TRUE(core_->Approve(kBob, approve).ok());
  EXPECT_EQ(core_->Holds("planner")->holds_size(), 1);
}

TEST_F(PeopleTest, WhoIsLetInHasANameThatARoleBindingTakes) {
  TwoAdmins();
  for (const std::string name : {"A_B", "", "a/b", std::string(300, 'a').c_str()}) {
    control::v1::CreateLoginTokenRequest request;
    request.set_person(name);
    EXPECT_TRUE(absl::IsInvalidArgument(core_->CreateLoginToken(kAlice, request).status())) << name;
  }
}

TEST_F(PeopleTest, ANameThatNobodyHasIsNotRevoked) {
  TwoAdmins();
  control::v1::RevokeRequest request;
  request.set_reason("left");
  request.set_admin("olgo");
  const absl::Status mistyped = core_->Revoke(kAlice, request).status();
  EXPECT_TRUE(absl::IsNotFound(mistyped)) << mistyped;
  EXPECT_THAT(std::string(mistyped.message()), HasSubstr("did you mean olga?"));
  request.set_admin("olga");
  auto known = core_->Revoke(kAlice, request);
  ASSERT_TRUE(known.ok()) << known.status();
  EXPECT_FALSE(known->never_seen());
}

TEST_F(PeopleTest, WithoutRolesItIsSaidThatNobodyIsKnownByAName) {
  ASSERT_TRUE(Apply(kLaw).ok());
  control::v1::RevokeRequest request;
  request.set_reason("left");
  request.set_admin("bbo");
  auto revoked = core_->Revoke(kAlice, request);
  ASSERT_TRUE(revoked.ok()) << revoked.status();
  EXPECT_TRUE(revoked->never_seen());
}

TEST_F(PeopleTest, WithOneAdminNothingWaits) {
  ASSERT_TRUE(Apply(kLaw).ok());
  ASSERT_TRUE(Apply(kDataset).ok());
  control::v1::ReleaseRequest request;
  request.set_dataset(Held());
  auto released = core_->Release(kAlice, request);
  ASSERT_TRUE(released.ok());
  EXPECT_EQ(released->released(), 1u);
}

TEST_F(PeopleTest, AWithdrawnProposalIsGone) {
  TwoAdmins();
  control::v1::ReleaseRequest request;
  request.set_dataset(Held());
  auto proposed = core_->Release(kAlice, request);
  ASSERT_TRUE(proposed.ok());
  control::v1::WithdrawRequest withdraw;
  withdraw.set_id(proposed->proposal().id());
  ASSERT_TRUE(core_->Withdraw(kAlice, withdraw).ok());
  control::v1::ApproveRequest approve;
  approve.set_id(withdraw.id());
  EXPECT_TRUE(absl::IsNotFound(core_->Approve(kBob, approve).status()));
  EXPECT_EQ(core_->Holds("planner")->holds_size(), 1);
}

TEST_F(PeopleTest, AProposalThatNobodyApprovesEnds) {
  TwoAdmins();
  control::v1::ReleaseRequest request;
  request.set_dataset(Held());
  auto proposed = core_->Release(kAlice, request);
  ASSERT_TRUE(proposed.ok());
  clock_.Advance(absl::Hours(24 * 30));
  core_->Reconcile();
  EXPECT_EQ(core_->Proposals().proposals_size(), 1);
  clock_.Advance(absl::Seconds(1));
  core_->Reconcile();
  EXPECT_EQ(core_->Proposals().proposals_size(), 0);
  Restart();
  EXPECT_EQ(core_->Proposals().proposals_size(), 0);
  EXPECT_EQ(core_->Holds("planner")->holds_size(), 1);
}

TEST_F(PeopleTest, ShorterRetentionWaitsForAnotherAdmin) {
  TwoAdmins();
  const std::string shorter = std::string(kDataset).replace(std::string(kDataset).find("path: /data/planner}"), 20,
                                                            "path: /data/planner}, retain: {last: 1}");
  const control::v1::ApplyRequest request = Request(shorter);
  auto first = core_->Apply(kAlice, request);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(first->has_pending());
  EXPECT_THAT(first->pending().missing(), HasSubstr("shortens the retention of dataset planner"));
  auto again = core_->Apply(kAlice, request);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->has_pending()) << "the same person twice is one";
  auto second = core_->Apply(kBob, request);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(second->has_pending());
  EXPECT_FALSE(core_->GetPending().has_pending());
}

TEST(Danger, ALimitThatComesToBindOtherDataShortensTheirRetention) {
  const auto dangers = [](const std::string& before, const std::string& after) {
    config::Catalog catalogs[2];
    for (int i = 0; i < 2; ++i) {
      auto parsed =
          config::ParseYaml(absl::StrCat("apiVersion: bailiwick/v1\nkind: SovereigntyPolicy\nmetadata: {name: p}\n"
                                         "spec:\n  rules:\n  - {id: r, effect: permit, ",
                                         i == 0 ? before : after, "}\n"),
                            "p.yaml");
      EXPECT_TRUE(parsed.ok()) << parsed.status();
      for (const auto& one : *parsed) catalogs[i][{"SovereigntyPolicy", "p"}] = one.resource;
    }
    return Dangers(catalogs[0], catalogs[1], {}, {}, {});
  };
  const std::string week = "obligations: [{maxRetention: 7d}]", month = "obligations: [{maxRetention: 30d}]";
  const std::string health = "data: {matchLabels: {class: health}}, ", any = "", us = "to: {in: [us]}, ";
  EXPECT_THAT(dangers(health + week, any + week), ElementsAre("changes whose retention rule p/r limits"));
  EXPECT_THAT(dangers(any + week, us + month), ElementsAre("changes whose retention rule p/r limits"));
  EXPECT_THAT(dangers(any + month, any + week), ElementsAre("shortens the retention that rule p/r allows"));
  EXPECT_THAT(dangers(any + week, any + month), IsEmpty());
  EXPECT_THAT(dangers(any + week, "basis: scc, " + week), IsEmpty());
  EXPECT_THAT(dangers(health + week, "purposes: [care]"), IsEmpty()) << "no limit any more";
}

TEST(Danger, RedactionsThatComeToOverrideHolds) {
  const auto dangers = [](const std::string& before, const std::string& after) {
    config::Catalog catalogs[2];
    for (int i = 0; i < 2; ++i) {
      resource::v1::Resource& policy = catalogs[i][{"SovereigntyPolicy", "p"}];
      auto* redaction = policy.mutable_sovereignty_policy()->mutable_redaction();
      const std::string& says = i == 0 ? before : after;
      redaction->set_overrides_locks(!says.empty());
      if (!says.empty() && says != "all") (*redaction->mutable_data()->mutable_match_labels())["class"] = says;
    }
    return Dangers(catalogs[0], catalogs[1], {}, {}, {});
  };
  EXPECT_THAT(dangers("", "all"), ElementsAre("lets redactions override holds by policy p"));
  EXPECT_THAT(dangers("health", "all"), ElementsAre("lets redactions override holds by policy p"));
  EXPECT_THAT(dangers("all", "all"), IsEmpty());
  EXPECT_THAT(dangers("all", ""), IsEmpty());
}

TEST(Danger, DeletingWhatHasAPast) {
  config::Catalog before;
  before[{"Site", "joined"}].mutable_site();
  before[{"Site", "empty"}].mutable_site();
  EXPECT_THAT(Dangers(before, {}, {}, {}, {.joined = {"joined", "other"}, .dropped = {}}),
              ElementsAre("deletes site joined, as which an agent joined"));
  EXPECT_THAT(Dangers(before, before, {}, {}, {.joined = {"joined"}, .dropped = {"planner"}}),
              ElementsAre("deletes dataset planner, which has versions or holds"));
}

TEST_F(PeopleTest, ANumberThatIsLeftOutIsNotShorterThanItsDefaultAndZeroIs) {
  TwoAdmins();
  auto with = [](const std::string& retain) {
    return std::string(kDataset).replace(std::string(kDataset).find("path: /data/planner}"), 20,
                                         "path: /data/planner}, retain: " + retain);
  };
  auto waits = [&](const std::string& retain) {
    auto applied = ApplyAs(kAlice, with(retain));
    EXPECT_TRUE(applied.ok()) << applied.status();
    return applied.ok() && applied->has_pending();
  };
  EXPECT_FALSE(waits("{last: 10}")) << "as long as before";
  EXPECT_FALSE(waits("{last: 10, hourly: 24, daily: 30}"));
  EXPECT_FALSE(waits("{last: 10}"));
  EXPECT_TRUE(waits("{last: 10, hourly: 0, daily: 0}"));
}

TEST_F(PeopleTest, ADatasetWithAHoldIsDeletedByTwo) {
  TwoAdmins();
  control::v1::ApplyRequest request;
  request.set_expected_generation(core_->Info().generation());
  request.add_deletes()->set_kind("Dataset");
  request.mutable_deletes(0)->set_name(Held());
  auto first = core_->Apply(kAlice, request);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(first->pending().missing(), HasSubstr("deletes dataset planner"));
  auto operators = core_->Apply(kOlga, request);
  ASSERT_TRUE(operators.ok()) << operators.status();
  EXPECT_TRUE(operators->has_pending()) << "an operator is no second policy-admin";
  auto second = core_->Apply(kBob, request);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(second->has_pending());
}

TEST_F(PeopleTest, ASiteMovesToAnotherRegionByTwo) {
  TwoAdmins();
  std::string moved = kLaw;
  moved.replace(moved.find("eu}", moved.find("name: core")), 2, "us");
  const control::v1::ApplyRequest request = Request(moved);
  auto first = core_->Apply(kAlice, request);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(first->has_pending());
  EXPECT_THAT(first->pending().missing(), HasSubstr("moves site core to another region or entity"));
  EXPECT_TRUE(core_->Apply(kAlice, request)->has_pending()) << "the same person twice is one";
  auto second = core_->Apply(kBob, request);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(second->has_pending());
}

TEST_F(PeopleTest, AnyReasonRevokesAndIsOnRecordAsItWasSaid) {
  TwoAdmins();
  const std::string reason = "driver's laptop \"gestohlen\",\nGer\xc3\xa4t \\ weg";
  control::v1::RevokeRequest revoke;
  revoke.set_admin("bob");
  revoke.set_reason(reason);
  auto revoked = core_->Revoke(kAlice, revoke);
  ASSERT_TRUE(revoked.ok()) << revoked.status();
  const auto records = Records("identity-revoked");
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(audit::StringValue(audit::ObjectMembers(records[0].detail)["reason"]), reason);
}

TEST_F(PeopleTest, WhoWasRevokedProposesNothingAndIsNotWaitedFor) {
  TwoAdmins();
  control::v1::ReleaseRequest release;
  release.set_dataset(Held());
  auto proposed = core_->Release(kBob, release);
  ASSERT_TRUE(proposed.ok());
  ASSERT_TRUE(proposed->has_proposal());
  control::v1::RevokeRequest revoke;
  revoke.set_admin("bob");
  revoke.set_reason("laptop stolen");
  EXPECT_TRUE(absl::IsPermissionDenied(core_->Revoke(kOlga, revoke).status())) << "an operator";
  ASSERT_TRUE(core_->Revoke(kAlice, revoke).ok());
  control::v1::ApproveRequest approve;
  approve.set_id(proposed->proposal().id());
  EXPECT_TRUE(absl::IsFailedPrecondition(core_->Approve(kAlice, approve).status()));
  EXPECT_EQ(core_->Holds("planner")->holds_size(), 1);
  auto released = core_->Release(kAlice, release);
  ASSERT_TRUE(released.ok()) << "nobody else could approve";
  EXPECT_EQ(released->released(), 1u);
}

TEST_F(PeopleTest, ALoginTokenThatTookTwoIsForWhoProposedIt) {
  TwoAdmins();
  control::v1::CreateLoginTokenRequest request;
  request.set_person("bob");
  auto proposed = core_->CreateLoginToken(kAlice, request);
  ASSERT_TRUE(proposed.ok());
  EXPECT_EQ(core_->CreateLoginToken(kAlice, request)->proposal().id(), proposed->proposal().id()) << "asked again";
  control::v1::ApproveRequest approve;
  approve.set_id(proposed->proposal().id());
  auto approved = core_->Approve(kBob, approve);
  ASSERT_TRUE(approved.ok()) << approved.status();
  EXPECT_FALSE(approved->has_login_token());
  EXPECT_TRUE(absl::IsFailedPrecondition(core_->Approve(kBob, approve).status())) << "once";
  Restart();
  EXPECT_EQ(core_->CreateLoginToken(kBob, request)->token(), "") << "a proposal of their own";
  EXPECT_NE(core_->CreateLoginToken(kAlice, request)->token(), "");
  EXPECT_EQ(core_->CreateLoginToken(kAlice, request)->token(), "") << "once";
}

TEST_F(PeopleTest, NobodyMakesThemselvesASecondPerson) {
  TwoAdmins();
  auto puppet = ApplyAs(kAlice,
                        "apiVersion: bailiwick/v1\nkind: RoleBinding\nmetadata: {name: puppet}\nspec: {roles: "
                        "[policy-admin], people: [alice2]}\n");
  ASSERT_TRUE(puppet.ok()) << puppet.status();
  EXPECT_TRUE(puppet->has_pending());
  control::v1::CreateLoginTokenRequest request;
  request.set_person("bob");
  auto token = core_->CreateLoginToken(kAlice, request);
  ASSERT_TRUE(token.ok()) << token.status();
  EXPECT_EQ(token->token(), "");
  EXPECT_TRUE(token->has_proposal());
  request.set_person("olga");
  EXPECT_NE(core_->CreateLoginToken(kAlice, request)->token(), "");
}

TEST_F(PeopleTest, ALoginTokenCountsOnceAndIsNoJoinToken) {
  ASSERT_TRUE(Apply(kLaw).ok());
  control::v1::CreateLoginTokenRequest request;
  request.set_person("dora");
  auto token = core_->CreateLoginToken(kAlice, request);
  ASSERT_TRUE(token.ok());
  enroll::v1::LoginRequest login;
  login.set_token(token->token());
  login.set_csr_der("no request");
  EXPECT_TRUE(absl::IsInvalidArgument(core_->Login(login).status())) << "which does not cost the token";
  login.set_csr_der(identity::NewTlsKey()->csr_der);
  EXPECT_FALSE(Join(token->token(), "core").ok());
  auto in = core_->Login(login);
  ASSERT_TRUE(in.ok()) << in.status();
  EXPECT_EQ(in->spiffe_id(), "spiffe://acme/admin/dora");
  EXPECT_TRUE(absl::IsUnauthenticated(core_->Login(login).status()));
  login.set_token(Token("core"));
  EXPECT_TRUE(absl::IsUnauthenticated(core_->Login(login).status()));
  request.set_person("../x");
  EXPECT_TRUE(absl::IsInvalidArgument(core_->CreateLoginToken(kAlice, request).status()));
}

}  // namespace
}  // namespace bailiwick::coordinator
