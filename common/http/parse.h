// One request from its bytes, exactly as a connection reads it: for what has bytes and no socket.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/http/server.h"

namespace bailiwick::http {

struct Parsed {
  std::optional<Request> request;  // its peer is empty
  int status = 0;                  // otherwise: what it is answered with, and why
  std::string why;
};

Parsed ParseRequest(std::string_view bytes, const Limits& limits);

}  // namespace bailiwick::http
