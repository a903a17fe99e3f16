#include "services/coordinator/ca/own_certificate.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/identity/verify.h"

namespace bailiwick::coordinator {

OwnCertificate::OwnCertificate(os::Files* files, const os::Clock* clock, Authority* authority,
                               const std::string& directory, const std::string& trust_domain,
                               const std::string& external, RecordIdentity record)
    : files_(files),
      clock_(clock),
      authority_(authority),
      id_{.kind = identity::Kind::kCoordinator, .trust_domain = trust_domain, .region = "", .site = "", .name = ""},
      external_(external),
      record_(std::move(record)),
      store_(files, directory),
      join_store_(files, os::JoinPath(directory, "join")) {}

std::string OwnCertificate::Roots() const {
  absl::MutexLock lock(&mutex_);
  return authority_->Roots() + external_roots_;
}

absl::Status OwnCertificate::Issue(rpc::CredentialStore& store) {
  const absl::Time now = clock_->Now();
  auto live = store.Load();
  if (live.ok() && rpc::CheckCredentials(*live, id_.str(), now).ok()) {
    BW_ASSIGN_OR_RETURN(identity::CertificateInfo info, identity::InspectCertificate(live->chain_pem));
    if (now < info.renew_at() && now >= info.not_before && live->roots_pem == Roots()) return absl::OkStatus();
  }
  if (!issued_.has_value() || issued_->roots_pem != Roots() || !rpc::CheckCredentials(*issued_, id_.str(), now).ok()) {
    issued_.reset();
    BW_ASSIGN_OR_RETURN(identity::KeyPair key, identity::NewTlsKey());
    BW_ASSIGN_OR_RETURN(std::string chain, authority_->Issue(key.csr_der, id_, authority_->leaf_life()));
    BW_RETURN_IF_ERROR(Record("certificate-renewed", chain));
    issued_ = {key.private_key_pem, chain, Roots()};
  }
  BW_RETURN_IF_ERROR(store.Install(*issued_, id_.str(), now));
  issued_.reset();
  return absl::OkStatus();
}

absl::Status OwnCertificate::Record(const std::string& kind, const std::string& chain_pem) {
  if (!record_) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(std::string detail, rpc::CertificateDetail(chain_pem));
  return record_(kind, "coordinator", detail);
}

absl::Status OwnCertificate::TakeExternal() {
  BW_ASSIGN_OR_RETURN(rpc::Credentials external, rpc::ReadExternal(files_, external_));
  BW_RETURN_IF_ERROR(Annotate(rpc::CheckCredentials(external, id_.str(), clock_->Now()), external_));
  {
    absl::MutexLock lock(&mutex_);
    external_roots_ = external.roots_pem;
  }
  external.roots_pem = Roots();
  auto live = store_.Load();
  if (live.ok() && live->chain_pem == external.chain_pem && live->roots_pem == external.roots_pem) {
    return absl::OkStatus();
  }
  if (recorded_ != external.chain_pem && !(live.ok() && live->chain_pem == external.chain_pem)) {
    BW_RETURN_IF_ERROR(Record("certificate-installed", external.chain_pem));
    recorded_ = external.chain_pem;
  }
  return store_.Install(external, id_.str(), clock_->Now());
}

absl::Status OwnCertificate::Tick() {
  if (external_.empty()) return Issue(store_);
  BW_RETURN_IF_ERROR(TakeExternal());
  return Issue(join_store_);
}

}  // namespace bailiwick::coordinator
