#include "common/rpc/receipt.h"

#include <gtest/gtest.h>

#include "common/crypto/digest.h"

namespace bailiwick::rpc {
namespace {

class ReceiptTest : public ::testing::Test {
 protected:
  ReceiptTest() {
    policy::Site site;
    site.name = "cloud";
    site.enrolment_keys["cloud"] = key_.public_key();
    world_.sites["cloud"] = site;
    receipt_.receipt_id = std::string(16, 'r');
    receipt_.dataset_id.bytes.fill(7);
    receipt_.dataset = "planner";
    receipt_.site = "cloud";
    receipt_.agent = "spiffe://acme/region/us/site/cloud/agent/cloud";
    receipt_.versions = {{3, crypto::Sha256("three")}, {4, crypto::Sha256("four")}};
    receipt_.bytes = 12345;
    receipt_.everything = true;
    receipt_.cause = "unlawful";
    receipt_.rule = "acme/eu-stays";
    receipt_.policy_revision = 9;
    receipt_.policy_digest = std::string(32, 'd');
    receipt_.fenced_at = absl::FromUnixSeconds(1'700'000'000);
    receipt_.erased_at = absl::FromUnixSeconds(1'700'000'100);
    receipt_.method = "deleted";
  }
  crypto::Envelope Signed(const crypto::SigningKey& key) const {
    return crypto::SignEnvelope(crypto::kReceiptType, EncodeReceipt(receipt_), key);
  }

  const crypto::SigningKey key_ = *crypto::SigningKey::Generate();
  policy::World world_;
  ErasureReceipt receipt_;
};

TEST_F(ReceiptTest, SaysWhatWasSigned) {
  auto opened = OpenReceipt(Signed(key_), world_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->receipt_id, receipt_.receipt_id);
  EXPECT_EQ(opened->dataset_id, receipt_.dataset_id);
  EXPECT_EQ(opened->versions, receipt_.versions);
  EXPECT_EQ(opened->bytes, 12345u);
  EXPECT_TRUE(opened->everything);
  EXPECT_EQ(opened->cause, "unlawful");
  EXPECT_EQ(opened->rule, "acme/eu-stays");
  EXPECT_EQ(opened->policy_revision, 9u);
  EXPECT_EQ(opened->fenced_at, receipt_.fenced_at);
  EXPECT_EQ(opened->erased_at, receipt_.erased_at);
  EXPECT_EQ(opened->method, "deleted");
  receipt_.fenced_at.reset();
  EXPECT_FALSE(OpenReceipt(Signed(key_), world_)->fenced_at.has_value());
}

TEST_F(ReceiptTest, OnlyThePinnedKeyOfItsAgentCounts) {
  EXPECT_TRUE(absl::IsPermissionDenied(OpenReceipt(Signed(*crypto::SigningKey::Generate()), world_).status()));
  crypto::Envelope changed = Signed(key_);
  changed.payload[changed.payload.size() - 2] ^= 1;
  EXPECT_FALSE(OpenReceipt(changed, world_).ok());
  crypto::Envelope other = crypto::SignEnvelope(crypto::kVersionType, EncodeReceipt(receipt_), key_);
  EXPECT_TRUE(absl::IsPermissionDenied(OpenReceipt(other, world_).status()));
  receipt_.site = "core";  // its agent is of another site
  EXPECT_TRUE(absl::IsPermissionDenied(OpenReceipt(Signed(key_), world_).status()));
  receipt_.agent = "spiffe://acme/region/eu/site/core/agent/core";  // nobody pins that one
  EXPECT_TRUE(absl::IsPermissionDenied(OpenReceipt(Signed(key_), world_).status()));
}

TEST_F(ReceiptTest, ASignedOneThatIsNoReceipt) {
  receipt_.receipt_id = "short";
  EXPECT_TRUE(absl::IsInvalidArgument(OpenReceipt(Signed(key_), world_).status()));
}

}  // namespace
}  // namespace bailiwick::rpc
