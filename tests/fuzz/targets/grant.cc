// Grants: of the coordinator, and those that a source signs for itself. What one end decides by them stays within what
// the grant says.
#include "common/policy/grant.h"

#include "common/rpc/codec.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

FUZZ_TARGET(grant) {
  using namespace bailiwick;
  const bool by_source = (in.Byte() & 1) != 0;
  const policy::World& world = fuzz::TheWorld();
  const auto type = by_source ? crypto::kSelfGrantType : crypto::kGrantType;
  auto grant = rpc::OpenGrant(fuzz::Signed(type, in.Rest()), world);
  if (!grant.ok()) return;
  REQUIRE(grant->self_granted == by_source && grant->grant_id.size() == 16 && !grant->transfer_id.empty());
  const std::string bytes = rpc::EncodeGrant(*grant);
  auto again = rpc::OpenGrant(fuzz::Signed(type, bytes), world);
  REQUIRE(again.ok() && rpc::EncodeGrant(*again) == bytes);
  const policy::GrantCheck check{.world = &world,
                                 .grant = &*grant,
                                 .self = fuzz::UriOf("home"),
                                 .peer = fuzz::UriOf("far"),
                                 .self_is_source = true,
                                 .home_site = "home",
                                 .dataset_id = grant->dataset_id,
                                 .version = grant->version,
                                 .manifest_root = grant->manifest_root,
                                 .now = fuzz::Now(),
                                 .called_current = fuzz::Now()};
  const policy::GrantDecision decision = policy::CheckGrant(check);
  REQUIRE(decision.permitted || !decision.code.empty());
  if (!decision.permitted) return;
  REQUIRE(grant->source == check.self && grant->destination == check.peer);
  REQUIRE(grant->not_before <= check.now + policy::kGrantSkew && check.now < grant->not_after);
  REQUIRE(grant->not_after - grant->not_before <= policy::kMaxGrantLife);
  REQUIRE(grant->source_region == "eu/home" && grant->destination_region == "eu/far");
}
