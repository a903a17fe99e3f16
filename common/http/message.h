// Requests and responses of the HTTP server, without the library that carries them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bailiwick::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  // GET, HEAD or POST; nothing else gets as far as a handler
  std::string path;    // percent-decoded, begins with '/', has no control characters; "." and ".." mean nothing special
  std::string query;   // as it was sent, without the '?'
  Headers headers;     // names in lower case, in the order sent
  std::string body;
  std::string peer;  // "127.0.0.1:4711"

  // The first of that name (in lower case); empty: there is none.
  std::string_view Header(std::string_view name) const;
  // The first value of that key, decoded (also '+' as a space); nothing: no such key, or it cannot be decoded.
  std::optional<std::string> Query(std::string_view key) const;
};

// The body of a response that is made while it is sent. Used on the thread that the server gave it to.
class BodyWriter {
 public:
  virtual ~BodyWriter() = default;
  // Sends the bytes at once and waits until the system has taken them. False: the reader is gone, too slow, or the
  // server stops; end the stream.
  virtual bool Write(std::string_view bytes) = 0;
  // Whether it is worth going on; whoever waits for something to send asks at least once a second, so that the server
  // can stop.
  virtual bool open() = 0;
};

struct Response {
  int status = 200;
  Headers headers;  // Content-Length and the like are the server's; Cache-Control is no-store unless said otherwise
  std::string body;
  std::function<void(BodyWriter&)> stream;  // instead of the body; not called for HEAD
};

Response Text(int status, std::string text);  // text/plain, with a line end

// %XX decoded. Nothing: a '%' without two hexadecimal digits, or a control character comes out.
std::optional<std::string> PercentDecode(std::string_view text);

}  // namespace bailiwick::http
