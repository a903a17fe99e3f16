#include "common/rpc/credential_store.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/base/utc_text.h"
#include "common/identity/verify.h"
#include "common/os/tree.h"

namespace bailiwick::rpc {
namespace {

constexpr uint64_t kMaxFile = 1 << 20;

struct Names {
  const char* chain;
  const char* key;
  const char* roots;
};
constexpr Names kExternal[] = {{"tls.crt", "tls.key", "ca.crt"},
                               {"svid.pem", "svid_key.pem", "svid_bundle.pem"},
                               {"svid.pem", "svid_key.pem", "bundle.pem"},
                               {"cert.pem", "key.pem", "ca.pem"}};

absl::StatusOr<Credentials> Read(os::Files* files, const std::string& directory, const Names& names) {
  Credentials read;
  BW_ASSIGN_OR_RETURN(read.chain_pem, os::ReadFile(files, os::JoinPath(directory, names.chain), kMaxFile));
  BW_ASSIGN_OR_RETURN(read.key_pem, os::ReadFile(files, os::JoinPath(directory, names.key), kMaxFile));
  BW_ASSIGN_OR_RETURN(read.roots_pem, os::ReadFile(files, os::JoinPath(directory, names.roots), kMaxFile));
  return read;
}

}  // namespace

absl::Status CheckCredentials(const Credentials& credentials, const std::string& uri, absl::Time now) {
  BW_RETURN_IF_ERROR(identity::CheckPair(credentials.chain_pem, credentials.key_pem));
  BW_RETURN_IF_ERROR(identity::SplitPem(credentials.roots_pem, identity::kMaxRoots, true).status());
  BW_ASSIGN_OR_RETURN(identity::CertificateInfo info,
                      identity::VerifyChain(credentials.chain_pem, credentials.roots_pem, identity::Use::kEither, now,
                                            identity::Early::kForgive));
  if (info.uri.empty()) {
    return identity::Refuse("NOT_ONE_IDENTITY", "the certificate does not carry exactly one SPIFFE id");
  }
  if (!uri.empty() && info.uri != uri) {
    return identity::Refuse("WRONG_PEER", absl::StrCat("the certificate names ", info.uri, ", not ", uri));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> CertificateDetail(const std::string& chain_pem) {
  BW_ASSIGN_OR_RETURN(identity::CertificateInfo info, identity::InspectCertificate(chain_pem));
  return audit::Detail()
      .Text("certificateSha256", absl::BytesToHexString(info.sha256))
      .Text("until", UtcText(info.not_after))
      .str();
}

std::string CredentialStore::live() const { return os::JoinPath(directory_, "live"); }

absl::StatusOr<Credentials> CredentialStore::Load() const {
  return Read(files_, live(), {"cert.pem", "key.pem", "ca.pem"});
}

absl::StatusOr<std::vector<uint64_t>> CredentialStore::Generations() const {
  BW_ASSIGN_OR_RETURN(std::vector<std::string> names, files_->List(directory_));
  std::vector<uint64_t> numbers;
  for (const std::string& name : names) {
    uint64_t n = 0;
    if (absl::StartsWith(name, "gen-") && absl::SimpleAtoi(name.substr(4), &n)) numbers.push_back(n);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

absl::StatusOr<std::string> CredentialStore::Stage(const Credentials& credentials, const std::string& uri,
                                                   absl::Time now) {
  BW_RETURN_IF_ERROR(CheckCredentials(credentials, uri, now));
  absl::MutexLock lock(&mutex_);
  BW_RETURN_IF_ERROR(files_->MakeDirs(directory_));
  BW_ASSIGN_OR_RETURN(std::vector<uint64_t> numbers, Generations());
  const std::string name = absl::StrCat("gen-", numbers.empty() ? 1 : numbers.back() + 1);
  const std::string path = os::JoinPath(directory_, name);
  BW_RETURN_IF_ERROR(files_->MakeDirs(path));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(path, "key.pem"), credentials.key_pem));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(path, "cert.pem"), credentials.chain_pem));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(path, "ca.pem"), credentials.roots_pem));
  return name;
}

absl::Status CredentialStore::Swap(const std::string& staged) {
  absl::MutexLock lock(&mutex_);
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> tree, os::OpenTree(directory_));
  absl::Status stale = tree->RemoveFile("live.new");
  if (!stale.ok() && !absl::IsNotFound(stale)) return stale;
  BW_RETURN_IF_ERROR(tree->MakeSymlink("live.new", staged));
  BW_RETURN_IF_ERROR(tree->Rename("live.new", "live"));
  BW_RETURN_IF_ERROR(files_->SyncDir(directory_));
  BW_ASSIGN_OR_RETURN(std::vector<uint64_t> numbers, Generations());
  for (size_t i = 0; i + kKept < numbers.size(); ++i) {
    BW_RETURN_IF_ERROR(files_->RemoveTree(os::JoinPath(directory_, absl::StrCat("gen-", numbers[i]))));
  }
  return absl::OkStatus();
}

absl::Status CredentialStore::Install(const Credentials& credentials, const std::string& uri, absl::Time now) {
  BW_ASSIGN_OR_RETURN(std::string staged, Stage(credentials, uri, now));
  return Swap(staged);
}

std::vector<std::string> CredentialStore::Chains() const {
  std::vector<std::string> chains;
  if (auto live_now = Load(); live_now.ok()) chains.push_back(live_now->chain_pem);
  auto numbers = Generations();
  if (!numbers.ok()) return chains;
  for (auto it = numbers->rbegin(); it != numbers->rend(); ++it) {
    auto chain = os::ReadFile(files_, os::JoinPath(directory_, absl::StrCat("gen-", *it, "/cert.pem")), kMaxFile);
    if (chain.ok() && std::find(chains.begin(), chains.end(), *chain) == chains.end()) chains.push_back(*chain);
  }
  return chains;
}

absl::StatusOr<Credentials> ReadExternal(os::Files* files, const std::string& directory) {
  for (const Names& names : kExternal) {
    auto read = Read(files, directory, names);
    if (read.ok() || !absl::IsNotFound(read.status())) return read;
  }
  return absl::NotFoundError(absl::StrCat("there are no credentials in ", directory,
                                          "; it needs tls.crt, tls.key and ca.crt, or svid.pem, svid_key.pem and "
                                          "svid_bundle.pem, or cert.pem, key.pem and ca.pem"));
}

}  // namespace bailiwick::rpc
