#include "common/policy/grant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace bailiwick::policy {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1790000000);
const char kSource[] = "spiffe://acme/region/eu/de/fra/site/factory/agent/a1";
const char kTarget[] = "spiffe://acme/region/eu/de/site/core/agent/a1";

Digest Of(char c) {
  Digest digest;
  digest.algorithm = Digest::kSha256;
  digest.bytes.fill(static_cast<uint8_t>(c));
  return digest;
}

class GrantTest : public ::testing::Test {
 protected:
  GrantTest() {
    world_.revision = 7;
    world_.digest = std::string(32, 'd');
    world_.trust_domain = "acme";
    world_.regions = {"eu", "eu/de", "eu/de/fra", "us"};
    for (auto [name, region] :
         {std::pair("factory", "eu/de/fra"), std::pair("core", "eu/de"), std::pair("cloud-us", "us")}) {
      Site site;
      site.name = name;
      site.region = region;
      world_.sites[name] = site;
    }
    Rule rule;
    rule.policy = "acme";
    rule.id = "eu";
    rule.actions = {Action::kTransfer, Action::kReside};
    rule.to.in = {"eu"};
    world_.rules = {rule};
    grant_.dataset_id.bytes.fill(1);
    grant_.dataset = "telemetry";
    grant_.version = Of('v');
    grant_.manifest_root = Of('m');
    grant_.source = kSource;
    grant_.destination = kTarget;
    grant_.source_region = "eu/de/fra";
    grant_.destination_region = "eu/de";
    grant_.action = "transfer";
    grant_.policy_revision = 7;
    grant_.policy_digest = world_.digest;
    grant_.not_before = kNow - absl::Minutes(1);
    grant_.not_after = kNow + absl::Minutes(5);
    check_.world = &world_;
    check_.grant = &grant_;
    check_.self = kSource;
    check_.peer = kTarget;
    check_.self_is_source = true;
    check_.dataset_id = grant_.dataset_id;
    check_.version = grant_.version;
    check_.manifest_root = grant_.manifest_root;
    check_.now = kNow;
  }

  std::string Code() { return CheckGrant(check_).code; }

  World world_;
  Grant grant_;
  GrantCheck check_;
};

TEST_F(GrantTest, BothEndsAcceptTheFlowItWasMadeFor) {
  EXPECT_TRUE(CheckGrant(check_).permitted);
  std::swap(check_.self, check_.peer);
  check_.self_is_source = false;
  const GrantDecision decision = CheckGrant(check_);
  EXPECT_TRUE(decision.permitted) << decision.message;
  EXPECT_EQ(decision.rule, "acme/eu");
}

TEST_F(GrantTest, AnyOtherFlowIsRefused) {
  struct Case {
    const char* what;
    const char* code;
    std::function<void()> change;
  };
  const std::vector<Case> cases = {
      {"no policy", "POLICY_ERROR", [&] { check_.world = nullptr; }},
      {"no grant", "GRANT_INVALID", [&] { check_.grant = nullptr; }},
      {"action", "GRANT_INVALID", [&] { grant_.action = "transit"; }},
      {"dataset", "GRANT_INVALID", [&] { check_.dataset_id.bytes[3] = 9; }},
      {"empty dataset", "GRANT_INVALID", [&] { check_.dataset_id = grant_.dataset_id = {}; }},
      {"version", "GRANT_INVALID", [&] { check_.version = Of('w'); }},
      {"no version", "GRANT_INVALID", [&] { check_.version = grant_.version = {}; }},
      {"manifest", "GRANT_INVALID", [&] { check_.manifest_root = Of('w'); }},
      {"another source", "GRANT_INVALID",
       [&] { check_.self = "spiffe://acme/region/eu/de/fra/site/factory/agent/a2"; }},
      {"roles swapped", "GRANT_INVALID", [&] { std::swap(check_.self, check_.peer); }},
      {"another peer", "WRONG_PEER", [&] { check_.peer = "spiffe://acme/region/us/site/cloud-us/agent/a1"; }},
      {"no peer", "WRONG_PEER", [&] { check_.peer.clear(); }},
      {"not an agent", "GRANT_INVALID", [&] { grant_.destination = check_.peer = "spiffe://acme/admin/root"; }},
      {"trust domain", "GRANT_INVALID",
       [&] { grant_.destination = check_.peer = "spiffe://evil/region/eu/de/site/core/agent/a1"; }},
      {"site unknown to the policy", "GRANT_INVALID",
       [&] { grant_.destination = check_.peer = "spiffe://acme/region/eu/de/site/elsewhere/agent/a1"; }},
      {"identity region is not the registry's", "GRANT_INVALID",
       [&] {
         grant_.destination = check_.peer = "spiffe://acme/region/us/site/core/agent/a1";
         grant_.destination_region = "us";
       }},
      {"grant region is not the registry's", "GRANT_INVALID", [&] { grant_.destination_region = "eu"; }},
      {"site moved in the registry", "GRANT_INVALID", [&] { world_.sites["core"].region = "us"; }},
      {"expired", "GRANT_EXPIRED", [&] { check_.now = grant_.not_after; }},
      {"not yet valid", "GRANT_INVALID", [&] { check_.now = grant_.not_before - absl::Minutes(2); }},
      {"too long a life", "GRANT_INVALID",
       [&] { grant_.not_after = grant_.not_before + kMaxGrantLife + absl::Seconds(1); }},
      {"negative life", "GRANT_INVALID", [&] { grant_.not_after = grant_.not_before - absl::Seconds(1); }},
      {"made at a newer policy", "POLICY_STALE", [&] { grant_.policy_revision = 8; }},
      {"made under another policy of the same revision", "GRANT_INVALID", [&] { grant_.policy_digest = "other"; }},
      {"policy no longer permits", "POLICY_DENIED",
       [&] {
         world_.revision = 8;
         world_.rules.clear();
       }},
      {"policy cannot be evaluated", "POLICY_ERROR",
       [&] {
         world_.rules[0].data.conditions = {{"class", Operator::kIn, {"x"}}};
       }},
  };
  const World world = world_;
  const Grant grant = grant_;
  const GrantCheck check = check_;
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    one.change();
    const GrantDecision decision = CheckGrant(check_);
    EXPECT_FALSE(decision.permitted);
    EXPECT_EQ(decision.code, one.code) << decision.message;
    EXPECT_FALSE(decision.message.empty());
    world_ = world;
    grant_ = grant;
    check_ = check;
  }
  EXPECT_TRUE(CheckGrant(check_).permitted);
}

TEST_F(GrantTest, PurposeRelayAndObligationsAreJudgedByTheLawHere) {
  world_.rules[0].purposes = {"care"};
  world_.rules[0].obligations.max_hops = 2;
  world_.rules[0].basis = "residency";
  EXPECT_EQ(Code(), "POLICY_ERROR");  // no purpose
  grant_.purpose = "sales";
  EXPECT_EQ(Code(), "POLICY_DENIED");
  grant_.purpose = "care";
  const GrantDecision decision = CheckGrant(check_);
  EXPECT_TRUE(decision.permitted) << decision.message;
  EXPECT_EQ(decision.obligations.max_hops, 2u);
  EXPECT_EQ(decision.basis, "residency");
  check_.home_site = "factory";
  EXPECT_TRUE(CheckGrant(check_).permitted);
  check_.home_site = "cloud-us";  // the factory only sends it on, and no rule permits transit
  EXPECT_EQ(Code(), "POLICY_DENIED");
  world_.rules[0].actions.push_back(Action::kTransit);
  EXPECT_TRUE(CheckGrant(check_).permitted);
}

TEST_F(GrantTest, ASelfGrantedFlowNeedsADelegationAndAYoungLaw) {
  grant_.self_granted = true;
  check_.called_current = kNow - absl::Minutes(30);
  EXPECT_EQ(Code(), "NOT_DELEGATED");
  world_.offline = {{"acme", "eu/de/fra", absl::Hours(1)}};
  EXPECT_EQ(Code(), "NOT_DELEGATED");  // one of the two lies outside
  world_.offline = {{"acme", "eu/de", absl::Hours(1)}};
  EXPECT_TRUE(CheckGrant(check_).permitted);
  std::swap(check_.self, check_.peer);
  check_.self_is_source = false;
  EXPECT_TRUE(CheckGrant(check_).permitted);  // the receiver's own law
  struct Case {
    const char* what;
    const char* code;
    std::function<void()> change;
  };
  const std::vector<Case> cases = {
      {"law too old for it", "POLICY_STALE", [&] { check_.called_current = kNow - absl::Hours(1); }},
      {"law that nobody called current", "POLICY_STALE", [&] { check_.called_current = absl::InfinitePast(); }},
      {"site moved out of the jurisdiction", "GRANT_INVALID", [&] { world_.sites["core"].region = "us"; }},
      {"delegation withdrawn", "NOT_DELEGATED", [&] { world_.offline.clear(); }},
      {"only below a guardrail's", "NOT_DELEGATED",
       [&] { world_.offline.push_back({"guard", "us", absl::Hours(9), Tier::kGuardrail}); }},
      {"expired", "GRANT_EXPIRED", [&] { check_.now = grant_.not_after; }},
      {"too long a life", "GRANT_INVALID",
       [&] { grant_.not_after = grant_.not_before + kMaxGrantLife + absl::Seconds(1); }},
      {"another version", "GRANT_INVALID", [&] { check_.version = Of('w'); }},
      {"another manifest", "GRANT_INVALID", [&] { check_.manifest_root = Of('w'); }},
      {"another purpose", "POLICY_DENIED",
       [&] {
         world_.rules[0].purposes = {"care"};
         grant_.purpose = "sales";
       }},
      {"law denies", "POLICY_DENIED", [&] { world_.rules[0].effect = Effect::kForbid; }},
      {"made at a newer policy", "POLICY_STALE", [&] { grant_.policy_revision = 8; }},
  };
  const World world = world_;
  const Grant grant = grant_;
  const GrantCheck check = check_;
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    one.change();
    const GrantDecision decision = CheckGrant(check_);
    EXPECT_FALSE(decision.permitted);
    EXPECT_EQ(decision.code, one.code) << decision.message;
    world_ = world;
    grant_ = grant;
    check_ = check;
  }
}

TEST_F(GrantTest, ACoordinatorsGrantNeedsNoDelegation) {
  check_.called_current = absl::InfinitePast();
  EXPECT_TRUE(CheckGrant(check_).permitted);
}

TEST_F(GrantTest, AnOlderPolicyOfTheGrantIsJudgedByOurs) {
  grant_.policy_revision = 6;
  grant_.policy_digest = "older";
  EXPECT_TRUE(CheckGrant(check_).permitted);
}

TEST_F(GrantTest, ASlightlySlowClockAcceptsAFreshGrant) {
  check_.now = grant_.not_before - absl::Seconds(10);
  EXPECT_TRUE(CheckGrant(check_).permitted);
}

}  // namespace
}  // namespace bailiwick::policy
