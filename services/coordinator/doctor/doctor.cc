#include "services/coordinator/doctor/doctor.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "common/doctor/machine.h"
#include "common/doctor/peers.h"
#include "common/identity/certificates.h"
#include "common/os/clock.h"
#include "common/os/network.h"
#include "common/rpc/credentials.h"
#include "services/coordinator/core/keys.h"

namespace bailiwick::coordinator {
namespace {

constexpr absl::Duration kCaToMend = absl::Hours(24 * 90);
constexpr uint64_t kMaxFile = 1 << 20;
constexpr absl::Duration kConnectTimeout = absl::Seconds(1);

std::string In(const ServeSettings& settings, const char* name) { return os::JoinPath(settings.data_dir, name); }

std::string ReadLine(const std::string& path) {
  return std::string(absl::StripAsciiWhitespace(os::ReadFile(os::Files::System(), path, kMaxFile).value_or("")));
}

// Every root that the certificate's directory trusts: that of the CA here, and those of others.
void CheckRoots(doctor::Report& report, const std::string& roots_pem, absl::Time now) {
  auto info = identity::InspectCertificate(roots_pem);  // the first: the one that signs
  if (!info.ok()) {
    return report.Fail("ca", "its certificate cannot be read", "bring the directory ca back from a backup");
  }
  const std::string until = absl::FormatTime("%Y-%m-%d", info->not_after, absl::UTCTimeZone());
  if (now > info->not_after) {
    return report.Fail("ca", absl::StrCat("expired on ", until), "nobody trusts it any more: bailiwick ca rotate");
  }
  if (now > info->not_after - kCaToMend) return report.Warn("ca", absl::StrCat("until ", until), "bailiwick ca rotate");
  report.Ok("ca", absl::StrCat("until ", until));
}

void CheckIdentity(doctor::Report& report, const ServeSettings& settings) {
  const absl::Time now = os::Clock::System()->Now();
  const std::string live = In(settings, "tls/live"), domain = ReadLine(In(settings, "trust-domain"));
  auto roots = os::ReadFile(os::Files::System(), os::JoinPath(live, "ca.pem"), kMaxFile);
  if (!roots.ok()) {
    report.Warn("certificate", "there is none yet", "it makes one when it serves for the first time");
  } else {
    doctor::CheckCredentials(
        report,
        {.check = "certificate",
         .directory = live,
         .expected = absl::StrCat("spiffe://", domain, "/coordinator"),
         .renewed = true,
         .renew = settings.tls_dir.empty() ? "a coordinator that serves renews it at half life: start it"
                                           : absl::StrCat("who renews ", settings.tls_dir, " has to do so")},
        now);
    CheckRoots(report, *roots, now);
  }
  doctor::CheckKeyFile(report, "ca", In(settings, "ca/key.pem"), true);
  for (const std::string& name : os::Files::System()->List(In(settings, "ca")).value_or(std::vector<std::string>())) {
    if (absl::StartsWith(name, "gen-")) {
      doctor::CheckKeyFile(report, "ca", os::JoinPath(In(settings, "ca"), name + "/key.pem"), true);
    }
  }
  doctor::CheckKeyFile(report, "grant", In(settings, "grant.pem"));
  doctor::CheckKeyFile(report, "timestamp", In(settings, "timestamp.pem"), true);
}

// What the process that serves wrote down of itself; empty: nothing.
std::string Told(const ServeSettings& settings, const char* which) {
  google::protobuf::Struct endpoints;
  const std::string text = ReadLine(In(settings, "endpoints.json"));
  if (!google::protobuf::util::JsonStringToMessage(text, &endpoints).ok()) return "";
  auto found = endpoints.fields().find(which);
  return found == endpoints.fields().end() ? "" : found->second.string_value();
}

void CheckPorts(doctor::Report& report, const ServeSettings& settings) {
  doctor::CheckReach(report, "control port", Told(settings, "control"));
  const std::string join = Told(settings, "join");
  if (!doctor::CheckReach(report, "join port", join)) return;
  rpc::JoinTrust trust{.ca_sha256 = "",
                       .roots_pem = ReadLine(In(settings, "tls/live/ca.pem")),
                       .trust_domain = ReadLine(In(settings, "trust-domain")),
                       .now = os::Clock::System()->Now()};
  doctor::JudgeCall(report, "join port", rpc::JoinChannel(join, trust, rpc::Proxy()).status(),
                    absl::StrCat("it shows the certificate of the coordinator of ", trust.trust_domain));
}

// Before it serves: that the name which it would tell agents leads somewhere, and that nobody has its port.
void CheckPortToBe(doctor::Report& report, const ServeSettings& settings, const std::string& who,
                   const std::string& listen, const char* flag) {
  const std::string dns = absl::StrCat("dns ", who), tcp = absl::StrCat("tcp ", who);
  const std::string host = AdvertisedHost(settings, listen);
  const auto addresses = os::Resolve(host);
  if (addresses.ok()) {
    report.Ok(dns, absl::StrCat(host, " is ", absl::StrJoin(*addresses, ", ")));
  } else {
    report.OutOfReach(dns, std::string(addresses.status().message()),
                      "correct --advertise, or what answers for the name (/etc/resolv.conf, /etc/hosts)");
  }
  const auto at = ParseHostPort(listen);
  if (!at.ok()) {
    return report.Fail(tcp, std::string(at.status().message()), absl::StrCat("write ", flag, " as ADDRESS:PORT"));
  }
  if (at->port == 0) return report.Ok(tcp, "a free one is chosen when it serves");
  const auto place = os::Resolve(at->host);
  if (place.ok() && !place->empty() &&
      os::TryConnect(place->front(), static_cast<uint16_t>(at->port), kConnectTimeout).ok()) {
    return report.Warn(tcp, absl::StrCat("another process listens at ", listen, " already"),
                       absl::StrCat("stop it, or give this coordinator another port with ", flag));
  }
  report.Ok(tcp, absl::StrCat(listen, " is free"));
}

}  // namespace

doctor::Report Examine(const ServeSettings& settings) {
  doctor::Report report;
  if (absl::Status format = CheckFormat(os::Files::System(), settings.data_dir); !format.ok()) {
    report.Fail("data", std::string(format.message()), "correct --data-dir, or run init for a new coordinator");
    return report;
  }
  report.Ok("data", absl::StrCat("a coordinator of ", ReadLine(In(settings, "trust-domain"))));
  if (absl::Status catalog = CheckCatalog(os::Files::System(), settings.data_dir); catalog.ok()) {
    report.Ok("catalog", "the catalog is there");
  } else {
    report.Fail("catalog", std::string(catalog.message()), kCatalogRemedy);
  }
  const auto pid = os::LockHolder(In(settings, "lock"), "bailiwick-coord");
  doctor::CheckOwners(report, {settings.data_dir, In(settings, "catalog.db"), In(settings, "audit"),
                               In(settings, "audit-logs"), In(settings, "ca"), In(settings, "tls")});
  doctor::CheckDisk(report, settings.data_dir);
  doctor::CheckLimits(report, pid.value_or(0));
  doctor::CheckClockSource(report);
  CheckIdentity(report, settings);
  if (pid.has_value()) {
    report.Ok("coordinator", absl::StrCat("serves, as process ", *pid));
    const std::string build = Told(settings, "build");
    if (build.empty()) {
      report.Warn("version coordinator", "the process that serves is older than this program and does not say",
                  "restart it, so that what is installed is what runs");
    } else {
      doctor::JudgeVersion(report, "coordinator", {.version = build});
    }
    CheckPorts(report, settings);
  } else {
    report.Ok("version coordinator", absl::StrCat(std::string(kBuildVersion), ", this program; none serves"));
    CheckPortToBe(report, settings, "control port", settings.control_listen, "--control-listen");
    CheckPortToBe(report, settings, "join port", settings.join_listen, "--join-listen");
    report.Warn(
        "coordinator", absl::StrCat("none serves from ", settings.data_dir),
        "systemctl start bailiwick-coordinator, or: bailiwick-coordinator serve --data-dir " + settings.data_dir);
  }
  return report;
}

}  // namespace bailiwick::coordinator
