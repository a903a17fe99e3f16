#include "common/rpc/redaction.h"

#include <gtest/gtest.h>

#include <functional>

namespace bailiwick::rpc {
namespace {

class RedactionOrderTest : public ::testing::Test {
 protected:
  RedactionOrderTest() {
    world_.trust_domain = "acme";
    world_.root_keys = {alice_.public_key(), bob_.public_key(), carol_.public_key()};
    world_.root_threshold = 2;
    order_.order_id = std::string(16, 'i');
    order_.trust_domain = "acme";
    order_.dataset_id.bytes.fill(7);
    order_.dataset = "planner";
    Digest digest;
    digest.bytes.fill(3);
    digest.algorithm = Digest::kSha256;
    order_.contents = order_.chunks = {digest};
    order_.reason = "case 4711";
    order_.issued_at = absl::FromUnixSeconds(1'800'000'000);
  }
  crypto::Envelope Signed(const std::vector<const crypto::SigningKey*>& keys,
                          std::string_view type = crypto::kRedactionType) const {
    crypto::Envelope envelope{std::string(type), EncodeRedaction(order_), {}};
    for (const auto* key : keys) crypto::AddSignature(envelope, *key);
    return envelope;
  }

  const crypto::SigningKey alice_ = *crypto::SigningKey::Generate(), bob_ = *crypto::SigningKey::Generate(),
                           carol_ = *crypto::SigningKey::Generate(), mallory_ = *crypto::SigningKey::Generate();
  policy::World world_;
  RedactionOrder order_;
};

TEST_F(RedactionOrderTest, SaysWhatWasSigned) {
  order_.override_locks = true;
  auto opened = OpenRedaction(Signed({&alice_, &carol_}), world_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->order_id, order_.order_id);
  EXPECT_EQ(opened->dataset_id, order_.dataset_id);
  EXPECT_EQ(opened->contents, order_.contents);
  EXPECT_EQ(opened->chunks, order_.chunks);
  EXPECT_EQ(opened->reason, order_.reason);
  EXPECT_EQ(opened->issued_at, order_.issued_at);
  EXPECT_TRUE(opened->override_locks);
}

TEST_F(RedactionOrderTest, NobodyElseCanOrderIt) {
  struct Case {
    const char* what;
    crypto::Envelope envelope;
  };
  crypto::Envelope changed = Signed({&alice_, &bob_});
  changed.payload.back() ^= 1;
  crypto::Envelope relabelled = Signed({&alice_, &bob_}, crypto::kBundleType);
  relabelled.payload_type = std::string(crypto::kRedactionType);
  crypto::Envelope twice = Signed({&alice_});
  twice.signatures.push_back(twice.signatures[0]);
  for (const Case& c :
       {Case{"unsigned", Signed({})}, Case{"one of two", Signed({&alice_})}, Case{"one key twice", twice},
        Case{"a stranger's second signature", Signed({&alice_, &mallory_})}, Case{"strangers", Signed({&mallory_})},
        Case{"changed after signing", changed}, Case{"signed as something else", relabelled},
        Case{"another type", Signed({&alice_, &bob_}, crypto::kBundleType)}}) {
    EXPECT_TRUE(absl::IsPermissionDenied(OpenRedaction(c.envelope, world_).status())) << c.what;
  }
  world_.root_keys = {carol_.public_key(), mallory_.public_key()};
  EXPECT_FALSE(OpenRedaction(Signed({&alice_, &bob_}), world_).ok()) << "keys of a root that was replaced";
  EXPECT_EQ(MissingSignatures(Signed({&carol_}), world_), "the order has 1 of 2 signatures of the policy root");
  EXPECT_EQ(MissingSignatures(Signed({&carol_, &mallory_}), world_), "");
}

TEST_F(RedactionOrderTest, SignedButOfNoUse) {
  const RedactionOrder good = order_;
  const std::vector<std::function<void()>> changes = {
      [&] { order_.trust_domain = "other"; },
      [&] { order_.order_id = "short"; },
      [&] { order_.dataset_id = DatasetId(); },
      [&] { order_.dataset.clear(); },
      [&] { order_.reason.clear(); },
      [&] { order_.reason = std::string(1001, 'x'); },
      [&] { order_.contents.clear(), order_.chunks.clear(); },
      [&] { order_.chunks.assign(kMaxRedactedChunks + 1, good.chunks[0]); },
      [&] { order_.contents.assign(kMaxRedactedContents + 1, good.contents[0]); }};
  for (size_t i = 0; i < changes.size(); ++i) {
    order_ = good;
    changes[i]();
    EXPECT_FALSE(OpenRedaction(Signed({&alice_, &bob_}), world_).ok()) << i;
  }
}

}  // namespace
}  // namespace bailiwick::rpc
