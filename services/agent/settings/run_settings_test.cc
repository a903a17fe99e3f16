#include "services/agent/settings/run_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace bailiwick::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class FindPlaceTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(::testing::TempDir(), name);
    EXPECT_TRUE(os::WriteFileAtomically(files_, path, text).ok());
    return path;
  }

  os::Files* const files_ = os::Files::System();
  const std::string none_ = absl::StrCat(::testing::TempDir(), "none.yaml");
  const std::string standard_ = Write("standard.yaml", "dataDir: /standard\nkeyDir: /keys\nreplicaPath: /replicas\n");
};

TEST_F(FindPlaceTest, TheFileOfThePackagesSaysIt) {
  Place place;
  ASSERT_TRUE(FindPlace(files_, standard_, &place).ok());
  EXPECT_EQ(place.data_dir, "/standard");
  EXPECT_EQ(place.key_dir, "/keys");
  EXPECT_EQ(place.replica_path, "/replicas");
}

TEST_F(FindPlaceTest, AFlagWins) {
  Place place{.config = standard_, .data_dir = "/flag"};
  ASSERT_TRUE(FindPlace(files_, none_, &place).ok());
  EXPECT_EQ(place.data_dir, "/flag");
  EXPECT_EQ(place.key_dir, "/keys");
}

TEST_F(FindPlaceTest, AnotherAgentsDirectoryIsNotMixedWithTheInstalledSettings) {
  Place place{.data_dir = "/flag"};
  ASSERT_TRUE(FindPlace(files_, standard_, &place).ok());
  EXPECT_EQ(place.key_dir, "");
}

TEST_F(FindPlaceTest, NobodySaysIt) {
  Place place;
  absl::Status found = FindPlace(files_, none_, &place);
  EXPECT_TRUE(absl::IsInvalidArgument(found));
  EXPECT_THAT(std::string(found.message()), AllOf(HasSubstr("--data-dir"), HasSubstr("--config"), HasSubstr(none_)));
  Place named{.config = none_};
  EXPECT_TRUE(absl::IsNotFound(FindPlace(files_, standard_, &named))) << "the file that was named, or none";
  Place empty{.config = Write("empty.yaml", "logLevel: debug\n")};
  EXPECT_TRUE(absl::IsInvalidArgument(FindPlace(files_, standard_, &empty)));
  Place wrong{.config = Write("wrong.yaml", "dataDri: /d\n")};
  EXPECT_THAT(std::string(FindPlace(files_, standard_, &wrong).message()), HasSubstr("did you mean"));
}

TEST(DiskReserveTest, AsToldOrAPartOfTheDisk) {
  RunSettings settings;
  settings.data_dir = ::testing::TempDir();
  auto own = DiskReserve(settings);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_GT(*own, 0u);
  EXPECT_LE(*own, uint64_t{1} << 30);
  settings.disk_reserve = "20MiB";
  EXPECT_EQ(*DiskReserve(settings), 20u << 20);
}

}  // namespace
}  // namespace bailiwick::agent
