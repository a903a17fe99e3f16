#include "tests/fuzz/law.h"

#include <map>

namespace bailiwick::fuzz {

const crypto::SigningKey& Key(char seed) {
  static auto* keys = new std::map<char, crypto::SigningKey>;
  return keys->try_emplace(seed, *crypto::SigningKey::FromSeed(std::string(32, seed))).first->second;
}

absl::Time Now() { return absl::FromUnixSeconds(1790000000); }

std::string UriOf(const std::string& site) { return "spiffe://acme/region/eu/" + site + "/site/" + site + "/agent/a1"; }

const policy::World& TheWorld() {
  static const auto* world = [] {
    auto* w = new policy::World;
    w->trust_domain = "acme";
    w->revision = 9;
    w->digest = std::string(32, 'd');
    w->regions = {"eu"};
    for (const char* name : {"home", "relay", "far"}) {
      policy::Site& site = w->sites[name];
      site.name = name;
      site.region = std::string("eu/") + name;
      site.enrolment_keys["a1"] = Key().public_key();
      w->regions.push_back(site.region);
    }
    policy::Rule rule;
    rule.policy = "acme";
    rule.id = "inside";
    rule.actions = {policy::Action::kTransfer, policy::Action::kReside, policy::Action::kTransit};
    rule.to.in = {"eu"};
    w->rules = {rule};
    w->offline = {{.policy = "acme", .jurisdiction = "eu", .max_staleness = absl::Hours(12)}};
    for (auto* keys : {&w->grant_keys, &w->classifier_keys, &w->root_keys, &w->timestamp_keys}) {
      *keys = {Key().public_key()};
    }
    return w;
  }();
  return *world;
}

crypto::Envelope Signed(std::string_view type, std::string_view payload) {
  return crypto::SignEnvelope(type, payload, Key());
}

}  // namespace bailiwick::fuzz
