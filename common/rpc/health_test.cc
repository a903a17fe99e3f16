#include "common/rpc/health.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <string>

#include "common/os/deadline.h"

namespace bailiwick::rpc {
namespace {

using ::testing::HasSubstr;

// What an answer of grpc.health.v1 holds: field 1, a varint. 1 is SERVING, 2 NOT_SERVING; -1: no answer.
int Ask(const std::string& endpoint, const std::string& method = "/grpc.health.v1.Health/Check") {
  auto channel = grpc::CreateChannel(endpoint, grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(os::DeadlineIn(absl::Seconds(20)));
  context.set_wait_for_ready(true);
  grpc::CompletionQueue queue;
  grpc::ByteBuffer response;
  grpc::Status status;
  grpc::Slice nothing;
  auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&nothing, 1), &queue);
  call->StartCall();
  call->Finish(&response, &status, &queue);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  grpc::Slice slice;
  if (!status.ok() || !response.DumpToSingleSlice(&slice).ok() || slice.size() != 2) return -1;
  return slice.begin()[1];
}

TEST(HealthServer, ServesAndDrains) {
  auto health = HealthServer::Start("127.0.0.1:0");
  ASSERT_TRUE(health.ok()) << health.status();
  EXPECT_EQ(Ask((*health)->endpoint()), 1);
  EXPECT_EQ(Ask((*health)->endpoint(), "/bailiwick.control.v1.Control/GetInfo"), -1);  // nothing else is there
  (*health)->Draining();
  EXPECT_EQ(Ask((*health)->endpoint()), 2);
}

TEST(HealthServer, SaysWhatIsWrongWithAnAddress) {
  EXPECT_THAT(HealthServer::Start("7442").status().message(), HasSubstr("is not HOST:PORT"));
  EXPECT_EQ(HealthServer::Start("256.0.0.1:1").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace bailiwick::rpc
