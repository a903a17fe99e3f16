#include "common/doctor/peers.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/host_port.h"
#include "common/base/units.h"
#include "common/base/utc_text.h"
#include "common/base/version.h"
#include "common/doctor/machine.h"
#include "common/identity/certificates.h"
#include "common/identity/verify.h"
#include "common/os/files.h"
#include "common/os/network.h"
#include "common/rpc/credential_store.h"

namespace bailiwick::doctor {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(3);
constexpr size_t kMaxAddresses = 4;  // of a name: more are not tried

std::string Seconds(absl::Duration d) { return absl::FormatDuration(absl::Trunc(d, absl::Seconds(1))); }

// "major.minor" of "0.1.0".
bool ParseVersion(const std::string& text, uint32_t* major, uint32_t* minor) {
  const std::vector<std::string> parts = absl::StrSplit(text, '.');
  return parts.size() >= 2 && absl::SimpleAtoi(parts[0], major) && absl::SimpleAtoi(parts[1], minor);
}

absl::Status Connect(const std::vector<std::string>& addresses, uint16_t port, std::string* reached) {
  absl::Status last = absl::UnavailableError("it has no address");
  for (size_t i = 0; i < std::min(addresses.size(), kMaxAddresses); ++i) {
    last = os::TryConnect(addresses[i], port, kConnectTimeout);
    *reached = addresses[i];
    if (last.ok()) return last;
  }
  return last;
}

}  // namespace

bool CheckReach(Report& report, const std::string& who, const std::string& address, Verdict otherwise) {
  const std::string dns = absl::StrCat("dns ", who), tcp = absl::StrCat("tcp ", who);
  auto parts = ParseHostPort(address);
  if (parts.ok() && parts->port == 0) parts = absl::InvalidArgumentError(absl::StrCat(address, ": nobody has port 0"));
  if (!parts.ok()) {
    report.Fail(dns, std::string(parts.status().message()), "write it as HOST:PORT");
    return false;
  }
  auto addresses = os::Resolve(parts->host);
  if (!addresses.ok()) {
    report.Add({dns, otherwise, std::string(addresses.status().message()),
                "correct the name, or what answers for it (/etc/resolv.conf, /etc/hosts)", true});
    return false;
  }
  report.Ok(dns, absl::StrCat(parts->host, " is ", absl::StrJoin(*addresses, ", ")));
  std::string reached;
  absl::Status connected = Connect(*addresses, static_cast<uint16_t>(parts->port), &reached);
  if (!connected.ok()) {
    report.Add({tcp, otherwise, std::string(connected.message()),
                absl::IsDeadlineExceeded(connected)
                    ? "its machine is off, or something between drops what is sent there: open the port"
                    : "nobody listens there: start it, or correct its address if it listens elsewhere",
                true});
    return false;
  }
  report.Ok(tcp, absl::StrCat(reached, " port ", parts->port, " is open"));
  return true;
}

void JudgeCall(Report& report, const std::string& who, const absl::Status& call, const std::string& found) {
  const std::string check = absl::StrCat("tls ", who);
  if (call.ok()) return report.Ok(check, found);
  const std::string said(call.message());
  if (absl::IsUnavailable(call) || absl::IsDeadlineExceeded(call)) {
    return report.OutOfReach(check, said,
                             "who answers there is not who is expected, or does not take who asks: compare addresses, "
                             "clocks and CAs of both ends");
  }
  if (absl::IsUnimplemented(call)) {
    return report.Warn(check, "it is older than this program and cannot say", "upgrade it");
  }
  report.Fail(check, said, "it is reached and refuses this identity: log in or join anew, or ask who revoked it");
}

void JudgeSkew(Report& report, const std::string& who, absl::Time ours, absl::Time theirs, absl::Duration round_trip) {
  // They looked somewhere within the round trip: what may be its length alone is no skew.
  const absl::Duration off = ours - round_trip / 2 - theirs;
  const absl::Duration skew = std::max(absl::AbsDuration(off) - round_trip / 2, absl::ZeroDuration());
  const std::string found =
      skew < absl::Seconds(1)
          ? absl::StrCat("as ", who, "'s, within a second")
          : absl::StrCat(Seconds(skew), off > absl::ZeroDuration() ? " ahead of " : " behind ", who, "'s");
  const std::string remedy = "set the clock that is wrong, and keep it right with chrony or systemd-timesyncd";
  if (skew > kMaxSkew) {
    return report.Fail("clock", found, absl::StrCat(remedy, ": beyond ", Seconds(kMaxSkew), " nothing flows"));
  }
  if (skew > kSkewToMend) return report.Warn("clock", found, remedy);
  report.Ok("clock", found);
}

Build OurBuild() { return {std::string(kBuildVersion), kProtocolMin, kProtocolMax}; }

void JudgeVersion(Report& report, const std::string& who, const Build& theirs, const Build& ours) {
  const std::string check = absl::StrCat("version ", who);
  const std::string found = absl::StrCat(theirs.version, ", this is ", ours.version);
  const std::string remedy = "upgrade the older one: versions beside each other work together";
  if (theirs.protocol_max != 0 &&
      (theirs.protocol_max < ours.protocol_min || theirs.protocol_min > ours.protocol_max)) {
    return report.Fail(check, absl::StrCat(found, ", and no protocol in common"), remedy);
  }
  uint32_t major = 0, minor = 0, our_major = 0, our_minor = 0;
  if (!ParseVersion(theirs.version, &major, &minor) || !ParseVersion(ours.version, &our_major, &our_minor)) {
    return report.Warn(check, absl::StrCat("\"", theirs.version, "\" is no version"), "use a released build");
  }
  if (major != our_major || std::max(minor, our_minor) - std::min(minor, our_minor) > 1) {
    return report.Fail(check, found, remedy);
  }
  if (minor != our_minor) return report.Warn(check, found, remedy);
  report.Ok(check, theirs.version == ours.version ? absl::StrCat(theirs.version, ", as this") : found);
}

void CheckCredentials(Report& report, const Credentials& credentials, absl::Time now) {
  os::Files* files = os::Files::System();
  auto read = rpc::ReadExternal(files, credentials.directory);
  if (!read.ok()) {
    return report.Fail(credentials.check, std::string(read.status().message()), credentials.renew);
  }
  CheckKeyFile(report, credentials.check, os::JoinPath(credentials.directory, "key.pem"), true);
  auto info = identity::InspectCertificate(read->chain_pem);
  if (!info.ok()) return report.Fail(credentials.check, std::string(info.status().message()), credentials.renew);
  absl::Status works = rpc::CheckCredentials(*read, credentials.expected, now);
  const std::string until = UtcText(info->not_after);
  const std::string found = absl::StrCat(info->uri, " until ", until);
  if (!works.ok()) return report.Fail(credentials.check, std::string(works.message()), credentials.renew);
  if (now < info->not_before) {  // handshakes may forgive that; here it shows a clock
    return report.Fail(credentials.check, absl::StrCat(found, ", and not valid yet"),
                       "this machine's clock is behind that of the coordinator: set it right");
  }
  const absl::Duration life = info->not_after - info->not_before;
  // A process renews at half life, give or take a twentieth, and tries for the rest of it.
  if (credentials.renewed && now > info->not_before + life * 0.7) {
    return report.Warn(credentials.check, absl::StrCat(found, ", its half life is long over"), credentials.renew);
  }
  if (!credentials.renewed && now > info->not_before + life * 0.8) {
    return report.Warn(credentials.check, absl::StrCat(found, ", in ", FormatAge(info->not_after - now)),
                       credentials.renew);
  }
  report.Ok(credentials.check, found);
}

}  // namespace bailiwick::doctor
