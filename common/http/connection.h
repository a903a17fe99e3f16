// One connection of the HTTP server; only server.cc includes this.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <memory>

#include "common/http/parse.h"
#include "common/http/server.h"

namespace bailiwick::http {

// Blocking calls with a deadline: each starts one operation of the stream and runs the connection's own io_context
// until it is done. All methods on one thread, but Cancel.
class Connection : public BodyWriter {
 public:
  using Error = boost::beast::error_code;

  Connection(const Handler* handler, const Limits* limits, const std::atomic<bool>* stopping)
      : handler_(handler), limits_(limits), stopping_(stopping), buffer_(limits->head_bytes + (64 << 10)) {}

  boost::asio::io_context& context() { return context_; }
  void Take(boost::asio::ip::tcp::socket socket) { stream_.socket() = std::move(socket); }
  // Answers requests until the client, an error or a limit ends it.
  void Serve();
  // From any thread: the operation that runs, or the next one, fails.
  void Cancel();
  void Refuse();  // says 503 without waiting, and closes

  bool Write(std::string_view bytes) override;
  bool open() override;

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  template <typename StartOperation>
  Error Await(absl::Duration within, StartOperation start);
  bool ServeOne();  // false: the connection is over
  bool Answer(Request& request, unsigned version, bool keep_alive);
  bool Send(Response response, unsigned version, bool head, bool keep_alive);
  bool SendStream(const Response& response, unsigned version, bool head, bool keep_alive);
  void Reject(int status, std::string why);
  void Close();

  const Handler* const handler_;
  const Limits* const limits_;
  const std::atomic<bool>* const stopping_;
  boost::asio::io_context context_{1};
  boost::beast::tcp_stream stream_{context_};
  boost::beast::flat_buffer buffer_;
  bool chunked_ = false;  // of the stream that is being sent
  bool broken_ = false;
};

}  // namespace bailiwick::http
