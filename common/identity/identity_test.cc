#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>

#include <memory>
#include <set>

#include "common/crypto/digest.h"
#include "common/identity/certificate_fixture.h"
#include "common/identity/certificates.h"
#include "common/identity/spiffe.h"

namespace bailiwick::identity {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'750'000'000);
const SpiffeId kFactory{Kind::kAgent, "example.org", "eu/de/fra", "factory", "a1"};

// ---- names

TEST(Spiffe, KindsRoundTrip) {
  for (const char* uri : {"spiffe://example.org/region/eu/site/core/agent/a",
                          "spiffe://example.org/region/eu/de/fra/site/factory/agent/a1", "spiffe://td/admin/alice",
                          "spiffe://td-1.x_y/coordinator"}) {
    auto id = ParseSpiffeId(uri);
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_EQ(id->str(), uri);
  }
  auto agent = ParseSpiffeId("spiffe://example.org/region/eu/de/fra/site/factory/agent/a1");
  EXPECT_EQ(*agent, kFactory);
  EXPECT_EQ(ParseSpiffeId("spiffe://td/admin/alice")->kind, Kind::kAdmin);
  EXPECT_EQ(ParseSpiffeId("spiffe://td/admin/alice")->name, "alice");
  EXPECT_EQ(ParseSpiffeId("spiffe://td/coordinator")->kind, Kind::kCoordinator);
}

// A region may be called like one of the words: the last /site/X/agent/Y ends it, so no agent reads as one of another
// region.
TEST(Spiffe, TheEndDecidesWhereARegionStops) {
  auto id = ParseSpiffeId("spiffe://td/region/site/x/agent/y/site/s/agent/a");
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->region, "site/x/agent/y");
  EXPECT_EQ(id->site, "s");
  EXPECT_EQ(id->name, "a");
  EXPECT_EQ(ParseSpiffeId("spiffe://td/region/region/site/coordinator/agent/admin")->region, "region");
}

TEST(Spiffe, EverythingElseIsRefused) {
  const std::string refused[] = {"",
                                 "spiffe://",
                                 "spiffe:///coordinator",
                                 "SPIFFE://td/coordinator",
                                 "Spiffe://td/coordinator",
                                 "https://td/coordinator",
                                 "spiffe:/td/coordinator",
                                 " spiffe://td/coordinator",
                                 "spiffe://td/coordinator ",
                                 "spiffe://td",
                                 "spiffe://td/",
                                 "spiffe://TD/coordinator",
                                 "spiffe://td:443/coordinator",
                                 "spiffe://user@td/coordinator",
                                 "spiffe://../coordinator",
                                 "spiffe://td/coordinator/",
                                 "spiffe://td//coordinator",
                                 "spiffe://td/coordinator?x=1",
                                 "spiffe://td/coordinator#x",
                                 "spiffe://td/Coordinator",
                                 "spiffe://td/coordinator/x",
                                 "spiffe://td/admin",
                                 "spiffe://td/admin/",
                                 "spiffe://td/admin/a/b",
                                 "spiffe://td/admin/..",
                                 "spiffe://td/admin/a%2fb",
                                 "spiffe://td/admin/a b",
                                 "spiffe://td/admin/ä",
                                 "spiffe://td/admin/a,URI:spiffe://td/coordinator",
                                 "spiffe://td/region/site/s/agent/a",
                                 "spiffe://td/region/eu/site/s",
                                 "spiffe://td/region/eu/site/s/agent/",
                                 "spiffe://td/region/eu/site//agent/a",
                                 "spiffe://td/region/eu/../us/site/s/agent/a",
                                 "spiffe://td/region/eu/./de/site/s/agent/a",
                                 "spiffe://td/region//eu/site/s/agent/a",
                                 "spiffe://td/region/eu/site/s/agent/a/",
                                 "spiffe://td/region/eu/site/s/agent/a/x",
                                 "spiffe://td/site/s/agent/a",
                                 "spiffe://td/zone/eu/site/s/agent/a",
                                 std::string("spiffe://td/admin/a\0b", 21),
                                 std::string("spiffe://td/coordinator\0", 24),
                                 "spiffe://" + std::string(256, 'a') + "/coordinator",
                                 "spiffe://td/admin/" + std::string(2048, 'a')};
  for (const std::string& uri : refused) {
    auto id = ParseSpiffeId(uri);
    EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument) << "taken: " << uri;
  }
}

// ---- certificates

class CertificateTest : public ::testing::Test {
 protected:
  static const CertificateAuthority& Ca() {
    static const CertificateAuthority ca = *NewAuthority("example.org", kNow, absl::Hours(24 * 365));
    return ca;
  }
  static const KeyPair& Key() {
    static const KeyPair key = *NewTlsKey();
    return key;
  }
  // What any TLS stack would say of this leaf under this CA: "ok" or OpenSSL's reason.
  static std::string Verify(const std::string& leaf_pem, const std::string& ca_pem, absl::Time at, int purpose,
                            const std::string& sent_along_pem = "") {
    auto read = [](const std::string& pem) {
      std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                    BIO_free);
      return std::unique_ptr<X509, decltype(&X509_free)>(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr),
                                                         X509_free);
    };
    auto leaf = read(leaf_pem);
    auto ca = read(ca_pem);
    std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> store(X509_STORE_new(), X509_STORE_free);
    X509_STORE_add_cert(store.get(), ca.get());
    std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> context(X509_STORE_CTX_new(), X509_STORE_CTX_free);
    std::unique_ptr<STACK_OF(X509), void (*)(STACK_OF(X509)*)> chain(sk_X509_new_null(),
                                                                     [](STACK_OF(X509) * s) { sk_X509_free(s); });
    auto along = read(sent_along_pem);
    if (along != nullptr) sk_X509_push(chain.get(), along.get());
    X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), chain.get());
    X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
    X509_VERIFY_PARAM_set_time(param, absl::ToTimeT(at));
    X509_VERIFY_PARAM_set_purpose(param, purpose);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
    return X509_verify_cert(context.get()) == 1
               ? "ok"
               : X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
  }
};

TEST_F(CertificateTest, AnIssuedLeafServesBothEndsOfTlsAndNamesOneIdentity) {
  auto leaf = IssueCertificate(Ca(), Key().csr_der, kFactory, kNow, kAgentCertificateLife);
  ASSERT_TRUE(leaf.ok()) << leaf.status();
  EXPECT_EQ(Verify(*leaf, Ca().certificate_pem, kNow, X509_PURPOSE_SSL_SERVER), "ok");
  EXPECT_EQ(Verify(*leaf, Ca().certificate_pem, kNow, X509_PURPOSE_SSL_CLIENT), "ok");
  auto info = InspectCertificate(*leaf);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->uri, kFactory.str());
  EXPECT_EQ(info->not_before, kNow - absl::Minutes(5));
  EXPECT_EQ(info->not_after, kNow + absl::Hours(24));
  EXPECT_EQ(info->sha256.size(), 32u);
  EXPECT_EQ(info->sha256, CertificateSha256(*leaf));
  EXPECT_EQ(CertificateSha256(*leaf + Ca().certificate_pem), info->sha256) << "of a chain, the leaf";
  EXPECT_TRUE(CheckPair(*leaf, Key().private_key_pem).ok());
}

TEST_F(CertificateTest, ALeafIsGoodOnlyInItsTimeAndUnderItsCa) {
  auto leaf = *IssueCertificate(Ca(), Key().csr_der, kFactory, kNow, absl::Hours(1));
  EXPECT_EQ(Verify(leaf, Ca().certificate_pem, kNow - absl::Minutes(4), X509_PURPOSE_SSL_CLIENT), "ok")
      << "skewed clocks";
  EXPECT_NE(Verify(leaf, Ca().certificate_pem, kNow - absl::Minutes(6), X509_PURPOSE_SSL_CLIENT), "ok");
  EXPECT_NE(Verify(leaf, Ca().certificate_pem, kNow + absl::Minutes(61), X509_PURPOSE_SSL_CLIENT), "ok");
  auto other = *NewAuthority("example.org", kNow, absl::Hours(24));
  EXPECT_NE(Verify(leaf, other.certificate_pem, kNow, X509_PURPOSE_SSL_CLIENT), "ok") << "same name, another key";
}

// Whoever holds an agent's key must not be able to make certificates of others with it.
TEST_F(CertificateTest, ALeafCannotSignCertificates) {
  CertificateAuthority agent;
  agent.certificate_pem = *IssueCertificate(Ca(), Key().csr_der, kFactory, kNow, absl::Hours(24));
  agent.private_key_pem = Key().private_key_pem;
  auto key = *NewTlsKey();
  const std::string forged =
      IssueOdd(agent, key, {"URI:spiffe://example.org/coordinator", kNow, kNow + absl::Hours(1)});
  EXPECT_NE(Verify(forged, agent.certificate_pem, kNow, X509_PURPOSE_SSL_SERVER), "ok");
  EXPECT_NE(Verify(forged, Ca().certificate_pem, kNow, X509_PURPOSE_SSL_SERVER, agent.certificate_pem), "ok");
}

TEST_F(CertificateTest, KeysAndSerialsAreNew) {
  std::set<std::string> keys, hashes;
  for (int i = 0; i < 8; ++i) {
    keys.insert(NewTlsKey()->private_key_pem);
    hashes.insert(InspectCertificate(*IssueCertificate(Ca(), Key().csr_der, kFactory, kNow, absl::Hours(1)))->sha256);
  }
  EXPECT_EQ(keys.size(), 8u);
  EXPECT_EQ(hashes.size(), 8u) << "the same name twice is still two certificates";
}

TEST_F(CertificateTest, NamesThatWouldBecomeOthersAreNotIssued) {
  const SpiffeId bad[] = {
      {Kind::kAgent, "example.org", "eu", "s", "a,URI:spiffe://example.org/coordinator"},
      {Kind::kAgent, "example.org", "eu", "s/agent/a/site/t", "b"},  // parses as site t of another region
      {Kind::kAgent, "example.org", "", "s", "a"},
      {Kind::kAgent, "example.org", "eu", "", "a"},
      {Kind::kAdmin, "example.org", "", "", ".."},
      {Kind::kAdmin, "example.org", "eu", "", "alice"},  // a region that the name would silently drop
      {Kind::kCoordinator, "Example.org", "", "", ""},
  };
  for (const SpiffeId& id : bad) {
    EXPECT_EQ(IssueCertificate(Ca(), Key().csr_der, id, kNow, absl::Hours(1)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << id.str();
  }
}

TEST_F(CertificateTest, OnlyARequestSignedByItsOwnP256KeyIsServed) {
  auto refused = [&](std::string csr) {
    return IssueCertificate(Ca(), csr, kFactory, kNow, absl::Hours(1)).status().code() ==
           absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused("not a request"));
  EXPECT_TRUE(refused(Key().csr_der + "x")) << "bytes behind the request";
  EXPECT_TRUE(refused(Key().csr_der.substr(0, Key().csr_der.size() - 1)));
  // Any flipped bit of what is signed or of the signature.
  for (size_t at : {size_t{10}, Key().csr_der.size() / 2, Key().csr_der.size() - 3}) {
    std::string csr = Key().csr_der;
    csr[at] = static_cast<char>(csr[at] ^ 1);
    EXPECT_TRUE(refused(csr)) << "byte " << at;
  }
  for (EVP_PKEY* key : {EVP_EC_gen("P-384"), EVP_RSA_gen(2048)}) {
    X509_REQ* request = X509_REQ_new();
    X509_REQ_set_pubkey(request, key);
    ASSERT_GT(X509_REQ_sign(request, key, EVP_sha256()), 0);
    unsigned char* der = nullptr;
    const int n = i2d_X509_REQ(request, &der);
    EXPECT_TRUE(refused(std::string(reinterpret_cast<char*>(der), static_cast<size_t>(n))));
    OPENSSL_free(der);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
  }
}

TEST_F(CertificateTest, WhatARequestAsksForIsIgnored) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509_REQ* request = X509_REQ_new();
  X509_REQ_set_pubkey(request, key);
  X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("coordinator"), -1, -1, 0);
  STACK_OF(X509_EXTENSION)* wishes = sk_X509_EXTENSION_new_null();
  for (const auto& [kind, wish] :
       {std::pair{NID_subject_alt_name, "URI:spiffe://example.org/coordinator"},
        std::pair{NID_basic_constraints, "critical,CA:TRUE"}, std::pair{NID_key_usage, "critical,keyCertSign"}}) {
    sk_X509_EXTENSION_push(wishes, X509V3_EXT_conf_nid(nullptr, nullptr, kind, wish));
  }
  ASSERT_EQ(X509_REQ_add_extensions(request, wishes), 1);
  ASSERT_GT(X509_REQ_sign(request, key, EVP_sha256()), 0);
  unsigned char* der = nullptr;
  const int n = i2d_X509_REQ(request, &der);
  auto issued = IssueCertificate(Ca(), std::string(reinterpret_cast<char*>(der), static_cast<size_t>(n)), kFactory,
                                 kNow, absl::Hours(1));
  OPENSSL_free(der);
  sk_X509_EXTENSION_pop_free(wishes, X509_EXTENSION_free);
  X509_REQ_free(request);
  EVP_PKEY_free(key);
  ASSERT_TRUE(issued.ok()) << issued.status();
  EXPECT_EQ(InspectCertificate(*issued)->uri, kFactory.str());
  BIO* bio = BIO_new_mem_buf(issued->data(), static_cast<int>(issued->size()));
  X509* leaf = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  ASSERT_NE(leaf, nullptr);
  EXPECT_EQ(X509_check_ca(leaf), 0);
  EXPECT_EQ(X509_NAME_entry_count(X509_get_subject_name(leaf)), 0);
  X509_free(leaf);
  BIO_free(bio);
}

TEST_F(CertificateTest, SeveralNamesAreNoName) {
  auto uri = [&](const std::string& names) {
    auto info = InspectCertificate(IssueOdd(Ca(), Key(), {names, kNow, kNow + absl::Hours(1)}));
    return info.ok() ? info->uri : info.status().ToString();
  };
  EXPECT_EQ(uri("URI:spiffe://td/coordinator"), "spiffe://td/coordinator");
  EXPECT_EQ(uri("URI:spiffe://td/coordinator,URI:spiffe://td/admin/eve"), "");
  EXPECT_EQ(uri("URI:spiffe://td/coordinator,URI:https://example.org"), "");
  EXPECT_EQ(uri("URI:spiffe://td/coordinator,URI:spiffe://td/coordinator"), "");
  EXPECT_EQ(uri("DNS:example.org"), "");
  EXPECT_EQ(uri(""), "");
}

TEST_F(CertificateTest, UnreadableOrMismatchedFilesAreRefused) {
  auto leaf = *IssueCertificate(Ca(), Key().csr_der, kFactory, kNow, absl::Hours(1));
  auto other = *NewTlsKey();
  EXPECT_EQ(CheckPair(leaf, other.private_key_pem).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPair(leaf, "").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPair("", other.private_key_pem).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(InspectCertificate("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(InspectCertificate(leaf.substr(0, leaf.size() / 2)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(InspectCertificate(other.private_key_pem).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CertificateSha256("nothing"), "");
  CertificateAuthority broken = Ca();
  broken.private_key_pem = "nothing";
  EXPECT_EQ(IssueCertificate(broken, Key().csr_der, kFactory, kNow, absl::Hours(1)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bailiwick::identity
