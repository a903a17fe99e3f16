// For tests of the core: a real catalog and audit log in a temporary directory, a clock that moves when told, an admin
// with a policy key, agents that are sessions with a memory.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/config/yaml.h"
#include "common/crypto/digest.h"
#include "common/rpc/codec.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {

inline constexpr char kLaw[] = R"(
apiVersion: bailiwick/v1
kind: Region
metadata: {name: eu}
spec: {}
---
apiVersion: bailiwick/v1
kind: Region
metadata: {name: us}
spec: {}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: factory, labels: {tier: edge}}
spec: {region: eu}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: core, labels: {tier: onprem}}
spec: {region: eu}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: cloud, labels: {tier: cloud}}
spec: {region: us}
---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: acme}
spec:
  rules:
  - {id: within-eu, effect: permit, from: {in: [eu]}, to: {in: [eu]}, basis: residency}
  - {id: eu-stays, effect: forbid, from: {in: [eu]}, to: {notIn: [eu]}}
)";
inline constexpr char kDataset[] = R"(
apiVersion: bailiwick/v1
kind: Dataset
metadata: {name: planner, labels: {class: model}}
spec: {home: {site: factory, path: /data/planner}}
)";
inline constexpr char kReplication[] = R"(
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {name: everywhere}
spec: {select: {matchLabels: {class: model}}, to: [{site: core}, {site: cloud}]}
)";

class FakeSession : public Session {
 public:
  explicit FakeSession(rpc::Peer peer) : peer_(std::move(peer)) {}
  const rpc::Peer& peer() const override { return peer_; }
  void Send(agent::v1::CoordinatorMessage message) override { sent.push_back(std::move(message)); }
  void Close(const absl::Status& status) override { closed = status; }
  void Drain() override { closed = absl::OkStatus(); }

  // The newest message of a kind; null: none.
  const agent::v1::CoordinatorMessage* Last(agent::v1::CoordinatorMessage::KindCase kind) const {
    for (auto it = sent.rbegin(); it != sent.rend(); ++it) {
      if (it->kind_case() == kind) return &*it;
    }
    return nullptr;
  }

  std::vector<agent::v1::CoordinatorMessage> sent;
  std::optional<absl::Status> closed;

 private:
  const rpc::Peer peer_;
};

class CoreTest : public ::testing::Test {
 protected:
  using Message = agent::v1::CoordinatorMessage;

  void SetUp() override {
    directory_ = absl::StrCat(::testing::TempDir(), "/bw-core-", getpid(), "-",
                              ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(files_->RemoveTree(directory_).ok());
    ASSERT_TRUE(files_->MakeDirs(directory_).ok());
    auto ca = identity::NewAuthority("acme", clock_.Now(), absl::Hours(24 * 365));
    ASSERT_TRUE(ca.ok());
    const std::string ca_directory = directory_ + "/ca";
    ASSERT_TRUE(files_->MakeDirs(ca_directory).ok());
    ASSERT_TRUE(os::WriteFileAtomically(files_, ca_directory + "/cert.pem", ca->certificate_pem).ok());
    ASSERT_TRUE(os::WriteFileAtomically(files_, ca_directory + "/key.pem", ca->private_key_pem).ok());
    authority_ = *Authority::Open(files_, &clock_, ca_directory, "acme", {});
    Restart();
  }
  void TearDown() override {
    core_.reset();
    audit_.reset();
    catalog_.reset();
    EXPECT_TRUE(files_->RemoveTree(directory_).ok());
  }

  void Restart() {
    core_.reset();
    audit_.reset();
    catalog_.reset();
    sessions_.clear();
    catalog_ = *Catalog::Open(files_, directory_ + "/catalog.db");
    audit_ = *audit::Log::Open(files_, &clock_, os::Random::System(), directory_ + "/audit");
    core_ = std::make_unique<Core>(catalog_.get(), audit_.get(), &grant_key_, &timestamp_key_, &clock_,
                                   os::Random::System());
    core_->Prepare({"acme", authority_.get(), [this] { return authority_->Roots(); },
                    std::make_shared<rpc::Gate>(rpc::Gate::Options{
                        .trust_domain = "acme", .now = [this] { return clock_.Now(); }, .refused = {}})});
    ASSERT_TRUE(core_->Load().ok());
    core_->Listening("127.0.0.1:1", "127.0.0.1:2");
  }

  // --- the admin
  static std::vector<config::Resource> Parse(const std::string& yaml) {
    auto located = config::ParseYaml(yaml, "test.yaml");
    EXPECT_TRUE(located.ok()) << located.status();
    std::vector<config::Resource> out;
    if (!located.ok()) return out;
    for (const auto& l : *located) out.push_back(l.resource);
    return out;
  }
  config::Catalog Catalogued() {
    config::Catalog catalog;
    auto listed = core_->Resources({});
    EXPECT_TRUE(listed.ok()) << listed.status();
    if (!listed.ok()) return catalog;
    for (const auto& r : listed->resources()) catalog[{config::KindOf(r), r.metadata().name()}] = r;
    return catalog;
  }
  resource::v1::PolicyBundle BundleOf(const config::Catalog& catalog, uint64_t revision) {
    resource::v1::PolicyBundle bundle;
    bundle.set_format(1);
    bundle.set_revision(revision);
    bundle.set_trust_domain("acme");
    bundle.set_root(config::EncodePolicyRoot({{policy_key_.public_key()}, 1}));
    config::AddLaw(catalog, &bundle);
    for (const auto& [site, key] : enrolment_) {
      auto* pin = bundle.add_enrolment_keys();
      pin->set_site(site);
      pin->set_agent(site);
      pin->set_ed25519(key.public_key());
    }
    bundle.add_grant_keys()->set_ed25519(grant_key_.public_key());
    bundle.add_classifier_keys()->set_ed25519(policy_key_.public_key());
    bundle.add_timestamp_keys()->set_ed25519(timestamp_key_.public_key());
    rpc::ToProto(clock_.Now(), bundle.mutable_issued_at());
    return bundle;
  }
  types::v1::Envelope Signed(std::string_view type, const google::protobuf::Message& message) const {
    types::v1::Envelope out;
    rpc::ToProto(crypto::SignEnvelope(type, message.SerializeAsString(), policy_key_), &out);
    return out;
  }
  static resource::v1::Classification Classify(const config::Resource& dataset, uint64_t revision) {
    resource::v1::Classification c;
    c.set_format(1);
    c.set_dataset_id(std::string(crypto::Sha256(dataset.metadata().name()).view().substr(0, 16)));
    c.set_dataset(dataset.metadata().name());
    *c.mutable_labels() = dataset.metadata().labels();
    c.set_home_site(dataset.dataset().home().site());
    if (dataset.dataset().home().has_site_selector())
      *c.mutable_home_selector() = dataset.dataset().home().site_selector();
    c.set_epoch(1);
    c.set_revision(revision);
    return c;
  }
  // What the command line would send for these resources: a new bundle each time, a classification of each Dataset.
  control::v1::ApplyRequest Request(const std::string& yaml) {
    control::v1::ApplyRequest request;
    auto info = core_->Info();
    request.set_expected_generation(info.generation());
    config::Catalog after = Catalogued();
    for (const config::Resource& r : Parse(yaml)) {
      after[{config::KindOf(r), r.metadata().name()}] = r;
      *request.add_upserts() = r;
      if (r.has_dataset())
        *request.add_classifications() = Signed(crypto::kClassificationType, Classify(r, info.generation() + 1));
    }
    *request.mutable_bundle() = Signed(crypto::kBundleType, BundleOf(after, info.policy_revision() + 1));
    return request;
  }
  absl::Status Apply(const control::v1::ApplyRequest& request) {
    return core_->Apply("spiffe://acme/admin/alice", request).status();
  }
  absl::Status Apply(const std::string& yaml) { return Apply(Request(yaml)); }

  // --- agents
  absl::StatusOr<enroll::v1::JoinResponse> Join(const std::string& token, const std::string& site) {
    auto tls = identity::NewTlsKey();
    enroll::v1::JoinRequest request;
    request.set_token(token);
    request.set_csr_der(tls->csr_der);
    request.set_incarnation(std::string(16, 'i'));
    const crypto::SigningKey& key = enrolment_.try_emplace(site, *crypto::SigningKey::Generate()).first->second;
    request.set_enrolment_ed25519(key.public_key());
    request.set_enrolment_proof(
        key.Sign(absl::StrCat("bailiwick-join-v1", std::string(crypto::Sha256(tls->csr_der).view()), token)));
    return core_->Join(request);
  }
  std::string Token(const std::string& site) {
    control::v1::CreateJoinTokenRequest request;
    request.set_site(site);
    auto response = core_->CreateJoinToken("spiffe://acme/admin/alice", request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->token() : "";
  }
  static rpc::Peer PeerOf(const std::string& site, const std::string& region) {
    rpc::Peer peer;
    peer.id = {.kind = identity::Kind::kAgent, .trust_domain = "acme", .region = region, .site = site, .name = site};
    peer.uri = peer.id.str();
    peer.not_after = absl::InfiniteFuture();
    return peer;
  }
  absl::Status Hello(const std::shared_ptr<FakeSession>& session, const std::string& endpoint = "127.0.0.1:9",
                     const std::vector<std::string>& enforces = {}) {
    agent::v1::AgentHello hello;
    hello.set_protocol_min(1);
    hello.set_protocol_max(1);
    hello.set_incarnation(std::string(16, 'i'));
    hello.set_endpoint(endpoint);
    for (const std::string& part : enforces) hello.add_enforces(part);
    hello.set_policy_revision(core_->Info().policy_revision());
    return core_->OnHello(session, hello);
  }
  FakeSession& Connect(const std::string& site, const std::string& endpoint = "127.0.0.1:9") {
    auto session = std::make_shared<FakeSession>(PeerOf(site, site == "cloud" ? "us" : "eu"));
    const absl::Status status = Hello(session, endpoint);
    EXPECT_TRUE(status.ok()) << status;
    sessions_[site] = session;
    return *session;
  }
  void Disconnect(const std::string& site) {
    core_->OnClosed(sessions_.at(site));
    sessions_.erase(site);
  }
  void Say(const std::string& site, const agent::v1::AgentMessage& message) {
    core_->OnMessage(sessions_.at(site), message);
  }
  void SayInstalled() {  // every connected agent has the newest policy
    agent::v1::AgentMessage message;
    message.mutable_policy()->set_revision(core_->Info().policy_revision());
    for (const auto& [site, session] : sessions_) core_->OnMessage(session, message);
  }
  // Three joined, approved and connected sites, one dataset at factory that core and cloud want.
  void Fleet() {
    ASSERT_TRUE(Apply(kLaw).ok());
    for (const char* site : {"factory", "core", "cloud"}) ASSERT_TRUE(Join(Token(site), site).ok());
    ASSERT_TRUE(Apply(absl::StrCat(kDataset, "---", kReplication)).ok());
    for (const char* site : {"factory", "core", "cloud"}) Connect(site);
  }

  DatasetId dataset() { return *DatasetId::From(core_->Datasets().datasets(0).dataset_id()); }
  store::VersionRecord Record(VersionNumber number) {
    store::VersionRecord r;
    r.dataset_id = dataset();
    r.dataset = "planner";
    r.home_site = "factory";
    r.home_incarnation.bytes.fill('i');
    r.home_epoch = 1;
    r.number = number;
    r.manifest_root = *Digest::From(Digest::kSha256, std::string(32, 'm'));
    r.files = 3;
    r.logical_bytes = 1000;
    r.committed_at = clock_.Now();
    return r;
  }
  crypto::Envelope SignedRecord(const store::VersionRecord& record, const std::string& by) {
    return crypto::SignEnvelope(crypto::kVersionType, store::EncodeVersionRecord(record), enrolment_.at(by));
  }
  // `site` holds these versions; with their records when it is the home.
  void Report(const std::string& site, const std::vector<crypto::Envelope>& held, VersionNumber current = 0) {
    agent::v1::AgentMessage message;
    auto* report = message.mutable_replica();
    report->set_dataset_id(dataset().str());
    for (const crypto::Envelope& envelope : held) {
      auto* version = report->add_versions();
      version->set_number(store::DecodeVersionRecord(envelope.payload)->number);
      version->set_identity(std::string(store::VersionIdentity(envelope).view()));
      if (site == "factory") rpc::ToProto(envelope, version->mutable_record());
    }
    report->set_current(current);
    Say(site, message);
  }
  absl::StatusOr<control::v1::ListVersionsResponse> Versions(const std::string& name, uint32_t limit = 0,
                                                             VersionNumber before = 0) {
    control::v1::ListVersionsRequest request;
    request.set_dataset(name);
    request.set_limit(limit);
    request.set_before(before);
    return core_->Versions(request);
  }
  std::string Why(const std::string& site) {
    auto why = core_->Why("planner", site);
    EXPECT_TRUE(why.ok()) << why.status();
    return why.ok() ? why->code() : "";
  }
  std::vector<std::string> EventKinds() {
    std::vector<std::string> kinds;
    auto events = core_->Events({});
    EXPECT_TRUE(events.ok()) << events.status();
    if (!events.ok()) return kinds;
    for (const auto& event : *events) kinds.push_back(event.kind());
    return kinds;
  }

  os::Files* files_ = os::Files::System();
  os::FakeClock clock_;
  std::string directory_;
  std::unique_ptr<Authority> authority_;
  const crypto::SigningKey policy_key_ = *crypto::SigningKey::Generate();
  const crypto::SigningKey grant_key_ = *crypto::SigningKey::Generate();
  const crypto::SigningKey timestamp_key_ = *crypto::SigningKey::Generate();
  std::map<std::string, crypto::SigningKey> enrolment_;  // by site
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<Core> core_;
  std::map<std::string, std::shared_ptr<FakeSession>> sessions_;
};

}  // namespace bailiwick::coordinator
