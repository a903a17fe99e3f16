#include "common/cli/manual.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/cli/usage.h"

namespace bailiwick::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ManualTest : public ::testing::Test {
 protected:
  ManualTest() {
    auto* run = app_.add_subcommand("run", "serves");
    run->add_option("--data-dir", text_, "where all is")->required();
    run->footer("Example:\n  thing run --data-dir /d");
    auto* key = app_.add_subcommand("key", "keys");
    key->add_subcommand("import", "brings one")->add_option("FILE", text_, "the file")->required();
    app_.add_subcommand("__hidden", "nobody's")->group("");
  }

  std::string text_;
  CLI::App app_{"thing: does it", "thing"};
};

TEST_F(ManualTest, UsageNamesWhatIsNeeded) {
  EXPECT_EQ(UsageLine(app_), "thing [OPTIONS] COMMAND");
  EXPECT_EQ(UsageLine(*app_.get_subcommand("run")), "thing run --data-dir VALUE [OPTIONS]");
  EXPECT_EQ(UsageLine(*app_.get_subcommand("key")->get_subcommand("import")), "thing key import [OPTIONS] FILE");
}

TEST_F(ManualTest, AServicesPageHasEveryCommandAndTheFile) {
  const std::string page = ServiceManualPage(app_, "/etc/thing.yaml", "# all\n\n.dataDir: it's\n");
  EXPECT_THAT(page, StartsWith(".TH THING 8 "));
  EXPECT_THAT(page,
              AllOf(HasSubstr("thing \\- does it\n"), HasSubstr(".SS \"thing run"), HasSubstr(".SS \"thing key import"),
                    HasSubstr("\\-\\-data\\-dir"), HasSubstr("(required)"), Not(HasSubstr("hidden"))));
  EXPECT_THAT(page, HasSubstr(".I /etc/thing.yaml\n.PP\n.EX\n# all\n\n\\&.dataDir: it\\(aqs\n.EE\n"))
      << "no line of the file is a request";
}

}  // namespace
}  // namespace bailiwick::cli
