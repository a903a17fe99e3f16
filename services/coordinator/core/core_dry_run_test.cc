// Acts that are only tried: the checks and words of the real ones, and nothing comes of them.
#include "services/coordinator/core/core_fixture.h"

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
)";

const std::string kAlice = "spiffe://acme/admin/alice", kBob = "spiffe://acme/admin/bob";

class DryRunTest : public CoreTest {
 protected:
  void SetUp() override {
    CoreTest::SetUp();
    ASSERT_TRUE(Apply(kLaw).ok());
    ASSERT_TRUE(Apply(kDataset).ok());
  }
  // All that could show that something was done.
  std::string State() {
    std::string state = absl::StrCat(core_->Info().generation(), " ", audit_->size());
    absl::StrAppend(&state, core_->Holds("")->SerializeAsString(), core_->Proposals().SerializeAsString(),
                    core_->Agents().SerializeAsString(), core_->GetPending().SerializeAsString());
    const auto events = core_->Events({});
    for (const auto& event : *events) absl::StrAppend(&state, event.SerializeAsString());
    return state;
  }
  absl::StatusOr<control::v1::DryRunResponse> Try(const control::v1::DryRunRequest& request,
                                                  const std::string& who = kAlice) {
    const std::string before = State();
    auto tried = core_->DryRun(who, request);
    EXPECT_EQ(State(), before) << request.DebugString();
    return tried;
  }
  static control::v1::DryRunRequest Applying(control::v1::ApplyRequest apply) {
    apply.mutable_bundle()->clear_signatures();
    for (auto& c : *apply.mutable_classifications()) c.clear_signatures();
    control::v1::DryRunRequest request;
    *request.mutable_apply() = std::move(apply);
    return request;
  }
};

TEST_F(DryRunTest, AChangeIsCheckedWithoutItsSignatures) {
  auto tried = Try(Applying(Request(kReplication)));
  ASSERT_TRUE(tried.ok()) << tried.status();
  EXPECT_THAT(tried->effects(), ElementsAre("ReplicationPolicy/everywhere is as declared", "the law is revision 3"));
  EXPECT_EQ(tried->waits(), "");
  tried = Try(Applying(Request(absl::StrCat("---", kDataset, "---", kReplication))));
  EXPECT_TRUE(tried.ok()) << tried.status();
}

TEST_F(DryRunTest, WhatWouldBeRefusedIsRefused) {
  control::v1::ApplyRequest late = Request(kReplication);
  late.set_expected_generation(1);
  EXPECT_TRUE(absl::IsAborted(Try(Applying(late)).status()));
  control::v1::ApplyRequest other = Request(kReplication);
  other.mutable_bundle()->set_payload("nonsense");
  EXPECT_FALSE(Try(Applying(other)).ok());
  control::v1::DryRunRequest request;
  request.mutable_pin()->set_dataset("nothing");
  EXPECT_TRUE(absl::IsNotFound(Try(request).status()));
  request.mutable_hold()->set_dataset("planner");
  EXPECT_TRUE(absl::IsInvalidArgument(Try(request).status())) << "no reason";
  request.mutable_release()->set_dataset("planner");
  EXPECT_TRUE(absl::IsNotFound(Try(request).status())) << "no hold";
  request.mutable_revoke()->set_site("core");
  EXPECT_TRUE(absl::IsInvalidArgument(Try(request).status())) << "no reason";
  request.mutable_create_join_token()->set_site("nowhere");
  EXPECT_TRUE(absl::IsNotFound(Try(request).status()));
  request.mutable_create_login_token()->set_person("a b");
  EXPECT_TRUE(absl::IsInvalidArgument(Try(request).status()));
  request.mutable_approve()->set_id("0");
  EXPECT_TRUE(absl::IsNotFound(Try(request).status()));
  request.mutable_withdraw()->set_id("0");
  EXPECT_TRUE(absl::IsNotFound(Try(request).status()));
  request.mutable_reject_pending();
  EXPECT_TRUE(absl::IsNotFound(Try(request).status()));
  request.mutable_redact();
  EXPECT_FALSE(Try(request).ok());
  request.clear_act();
  EXPECT_TRUE(absl::IsInvalidArgument(Try(request).status()));
}

TEST_F(DryRunTest, WhatWouldBeDoneIsSaid) {
  control::v1::DryRunRequest request;
  request.mutable_hold()->set_dataset("planner");
  request.mutable_hold()->set_reason("court");
  EXPECT_THAT(Try(request)->effects(), ElementsAre("every version of planner at every site is held"));
  ASSERT_TRUE(core_->Hold(kAlice, request.hold()).ok());
  request.mutable_release()->set_dataset("planner");
  EXPECT_THAT(Try(request)->effects(), ElementsAre(HasSubstr("court")));
  EXPECT_EQ(core_->Holds("planner")->holds_size(), 1);
  request.mutable_create_join_token()->set_site("core");
  EXPECT_THAT(Try(request)->effects(), ElementsAre("one agent can join as site core within 1h00m"));
  request.mutable_create_login_token()->set_person("carol");
  EXPECT_THAT(Try(request)->effects(), ElementsAre(HasSubstr("carol can log in once")));
  request.mutable_rotate_authority();
  EXPECT_THAT(Try(request)->effects(), ElementsAre(HasSubstr("a new CA")));
  ASSERT_TRUE(authority_->Rotate().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Try(request).status()));
}

TEST_F(DryRunTest, ForWhomItWouldWaitIsSaid) {
  ASSERT_TRUE(Apply(kTwo).ok());
  control::v1::HoldRequest hold;
  hold.set_dataset("planner");
  hold.set_reason("court");
  ASSERT_TRUE(core_->Hold(kAlice, hold).ok());
  control::v1::DryRunRequest request;
  request.mutable_release()->set_dataset("planner");
  auto tried = Try(request);
  ASSERT_TRUE(tried.ok()) << tried.status();
  EXPECT_THAT(tried->waits(), HasSubstr("another policy-admin"));
  auto proposed = core_->Release(kAlice, request.release());
  ASSERT_TRUE(proposed.ok() && proposed->has_proposal());
  request.mutable_approve()->set_id(proposed->proposal().id());
  EXPECT_TRUE(absl::IsFailedPrecondition(Try(request).status())) << "her own";
  tried = Try(request, kBob);
  ASSERT_TRUE(tried.ok()) << tried.status();
  EXPECT_THAT(tried->effects(), ElementsAre(HasSubstr("court")));
  EXPECT_EQ(core_->Holds("planner")->holds_size(), 1);
  request.mutable_withdraw()->set_id(proposed->proposal().id());
  EXPECT_THAT(Try(request, kBob)->effects(), ElementsAre(HasSubstr("is dropped")));
}

TEST_F(DryRunTest, SignaturesThatComeAreStillChecked) {
  // A change that somebody signed wrongly is no unsigned one.
  control::v1::DryRunRequest request;
  *request.mutable_apply() = Request(kReplication);
  request.mutable_apply()->mutable_bundle()->mutable_signatures(0)->set_signature(std::string(64, 'x'));
  EXPECT_TRUE(absl::IsPermissionDenied(Try(request).status()));
  // And what is tried cannot be applied.
  EXPECT_TRUE(absl::IsPermissionDenied(Apply(Applying(Request(kReplication)).apply())));
}

}  // namespace
}  // namespace bailiwick::coordinator
