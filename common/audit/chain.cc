#include "common/audit/chain.h"

#include <array>
#include <charconv>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/audit/json.h"
#include "common/audit/lines.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"

namespace bailiwick::audit {
namespace {

constexpr std::string_view kDomain("bailiwick-audit-v1\0", 19);
constexpr size_t kHex = 64;
constexpr std::string_view kPrevKey = ",\"prev\":\"";
constexpr std::string_view kHashKey = "\",\"hash\":\"";
constexpr std::string_view kEnd = "\"}";
constexpr size_t kSuffix = kPrevKey.size() + kHex + kHashKey.size() + kHex + kEnd.size();

struct Link {
  uint64_t sequence = 0;
  std::string previous, hash;  // hex
};

// A line that is true in itself.
std::optional<Link> Open(std::string_view line) {
  if (line.size() <= kSuffix || line.size() > kMaxLine) return std::nullopt;
  Link link;
  std::string_view head = line, suffix = line.substr(line.size() - kSuffix);
  if (!SkipWord(&suffix, kPrevKey)) return std::nullopt;
  link.previous = std::string(suffix.substr(0, kHex));
  suffix.remove_prefix(kHex);
  if (!SkipWord(&suffix, kHashKey)) return std::nullopt;
  link.hash = std::string(suffix.substr(0, kHex));
  if (suffix.substr(kHex) != kEnd || !SkipWord(&head, "{\"seq\":")) return std::nullopt;
  auto [end, error] = std::from_chars(head.data(), head.data() + head.size(), link.sequence);
  if (error != std::errc()) return std::nullopt;
  const std::string_view body = line.substr(0, line.size() - kHashKey.size() + 1 - kHex - kEnd.size());
  const std::string previous = absl::HexStringToBytes(link.previous);
  const std::array<std::string_view, 3> parts = {kDomain, previous, body};
  if (crypto::Sha256(parts).Hex() != link.hash || absl::BytesToHexString(previous) != link.previous)
    return std::nullopt;
  return link;
}

bool IsLink(std::string_view line) { return Open(line).has_value(); }

}  // namespace

absl::StatusOr<Chain> VerifyChain(os::Files* files, const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, files->OpenRead(path));
  BW_ASSIGN_OR_RETURN(uint64_t size, file->Size());
  Chain chain;
  chain.head.algorithm = Digest::kSha256;
  Lines lines(file.get(), size);
  while (true) {
    BW_ASSIGN_OR_RETURN(bool more, lines.Next());
    if (!more) return chain;
    const std::optional<Link> link = lines.complete() ? Open(lines.line()) : std::nullopt;
    if (!link.has_value() || link->sequence != chain.records + 1 || link->previous != chain.head.Hex()) {
      BW_ASSIGN_OR_RETURN(bool torn, IsTorn(lines, IsLink));
      if (torn && !link.has_value()) return chain;
      return absl::DataLossError(absl::StrCat(path, ": record ", chain.records + 1,
                                              " was changed, is missing or does not follow the one before"));
    }
    ++chain.records;
    BW_ASSIGN_OR_RETURN(chain.head, Digest::From(Digest::kSha256, absl::HexStringToBytes(link->hash)));
  }
}

}  // namespace bailiwick::audit
