#include "common/rpc/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "bailiwick/agent/v1/admin.pb.h"
#include "bailiwick/agent/v1/session.pb.h"
#include "bailiwick/control/v1/control.pb.h"
#include "bailiwick/enroll/v1/enroll.pb.h"
#include "bailiwick/transfer/v1/transfer.pb.h"
#include "common/identity/verify.h"

namespace bailiwick::rpc {
namespace {

using ::testing::HasSubstr;

const identity::SpiffeId kAlice{identity::Kind::kAdmin, "acme", "", "", "alice"};
const identity::SpiffeId kAgent{identity::Kind::kAgent, "acme", "eu", "core", "core"};
const identity::SpiffeId kCoordinator{identity::Kind::kCoordinator, "acme", "", "", ""};

People With(unsigned roles) {
  People people;
  people.bound = true;
  if (roles != 0) people.roles["alice"] = roles;
  return people;
}

TEST(AccessTable, HasALineForEachRpcAndNoOther) {
  std::set<std::string> declared, listed;
  for (const auto* file : {agent::v1::CommitRequest::descriptor()->file(), agent::v1::AgentHello::descriptor()->file(),
                           control::v1::GetInfoRequest::descriptor()->file(),
                           enroll::v1::JoinRequest::descriptor()->file(), transfer::v1::Frame::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int k = 0; k < file->service(i)->method_count(); ++k) {
        declared.insert(file->service(i)->full_name() + "/" + file->service(i)->method(k)->name());
      }
    }
  }
  for (const AccessRule& rule : AccessTable()) EXPECT_TRUE(listed.insert(rule.rpc).second) << rule.rpc;
  EXPECT_EQ(listed, declared);
}

TEST(CheckAccess, EachRoleGetsWhatItsLineSaysAndNothingElse) {
  for (const AccessRule& rule : AccessTable()) {
    for (unsigned role : {kViewer, kOperator, kPolicyAdmin, kAuditor, 0u}) {
      const bool may = (rule.allowed & (kAnybody | kAnyAdmin | role)) != 0;
      EXPECT_EQ(CheckAccess(rule.rpc, kAlice, With(role)).ok(), may) << rule.rpc << " " << role;
    }
    const bool for_agents = (rule.allowed & (kAgents | kAnybody)) != 0;
    EXPECT_EQ(CheckAccess(rule.rpc, kAgent, With(0)).ok(), for_agents) << rule.rpc;
    EXPECT_EQ(CheckAccess(rule.rpc, kCoordinator, With(0)).ok(), (rule.allowed & kAnybody) != 0) << rule.rpc;
  }
}

TEST(CheckAccess, WithoutBindingsEveryAdminMayEverything) {
  EXPECT_TRUE(CheckAccess("bailiwick.control.v1.Control/Release", kAlice, People{}).ok());
  EXPECT_EQ(identity::RefusalCode(CheckAccess("bailiwick.control.v1.Control/Release", kAgent, People{})), "WRONG_KIND");
}

TEST(CheckAccess, SaysWhichRoleItTakes) {
  const absl::Status status = CheckAccess("bailiwick.control.v1.Control/Release", kAlice, With(kViewer));
  EXPECT_EQ(identity::RefusalCode(status), "NOT_ALLOWED");
  EXPECT_THAT(std::string(status.message()), HasSubstr("policy-admin"));
  EXPECT_FALSE(CheckAccess("bailiwick.control.v1.Control/Unheard", kAlice, People{}).ok());
}

}  // namespace
}  // namespace bailiwick::rpc
