#include "common/rpc/gate.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/clock.h"
#include "common/policy/grant.h"
#include "common/rpc/credentials.h"

namespace bailiwick::rpc {
namespace {

constexpr char kNobody[] = "unknown";
static_assert(Gate::kMaxUnheard == policy::kMaxGrantLife);

// What can be said of a peer whose certificate counts for nothing: its name if it has one, else which certificate it
// is.
std::string Claimed(const std::string& pem) {
  auto info = identity::InspectCertificate(pem);
  if (!info.ok()) return kNobody;
  if (!info->uri.empty()) return absl::CEscape(info->uri.substr(0, 300));
  return absl::StrCat("certificate ", absl::BytesToHexString(info->sha256));
}

std::string CertificateOf(const grpc::AuthContext& context) {
  auto pems = context.FindPropertyValues("x509_pem_cert");
  return pems.size() == 1 ? std::string(pems[0].data(), pems[0].size()) : "";
}

}  // namespace

absl::Time Gate::Now() const { return options_.now ? options_.now() : os::Clock::System()->Now(); }

void Gate::SetDenied(const std::vector<Denied>& denied) {
  std::map<std::string, absl::Time> all;
  for (const Denied& one : denied) {
    auto [it, inserted] = all.try_emplace(one.spiffe_id, one.at);
    if (!inserted) it->second = std::max(it->second, one.at);
  }
  absl::MutexLock lock(&mutex_);
  denied_ = std::move(all);
}

void Gate::SetPeople(const People& people) {
  absl::MutexLock lock(&mutex_);
  people_ = people;
}

void Gate::Heard(absl::Duration boot, bool connected) {
  absl::MutexLock lock(&mutex_);
  if (connected || !heard_.has_value()) heard_ = boot;
  unheard_ = boot - *heard_;
}

absl::StatusOr<Peer> Gate::Authorize(const grpc::ServerContextBase& context, std::string_view rpc) const {
  BW_ASSIGN_OR_RETURN(Peer peer, Admit(context));
  BW_RETURN_IF_ERROR(CheckMayAsk(peer, rpc));
  return peer;
}

absl::Status Gate::CheckMayAsk(const Peer& peer, std::string_view rpc) const {
  const auto check = [&]() -> absl::Status {
    absl::MutexLock lock(&mutex_);
    BW_RETURN_IF_ERROR(CheckAccess(rpc, peer.id, people_));
    if (peer.id.kind != identity::Kind::kAdmin || unheard_ <= kMaxUnheard) return absl::OkStatus();
    return identity::Forbid(
        "NOT_ALLOWED",
        absl::StrCat("for ", absl::FormatDuration(absl::Trunc(unheard_, absl::Minutes(1))),
                     " this agent has heard nothing from the coordinator, so whether ", peer.id.name,
                     " was revoked meanwhile it cannot know; ask again when it is connected. On its machine there is: "
                     "bailiwick-agent status"));
  };
  return Refused(peer.uri, check());
}

absl::Status Gate::Refused(const std::string& who, const absl::Status& why, Named named) const {
  if (!why.ok() && options_.refused) options_.refused(who, why, named);
  return why;
}

absl::StatusOr<identity::CertificateInfo> Gate::CheckChain(const std::string& chain_pem, const std::string& roots_pem,
                                                           identity::Use use, identity::Early early) const {
  auto info = identity::VerifyChain(chain_pem, roots_pem, use, Now(), early);
  if (!info.ok()) return Refused(Claimed(chain_pem), info.status(), Named::kClaimed);
  return info;
}

absl::Status Gate::Check(const Peer& peer, absl::Time until) const {
  auto check = [&]() -> absl::Status {
    if (!options_.trust_domain.empty() && peer.id.trust_domain != options_.trust_domain) {
      return identity::Refuse("FOREIGN_DOMAIN",
                              absl::StrCat(peer.uri, " is of another trust domain than ", options_.trust_domain));
    }
    BW_RETURN_IF_ERROR(CheckTimes(peer, Now(), until));
    absl::MutexLock lock(&mutex_);
    auto denied = denied_.find(peer.uri);
    if (denied != denied_.end() && peer.not_before <= denied->second) {
      return identity::Refuse("REVOKED", absl::StrCat(peer.uri, " was revoked"));
    }
    return absl::OkStatus();
  };
  return Refused(peer.uri, check());
}

absl::StatusOr<Peer> Gate::Admit(const grpc::AuthContext& context) const {
  auto peer = PeerOf(context);
  if (!peer.ok()) return Refused(Claimed(CertificateOf(context)), peer.status(), Named::kClaimed);
  BW_RETURN_IF_ERROR(Check(*peer));
  return peer;
}

absl::StatusOr<Peer> Gate::Admit(const grpc::ServerContextBase& context) const {
  auto auth = context.auth_context();
  if (auth == nullptr) return Refused(kNobody, identity::Refuse("NO_CERTIFICATE", "the peer presented no certificate"));
  return Admit(*auth);
}

}  // namespace bailiwick::rpc
