#include "common/rpc/credential_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/identity/certificate_fixture.h"
#include "common/identity/verify.h"

namespace bailiwick::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
const identity::SpiffeId kFactory{identity::Kind::kAgent, "example.org", "eu/de", "factory", "a"};
const identity::SpiffeId kCore{identity::Kind::kAgent, "example.org", "eu/de", "core", "a"};

class CredentialStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "bw-store-" + std::to_string(::getpid());
    ASSERT_TRUE(files_->RemoveTree(root_).ok());
    ASSERT_TRUE(files_->MakeDirs(root_).ok());
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }

  Credentials New(const identity::SpiffeId& id = kFactory, absl::Time made = kNow) {
    auto key = *identity::NewTlsKey();
    return {key.private_key_pem, *identity::IssueCertificate(ca_, key.csr_der, id, made, absl::Hours(24)),
            ca_.certificate_pem};
  }
  std::string Live() { return *os::ReadFile(files_, store_.live() + "/cert.pem"); }

  os::Files* files_ = os::Files::System();
  std::string root_ = "";
  identity::CertificateAuthority ca_ = *identity::NewAuthority("example.org", kNow, absl::Hours(24 * 365));
  CredentialStore store_{os::Files::System(), ::testing::TempDir() + "bw-store-" + std::to_string(::getpid()) + "/id"};
};

TEST_F(CredentialStoreTest, TheLinkLeadsToTheNewestAndAFewBeforeStay) {
  std::vector<std::string> chains;
  for (int i = 0; i < 6; ++i) {
    const Credentials credentials = New();
    ASSERT_TRUE(store_.Install(credentials, kFactory.str(), kNow).ok());
    chains.push_back(credentials.chain_pem);
    EXPECT_EQ(Live(), credentials.chain_pem);
  }
  EXPECT_THAT(store_.Chains(), ::testing::ElementsAre(chains[5], chains[4], chains[3], chains[2]));
  EXPECT_THAT(*files_->List(root_ + "/id"), ::testing::ElementsAre("gen-3", "gen-4", "gen-5", "gen-6", "live"));
}

TEST_F(CredentialStoreTest, WhatWouldNotWorkChangesNothing) {
  const Credentials good = New();
  ASSERT_TRUE(store_.Install(good, kFactory.str(), kNow).ok());
  Credentials mixed = New();
  mixed.key_pem = New().key_pem;
  Credentials foreign = New();
  foreign.roots_pem = identity::NewAuthority("example.org", kNow, absl::Hours(1))->certificate_pem;
  Credentials leaf_as_root = New();
  leaf_as_root.roots_pem = leaf_as_root.chain_pem;
  Credentials empty = New();
  empty.roots_pem.clear();
  auto key = *identity::NewTlsKey();
  const Credentials two{key.private_key_pem,
                        identity::IssueOdd(ca_, key, {"URI:" + kFactory.str() + ",URI:" + kCore.str(),
                                                      kNow - absl::Hours(1), kNow + absl::Hours(1)}),
                        ca_.certificate_pem};
  for (const Credentials& bad : {mixed, foreign, leaf_as_root, empty, two, New(kCore), New(kFactory, kNow - absl::Hours(48)),
                                 Credentials{"", "", ""}}) {
    EXPECT_FALSE(store_.Install(bad, kFactory.str(), kNow).ok());
    EXPECT_EQ(Live(), good.chain_pem);
  }
  EXPECT_THAT(store_.Chains(), SizeIs(1));
}

TEST_F(CredentialStoreTest, StagedButNotSwappedIsNotInUse) {
  const Credentials first = New(), second = New(), third = New();
  ASSERT_TRUE(store_.Install(first, "", kNow).ok());
  ASSERT_TRUE(store_.Stage(second, "", kNow).ok());  // and a crash
  EXPECT_EQ(Live(), first.chain_pem);
  ASSERT_TRUE(store_.Install(third, "", kNow).ok());
  EXPECT_EQ(Live(), third.chain_pem);
}

TEST_F(CredentialStoreTest, ExternalOnesUnderTheNamesOfThoseWhoRenewThem) {
  const std::string names[][3] = {{"tls.crt", "tls.key", "ca.crt"},
                                  {"svid.pem", "svid_key.pem", "svid_bundle.pem"},
                                  {"svid.pem", "svid_key.pem", "bundle.pem"},
                                  {"cert.pem", "key.pem", "ca.pem"}};
  int n = 0;
  for (const auto& [chain, key, roots] : names) {
    const std::string directory = root_ + "/external-" + std::to_string(n++);
    ASSERT_TRUE(files_->MakeDirs(directory).ok());
    const Credentials made = New();
    ASSERT_TRUE(os::WriteFileAtomically(files_, directory + "/" + chain, made.chain_pem).ok());
    absl::Status half = ReadExternal(files_, directory).status();
    EXPECT_TRUE(absl::IsNotFound(half)) << half;
    EXPECT_THAT(std::string(half.message()), HasSubstr(directory));
    ASSERT_TRUE(os::WriteFileAtomically(files_, directory + "/" + key, made.key_pem).ok());
    ASSERT_TRUE(os::WriteFileAtomically(files_, directory + "/" + roots, made.roots_pem).ok());
    auto read = ReadExternal(files_, directory);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(CheckCredentials(*read, kFactory.str(), kNow).ok());
  }
}

}  // namespace
}  // namespace bailiwick::rpc
