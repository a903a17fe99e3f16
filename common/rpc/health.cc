#include "common/rpc/health.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/health_check_service_interface.h>

#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/os/deadline.h"
#include "common/rpc/credentials.h"

namespace bailiwick::rpc {

HealthServer::~HealthServer() {
  if (entrance_ != nullptr) entrance_->Stop();
  if (server_ != nullptr) server_->Shutdown(os::DeadlineIn(absl::Seconds(1)));
}

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Start(const std::string& address) {
  auto wanted = ParseHostPort(address);
  if (!wanted.ok()) return Annotate(wanted.status(), "--health-listen");
  grpc::ServerBuilder builder;
  ApplyServerLimits(builder, Door::kOpen);
  std::unique_ptr<HealthServer> self(new HealthServer());
  auto entrance = Entrance::Open(address, grpc::InsecureServerCredentials(), &builder);
  if (!entrance.ok()) {
    return absl::UnavailableError(absl::StrCat(std::string(entrance.status().message()),
                                               " for health checks; is the port taken? choose another with "
                                               "--health-listen HOST:PORT"));
  }
  self->entrance_ = *std::move(entrance);
  builder.RegisterCallbackGenericService(&self->nothing_else_);
  grpc::EnableDefaultHealthCheckService(true);
  self->server_ = builder.BuildAndStart();
  grpc::EnableDefaultHealthCheckService(false);
  if (self->server_ == nullptr) return absl::InternalError("the health server cannot be started");
  self->entrance_->Start();
  self->endpoint_ = JoinHostPort(wanted->host, self->entrance_->port());
  return self;
}

void HealthServer::Draining() { server_->GetHealthCheckService()->SetServingStatus(false); }

}  // namespace bailiwick::rpc
