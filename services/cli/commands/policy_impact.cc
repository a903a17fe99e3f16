#include "services/cli/commands/policy_impact.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"

namespace bailiwick::cli {
namespace {

constexpr size_t kShown = 20;  // JSON has all
constexpr size_t kSitesInASentence = 8;

// Numbers for names, in the order in which they come.
class Names {
 public:
  explicit Names(std::vector<std::string>* names) : names_(names) {}
  uint32_t Of(const std::string& name) {
    auto [it, fresh] = numbers_.try_emplace(name, static_cast<uint32_t>(names_->size()));
    if (fresh) names_->push_back(name);
    return it->second;
  }

 private:
  std::vector<std::string>* const names_;
  std::map<std::string, uint32_t> numbers_;
};

// Whether the hold keeps some version of the copy.
bool Holds(const control::v1::HeldDataset& held, const control::v1::Replica& copy) {
  const auto& hold = held.hold();
  if (held.dataset() != copy.dataset() || (!hold.site().empty() && hold.site() != copy.site())) return false;
  const auto& only_at = held.only_at();
  if (!only_at.empty() && std::find(only_at.begin(), only_at.end(), copy.site()) == only_at.end()) return false;
  return hold.number() == 0 ||
         std::find(copy.versions().begin(), copy.versions().end(), hold.number()) != copy.versions().end();
}

std::string Why(policy::Reason reason, const std::string& rule) {
  if (reason == policy::Reason::kForbidden) return absl::StrCat(rule, " forbids reside");
  if (reason == policy::Reason::kError) return absl::StrCat(rule.empty() ? "the law" : rule, " cannot be evaluated");
  return "no rule permits reside";
}

// "; 1 hold the last copy of some version; 2 under a hold: fenced, not erased"
std::string Besides(const policy::Impact& impact) {
  std::string text;
  if (impact.last_copies != 0) text = absl::StrCat("; ", impact.last_copies, " hold the last copy of some version");
  if (impact.held != 0) absl::StrAppend(&text, "; ", impact.held, " under a hold: fenced, not erased");
  return text;
}

// Whether copies may become unlawful by it: other kinds say nothing about where data may lie.
bool Judges(const CatalogChange& change) {
  auto judges = [](const std::string& kind) {
    return kind == "Region" || kind == "Site" || kind == "Dataset" || kind == "SovereigntyPolicy";
  };
  return std::any_of(change.upserts.begin(), change.upserts.end(),
                     [&](const config::Located& one) { return judges(config::KindOf(one.resource)); }) ||
         std::any_of(change.deletes.begin(), change.deletes.end(),
                     [&](const control::v1::ResourceName& name) { return judges(name.kind()); });
}

}  // namespace

absl::StatusOr<Law> LawAfter(const Law& before, const CatalogChange& change, absl::Time now) {
  Law after;
  after.name = "the law after the change";
  after.catalog = before.catalog;
  for (const auto& name : change.deletes) after.catalog.erase({name.kind(), name.name()});
  for (const config::Located& one : change.upserts) {
    after.catalog[{config::KindOf(one.resource), one.resource.metadata().name()}] = one.resource;
  }
  after.located = change.upserts;
  after.zones = config::CompileTimeZones(config::ZonesOf(after.catalog), now);
  BW_RETURN_IF_ERROR(config::Validate(after.catalog, after.located, now, after.zones));
  BW_ASSIGN_OR_RETURN(after.world, config::BuildWorld(after.catalog));
  after.world.time_zones = after.zones;
  after.datasets = config::DataOf(after.catalog);
  return after;
}

absl::StatusOr<ImpactReport> AssessLive(Admin& admin, const Law& before, const Law& after, absl::Time now) {
  ImpactReport report;
  control::v1::ListDatasetsResponse datasets;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListDatasets(Admin::Call().get(), {}, &datasets)));
  std::map<std::string, const policy::NamedData*> was, is;  // a stream has its family's labels
  for (const policy::NamedData& data : before.datasets) was[data.name] = &data;
  for (const policy::NamedData& data : after.datasets) is[data.name] = &data;
  auto as = [](const std::map<std::string, const policy::NamedData*>& known, const control::v1::DatasetStatus& d) {
    auto it = known.find(d.family().empty() ? d.name() : d.family());
    policy::NamedData data{d.name(), {}, d.home_site()};
    if (it == known.end()) return data;
    data.labels = it->second->labels;
    if (!it->second->home.empty()) data.home = it->second->home;
    return data;
  };
  std::map<std::string, uint32_t> number;
  std::vector<uint64_t> bytes;
  for (const auto& d : datasets.datasets()) {
    number[d.name()] = static_cast<uint32_t>(report.inventory.datasets.size());
    const bool stays = is.count(d.family().empty() ? d.name() : d.family()) != 0;  // deleted: what lies there stays
    report.inventory.datasets.push_back(as(stays ? is : was, d));
    report.inventory.datasets_before.push_back(as(was, d));
    bytes.push_back(d.logical_bytes());
  }
  Names sites(&report.inventory.sites);
  control::v1::ListHoldsResponse holds;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListHolds(Admin::Call().get(), {}, &holds)));
  BW_ASSIGN_OR_RETURN(std::vector<control::v1::Replica> replicas, Replicas(admin, ""));
  for (const control::v1::Replica& r : replicas) {
    auto dataset = number.find(r.dataset());
    if (dataset == number.end() || r.versions().empty()) continue;  // nothing lies there
    policy::Inventory::Replica replica;
    replica.dataset = dataset->second;
    replica.site = sites.Of(r.site());
    replica.bytes = bytes[dataset->second];
    replica.versions.assign(r.versions().begin(), r.versions().end());
    replica.held = std::any_of(holds.holds().begin(), holds.holds().end(),
                               [&](const control::v1::HeldDataset& held) { return Holds(held, r); });
    report.inventory.replicas.push_back(std::move(replica));
  }
  control::v1::ListTransfersResponse transfers;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListTransfers(Admin::Call().get(), {}, &transfers)));
  for (const auto& t : transfers.transfers()) {
    auto dataset = number.find(t.dataset());
    if (dataset == number.end() || (t.state() != "running" && t.state() != "starting")) continue;
    report.inventory.transfers.push_back(
        {t.transfer_id(), dataset->second, sites.Of(t.source()), sites.Of(t.destination()), t.version(), t.purpose()});
  }
  report.impact = policy::Assess(before.world, after.world, report.inventory, now);
  return report;
}

void ImpactReport::Print() const {
  if (!any()) {
    std::cout << "no copy becomes unlawful, no transfer stops\n";
    return;
  }
  if (!impact.evictions.empty()) {
    std::cout << impact.evictions.size() << (impact.evictions.size() == 1 ? " copy becomes" : " copies become")
              << " unlawful and would be evicted (" << FormatBytes(impact.bytes) << ")" << Besides(impact) << "\n";
  }
  for (size_t i = 0; i < std::min(impact.evictions.size(), kShown); ++i) {
    const policy::Impact::Eviction& e = impact.evictions[i];
    const policy::Inventory::Replica& replica = inventory.replicas[e.replica];
    std::cout << "  " << inventory.datasets[replica.dataset].name << " at " << inventory.sites[replica.site] << " ("
              << FormatBytes(replica.bytes) << "): " << Why(e.reason, e.rule) << (e.last_copy ? "; the last copy" : "")
              << (replica.held ? "; held" : "") << "\n";
  }
  if (impact.evictions.size() > kShown) std::cout << "  and " << impact.evictions.size() - kShown << " more\n";
  for (const policy::Impact::Stop& stop : impact.stops) {
    const policy::Inventory::Transfer& t = inventory.transfers[stop.transfer];
    std::cout << "a running transfer stops: " << inventory.datasets[t.dataset].name << " version " << t.version
              << " from " << inventory.sites[t.from] << " to " << inventory.sites[t.to] << ": " << stop.sentence
              << "\n";
  }
}

std::string ImpactReport::Sentence() const {
  if (impact.evictions.empty()) return "";
  std::set<std::string> sites;
  for (const policy::Impact::Eviction& e : impact.evictions) {
    sites.insert(inventory.sites[inventory.replicas[e.replica].site]);
  }
  const size_t more = sites.size() > kSitesInASentence ? sites.size() - kSitesInASentence : 0;
  while (sites.size() > kSitesInASentence) sites.erase(std::prev(sites.end()));
  const size_t count = impact.evictions.size();
  return absl::StrCat(count, count == 1 ? " copy (" : " copies (", FormatBytes(impact.bytes), ") at ",
                      absl::StrJoin(sites, ", "), more == 0 ? "" : absl::StrCat(" and ", more, " more sites"),
                      count == 1 ? " becomes unlawful and is erased" : " become unlawful and are erased",
                      Besides(impact));
}

Json ImpactReport::ToJson() const {
  std::vector<Json> evictions, stops;
  for (const policy::Impact::Eviction& e : impact.evictions) {
    const policy::Inventory::Replica& replica = inventory.replicas[e.replica];
    evictions.push_back(Object({{"dataset", Text(inventory.datasets[replica.dataset].name)},
                                {"site", Text(inventory.sites[replica.site])},
                                {"bytes", Number(replica.bytes)},
                                {"reason", Text(policy::ReasonName(e.reason))},
                                {"rule", Text(e.rule)},
                                {"lastCopy", Bool(e.last_copy)},
                                {"held", Bool(replica.held)}}));
  }
  for (const policy::Impact::Stop& stop : impact.stops) {
    const policy::Inventory::Transfer& t = inventory.transfers[stop.transfer];
    stops.push_back(Object({{"transfer", Text(t.id)},
                            {"dataset", Text(inventory.datasets[t.dataset].name)},
                            {"version", Number(t.version)},
                            {"source", Text(inventory.sites[t.from])},
                            {"destination", Text(inventory.sites[t.to])},
                            {"rule", Text(stop.rule)},
                            {"sentence", Text(stop.sentence)}}));
  }
  return Object({{"evictions", List(std::move(evictions))},
                 {"bytes", Number(impact.bytes)},
                 {"lastCopies", Number(impact.last_copies)},
                 {"held", Number(impact.held)},
                 {"unlawfulBefore", Number(impact.unlawful_before)},
                 {"transfersThatStop", List(std::move(stops))}});
}

absl::StatusOr<std::optional<ImpactReport>> ImpactOf(Admin& admin, const CatalogChange& change) {
  const absl::Time now = os::Clock::System()->Now();
  auto before = LawInForce(admin);
  if (absl::IsFailedPrecondition(before.status())) return std::nullopt;
  if (!before.ok()) return before.status();
  BW_ASSIGN_OR_RETURN(Law after, LawAfter(*before, change, now));
  BW_ASSIGN_OR_RETURN(ImpactReport report, AssessLive(admin, *before, after, now));
  return report;
}

void SayBeside(const ChangeReport& report) {
  for (const std::string& warning : report.warnings) std::cerr << "bailiwick: " << FormatMessage(warning) << "\n";
  if (report.outdated_by.empty()) return;
  std::cerr << "bailiwick: the change of " << report.outdated_by
            << " that waited for signatures was for the law before this one and is gone; make it again\n";
}

void PrintTried(const ChangeReport& report, const std::optional<ImpactReport>& impact) {
  const bool changes = std::any_of(report.lines.begin(), report.lines.end(),
                                   [](const auto& line) { return line.change != "unchanged"; });
  std::cout << "dry run: nothing was changed";
  if (changes) std::cout << "; the policy revision would be " << report.policy_revision;
  std::cout << "\n";
  if (!report.pending.empty()) std::cout << "not at once: " << FormatMessage(report.pending) << "\n";
  if (changes && impact) impact->Print();
}

Fields FieldsOf(const ChangeReport& report, bool dry_run, const std::optional<ImpactReport>& impact) {
  std::vector<Json> lines;
  for (const auto& line : report.lines) {
    lines.push_back(Object({{"kind", Text(line.kind)}, {"name", Text(line.name)}, {"change", Text(line.change)}}));
  }
  Fields fields = {{"changes", List(std::move(lines))},
                   {"applied", Bool(report.applied)},
                   {"pending", Text(report.pending)},
                   {"dryRun", Bool(dry_run)},
                   {"policyRevision", Number(report.policy_revision)}};
  if (impact) fields.push_back({"impact", impact->ToJson()});
  return fields;
}

std::shared_ptr<std::optional<uint64_t>> ExpectEvictionsFlag(CLI::App* command) {
  auto expected = std::make_shared<std::optional<uint64_t>>();
  command->add_option("--expect-evictions", *expected, "only if exactly so many copies become unlawful");
  return expected;
}

absl::Status ExpectEvictions(const std::optional<ImpactReport>& impact, uint64_t expected, const std::string& see) {
  const size_t found = impact ? impact->impact.evictions.size() : 0;
  if (found == expected) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("nothing was applied: the change makes ", found, found == 1 ? " copy" : " copies",
                   " unlawful, and --expect-evictions says ", expected, "; see which with: ", see));
}

absl::StatusOr<std::optional<uint64_t>> ConfirmEvictions(const Globals& globals, Admin& admin,
                                                         const CatalogChange& change, const std::string& act,
                                                         const std::string& otherwise) {
  // Scripts say how many they expect, or take what comes.
  if (!MayAsk(globals) || !IsTerminal(STDERR_FILENO) || !Judges(change)) return std::nullopt;
  BW_ASSIGN_OR_RETURN(const std::optional<ImpactReport> impact, ImpactOf(admin, change));
  if (!impact || impact->impact.evictions.empty()) return std::nullopt;
  BW_RETURN_IF_ERROR(Confirm(globals, false, absl::StrCat(impact->Sentence(), ". ", act), otherwise));
  return impact->impact.evictions.size();
}

}  // namespace bailiwick::cli
