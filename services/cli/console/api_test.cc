#include "services/cli/console/api.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bailiwick::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A coordinator that knows one hold, one eviction, one redaction and one transfer, and answers nothing while `away`.
class Coordinator final : public control::v1::Control::Service {
 public:
  grpc::Status ListHolds(grpc::ServerContext*, const control::v1::ListHoldsRequest* request,
                         control::v1::ListHoldsResponse* response) override {
    auto* row = response->add_holds();
    row->set_dataset(request->dataset().empty() ? "planner" : request->dataset());
    row->mutable_hold()->set_hold_id("\x12\xab");
    row->mutable_hold()->set_number(3);
    row->mutable_hold()->set_by("alice");
    row->mutable_hold()->set_reason("case <b>4711</b>");
    return grpc::Status::OK;
  }
  grpc::Status ListEvictions(grpc::ServerContext*, const control::v1::ListEvictionsRequest* request,
                             control::v1::ListEvictionsResponse* response) override {
    if (request->before() == 0) {
      auto* e = response->add_evictions();
      e->set_dataset("planner");
      e->set_site(request->site().empty() ? "core" : request->site());
      e->set_state("last-copy");
    }
    const uint64_t newest = request->before() == 0 ? erased : request->before() - 1;
    const uint64_t end = newest - std::min<uint64_t>({newest, request->limit(), kErasuresOnAPage});
    for (uint64_t n = newest; n > end; --n) {
      auto* e = response->add_evictions();
      e->set_state("erased");
      e->set_receipt_id(absl::StrCat("receipt-", n));
    }
    if (end != 0) response->set_next(end + 1);
    return grpc::Status::OK;
  }
  grpc::Status ListRedactions(grpc::ServerContext*, const control::v1::ListRedactionsRequest* request,
                              control::v1::ListRedactionsResponse* response) override {
    if (request->dataset() == "nothing") return {grpc::StatusCode::NOT_FOUND, "there is no dataset nothing"};
    auto* r = response->add_redactions();
    r->set_order_id("77");
    r->set_state("pending");
    r->add_sites()->set_site("core");
    return grpc::Status::OK;
  }
  grpc::Status ListTransfers(grpc::ServerContext*, const control::v1::ListTransfersRequest*,
                             control::v1::ListTransfersResponse* response) override {
    if (away) return {grpc::StatusCode::UNAVAILABLE, "Socket closed"};
    response->add_transfers()->set_dataset("planner");
    return grpc::Status::OK;
  }
  static constexpr uint64_t kErasuresOnAPage = 40;
  bool away = false;
  uint64_t erased = 0;
};

class ApiTest : public ::testing::Test {
 protected:
  ApiTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&coordinator_);
    server_ = builder.BuildAndStart();
    Context context;
    context.coordinator = "c:1";
    api_ = std::make_unique<Api>(Admin::Over(context, server_->InProcessChannel({})));
  }
  ~ApiTest() override { server_->Shutdown(); }

  http::Response Ask(const std::string& route, const std::string& query = "", const std::string& method = "GET") {
    http::Request request;
    request.method = method;
    request.query = query;
    return api_->Answer(route, request);
  }

  Coordinator coordinator_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Api> api_;
};

TEST_F(ApiTest, AnswersAreTheCommandsFields) {
  const http::Response holds = Ask("holds");
  EXPECT_EQ(holds.status, 200);
  EXPECT_EQ(holds.headers, (http::Headers{{"Content-Type", "application/json"}}));
  EXPECT_THAT(holds.body, AllOf(HasSubstr("\"hold\": \"12ab\""), HasSubstr("\"dataset\": \"planner\""),
                                HasSubstr("\"reason\": \"case <b>4711</b>\"")));
  EXPECT_THAT(Ask("holds", "dataset=maps").body, HasSubstr("\"dataset\": \"maps\""));
  EXPECT_THAT(Ask("evictions", "site=edge").body,
              AllOf(HasSubstr("\"site\": \"edge\""), HasSubstr("\"state\": \"last-copy\"")));
  EXPECT_THAT(Ask("redactions").body, AllOf(HasSubstr("\"order\": \"77\""), HasSubstr("\"state\": \"pending\"")));
  EXPECT_THAT(Ask("transfers").body, HasSubstr("\"dataset\": \"planner\""));
}

TEST_F(ApiTest, OfWhatWasErasedTheNewestAreGatheredPageByPage) {
  coordinator_.erased = 100;
  std::string body = Ask("evictions").body;
  EXPECT_THAT(body, AllOf(HasSubstr("\"receipt-100\""), HasSubstr("\"receipt-1\""), HasSubstr("\"more\": false")));
  EXPECT_EQ(body.find("last-copy"), body.rfind("last-copy"));
  coordinator_.erased = 101;
  body = Ask("evictions").body;
  EXPECT_THAT(body, AllOf(HasSubstr("\"receipt-101\""), HasSubstr("\"receipt-2\""), Not(HasSubstr("\"receipt-1\"")),
                          HasSubstr("\"more\": true")));
}

TEST_F(ApiTest, ErrorsKeepTheirKindAndSentence) {
  const http::Response unknown = Ask("redactions", "dataset=nothing");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_THAT(unknown.body, AllOf(HasSubstr("\"code\": \"not-found\""), HasSubstr("there is no dataset nothing")));
  coordinator_.away = true;
  const http::Response away = Ask("transfers");
  EXPECT_EQ(away.status, 503);
  EXPECT_THAT(away.body, AllOf(HasSubstr("\"code\": \"unavailable\""), HasSubstr("the coordinator at c:1")));
  EXPECT_EQ(ErrorResponse(absl::PermissionDeniedError("no")).status, 403);
  EXPECT_EQ(ErrorResponse(absl::FailedPreconditionError("no")).status, 409);
  EXPECT_EQ(ErrorResponse(absl::DataLossError("no")).status, 500);
}

TEST_F(ApiTest, WhatIsMissingIsNamedBeforeAnybodyIsAsked) {
  for (const auto& [route, missing] :
       {std::pair("versions", "dataset"), std::pair("why", "dataset"), std::pair("resources", "kind"),
        std::pair("policy/explain", "from"), std::pair("policy/reach", "to"), std::pair("policy/yaml", "name"),
        std::pair("audit/prove", "id")}) {
    const http::Response response = Ask(route);
    EXPECT_EQ(response.status, 400) << route;
    EXPECT_THAT(response.body, HasSubstr(absl::StrCat("say which ", missing))) << route;
  }
  EXPECT_THAT(Ask("why", "dataset=planner").body, HasSubstr("say which site"));
  EXPECT_EQ(Ask("audit/list", "since=yesterday").status, 400);
  EXPECT_EQ(Ask("resources", "kind=secrets").status, 400);
}

TEST_F(ApiTest, ReadsAndChangesAreApart) {
  for (const char* change : {"rollback", "policy/diff"}) EXPECT_EQ(Ask(change).status, 404) << change;
  for (const char* read : {"status", "holds", "live", "audit/report"})
    EXPECT_EQ(Ask(read, "", "POST").status, 404) << read;
  for (const char* none : {"", "nothing", "../holds", "holds/", "Holds"}) EXPECT_EQ(Ask(none).status, 404) << none;
  EXPECT_EQ(Ask("rollback", "dataset=planner", "POST").status, 400) << "no version is no rollback";
}

// Reads what is sent until it has seen enough.
class Reader final : public http::BodyWriter {
 public:
  explicit Reader(std::string until) : until_(std::move(until)) {}
  bool Write(std::string_view bytes) override {
    text.append(bytes);
    return open();
  }
  bool open() override { return text.find(until_) == std::string::npos; }
  std::string text;

 private:
  const std::string until_;
};

TEST_F(ApiTest, TheStreamSaysThatTheCoordinatorIsAway) {
  coordinator_.away = true;
  const http::Response live = Ask("live");
  ASSERT_TRUE(live.stream);
  EXPECT_EQ(live.headers, (http::Headers{{"Content-Type", "text/event-stream"}}));
  Reader reader("event: away\n");
  live.stream(reader);
  EXPECT_THAT(reader.text, AllOf(StartsWith("event: "), HasSubstr("data: {\"version\":"), Not(HasSubstr("planner"))));
}

}  // namespace
}  // namespace bailiwick::cli
