#include "common/rpc/provenance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/crypto/digest.h"
#include "common/rpc/codec.h"

namespace bailiwick::rpc {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1790000000);

std::string Uri(const std::string& site) {
  return "spiffe://acme/region/eu/" + site + "-land/site/" + site + "/agent/a1";
}

// home -> relay -> far -> end.
class ProvenanceTest : public ::testing::Test {
 protected:
  ProvenanceTest() {
    world_.trust_domain = "acme";
    world_.revision = 9;
    world_.digest = std::string(32, 'd');
    for (const char* name : {"home", "relay", "far", "end", "thief"}) {
      keys_.emplace(name, *crypto::SigningKey::Generate());
      policy::Site& site = world_.sites[name];
      site.name = name;
      site.region = std::string("eu/") + name + "-land";
      site.enrolment_keys["a1"] = keys_.at(name).public_key();
    }
    of_ = {*DatasetId::From("0123456789abcdef"), crypto::Sha256("version"), {"home"}, "far"};
    chain_ = {Hop("home", "relay", {})};
    chain_.push_back(Hop("relay", "far", chain_));
  }

  policy::Grant GrantFor(const std::string& from, const std::string& to) const {
    policy::Grant grant;
    grant.grant_id = std::string(16, from[0]);
    grant.dataset_id = of_.dataset_id;
    grant.version = of_.version;
    grant.source = Uri(from);
    grant.destination = Uri(to);
    grant.source_region = "eu/" + from + "-land";
    grant.destination_region = "eu/" + to + "-land";
    grant.purpose = "care";
    grant.not_before = kNow - absl::Minutes(1);
    grant.not_after = kNow + absl::Minutes(9);
    return grant;
  }

  crypto::Envelope Hop(const std::string& from, const std::string& to, const Chain& before,
                       const std::function<void(HopStatement&)>& change = nullptr, std::string by = "") const {
    HopStatement hop = NextHop(before, GrantFor(from, to), world_, kNow);
    if (change != nullptr) change(hop);
    return SignHop(hop, keys_.at(by.empty() ? from : by));
  }

  std::string Refusal(const Chain& chain) const {
    auto opened = OpenChain(chain, of_, world_);
    if (opened.ok()) return "";
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kPermissionDenied);
    return std::string(opened.status().message());
  }

  policy::World world_;
  std::map<std::string, crypto::SigningKey> keys_;
  ChainOf of_;
  Chain chain_;
};

TEST_F(ProvenanceTest, AWholeChainIsBelievedAsItWasSaid) {
  auto hops = OpenChain(chain_, of_, world_);
  ASSERT_TRUE(hops.ok()) << hops.status();
  ASSERT_EQ(hops->size(), 2u);
  EXPECT_EQ((*hops)[1].source, Uri("relay"));
  EXPECT_EQ((*hops)[1].policy_revision, 9u);
  EXPECT_EQ((*hops)[1].policy_digest, world_.digest);
  const std::vector<policy::Hop> judged = HopsOf(*hops);
  EXPECT_EQ(judged[0].from_site, "home");
  EXPECT_EQ(judged[1].to_site, "far");
  EXPECT_EQ(judged[1].purpose, "care");
  EXPECT_EQ(judged[1].at, kNow);
}

TEST_F(ProvenanceTest, EveryForgeryIsRefusedWithWhatIsWrong) {
  const Chain short_cut = {Hop("home", "far", {})};
  const Chain other_way = {Hop("home", "thief", {})};
  auto with = [&](size_t i, crypto::Envelope envelope) {
    Chain chain = chain_;
    chain[i] = std::move(envelope);
    return chain;
  };
  auto last = [&](const std::function<void(HopStatement&)>& change, const std::string& by = "") {
    return with(1, Hop("relay", "far", {chain_[0]}, change, by));
  };
  crypto::Envelope touched = chain_[0];
  touched.payload.back() ^= 1;
  crypto::Envelope unsigned_hop = chain_[1];
  unsigned_hop.signatures.clear();
  crypto::Envelope as_grant = crypto::SignEnvelope(crypto::kGrantType, chain_[1].payload, keys_.at("relay"));
  Chain long_chain = chain_;
  while (long_chain.size() <= kMaxChain) {
    const bool there = long_chain.size() % 2 == 0;
    long_chain.push_back(Hop(there ? "far" : "relay", there ? "relay" : "far", long_chain));
  }
  using Change = HopStatement&;
  const struct {
    const char* name;
    Chain chain;
    const char* says;
  } kTable[] = {
      {"nothing", {}, "nothing says how"},
      {"the beginning cut off", {chain_[1]}, "does not follow"},
      {"the beginning cut off and numbered anew", {Hop("relay", "far", {})}, "which is not the home"},
      {"the end cut off", {chain_[0]}, "leads to relay, not to far"},
      {"the middle cut out", {chain_[0], Hop("far", "end", chain_)}, "does not follow"},
      {"turned around", {chain_[1], chain_[0]}, "does not follow"},
      {"a hop twice", {chain_[0], chain_[0], chain_[1]}, "does not follow"},
      {"touched", with(0, touched), "hop 1"},
      {"unsigned", with(1, unsigned_hop), "hop 2"},
      {"signed as something else", with(1, as_grant), "hop 2"},
      {"noise", with(1, {std::string(crypto::kHopType), "noise", {}}), "cannot be read"},
      {"endless", with(1, {std::string(crypto::kHopType), std::string(100'000, 'x'), {}}), "cannot be read"},
      {"signed by the receiver", last(nullptr, "far"), "hop 2"},
      {"signed by a stranger", last(nullptr, "thief"), "hop 2"},
      {"the home's hop signed by the relay", with(0, Hop("home", "relay", {}, nullptr, "relay")), "hop 1"},
      {"another version", last([](Change h) { h.version = crypto::Sha256("other"); }), "another version"},
      {"another dataset", last([](Change h) { h.dataset_id.bytes[0] ^= 1; }), "another dataset"},
      {"another destination", last([](Change h) {
         h.destination = Uri("end");
         h.destination_region = "eu/end-land";
       }),
       "leads to end, not to far"},
      {"spliced onto the chain of another", {other_way[0], chain_[1]}, "does not follow"},
      {"spliced with the right number and hash",
       {other_way[0], Hop("relay", "far", other_way)},
       "the hop before went to thief"},
      {"a lower number", last([](Change h) { h.index = 1; }), "does not follow"},
      {"without the hash", last([](Change h) { h.previous.clear(); }), "does not follow"},
      {"to itself", last([](Change h) {
         h.destination = h.source;
         h.destination_region = h.source_region;
       }),
       "two agents"},
      {"another region", last([](Change h) { h.destination_region = "eu"; }), "with their regions"},
      {"another trust domain",
       last([](Change h) { h.destination = "spiffe://evil/region/eu/far-land/site/far/agent/a1"; }), "two agents"},
      {"an agent that nobody pinned",
       last([](Change h) { h.source = Uri("relay").substr(0, Uri("relay").size() - 2) + "a2"; }), "pins no key"},
      {"too long", long_chain, "are not believed"},
  };
  EXPECT_EQ(Refusal(chain_), "");
  for (const auto& row : kTable) {
    EXPECT_THAT(Refusal(row.chain), HasSubstr(row.says)) << row.name;
  }
  // True ones, of the same keys.
  EXPECT_EQ(Refusal(short_cut), "");
}

TEST_F(ProvenanceTest, AKeyThatIsPinnedNoMoreProvesNothing) {
  world_.sites["relay"].enrolment_keys["a1"] = keys_.at("thief").public_key();
  EXPECT_THAT(Refusal(chain_), HasSubstr("hop 2"));
  world_.sites.erase("relay");
  EXPECT_NE(Refusal(chain_), "");
}

TEST_F(ProvenanceTest, TheLastHopIsTheOneOfTheGrant) {
  auto hops = OpenChain(chain_, of_, world_);
  ASSERT_TRUE(hops.ok());
  const policy::Grant good = GrantFor("relay", "far");
  EXPECT_TRUE(CheckHopOfGrant(hops->back(), good).ok());
  auto refused = [&](const std::function<void(policy::Grant&)>& change) {
    policy::Grant grant = good;
    change(grant);
    return CheckHopOfGrant(hops->back(), grant).code() == absl::StatusCode::kPermissionDenied;
  };
  EXPECT_TRUE(refused([](policy::Grant& g) { g.grant_id = std::string(16, 'x'); }));
  EXPECT_TRUE(refused([](policy::Grant& g) { g.source = Uri("home"); }));
  EXPECT_TRUE(refused([](policy::Grant& g) { g.destination = Uri("end"); }));
  EXPECT_TRUE(refused([](policy::Grant& g) { g.purpose = "ads"; }));
  EXPECT_TRUE(refused([](policy::Grant& g) { g.destination_region = "eu"; }));
  EXPECT_TRUE(refused([](policy::Grant& g) { g.not_before = kNow + absl::Minutes(1); }));
  EXPECT_TRUE(refused([](policy::Grant& g) { g.not_after = kNow - absl::Minutes(1); }));
}

}  // namespace
}  // namespace bailiwick::rpc
