// Builds the JSON object that a record holds. Every text is quoted here, whoever said it: nothing in it can end its
// string or add a member. How long it may be is the caller's to bound (kMaxDetail). Names are the caller's own words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/telemetry/line.h"

namespace bailiwick::audit {

class Detail {
 public:
  Detail& Text(std::string_view name, std::string_view value) { return Json(name, telemetry::JsonString(value)); }
  Detail& Number(std::string_view name, uint64_t value) { return Json(name, absl::StrCat(value)); }
  Detail& Flag(std::string_view name, bool value) { return Json(name, value ? "true" : "false"); }
  template <typename Range>
  Detail& Texts(std::string_view name, const Range& values) {
    auto quoted = [](std::string* out, std::string_view value) { out->append(telemetry::JsonString(value)); };
    return Json(name, absl::StrCat("[", absl::StrJoin(values, ",", quoted), "]"));
  }
  // What is JSON already.
  Detail& Json(std::string_view name, std::string_view json) {
    json_ += json_.size() > 1 ? ",\"" : "\"";
    json_.append(name).append("\":").append(json);
    return *this;
  }

  std::string str() const { return json_ + "}"; }
  operator std::string() const { return str(); }  // what Append takes

 private:
  std::string json_ = "{";
};

}  // namespace bailiwick::audit
