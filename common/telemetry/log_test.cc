#include "common/telemetry/log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "common/telemetry/line.h"

namespace bailiwick::telemetry {
namespace {

const absl::Time kAt =
    absl::FromCivil(absl::CivilSecond(2026, 11, 23, 12, 0, 0), absl::UTCTimeZone()) + absl::Milliseconds(123);

std::string Text(std::initializer_list<Field> fields) {
  return FormatLine(Format::kText, kAt, Level::kInfo, "agent", "transfer-done", fields);
}
std::string Json(std::initializer_list<Field> fields) {
  return FormatLine(Format::kJson, kAt, Level::kWarning, "agent", "transfer-done", fields);
}

TEST(TextLine, PlainValuesAreBareOthersQuoted) {
  EXPECT_EQ(
      Text({{"id", "t1"}, {"bytes", 42}, {"done", true}, {"reason", "link lost"}, {"none", ""}}),
      "2026-11-23T12:00:00.123Z info agent transfer-done id=t1 bytes=42 done=true reason=\"link lost\" none=\"\"");
  EXPECT_EQ(Text({}), "2026-11-23T12:00:00.123Z info agent transfer-done");
}

TEST(TextLine, NothingBreaksTheLineOrForgesAField) {
  std::string line = Text({{"a", "x\n2026 error agent forged"}, {"b", "1 c=2"}, {"d", "q\"\\"}, {"e", "\x1b[31m"}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(line.find('\x1b'), std::string::npos);
  EXPECT_NE(line.find("a=\"x\\n2026 error agent forged\" b=\"1 c=2\" d=\"q\\\"\\\\\" e=\"\\u001b[31m\""),
            std::string::npos)
      << line;
}

TEST(JsonLine, FieldsKeepTheirTypes) {
  EXPECT_EQ(
      Json({{"id", "t1"}, {"bytes", 42}, {"less", -1}, {"ok", false}, {"status", absl::NotFoundError("no such site")}}),
      "{\"ts\":\"2026-11-23T12:00:00.123Z\",\"level\":\"warning\",\"process\":\"agent\",\"event\":\"transfer-done\","
      "\"id\":\"t1\",\"bytes\":42,\"less\":-1,\"ok\":false,\"status\":\"no such site\"}");
  EXPECT_NE(Json({{"rate", std::nan("")}}).find("\"rate\":\"nan\""), std::string::npos) << "JSON has no NaN";
  EXPECT_NE(Json({{"rate", 1.5}}).find("\"rate\":1.5"), std::string::npos);
  EXPECT_NE(Json({{"level", "x"}}).find("\"field_level\":\"x\""), std::string::npos);
}

TEST(JsonStrings, EscapeAndRepair) {
  EXPECT_EQ(JsonString("a\"b\\c\n\t\r"), "\"a\\\"b\\\\c\\n\\t\\r\"");
  EXPECT_EQ(JsonString(std::string_view("\0\x1f\x7f", 3)), "\"\\u0000\\u001f\\u007f\"");
  EXPECT_EQ(JsonString("gr\xc3\xbc\xc3\x9f"), "\"gr\xc3\xbc\xc3\x9f\"");
  EXPECT_EQ(JsonString("\xf0\x9f\x9a\x80"), "\"\xf0\x9f\x9a\x80\"");
  EXPECT_EQ(JsonString("\xc2\x9b"), "\"\\u009b\"") << "C1 control";
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(JsonString("\xff"), "\"" + r + "\"");
  EXPECT_EQ(JsonString("a\xc3"), "\"a" + r + "\"") << "cut off";
  EXPECT_EQ(JsonString("\xc0\xaf"), "\"" + r + r + "\"") << "overlong";
  EXPECT_EQ(JsonString("\xed\xa0\x80"), "\"" + r + r + r + "\"") << "surrogate";
  EXPECT_EQ(JsonString("\xf5\x80\x80\x80"), "\"" + r + r + r + r + "\"");
}

TEST(Parsing, LevelsAndFormats) {
  Level level = Level::kInfo;
  Format format = Format::kText;
  EXPECT_TRUE(ParseLevel("warning", &level).ok());
  EXPECT_EQ(level, Level::kWarning);
  EXPECT_TRUE(ParseFormat("json", &format).ok());
  EXPECT_EQ(format, Format::kJson);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseLevel("loud", &level)));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseFormat("xml", &format)));
}

TEST(Logging, OneWholeLineAnEventFromManyThreads) {
  ::testing::internal::CaptureStderr();
  InitLogging("agent", Format::kText, Level::kInfo);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 50; ++i) {
        Log(Level::kInfo, "event", {{"i", i}, {"end", "{} %s {0}"}});
        Log(Level::kDebug, "hidden");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::string out = ::testing::internal::GetCapturedStderr();
  size_t lines = 0;
  for (size_t at = 0; at < out.size(); ++lines) {
    size_t end = out.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    std::string line = out.substr(at, end - at);
    EXPECT_NE(line.find(" info agent event i="), std::string::npos) << line;
    EXPECT_NE(line.find("end=\"{} %s {0}\""), std::string::npos) << line;
    at = end + 1;
  }
  EXPECT_EQ(lines, 200u);
}

}  // namespace
}  // namespace bailiwick::telemetry
