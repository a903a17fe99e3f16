#include "services/cli/commands/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/cli/manual.h"
#include "services/cli/commands/app.h"

namespace bailiwick::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class CompletionTest : public ::testing::Test {
 protected:
  CompletionTest() { BuildApp(app_, globals_, {}); }
  std::vector<std::string> Words(const std::vector<std::string>& typed) {
    std::vector<std::string> words;
    for (const auto& choice : Complete(app_, typed).choices) words.push_back(choice.word);
    return words;
  }
  CLI::App app_;
  Globals globals_;
};

TEST_F(CompletionTest, CommandsFlagsAndListedValues) {
  EXPECT_THAT(Words({"data"}), ElementsAre("dataset"));
  EXPECT_THAT(Words({""}), AllOf(Contains("apply"), Contains("status"), Not(Contains(StartsWith("__")))));
  EXPECT_THAT(Words({"dataset", "comm"}), ElementsAre("commit"));
  EXPECT_THAT(Words({"dataset", "commit", "--wa"}), ElementsAre("--wait"));
  EXPECT_THAT(Words({"status", "--outp"}), ElementsAre("--output"));
  EXPECT_THAT(Words({"status", "-o", "j"}), ElementsAre("json"));
  EXPECT_THAT(Words({"get", "s"}), ElementsAre("site", "sovereigntypolicy"));
  EXPECT_THAT(Words({"describe", "repl"}), ElementsAre("replicationpolicy"));
  EXPECT_THAT(Words({"completion", "z"}), ElementsAre("zsh"));
}

TEST_F(CompletionTest, AFlagsValueIsNoPositional) {
  EXPECT_THAT(Words({"--context", "dataset", "stat"}), ElementsAre("status"));
  EXPECT_THAT(Words({"get", "--site", "x", "repli"}), ElementsAre("replicationpolicy", "replicas"));
}

TEST_F(CompletionTest, FilesAreTheShellsToComplete) {
  EXPECT_TRUE(Complete(app_, {"apply", "-f", ""}).paths);
  EXPECT_TRUE(Complete(app_, {"--context", ""}).paths);
  EXPECT_FALSE(Complete(app_, {"dataset", ""}).paths);
}

TEST_F(CompletionTest, NothingWhereNothingFitsOrNobodyAnswers) {
  EXPECT_THAT(Words({"nonsense", "x"}), IsEmpty());
  EXPECT_THAT(Words({"version", ""}), IsEmpty());
  EXPECT_THAT(Words({"--context", "/nowhere", "dataset", "commit", ""}), IsEmpty());
  EXPECT_THAT(Words({"why", "a", "b", ""}), IsEmpty());
}

TEST_F(CompletionTest, ManualPagesHaveEveryCommand) {
  std::string all;
  for (const auto& [name, text] : ManualPages(app_)) {
    EXPECT_THAT(name, AllOf(StartsWith("bailiwick"), Not(HasSubstr("__"))));
    all += text;
  }
  EXPECT_THAT(all, AllOf(HasSubstr(".SS \"bailiwick dataset commit [OPTIONS] NAME\""), HasSubstr("\\-\\-wait"),
                         HasSubstr(".BR bailiwick\\-audit (1)"), HasSubstr("10 tampered with")));
}

}  // namespace
}  // namespace bailiwick::cli
