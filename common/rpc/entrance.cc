#include "common/rpc/entrance.h"

#include <utility>

#include "absl/time/time.h"
#include "common/base/status.h"
#include "common/os/clock.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

constexpr absl::Duration kSayEvery = absl::Minutes(1);

}  // namespace

absl::StatusOr<std::unique_ptr<Entrance>> Entrance::Open(const std::string& address,
                                                         const std::shared_ptr<grpc::ServerCredentials>& credentials,
                                                         grpc::ServerBuilder* builder) {
  std::unique_ptr<Entrance> self(new Entrance());
  BW_ASSIGN_OR_RETURN(self->listener_, os::TcpListener::Listen(address));
  self->acceptor_ = builder->experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  return self;
}

void Entrance::Start() {
  listener_->Start(
      [this](int listener_fd, int fd) {
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
        connection.listener_fd = listener_fd;
        connection.fd = fd;
        acceptor_->HandleNewConnection(&connection);
      },
      [this] { TurnedAway(); });
}

void Entrance::TurnedAway() {
  ++turned_away_;
  const absl::Duration now = os::Clock::System()->BootTime();
  if (now - said_ < kSayEvery) return;
  said_ = now;
  telemetry::Log(telemetry::Level::kError, "connections-turned-away",
                 {{"count", turned_away_},
                  {"why", "the descriptors that are left are for files"},
                  {"remedy", "a higher LimitNOFILE, or a firewall before the port"}});
}

}  // namespace bailiwick::rpc
