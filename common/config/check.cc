#include "common/config/check.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/patterns.h"
#include "common/base/units.h"
#include "common/config/when.h"
#include "common/config/yaml.h"

namespace bailiwick::config {
namespace {

namespace pb = resource::v1;

constexpr size_t kMaxName = 63;  // a DNS label: names become parts of identities, host names and Kubernetes objects
constexpr size_t kMaxRegion = 253;
constexpr size_t kMaxLabelKey = 253;
constexpr size_t kMaxLabelValue = 63;
constexpr int64_t kMinRetentionSeconds = 10;  // agents look once a second, clocks may be a few apart
constexpr uint64_t kMinChunk = 16 * kKiB;
constexpr uint64_t kMaxChunk = 4 * kMiB;
constexpr uint64_t kMaxRetained = 50'000;  // a report of a copy names every version, in a message of 4 MiB
constexpr uint64_t kMinCap = 64 * kKiB;    // a second: a frame of 1 MiB leaves within 16 s

bool LowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool AlphaNumeric(char c) { return LowerOrDigit(c) || (c >= 'A' && c <= 'Z'); }

bool NameShaped(std::string_view name, bool dots) {
  if (name.empty() || name.size() > kMaxName || !LowerOrDigit(name.front()) || !LowerOrDigit(name.back())) return false;
  return std::all_of(name.begin(), name.end(),
                     [dots](char c) { return LowerOrDigit(c) || c == '-' || (dots && c == '.'); });
}

}  // namespace

std::string NameProblem(const std::string& name, bool dots) {
  if (NameShaped(name, dots)) return "";
  if (name.empty()) return "a name is missing";
  if (name.find('@') != std::string::npos) {
    return absl::StrCat("\"", name, "\" is not a valid name: '@' is reserved for the streams of a family");
  }
  return absl::StrCat("\"", name, "\" is not a valid name; use up to ", kMaxName, " lower-case letters, digits and '-'",
                      dots ? " or '.'" : "", ", beginning and ending with a letter or digit");
}

namespace {

std::string RegionProblem(const std::string& name) {
  if (name.empty()) return "a region is missing";
  if (name.size() > kMaxRegion) return absl::StrCat("a region has at most ", kMaxRegion, " characters");
  for (absl::string_view part : absl::StrSplit(name, '/')) {
    const std::string_view label(part.data(), part.size());
    if (!NameShaped(label, false)) {
      return absl::StrCat("\"", name,
                          "\" is not a valid region; write names of lower-case letters, digits and '-' parted by "
                          "single slashes, as in eu/de/fra");
    }
    if (label == "site" || label == "agent") {
      return absl::StrCat("\"", name, "\" is not a valid region: \"", part,
                          "\" is reserved in the identities of agents");
    }
  }
  return "";
}

// A region subtree or "set:NAME".
std::string PlaceProblem(const std::string& place) {
  if (absl::StartsWith(place, absl::string_view(kSetPrefix.data(), kSetPrefix.size()))) {
    return NameProblem(place.substr(kSetPrefix.size()));
  }
  return RegionProblem(place);
}

bool LabelShaped(std::string_view text, size_t max) {
  if (text.empty() || text.size() > max || !AlphaNumeric(text.front()) || !AlphaNumeric(text.back())) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return AlphaNumeric(c) || c == '.' || c == '_' || c == '-' || c == '/'; });
}

// Checks one resource; each method one part of it.
class Checker {
 public:
  explicit Checker(const Complain& complain) : complain_(complain) {}

  void Metadata(const pb::Resource& resource) {
    const std::string& name = resource.metadata().name();
    if (name.empty()) {
      complain_("metadata.name", "the resource has no name");
    } else if (resource.spec_case() == pb::Resource::kRegion) {
      Need("metadata.name", RegionProblem(name));
    } else {
      Need("metadata.name", NameProblem(name, resource.spec_case() == pb::Resource::kDataset));
    }
    Labels("metadata.labels", resource.metadata().labels());
  }

  void Site(const pb::SiteSpec& spec) {
    Need("spec.region", RegionProblem(spec.region()));
    if (!spec.entity().empty()) Need("spec.entity", NameProblem(spec.entity()));
    if (!spec.replica_path().empty()) Path("spec.replicaPath", spec.replica_path());
    std::set<std::string> ids;
    for (int i = 0; i < spec.storage_keys_size(); ++i) {
      const std::string path = absl::StrCat("spec.storageKeys[", i, "]");
      StorageKey(path, spec.storage_keys(i));
      if (!ids.insert(spec.storage_keys(i).id()).second) complain_(path + ".id", "the key is listed twice");
    }
  }

  void Dataset(const pb::DatasetSpec& spec) {
    if (!spec.has_home()) {
      complain_("spec.home", "a dataset needs a home: {site, path} or, for a family, {siteSelector, path}");
    } else {
      const pb::Home& home = spec.home();
      if (home.site().empty() == !home.has_site_selector()) {
        complain_("spec.home", "expected exactly one of site and siteSelector");
      }
      if (!home.site().empty()) Need("spec.home.site", NameProblem(home.site()));
      Selector("spec.home.siteSelector", home.site_selector());
      Path("spec.home.path", home.path());
    }
    const pb::Retain& retain = spec.retain();
    if (uint64_t{retain.last()} + retain.hourly() + retain.daily() > kMaxRetained) {
      complain_("spec.retain",
                absl::StrCat("keeps more than ", kMaxRetained, " versions, more than a site can tell of"));
    }
    const uint64_t chunk = spec.chunk_size_bytes();
    if (chunk != 0 && (chunk < kMinChunk || chunk > kMaxChunk || (chunk & (chunk - 1)) != 0)) {
      complain_("spec.chunkSize", "expected a power of two from 16KiB to 4MiB");
    }
    const pb::Commit& commit = spec.commit();
    if (commit.has_every()) AtLeastASecond("spec.commit.every", commit.every());
    if (commit.has_quiet()) AtLeastASecond("spec.commit.quiet", commit.quiet());
    if (spec.ingest() == pb::INGEST_CONSUME && spec.absent() != pb::ABSENT_KEEP) {
      complain_("spec.ingest",
                "consume takes files out of the source: it needs `absent: keep`, or the next version would lack them");
    }
    if (spec.drop_after_copies() != 0 && spec.ingest() != pb::INGEST_CONSUME) {
      complain_(
          "spec.dropAfterCopies",
          "a home that copies its source keeps the files there whatever its store drops: it needs `ingest: consume`");
    }
    Patterns("spec.include", spec.include());
    Patterns("spec.ignore", spec.ignore());
  }

  void Replication(const pb::ReplicationPolicySpec& spec) {
    Selector("spec.select", spec.select());
    if (!spec.purpose().empty()) Need("spec.purpose", NameProblem(spec.purpose()));
    if (spec.to().empty()) complain_("spec.to", "expected at least one target: {site}, {region} or {siteSelector}");
    for (int i = 0; i < spec.to_size(); ++i) {
      const pb::Target& target = spec.to(i);
      const std::string path = absl::StrCat("spec.to[", i, "]");
      const int given = !target.site().empty() + !target.region().empty() + target.has_site_selector();
      if (given != 1) complain_(path, "expected exactly one of site, region and siteSelector");
      if (!target.site().empty()) Need(path + ".site", NameProblem(target.site()));
      if (!target.region().empty()) Need(path + ".region", RegionProblem(target.region()));
      Selector(path + ".siteSelector", target.site_selector());
      if (!target.site().empty() && target.copies() > 1) complain_(path + ".copies", "one site holds one copy");
    }
    if (spec.has_rpo()) AtLeastASecond("spec.rpo", spec.rpo());
    if (spec.history() == pb::HISTORY_NEWEST && spec.order() == pb::ORDER_IN_ORDER) {
      complain_("spec.history", "in-order wants every version; leave out history: newest, or order it newest-first");
    }
  }

  void Bandwidth(const pb::BandwidthPolicySpec& spec) {
    if (spec.caps().empty()) complain_("spec.caps", "expected at least one cap: {site, limit} or {from, to, limit}");
    for (int i = 0; i < spec.caps_size(); ++i) {
      const pb::BandwidthCap& cap = spec.caps(i);
      const std::string path = absl::StrCat("spec.caps[", i, "]");
      if (cap.site().empty() == cap.from().empty()) complain_(path, "expected exactly one of site and from");
      if (!cap.site().empty()) Need(path + ".site", NameProblem(cap.site()));
      if (!cap.from().empty()) {
        Need(path + ".from", RegionProblem(cap.from()));
        if (cap.to().empty()) complain_(path, "expected the region that the bytes go to beside `from`: to");
      }
      if (!cap.to().empty()) Need(path + ".to", RegionProblem(cap.to()));
      if (cap.limit_bytes() < kMinCap) complain_(path + ".limit", "expected at least 64KiB (a second)");
      Windows(path + ".daily", cap.daily());
    }
  }

  void Roles(const pb::RoleBindingSpec& spec) {
    if (spec.roles().empty()) complain_("spec.roles", "expected at least one role");
    if (spec.people().empty()) complain_("spec.people", "expected at least one person");
    for (int i = 0; i < spec.people_size(); ++i) {
      Need(absl::StrCat("spec.people[", i, "]"), NameProblem(spec.people(i)));
    }
  }

  void Sovereignty(const pb::SovereigntyPolicySpec& spec) {
    for (const auto& [name, set] : spec.sets()) {
      const std::string path = absl::StrCat("spec.sets.", name);
      Need(path, NameProblem(name));
      if (set.regions().empty()) complain_(path + ".regions", "expected at least one region");
      for (int i = 0; i < set.regions_size(); ++i) {
        Need(absl::StrCat(path, ".regions[", i, "]"), RegionProblem(set.regions(i)));
      }
      Day(path + ".reviewed", set.reviewed());
      Day(path + ".expires", set.expires());
    }
    std::set<std::string> ids;
    for (int i = 0; i < spec.rules_size(); ++i) {
      Rule(absl::StrCat("spec.rules[", i, "]"), spec.rules(i));
      if (!spec.rules(i).id().empty() && !ids.insert(spec.rules(i).id()).second) {
        complain_(absl::StrCat("spec.rules[", i, "].id"),
                  absl::StrCat("the id ", spec.rules(i).id(), " is used twice"));
      }
    }
    for (int i = 0; i < spec.offline_size(); ++i) {
      const std::string path = absl::StrCat("spec.offline[", i, "]");
      Need(path + ".jurisdiction", RegionProblem(spec.offline(i).jurisdiction()));
      if (spec.offline(i).max_staleness().seconds() < 60) complain_(path + ".maxStaleness", "expected at least 1m");
    }
    if (spec.has_redaction()) Selector("spec.redaction.data", spec.redaction().data());
    std::set<std::string> names;
    for (int i = 0; i < spec.tests_size(); ++i) {
      const std::string path = absl::StrCat("spec.tests[", i, "]");
      Test(path, spec.tests(i));
      if (!spec.tests(i).name().empty() && !names.insert(spec.tests(i).name()).second) {
        complain_(path + ".name", absl::StrCat("the name \"", spec.tests(i).name(), "\" is used twice"));
      }
    }
  }

 private:
  void Need(const std::string& path, const std::string& problem) {
    if (!problem.empty()) complain_(path, problem);
  }

  template <typename Map>
  void Labels(const std::string& path, const Map& labels) {
    for (const auto& [key, value] : labels) {
      const std::string at = absl::StrCat(path, ".", key);
      LabelKey(at, key);
      if (!value.empty()) LabelValue(at, value);
    }
  }

  void LabelKey(const std::string& path, const std::string& key) {
    if (LabelShaped(key, kMaxLabelKey)) return;
    complain_(path, absl::StrCat("\"", key, "\" is not a valid label key; use letters and digits with . _ - / inside"));
  }

  void LabelValue(const std::string& path, const std::string& value) {
    if (LabelShaped(value, kMaxLabelValue)) return;
    complain_(path, absl::StrCat("\"", value, "\" is not a valid label value; use up to ", kMaxLabelValue,
                                 " letters and digits with . _ - / inside"));
  }

  void Selector(const std::string& path, const pb::LabelSelector& selector) {
    Labels(path + ".matchLabels", selector.match_labels());
    for (int i = 0; i < selector.match_expressions_size(); ++i) {
      const pb::LabelExpression& expression = selector.match_expressions(i);
      const std::string at = absl::StrCat(path, ".matchExpressions[", i, "]");
      LabelKey(at + ".key", expression.key());
      switch (expression.operator_()) {
        case pb::LABEL_OPERATOR_IN:
        case pb::LABEL_OPERATOR_NOT_IN:
          if (expression.values().empty()) complain_(at + ".values", "In and NotIn need at least one value");
          break;
        case pb::LABEL_OPERATOR_EXISTS:
        case pb::LABEL_OPERATOR_DOES_NOT_EXIST:
          if (!expression.values().empty()) complain_(at + ".values", "Exists and DoesNotExist take no values");
          break;
        default:
          complain_(at + ".operator", "expected one of: In, NotIn, Exists, DoesNotExist");
      }
      for (int k = 0; k < expression.values_size(); ++k) {
        if (!expression.values(k).empty()) LabelValue(absl::StrCat(at, ".values[", k, "]"), expression.values(k));
      }
    }
  }

  void Path(const std::string& at, const std::string& path) {
    const char* wanted = "expected an absolute path without \".\", \"..\", double or trailing slashes";
    bool clean = path.size() > 1 && path[0] == '/' && path.find('\0') == std::string::npos;
    if (clean) {
      for (absl::string_view part : absl::StrSplit(absl::string_view(path).substr(1), '/')) {
        clean = clean && !part.empty() && part != "." && part != "..";
      }
    }
    if (!clean) complain_(at, path.empty() ? std::string(wanted) : absl::StrCat(wanted, ", found \"", path, "\""));
  }

  void AtLeastASecond(const std::string& path, const google::protobuf::Duration& duration) {
    if (duration.seconds() < 1) complain_(path, "expected at least 1s");
  }

  void StorageKey(const std::string& path, const pb::StorageKey& key) {
    const bool hex = key.id().size() == 64 && key.id().find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!hex)
      complain_(path + ".id", "expected 64 lower-case hexadecimal digits, as `bailiwick-agent key list` prints");
    Need(path + ".region", RegionProblem(key.region()));
  }

  template <typename List>
  void Patterns(const std::string& path, const List& patterns) {
    for (int i = 0; i < patterns.size(); ++i) {
      const std::string& pattern = patterns[i];
      if (pattern.empty() || pattern.find('\0') != std::string::npos || pattern.find('\n') != std::string::npos) {
        complain_(absl::StrCat(path, "[", i, "]"), "expected a pattern in gitignore's syntax on one line");
      } else if (absl::Status parsed = PatternList::Parse({pattern}).status(); !parsed.ok()) {
        complain_(absl::StrCat(path, "[", i, "]"), std::string(parsed.message()));
      }
    }
  }

  void Day(const std::string& path, const std::string& text) {
    if (!text.empty() && !ParseDay(text))
      complain_(path, absl::StrCat("\"", text, "\" is not a date; write YYYY-MM-DD"));
  }

  void Rule(const std::string& path, const pb::Rule& rule) {
    if (rule.id().empty()) {
      complain_(path + ".id", "the rule has no id");
    } else {
      Need(path + ".id", NameProblem(rule.id()));
    }
    if (rule.effect() != pb::EFFECT_PERMIT && rule.effect() != pb::EFFECT_FORBID) {
      complain_(path + ".effect", "expected permit or forbid");
    }
    for (int action : rule.actions()) {
      if (action == pb::ACTION_UNSPECIFIED || !pb::Action_IsValid(action))
        complain_(path + ".actions", "unknown action");
    }
    Selector(path + ".data", rule.data());
    RulePlace(path + ".from", rule.from());
    RulePlace(path + ".to", rule.to());
    const bool step = std::any_of(rule.actions().begin(), rule.actions().end(),
                                  [](int a) { return a == pb::ACTION_RELABEL || a == pb::ACTION_MOVE_SITE; });
    if (step && rule.purposes_size() != 0) {
      complain_(path + ".purposes", "relabel and move-site have no purpose; give them a rule of their own");
    }
    for (int i = 0; i < rule.purposes_size(); ++i) {
      Need(absl::StrCat(path, ".purposes[", i, "]"), NameProblem(rule.purposes(i)));
    }
    if (rule.obligations_size() != 0 && (step || rule.effect() == pb::EFFECT_FORBID)) {
      complain_(path + ".obligations", "obligations belong to rules that permit transfer, reside or transit");
    }
    const bool resides = rule.actions().empty() || std::find(rule.actions().begin(), rule.actions().end(),
                                                             pb::ACTION_RESIDE) != rule.actions().end();
    for (int i = 0; i < rule.obligations_size(); ++i) {
      Obligation(absl::StrCat(path, ".obligations[", i, "]"), rule.obligations(i), resides);
    }
    When(path + ".when", rule.when());
  }

  void Obligation(const std::string& path, const pb::Obligation& obligation, bool resides) {
    switch (obligation.kind_case()) {
      case pb::Obligation::kEncryptAtRest:
        Need(path + ".encryptAtRest.keyRegion", RegionProblem(obligation.encrypt_at_rest().key_region()));
        break;
      case pb::Obligation::kMaxRetention:
        if (obligation.max_retention().seconds() < kMinRetentionSeconds)
          complain_(path + ".maxRetention", absl::StrCat("expected at least ", kMinRetentionSeconds, "s"));
        if (!resides) complain_(path + ".maxRetention", "expected the rule to permit reside, which it is a limit of");
        break;
      case pb::Obligation::kMaxHops:
        if (obligation.max_hops() == 0)
          complain_(path + ".maxHops", "expected at least 1; forbid what may not go at all");
        break;
      case pb::Obligation::kNoTransit:
        if (!obligation.no_transit()) complain_(path + ".noTransit", "expected true; leave it out otherwise");
        break;
      case pb::Obligation::KIND_NOT_SET:
        // One of a newer version makes the rule an error where it is judged; here only what nobody can mean is refused.
        if (!obligation.GetReflection()->GetUnknownFields(obligation).empty()) break;
        complain_(path, "expected one of: encryptAtRest, maxRetention, maxHops, noTransit");
        break;
    }
  }

  void When(const std::string& path, const pb::When& when) {
    for (const auto& [field, text] : {std::pair(".notBefore", &when.not_before()), {".notAfter", &when.not_after()}}) {
      if (text->empty() || ParseMoment(*text)) continue;
      complain_(path + field, absl::StrCat("\"", *text,
                                           "\" is not a moment; write RFC 3339 with an offset, as in "
                                           "2026-07-01T08:00:00+02:00"));
    }
    const auto from = ParseMoment(when.not_before()), to = ParseMoment(when.not_after());
    if (from && to && *from >= *to) complain_(path + ".notAfter", "expected a moment later than notBefore");
    Windows(path + ".daily", when.daily());
  }

  void Windows(const std::string& path, const google::protobuf::RepeatedPtrField<pb::Daily>& windows) {
    for (int i = 0; i < windows.size(); ++i) {
      const pb::Daily& daily = windows[i];
      const std::string at = absl::StrCat(path, "[", i, "]");
      if (!ParseDays(daily.days())) {
        complain_(at + ".days",
                  absl::StrCat("\"", daily.days(), "\" are not days; write mon-fri, or sat,sun in quotes"));
      }
      if (!ParseHours(daily.hours())) {
        complain_(at + ".hours", absl::StrCat("\"", daily.hours(),
                                              "\" are not hours; write \"08:00-18:00\", over midnight "
                                              "\"22:00-06:00\""));
      }
      if (!IsZoneShaped(daily.tz())) {
        complain_(at + ".tz", daily.tz().empty() ? "a time zone is missing; write UTC or an IANA name, Europe/Berlin"
                                                 : absl::StrCat("\"", daily.tz(),
                                                                "\" is not a time zone; write UTC or an IANA name, "
                                                                "Europe/Berlin"));
      }
    }
  }

  void RulePlace(const std::string& path, const pb::Place& place) {
    for (int i = 0; i < place.in_size(); ++i) Need(absl::StrCat(path, ".in[", i, "]"), PlaceProblem(place.in(i)));
    for (int i = 0; i < place.not_in_size(); ++i) {
      Need(absl::StrCat(path, ".notIn[", i, "]"), PlaceProblem(place.not_in(i)));
    }
    Selector(path + ".siteSelector", place.site_selector());
    for (int i = 0; i < place.entities_size(); ++i) {
      Need(absl::StrCat(path, ".entities[", i, "]"), NameProblem(place.entities(i)));
    }
  }

  void Test(const std::string& path, const pb::PolicyTest& test) {
    if (test.name().empty()) complain_(path + ".name", "the test has no name");
    const bool is_case = !test.data().empty() || !test.from().empty() || !test.to().empty() || !test.expect().empty() ||
                         !test.purpose().empty() || !test.at().empty() || !test.rule().empty() ||
                         test.action() != pb::ACTION_UNSPECIFIED;
    if (is_case == test.has_never()) {
      complain_(path, "expected either a case {data, from, to, expect} or an invariant {never: {data, reach}}");
    }
    if (test.has_never()) {
      Labels(path + ".never.data", test.never().data());
      Need(path + ".never.reach", RegionProblem(test.never().reach()));
      if (!test.never().from().empty()) Need(path + ".never.from", RegionProblem(test.never().from()));
      if (!test.never().purpose().empty()) Need(path + ".never.purpose", NameProblem(test.never().purpose()));
      TestTime(path + ".never.at", test.never().at());
    }
    if (!is_case) return;
    Labels(path + ".data", test.data());
    for (const auto& [field, value] : {std::pair(".from", &test.from()), std::pair(".to", &test.to())}) {
      Need(path + field, value->empty() ? "expected a region or a site" : RegionProblem(*value));
    }
    if (test.expect() != "permit" && test.expect() != "deny") complain_(path + ".expect", "expected permit or deny");
    if (!test.purpose().empty()) Need(path + ".purpose", NameProblem(test.purpose()));
    TestTime(path + ".at", test.at());
    if (test.action() == pb::ACTION_MOVE_SITE) {
      complain_(path + ".action", "a case asks about one flow; expected transfer, reside, transit or relabel");
    }
  }

  void TestTime(const std::string& path, const std::string& text) {
    if (text.empty() || ParseMoment(text)) return;
    complain_(path, absl::StrCat("\"", text, "\" is not a time; write 2026-07-01T08:00:00+02:00"));
  }

  const Complain& complain_;
};

}  // namespace

std::optional<absl::Time> ParseDay(std::string_view text) {
  if (text.size() != 10) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 4 || i == 7;
    if (dash ? text[i] != '-' : !std::isdigit(static_cast<unsigned char>(text[i]))) return std::nullopt;
  }
  int year, month, day;
  if (!absl::SimpleAtoi(absl::string_view(text.data(), 4), &year) ||
      !absl::SimpleAtoi(absl::string_view(text.data() + 5, 2), &month) ||
      !absl::SimpleAtoi(absl::string_view(text.data() + 8, 2), &day)) {
    return std::nullopt;
  }
  const absl::CivilDay civil(year, month, day);  // normalizes: the 30th of February becomes a day of March
  if (civil.year() != year || civil.month() != month || civil.day() != day) return std::nullopt;
  return absl::FromCivil(civil, absl::UTCTimeZone());
}

void CheckResource(const pb::Resource& resource, const Complain& complain) {
  Checker checker(complain);
  checker.Metadata(resource);
  switch (resource.spec_case()) {
    case pb::Resource::kRegion:
      break;
    case pb::Resource::kSite:
      checker.Site(resource.site());
      break;
    case pb::Resource::kDataset:
      checker.Dataset(resource.dataset());
      break;
    case pb::Resource::kReplicationPolicy:
      checker.Replication(resource.replication_policy());
      break;
    case pb::Resource::kSovereigntyPolicy:
      checker.Sovereignty(resource.sovereignty_policy());
      break;
    case pb::Resource::kBandwidthPolicy:
      checker.Bandwidth(resource.bandwidth_policy());
      break;
    case pb::Resource::kRoleBinding:
      checker.Roles(resource.role_binding());
      break;
    case pb::Resource::SPEC_NOT_SET:
      complain("spec", "the resource has no kind this version knows");
      break;
  }
}

}  // namespace bailiwick::config
