#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <span>
#include <string>
#include <thread>

#include "absl/strings/escaping.h"
#include "common/crypto/digest.h"
#include "common/crypto/sign.h"

namespace bailiwick::crypto {
namespace {

std::string Unhex(const char* hex) { return absl::HexStringToBytes(hex); }

TEST(Sha256, KnownValues) {
  EXPECT_EQ(Sha256("").Hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256("abc").Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256("abc").algorithm, Digest::kSha256);
  Hasher hasher;
  hasher.Update("a");
  hasher.Update("bc");
  EXPECT_EQ(hasher.Finish(), Sha256("abc"));
  hasher.Update(std::string(1'000'000, 'a'));
  EXPECT_EQ(hasher.Finish().Hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
      << "Finish starts anew";
}

// Two at once, cut into parts anywhere, in any company: the same digests as OpenSSL's.
TEST(Sha256, OfMany) {
  std::mt19937 random(7);
  std::string bytes(40'000, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  auto parts_of = [&](std::string_view message) {
    std::vector<std::string_view> parts;
    while (!message.empty()) {
      const size_t n = std::min<size_t>(message.size(), random() % 4 == 0 ? random() % 70 : random() % 5'000);
      parts.push_back(message.substr(0, n));
      message.remove_prefix(n);
    }
    return parts;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::vector<std::string_view>> all;
    std::vector<std::string_view> whole;
    for (size_t n = random() % 9; n > 0; --n) {
      const size_t length = random() % 3 == 0 ? random() % 40'000 : random() % 260;
      whole.push_back(std::string_view(bytes).substr(random() % (bytes.size() - length), length));
      all.push_back(parts_of(whole.back()));
    }
    const std::vector<std::span<const std::string_view>> messages(all.begin(), all.end());
    std::vector<Digest> digests(messages.size());
    Sha256Each(messages, digests);
    for (size_t i = 0; i < messages.size(); ++i) ASSERT_EQ(digests[i], Sha256(whole[i])) << whole[i].size();
  }
}

TEST(Sha256, OfEveryLengthAroundABlock) {
  const std::string bytes(300, 'x');
  for (size_t length = 0; length <= bytes.size(); ++length) {
    const std::string_view first = std::string_view(bytes).substr(0, length), second = bytes;
    const std::vector<std::span<const std::string_view>> messages = {{&first, 1}, {&second, 1}, {&first, 1}};
    std::vector<Digest> digests(3);
    Sha256Each(messages, digests);
    EXPECT_EQ(digests[0], Sha256(first)) << length;
    EXPECT_EQ(digests[1], Sha256(second)) << length;
    EXPECT_EQ(digests[2], Sha256(first)) << length;
  }
}

TEST(Sha256, FromManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 500; ++i) {
        ASSERT_EQ(Sha256("abc").ShortHex(), "ba7816bf8f01");
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

// RFC 8032, section 7.1, test 3.
TEST(Ed25519, KnownVector) {
  const std::string seed = Unhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
  const std::string public_key = Unhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
  const std::string message = Unhex("af82");
  const std::string expected = Unhex(
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
      "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a");
  // PKCS#8 of an Ed25519 key is this prefix and the seed (RFC 8410).
  const std::string der = Unhex("302e020100300506032b657004220420") + seed;
  auto key =
      SigningKey::FromPem("-----BEGIN PRIVATE KEY-----\n" + absl::Base64Escape(der) + "\n-----END PRIVATE KEY-----\n");
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->public_key(), public_key);
  EXPECT_EQ(key->Sign(message), expected);
  auto from_seed = SigningKey::FromSeed(seed);
  ASSERT_TRUE(from_seed.ok()) << from_seed.status();
  EXPECT_EQ(from_seed->Sign(message), expected);
  EXPECT_FALSE(SigningKey::FromSeed("short").ok());
  EXPECT_TRUE(VerifySignature(public_key, message, expected));
}

TEST(Ed25519, RefusesWhatIsNotTheSignature) {
  auto key = *SigningKey::Generate();
  auto other = *SigningKey::Generate();
  const std::string signature = key.Sign("message");
  EXPECT_TRUE(VerifySignature(key.public_key(), "message", signature));
  EXPECT_FALSE(VerifySignature(key.public_key(), "massage", signature));
  EXPECT_FALSE(VerifySignature(other.public_key(), "message", signature));
  for (size_t i = 0; i < signature.size(); i += 7) {
    std::string changed = signature;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(VerifySignature(key.public_key(), "message", changed)) << i;
  }
  EXPECT_FALSE(VerifySignature("", "message", signature));
  EXPECT_FALSE(VerifySignature(key.public_key(), "message", ""));
  EXPECT_FALSE(VerifySignature(key.public_key(), "message", signature + "x"));
  EXPECT_FALSE(VerifySignature(std::string(32, '\xff'), "message", signature));
  EXPECT_TRUE(VerifySignature(key.public_key(), "", key.Sign("")));
}

TEST(Ed25519, PemRoundTripAndGarbage) {
  auto key = *SigningKey::Generate();
  auto again = SigningKey::FromPem(key.ToPem());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->public_key(), key.public_key());
  EXPECT_EQ(again->Sign("x"), key.Sign("x"));
  std::string pem = key.ToPem();
  pem[pem.size() / 2] = '!';
  EXPECT_TRUE(absl::IsInvalidArgument(SigningKey::FromPem(pem).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(SigningKey::FromPem("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      SigningKey::FromPem("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
          .status()));
}

class EnvelopeTest : public ::testing::Test {
 protected:
  SigningKey a_ = *SigningKey::Generate(), b_ = *SigningKey::Generate(), stranger_ = *SigningKey::Generate();
  std::vector<std::string> trusted_ = {a_.public_key(), b_.public_key()};
};

TEST_F(EnvelopeTest, AcceptsWhatTrustedKeysSigned) {
  Envelope envelope = SignEnvelope(kGrantType, "payload", a_);
  EXPECT_TRUE(VerifyEnvelope(envelope, kGrantType, trusted_).ok());
  EXPECT_EQ(envelope.signatures[0].key_id, KeyId(a_.public_key()));
}

TEST_F(EnvelopeTest, OneTypeIsNeverAnother) {
  Envelope envelope = SignEnvelope(kGrantType, "payload", a_);
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(envelope, kBundleType, trusted_)));
  envelope.payload_type = std::string(kBundleType);  // the type is part of what was signed
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(envelope, kBundleType, trusted_)));
  EXPECT_NE(PreAuthEncoding("a", "1 bc"), PreAuthEncoding("a 4", "bc"));
  EXPECT_EQ(PreAuthEncoding("http://example.com/HelloWorld", "hello world"),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

TEST_F(EnvelopeTest, TamperingIsFound) {
  Envelope envelope = SignEnvelope(kGrantType, "payload", a_);
  Envelope changed = envelope;
  changed.payload += " ";
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(changed, kGrantType, trusted_)));
  changed = envelope;
  changed.signatures[0].signature[5] ^= 1;
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(changed, kGrantType, trusted_)));
  changed = envelope;
  changed.signatures[0].key_id = KeyId(b_.public_key());
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(changed, kGrantType, trusted_)));
  changed.signatures.clear();
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(changed, kGrantType, trusted_)));
}

TEST_F(EnvelopeTest, ThresholdCountsDifferentTrustedKeys) {
  Envelope envelope = SignEnvelope(kBundleType, "p", a_);
  AddSignature(envelope, a_);
  AddSignature(envelope, stranger_);
  EXPECT_TRUE(VerifyEnvelope(envelope, kBundleType, trusted_, 1).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(envelope, kBundleType, trusted_, 2))) << "one key signed twice";
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(envelope, kBundleType, {a_.public_key(), a_.public_key()}, 2)))
      << "one key listed twice";
  AddSignature(envelope, b_);
  EXPECT_TRUE(VerifyEnvelope(envelope, kBundleType, trusted_, 2).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(envelope, kBundleType, trusted_, 3)));
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(envelope, kBundleType, trusted_, 0)));
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(envelope, kBundleType, {})));
}

TEST_F(EnvelopeTest, ABadSignatureByAKeyDoesNotHideItsGoodOne) {
  Envelope good = SignEnvelope(kGrantType, "p", a_);
  Envelope envelope = good;
  envelope.signatures.insert(envelope.signatures.begin(), {KeyId(a_.public_key()), std::string(64, 'x')});
  EXPECT_TRUE(VerifyEnvelope(envelope, kGrantType, trusted_).ok());
}

TEST_F(EnvelopeTest, Limits) {
  Envelope envelope = SignEnvelope(kGrantType, "p", a_);
  envelope.signatures.resize(1000, envelope.signatures[0]);
  EXPECT_TRUE(absl::IsPermissionDenied(VerifyEnvelope(envelope, kGrantType, trusted_)));
}

}  // namespace
}  // namespace bailiwick::crypto
