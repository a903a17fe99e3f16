#include "common/audit/json.h"

#include <charconv>
#include <set>

#include "absl/strings/ascii.h"
#include "common/telemetry/line.h"

namespace bailiwick::audit {
namespace {

constexpr int kMaxDepth = 32;

// Checks that text is one JSON value and copies it without the space between tokens, so that it is a line.
class Compactor {
 public:
  explicit Compactor(std::string_view text) : in_(text) {}

  // Each member of the object, as it is written; false when it is none.
  bool Members(std::map<std::string, std::string>* out) {
    std::string skipped;
    Space();
    if (!Take('{', &skipped)) return false;
    Space();
    while (!Take('}', &skipped)) {
      std::string name, value;
      Space();
      if (!String(&name)) return false;
      Space();
      if (!Take(':', &skipped) || !Value(&value, 0)) return false;
      if (!out->try_emplace(Named(name), std::move(value)).second) return false;
      Space();
      if (!in_.empty() && in_.front() != '}' && !Take(',', &skipped)) return false;
    }
    Space();
    return in_.empty();
  }

  bool Object(std::string* out) {
    Space();
    if (in_.empty() || in_.front() != '{' || !Value(out, 0)) return false;
    Space();
    return in_.empty();
  }

 private:
  static std::string Named(const std::string& json) { return StringValue(json).value_or(json); }
  void Space() {
    while (!in_.empty() && (in_[0] == ' ' || in_[0] == '\n' || in_[0] == '\t' || in_[0] == '\r')) in_.remove_prefix(1);
  }
  bool Take(char c, std::string* out) {
    if (in_.empty() || in_.front() != c) return false;
    *out += c;
    in_.remove_prefix(1);
    return true;
  }
  bool Digits(std::string* out) {
    size_t n = 0;
    while (n < in_.size() && in_[n] >= '0' && in_[n] <= '9') ++n;
    out->append(in_.substr(0, n));
    in_.remove_prefix(n);
    return n > 0;
  }
  bool Number(std::string* out) {
    Take('-', out);
    if (!Take('0', out) && !Digits(out)) return false;
    if (Take('.', out) && !Digits(out)) return false;
    if (Take('e', out) || Take('E', out)) {
      if (!Take('+', out)) Take('-', out);
      if (!Digits(out)) return false;
    }
    return true;
  }
  bool String(std::string* out) {
    if (!Take('"', out)) return false;
    std::string raw;
    while (!in_.empty() && in_[0] != '"') {
      unsigned char c = static_cast<unsigned char>(in_[0]);
      if (c < 0x20) return false;
      size_t length = 1;
      if (c == '\\') {
        if (in_.size() < 2) return false;
        if (in_[1] == 'u') {
          length = 6;
          if (in_.size() < length) return false;
          for (char digit : in_.substr(2, 4)) {
            if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return false;
          }
        } else {
          length = 2;
          if (std::string_view("\"\\/bfnrt").find(in_[1]) == std::string_view::npos) return false;
        }
        out->append(in_.substr(0, length));
        in_.remove_prefix(length);
        continue;
      }
      size_t plain = 0;  // a run without escapes, made valid UTF-8
      while (plain < in_.size() && in_[plain] != '"' && in_[plain] != '\\' &&
             static_cast<unsigned char>(in_[plain]) >= 0x20)
        ++plain;
      std::string quoted = telemetry::JsonString(in_.substr(0, plain));
      out->append(quoted, 1, quoted.size() - 2);
      in_.remove_prefix(plain);
    }
    return Take('"', out);
  }
  bool Literal(std::string_view word, std::string* out) {
    if (in_.substr(0, word.size()) != word) return false;
    out->append(word);
    in_.remove_prefix(word.size());
    return true;
  }
  bool Value(std::string* out, int depth) {
    Space();
    if (in_.empty() || depth > kMaxDepth) return false;
    char c = in_.front();
    if (c == '"') return String(out);
    if (c == 't') return Literal("true", out);
    if (c == 'f') return Literal("false", out);
    if (c == 'n') return Literal("null", out);
    if (c != '{' && c != '[') return Number(out);
    const char close = c == '{' ? '}' : ']';
    Take(c, out);
    Space();
    if (Take(close, out)) return true;
    std::set<std::string> names;
    while (true) {
      if (c == '{') {
        Space();
        const size_t begin = out->size();
        if (!String(out) || !names.insert(Named(out->substr(begin))).second) return false;
        Space();
        if (!Take(':', out)) return false;
      }
      if (!Value(out, depth + 1)) return false;
      Space();
      if (Take(close, out)) return true;
      if (!Take(',', out)) return false;
    }
  }

  std::string_view in_;
};

}  // namespace

bool SkipWord(std::string_view* in, std::string_view word) {
  if (in->substr(0, word.size()) != word) return false;
  in->remove_prefix(word.size());
  return true;
}

bool TakeString(std::string_view* in, std::string* out) {
  if (!SkipWord(in, "\"")) return false;
  while (!in->empty() && in->front() != '"') {
    char c = in->front();
    in->remove_prefix(1);
    if (c != '\\') {
      *out += c;
      continue;
    }
    if (in->empty()) return false;
    char escape = in->front();
    in->remove_prefix(1);
    if (escape == 'u') {
      unsigned value = 0;
      if (in->size() < 4) return false;
      auto [end, error] = std::from_chars(in->data(), in->data() + 4, value, 16);
      if (error != std::errc() || end != in->data() + 4 || value > 0xFF) return false;
      if (value >= 0x80) *out += static_cast<char>(0xC0 | value >> 6);
      *out += static_cast<char>(value >= 0x80 ? 0x80 | (value & 0x3F) : value);
      in->remove_prefix(4);
    } else {
      *out += escape == 'n' ? '\n' : escape == 't' ? '\t' : escape == 'r' ? '\r' : escape;
    }
  }
  return SkipWord(in, "\"");
}

std::optional<std::string> CompactObject(std::string_view text) {
  std::string out;
  if (!Compactor(text).Object(&out)) return std::nullopt;
  return out;
}

std::map<std::string, std::string> ObjectMembers(std::string_view object) {
  std::map<std::string, std::string> out;
  if (!Compactor(object).Members(&out)) out.clear();
  return out;
}

std::optional<std::string> StringValue(std::string_view json) {
  std::string out;
  if (!TakeString(&json, &out) || !json.empty()) return std::nullopt;
  return out;
}

}  // namespace bailiwick::audit
