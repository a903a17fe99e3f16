#include "common/audit/record.h"

#include <charconv>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/telemetry/line.h"

namespace bailiwick::audit {
namespace {

constexpr int kMaxDepth = 32;
constexpr std::string_view kDomain("bailiwick-audit-v1\0", 19);
constexpr size_t kHex = 64;
constexpr std::string_view kPrevKey = ",\"prev\":\"";
constexpr std::string_view kHashKey = "\",\"hash\":\"";
constexpr size_t kSuffix = 9 + kHex + 10 + kHex + 2;  // ,"prev":"<hex>","hash":"<hex>"}

// Checks that text is one JSON value and copies it without the space between tokens, so that it is a line.
class Compactor {
 public:
  explicit Compactor(std::string_view text) : in_(text) {}

  bool Object(std::string* out) {
    Space();
    if (in_.empty() || in_.front() != '{' || !Value(out, 0)) return false;
    Space();
    return in_.empty();
  }

 private:
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
    while (true) {
      if (c == '{') {
        Space();
        if (!String(out)) return false;
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

Digest HashOf(const Digest& previous, std::string_view body) {
  crypto::Hasher hasher;
  hasher.Update(kDomain);
  hasher.Update(previous.view());
  hasher.Update(body);
  return hasher.Finish();
}

std::optional<Digest> ParseHex(std::string_view hex) {
  Digest digest;
  digest.algorithm = Digest::kSha256;
  for (size_t i = 0; i < kHex; ++i) {
    char c = hex[i];
    int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0) return std::nullopt;
    digest.bytes[i / 2] = static_cast<uint8_t>(digest.bytes[i / 2] << 4 | value);
  }
  return digest;
}

struct Parts {
  std::string_view body;  // what is hashed
  std::string_view head;  // up to prev
  Digest previous;
  Digest hash;
};

std::optional<Parts> Split(std::string_view line) {
  if (line.size() <= kSuffix || line.size() > kMaxLine) return std::nullopt;
  Parts parts;
  parts.head = line.substr(0, line.size() - kSuffix);
  std::string_view suffix = line.substr(parts.head.size());
  if (suffix.substr(0, 9) != kPrevKey || suffix.substr(9 + kHex, 10) != kHashKey ||
      suffix.substr(kSuffix - 2) != "\"}") {
    return std::nullopt;
  }
  std::optional<Digest> previous = ParseHex(suffix.substr(9, kHex));
  std::optional<Digest> hash = ParseHex(suffix.substr(9 + kHex + 10, kHex));
  if (!previous || !hash) return std::nullopt;
  parts.previous = *previous;
  parts.hash = *hash;
  parts.body = line.substr(0, parts.head.size() + 9 + kHex + 1);  // with the quote that ends prev
  return parts;
}

bool Skip(std::string_view* in, std::string_view word) {
  if (in->substr(0, word.size()) != word) return false;
  in->remove_prefix(word.size());
  return true;
}

// The JSON string at the start, as JsonString writes it.
bool TakeString(std::string_view* in, std::string* out) {
  if (!Skip(in, "\"")) return false;
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
  return Skip(in, "\"");
}

std::optional<Record> ParseHead(std::string_view in) {
  Record record;
  if (!Skip(&in, "{\"seq\":")) return std::nullopt;
  auto [end, error] = std::from_chars(in.data(), in.data() + in.size(), record.sequence);
  if (error != std::errc()) return std::nullopt;
  in.remove_prefix(static_cast<size_t>(end - in.data()));
  std::string at, problem;
  if (!Skip(&in, ",\"at\":") || !TakeString(&in, &at)) return std::nullopt;
  if (!absl::ParseTime(absl::RFC3339_full, at, &record.at, &problem)) return std::nullopt;
  if (!Skip(&in, ",\"kind\":") || !TakeString(&in, &record.kind)) return std::nullopt;
  if (!Skip(&in, ",\"subject\":") || !TakeString(&in, &record.subject)) return std::nullopt;
  if (!Skip(&in, ",\"detail\":")) return std::nullopt;
  record.detail = std::string(in);
  return record;
}

}  // namespace

Digest FirstPrevious() {
  Digest zero;
  zero.algorithm = Digest::kSha256;
  return zero;
}

absl::StatusOr<std::string> CompactDetail(std::string_view detail) {
  if (detail.size() > kMaxDetail) {
    return absl::InvalidArgumentError(
        absl::StrCat("the detail of an audit record has more than ", kMaxDetail, " bytes"));
  }
  if (detail.empty()) return std::string("{}");
  std::string out;
  if (!Compactor(detail).Object(&out) || out.size() > 3 * kMaxDetail) {
    return absl::InvalidArgumentError("the detail of an audit record is not a JSON object");
  }
  return out;
}

absl::Status CheckNames(std::string_view kind, std::string_view subject) {
  if (kind.empty()) return absl::InvalidArgumentError("an audit record needs a kind");
  if (kind.size() > kMaxName || subject.size() > kMaxName) {
    return absl::InvalidArgumentError(
        absl::StrCat("kind and subject of an audit record have at most ", kMaxName, " bytes"));
  }
  return absl::OkStatus();
}

Encoded Encode(const Record& record, const Digest& previous) {
  Encoded out;
  out.line = absl::StrCat("{\"seq\":", record.sequence, ",\"at\":\"",
                          absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", record.at, absl::UTCTimeZone()),
                          "\",\"kind\":", telemetry::JsonString(record.kind),
                          ",\"subject\":", telemetry::JsonString(record.subject), ",\"detail\":", record.detail,
                          ",\"prev\":\"", previous.Hex(), "\"");
  out.hash = HashOf(previous, out.line);
  absl::StrAppend(&out.line, ",\"hash\":\"", out.hash.Hex(), "\"}\n");
  return out;
}

absl::StatusOr<Decoded> Decode(std::string_view line, uint64_t sequence, const Digest& previous) {
  auto bad = [&](std::string_view why) {
    return absl::DataLossError(absl::StrCat("audit record ", sequence, " ", std::string(why)));
  };
  std::optional<Parts> parts = Split(line);
  if (!parts) return bad("is not a record");
  // First whether it is true in itself, then whether it stands where it belongs: the reason tells a change from a gap
  // or a swap.
  if (HashOf(parts->previous, parts->body) != parts->hash) return bad("was changed: its hash does not match");
  std::optional<Record> record = ParseHead(parts->head);
  if (!record) return bad("is not a record");
  if (record->sequence != sequence) {
    return bad(absl::StrCat("is missing or out of place: record ", record->sequence, " stands there"));
  }
  if (parts->previous != previous) return bad("does not follow from the record before it");
  return Decoded{std::move(*record), parts->hash};
}

bool IsSomeRecord(std::string_view line) {
  std::optional<Parts> parts = Split(line);
  return parts && HashOf(parts->previous, parts->body) == parts->hash;
}

}  // namespace bailiwick::audit
