// What has to be right between two processes of Bailiwick: names, ports, certificates, clocks, versions. Each function
// looks at one thing and adds its rows. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/doctor/report.h"

namespace bailiwick::doctor {

// Agents send and receive nothing when their clock is further from the coordinator's; nor is a law signed further
// ahead.
inline constexpr absl::Duration kMaxSkew = absl::Seconds(60);
inline constexpr absl::Duration kSkewToMend = absl::Seconds(5);

// "dns WHO" and "tcp WHO": whether a HOST:PORT can be reached from here. False: TLS need not be tried. `otherwise`:
// what it is when it cannot.
bool CheckReach(Report& report, const std::string& who, const std::string& address, Verdict otherwise = Verdict::kFail);
// "tls WHO": what came of a call to it. `found` is said when it went well.
void JudgeCall(Report& report, const std::string& who, const absl::Status& call, const std::string& found);

// "clock": our clock beside another's, `theirs` being what it said in answer to a question that took `round_trip`.
void JudgeSkew(Report& report, const std::string& who, absl::Time ours, absl::Time theirs, absl::Duration round_trip);

struct Build {
  std::string version;                          // "0.1.0"
  uint32_t protocol_min = 0, protocol_max = 0;  // 0: it does not say
};
Build OurBuild();
// "version WHO": builds of one major version whose minor versions differ by at most one work together, if they have a
// protocol in common.
void JudgeVersion(Report& report, const std::string& who, const Build& theirs, const Build& ours = OurBuild());

struct Credentials {
  std::string check;      // "certificate"
  std::string directory;  // cert.pem, key.pem, ca.pem
  std::string expected;   // the SPIFFE id; empty: any one
  bool renewed = true;    // by the process itself, at half life: then it is a fault to be much older
  std::string renew;      // the sentence that says how to have a new one
};
// "certificate": exactly one name, the one expected; a pair with its key; leads to the roots beside it; valid, for how
// long. "key": its mode.
void CheckCredentials(Report& report, const Credentials& credentials, absl::Time now);

}  // namespace bailiwick::doctor
