#include "common/http/connection.h"

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"

namespace bailiwick::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

constexpr absl::Duration kLinger = absl::Seconds(2);  // for a client that still sends what will not be read
constexpr size_t kLingerBytes = 256 << 10;

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

bool GoodHeader(std::string_view name, std::string_view value) {
  for (char c : name) {
    if (!absl::ascii_isalnum(c) && c != '-') return false;
  }
  for (char c : value) {
    if (absl::ascii_iscntrl(c)) return false;
  }
  return !name.empty();
}

template <typename Body>
bool SetHeaders(const Response& response, bhttp::response<Body>& out) {
  out.set("Cache-Control", "no-store");
  out.set("X-Content-Type-Options", "nosniff");
  bool good = true;
  for (const auto& [name, value] : response.headers) {
    if (GoodHeader(name, value)) {
      out.set(name, value);
    } else {
      good = false;
    }
  }
  return good;
}

Parsed Bad(int status, std::string why) { return {.request = std::nullopt, .status = status, .why = std::move(why)}; }

// What the library says of bytes that are no request, or not within the limits. Status 0: nothing that is answered.
Parsed Failed(const beast::error_code& error) {
  if (error == bhttp::error::header_limit || error == bhttp::error::buffer_overflow) {
    return Bad(431, "the request's head is too large");
  }
  if (error == bhttp::error::body_limit) return Bad(413, "the request's body is too large");
  if (error && error.category() == bhttp::make_error_code(bhttp::error::bad_method).category() &&
      error != bhttp::error::end_of_stream && error != bhttp::error::partial_message) {
    return Bad(400, "this is no HTTP/1.1 request");
  }
  return {};
}

// With what the library leaves to the server.
Parsed Understood(const bhttp::request<bhttp::string_body>& in) {
  const auto hosts = in.count(bhttp::field::host);
  if (hosts > 1 || (hosts == 0 && in.version() >= 11)) return Bad(400, "exactly one Host header is needed");
  const std::string_view target = View(in.target());
  if (target.empty() || target.front() != '/') return Bad(400, "the target must be a path");
  const size_t mark = target.find('?');
  auto path = PercentDecode(target.substr(0, mark));
  if (!path) return Bad(400, "the path cannot be decoded");
  Parsed parsed;
  Request& request = parsed.request.emplace();
  request.method = View(in.method_string());
  request.path = *std::move(path);
  if (mark != std::string_view::npos) request.query = target.substr(mark + 1);
  for (const auto& field : in) {
    request.headers.emplace_back(absl::AsciiStrToLower(std::string(field.name_string())), View(field.value()));
  }
  request.body = in.body();
  return parsed;
}

template <typename Parser>
void SetLimits(const Limits& limits, Parser* parser) {
  parser->header_limit(limits.head_bytes);
  parser->body_limit(limits.body_bytes);
}

}  // namespace

Parsed ParseRequest(std::string_view bytes, const Limits& limits) {
  bhttp::request_parser<bhttp::string_body> parser;
  SetLimits(limits, &parser);
  parser.eager(true);
  beast::error_code error;
  while (!bytes.empty() && !error && !parser.is_done()) {
    bytes.remove_prefix(parser.put(asio::const_buffer(bytes.data(), bytes.size()), error));
    if (error == bhttp::error::need_more) break;
  }
  if (!parser.is_done() && (!error || error == bhttp::error::need_more)) return Bad(408, "the request is not whole");
  if (!error) return Understood(parser.get());
  Parsed failed = Failed(error);
  return failed.status != 0 ? failed : Bad(400, error.message());
}

template <typename StartOperation>
Connection::Error Connection::Await(absl::Duration within, StartOperation start) {
  Error result = asio::error::operation_aborted;
  if (stopping_->load()) return result;
  stream_.expires_after(absl::ToChronoNanoseconds(within));
  start([&result](Error error, size_t) { result = error; });
  context_.restart();
  context_.run();
  return result;
}

void Connection::Cancel() {
  asio::post(context_, [this] { stream_.cancel(); });
}

void Connection::Refuse() {
  static constexpr std::string_view kBusy =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  ::send(stream_.socket().native_handle(), kBusy.data(), kBusy.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  Error ignored;
  stream_.socket().close(ignored);
}

void Connection::Serve() {
  try {
    while (ServeOne()) {
    }
    Close();
  } catch (const std::exception&) {  // the library's, out of memory and the like: this connection is over, no other
  }
  Error ignored;
  stream_.socket().close(ignored);
}

bool Connection::ServeOne() {
  Parser parser;
  SetLimits(*limits_, &parser);
  const Error error =
      Await(limits_->request_time, [&](auto done) { bhttp::async_read(stream_, buffer_, parser, done); });
  Parsed parsed = error ? Failed(error) : Understood(parser.get());
  if (error == beast::error::timeout && parser.got_some()) parsed = Bad(408, "the request took too long to arrive");
  if (parsed.status != 0) Reject(parsed.status, std::move(parsed.why));
  if (!parsed.request.has_value()) return false;
  return Answer(*parsed.request, parser.get().version(), parser.get().keep_alive());
}

bool Connection::Answer(Request& request, unsigned version, bool keep_alive) {
  Error ignored;
  const auto peer = stream_.socket().remote_endpoint(ignored);
  request.peer = JoinHostPort(peer.address().to_string(), peer.port());

  const bool head = request.method == "HEAD";
  if (!head && request.method != "GET" && request.method != "POST") {
    Response no = Text(405, "only GET, HEAD and POST are served");
    no.headers.emplace_back("Allow", "GET, HEAD, POST");
    return Send(std::move(no), version, false, keep_alive);
  }
  return Send((*handler_)(request), version, head, keep_alive);
}

bool Connection::Send(Response response, unsigned version, bool head, bool keep_alive) {
  if (response.stream) return SendStream(response, version, head, keep_alive);
  bhttp::response<bhttp::string_body> out(static_cast<bhttp::status>(response.status), version);
  if (!SetHeaders(response, out)) return Send(Text(500, "a header that cannot be sent"), version, head, false);
  out.keep_alive(keep_alive);
  out.content_length(response.body.size());
  if (!head) out.body() = std::move(response.body);
  bhttp::response_serializer<bhttp::string_body> serializer(out);
  const Error error = Await(limits_->write_time, [&](auto done) {
    if (head) {
      bhttp::async_write_header(stream_, serializer, done);
    } else {
      bhttp::async_write(stream_, serializer, done);
    }
  });
  return !error && keep_alive;
}

bool Connection::SendStream(const Response& response, unsigned version, bool head, bool keep_alive) {
  bhttp::response<bhttp::empty_body> out(static_cast<bhttp::status>(response.status), version);
  if (!SetHeaders(response, out)) return Send(Text(500, "a header that cannot be sent"), version, head, false);
  chunked_ = version >= 11;
  keep_alive = keep_alive && chunked_;
  out.keep_alive(keep_alive);
  if (chunked_) out.chunked(true);
  bhttp::response_serializer<bhttp::empty_body> serializer(out);
  Error error = Await(limits_->write_time, [&](auto done) { bhttp::async_write_header(stream_, serializer, done); });
  if (error) return false;
  if (head) return keep_alive;
  response.stream(*this);
  if (broken_) return false;
  if (chunked_) {
    error = Await(limits_->write_time, [&](auto done) { asio::async_write(stream_, bhttp::make_chunk_last(), done); });
  }
  return !error && keep_alive;
}

bool Connection::Write(std::string_view bytes) {
  if (broken_) return false;
  if (bytes.empty()) return true;  // an empty chunk would be the last one
  const asio::const_buffer buffer(bytes.data(), bytes.size());
  const Error error = Await(limits_->write_time, [&](auto done) {
    if (chunked_) {
      asio::async_write(stream_, bhttp::make_chunk(buffer), done);
    } else {
      asio::async_write(stream_, buffer, done);
    }
  });
  broken_ = static_cast<bool>(error);
  return !broken_;
}

bool Connection::open() {
  if (broken_ || stopping_->load()) return false;
  char byte;
  const ssize_t n = ::recv(stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) broken_ = true;
  return !broken_;
}

void Connection::Reject(int status, std::string why) { Send(Text(status, std::move(why)), 11, false, false); }

// A socket that is closed with bytes unread sends a reset, which may overtake the answer: so they are read, for a
// while.
void Connection::Close() {
  Error error;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, error);
  char unread[4096];
  size_t left = kLingerBytes;
  while (!error && left > 0) {
    size_t got = 0;
    error = Await(kLinger, [&](auto done) {
      stream_.async_read_some(asio::buffer(unread), [&got, done](Error e, size_t n) mutable {
        got = n;
        done(e, n);
      });
    });
    left -= std::min(left, got);
  }
}

}  // namespace bailiwick::http
