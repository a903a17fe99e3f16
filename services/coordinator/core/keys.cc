#include "services/coordinator/core/keys.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "services/coordinator/ca/authority.h"

namespace bailiwick::coordinator {
namespace {

constexpr absl::Duration kAdminLife = absl::Hours(24 * 365);
constexpr uint64_t kMaxFile = 1 << 20;

absl::Status WriteCredentials(os::Files* files, const std::string& directory, const identity::KeyPair& key,
                              const std::string& chain, const std::string& roots) {
  BW_RETURN_IF_ERROR(files->MakeDirs(directory));
  // First, so that CheckAdminDirectory knows what was interrupted after it.
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(directory, "ca.pem"), roots));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(directory, "key.pem"), key.private_key_pem));
  return os::WriteFileAtomically(files, os::JoinPath(directory, "cert.pem"), chain);
}

absl::StatusOr<std::string> Line(os::Files* files, const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::string text, os::ReadFile(files, path, kMaxFile));
  return std::string(absl::StripAsciiWhitespace(text));
}

identity::SpiffeId AdminOf(const std::string& trust_domain, const std::string& name) {
  return {.kind = identity::Kind::kAdmin, .trust_domain = trust_domain, .region = "", .site = "", .name = name};
}

// Somebody's key is never written over, but for what an init of this coordinator, which did not come to its end, left.
absl::Status CheckAdminDirectory(os::Files* files, const std::string& directory, const std::string& admin_directory) {
  for (const char* name : {"key.pem", "cert.pem"}) {
    BW_ASSIGN_OR_RETURN(const bool there, files->Exists(os::JoinPath(admin_directory, name)));
    if (!there) continue;
    const auto mine = os::ReadFile(files, os::JoinPath(directory, "ca/cert.pem"), kMaxFile);
    const auto of = os::ReadFile(files, os::JoinPath(admin_directory, "ca.pem"), kMaxFile);
    if (mine.ok() && of.ok() && *mine == *of) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(admin_directory, " holds credentials already (", name,
                                                      "); name another directory with --admin-dir, or move them away"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckInit(os::Files* files, const std::string& directory, const std::string& trust_domain,
                       const std::string& admin_directory, const std::string& admin_name) {
  BW_RETURN_IF_ERROR(identity::ParseSpiffeId(AdminOf(trust_domain, admin_name).str()).status());
  BW_ASSIGN_OR_RETURN(bool exists, files->Exists(os::JoinPath(directory, "format")));
  if (!exists) return CheckAdminDirectory(files, directory, admin_directory);
  return absl::FailedPreconditionError(absl::StrCat(directory, " holds a coordinator already; choose another directory"));
}

absl::Status InitKeys(os::Files* files, const os::Clock* clock, const std::string& directory,
                      const std::string& trust_domain, const std::string& admin_directory,
                      const std::string& admin_name) {
  BW_RETURN_IF_ERROR(CheckInit(files, directory, trust_domain, admin_directory, admin_name));
  const identity::SpiffeId admin = AdminOf(trust_domain, admin_name);
  BW_RETURN_IF_ERROR(files->MakeDirs(directory));
  for (const char* name : {"key.pem", "cert.pem"}) {  // of an init before this one, and of a CA that goes now
    const absl::Status removed = files->Remove(os::JoinPath(admin_directory, name));
    if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  }
  const absl::Time now = clock->Now();
  BW_ASSIGN_OR_RETURN(identity::CertificateAuthority ca, identity::NewAuthority(trust_domain, now, Authority::kLife));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey grant, crypto::SigningKey::Generate());
  const std::string ca_dir = os::JoinPath(directory, "ca");
  BW_RETURN_IF_ERROR(files->MakeDirs(ca_dir));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(ca_dir, "key.pem"), ca.private_key_pem));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(ca_dir, "cert.pem"), ca.certificate_pem));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(directory, "grant.pem"), grant.ToPem()));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, os::JoinPath(directory, "trust-domain"), trust_domain + "\n"));
  BW_ASSIGN_OR_RETURN(identity::KeyPair key, identity::NewTlsKey());
  BW_ASSIGN_OR_RETURN(std::string leaf, identity::IssueCertificate(ca, key.csr_der, admin, now, kAdminLife));
  BW_RETURN_IF_ERROR(WriteCredentials(files, admin_directory, key, leaf + ca.certificate_pem, ca.certificate_pem));
  // Last: a directory without it was never finished and may be begun anew.
  return os::WriteFileAtomically(files, os::JoinPath(directory, "format"), absl::StrCat(kDataFormat, "\n"));
}

absl::Status CheckFormat(os::Files* files, const std::string& directory) {
  auto format_text = Line(files, os::JoinPath(directory, "format"));
  if (absl::IsNotFound(format_text.status())) {
    return absl::NotFoundError(absl::StrCat("there is no coordinator in ", directory,
                                            "; run: bailiwick-coordinator init --data-dir ", directory));
  }
  BW_RETURN_IF_ERROR(format_text.status());
  uint32_t format = 0;
  if (!absl::SimpleAtoi(*format_text, &format))
    return absl::DataLossError(
        absl::StrCat(directory, "/format is not a number: bring the file back from a backup of the data directory"));
  if (format > kDataFormat) {
    return absl::FailedPreconditionError(absl::StrCat(directory, " was written by a newer Bailiwick (data format ",
                                                      format, ", this one knows ", kDataFormat, "); use that version"));
  }
  return absl::OkStatus();
}

absl::Status CheckCatalog(os::Files* files, const std::string& directory) {
  const std::string path = os::JoinPath(directory, "catalog.db");
  BW_ASSIGN_OR_RETURN(const bool there, files->Exists(path));
  uint64_t size = 0;
  if (there) {
    BW_ASSIGN_OR_RETURN(auto file, files->OpenRead(path));
    BW_ASSIGN_OR_RETURN(size, file->Size());
  }
  if (size != 0) return absl::OkStatus();
  // The certificate is made after the catalog: by the first start that got so far.
  BW_ASSIGN_OR_RETURN(const bool served, files->Exists(os::JoinPath(directory, "tls/live")));
  if (!served) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, there ? " is empty" : " is gone", ", though this coordinator has served before"));
}

absl::StatusOr<bool> HoldsCoordinator(os::Files* files, const std::string& directory, const std::string& trust_domain) {
  absl::Status format = CheckFormat(files, directory);
  if (absl::IsNotFound(format)) return false;
  BW_RETURN_IF_ERROR(format);
  BW_ASSIGN_OR_RETURN(std::string there, Line(files, os::JoinPath(directory, "trust-domain")));
  if (there != trust_domain) {
    return absl::FailedPreconditionError(absl::StrCat(directory, " holds a coordinator of ", there, ", not of ",
                                                      trust_domain, "; a trust domain cannot be changed"));
  }
  return true;
}

absl::Status KeepAdmin(os::Files* files, const os::Clock* clock, const std::string& directory,
                       const std::string& admin_directory, const std::string& admin_name) {
  auto chain = os::ReadFile(files, os::JoinPath(admin_directory, "cert.pem"), kMaxFile);
  if (!chain.ok() && !absl::IsNotFound(chain.status())) return chain.status();
  BW_ASSIGN_OR_RETURN(std::string trust_domain, Line(files, os::JoinPath(directory, "trust-domain")));
  if (chain.ok()) {
    auto info = identity::InspectCertificate(*chain);
    if (info.ok() && info->uri != AdminOf(trust_domain, admin_name).str()) {
      return absl::FailedPreconditionError(absl::StrCat(admin_directory, " holds the credentials of ", info->uri,
                                                        "; name another directory with --admin-dir"));
    }
    if (info.ok() && clock->Now() < info->renew_at()) return absl::OkStatus();
  }
  BW_ASSIGN_OR_RETURN(auto lock, files->Lock(os::JoinPath(directory, "lock")));
  BW_ASSIGN_OR_RETURN(auto authority,
                      Authority::Open(files, clock, os::JoinPath(directory, "ca"), trust_domain, Authority::Options{}));
  const identity::SpiffeId admin = AdminOf(trust_domain, admin_name);
  BW_ASSIGN_OR_RETURN(identity::KeyPair key, identity::NewTlsKey());
  BW_ASSIGN_OR_RETURN(std::string issued, authority->Issue(key.csr_der, admin, kAdminLife));
  return WriteCredentials(files, admin_directory, key, issued, authority->Roots());
}

absl::StatusOr<Keys> LoadKeys(os::Files* files, const std::string& directory) {
  BW_RETURN_IF_ERROR(CheckFormat(files, directory));
  Keys keys;
  BW_ASSIGN_OR_RETURN(keys.trust_domain, Line(files, os::JoinPath(directory, "trust-domain")));
  keys.ca_directory = os::JoinPath(directory, "ca");
  BW_ASSIGN_OR_RETURN(std::string grant, os::ReadFile(files, os::JoinPath(directory, "grant.pem"), kMaxFile));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey key, crypto::SigningKey::FromPem(grant));
  keys.grant_key = std::make_unique<crypto::SigningKey>(std::move(key));
  const std::string timestamp_file = os::JoinPath(directory, "timestamp.pem");
  BW_ASSIGN_OR_RETURN(bool has_timestamp_key, files->Exists(timestamp_file));
  if (!has_timestamp_key) {
    BW_ASSIGN_OR_RETURN(crypto::SigningKey made, crypto::SigningKey::Generate());
    BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, timestamp_file, made.ToPem()));
  }
  BW_ASSIGN_OR_RETURN(std::string timestamp, os::ReadFile(files, timestamp_file, kMaxFile));
  BW_ASSIGN_OR_RETURN(crypto::SigningKey timestamp_key, crypto::SigningKey::FromPem(timestamp));
  keys.timestamp_key = std::make_unique<crypto::SigningKey>(std::move(timestamp_key));
  keys.tls_directory = os::JoinPath(directory, "tls");
  return keys;
}

}  // namespace bailiwick::coordinator
