// Real handshakes on the loopback interface: who gets in, who does not, and what is said then.
#include "common/rpc/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>

#include "bailiwick/enroll/v1/enroll.grpc.pb.h"
#include "common/crypto/digest.h"
#include "common/identity/certificate_fixture.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/telemetry/log.h"

namespace bailiwick::rpc {
namespace {

using identity::Kind;
using identity::SpiffeId;
using ::testing::HasSubstr;

const SpiffeId kCoordinator{Kind::kCoordinator, "example.org", "", "", ""};
const SpiffeId kFactory{Kind::kAgent, "example.org", "eu/de/fra", "factory", "a"};
const SpiffeId kCore{Kind::kAgent, "example.org", "eu/de", "core", "a"};

identity::CertificateAuthority NewCa() {
  return *identity::NewAuthority("example.org", os::Clock::System()->Now(), absl::Hours(24 * 365));
}

// Answers with who is asking. `offset` moves the server's idea of now.
class WhoAmI : public enroll::v1::Enroll::Service {
 public:
  grpc::Status Join(grpc::ServerContext* context, const enroll::v1::JoinRequest*,
                    enroll::v1::JoinResponse* response) override {
    ++calls;
    auto peer = PeerOf(*context, os::Clock::System()->Now() + offset);
    if (!peer.ok()) return ToGrpc(peer.status());
    response->set_spiffe_id(peer->uri);
    response->set_ca_pem(peer->certificate_sha256);
    return grpc::Status::OK;
  }
  std::atomic<int> calls{0};
  absl::Duration offset;
};

class MutualTlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    telemetry::InitLogging("rpc-test", telemetry::Format::kText, telemetry::Level::kError);  // refusals are expected
    RouteGrpcLog();
  }
  void SetUp() override {
    root_ = ::testing::TempDir() + "bw-rpc-" + std::to_string(::getpid()) + "-" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::time_point::min());
    server_.reset();
    EXPECT_TRUE(files_->RemoveTree(root_).ok());
  }

  static const identity::CertificateAuthority& Ca() {
    static const identity::CertificateAuthority ca = NewCa();
    return ca;
  }
  static const identity::CertificateAuthority& ForeignCa() {
    static const identity::CertificateAuthority ca = NewCa();
    return ca;
  }
  static std::string Pin(const identity::CertificateAuthority& ca) {
    return identity::CertificateSha256(ca.certificate_pem);
  }

  CredentialFiles Put(const std::string& name, const std::string& key, const std::string& chain,
                      const std::string& trusted) {
    const std::string directory = os::JoinPath(root_, name);
    EXPECT_TRUE(files_->MakeDirs(directory).ok());
    EXPECT_TRUE(os::WriteFileAtomically(files_, os::JoinPath(directory, "key.pem"), key).ok());
    EXPECT_TRUE(os::WriteFileAtomically(files_, os::JoinPath(directory, "cert.pem"), chain).ok());
    EXPECT_TRUE(os::WriteFileAtomically(files_, os::JoinPath(directory, "ca.pem"), trusted).ok());
    return {directory};
  }
  // Credentials of `id` from `issuer`; they trust `trusted`.
  CredentialFiles Issue(const std::string& name, const SpiffeId& id, const identity::CertificateAuthority& issuer,
                        const identity::CertificateAuthority& trusted) {
    auto key = *identity::NewTlsKey();
    auto leaf = *identity::IssueCertificate(issuer, key.csr_der, id, os::Clock::System()->Now(), absl::Hours(24));
    return Put(name, key.private_key_pem, leaf + issuer.certificate_pem, trusted.certificate_pem);
  }
  CredentialFiles Issue(const std::string& name, const SpiffeId& id) { return Issue(name, id, Ca(), Ca()); }
  CredentialFiles Odd(const std::string& name, const std::string& names, absl::Duration from, absl::Duration to) {
    auto key = *identity::NewTlsKey();
    const absl::Time now = os::Clock::System()->Now();
    auto leaf = identity::IssueOdd(Ca(), key, {names, now + from, now + to});
    return Put(name, key.private_key_pem, leaf + Ca().certificate_pem, Ca().certificate_pem);
  }

  void Serve(const absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>>& credentials) {
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    grpc::ServerBuilder builder;
    ApplyServerLimits(builder);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", *credentials, &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    ASSERT_NE(port, 0);
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  grpc::Status Ask(const std::shared_ptr<grpc::Channel>& channel, enroll::v1::JoinResponse* response,
                   size_t payload = 0) {
    auto stub = enroll::v1::Enroll::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(os::Clock::System()->Now() + absl::Seconds(20)));
    enroll::v1::JoinRequest request;
    request.set_token(std::string(payload, 'x'));
    return stub->Join(&context, request, response);
  }
  grpc::Status Ask(const CredentialFiles& client, const std::string& expected) {
    auto credentials = MutualChannelCredentials(client, expected);
    if (!credentials.ok()) return ToGrpc(credentials.status());
    response_.Clear();
    return Ask(*Dial(address_, *credentials, Proxy()), &response_);
  }

  os::Files* files_ = os::Files::System();
  std::string root_;
  WhoAmI service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  enroll::v1::JoinResponse response_;
};

// ---- mutual

TEST_F(MutualTlsTest, BothEndsProveWhoTheyAre) {
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  CredentialFiles client = Issue("client", kFactory);
  grpc::Status status = Ask(client, kCoordinator.str());
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.spiffe_id(), kFactory.str());
  EXPECT_EQ(response_.ca_pem(), identity::CertificateSha256(*os::ReadFile(files_, client.directory + "/cert.pem")));
}

TEST_F(MutualTlsTest, TheClientSeesTheServersIdentityToo) {
  Serve(MutualServerCredentials(Issue("server", kCore)));
  auto credentials = MutualChannelCredentials(Issue("client", kFactory), kCore.str());
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  auto stub = enroll::v1::Enroll::NewStub(*Dial(address_, *credentials, Proxy()));
  grpc::ClientContext context;
  enroll::v1::JoinResponse response;
  ASSERT_TRUE(stub->Join(&context, {}, &response).ok());
  auto peer = PeerOf(*context.auth_context(), os::Clock::System()->Now());
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->id, kCore);
  EXPECT_EQ(PeerOf(*context.auth_context(), os::Clock::System()->Now() + absl::Hours(25)).status().code(),
            absl::StatusCode::kUnauthenticated);
}

TEST_F(MutualTlsTest, AForeignCaIsRefusedByEitherEnd) {
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  // The right name, the right root trusted, but signed by somebody else.
  EXPECT_FALSE(Ask(Issue("forged", kFactory, ForeignCa(), Ca()), kCoordinator.str()).ok());
  EXPECT_FALSE(Ask(Issue("elsewhere", kFactory, Ca(), ForeignCa()), kCoordinator.str()).ok());
  EXPECT_EQ(service_.calls, 0) << "nothing was served before the refusal";
}

TEST_F(MutualTlsTest, NoCertificateNoRpc) {
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  auto channel = JoinChannel(address_, Pin(Ca()), "", Proxy());  // right about the server, with nothing to show
  enroll::v1::JoinResponse response;
  EXPECT_FALSE(channel.ok() && Ask(*channel, &response).ok());
  EXPECT_FALSE(Ask(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()), &response).ok());
  EXPECT_EQ(service_.calls, 0);
}

TEST_F(MutualTlsTest, AnotherServerThanExpectedIsRefused) {
  Serve(MutualServerCredentials(Issue("server", kCore)));
  CredentialFiles client = Issue("client", kFactory);
  for (const std::string& expected :
       {kCoordinator.str(), kFactory.str(), kCore.str() + "b", kCore.str().substr(0, kCore.str().size() - 1),
        std::string("spiffe://example.org/region/eu/site/core/agent/a"), std::string()}) {
    grpc::Status status = Ask(client, expected);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << expected;
    EXPECT_THAT(status.error_message(), HasSubstr("the peer is " + kCore.str() + ", not " + expected));
  }
  EXPECT_EQ(service_.calls, 0);
  EXPECT_TRUE(Ask(client, kCore.str()).ok());
}

TEST_F(MutualTlsTest, AServerWithTwoNamesIsRefusedEvenIfOneIsRight) {
  const std::string two = "URI:" + kCore.str() + ",URI:" + kCoordinator.str();
  Serve(MutualServerCredentials(Odd("server", two, -absl::Hours(1), absl::Hours(1))));
  CredentialFiles client = Issue("client", kFactory);
  EXPECT_FALSE(Ask(client, kCoordinator.str()).ok());
  EXPECT_FALSE(Ask(client, kCore.str()).ok());
  EXPECT_EQ(service_.calls, 0);
}

// gRPC completes these handshakes: it is PeerOf that must refuse.
TEST_F(MutualTlsTest, AClientWithoutExactlyOneIdentityIsNobody) {
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  const std::string names[] = {"URI:" + kCore.str() + ",URI:" + kFactory.str(),
                               "URI:" + kFactory.str() + ",URI:https://example.org/",
                               "URI:spiffe://example.org/region/eu/somewhere",
                               "DNS:factory.example.org",
                               "DNS:" + std::string("example.org") + ",email:a@example.org",
                               ""};
  int i = 0;
  for (const std::string& name : names) {
    grpc::Status status =
        Ask(Odd("client" + std::to_string(i++), name, -absl::Hours(1), absl::Hours(1)), kCoordinator.str());
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << name << ": " << status.error_message();
    EXPECT_EQ(response_.spiffe_id(), "");
  }
}

TEST_F(MutualTlsTest, ACertificateThatExpiredDuringAConnectionNoLongerCounts) {
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  auto credentials = MutualChannelCredentials(Issue("client", kFactory), kCoordinator.str());
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  auto channel = *Dial(address_, *credentials, Proxy());
  ASSERT_TRUE(Ask(channel, &response_).ok());
  service_.offset = absl::Hours(24) + absl::Minutes(1);
  grpc::Status status = Ask(channel, &response_);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(status.error_message(), HasSubstr(kFactory.str()));
  EXPECT_THAT(status.error_message(), HasSubstr("expired"));
  service_.offset = -absl::Hours(1);
  EXPECT_EQ(Ask(channel, &response_).error_code(), grpc::StatusCode::UNAUTHENTICATED) << "not valid yet";
  service_.offset = absl::ZeroDuration();
  EXPECT_TRUE(Ask(channel, &response_).ok());
}

TEST_F(MutualTlsTest, AnExpiredOrFutureCertificateDoesNotConnect) {
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  const std::string name = "URI:" + kFactory.str();
  EXPECT_FALSE(Ask(Odd("old", name, -absl::Hours(2), -absl::Hours(1)), kCoordinator.str()).ok());
  EXPECT_FALSE(Ask(Odd("future", name, absl::Hours(1), absl::Hours(2)), kCoordinator.str()).ok());
  EXPECT_EQ(service_.calls, 0);
  EXPECT_TRUE(Ask(Odd("live", name, -absl::Hours(1), absl::Hours(1)), kCoordinator.str()).ok());
}

TEST_F(MutualTlsTest, FilesThatCannotWorkAreNamedAtOnce) {
  CredentialFiles good = Issue("good", kFactory);
  CredentialFiles other = Issue("other", kFactory);
  CredentialFiles mixed = Put("mixed", *os::ReadFile(files_, other.directory + "/key.pem"),
                              *os::ReadFile(files_, good.directory + "/cert.pem"), Ca().certificate_pem);
  for (const absl::Status& status : {MutualServerCredentials(mixed).status(), JoinServerCredentials(mixed).status(),
                                     MutualChannelCredentials(mixed, kCoordinator.str()).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(mixed.directory));
  }
  absl::Status missing = MutualServerCredentials({root_ + "/nothing"}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(root_ + "/nothing"));
}

// As an agent renews: a new directory, then the link to it is replaced.
TEST_F(MutualTlsTest, ARenewedCertificateIsUsedForNewConnectionsWithoutARestart) {
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  CredentialFiles first = Issue("gen-1", kFactory);
  CredentialFiles second = Issue("gen-2", kFactory);
  const std::string live = root_ + "/live";
  std::filesystem::create_symlink("gen-1", live);
  auto credentials = MutualChannelCredentials({live}, kCoordinator.str());
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  auto old = *Dial(address_, *credentials, Proxy());
  ASSERT_TRUE(Ask(old, &response_).ok());
  const std::string before = response_.ca_pem();
  std::filesystem::create_symlink("gen-2", live + ".new");
  std::filesystem::rename(live + ".new", live);
  const std::string renewed = identity::CertificateSha256(*os::ReadFile(files_, second.directory + "/cert.pem"));
  ASSERT_NE(renewed, before);
  os::Clock* clock = os::Clock::System();
  const absl::Duration deadline = clock->BootTime() + absl::Seconds(20);
  while (clock->BootTime() < deadline) {
    ASSERT_TRUE(Ask(*Dial(address_, *credentials, Proxy()), &response_).ok());
    if (response_.ca_pem() == renewed) break;
    clock->SleepFor(absl::Milliseconds(100));
  }
  EXPECT_EQ(response_.ca_pem(), renewed);
  ASSERT_TRUE(Ask(old, &response_).ok()) << "the live connection goes on";
  EXPECT_EQ(response_.ca_pem(), before);
}

TEST_F(MutualTlsTest, AProxyOfTheEnvironmentIsNotForThisMachine) {
  setenv("https_proxy", "http://127.0.0.1:1", 1);
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  grpc::Status status = Ask(Issue("client", kFactory), kCoordinator.str());
  EXPECT_TRUE(status.ok()) << status.error_message();
  unsetenv("https_proxy");
  unsetenv("http_proxy");
}

TEST_F(MutualTlsTest, AMessageLargerThanTheLimitIsRefusedAndTheNextIsServed) {
  Serve(MutualServerCredentials(Issue("server", kCoordinator)));
  auto credentials = MutualChannelCredentials(Issue("client", kFactory), kCoordinator.str());
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  auto channel = *Dial(address_, *credentials, Proxy());
  EXPECT_EQ(Ask(channel, &response_, 5 << 20).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Ask(channel, &response_, 2 << 20).ok()) << "a transfer frame's size";
}

// ---- joining

TEST_F(MutualTlsTest, JoiningTrustsThePinnedCaOnly) {
  Serve(JoinServerCredentials(Issue("server", kCoordinator)));
  auto channel = JoinChannel(address_, Pin(Ca()), "", Proxy());
  ASSERT_TRUE(channel.ok()) << channel.status();
  enroll::v1::JoinResponse response;
  // Served, and nobody: the join port asks for no certificate.
  EXPECT_EQ(Ask(*channel, &response).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(service_.calls, 1);
  EXPECT_TRUE(JoinChannel(address_, Pin(Ca()), "example.org", Proxy()).ok());

  auto foreign = JoinChannel(address_, Pin(ForeignCa()), "", Proxy());
  EXPECT_EQ(foreign.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(foreign.status().message()), HasSubstr("pin"));
  EXPECT_EQ(JoinChannel(address_, Pin(Ca()), "example.com", Proxy()).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(JoinChannel(address_, "", "", Proxy()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(service_.calls, 1);
}

// The CA certificate is public: sending it along proves nothing.
TEST_F(MutualTlsTest, JoiningIsNotFooledByTheRightCaBesideAForeignLeaf) {
  auto key = *identity::NewTlsKey();
  auto leaf =
      *identity::IssueCertificate(ForeignCa(), key.csr_der, kCoordinator, os::Clock::System()->Now(), absl::Hours(24));
  Serve(JoinServerCredentials(Put("server", key.private_key_pem, leaf + Ca().certificate_pem, Ca().certificate_pem)));
  EXPECT_EQ(JoinChannel(address_, Pin(Ca()), "", Proxy()).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(MutualTlsTest, JoiningNeedsTheCaInTheChain) {
  auto key = *identity::NewTlsKey();
  auto leaf = *identity::IssueCertificate(Ca(), key.csr_der, kCoordinator, os::Clock::System()->Now(), absl::Hours(24));
  Serve(JoinServerCredentials(Put("server", key.private_key_pem, leaf, Ca().certificate_pem)));
  EXPECT_EQ(JoinChannel(address_, Pin(Ca()), "", Proxy()).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(MutualTlsTest, AnAgentCannotPassForTheCoordinatorAtJoin) {
  Serve(JoinServerCredentials(Issue("server", kCore)));
  auto channel = JoinChannel(address_, Pin(Ca()), "", Proxy());
  EXPECT_EQ(channel.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(channel.status().message()), HasSubstr(kCore.str()));
}

TEST_F(MutualTlsTest, AnExpiredCoordinatorIsRefusedAtJoin) {
  Serve(JoinServerCredentials(Odd("server", "URI:" + kCoordinator.str(), -absl::Hours(2), -absl::Hours(1))));
  auto channel = JoinChannel(address_, Pin(Ca()), "", Proxy());
  EXPECT_EQ(channel.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(channel.status().message()), HasSubstr("expired"));
}

TEST_F(MutualTlsTest, NobodyAtTheJoinAddressIsUnavailable) {
  Serve(JoinServerCredentials(Issue("server", kCoordinator)));
  server_->Shutdown(std::chrono::system_clock::time_point::min());
  server_.reset();
  auto channel = JoinChannel(address_, Pin(Ca()), "", Proxy());
  EXPECT_EQ(channel.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(channel.status().message()), HasSubstr(address_));
}

// ---- statuses

TEST(Statuses, KeepCodeAndWordsBothWays) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
}

}  // namespace
}  // namespace bailiwick::rpc
