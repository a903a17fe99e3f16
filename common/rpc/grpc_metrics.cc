#include "common/rpc/grpc_metrics.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/server_interceptor.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/telemetry/metrics.h"

namespace bailiwick::rpc {
namespace {

constexpr char kTransfer[] = "bailiwick.transfer.v1.Transfer";

telemetry::CounterFamily handled("bailiwick_grpc_server_handled_total", "Calls that this server has answered, by code.",
                                 {"service", "method", "code"});

// A client says whatever it likes as the name of a method: only those of our protos become labels.
std::pair<std::string, std::string> NameOf(const char* path) {
  std::string name = path != nullptr && *path == '/' ? path + 1 : "";
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return {"unknown", "unknown"};
  std::string full = name;
  full[slash] = '.';
  if (google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(full) == nullptr)
    return {"unknown", "unknown"};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

class Counting : public grpc::experimental::Interceptor {
 public:
  Counting(std::string service, std::string method) : service_(std::move(service)), method_(std::move(method)) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_STATUS)) {
      handled.With({service_, method_, CodeName(methods->GetSendStatus().error_code())}).Add();
    }
    methods->Proceed();
  }

 private:
  const std::string service_, method_;
};

class CountingFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    auto [service, method] = NameOf(info->method());
    return service == kTransfer ? nullptr : new Counting(std::move(service), std::move(method));
  }
};

}  // namespace

void CountCalls(grpc::ServerBuilder& builder) {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
  creators.push_back(std::make_unique<CountingFactory>());
  builder.experimental().SetInterceptorCreators(std::move(creators));
}

std::string CodeName(grpc::StatusCode code) {
  const int number = std::clamp<int>(code, 0, 16);
  return number != code ? "UNKNOWN" : absl::StatusCodeToString(static_cast<absl::StatusCode>(number));
}

}  // namespace bailiwick::rpc
