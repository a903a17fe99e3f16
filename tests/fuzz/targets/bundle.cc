// The law itself: a bundle signed by the root, roots, and what is judged by whatever law comes out.
#include "absl/strings/str_cat.h"
#include "common/config/world.h"
#include "common/policy/evaluator.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

FUZZ_TARGET(bundle) {
  using namespace bailiwick;
  const std::string payload(in.Rest());
  if (auto root = config::DecodePolicyRoot(payload); root.ok()) {
    REQUIRE(root->threshold > 0 && root->threshold <= root->keys.size());
    auto again = config::DecodePolicyRoot(config::EncodePolicyRoot(*root));
    REQUIRE(again.ok() && again->keys == root->keys && again->number == root->number);
  }
  config::OpenTimestamp(fuzz::Signed(crypto::kTimestampType, payload), fuzz::TheWorld()).IgnoreError();
  // A later field takes the place of an earlier one: whatever root the bundle has, this one counts.
  const config::PolicyRoot root{.keys = {fuzz::Key().public_key()}};
  resource::v1::PolicyBundle rooted;
  rooted.set_root(config::EncodePolicyRoot(root));
  const auto envelope = fuzz::Signed(crypto::kBundleType, absl::StrCat(payload, rooted.SerializeAsString()));
  auto bundle = config::OpenBundle(envelope, config::PolicyRootSha256(root));
  REQUIRE(bundle.ok() == config::OpenUnsigned(envelope).ok());
  REQUIRE(!config::OpenBundle(envelope, std::string(32, 'x')).ok());
  if (!bundle.ok()) return;
  const policy::World& world = bundle->world;
  int left = 16;
  for (const auto& [from, source] : world.sites) {
    for (const auto& [to, destination] : world.sites) {
      if (--left < 0) return;
      const policy::Request request{.data = {{"class", "x"}}, .from_site = from, .to_site = to, .purpose = "p"};
      const policy::Decision decision = policy::Evaluate(world, request, fuzz::Now());
      REQUIRE(decision.permitted == (decision.reason == policy::Reason::kPermitted));
      REQUIRE(policy::Explain(world, request, fuzz::Now()).decision.permitted == decision.permitted);
    }
  }
}
