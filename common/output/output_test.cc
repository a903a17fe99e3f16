#include "common/output/output.h"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <limits>

namespace bailiwick::output {
namespace {

TEST(TableTest, ColumnsAlignByCharactersNotBytes) {
  EXPECT_EQ(FormatTable({"NAME", "STATE", "WHY"}, {{"münchen", "ok", ""}, {"a", "behind", "x"}}),
            "NAME     STATE   WHY\n"
            "münchen  ok\n"
            "a        behind  x\n");
}

TEST(TableTest, WhatOthersWroteCannotDriveTheTerminal) {
  EXPECT_EQ(FormatTable({"MESSAGE"}, {{"a\033[31mred\nnext \xc2\x9b"}}), "MESSAGE\na\\033[31mred\\nnext \\302\\233\n");
}

TEST(TableTest, LaterLinesStandUnderTheFirstHeader) {
  std::vector<size_t> widths;
  EXPECT_EQ(FormatTable({"DATASET", "SITE"}, {{"a", "core"}}, &widths), "DATASET  SITE\na        core\n");
  EXPECT_EQ(FormatTable({}, {{"b", "edge"}}, &widths), "b        edge\n");
}

TEST(JsonTest, VersionComesFirstAndFieldsKeepTheirOrder) {
  EXPECT_EQ(
      FormatFields(Format::kJson, {{"zebra", Number(1)}, {"apple", List({Text("x"), Bool(true)})}, {"none", List({})}}),
      "{\n  \"version\": 1,\n  \"zebra\": 1,\n  \"apple\": [\n    \"x\",\n    true\n  ],\n  \"none\": []\n}\n");
}

TEST(JsonTest, ALineIsALine) {
  const std::string line = FormatLine({{"message", Text("two\nlines")}, {"inner", Object({{"a", Number(-1)}})}});
  EXPECT_EQ(line, "{\"version\": 1, \"message\": \"two\\nlines\", \"inner\": {\"a\": -1}}\n");
}

TEST(JsonTest, NumbersKeepAllTheirDigits) {
  EXPECT_EQ(FormatLine({{"n", Number(std::numeric_limits<uint64_t>::max())}}),
            "{\"version\": 1, \"n\": 18446744073709551615}\n");
}

TEST(JsonTest, TextIsAlwaysValidJson) {
  EXPECT_EQ(FormatLine({{"t", Text(std::string("q\" b\\ t\t n\0 \xff é", 16))}}),
            "{\"version\": 1, \"t\": \"q\\\" b\\\\ t\\t n\\u0000 \\ufffd é\"}\n");
}

TEST(JsonTest, ADocumentReadComesOutTheSame) {
  const std::string json =
      R"({"name": "core", "size": 42, "yes": true, "text": "42", "list": [1, "x", {}], "empty": []})";
  EXPECT_EQ(FormatLine({{"r", FromJson(json)}}), "{\"version\": 1, \"r\": " + json + "}\n");
}

TEST(YamlTest, WhatLooksLikeAnotherTypeStaysText) {
  for (const std::string text : {"yes",  "No",   "true", "null", "12",         "1.5",  "2024-01-01", "~",
                                 "",     "a: b", "- x",  "#",    "é",          "core", "eu/de",      "robolog@robot-1",
                                 "0x10", "y",    "*a",   " a",   "line\nbreak"}) {
    const std::string yaml = FormatFields(Format::kYaml, {{"t", Text(text)}});
    const YAML::Node node = YAML::Load(yaml);
    EXPECT_EQ(node["t"].as<std::string>(), text) << yaml;
    const bool bare = node["t"].Tag() == "?";
    EXPECT_TRUE(!bare || text == "core" || text == "eu/de" || text == "robolog@robot-1") << yaml;
    EXPECT_EQ(node["version"].as<int>(), 1);
  }
}

TEST(YamlTest, ListsAndObjectsAreReadBack) {
  const YAML::Node node = YAML::Load(FormatFields(
      Format::kYaml,
      {{"rows", List({Object({{"site", Text("core")}, {"free", Number(7)}}), Object({})})}, {"none", List({})}}));
  EXPECT_EQ(node["rows"].size(), 2u);
  EXPECT_EQ(node["rows"][0]["site"].as<std::string>(), "core");
  EXPECT_EQ(node["rows"][0]["free"].as<int>(), 7);
  EXPECT_TRUE(node["none"].IsSequence());
}

TEST(PrintableTest, NamesStayReadableAndUnambiguous) {
  EXPECT_EQ(Printable("it's \"fine\" größe 日本 😀"), "it's \"fine\" größe 日本 😀");
  EXPECT_EQ(Printable("a\\n"), "a\\\\n");
  EXPECT_EQ(Printable("a\n\x1b\x7f"), "a\\n\\033\\177");
  EXPECT_EQ(Printable("\xff\xc3 \xed\xa0\x80 \xc0\xaf"), "\\377\\303 \\355\\240\\200 \\300\\257");
  EXPECT_EQ(FormatMessage("C:\\x\ty"), "C:\\x\\ty");
  // What turns the direction of a text could make a line say something else than it does.
  EXPECT_EQ(FormatMessage("a\u202eb\u2066c\u200fd\u061ce\u2028f"),
            "a\\342\\200\\256b\\342\\201\\246c\\342\\200\\217d\\330\\234e\\342\\200\\250f");
  EXPECT_EQ(FormatMessage("\u202f\u2065\u2011"), "\u202f\u2065\u2011");
}

}  // namespace
}  // namespace bailiwick::output
