// Names and ports as this machine sees them, for who looks for what is wrong: connections are gRPC's own. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bailiwick::os {

// The addresses of a name by /etc/hosts and DNS, as gRPC finds them too, in the resolver's order, each once; of an
// address itself. Lasts as long as the resolver does (resolv.conf: some seconds a server). NOT_FOUND: no such name.
// UNAVAILABLE: no answer.
absl::StatusOr<std::vector<std::string>> Resolve(const std::string& host);

// Whether somebody listens there: a connection that is closed again. `address` is one of Resolve's. UNAVAILABLE:
// refused, or no way there. DEADLINE_EXCEEDED: no answer in time.
absl::Status TryConnect(const std::string& address, uint16_t port, absl::Duration timeout);

}  // namespace bailiwick::os
