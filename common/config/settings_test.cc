#include "common/config/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "common/config/settings_flags.h"

namespace bailiwick::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Values {
  std::string data_dir, listen = "127.0.0.1:0", name, life = "24h", level = "info", free;
};

Settings TableOf(Values* v) {
  using Form = Setting::Form;
  return Settings(
      "bailiwick-x", "run",
      {{.flag = "data-dir",
        .form = Form::kPath,
        .value = &v->data_dir,
        .help = "where all is",
        .shipped = "/var/lib/x",
        .required = true},
       {.flag = "listen", .form = Form::kHostPort, .value = &v->listen, .help = "for peers", .shipped = "[::]:7443"},
       {.flag = "name", .value = &v->name, .help = "what it is called", .otherwise = "the host's"},
       {.flag = "certificate-life", .form = Form::kDuration, .value = &v->life, .help = "how long"},
       {.flag = "keep-free", .form = Form::kBytes, .value = &v->free, .help = "how much stays free"},
       {.flag = "log-level",
        .form = Form::kWord,
        .value = &v->level,
        .help = "what is logged",
        .words = {"debug", "info", "warning"}}});
}

std::string Problems(std::string_view text) {
  Values values;
  Settings settings = TableOf(&values);
  absl::Status read = settings.ReadText(text, "x.yaml");
  EXPECT_EQ(values.level, "info") << "a file with a problem changes nothing";
  return read.ok() ? "" : std::string(read.message());
}

TEST(Settings, AFileSetsWhatItNames) {
  Values values;
  Settings settings = TableOf(&values);
  ASSERT_TRUE(settings.ReadText("# x\ndataDir: /data\nlisten: \"[::1]:7443\"\ncertificateLife: 12h\n"
                                "keepFree: 2 GiB\n", "x.yaml").ok());
  EXPECT_EQ(values.free, "2 GiB");
  EXPECT_EQ(values.data_dir, "/data");
  EXPECT_EQ(values.listen, "[::1]:7443");
  EXPECT_EQ(values.life, "12h");
  EXPECT_EQ(values.level, "info");
  EXPECT_TRUE(settings.RequireAll().ok());
}

TEST(Settings, AFlagWinsOverTheFile) {
  Values values;
  Settings settings = TableOf(&values);
  CLI::App app;
  std::string file;
  AddFlags(&app, &settings, &file);
  app.parse("--config x.yaml --log-level debug");
  EXPECT_EQ(file, "x.yaml");
  ASSERT_TRUE(settings.ReadText("logLevel: warning\ndataDir: /data\n", file).ok());
  EXPECT_EQ(values.level, "debug");
  EXPECT_EQ(values.data_dir, "/data");
}

TEST(Settings, EverySettingIsAFlagWithItsDefault) {
  Values values;
  Settings settings = TableOf(&values);
  CLI::App app;
  std::string file;
  AddFlags(&app, &settings, &file);
  for (const Setting& setting : settings.table()) {
    EXPECT_THAT(app.help(), HasSubstr("--" + setting.flag));
  }
  EXPECT_THAT(app.help(), AllOf(HasSubstr("default: the host's"), HasSubstr("default: 24h")));
}

TEST(Settings, AFlagIsCheckedAsTheFileIs) {
  for (const char* wrong : {"--listen 7443", "--certificate-life soon", "--log-level inof"}) {
    Values values;
    Settings settings = TableOf(&values);
    CLI::App app;
    std::string file;
    AddFlags(&app, &settings, &file);
    EXPECT_THROW(app.parse(wrong), CLI::ValidationError) << wrong;
  }
}

TEST(Settings, EveryProblemIsSaidWithItsPlace) {
  const std::string said = Problems("logLevel: inof\nlisten: 7443\n\ncolor: red\nlog-level: debug\n");
  std::vector<std::string> lines = absl::StrSplit(said, '\n');
  ASSERT_EQ(lines.size(), 4u) << said;
  EXPECT_EQ(lines[0], "x.yaml:1:11: logLevel: \"inof\" is not one of: debug, info, warning; did you mean info?");
  EXPECT_EQ(lines[1], "x.yaml:2:9: listen: \"7443\" is not HOST:PORT");
  EXPECT_THAT(lines[2], AllOf(StartsWith("x.yaml:4:1: unknown setting \"color\""), HasSubstr("dataDir, listen")));
  EXPECT_EQ(lines[3], "x.yaml:5:1: unknown setting \"log-level\"; did you mean \"logLevel\"?");
}

TEST(Settings, WhatAFileMayNotSay) {
  const std::pair<const char*, const char*> cases[] = {
      {"name: a\nname: b\n", "x.yaml:2:1: name is set a second time; the first is in line 1"},
      {"name:\n", "name has no value; leave it out to have the default: the host's"},
      {"name: \"\"\n", "name has no value"},
      {"name: [a]\n", "name is one value (text), not a list or map"},
      {"listen: [::]:7443\n", "x.yaml:1:"},
      {"name: {a: b}\n", "not a list or map"},
      {"dataDir: data\n", "is not an absolute path"},
      {"name: \"a\\nb\"\n", "control characters"},
      {"name: &x a\n", "anchors are not supported"},
      {"name: a\n---\nname: b\n", "a second document"},
      {"- name\n", "expected a map of settings"},
      {"just words\n", "expected a map of settings"},
      {"? [a]\n: b\n", "without a name"},
      {"name: {a\n", "x.yaml:"},
      {"\xff: x\n", "x.yaml:1:1"},
      {"logLevel: INFO\n", "did you mean info?"},
      {"certificateLife: -1h\n", "certificateLife"},
      {"keepFree: 3 cups\n", "keepFree"},
  };
  for (const auto& [text, expected] : cases) EXPECT_THAT(Problems(text), HasSubstr(expected)) << text;
}

TEST(Settings, HostsAndPorts) {
  Setting setting{.flag = "listen", .form = Setting::Form::kHostPort};
  for (const char* good : {"127.0.0.1:0", "[::]:7443", "[fe80::1%eth0]:1", "core.example:65535", "localhost:80"}) {
    EXPECT_TRUE(Settings::Check(setting, good).ok()) << good;
  }
  for (const char* bad : {"", ":", ":80", "a:", "a:b", "a:65536", "a:-1", "a: 1", "::1:80", "[]:1", "a b:1",
                          "http://a:1", "a:99999999999"}) {
    EXPECT_FALSE(Settings::Check(setting, bad).ok()) << bad;
  }
}

TEST(Settings, NothingButCommentsIsNothing) {
  Values values;
  Settings settings = TableOf(&values);
  EXPECT_TRUE(settings.ReadText("# nothing\n", "x.yaml").ok());
  EXPECT_TRUE(settings.ReadText("", "x.yaml").ok());
  absl::Status missing = settings.RequireAll();
  EXPECT_EQ(missing.message(), "bailiwick-x run needs --data-dir, or dataDir in the file that --config names");
}

TEST(Settings, TheAnnotatedFileHasEveryKeyAndReadsBack) {
  Values values;
  Settings settings = TableOf(&values);
  const std::string file = settings.Annotated("/etc/x.yaml");
  for (const Setting& setting : settings.table()) {
    EXPECT_THAT(file, AllOf(HasSubstr(Settings::KeyOf(setting) + ":"), HasSubstr("# " + setting.help)));
  }
  EXPECT_THAT(file, HasSubstr("# where all is (must be set)\ndataDir: /var/lib/x\n"));
  EXPECT_THAT(file, HasSubstr("# how long (default: 24h)\n#certificateLife: 24h\n"));
  ASSERT_TRUE(settings.ReadText(file, "x.yaml").ok()) << settings.ReadText(file, "x.yaml");
  EXPECT_EQ(values.listen, "[::]:7443");
  EXPECT_EQ(values.life, "24h");
}

}  // namespace
}  // namespace bailiwick::config
