// How answers are printed: aligned tables for people, one JSON object with a version for programs, the same as YAML.
// The Format functions are pure; the Print functions write their result to standard output.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace bailiwick::output {

enum class Format { kTable, kJson, kYaml, kName };
Format ParseFormat(const std::string& word);  // "json"; what is none of the four is a table

// A value of JSON. Objects keep the order in which their fields were given; whole numbers keep all their digits.
struct Json {
  enum class Kind { kNull, kLiteral, kText, kList, kObject };
  Kind kind = Kind::kNull;
  std::string text;                // of a literal as JSON writes it, of a text its bytes
  std::vector<Json> items;         // of a list or an object
  std::vector<std::string> names;  // of an object's items
};

using Fields = std::vector<std::pair<std::string, Json>>;

Json Text(const std::string& s);
Json Bool(bool b);
Json Real(double n);
template <std::integral T>
requires(!std::same_as<T, bool>) Json Number(T n) { return Json{Json::Kind::kLiteral, absl::StrCat(n), {}, {}}; }
inline Json Number(double n) { return Real(n); }
Json List(std::vector<Json> items);
Json Object(Fields fields);
// A document that this program made itself.
Json FromJson(const std::string& json);

// {"version": 1, ...fields}, over several lines.
std::string FormatFields(Format format, Fields fields);
// The same as one line, for answers that go on: an object a line.
std::string FormatLine(Fields fields);
// What a program would give to the next command, a line each: of a list the name, id or number of each, else that of
// the one thing.
std::string FormatNames(const Fields& fields);
// As the format wants it: names, or all of it.
std::string FormatAnswer(Format format, Fields fields);
void PrintJson(Format format, Fields fields);  // FormatAnswer
// What goes on prints one object a line as JSON, one document each as YAML.
void PrintNext(Format format, Fields fields);

using Rows = std::vector<std::vector<std::string>>;
// Columns two blanks apart, wide enough for `at_least` too; control characters never reach the terminal. Without header
// when that is empty.
std::string FormatTable(const std::vector<std::string>& header, const Rows& rows,
                        std::vector<size_t>* at_least = nullptr);
void PrintTable(const std::vector<std::string>& header, const Rows& rows);

bool IsUtf8(const std::string& text);

// Names of files are any bytes: text stays as it is, control characters, backslashes and what is not UTF-8 are escaped
// as in C.
std::string Printable(const std::string& bytes);
// The same for our own words, in which a backslash is a backslash.
std::string FormatMessage(const std::string& text);

}  // namespace bailiwick::output
