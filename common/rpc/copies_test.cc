#include "common/rpc/copies.h"

#include <gtest/gtest.h>

#include "common/crypto/digest.h"

namespace bailiwick::rpc {
namespace {

class CopiesTest : public ::testing::Test {
 protected:
  CopiesTest() {
    policy::Site site;
    site.name = "cloud";
    site.enrolment_keys["cloud"] = key_.public_key();
    world_.sites["cloud"] = site;
    statement_.dataset_id.bytes.fill(7);
    statement_.dataset = "drive";
    statement_.site = "cloud";
    statement_.agent = "spiffe://acme/region/us/site/cloud/agent/cloud";
    statement_.versions = {{3, crypto::Sha256("three")}, {4, crypto::Sha256("four")}};
    statement_.at = absl::FromUnixSeconds(1'700'000'000);
  }
  crypto::Envelope Signed(const crypto::SigningKey& key) const {
    return crypto::SignEnvelope(crypto::kCopyType, EncodeCopyStatement(statement_), key);
  }

  const crypto::SigningKey key_ = *crypto::SigningKey::Generate();
  policy::World world_;
  CopyStatement statement_;
};

TEST_F(CopiesTest, SaysWhatWasSigned) {
  auto opened = OpenCopyStatement(Signed(key_), world_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->dataset_id, statement_.dataset_id);
  EXPECT_EQ(opened->site, "cloud");
  EXPECT_EQ(opened->versions, statement_.versions);
  EXPECT_EQ(opened->at, statement_.at);
}

TEST_F(CopiesTest, OnlyThePinnedKeyOfItsAgentCounts) {
  EXPECT_TRUE(absl::IsPermissionDenied(OpenCopyStatement(Signed(*crypto::SigningKey::Generate()), world_).status()));
  crypto::Envelope changed = Signed(key_);
  changed.payload[changed.payload.size() - 2] ^= 1;
  EXPECT_FALSE(OpenCopyStatement(changed, world_).ok());
  const crypto::Envelope other = crypto::SignEnvelope(crypto::kReceiptType, EncodeCopyStatement(statement_), key_);
  EXPECT_TRUE(absl::IsPermissionDenied(OpenCopyStatement(other, world_).status())) << "another kind of record";
  statement_.site = "core";  // its agent is of another site
  EXPECT_TRUE(absl::IsPermissionDenied(OpenCopyStatement(Signed(key_), world_).status()));
  statement_.agent = "spiffe://acme/region/eu/site/core/agent/core";  // nobody pins that one
  EXPECT_TRUE(absl::IsPermissionDenied(OpenCopyStatement(Signed(key_), world_).status()));
}

}  // namespace
}  // namespace bailiwick::rpc
