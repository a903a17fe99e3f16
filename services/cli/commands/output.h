// How answers are printed: aligned tables for people, one JSON object with a version for programs, the same as YAML.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace bailiwick::cli {

enum class Format { kTable, kJson, kYaml };

using Json = google::protobuf::Value;
Json Text(const std::string& s);
Json Number(double n);
Json Bool(bool b);
Json List(std::vector<Json> items);
Json Object(std::vector<std::pair<std::string, Json>> fields);

// {"version": 1, ...fields}
void PrintJson(Format format, std::vector<std::pair<std::string, Json>> fields);
void PrintTable(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);
// A resource in the form of the command line's format; tables become YAML.
std::string JsonToYaml(const std::string& json);

std::string TimeText(const google::protobuf::Timestamp& t);  // RFC 3339 in UTC, seconds; "" when unset
// Names of files are any bytes: printable as they are, the rest escaped as in C.
std::string Printable(const std::string& bytes);

bool IsTerminal(int fd);

// A bar on a terminal, a plain line a second otherwise; both on standard error.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();
  void Update(uint64_t done, uint64_t total, const std::string& more = "");  // total 0: unknown
  void Done();

 private:
  const std::string label_;
  const bool terminal_;
  absl::Duration started_, last_;
  bool drawn_ = false;
};

}  // namespace bailiwick::cli
