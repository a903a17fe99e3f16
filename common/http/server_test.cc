#include "common/http/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"

namespace bailiwick::http {
namespace {

// A client that says exactly what it is told to.
class Client {
 public:
  explicit Client(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  ~Client() { ::close(fd_); }
  bool connected() const { return connected_; }
  bool Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(n);
    }
    return true;
  }
  // What comes until `end` has come, or the end.
  std::string ReadTo(const std::string& end) {
    std::string all;
    char some[4096];
    while (end.empty() || !absl::StrContains(all, end)) {
      const ssize_t n = ::recv(fd_, some, sizeof some, 0);
      if (n <= 0) break;
      all.append(some, n);
    }
    return all;
  }
  std::string ReadAll() { return ReadTo(""); }
  void SayNoMore() { ::shutdown(fd_, SHUT_WR); }

 private:
  const int fd_;
  bool connected_ = false;
};

Response Echo(const Request& request) {
  if (request.path == "/bad-header") return {.headers = {{"X-A", "one\r\nX-B: two"}}, .body = "x"};
  std::string body = absl::StrCat(request.method, " ", request.path, " ?", request.query, " ", request.body, "\n");
  for (const auto& [name, value] : request.headers) absl::StrAppend(&body, name, "=", value, "\n");
  return {.headers = {{"Content-Type", "text/plain"}}, .body = body};
}

std::string Ask(int port, const std::string& text) {
  Client client(port);
  EXPECT_TRUE(client.connected());
  client.Send(text);
  return client.ReadAll();
}

std::unique_ptr<Server> Serve(Handler handler, Limits limits = {}) {
  auto server = Server::Start("127.0.0.1:0", std::move(handler), limits);
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

std::string Status(const std::string& answer) { return answer.substr(0, answer.find('\r')); }

constexpr const char* kHost = "Host: here\r\nConnection: close\r\n\r\n";

TEST(Server, AnswersWithWhatTheHandlerSays) {
  auto server = Serve(Echo);
  const std::string answer =
      Ask(server->port(), absl::StrCat("GET /a%20b?x=1&y=%2B HTTP/1.1\r\nX-Thing: v\r\n", kHost));
  EXPECT_EQ(Status(answer), "HTTP/1.1 200 OK");
  EXPECT_TRUE(absl::StrContains(answer, "GET /a b ?x=1&y=%2B \n")) << answer;
  EXPECT_TRUE(absl::StrContains(answer, "\nx-thing=v\n")) << answer;
  EXPECT_TRUE(absl::StrContains(answer, "Cache-Control: no-store\r\n"));
  EXPECT_TRUE(absl::StrContains(answer, "X-Content-Type-Options: nosniff\r\n"));
}

TEST(Server, HeadHasTheHeadersAndNoBody) {
  auto server = Serve([](const Request&) { return Response{.body = "12345"}; });
  const std::string answer = Ask(server->port(), absl::StrCat("HEAD / HTTP/1.1\r\n", kHost));
  EXPECT_TRUE(absl::StrContains(answer, "Content-Length: 5\r\n")) << answer;
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\n")) << answer;
}

TEST(Server, PostBringsItsBody) {
  auto server = Serve(Echo);
  EXPECT_TRUE(absl::StrContains(
      Ask(server->port(), "POST /p HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"),
      "POST /p ? hello\n"));
  EXPECT_TRUE(absl::StrContains(Ask(server->port(),
                                    "POST /p HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: "
                                    "chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
                                "POST /p ? hello\n"));
}

TEST(Server, OneConnectionCarriesManyRequests) {
  auto server = Serve(Echo);
  Client client(server->port());
  client.Send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
  std::string answers = client.ReadTo("GET /2");
  EXPECT_TRUE(absl::StrContains(answers, "GET /1")) << answers;
  client.Send(absl::StrCat("GET /3 HTTP/1.1\r\n", kHost));
  EXPECT_TRUE(absl::StrContains(client.ReadAll(), "GET /3"));
}

TEST(Server, HostileRequestsGetAnAnswerAndNoHandler) {
  std::atomic<int> handled{0};
  auto server = Serve([&](const Request&) {
    ++handled;
    return Text(200, "yes");
  });
  const std::string long_header = absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(20 << 10, 'x'), "\r\n", kHost);
  const std::string long_path = absl::StrCat("GET /", std::string(20 << 10, 'x'), " HTTP/1.1\r\n", kHost);
  const struct {
    std::string sent, status;
  } cases[] = {
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS", "HTTP/1.1 400 Bad Request"},
      {"GET\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET / HTTP/9.9\r\nHost: h\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET http://else.where/ HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET /%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\x01\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"GET / HTTP/1.1\r\nHost: a\r\nX y: a\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "HTTP/1.1 400 Bad Request"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       "HTTP/1.1 400 Bad Request"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n", "HTTP/1.1 413 Payload Too Large"},
      {"DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
      {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {long_header, "HTTP/1.1 431 Request Header Fields Too Large"},
      {long_path, "HTTP/1.1 431 Request Header Fields Too Large"},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(Status(Ask(server->port(), one.sent)), one.status) << one.sent.substr(0, 200);
  }
  EXPECT_EQ(handled, 0);
  EXPECT_EQ(Status(Ask(server->port(), absl::StrCat("GET / HTTP/1.1\r\n", kHost))), "HTTP/1.1 200 OK");
  EXPECT_EQ(handled, 1);
}

TEST(Server, AHeaderThatWouldSplitTheResponseIsNotSent) {
  auto server = Serve(Echo);
  const std::string answer = Ask(server->port(), absl::StrCat("GET /bad-header HTTP/1.1\r\n", kHost));
  EXPECT_EQ(Status(answer), "HTTP/1.1 500 Internal Server Error");
  EXPECT_FALSE(absl::StrContains(answer, "X-B")) << answer;
}

TEST(Server, WhoNeverFinishesARequestIsDropped) {
  auto server = Serve(Echo, {.request_time = absl::Milliseconds(100)});
  Client silent(server->port()), slow(server->port());
  EXPECT_EQ(silent.ReadAll(), "");
  while (slow.Send("G")) Client(server->port()).ReadAll();  // a byte now and then does not buy more time
}

TEST(Server, ConnectionsAreBounded) {
  auto server = Serve(Echo, {.connections = 2});
  Client one(server->port()), two(server->port());
  for (Client* client : {&one, &two}) {
    client->Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client->ReadTo("host=h");
  }
  Client three(server->port());
  EXPECT_EQ(Status(three.ReadAll()), "HTTP/1.1 503 Service Unavailable");
}

TEST(Server, AStreamArrivesPieceByPiece) {
  absl::Notification seen;
  auto server = Serve([&](const Request&) {
    return Response{.headers = {{"Content-Type", "text/event-stream"}}, .stream = [&](BodyWriter& writer) {
                      EXPECT_TRUE(writer.Write("data: 1\n\n"));
                      seen.WaitForNotification();
                      EXPECT_TRUE(writer.Write(""));
                      EXPECT_TRUE(writer.Write("data: 2\n\n"));
                    }};
  });
  Client client(server->port());
  client.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string first = client.ReadTo("data: 1\n\n\r\n");
  EXPECT_TRUE(absl::StrContains(first, "Transfer-Encoding: chunked")) << first;
  seen.Notify();
  EXPECT_EQ(client.ReadTo("\r\n0\r\n\r\n"), "9\r\ndata: 2\n\n\r\n0\r\n\r\n");
  const std::string old = Ask(server->port(), "GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(absl::EndsWith(old, "\r\n\r\ndata: 1\n\ndata: 2\n\n")) << old;
}

TEST(Server, AStreamEndsWithItsReaderAndWithTheServer) {
  std::atomic<int> ended{0};
  auto server = Serve([&](const Request&) {
    return Response{.stream = [&](BodyWriter& writer) {
      writer.Write("x");
      while (writer.open()) std::this_thread::yield();
      ++ended;
    }};
  });
  {
    Client client(server->port());
    client.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.ReadTo("x\r\n");
  }
  while (ended < 1) std::this_thread::yield();
  Client client(server->port());
  client.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  client.ReadTo("x\r\n");
  server->Stop();
  EXPECT_EQ(ended, 2);
  server->Stop();
}

TEST(Server, WhoDoesNotReadIsDropped) {
  std::atomic<bool> ended{false};
  auto server = Serve(
      [&](const Request&) {
        return Response{.stream = [&](BodyWriter& writer) {
          const std::string much(1 << 20, 'x');
          while (writer.Write(much)) {
          }
          ended = true;
        }};
      },
      {.write_time = absl::Milliseconds(100)});
  Client client(server->port());
  client.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  while (!ended) std::this_thread::yield();
}

TEST(Server, StopEndsIdleConnections) {
  auto server = Serve(Echo);
  Client client(server->port());
  client.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  client.ReadTo("host=h");
  server->Stop();
  EXPECT_EQ(client.ReadAll().substr(0, 4).find("HTTP"), std::string::npos);
}

TEST(Server, AnAddressThatCannotBeIsRefused) {
  for (const char* bad : {"", "9090", "127.0.0.1:", ":9090", "127.0.0.1:http"}) {
    EXPECT_EQ(Server::Start(bad, Echo).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  auto server = Serve(Echo);
  EXPECT_EQ(Server::Start(absl::StrCat("127.0.0.1:", server->port()), Echo).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Server::Start("[::1]:0", Echo).ok());
}

// From here on the calling thread has a kernel without IPv6.
void LoseIpv6() {
  sock_filter program[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                           BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
                           BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
                           BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog filter{.len = std::size(program), .filter = program};
  ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

TEST(Server, AnyAddressIsAnyThatTheKernelHas) {
  auto with_ipv6 = Server::Start("[::]:0", Echo);
  ASSERT_TRUE(with_ipv6.ok()) << with_ipv6.status();
  EXPECT_TRUE(Client((*with_ipv6)->port()).connected()) << "IPv4 comes in there too";
  std::unique_ptr<Server> server;
  std::thread([&server] {
    LoseIpv6();
    EXPECT_FALSE(Server::Start("[::1]:0", Echo).ok()) << "an address that is meant is not another";
    auto started = Server::Start("[::]:0", Echo);
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
  }).join();
  ASSERT_NE(server, nullptr);
  EXPECT_TRUE(Client(server->port()).connected());
}

TEST(Message, QueriesAreDecoded) {
  const Request request{.query = "a=1&b=x%20y+z&c&a=2&bad=%g1&%61b=q"};
  EXPECT_EQ(request.Query("a"), "1");
  EXPECT_EQ(request.Query("b"), "x y z");
  EXPECT_EQ(request.Query("c"), "");
  EXPECT_EQ(request.Query("ab"), "q");
  EXPECT_EQ(request.Query("bad"), std::nullopt);
  EXPECT_EQ(request.Query("none"), std::nullopt);
}

}  // namespace
}  // namespace bailiwick::http
