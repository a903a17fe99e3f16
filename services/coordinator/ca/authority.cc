#include "services/coordinator/ca/authority.h"

#include <algorithm>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/identity/verify.h"

namespace bailiwick::coordinator {
namespace {

constexpr uint64_t kMaxFile = 1 << 20;
// Of a CA of a version that did not write down what it issued: the longest that its certificates lived.
constexpr absl::Duration kLongestLeaf = absl::Hours(24 * 365);
constexpr size_t kKept = 14;  // generations that a chain may lead through

}  // namespace

Authority::Authority(os::Files* files, const os::Clock* clock, std::string directory, std::string trust_domain,
                     Options options)
    : files_(files),
      clock_(clock),
      directory_(std::move(directory)),
      trust_domain_(std::move(trust_domain)),
      options_(options) {}

absl::StatusOr<std::unique_ptr<Authority>> Authority::Open(os::Files* files, const os::Clock* clock,
                                                           const std::string& directory,
                                                           const std::string& trust_domain, const Options& options) {
  std::unique_ptr<Authority> self(new Authority(files, clock, directory, trust_domain, options));
  absl::MutexLock lock(&self->mutex_);
  BW_RETURN_IF_ERROR(self->Load());
  self->said_ = self->RootsLocked();
  return self;
}

std::string Authority::PathOf(const Generation& generation) const {
  return generation.number == 1 ? directory_ : os::JoinPath(directory_, absl::StrCat("gen-", generation.number));
}

absl::Status Authority::LoadGeneration(Generation* generation) {
  const std::string path = PathOf(*generation);
  BW_ASSIGN_OR_RETURN(generation->ca.certificate_pem, os::ReadFile(files_, os::JoinPath(path, "cert.pem"), kMaxFile));
  auto key = os::ReadFile(files_, os::JoinPath(path, "key.pem"), kMaxFile);
  if (!key.ok() && !absl::IsNotFound(key.status())) return key.status();
  if (key.ok()) {
    generation->ca.private_key_pem = *std::move(key);
    absl::Status pair = identity::CheckPair(generation->ca.certificate_pem, generation->ca.private_key_pem);
    if (!pair.ok()) return absl::DataLossError(absl::StrCat(path, ": ", std::string(pair.message())));
  }
  if (generation->number == 1) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(generation->link, os::ReadFile(files_, os::JoinPath(path, "link.pem"), kMaxFile));
  return absl::OkStatus();
}

absl::Status Authority::Load() {
  auto text = os::ReadFile(files_, os::JoinPath(directory_, "generations"), kMaxFile);
  if (absl::IsNotFound(text.status())) {
    Generation first;
    BW_RETURN_IF_ERROR(LoadGeneration(&first));
    BW_ASSIGN_OR_RETURN(identity::CertificateInfo info, identity::InspectCertificate(first.ca.certificate_pem));
    first.published = info.not_before + identity::kBackdate;
    first.trusted_until = clock_->Now() + kLongestLeaf;
    generations_.push_back(std::move(first));
    return Persist();
  }
  BW_RETURN_IF_ERROR(text.status());
  for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    Generation generation;
    int64_t published = 0, until = 0;
    if (fields.size() != 3 || !absl::SimpleAtoi(fields[0], &generation.number) ||
        !absl::SimpleAtoi(fields[1], &published) || !absl::SimpleAtoi(fields[2], &until)) {
      return absl::DataLossError(absl::StrCat(directory_, "/generations is not readable"));
    }
    generation.published = absl::FromUnixSeconds(published);
    generation.trusted_until = absl::FromUnixSeconds(until);
    BW_RETURN_IF_ERROR(LoadGeneration(&generation));
    generations_.push_back(std::move(generation));
  }
  if (generations_.empty() || generations_[SignerIndex()].ca.private_key_pem.empty()) {
    return absl::DataLossError(absl::StrCat(directory_, " has no CA that can sign; restore it from a backup"));
  }
  return absl::OkStatus();
}

absl::Status Authority::Persist() {
  std::string text;
  for (const Generation& g : generations_) {
    absl::StrAppend(&text, g.number, " ", absl::ToUnixSeconds(g.published), " ",
                    absl::ToUnixSeconds(g.trusted_until) + 1, "\n");
  }
  return os::WriteFileAtomically(files_, os::JoinPath(directory_, "generations"), text);
}

size_t Authority::SignerIndex() const {
  const absl::Time now = clock_->Now();
  for (size_t i = generations_.size(); i-- > 1;) {
    const bool known = generations_[i].published + options_.leaf_life <= now;
    // A clock that went back does not bring back one whose key is gone.
    if (known || generations_[i - 1].ca.private_key_pem.empty()) return i;
  }
  return 0;
}

bool Authority::Trusted(size_t index) const {
  return index >= SignerIndex() || clock_->Now() <= generations_[index].trusted_until;
}

std::string Authority::RootsLocked() const {
  const size_t signer = SignerIndex();
  std::string roots = generations_[signer].ca.certificate_pem;
  for (size_t i = generations_.size(); i-- > 0;) {
    if (i != signer && Trusted(i)) roots += generations_[i].ca.certificate_pem;
  }
  return roots;
}

std::string Authority::Roots() const {
  absl::MutexLock lock(&mutex_);
  return RootsLocked();
}

std::string Authority::Signer() const {
  absl::MutexLock lock(&mutex_);
  return generations_[SignerIndex()].ca.certificate_pem;
}

std::vector<Authority::Known> Authority::List() const {
  absl::MutexLock lock(&mutex_);
  const size_t signer = SignerIndex();
  std::vector<Known> all = {{generations_[signer].ca.certificate_pem, State::kSigns, {}, {}}};
  for (size_t i = generations_.size(); i-- > 0;) {
    const Generation& g = generations_[i];
    if (i == signer || !Trusted(i)) continue;
    all.push_back({g.ca.certificate_pem, i > signer ? State::kNext : State::kTrusted, g.published + options_.leaf_life,
                   g.trusted_until});
  }
  return all;
}

absl::StatusOr<std::string> Authority::Issue(std::string_view csr_der, const identity::SpiffeId& id,
                                             absl::Duration life, absl::Time earliest) {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = clock_->Now();
  const size_t signer = SignerIndex();
  Generation& generation = generations_[signer];
  BW_ASSIGN_OR_RETURN(std::string chain, identity::IssueCertificate(generation.ca, csr_der, id, now, life, earliest));
  if (generation.trusted_until < now + life) {
    generation.trusted_until = now + life + options_.leaf_life;  // so that not every one is a write
    BW_RETURN_IF_ERROR(Persist());
  }
  // Of two roots the certificates, for who has only the hash of one; of the others their links, as far back as they
  // fit.
  chain += generation.ca.certificate_pem;
  if (signer > 0) chain += generations_[signer - 1].ca.certificate_pem;
  int certificates = 3;
  for (size_t i = signer; i > 0 && certificates < identity::kMaxChainCertificates; --i, ++certificates) {
    chain += generations_[i].link;
  }
  return chain;
}

absl::Status Authority::MayRotateLocked() const {
  if (SignerIndex() + 1 != generations_.size()) {
    return absl::FailedPreconditionError(
        "the CA is being replaced already; the next one signs once everybody knows it");
  }
  size_t trusted = 0;
  for (size_t i = 0; i < generations_.size(); ++i) trusted += Trusted(i);
  if (trusted >= kMaxTrusted) {
    return absl::FailedPreconditionError(
        "too many CAs are trusted still; wait until certificates of older ones expire");
  }
  return absl::OkStatus();
}

absl::Status Authority::MayRotate() const {
  absl::MutexLock lock(&mutex_);
  return MayRotateLocked();
}

absl::Status Authority::Record(const std::string& kind, uint64_t generation, const std::string& by) {
  if (!options_.record || recorded_[kind] == generation) return absl::OkStatus();
  audit::Detail detail;
  detail.Number("generation", generation);
  if (!by.empty()) detail.Text("by", by);
  BW_RETURN_IF_ERROR(options_.record(kind, "ca", detail));
  recorded_[kind] = generation;
  return absl::OkStatus();
}

absl::Status Authority::RotateLocked(bool by_itself) {
  BW_RETURN_IF_ERROR(MayRotateLocked());
  Generation next;
  next.number = generations_.back().number + 1;
  next.published = clock_->Now();
  next.trusted_until = next.published;
  BW_ASSIGN_OR_RETURN(next.ca, identity::NewAuthority(trust_domain_, next.published, kLife));
  BW_ASSIGN_OR_RETURN(next.link, identity::LinkAuthority(generations_.back().ca, next.ca));
  const std::string path = PathOf(next);
  BW_RETURN_IF_ERROR(files_->RemoveTree(path));  // of a rotation that a crash ended before it counted
  BW_RETURN_IF_ERROR(files_->MakeDirs(path));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(path, "key.pem"), next.ca.private_key_pem));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(path, "cert.pem"), next.ca.certificate_pem));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(path, "link.pem"), next.link));
  if (by_itself) BW_RETURN_IF_ERROR(Record("authority-rotated", next.number, "itself"));
  generations_.push_back(std::move(next));
  absl::Status kept = Persist();
  if (!kept.ok()) generations_.pop_back();
  return kept;
}

absl::Status Authority::Rotate() {
  absl::MutexLock lock(&mutex_);
  return RotateLocked(/*by_itself=*/false);
}

absl::Status Authority::DestroyOldKeys() {
  const size_t signer = SignerIndex();
  for (size_t i = 0; i < signer; ++i) {
    if (generations_[i].ca.private_key_pem.empty()) continue;
    BW_RETURN_IF_ERROR(Record("authority-key-destroyed", generations_[i].number, ""));
    absl::Status gone = files_->Remove(os::JoinPath(PathOf(generations_[i]), "key.pem"));
    if (!gone.ok() && !absl::IsNotFound(gone)) return gone;
    BW_RETURN_IF_ERROR(files_->SyncDir(PathOf(generations_[i])));
    generations_[i].ca.private_key_pem.clear();
  }
  bool dropped = false;
  while (generations_.size() > kKept && !Trusted(0) && SignerIndex() > 0) {
    if (generations_[0].number != 1) BW_RETURN_IF_ERROR(files_->RemoveTree(PathOf(generations_[0])));
    generations_.erase(generations_.begin());
    dropped = true;
  }
  return dropped ? Persist() : absl::OkStatus();
}

absl::StatusOr<bool> Authority::Tick() {
  absl::MutexLock lock(&mutex_);
  if (SignerIndex() + 1 == generations_.size() &&
      clock_->Now() >= generations_.back().published + options_.rotate_every) {
    absl::Status begun = RotateLocked(/*by_itself=*/true);
    if (!begun.ok() && !absl::IsFailedPrecondition(begun)) return begun;
  }
  BW_RETURN_IF_ERROR(DestroyOldKeys());
  const std::string roots = RootsLocked();
  const bool changed = roots != said_;
  said_ = roots;
  return changed;
}

}  // namespace bailiwick::coordinator
