#include "common/audit/record.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/json.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/telemetry/line.h"

namespace bailiwick::audit {
namespace {

constexpr std::string_view kDomain("bailiwick-audit-v2\0", 19);
constexpr std::string_view kEntryMagic = "bailiwick-audit/2 ";
constexpr std::string_view kSaltKey = ",\"salt\":\"";
constexpr std::string_view kHashKey = "\",\"hash\":\"";
constexpr std::string_view kEnd = "\"}";
constexpr size_t kSaltHex = 2 * kSaltBytes;
constexpr size_t kHashHex = 2 * Digest::kSize;
constexpr size_t kSuffix = kSaltKey.size() + kSaltHex + kHashKey.size() + kHashHex + kEnd.size();
constexpr char kTimeFormat[] = "%Y-%m-%dT%H:%M:%E9SZ";
constexpr size_t kTimeSize = 30;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string HexBytes(std::string_view hex) { return absl::HexStringToBytes(absl::string_view(hex.data(), hex.size())); }

Digest HashOf(std::string_view salt, std::string_view body) {
  const std::array<std::string_view, 3> parts = {kDomain, salt, body};
  return crypto::Sha256(parts);
}

bool IsKind(std::string_view kind) {
  return !kind.empty() && kind.size() <= kMaxKind && kind.front() != '-' &&
         std::all_of(kind.begin(), kind.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

std::string EntryText(std::string_view at, std::string_view kind, std::string_view hash) {
  std::string out;
  out.reserve(kEntryMagic.size() + at.size() + kind.size() + hash.size() + 2);
  out.append(kEntryMagic).append(at).append(" ").append(kind).append(" ").append(hash);
  return out;
}

struct Parts {
  std::string_view body;        // what is hashed
  std::string_view salt, hash;  // hex
  uint64_t sequence = 0;
  std::string_view at, kind;
  std::string_view rest;  // of the body, from the subject on
  bool true_in_itself = false;
};

std::optional<Parts> Split(std::string_view line) {
  if (line.size() <= kSuffix || line.size() > kMaxLine) return std::nullopt;
  Parts parts;
  parts.body = line.substr(0, line.size() - kSuffix);
  std::string_view suffix = line.substr(parts.body.size());
  if (!SkipWord(&suffix, kSaltKey)) return std::nullopt;
  parts.salt = suffix.substr(0, kSaltHex);
  suffix.remove_prefix(kSaltHex);
  if (!SkipWord(&suffix, kHashKey)) return std::nullopt;
  parts.hash = suffix.substr(0, kHashHex);
  suffix.remove_prefix(kHashHex);
  if (suffix != kEnd || !IsHex(parts.salt) || !IsHex(parts.hash)) return std::nullopt;

  std::string_view in = parts.body;
  if (!SkipWord(&in, "{\"seq\":")) return std::nullopt;
  auto [end, error] = std::from_chars(in.data(), in.data() + in.size(), parts.sequence);
  if (error != std::errc()) return std::nullopt;
  in.remove_prefix(static_cast<size_t>(end - in.data()));
  if (!SkipWord(&in, ",\"at\":\"") || in.size() < kTimeSize) return std::nullopt;
  parts.at = in.substr(0, kTimeSize);
  in.remove_prefix(kTimeSize);
  if (!SkipWord(&in, "\",\"kind\":\"")) return std::nullopt;
  parts.kind = in.substr(0, in.find('"'));
  if (!IsKind(parts.kind)) return std::nullopt;
  in.remove_prefix(parts.kind.size());
  if (!SkipWord(&in, "\",\"subject\":")) return std::nullopt;
  parts.rest = in;
  parts.true_in_itself = HashOf(HexBytes(parts.salt), parts.body).Hex() == parts.hash;
  return parts;
}

std::optional<absl::Time> ParseTime(std::string_view text) {
  absl::Time at;
  std::string problem;
  if (!absl::ParseTime(absl::RFC3339_full, absl::string_view(text.data(), text.size()), &at, &problem) ||
      absl::FormatTime(kTimeFormat, at, absl::UTCTimeZone()) != text) {
    return std::nullopt;
  }
  return at;
}

absl::Status Bad(uint64_t sequence, std::string_view why) {
  return absl::DataLossError(absl::StrCat("audit record ", sequence, " ", absl::string_view(why.data(), why.size())));
}

// First whether it is true in itself, then whether it stands where it belongs: the reason tells a change from a gap or
// a swap.
absl::StatusOr<Parts> Check(std::string_view line, uint64_t sequence) {
  std::optional<Parts> parts = Split(line);
  if (!parts) return Bad(sequence, "is not a record");
  if (!parts->true_in_itself) return Bad(sequence, "was changed: its hash does not match");
  if (parts->sequence != sequence) {
    return Bad(sequence, absl::StrCat("is missing or out of place: record ", parts->sequence, " stands there"));
  }
  return *parts;
}

}  // namespace

absl::StatusOr<std::string> CompactDetail(std::string_view detail) {
  if (detail.size() > kMaxDetail) {
    return absl::InvalidArgumentError(
        absl::StrCat("the detail of an audit record has more than ", kMaxDetail, " bytes"));
  }
  if (detail.empty()) return std::string("{}");
  std::optional<std::string> out = CompactObject(detail);
  if (!out.has_value() || out->size() > 3 * kMaxDetail) {
    return absl::InvalidArgumentError("the detail of an audit record is not a JSON object");
  }
  return *std::move(out);
}

absl::Status CheckNames(std::string_view kind, std::string_view subject) {
  if (!IsKind(kind)) {
    return absl::InvalidArgumentError("the kind of an audit record is lower-case words joined by dashes");
  }
  if (subject.size() > kMaxSubject) {
    return absl::InvalidArgumentError(
        absl::StrCat("the subject of an audit record has at most ", kMaxSubject, " bytes"));
  }
  return absl::OkStatus();
}

Encoded Encode(const Record& record, std::string_view salt) {
  Encoded out;
  const std::string at = absl::FormatTime(kTimeFormat, record.at, absl::UTCTimeZone());
  out.line = absl::StrCat("{\"seq\":", record.sequence, ",\"at\":\"", at, "\",\"kind\":\"", record.kind,
                          "\",\"subject\":", telemetry::JsonString(record.subject), ",\"detail\":", record.detail);
  const std::string hash = HashOf(salt, out.line).Hex();
  out.line.append(kSaltKey).append(absl::BytesToHexString(absl::string_view(salt.data(), salt.size())));
  out.line.append(kHashKey).append(hash).append(kEnd).append("\n");
  out.entry = EntryText(at, record.kind, hash);
  return out;
}

absl::StatusOr<std::string> EntryOf(std::string_view line, uint64_t sequence) {
  BW_ASSIGN_OR_RETURN(Parts parts, Check(line, sequence));
  return EntryText(parts.at, parts.kind, parts.hash);
}

absl::StatusOr<Decoded> Decode(std::string_view line, uint64_t sequence) {
  BW_ASSIGN_OR_RETURN(Parts parts, Check(line, sequence));
  Decoded out;
  out.record.sequence = sequence;
  out.record.kind = std::string(parts.kind);
  out.salt = std::string(parts.salt);
  out.entry = EntryText(parts.at, parts.kind, parts.hash);
  std::optional<absl::Time> at = ParseTime(parts.at);
  if (!at.has_value() || !TakeString(&parts.rest, &out.record.subject) || !SkipWord(&parts.rest, ",\"detail\":")) {
    return Bad(sequence, "is not a record");
  }
  out.record.at = *at;
  out.record.detail = std::string(parts.rest);
  return out;
}

bool IsSomeRecord(std::string_view line) {
  std::optional<Parts> parts = Split(line);
  return parts.has_value() && parts->true_in_itself;
}

absl::StatusOr<Entry> DecodeEntry(std::string_view entry) {
  std::string_view in = entry;
  const absl::Status bad = absl::DataLossError("an entry of the audit log is not of a format that is known here");
  if (!SkipWord(&in, kEntryMagic) || in.size() < kTimeSize + 1) return bad;
  std::optional<absl::Time> at = ParseTime(in.substr(0, kTimeSize));
  in.remove_prefix(kTimeSize);
  const size_t space = in.find(' ', 1);
  if (!at.has_value() || in.front() != ' ' || space == std::string_view::npos) return bad;
  Entry out{.at = *at, .kind = std::string(in.substr(1, space - 1))};
  in.remove_prefix(space + 1);
  if (!IsKind(out.kind) || in.size() != kHashHex || !IsHex(in)) return bad;
  BW_ASSIGN_OR_RETURN(out.hash, Digest::From(Digest::kSha256, HexBytes(in)));
  return out;
}

}  // namespace bailiwick::audit
