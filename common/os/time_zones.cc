#include "common/os/time_zones.h"

#include "absl/strings/str_cat.h"

namespace bailiwick::os {

absl::StatusOr<absl::TimeZone> LoadTimeZone(const std::string& name) {
  absl::TimeZone zone;
  if (!absl::LoadTimeZone(name, &zone)) {
    return absl::NotFoundError(
        absl::StrCat("time zone ", name, " is not known on this machine; the package tzdata brings the IANA zones"));
  }
  return zone;
}

}  // namespace bailiwick::os
