#include "common/cli/complaint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace bailiwick::cli {
namespace {

using ::testing::HasSubstr;

struct Said {
  int code = 0;
  std::string text;
};

Said Typed(std::vector<std::string> words) {
  CLI::App app("", "ferry");
  app.require_subcommand(1);
  std::string to;
  auto* load = app.add_subcommand("load", "takes on");
  uint32_t tons = 0;
  load->add_option("--to", to, "where")->required();
  load->add_option("--tons", tons, "how much");
  app.add_subcommand("leave", "goes");
  std::reverse(words.begin(), words.end());
  std::ostringstream out;
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    const int code = Complain(app, error, out);
    return {code, out.str()};
  }
  return {0, ""};
}

TEST(Complaint, SaysWhatIsWrongAndWhatWasMeant) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{}, "name a command of ferry: load, leave"},
      {{"laod"}, "unknown command laod; did you mean load?"},
      {{"sink"}, "unknown command sink; one of: load, leave"},
      {{"load", "--ot", "x", "--to", "y"}, "unknown flag --ot; did you mean --to?"},
      {{"load"}, "--to is required"},
      {{"load", "--to", "x", "--tons", "-1"}, "--tons = -1 is not a whole number in its range"},
      {{"load", "--to", "x", "--tons", "many"}, "--tons = many is not a whole number in its range"},
      {{"leave", "now"}, "one argument too many: now"},
  };
  for (const auto& [words, sentence] : cases) {
    const Said said = Typed(words);
    EXPECT_EQ(said.code, 2) << sentence;
    EXPECT_THAT(said.text, ::testing::StartsWith("ferry: " + sentence + "\nusage: ferry")) << sentence;
  }
  EXPECT_THAT(Typed({"load"}).text, HasSubstr("usage: ferry load --to VALUE [OPTIONS]   (more: ferry load --help)\n"));
}

}  // namespace
}  // namespace bailiwick::cli
