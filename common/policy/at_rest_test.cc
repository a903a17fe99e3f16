#include "common/policy/at_rest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bailiwick::policy {
namespace {

using ::testing::HasSubstr;

class AtRest : public ::testing::Test {
 protected:
  AtRest() {
    site_.name = "core";
    site_.storage_keys = {{"aa", "eu/de"}, {"bb", "us"}, {"cc", "eu"}};
  }
  static Obligations KeyIn(std::vector<std::string> regions) {
    Obligations obligations;
    obligations.encrypt_key_regions = std::move(regions);
    return obligations;
  }
  Site site_;
};

TEST_F(AtRest, NothingObligedIsAlwaysMet) {
  EXPECT_EQ(UnmetAtRest({}, site_, {}), "");
  EXPECT_EQ(UnmetAtRest({}, site_, {"unknown"}), "");
  EXPECT_EQ(UnmetLayout({}, site_), "");
}

TEST_F(AtRest, TheKeyMustBeDeclaredInsideEveryRegionObliged) {
  EXPECT_EQ(UnmetAtRest(KeyIn({"eu"}), site_, {"aa"}), "");
  EXPECT_EQ(UnmetAtRest(KeyIn({"eu", "eu/de"}), site_, {"aa"}), "");
  EXPECT_THAT(UnmetAtRest(KeyIn({"eu", "eu/de"}), site_, {"cc"}), HasSubstr("belongs to region eu"));
  EXPECT_THAT(UnmetAtRest(KeyIn({"eu"}), site_, {"bb"}), HasSubstr("belongs to region us"));
  EXPECT_THAT(UnmetAtRest(KeyIn({"e"}), site_, {"aa"}), HasSubstr("of region e,"));
  EXPECT_THAT(UnmetAtRest(KeyIn({"eu"}), site_, {"dd"}), HasSubstr("is not declared"));
  EXPECT_THAT(UnmetAtRest(KeyIn({"ap"}), site_, {}), HasSubstr("in use; run bailiwick-agent key generate"));
  EXPECT_THAT(UnmetAtRest(KeyIn({"eu/de"}), site_, {}), HasSubstr("bring back key aa, which the Site declares"));
  EXPECT_NE(UnmetAtRest(KeyIn({"eu", "us"}), site_, {"aa"}), "") << "no key lies in both";
}

TEST_F(AtRest, ChoosesTheFirstThatWouldDo) {
  EXPECT_EQ(ChooseKey(KeyIn({"eu"}), site_, {"dd", "bb", "cc", "aa"}), "cc");
  EXPECT_EQ(ChooseKey(KeyIn({"eu/de"}), site_, {"dd", "bb", "cc", "aa"}), "aa");
  EXPECT_EQ(ChooseKey(KeyIn({"eu"}), site_, {"dd", "bb"}), "");
  EXPECT_EQ(ChooseKey({}, site_, {"dd", "bb"}), "bb") << "an undeclared key protects nothing";
}

TEST_F(AtRest, LaidOutOnAnEncryptedVolumeOnly) {
  EXPECT_THAT(UnmetLayout(KeyIn({"eu"}), site_), HasSubstr("replicaVolume: encrypted"));
  site_.encrypted_volume = true;
  EXPECT_EQ(UnmetLayout(KeyIn({"eu"}), site_), "");
}

}  // namespace
}  // namespace bailiwick::policy
