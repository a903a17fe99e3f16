#include "services/coordinator/settings/serve_settings.h"

#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/identity/certificates.h"

namespace bailiwick::coordinator {
namespace {

using Form = config::Setting::Form;

}  // namespace

config::Settings SettingsTable(ServeSettings* s) {
  return config::Settings(
      "bailiwick-coordinator", "serve",
      WithProcessRows(
          {{.flag = "data-dir",
            .form = Form::kPath,
            .value = &s->data_dir,
            .help = "directory of the coordinator",
            .shipped = "/var/lib/bailiwick-coordinator",
            .required = true},
           {.flag = "control-listen",
            .form = Form::kHostPort,
            .value = &s->control_listen,
            .help = "HOST:PORT for agents and admins, mTLS"},
           {.flag = "join-listen", .form = Form::kHostPort, .value = &s->join_listen, .help = "HOST:PORT for joining"},
           {.flag = "advertise",
            .form = Form::kHost,
            .value = &s->advertise,
            .help = "host that agents dial when it differs from the listen addresses"},
           {.flag = "certificate-life",
            .form = Form::kDuration,
            .value = &s->certificate_life,
            .help = "how long certificates of agents and of the coordinator live, 5s to 24h"},
           {.flag = "ca-rotate-every",
            .form = Form::kDuration,
            .value = &s->ca_rotate_every,
            .help = "how long a CA signs before the next one does",
            .otherwise = "5 years"}},
          s, "the coordinator renews it"));
}

absl::StatusOr<Authority::Options> AuthorityOptions(const ServeSettings& settings) {
  Authority::Options options;
  BW_ASSIGN_OR_RETURN(options.leaf_life, ParseDuration(settings.certificate_life));
  if (options.leaf_life < absl::Seconds(5) || options.leaf_life > identity::kAgentCertificateLife) {
    return absl::InvalidArgumentError("--certificate-life is from 5s to 24h");
  }
  if (!settings.ca_rotate_every.empty()) {
    BW_ASSIGN_OR_RETURN(options.rotate_every, ParseDuration(settings.ca_rotate_every));
    if (options.rotate_every < options.leaf_life || options.rotate_every > Authority::kLife / 2) {
      return absl::InvalidArgumentError("--ca-rotate-every is from the life of a certificate to five years");
    }
  }
  return options;
}

std::string AdvertisedHost(const ServeSettings& settings, const std::string& listen) {
  auto host = ParseHost(settings.advertise);
  if (host.ok()) return *std::move(host);
  auto address = ParseHostPort(listen);
  return address.ok() ? address->host : "";
}

// Agents dial what the coordinator says of itself: an address that means "any" says nothing.
absl::Status CheckSettings(const ServeSettings& settings) {
  for (const std::string& address : {settings.control_listen, settings.join_listen}) {
    if (IsAnyAddress(AdvertisedHost(settings, address))) {
      return absl::InvalidArgumentError(absl::StrCat(
          settings.advertise.empty() ? absl::StrCat("listening on ", address) : "advertising an address of nobody",
          " needs --advertise HOST: the name that agents dial"));
    }
  }
  return AuthorityOptions(settings).status();
}

}  // namespace bailiwick::coordinator
