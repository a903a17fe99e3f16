#include "common/http/server.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/http/connection.h"

namespace bailiwick::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::beast::error_code;

constexpr std::chrono::milliseconds kAfterFailedAccept{100};  // out of descriptors, say

}  // namespace

class Server::Impl {
 public:
  Impl(Handler handler, Limits limits) : handler_(std::move(handler)), limits_(limits) {}
  ~Impl() { Stop(); }

  absl::Status Listen(const std::string& address) {
    BW_ASSIGN_OR_RETURN(const HostPort wanted, ParseHostPort(address));
    Error error;
    tcp::resolver resolver(context_);
    const auto found = resolver.resolve(wanted.host, absl::StrCat(wanted.port),
                                        tcp::resolver::passive | tcp::resolver::numeric_service, error);
    if (error || found.empty())
      return absl::UnavailableError(absl::StrCat("cannot find ", wanted.host, ": ", error.message()));
    tcp::endpoint endpoint = *found.begin();
    acceptor_.open(endpoint.protocol(), error);
    if (error == asio::error::address_family_not_supported && endpoint.address().is_unspecified()) {
      endpoint = tcp::endpoint(tcp::v4(), endpoint.port());  // "any" of a kernel without IPv6
      acceptor_.open(endpoint.protocol(), error);
    }
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (!error) port_ = acceptor_.local_endpoint(error).port();
    if (error) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", address, ": ", error.message(), "; is the port taken? choose another"));
    }
    thread_ = std::thread([this] { AcceptAll(); });
    return absl::OkStatus();
  }

  int port() const { return port_; }

  void Stop() {
    stopping_ = true;
    asio::post(context_, [this] {
      Error ignored;
      acceptor_.close(ignored);
      pause_.cancel();
    });
    if (thread_.joinable()) thread_.join();
    for (Client& client : clients_) client.connection.Cancel();
    for (Client& client : clients_) {
      if (client.thread.joinable()) client.thread.join();
    }
    clients_.clear();
  }

 private:
  struct Client {
    Client(const Handler* handler, const Limits* limits, const std::atomic<bool>* stopping)
        : connection(handler, limits, stopping) {}
    Connection connection;
    std::thread thread;
    std::atomic<bool> over{false};
  };

  void AcceptAll() {
    while (!stopping_) {
      std::list<Client> next;
      next.emplace_back(&handler_, &limits_, &stopping_);
      Client& client = next.front();
      Error result = asio::error::operation_aborted;
      acceptor_.async_accept(client.connection.context(), [&](Error error, tcp::socket socket) {
        result = error;
        if (!error) client.connection.Take(std::move(socket));
      });
      context_.restart();
      context_.run();
      if (stopping_) return;
      Reap();
      if (result) {
        pause_.expires_after(kAfterFailedAccept);
        pause_.async_wait([](Error) {});
        context_.restart();
        context_.run();
      } else if (static_cast<int>(clients_.size()) >= limits_.connections) {
        client.connection.Refuse();
      } else {
        Begin(std::move(next));
      }
    }
  }

  void Begin(std::list<Client> one) {
    clients_.splice(clients_.end(), one);
    Client& client = clients_.back();
    client.thread = std::thread([&client] {
      client.connection.Serve();
      client.over = true;
    });
  }

  void Reap() {
    for (auto it = clients_.begin(); it != clients_.end();) {
      if (!it->over) {
        ++it;
        continue;
      }
      it->thread.join();
      it = clients_.erase(it);
    }
  }

  const Handler handler_;
  const Limits limits_;
  std::atomic<bool> stopping_{false};
  asio::io_context context_{1};  // of the accepting thread
  tcp::acceptor acceptor_{context_};
  asio::steady_timer pause_{context_};
  int port_ = 0;
  std::thread thread_;
  std::list<Client> clients_;  // changed by the accepting thread, and by Stop once that has ended
};

Server::Server(const std::string& address, std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)), endpoint_(absl::StrCat(address.substr(0, address.rfind(':')), ":", impl_->port())) {}
Server::~Server() = default;
int Server::port() const { return impl_->port(); }
void Server::Stop() { impl_->Stop(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const std::string& address, Handler handler, Limits limits) {
  auto impl = std::make_unique<Impl>(std::move(handler), limits);
  if (absl::Status status = impl->Listen(address); !status.ok()) return status;
  return std::unique_ptr<Server>(new Server(address, std::move(impl)));
}

}  // namespace bailiwick::http
