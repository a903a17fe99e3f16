#include "common/audit/trust.h"

#include <algorithm>
#include <functional>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"

namespace bailiwick::audit {
namespace {

absl::Status Bad(absl::string_view why) { return absl::InvalidArgumentError(why); }

// Of a cosignature (its first eight bytes are seconds, big-endian): millions of years from now.
bool HasImpossibleTime(const NoteSignature& s) {
  return s.signature.size() == 8 + crypto::kSignatureSize && (s.signature[0] != 0 || s.signature[1] != 0);
}

}  // namespace

absl::Status Trust::CheckNew(const std::string& name) const {
  if (name == "none") return Bad("the name none is taken");
  if (witnesses_.count(name) != 0 || groups_.count(name) != 0) return Bad(absl::StrCat(name, " is there twice"));
  return absl::OkStatus();
}

absl::Status Trust::AddGroup(const std::vector<std::string>& words) {
  BW_RETURN_IF_ERROR(CheckNew(words[1]));
  Group group;
  group.members.assign(words.begin() + 3, words.end());
  for (const std::string& member : group.members) {
    if (witnesses_.count(member) == 0 && groups_.count(member) == 0) {
      return Bad(absl::StrCat(member, " is no witness and no group above"));
    }
    for (const auto& [name, other] : groups_) {
      if (std::count(other.members.begin(), other.members.end(), member) != 0) {
        return Bad(absl::StrCat(member, " is a member of ", name, " already"));
      }
    }
    if (std::count(group.members.begin(), group.members.end(), member) != 1) {
      return Bad(absl::StrCat(member, " is a member twice"));
    }
  }
  uint64_t threshold = words[2] == "any" ? 1 : words[2] == "all" ? group.members.size() : 0;
  if (threshold == 0 && !absl::SimpleAtoi(words[2], &threshold)) return Bad("a group says all, any or a number");
  if (threshold == 0 || threshold > group.members.size()) return Bad("a group asks for one to all of its members");
  group.threshold = threshold;
  groups_[words[1]] = std::move(group);
  return absl::OkStatus();
}

absl::Status Trust::Add(const std::vector<std::string>& words) {
  const std::string& what = words[0];
  if (what == "log" && (words.size() == 2 || words.size() == 3)) {
    BW_ASSIGN_OR_RETURN(NoteKey key, NoteKey::FromVkey(words[1]));
    if (key.type != NoteKey::Type::kLog) return Bad("the key of a log is of the kind that signs logs");
    if (FindLog(key.name) != nullptr) return Bad(absl::StrCat("the log ", key.name, " is there twice"));
    logs_.push_back(std::move(key));
    return absl::OkStatus();
  }
  if (what == "witness" && (words.size() == 3 || words.size() == 4)) {
    BW_RETURN_IF_ERROR(CheckNew(words[1]));
    BW_ASSIGN_OR_RETURN(NoteKey key, NoteKey::FromVkey(words[2]));
    if (key.type != NoteKey::Type::kCosigner) return Bad("the key of a witness is of the kind that cosigns");
    for (const auto& [name, other] : witnesses_) {
      if (other.public_key == key.public_key) return Bad(absl::StrCat("the key is that of ", name, " already"));
    }
    witnesses_[words[1]] = std::move(key);
    return absl::OkStatus();
  }
  if (what == "group" && words.size() >= 4) return AddGroup(words);
  if (what == "quorum" && words.size() == 2) {
    if (!quorum_.empty()) return Bad("there are two quorums");
    if (words[1] != "none" && witnesses_.count(words[1]) == 0 && groups_.count(words[1]) == 0) {
      return Bad(absl::StrCat(words[1], " is no witness and no group above"));
    }
    quorum_ = words[1];
    return absl::OkStatus();
  }
  return Bad("expected: log VKEY, witness NAME VKEY, group NAME all|any|K MEMBER..., or quorum NAME|none");
}

absl::StatusOr<Trust> Trust::Parse(std::string_view text, const std::string& file) {
  Trust trust;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.empty() || words[0][0] == '#') continue;
    absl::Status added = trust.Add(words);
    if (!added.ok()) return Annotate(added, absl::StrCat(file, ":", number));
  }
  if (trust.quorum_.empty()) {
    return Bad(absl::StrCat(
        file, ": there is no quorum; add a line: quorum none, or a witness or group that must have signed"));
  }
  return trust;
}

const NoteKey* Trust::FindLog(std::string_view origin) const {
  for (const NoteKey& key : logs_) {
    if (key.name == origin) return &key;
  }
  return nullptr;
}

absl::StatusOr<const NoteKey*> Trust::KeyOf(const SignedCheckpoint& newest) const {
  const std::string& origin = newest.checkpoint.origin;
  if (const NoteKey* key = FindLog(origin); key != nullptr) return key;
  for (const NoteSignature& s : newest.note.signatures) {
    const NoteKey* signer = FindLog(s.name);
    if (signer == nullptr || s.id != signer->Id()) continue;
    return absl::DataLossError(
        absl::StrCat("the checkpoint says that it is of the log ", origin, ", but is signed in the name of ", s.name));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the trust file has no key for the log ", origin, "; add a line: log VKEY"));
}

std::vector<std::string> Trust::Witnesses(const Note& note) const {
  std::vector<std::string> out;
  for (const auto& [name, key] : witnesses_) {
    if (SignedBy(note, key).has_value()) out.push_back(name);
  }
  return out;
}

std::optional<absl::Time> Trust::WitnessedAt(const Note& note) const {
  std::optional<absl::Time> last;
  for (const auto& [name, key] : witnesses_) {
    const std::optional<absl::Time> at = SignedBy(note, key);
    if (at.has_value() && (!last.has_value() || *at > *last)) last = at;
  }
  return last;
}

std::vector<std::string> Trust::Altered(const Note& note) const {
  std::vector<std::string> out;
  for (const NoteSignature& s : note.signatures) {
    auto is_of = [&s](const NoteKey& key) { return s.name == key.name && s.id == key.Id(); };
    if (std::any_of(logs_.begin(), logs_.end(), is_of)) continue;
    for (const auto& [name, key] : witnesses_) {
      const bool true_one = SignedBy({note.text, {{key.name, key.Id(), s.signature}}}, key).has_value();
      if (is_of(key) != true_one || (s.name == key.name && HasImpossibleTime(s))) out.push_back(name);
    }
  }
  return out;
}

bool Trust::Suffices(const std::vector<std::string>& witnesses) const {
  std::function<bool(const std::string&)> holds = [&](const std::string& name) {
    auto group = groups_.find(name);
    if (group == groups_.end()) return std::count(witnesses.begin(), witnesses.end(), name) != 0;
    const auto& members = group->second.members;
    return static_cast<size_t>(std::count_if(members.begin(), members.end(), holds)) >= group->second.threshold;
  };
  return quorum_ == "none" || holds(quorum_);
}

}  // namespace bailiwick::audit
