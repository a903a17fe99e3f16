// From YAML to the law that agents judge by: time zones, windows, tiers, obligations, delegations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/config/obligations.h"
#include "common/config/time_zones.h"
#include "common/config/when.h"
#include "common/config/world.h"
#include "common/policy/evaluator.h"

namespace bailiwick::config {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromCivil(absl::CivilDay(2026, 7, 1), absl::UTCTimeZone());

constexpr char kHead[] = R"yaml(
apiVersion: bailiwick/v1
kind: Region
metadata: {name: eu}
spec: {}
---
apiVersion: bailiwick/v1
kind: Site
metadata: {name: a}
spec:
  region: eu
  storageKeys: [{id: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, region: eu}]
  replicaVolume: encrypted
---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: x}
spec:
)yaml";

Catalog Read(const std::string& policy) {
  Catalog catalog;
  auto parsed = ParseYaml(absl::StrCat(kHead, policy), "f.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  if (!parsed.ok()) return catalog;
  for (const Located& one : *parsed) catalog[{KindOf(one.resource), one.resource.metadata().name()}] = one.resource;
  return catalog;
}

// As an agent gets it: zones compiled, written into a bundle and read back.
policy::World Law(const std::string& policy, absl::Time applied = kNow) {
  const Catalog catalog = Read(policy);
  resource::v1::PolicyBundle bundle;
  AddTimeZones(CompileTimeZones(ZonesOf(catalog), applied), &bundle);
  auto world = BuildWorld(catalog);
  auto zones = TimeZonesOf(bundle);
  EXPECT_TRUE(world.ok() && zones.ok()) << world.status() << zones.status();
  world->time_zones = *std::move(zones);
  return *std::move(world);
}

policy::Reason Ask(const policy::World& world, absl::Time now) {
  return policy::Evaluate(world, {{}, "a", "a"}, now).reason;
}

TEST(LanguageTest, WindowsFollowLocalTimeOverItsChanges) {
  const policy::World law =
      Law("  rules: [{id: r, effect: permit, when: {daily: [{days: mon-fri, hours: \"08:00-18:00\", tz: "
          "Europe/Berlin}]}}]\n");
  auto at = [&](int month, int day, int hour, int minute) {
    return Ask(law, absl::FromCivil(absl::CivilMinute(2026, month, day, hour, minute), absl::UTCTimeZone()));
  };
  EXPECT_EQ(at(7, 1, 5, 59), policy::Reason::kNoPermit);
  EXPECT_EQ(at(7, 1, 6, 0), policy::Reason::kPermitted);  // CEST
  EXPECT_EQ(at(12, 1, 6, 30), policy::Reason::kNoPermit);
  EXPECT_EQ(at(12, 1, 7, 0), policy::Reason::kPermitted);  // CET
  EXPECT_EQ(at(12, 1, 17, 0), policy::Reason::kNoPermit);
  EXPECT_EQ(at(7, 4, 10, 0), policy::Reason::kNoPermit);  // Saturday
  EXPECT_EQ(Ask(law, kNow + kZoneHorizon - absl::Seconds(1)) == policy::Reason::kError, false);
  EXPECT_EQ(Ask(law, kNow + kZoneHorizon), policy::Reason::kError);
  EXPECT_EQ(Ask(law, kNow - kZonePast - absl::Seconds(1)), policy::Reason::kError);
}

TEST(LanguageTest, CompiledZonesSayWhatTheSystemSays) {
  for (const char* name : {"Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"}) {
    const TimeZones zones = CompileTimeZones({name}, kNow);
    ASSERT_EQ(zones.size(), 1u) << name;
    absl::TimeZone system;
    ASSERT_TRUE(absl::LoadTimeZone(name, &system));
    for (absl::Time t = kNow - kZonePast; t < kNow + kZoneHorizon; t += absl::Hours(7)) {
      policy::World world;
      world.time_zones = zones;
      const absl::CivilMinute local = absl::ToCivilMinute(t, system);
      policy::Rule rule;
      rule.when.daily = {{0x7f, static_cast<uint16_t>(local.hour() * 60 + local.minute()),
                          static_cast<uint16_t>(local.hour() * 60 + local.minute() + 1), name}};
      rule.actions = {policy::Action::kTransfer};
      world.regions = {"eu"};
      world.sites["a"].region = "eu";
      world.rules = {rule};
      ASSERT_EQ(Ask(world, t), policy::Reason::kPermitted) << name << " " << t;
    }
  }
  EXPECT_TRUE(CompileTimeZones({"Mars/Olympus", "../etc/passwd", "localtime"}, kNow).empty());
}

TEST(LanguageTest, TablesAreMadeAnewBeforeTheyEndOrWhenTimeIsChanged) {
  const TimeZones zones = CompileTimeZones({"Europe/Berlin"}, kNow);
  EXPECT_FALSE(ZonesStale(zones, zones, kNow));
  EXPECT_FALSE(ZonesStale(zones, {}, kNow));
  EXPECT_TRUE(ZonesStale({}, zones, kNow));
  for (const auto& [years, stale] : {std::pair(1, false), std::pair(4, false), std::pair(6, true)}) {
    const absl::Time later = kNow + absl::Hours(24 * 366 * years);
    EXPECT_EQ(ZonesStale(zones, CompileTimeZones({"Europe/Berlin"}, later), later), stale) << years;
  }
  TimeZones changed = zones;  // summer time is abolished
  changed["Europe/Berlin"].transitions.resize(8);
  EXPECT_TRUE(ZonesStale(zones, changed, kNow));
  EXPECT_TRUE(ZonesStale(changed, zones, kNow));
}

TEST(LanguageTest, BrokenZonesOfABundleAreRefused) {
  resource::v1::PolicyBundle good;
  AddTimeZones(CompileTimeZones({"Europe/Berlin", "UTC"}, kNow), &good);
  ASSERT_TRUE(TimeZonesOf(good).ok());
  auto refused = [&](const char* why, auto change) {
    resource::v1::PolicyBundle bad = good;
    change(&bad);
    EXPECT_THAT(std::string(TimeZonesOf(bad).status().message()), HasSubstr(why));
  };
  refused("out of order", [](auto* b) { b->mutable_time_zones()->SwapElements(0, 1); });
  refused("no transitions", [](auto* b) { b->mutable_time_zones(0)->clear_transitions(); });
  refused("a day or more",
          [](auto* b) { b->mutable_time_zones(0)->mutable_transitions(0)->set_offset_seconds(86400); });
  refused("transitions out of order",
          [](auto* b) { b->mutable_time_zones(0)->mutable_transitions()->SwapElements(0, 1); });
}

TEST(LanguageTest, MomentsDaysAndHours) {
  EXPECT_EQ(ParseMoment("2026-07-01T02:00:00+02:00"), kNow);
  EXPECT_EQ(ParseMoment("2026-07-01T00:00:00Z"), kNow);
  for (const char* bad : {"2026-07-01", "2026-07-01T00:00:00", "2026-02-30T00:00:00Z", "2026-07-01 00:00:00Z",
                          "2026-07-01T00:00:00+2:00", "2026-07-01T25:00:00Z", "infinite-future", "now", ""}) {
    EXPECT_FALSE(ParseMoment(bad)) << bad;
  }
  EXPECT_EQ(ParseDays(""), 0x7f);
  EXPECT_EQ(ParseDays("mon-fri"), 0x1f);
  EXPECT_EQ(ParseDays("sat,sun"), 0x60);
  EXPECT_EQ(ParseDays("fri-mon,wed"), 0x75);
  for (const char* bad : {"mon-", "-fri", "monday", "mon,,tue", "mon-wed-fri", "Mon", "mon, tue"}) {
    EXPECT_FALSE(ParseDays(bad)) << bad;
  }
  EXPECT_EQ(ParseHours("08:00-18:30"), std::pair(uint16_t{480}, uint16_t{1110}));
  EXPECT_EQ(ParseHours("22:00-06:00"), std::pair(uint16_t{1320}, uint16_t{360}));
  EXPECT_EQ(ParseHours("18:00-24:00"), std::pair(uint16_t{1080}, uint16_t{1440}));
  for (const char* bad :
       {"08:00", "8:00-9:00", "08:00-08:00", "24:00-08:00", "08:60-09:00", "18:00-00:00", "08:00 - 09:00"}) {
    EXPECT_FALSE(ParseHours(bad)) << bad;
  }
}

TEST(LanguageTest, TheWorldHoldsWhatWasWritten) {
  const policy::World law = Law(R"yaml(
  tier: guardrail
  offline: [{jurisdiction: eu, maxStaleness: 2h}]
  rules:
  - id: r
    effect: permit
    purposes: [care]
    basis: bcr
    when: {notBefore: 2026-01-01T00:00:00Z, notAfter: 2027-01-01T00:00:00Z}
    obligations: [{encryptAtRest: {keyRegion: eu}}, {maxRetention: 30d}, {maxHops: 2}, {maxHops: 3}, {noTransit: true}]
)yaml");
  ASSERT_EQ(law.rules.size(), 1u);
  const policy::Rule& rule = law.rules[0];
  EXPECT_EQ(rule.tier, policy::Tier::kGuardrail);
  EXPECT_EQ(rule.purposes, std::vector<std::string>{"care"});
  EXPECT_EQ(rule.obligations, (policy::Obligations{{"eu"}, absl::Hours(24 * 30), 2, true}));
  EXPECT_EQ(rule.when.not_before, absl::FromCivil(absl::CivilDay(2026, 1, 1), absl::UTCTimeZone()));
  EXPECT_EQ(rule.actions.size(), 3u);
  ASSERT_EQ(law.offline.size(), 1u);
  EXPECT_EQ(law.offline[0].jurisdiction, "eu");
  EXPECT_EQ(law.offline[0].max_staleness, absl::Hours(2));
  EXPECT_EQ(law.offline[0].tier, policy::Tier::kGuardrail);
  EXPECT_TRUE(law.sites.at("a").encrypted_volume);
  EXPECT_EQ(law.sites.at("a").storage_keys.at(0).region, "eu");
}

TEST(LanguageTest, AnObligationThatIsNotEnforcedIsRefusedAtApplyAndAnErrorAtAnAgent) {
  for (const auto& [name, text] : {std::pair("encryptAtRest", "{keyRegion: eu}"), std::pair("maxRetention", "1h"),
                                   std::pair("maxHops", "2"), std::pair("noTransit", "true")}) {
    const std::string policy =
        absl::StrCat("  rules: [{id: r, effect: permit, obligations: [{", name, ": ", text, "}]}]\n");
    const std::string refusal(Validate(Read(policy), {}, kNow, {}).message());
    EXPECT_EQ(Ask(Law(policy), kNow), IsSupported(name) ? policy::Reason::kPermitted : policy::Reason::kError) << name;
    if (IsSupported(name)) {
      EXPECT_EQ(refusal, "");
    } else {
      EXPECT_EQ(refusal, absl::StrCat("SovereigntyPolicy/x: spec.rules[0].obligations[0]: obligation ", name,
                                      " is not supported by this version's agents; remove it"));
    }
  }
}

TEST(LanguageTest, WhatANewerVersionWroteIsAnErrorNotARuleWithoutIt) {
  const Catalog good = Read("  rules: [{id: r, effect: permit}]\n");
  auto with = [&](auto change) {
    Catalog catalog = good;
    auto* spec = catalog[{"SovereigntyPolicy", "x"}].mutable_sovereignty_policy();
    change(spec);
    auto world = BuildWorld(catalog);
    EXPECT_TRUE(world.ok()) << world.status();
    return Ask(*world, kNow);
  };
  auto unknown = [](auto* message) { message->GetReflection()->MutableUnknownFields(message)->AddVarint(99, 1); };
  EXPECT_EQ(with([](auto*) {}), policy::Reason::kPermitted);
  EXPECT_EQ(with([&](auto* spec) { unknown(spec); }), policy::Reason::kError);
  EXPECT_EQ(with([&](auto* spec) { spec->set_tier(static_cast<resource::v1::Tier>(7)); }), policy::Reason::kError);
  EXPECT_EQ(with([&](auto* spec) { unknown(spec->mutable_rules(0)); }), policy::Reason::kError);
  EXPECT_EQ(with([&](auto* spec) { unknown(spec->mutable_rules(0)->add_obligations()); }), policy::Reason::kError);
  EXPECT_EQ(with([&](auto* spec) { unknown(spec->mutable_rules(0)->mutable_when()); }), policy::Reason::kError);
}

}  // namespace
}  // namespace bailiwick::config
