#include "services/cli/commands/app.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "absl/strings/str_split.h"
#include "common/cli/usage.h"
#include "common/os/files.h"
#include "services/cli/dev/dev.h"

namespace bailiwick::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

struct Result {
  int code = -1;
  std::string out, err;
};

Result Typed(const std::string& line) {
  std::vector<std::string> words = {"bailiwick"};
  for (absl::string_view word : absl::StrSplit(line, ' ', absl::SkipEmpty())) words.emplace_back(word);
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  Result result;
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  result.code = RunCommandLine(static_cast<int>(argv.size()), argv.data(), {});
  result.out = ::testing::internal::GetCapturedStdout();
  result.err = ::testing::internal::GetCapturedStderr();
  return result;
}

// A context that names a coordinator that nobody serves.
class AppTest : public ::testing::Test {
 protected:
  AppTest() : directory_(absl::StrCat(::testing::TempDir(), "/cli-app-", getpid())) {
    unsetenv("BAILIWICK_CONTEXT");
    EXPECT_TRUE(os::Files::System()->MakeDirs(directory_).ok());
  }
  ~AppTest() override { EXPECT_TRUE(os::Files::System()->RemoveTree(directory_).ok()); }
  std::string Path(const std::string& name) const { return os::JoinPath(directory_, name); }
  void Write(const std::string& name, const std::string& text) {
    EXPECT_TRUE(os::WriteFileAtomically(os::Files::System(), Path(name), text).ok());
  }

  const std::string directory_;
};

TEST_F(AppTest, MistakesAreUsageErrorsWithARemedy) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "name a command of bailiwick: apply, "},
      {"statsu", "unknown command statsu; did you mean status?"},
      {"frobnicate", "unknown command frobnicate; one of: apply, "},
      {"--context /nowhere aply -f x", "unknown command aply; did you mean apply?"},
      {"rollback x 3", "unknown command rollback; did you mean dataset rollback?"},
      {"dataset", "name a command of bailiwick dataset: list, commit, "},
      {"dataset comit x", "unknown command comit; did you mean commit?"},
      {"dataset commit", "NAME is required"},
      {"dataset commit x --wiat", "unknown flag --wiat; did you mean --wait?"},
      {"dataset commit x --message=m --timout=1s", "unknown flag --timout; did you mean --timeout?"},
      {"status --contxt x", "unknown flag --contxt; did you mean --context?"},
      {"status -o xml", "xml not in {table,json,yaml,name}"},
      {"status more", "one argument too many: more"},
      {"policy explain --dataset x --from a", "--to is required"},
      {"events --limit many", "many"},
  };
  for (const auto& [line, sentence] : cases) {
    const Result result = Typed(line);
    EXPECT_EQ(result.code, 2) << line;
    EXPECT_EQ(result.out, "") << line;
    EXPECT_THAT(result.err,
                AllOf(::testing::StartsWith("bailiwick: "), HasSubstr(sentence), HasSubstr("\nusage: bailiwick")))
        << line;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 2) << result.err;
  }
}

TEST_F(AppTest, WrongValuesAreUsageErrorsBeforeAnythingIsAsked) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"get unicorns", "unicorns"},
      {"get datset", "did you mean dataset?"},
      {"get replcas", "did you mean replicas?"},
      {"get transfers", "rolebinding, all, replicas, versions, evictions, redactions"},
      {"get versions", "get versions NAME"},
      {"get sites --site core", "get replicas"},
      {"describe unicorn x", "unicorn"},
      {"delete datset x", "did you mean dataset?"},
      {"dataset rollback x minus-one", "minus-one"},
      {"dataset rollback x 0", "\"0\""},
      {"dataset diff x one 2", "\"one\""},
      {"dataset commit x --timeout soon", "--timeout: \"soon\""},
      {"wait dataset x --site s --version next", "\"next\""},
      {"site join-token x --ttl soon", "soon"},
      {"wait policy --revision soon", "\"soon\" is not a revision"},
      {"wait site a --timeout soon", "--timeout: \"soon\""},
      {"site approve", "--all"},
      {"policy rollback 0", "revisions of the law begin with 1; see: bailiwick policy history"},
      {"site approve a --all", "not both"},
      {"apply -f " + directory_, "holds no *.yaml files"},
  };
  for (const auto& [line, sentence] : cases) {
    const Result result = Typed(line);
    EXPECT_EQ(result.code, 2) << line << "\n" << result.err;
    EXPECT_THAT(result.err,
                AllOf(::testing::StartsWith("bailiwick: "), HasSubstr(sentence), Not(HasSubstr("no context"))))
        << line;
  }
}

TEST_F(AppTest, EveryProblemOfADirectoryIsNamedWithItsPlace) {
  Write("a.yaml", "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: eu}\nspec: {descripton: x}\n");
  Write("b.yml", "apiVersion: bailiwick/v1\nkind: Regoin\nmetadata: {name: us}\n");
  Write("c.txt", "[");
  const Result result = Typed("apply -f " + directory_);
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("a.yaml:4:"), HasSubstr("description"), HasSubstr("b.yml:2:"), Not(HasSubstr("c.txt"))));
}

TEST_F(AppTest, OneNameDeclaredTwiceIsRefusedWithBothPlaces) {
  const std::string region = "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: eu}\nspec: {}\n";
  Write("a.yaml", region);
  Write("b.yaml", region);
  const Result result = Typed("apply -f " + directory_);
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("a.yaml:3:"), HasSubstr("b.yaml:3:"), HasSubstr("twice")));
}

TEST_F(AppTest, WhatIsMissingIsNotFound) {
  Result result = Typed("--context " + Path("nowhere") + " status");
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, AllOf(HasSubstr("no context at " + Path("nowhere")), HasSubstr("--context DIR")));
  result = Typed("apply -f " + Path("nothing.yaml"));
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, HasSubstr("nothing.yaml"));
}

TEST_F(AppTest, AContextThatIsThereAndCannotBeReadIsNotMissing) {
  ASSERT_TRUE(os::Files::System()->MakeDirs(Path("odd/context.yaml")).ok());
  const Result result = Typed("--context " + Path("odd") + " status");
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("the context is not readable: "), HasSubstr(Path("odd/context.yaml")),
                                Not(HasSubstr("dev up"))));
}

TEST_F(AppTest, ContextsThatSayWrongThings) {
  Write("context.yaml", "coordinator: 127.0.0.1:1\ntrustDomian: x\n");
  EXPECT_THAT(Typed("--context " + directory_ + " status").err,
              AllOf(HasSubstr("context.yaml:2"), HasSubstr("trustDomian")));
  Write("context.yaml", "coordinator: 127.0.0.1:1\n");
  const Result result = Typed("--context " + directory_ + " status");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("context.yaml"), HasSubstr("trustDomain"), HasSubstr("policyRootSha256")));
  Write("context.yaml", "coordinator: [unclosed\n");
  EXPECT_EQ(Typed("--context " + directory_ + " status").code, 2);
}

TEST_F(AppTest, KeygenNeverOverwritesAKey) {
  const Result first = Typed("policy keygen --out " + Path("policy.pem"));
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.out, ::testing::ContainsRegex("policyRootSha256: [0-9a-f]{64}\n"));
  auto key = os::ReadFile(os::Files::System(), Path("policy.pem"));
  const Result second = Typed("policy keygen --out " + Path("policy.pem") + " -o json");
  EXPECT_EQ(second.code, 5);
  EXPECT_EQ(*os::ReadFile(os::Files::System(), Path("policy.pem")), *key);
}

TEST_F(AppTest, WhatLiesWhereAnAnswerIsToGoStays) {
  Write("law.yaml", "apiVersion: bailiwick/v1\nkind: Region\nmetadata: {name: eu}\nspec: {}\n");
  Write("q1.html", "another quarter");
  Result refused = Typed("audit report --transfers --dir " + directory_ + " --html " + Path("q1.html"));
  EXPECT_EQ(refused.code, 5);
  EXPECT_THAT(refused.err, HasSubstr("q1.html is there already; name a new file"));
  EXPECT_EQ(*os::ReadFile(os::Files::System(), Path("q1.html")), "another quarter");

  const std::string test = "policy test " + Path("law.yaml") + " --junit ";
  refused = Typed(test + Path("q1.html"));
  EXPECT_EQ(refused.code, 5) << refused.err;
  EXPECT_EQ(*os::ReadFile(os::Files::System(), Path("q1.html")), "another quarter");
  EXPECT_EQ(Typed(test + Path("results.xml")).code, 0);
  EXPECT_EQ(Typed(test + Path("results.xml")).code, 0) << "results of before give way to those of now";
}

TEST_F(AppTest, HelpAndVersionGoToStandardOutput) {
  EXPECT_THAT(Typed("--version").out, MatchesRegex("bailiwick [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  EXPECT_EQ(Typed("version").out, Typed("--version").out);
  EXPECT_THAT(Typed("version -o json").out, HasSubstr("\"version\": 1,"));
  const Result help = Typed("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, HasSubstr("Exit codes: 0 ok"));
  EXPECT_EQ(help.err, "");
}

// Every command explains itself and shows an example that the parser takes.
void CheckHelp(const CLI::App& command, const std::string& line) {
  EXPECT_FALSE(command.get_description().empty()) << line;
  EXPECT_THAT(command.help(), HasSubstr("bailiwick")) << line;
  EXPECT_THAT(command.help(), Not(::testing::ContainsRegex("[(][0-9]+x[)]"))) << line;
  EXPECT_THAT(command.get_footer(), ::testing::ContainsRegex("  bailiwick ")) << line;
  for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; })) {
    CheckHelp(*sub, absl::StrCat(line, " ", sub->get_name()));
    EXPECT_THAT(sub->get_footer(), HasSubstr(absl::StrCat("  ", line, " ", sub->get_name()))) << line;
  }
}

TEST_F(AppTest, EveryCommandHasHelpAndAnExample) {
  Globals globals;
  CLI::App app;
  BuildApp(app, globals, {RegisterDev});
  CheckHelp(app, "bailiwick");
}

// Commands that change nothing, here or elsewhere, but files that the user names and that were not there before.
const std::set<std::string>& Readers() {
  static const auto* const readers = new std::set<std::string>{"diff",
                                                               "get",
                                                               "describe",
                                                               "status",
                                                               "why",
                                                               "events",
                                                               "doctor",
                                                               "version",
                                                               "completion",
                                                               "help",
                                                               "__complete",
                                                               "__manual",
                                                               "whoami",
                                                               "proposals",
                                                               "dev status",
                                                               "wait dataset",
                                                               "wait site",
                                                               "wait policy",
                                                               "context list",
                                                               "context show",
                                                               "transfer list",
                                                               "transfer watch",
                                                               "agent list",
                                                               "dataset list",
                                                               "dataset versions",
                                                               "dataset diff",
                                                               "dataset verify",
                                                               "dataset holds",
                                                               "eviction list",
                                                               "eviction show",
                                                               "eviction verify",
                                                               "redaction list",
                                                               "redaction show",
                                                               "redaction verify",
                                                               "audit list",
                                                               "audit logs",
                                                               "audit verify",
                                                               "audit prove",
                                                               "audit consistency",
                                                               "audit export",
                                                               "audit trust",
                                                               "audit report",
                                                               "policy explain",
                                                               "policy can-i",
                                                               "policy check",
                                                               "policy test",
                                                               "policy reach",
                                                               "ca list",
                                                               "policy diff",
                                                               "policy pending",
                                                               "policy history",
                                                               "policy show"};
  return *readers;
}
void CheckDryRun(const CLI::App& command, const std::string& name) {
  const auto below = command.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : below) CheckDryRun(*sub, name.empty() ? sub->get_name() : name + " " + sub->get_name());
  if (!below.empty()) return;
  const bool can = command.get_option_no_throw("--dry-run") != nullptr;
  EXPECT_NE(can, Readers().count(name) != 0)
      << name << ": give it --dry-run (dry_run.h), or name it among those that change nothing";
}

TEST_F(AppTest, WhatChangesSomethingCanBeTried) {
  Globals globals;
  CLI::App app;
  BuildApp(app, globals, {RegisterDev});
  CheckDryRun(app, "");
}

TEST_F(AppTest, UsageLinesNameWhatIsNeeded) {
  Globals globals;
  CLI::App app;
  BuildApp(app, globals, {});
  EXPECT_EQ(UsageLine(*app.get_subcommand("dataset")->get_subcommand("diff")),
            "bailiwick dataset diff [OPTIONS] NAME N M");
  EXPECT_EQ(UsageLine(*app.get_subcommand("apply")), "bailiwick apply --file VALUE [OPTIONS]");
  EXPECT_EQ(UsageLine(*app.get_subcommand("site")->get_subcommand("approve")),
            "bailiwick site approve [OPTIONS] [NAME...]");
}

}  // namespace
}  // namespace bailiwick::cli
