#include "common/crypto/seal.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "absl/strings/escaping.h"

namespace bailiwick::crypto {
namespace {

std::string Unhex(const char* hex) { return absl::HexStringToBytes(hex); }
std::string Hex(std::string_view bytes) {
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}
SecretKey KeyOf(const char* hex) { return *SecretKey::From(Unhex(hex)); }
Nonce NonceOf(const char* hex) {
  const std::string bytes = Unhex(hex);
  Nonce nonce;
  std::copy(bytes.begin(), bytes.end(), nonce.begin());
  return nonce;
}

struct GcmVector {
  const char *key, *nonce, *associated, *plain, *sealed;
};
// The GCM specification's test cases 13 to 16 (AES-256, 96 bit nonces), which NIST SP 800-38D refers to.
const GcmVector kGcm[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
     "bcc9f662898015adb094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
     "bcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
};

TEST(Seal, PublishedVectors) {
  for (const GcmVector& v : kGcm) {
    std::string sealed;
    Seal(KeyOf(v.key), NonceOf(v.nonce), Unhex(v.associated), Unhex(v.plain), &sealed);
    EXPECT_EQ(Hex(sealed), v.sealed);
    auto plain = Open(KeyOf(v.key), NonceOf(v.nonce), Unhex(v.associated), Unhex(v.sealed));
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_EQ(Hex(*plain), v.plain);
  }
}

TEST(Seal, OpensNothingThatWasChanged) {
  const GcmVector& v = kGcm[3];
  const std::string sealed = Unhex(v.sealed);
  auto refused = [](const absl::StatusOr<std::string>& opened) { return absl::IsDataLoss(opened.status()); };
  for (size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    std::string changed = sealed;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(refused(Open(KeyOf(v.key), NonceOf(v.nonce), Unhex(v.associated), changed))) << bit;
  }
  for (size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_TRUE(refused(Open(KeyOf(v.key), NonceOf(v.nonce), Unhex(v.associated), sealed.substr(0, size)))) << size;
  }
  EXPECT_TRUE(refused(Open(KeyOf(v.key), NonceOf(v.nonce), "", sealed)));
  EXPECT_TRUE(refused(Open(KeyOf(v.key), CounterNonce(1), Unhex(v.associated), sealed)));
  EXPECT_TRUE(refused(Open(KeyOf(kGcm[0].key), NonceOf(v.nonce), Unhex(v.associated), sealed)));
}

TEST(Seal, AppendsToWhatIsThere) {
  std::string out = "header";
  Seal(KeyOf(kGcm[1].key), NonceOf(kGcm[1].nonce), "", Unhex(kGcm[1].plain), &out);
  EXPECT_EQ(out.substr(0, 6), "header");
  EXPECT_EQ(Hex(std::string_view(out).substr(6)), kGcm[1].sealed);
}

TEST(Seal, FromManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      const SecretKey key = DeriveKey("secret", "", std::to_string(t));
      for (uint64_t i = 0; i < 500; ++i) {
        std::string sealed;
        Seal(key, CounterNonce(i), "a", std::to_string(i), &sealed);
        auto opened = Open(key, CounterNonce(i), "a", sealed);
        ASSERT_TRUE(opened.ok() && *opened == std::to_string(i));
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(CounterNonce, CountsInTheLastEightBytes) {
  const Nonce nonce = CounterNonce(0x0102030405060708);
  EXPECT_EQ(Hex({reinterpret_cast<const char*>(nonce.data()), nonce.size()}), "000000000102030405060708");
}

// RFC 5869, appendix A, cases 1 to 3.
TEST(Hkdf, PublishedVectors) {
  EXPECT_EQ(
      Hex(HkdfSha256(std::string(22, '\x0b'), Unhex("000102030405060708090a0b0c"), Unhex("f0f1f2f3f4f5f6f7f8f9"), 42)),
      "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  auto range = [](int from, int to) {
    std::string s;
    for (int i = from; i <= to; ++i) s.push_back(static_cast<char>(i));
    return s;
  };
  EXPECT_EQ(
      Hex(HkdfSha256(range(0x00, 0x4f), range(0x60, 0xaf), range(0xb0, 0xff), 82)),
      "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09"
      "b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
  EXPECT_EQ(Hex(HkdfSha256(std::string(22, '\x0b'), "", "", 42)),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(WrapKey, OnlyTheSameKeyAndPurposeUnwraps) {
  const SecretKey wrapping = DeriveKey("wrapping", "", "");
  const SecretKey other = DeriveKey("other", "", "");
  const SecretKey data = DeriveKey("data", "", "");
  const std::string wrapped = WrapKey(wrapping, CounterNonce(7), "dataset 1", data);
  ASSERT_EQ(wrapped.size(), kWrappedKeySize);
  EXPECT_EQ(wrapped.find(data.view()), std::string::npos);
  auto back = UnwrapKey(wrapping, "dataset 1", wrapped);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->view(), data.view());
  EXPECT_TRUE(absl::IsDataLoss(UnwrapKey(wrapping, "dataset 2", wrapped).status()));
  EXPECT_TRUE(absl::IsDataLoss(UnwrapKey(other, "dataset 1", wrapped).status()));
  EXPECT_TRUE(absl::IsDataLoss(UnwrapKey(wrapping, "dataset 1", wrapped.substr(1)).status()));
  EXPECT_FALSE(SecretKey::From("short").ok());
}

TEST(Blind, NeedsTheKey) {
  const Digest digest = *Digest::From(1, std::string(32, 'd'));
  const Digest blind = Blind(DeriveKey("a", "", ""), digest);
  EXPECT_NE(blind, digest);
  EXPECT_EQ(blind, Blind(DeriveKey("a", "", ""), digest));
  EXPECT_NE(blind, Blind(DeriveKey("b", "", ""), digest));
}

}  // namespace
}  // namespace bailiwick::crypto
