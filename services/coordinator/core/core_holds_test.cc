// Holds and their ends as agents hear of them, and holds that only sites know because the coordinator was restored from
// a backup: shown, released, and of no weight anywhere but where they are kept.
#include "services/coordinator/core/core_fixture.h"

namespace bailiwick::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

const std::string kAlice = "spiffe://acme/admin/alice", kBob = "spiffe://acme/admin/bob";

class HoldsTest : public CoreTest {
 protected:
  std::string Set(const std::string& reason, const std::string& site = "") {  // the id of the hold
    control::v1::HoldRequest request;
    request.set_dataset("planner");
    request.set_site(site);
    request.set_reason(reason);
    auto held = core_->Hold(kAlice, request);
    EXPECT_TRUE(held.ok()) << held.status();
    return held.ok() ? held->hold().hold_id() : "";
  }
  absl::StatusOr<control::v1::ReleaseResponse> Release(const std::string& id, const std::string& site = "") {
    control::v1::ReleaseRequest request;
    request.set_dataset("planner");
    request.add_hold_ids(absl::BytesToHexString(id));
    request.set_site(site);
    return core_->Release(kAlice, request);
  }
  // As a coordinator set it that is no more.
  agent::v1::Hold Lost(const std::string& id, const std::string& reason = "litigation") {
    agent::v1::Hold hold;
    hold.set_hold_id(id);
    hold.set_dataset_id(dataset().str());
    hold.set_reason(reason);
    hold.set_by(kBob);
    rpc::ToProto(clock_.Now(), hold.mutable_since());
    return hold;
  }
  void SayKept(const std::string& site, const std::vector<agent::v1::Hold>& holds) {
    agent::v1::AgentMessage message;
    message.mutable_kept_holds();
    for (const auto& hold : holds) *message.mutable_kept_holds()->add_holds() = hold;
    Say(site, message);
  }
  agent::v1::Holds Told(const std::string& site) {
    const Message* last = sessions_.at(site)->Last(Message::kAssignments);
    return last == nullptr ? agent::v1::Holds() : last->assignments().holds();
  }
  std::vector<control::v1::HeldDataset> Listed() {
    auto listed = core_->Holds("");
    EXPECT_TRUE(listed.ok()) << listed.status();
    if (!listed.ok()) return {};
    return {listed->holds().begin(), listed->holds().end()};
  }
  std::vector<std::string> Alarms() {  // what is said of holds that only sites know
    std::vector<std::string> said;
    auto events = core_->Events({});
    EXPECT_TRUE(events.ok()) << events.status();
    if (!events.ok()) return said;
    for (const auto& event : *events) {
      if (event.kind() == "hold-kept") said.push_back(event.message());
    }
    return said;
  }
};

TEST_F(HoldsTest, AReleaseIsToldByNameAlsoToWhoWasAway) {
  Fleet();
  const std::string here = Set("case 1"), abroad = Set("case 2", "cloud");
  EXPECT_TRUE(Told("core").tells_releases());
  EXPECT_THAT(Told("core").holds(), SizeIs(1));
  EXPECT_THAT(Told("core").released(), IsEmpty());
  Disconnect("core");
  ASSERT_TRUE(Release(here).ok());
  ASSERT_TRUE(Release(abroad).ok());
  EXPECT_THAT(Told("factory").released(), ElementsAre(here)) << "the other one is none of its affairs";
  EXPECT_THAT(Told("cloud").released(), SizeIs(2));
  Connect("core");
  EXPECT_THAT(Told("core").holds(), IsEmpty());
  EXPECT_THAT(Told("core").released(), ElementsAre(here));
  Restart();
  Connect("core");
  EXPECT_THAT(Told("core").released(), ElementsAre(here));
}

TEST_F(HoldsTest, OfWhatWasReleasedLongAgoWhoeverKeepsItIsTold) {
  Fleet();
  const std::string first = Set("the first");
  const agent::v1::Hold known = Told("core").holds(0);
  Disconnect("core");
  ASSERT_TRUE(Release(first).ok());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Release(Set(absl::StrCat("case ", i))).ok());
  Connect("core");
  EXPECT_THAT(Told("core").released(), SizeIs(100));
  EXPECT_THAT(Told("core").released(), Not(Contains(first)));
  SayKept("core", {known});
  EXPECT_THAT(Told("core").released(), Contains(first));
  EXPECT_THAT(Alarms(), IsEmpty());
  EXPECT_THAT(Listed(), IsEmpty());
  SayKept("core", {});
  EXPECT_THAT(Told("core").released(), Not(Contains(first)));
}

TEST_F(HoldsTest, WhatOnlyASiteKnowsIsShownAndCountsNowhereElse) {
  Fleet();
  SayKept("core", {Lost("one")});
  ASSERT_THAT(Alarms(), SizeIs(1));
  EXPECT_THAT(Alarms()[0],
              AllOf(HasSubstr("'litigation', by spiffe://acme/admin/bob"), HasSubstr("was it restored from a backup?"),
                    HasSubstr("bailiwick dataset release planner --hold 6f6e65")));
  ASSERT_THAT(Listed(), SizeIs(1));
  EXPECT_EQ(Listed()[0].dataset(), "planner");
  EXPECT_EQ(Listed()[0].hold().reason(), "litigation");
  EXPECT_THAT(Listed()[0].only_at(), ElementsAre("core"));
  core_->Reconcile();
  for (const char* site : {"factory", "core", "cloud"}) EXPECT_THAT(Told(site).holds(), IsEmpty()) << site;

  SayKept("factory", {Lost("one")});
  EXPECT_THAT(Listed()[0].only_at(), ElementsAre("core", "factory"));
  SayKept("core", {Lost("one")});
  EXPECT_THAT(Alarms(), SizeIs(2)) << "once of each site";
  Restart();
  EXPECT_THAT(Listed()[0].only_at(), ElementsAre("core", "factory")) << "also while they are away";
  Connect("core");
  SayKept("core", {Lost("one")});
  EXPECT_THAT(Alarms(), SizeIs(2));
  SayKept("core", {});
  EXPECT_THAT(Listed()[0].only_at(), ElementsAre("factory"));
}

TEST_F(HoldsTest, WhatOnlySitesKnowIsReleasedByNameAlone) {
  Fleet();
  SayKept("core", {Lost("one"), Lost("two", "another case")});
  control::v1::ReleaseRequest all;
  all.set_dataset("planner");
  const absl::Status none = core_->Release(kAlice, all).status();
  EXPECT_TRUE(absl::IsNotFound(none)) << none;
  EXPECT_THAT(std::string(none.message()), HasSubstr("only sites know 6f6e65, 74776f, released only by --hold"));
  EXPECT_TRUE(absl::IsNotFound(Release("three").status()));
  EXPECT_TRUE(absl::IsNotFound(Release("one", "cloud").status()));

  auto released = Release("one");
  ASSERT_TRUE(released.ok()) << released.status();
  EXPECT_EQ(released->released(), 1u);
  EXPECT_THAT(Told("core").released(), ElementsAre("one"));
  EXPECT_THAT(Told("cloud").released(), IsEmpty());
  ASSERT_THAT(Listed(), SizeIs(1));
  EXPECT_EQ(Listed()[0].hold().reason(), "another case");

  // One that was away then and keeps it, too.
  Restart();
  Connect("factory");
  SayKept("factory", {Lost("one")});
  EXPECT_THAT(Told("factory").released(), ElementsAre("one"));
  EXPECT_THAT(Listed(), SizeIs(1));
  EXPECT_THAT(Alarms(), SizeIs(2)) << "those of core";
}

TEST_F(HoldsTest, WhoDescribesAHoldFalselyEndsItNowhereElse) {
  Fleet();
  SayKept("core", {Lost("one")});
  SayKept("cloud", {Lost("one", "a trifle")});
  ASSERT_THAT(Listed(), SizeIs(2));
  const absl::Status which = Release("one").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(which)) << which;
  EXPECT_THAT(std::string(which.message()), HasSubstr("(cloud and core)"));
  ASSERT_TRUE(Release("one", "cloud").ok());
  EXPECT_THAT(Told("cloud").released(), ElementsAre("one"));
  EXPECT_THAT(Told("core").released(), IsEmpty());
  ASSERT_THAT(Listed(), SizeIs(1));
  EXPECT_THAT(Listed()[0].only_at(), ElementsAre("core"));
  SayKept("cloud", {Lost("one", "another trifle")});
  EXPECT_THAT(Listed(), SizeIs(2)) << "what was released is what it said then";
}

TEST_F(HoldsTest, WhatIsKnownIsNoStrangerWhateverASiteSaysOfIt) {
  Fleet();
  const std::string id = Set("case 4711", "factory");
  SayKept("cloud", {Lost(id, "a trifle")});
  EXPECT_THAT(Alarms(), IsEmpty());
  ASSERT_THAT(Listed(), SizeIs(1));
  EXPECT_EQ(Listed()[0].hold().reason(), "case 4711");
  EXPECT_THAT(Listed()[0].only_at(), IsEmpty());
  EXPECT_THAT(Told("factory").holds(), SizeIs(1));
}

TEST_F(HoldsTest, WhatASiteSaysIsBounded) {
  Fleet();
  agent::v1::Hold of_another_site = Lost("a"), of_no_dataset = Lost("b"), long_by = Lost("c");
  of_another_site.set_site("core");
  of_no_dataset.set_dataset_id("x");
  long_by.set_by(std::string(1001, 'x'));
  SayKept("cloud", {of_another_site, of_no_dataset, long_by, Lost("", "no id"), Lost(std::string(33, 'i')),
                    Lost("d", std::string(1001, 'x')), Lost("e"), Lost("e", "twice")});
  ASSERT_THAT(Listed(), SizeIs(1));
  EXPECT_EQ(Listed()[0].hold().hold_id(), "e");
  EXPECT_THAT(Alarms(), SizeIs(1));
  std::vector<agent::v1::Hold> many;
  for (int i = 0; i < 1200; ++i) many.push_back(Lost(absl::StrCat("many-", i)));
  SayKept("cloud", many);
  EXPECT_THAT(Listed(), SizeIs(1000));
  EXPECT_THAT(Alarms(), SizeIs(12)) << "ten, and one of the others";
}

TEST_F(HoldsTest, WhatOnlyASiteKnowsIsReleasedByTwoWhereReleasesAre) {
  Fleet();
  ASSERT_TRUE(Apply("apiVersion: bailiwick/v1\nkind: RoleBinding\nmetadata: {name: admins}\n"
                    "spec: {roles: [policy-admin], people: [alice, bob]}\n")
                  .ok());
  SayKept("core", {Lost("one")});
  auto proposed = Release("one");
  ASSERT_TRUE(proposed.ok()) << proposed.status();
  ASSERT_TRUE(proposed->has_proposal());
  EXPECT_THAT(proposed->proposal().what(), HasSubstr("known only at core"));
  EXPECT_THAT(Told("core").released(), IsEmpty());
  EXPECT_THAT(Listed(), SizeIs(1));
  control::v1::ApproveRequest approve;
  approve.set_id(proposed->proposal().id());
  ASSERT_TRUE(core_->Approve(kBob, approve).ok());
  EXPECT_THAT(Told("core").released(), ElementsAre("one"));
  EXPECT_THAT(Listed(), IsEmpty());
}

TEST_F(HoldsTest, ADatasetThatNobodyKnowsAnyMoreIsNamedByItsId) {
  Fleet();
  agent::v1::Hold hold = Lost("one");
  hold.set_dataset_id(std::string(16, 'd'));
  SayKept("core", {hold});
  ASSERT_THAT(Listed(), SizeIs(1));
  const std::string name = absl::BytesToHexString(std::string(16, 'd'));
  EXPECT_EQ(Listed()[0].dataset(), name);
  control::v1::ReleaseRequest request;
  request.set_dataset(name);
  request.add_hold_ids(absl::BytesToHexString("one"));
  EXPECT_EQ(core_->Release(kAlice, request)->released(), 1u);
  EXPECT_THAT(Told("core").released(), ElementsAre("one"));
}

}  // namespace
}  // namespace bailiwick::coordinator
