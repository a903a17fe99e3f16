#include "common/rpc/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "common/crypto/digest.h"

namespace bailiwick::rpc {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'750'000'000) + absl::Nanoseconds(123'456'789);
constexpr char kPeer[] = "spiffe://example.org/region/eu/de/site/core/agent/a1";

crypto::SigningKey NewKey() { return *crypto::SigningKey::Generate(); }

policy::Grant SomeGrant() {
  policy::Grant grant;
  grant.grant_id = std::string(16, '\x07');
  grant.transfer_id = "t-1";
  grant.dataset_id = *DatasetId::From("0123456789abcdef");
  grant.dataset = "telemetry@robot-17";
  grant.version = crypto::Sha256("version");
  grant.manifest_root = crypto::Sha256("root");
  grant.source = "spiffe://example.org/region/eu/de/fra/site/factory/agent/a1";
  grant.destination = kPeer;
  grant.source_region = "eu/de/fra";
  grant.destination_region = "eu/de";
  grant.action = "transfer";
  grant.purpose = "training";
  grant.policy_revision = 7;
  grant.policy_digest = std::string(crypto::Sha256("bundle").view());
  grant.not_before = kNow;
  grant.not_after = kNow + absl::Minutes(10);
  return grant;
}

absl::StatusCode CodeOf(const std::string& payload, const crypto::SigningKey& key) {
  return OpenGrant(crypto::SignEnvelope(crypto::kGrantType, payload, key), {key.public_key()}).status().code();
}

TEST(Codec, AnEnvelopeKeepsTheExactBytes) {
  crypto::SigningKey a = NewKey(), b = NewKey();
  crypto::Envelope envelope = crypto::SignEnvelope(crypto::kGrantType, std::string("\0\xff bytes", 8), a);
  crypto::AddSignature(envelope, b);
  types::v1::Envelope wire;
  wire.add_signatures();  // of what was there before, nothing stays
  ToProto(envelope, &wire);
  types::v1::Envelope received;
  ASSERT_TRUE(received.ParseFromString(wire.SerializeAsString()));
  crypto::Envelope back = FromProto(received);
  EXPECT_EQ(back.payload_type, envelope.payload_type);
  EXPECT_EQ(back.payload, envelope.payload);
  ASSERT_EQ(back.signatures.size(), 2u);
  EXPECT_TRUE(crypto::VerifyEnvelope(back, crypto::kGrantType, {a.public_key(), b.public_key()}, 2).ok());
}

TEST(Codec, DigestsOfOtherAlgorithmsOrLengthsAreRefused) {
  types::v1::Digest wire;
  ToProto(crypto::Sha256("x"), &wire);
  EXPECT_EQ(*FromProto(wire), crypto::Sha256("x"));
  for (uint32_t algorithm : {0u, 2u, 255u, 257u, 0x80000001u}) {
    types::v1::Digest other = wire;
    other.set_algorithm(algorithm);
    EXPECT_EQ(FromProto(other).status().code(), absl::StatusCode::kInvalidArgument) << algorithm;
  }
  for (size_t size : {0u, 31u, 33u}) {
    types::v1::Digest other = wire;
    other.set_value(std::string(size, 'x'));
    EXPECT_EQ(FromProto(other).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST(Codec, TimesKeepNanosecondsBeforeAndAfter1970) {
  for (absl::Time time : {kNow, absl::UnixEpoch(), absl::UnixEpoch() - absl::Nanoseconds(1),
                          absl::FromUnixSeconds(-100) + absl::Nanoseconds(5)}) {
    google::protobuf::Timestamp wire;
    ToProto(time, &wire);
    EXPECT_GE(wire.nanos(), 0);
    EXPECT_LT(wire.nanos(), 1'000'000'000);
    EXPECT_EQ(FromProto(wire), time);
    EXPECT_EQ(*TimeOf(wire), time);
    wire.set_nanos(wire.nanos() + 1'000'000'000);
    EXPECT_EQ(TimeOf(wire).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Codec, AGrantComesBackAsItWasSigned) {
  crypto::SigningKey key = NewKey();
  const policy::Grant grant = SomeGrant();
  auto opened = OpenGrant(crypto::SignEnvelope(crypto::kGrantType, EncodeGrant(grant), key),
                          {NewKey().public_key(), key.public_key()});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->grant_id, grant.grant_id);
  EXPECT_EQ(opened->transfer_id, grant.transfer_id);
  EXPECT_EQ(opened->dataset_id, grant.dataset_id);
  EXPECT_EQ(opened->dataset, grant.dataset);
  EXPECT_EQ(opened->version, grant.version);
  EXPECT_EQ(opened->manifest_root, grant.manifest_root);
  EXPECT_EQ(opened->source, grant.source);
  EXPECT_EQ(opened->destination, grant.destination);
  EXPECT_EQ(opened->source_region, grant.source_region);
  EXPECT_EQ(opened->destination_region, grant.destination_region);
  EXPECT_EQ(opened->action, grant.action);
  EXPECT_EQ(opened->purpose, grant.purpose);
  EXPECT_EQ(opened->policy_revision, grant.policy_revision);
  EXPECT_EQ(opened->policy_digest, grant.policy_digest);
  EXPECT_EQ(opened->not_before, grant.not_before);
  EXPECT_EQ(opened->not_after, grant.not_after);
}

TEST(Codec, AGrantThatWasTouchedOrIsNotOursIsDenied) {
  crypto::SigningKey key = NewKey(), other = NewKey();
  const crypto::Envelope good = crypto::SignEnvelope(crypto::kGrantType, EncodeGrant(SomeGrant()), key);
  const std::vector<std::string> keys = {key.public_key()};
  auto denied = [&](const crypto::Envelope& envelope, const std::vector<std::string>& by) {
    return OpenGrant(envelope, by).status().code() == absl::StatusCode::kPermissionDenied;
  };
  ASSERT_TRUE(OpenGrant(good, keys).ok());
  for (size_t i = 0; i < good.payload.size(); ++i) {  // every byte of it
    crypto::Envelope touched = good;
    touched.payload[i] = static_cast<char>(touched.payload[i] ^ 0x20);
    EXPECT_TRUE(denied(touched, keys)) << "byte " << i;
  }
  crypto::Envelope touched = good;
  touched.signatures[0].signature[5] = static_cast<char>(touched.signatures[0].signature[5] ^ 1);
  EXPECT_TRUE(denied(touched, keys));
  touched = good;
  touched.signatures.clear();
  EXPECT_TRUE(denied(touched, keys));
  EXPECT_TRUE(denied(good, {other.public_key()}));
  EXPECT_TRUE(denied(good, {}));
  // Bytes signed as one thing never pass as another.
  EXPECT_TRUE(denied(crypto::SignEnvelope(crypto::kBindingType, good.payload, key), keys));
  touched = crypto::SignEnvelope(crypto::kBindingType, good.payload, key);
  touched.payload_type = std::string(crypto::kGrantType);
  EXPECT_TRUE(denied(touched, keys));
  // A stranger's key under the id of ours.
  touched = crypto::SignEnvelope(crypto::kGrantType, good.payload, other);
  touched.signatures[0].key_id = crypto::KeyId(key.public_key());
  EXPECT_TRUE(denied(touched, keys));
}

// Signed by the right key and still not a grant: a newer or broken signer must not be half understood.
TEST(Codec, AGrantOfAnotherShapeIsRefused) {
  crypto::SigningKey key = NewKey();
  EXPECT_EQ(CodeOf(EncodeGrant(SomeGrant()), key), absl::StatusCode::kOk);
  EXPECT_EQ(CodeOf("", key), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf("\xff\xff", key), absl::StatusCode::kInvalidArgument);
  const std::function<void(transfer::v1::Grant&)> breaks[] = {
      [](auto& g) { g.set_format(2); },
      [](auto& g) { g.clear_format(); },
      [](auto& g) { g.set_grant_id("short"); },
      [](auto& g) { g.set_dataset_id(std::string(15, 'x')); },
      [](auto& g) { g.clear_version(); },
      [](auto& g) { g.mutable_version()->set_algorithm(2); },
      [](auto& g) { g.clear_manifest_root(); },
      [](auto& g) { g.clear_not_before(); },
      [](auto& g) { g.clear_not_after(); },
      [](auto& g) { g.mutable_not_after()->set_seconds(INT64_MAX); },
      [](auto& g) { g.mutable_not_after()->set_nanos(-1); },
      [](auto& g) { g.mutable_not_before()->set_seconds(INT64_MIN); },
      [](auto& g) { g.clear_transfer_id(); },
      [](auto& g) { g.set_transfer_id(std::string(65, 'x')); },
  };
  int i = 0;
  for (const auto& damage : breaks) {
    transfer::v1::Grant g;
    ASSERT_TRUE(g.ParseFromString(EncodeGrant(SomeGrant())));
    damage(g);
    EXPECT_EQ(CodeOf(g.SerializeAsString(), key), absl::StatusCode::kInvalidArgument) << "case " << i;
    ++i;
  }
}

// ---- the tie between a TLS certificate and the key that the signed policy pins

class BindingTest : public ::testing::Test {
 protected:
  BindingTest() {
    policy::Site site;
    site.name = "core";
    site.region = "eu/de";
    site.enrolment_keys["a1"] = key_.public_key();
    site.enrolment_keys["a2"] = sibling_.public_key();
    world_.sites["core"] = site;
    site.name = "edge";
    site.enrolment_keys = {{"a1", elsewhere_.public_key()}};
    world_.sites["edge"] = site;
  }
  absl::Status Check(const crypto::Envelope& envelope, const std::string& peer, const std::string& certificate) {
    return CheckBinding(envelope, peer, certificate, world_);
  }

  crypto::SigningKey key_ = NewKey(), sibling_ = NewKey(), elsewhere_ = NewKey();
  const std::string certificate_ = std::string(crypto::Sha256("certificate").view());
  policy::World world_;
};

TEST_F(BindingTest, HoldsForThisCertificateOfThisAgent) {
  EXPECT_TRUE(Check(SignBinding(kPeer, certificate_, key_), kPeer, certificate_).ok());
}

// A captured CA can make any certificate; each line is one that it cannot have bound.
TEST_F(BindingTest, DeniesEverythingElse) {
  const std::string other_certificate(crypto::Sha256("another").view());
  const std::string edge = "spiffe://example.org/region/eu/de/site/edge/agent/a1";
  const std::string sibling = "spiffe://example.org/region/eu/de/site/core/agent/a2";
  const crypto::Envelope good = SignBinding(kPeer, certificate_, key_);
  const struct {
    const char* what;
    crypto::Envelope envelope;
    std::string peer;
    std::string certificate;
  } cases[] = {
      {"another certificate", good, kPeer, other_certificate},
      {"no certificate", SignBinding(kPeer, "", key_), kPeer, ""},
      {"another site's agent", good, edge, certificate_},
      {"a sibling of the same site", good, sibling, certificate_},
      {"a sibling's key for this agent", SignBinding(kPeer, certificate_, sibling_), kPeer, certificate_},
      {"the other site's key", SignBinding(kPeer, certificate_, elsewhere_), kPeer, certificate_},
      {"a key nobody pinned", SignBinding(kPeer, certificate_, NewKey()), kPeer, certificate_},
      {"the right key for another name", SignBinding(sibling, certificate_, key_), kPeer, certificate_},
      {"an agent that is not pinned", good, "spiffe://example.org/region/eu/de/site/core/agent/a3", certificate_},
      {"a site that is not declared", good, "spiffe://example.org/region/eu/de/site/ghost/agent/a1", certificate_},
      {"an admin", good, "spiffe://example.org/admin/alice", certificate_},
      {"the coordinator", good, "spiffe://example.org/coordinator", certificate_},
      {"no identity", good, "", certificate_},
      {"nothing", {}, kPeer, certificate_},
      {"a grant's type", crypto::SignEnvelope(crypto::kGrantType, good.payload, key_), kPeer, certificate_},
      {"not a binding", crypto::SignEnvelope(crypto::kBindingType, "\xff", key_), kPeer, certificate_},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Check(c.envelope, c.peer, c.certificate).code(), absl::StatusCode::kPermissionDenied) << c.what;
  }
}

TEST_F(BindingTest, AnAgentThatWaitsForApprovalIsToldHow) {
  absl::Status status = Check(SignBinding(kPeer, certificate_, key_),
                              "spiffe://example.org/region/eu/de/site/core/agent/a3", certificate_);
  EXPECT_THAT(std::string(status.message()), HasSubstr("bailiwick site approve core"));
}

class StorageTest : public BindingTest {
 protected:
  StorageTest() {
    dataset_.bytes[0] = 1;
    said_ = {.grant_id = "grant",
             .dataset_id = dataset_,
             .spiffe_id = kPeer,
             .wrapping_key = absl::BytesToHexString(crypto::KeyId(wrapping_.public_key())),
             .wrapping_public_key = wrapping_.public_key()};
  }
  crypto::Envelope Sign(const StorageStatement& said, const crypto::SigningKey& by) {
    crypto::Envelope envelope = SignStorage(said, by);
    crypto::AddSignature(envelope, wrapping_);
    return envelope;
  }
  absl::Status Open(const crypto::Envelope& envelope) {
    return OpenStorage(envelope, kPeer, dataset_, "grant", world_).status();
  }

  DatasetId dataset_;
  const crypto::SigningKey wrapping_ = NewKey();
  StorageStatement said_;
};

TEST_F(StorageTest, TellsHowThePeerKeepsTheDataset) {
  auto opened = OpenStorage(Sign(said_, key_), kPeer, dataset_, "grant", world_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->wrapping_key, said_.wrapping_key);
  StorageStatement plain{.grant_id = "grant", .dataset_id = dataset_, .spiffe_id = kPeer};
  opened = OpenStorage(SignStorage(plain, key_), kPeer, dataset_, "grant", world_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(opened->wrapping_key.empty());
}

TEST_F(StorageTest, IsBelievedOfNobodyElseAndNotWithoutTheWrappingKey) {
  StorageStatement other_grant = said_, other_dataset = said_, other_agent = said_, other_key = said_;
  other_grant.grant_id = "another";
  other_dataset.dataset_id.bytes[0] = 2;
  other_agent.spiffe_id = "spiffe://example.org/region/eu/de/site/edge/agent/a1";
  other_key.wrapping_key = std::string(64, 'a');
  const crypto::Envelope good = Sign(said_, key_);
  const struct {
    const char* what;
    crypto::Envelope envelope;
  } cases[] = {
      {"nothing", {}},
      {"another grant", Sign(other_grant, key_)},
      {"another dataset", Sign(other_dataset, key_)},
      {"another agent", Sign(other_agent, key_)},
      {"a key id that is not the key's", Sign(other_key, key_)},
      {"a sibling's signature", Sign(said_, sibling_)},
      {"only the wrapping key's signature", crypto::SignEnvelope(crypto::kStorageType, good.payload, wrapping_)},
      {"no proof by the wrapping key", SignStorage(said_, key_)},
      {"a binding's type", crypto::SignEnvelope(crypto::kBindingType, good.payload, key_)},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Open(c.envelope).code(), absl::StatusCode::kPermissionDenied) << c.what;
  }
}

TEST(Codec, AGrantCountsBySignerAndPayloadType) {
  const crypto::SigningKey coordinator = NewKey(), factory = NewKey(), core = NewKey(), stranger = NewKey();
  policy::World world;
  world.grant_keys = {coordinator.public_key()};
  world.sites["factory"] = {.name = "factory", .region = "eu/de/fra"};
  world.sites["factory"].enrolment_keys = {{"a1", factory.public_key()}};
  world.sites["core"] = {.name = "core", .region = "eu/de"};
  world.sites["core"].enrolment_keys = {{"a1", core.public_key()}};
  const std::string payload = EncodeGrant(SomeGrant());
  auto open = [&](std::string_view type, const crypto::SigningKey& by, const std::string& bytes) {
    return OpenGrant(crypto::SignEnvelope(type, bytes, by), world);
  };
  auto theirs = open(crypto::kGrantType, coordinator, payload);
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  EXPECT_FALSE(theirs->self_granted);
  auto own = open(crypto::kSelfGrantType, factory, payload);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_TRUE(own->self_granted);
  EXPECT_EQ(own->grant_id, SomeGrant().grant_id);

  policy::Grant of_nobody = SomeGrant();
  of_nobody.source = "spiffe://example.org/region/eu/de/fra/site/elsewhere/agent/a1";
  policy::Grant of_another_agent = SomeGrant();
  of_another_agent.source = "spiffe://example.org/region/eu/de/fra/site/factory/agent/a2";
  policy::Grant of_an_admin = SomeGrant();
  of_an_admin.source = "spiffe://example.org/admin/alice";
  struct Case {
    const char* what;
    std::string_view type;
    const crypto::SigningKey& by;
    std::string payload;
  };
  const std::vector<Case> refused = {
      {"forged", crypto::kSelfGrantType, stranger, payload},
      {"the receiver's key", crypto::kSelfGrantType, core, payload},
      {"the coordinator's key", crypto::kSelfGrantType, coordinator, payload},
      {"a site's key under a coordinator's type", crypto::kGrantType, factory, payload},
      {"a version record's type", crypto::kVersionType, factory, payload},
      {"a site that is not in the registry", crypto::kSelfGrantType, factory, EncodeGrant(of_nobody)},
      {"an agent that is not pinned", crypto::kSelfGrantType, factory, EncodeGrant(of_another_agent)},
      {"not an agent", crypto::kSelfGrantType, factory, EncodeGrant(of_an_admin)},
  };
  for (const Case& c : refused) {
    EXPECT_EQ(open(c.type, c.by, c.payload).status().code(), absl::StatusCode::kPermissionDenied) << c.what;
  }
  crypto::Envelope relabelled = crypto::SignEnvelope(crypto::kSelfGrantType, payload, factory);
  relabelled.payload_type = crypto::kGrantType;
  EXPECT_FALSE(OpenGrant(relabelled, world).ok());
  crypto::Envelope changed = crypto::SignEnvelope(crypto::kSelfGrantType, payload, factory);
  changed.payload[changed.payload.size() - 1] ^= 1;
  EXPECT_FALSE(OpenGrant(changed, world).ok());
  EXPECT_FALSE(open(crypto::kSelfGrantType, factory, payload.substr(0, 20)).ok());
}

}  // namespace
}  // namespace bailiwick::rpc
