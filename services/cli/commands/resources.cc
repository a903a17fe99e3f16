// apply, diff, get, describe, delete.
#include <algorithm>
#include <iostream>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/listing.h"
#include "services/cli/commands/named.h"
#include "services/cli/commands/policy_impact.h"
#include "services/cli/commands/views.h"
#include "services/cli/commands/yes_flag.h"

namespace bailiwick::cli {
namespace {

void PrintReport(const ChangeReport& report, const Globals& globals, Admin& admin, bool dry_run,
                 const std::optional<ImpactReport>& impact = std::nullopt) {
  SayBeside(report);
  if (globals.format() == Format::kName) {
    for (const auto& line : report.lines) std::cout << line.kind << "/" << line.name << "\n";
    return;
  }
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), FieldsOf(report, dry_run, impact));
    return;
  }
  for (const auto& line : report.lines) std::cout << line.kind << "/" << line.name << " " << line.change << "\n";
  if (dry_run) {
    PrintTried(report, impact);
  } else if (!report.pending.empty()) {
    std::cout << NotInEffect(admin, report.pending) << "\n";
  } else if (report.applied) {
    std::cout << "policy revision " << report.policy_revision << "\n";
  }
}

Json ResourceJson(const config::Resource& resource) { return FromJson(config::ToJson(resource)); }

absl::StatusOr<control::v1::ListResourcesResponse> ListOf(Admin& admin, const std::string& kind,
                                                          const std::string& name) {
  control::v1::ListResourcesRequest request;
  request.set_kind(kind);
  request.set_name(name);
  control::v1::ListResourcesResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListResources(Admin::Call().get(), request, &response)));
  return response;
}

// What a table says of a resource behind its name and labels.
std::string DetailOf(const config::Resource& resource) {
  if (resource.has_region()) return resource.region().description();
  if (resource.has_site()) return resource.site().region();
  if (resource.has_dataset()) {
    const auto& home = resource.dataset().home();
    return absl::StrCat(home.site().empty() ? "family" : home.site(), ":", home.path());
  }
  if (resource.has_replication_policy()) return absl::StrCat(resource.replication_policy().to_size(), " targets");
  if (resource.has_bandwidth_policy()) return absl::StrCat(resource.bandwidth_policy().caps_size(), " caps");
  if (resource.has_role_binding()) return absl::StrJoin(resource.role_binding().people(), ", ");
  return absl::StrCat(resource.sovereignty_policy().rules_size(), " rules");
}

std::vector<std::string> SiteRow(const control::v1::SiteStatus& site, const std::string& state) {
  const bool joined = !site.agent().empty();
  return {site.name(),
          site.region(),
          LabelText(site.labels()),
          state,
          joined ? (site.approved() ? "yes" : "no") : "-",
          absl::StrCat(site.policy_revision()),
          site.endpoint().empty() ? "outbound-only" : site.endpoint()};
}

// Sites as a table, and those that are watched, show how they are, everything else what was declared.
absl::StatusOr<Listing> ResourceListing(const Globals& globals, Admin& admin, const std::string& kind,
                                        const std::string& name, bool watch) {
  BW_ASSIGN_OR_RETURN(auto response, ListOf(admin, kind, name));
  Listing listing{"resource", "resources", {"KIND", "NAME", "LABELS", "DETAIL"}, 2, {}};
  SiteStates states;
  const bool row = kind == "Site" && globals.table(), field = kind == "Site" && watch && !globals.table();
  if (row || field) {
    BW_ASSIGN_OR_RETURN(states, ReadSiteStates(admin));
  }
  if (row) {
    listing.named = 1;
    listing.header = {"NAME", "REGION", "LABELS", "STATE", "APPROVED", "POLICY", "ENDPOINT"};
  }
  for (const auto& resource : response.resources()) {
    const std::string& called = resource.metadata().name();
    Listing::Item item{
        .identity = {{"kind", Text(config::KindOf(resource))}, {"name", Text(called)}},
        .row = {config::KindOf(resource), called, LabelText(resource.metadata().labels()), DetailOf(resource)},
        .json = ResourceJson(resource),
        .essence = "",
        .name = kind.empty() ? absl::StrCat(config::KindOf(resource), "/", called) : called};
    if (field) {
      item.json.names.push_back("state");
      item.json.items.push_back(Text(states.Of(called)));
    }
    if (row) {
      item.identity = {{"name", Text(called)}};
      item.row = SiteRow(states.sites[called], states.Of(called));
      item.essence = absl::StrJoin(item.row, "\n");
    }
    listing.items.push_back(std::move(item));
  }
  return listing;
}

absl::Status Get(const Globals& globals, std::string kind_text, std::string name, bool watch) {
  if (name.empty() && absl::StrContains(kind_text, '/')) BW_RETURN_IF_ERROR(SplitNamed(&kind_text, &name));
  std::string kind;
  if (kind_text != "all") {
    BW_ASSIGN_OR_RETURN(kind, config::ParseKind(kind_text, {"all", "replicas", "versions", "evictions", "redactions"}));
  }
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (globals.format() == Format::kYaml && !watch) {  // as it can be applied
    BW_ASSIGN_OR_RETURN(auto response, ListOf(*admin, kind, name));
    bool first = true;
    for (const auto& resource : response.resources()) {
      std::cout << (first ? "" : "---\n") << config::ToYaml(resource);
      first = false;
    }
    return absl::OkStatus();
  }
  return ShowListing(globals, watch, [&]() -> absl::StatusOr<Listing> {
    auto listing = ResourceListing(globals, *admin, kind, name, watch);
    // One that is watched by its name may come and go.
    if (watch && !name.empty() && absl::IsNotFound(listing.status())) {
      return Listing{"resource", "resources", {"KIND", "NAME", "LABELS", "DETAIL"}, 2, {}};
    }
    return listing;
  });
}

absl::Status Describe(const Globals& globals, std::string kind_text, std::string name) {
  BW_RETURN_IF_ERROR(SplitNamed(&kind_text, &name));
  BW_ASSIGN_OR_RETURN(std::string kind, config::ParseKind(kind_text));
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(auto response, ListOf(*admin, kind, name));
  if (globals.format() == Format::kName) {
    std::cout << name << "\n";
    return absl::OkStatus();
  }
  if (globals.format() == Format::kJson) {
    PrintJson(globals.format(), {{"resource", ResourceJson(response.resources(0))}});
    return absl::OkStatus();
  }
  std::cout << config::ToYaml(response.resources(0));
  if (globals.format() == Format::kYaml) return absl::OkStatus();
  if (kind == "Site") {
    BW_ASSIGN_OR_RETURN(SiteStates states, ReadSiteStates(*admin));
    const auto& site = states.sites[name];
    std::cout << "\nState:       " << (site.agent().empty() ? "no agent has joined" : states.Of(name))
              << (states.Revoked(name) ? absl::StrCat("; it can join anew: bailiwick site join-token ", name) : "")
              << "\n"
              << "Agent:       " << site.agent() << (site.approved() ? "" : " (key not approved)") << "\n"
              << "Endpoint:    " << (site.endpoint().empty() ? "none (outbound-only)" : site.endpoint()) << "\n"
              << "Policy:      revision " << site.policy_revision()
              << (site.has_policy_vouched_until()
                      ? absl::StrCat(", current until ", TimeText(site.policy_vouched_until()))
                      : "")
              << (site.policy_stale().empty() ? "" : absl::StrCat("; nothing flows: ", site.policy_stale())) << "\n"
              << "Free disk:   " << (site.has_free_bytes() ? FormatBytes(site.free_bytes()) : "-") << "\n"
              << "Last seen:   " << TimeText(site.last_seen()) << "\n";
  }
  if (kind == "Dataset") {
    control::v1::ListDatasetsResponse datasets;
    BW_RETURN_IF_ERROR(admin->Check(admin->control().ListDatasets(Admin::Call().get(), {}, &datasets)));
    for (const auto& d : datasets.datasets()) {
      if (d.name() != name && d.family() != name) continue;
      std::cout << "\nStream:      " << d.name() << " at " << d.home_site() << "\n"
                << "Newest:      "
                << (d.newest() == 0 ? "no version yet"
                                    : absl::StrCat("version ", d.newest(), ", ", d.files(), " files, ",
                                                   FormatBytes(d.logical_bytes())))
                << "\nReplicas:    " << d.replicas_current() << " of " << d.replicas_wanted() << " current\n";
      if (!d.source_problem().empty()) std::cout << "Problem:     " << FormatMessage(d.source_problem()) << "\n";
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Fields> ResourcesView(Admin& admin, const std::string& kind, const std::string& name) {
  BW_ASSIGN_OR_RETURN(auto response, ListOf(admin, kind, name));
  std::vector<Json> items;
  for (const auto& resource : response.resources()) items.push_back(ResourceJson(resource));
  return Fields{{"resources", List(std::move(items))}};
}

void RegisterResources(CLI::App& app, Globals& globals) {
  {
    auto* c = app.add_subcommand("apply", "declare regions, sites, datasets and policies; whole or not at all");
    auto files = std::make_shared<std::vector<std::string>>();
    c->add_option("-f,--file", *files, "file, directory of *.yaml, or - for standard input")
        ->type_name("PATH")
        ->required();
    auto evictions = ExpectEvictionsFlag(c);
    auto yes = YesFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer(
        "At a terminal it asks before copies are erased; without one it does not: --expect-evictions is for scripts.\n"
        "Examples:\n  bailiwick apply -f fleet.yaml\n  bailiwick apply -f policies/ --dry-run\n"
        "  bailiwick apply -f policies/ --expect-evictions 0");
    OnRun(c, globals, [&globals, files, yes, dry_run, evictions]() -> absl::Status {
      CatalogChange change;
      BW_ASSIGN_OR_RETURN(change.upserts, ReadResources(*files));
      BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
      std::optional<ImpactReport> impact;
      if (*dry_run || evictions->has_value()) {
        BW_ASSIGN_OR_RETURN(impact, ImpactOf(*admin, change));
      }
      std::optional<uint64_t> expected;  // counted here to say it early, and where it counts by the coordinator
      if (evictions->has_value()) {
        BW_RETURN_IF_ERROR(ExpectEvictions(impact, **evictions, "bailiwick apply --dry-run, or bailiwick policy diff"));
        expected = *evictions;
      } else if (!*yes && !*dry_run) {
        BW_ASSIGN_OR_RETURN(expected, ConfirmEvictions(globals, *admin, change, "Apply?", "not applied"));
      }
      BW_ASSIGN_OR_RETURN(ChangeReport report, ApplyChange(*admin, change, ExtentOf(*dry_run), expected));
      PrintReport(report, globals, *admin, *dry_run, impact);
      return absl::OkStatus();
    });
  }
  {
    auto* c = app.add_subcommand("diff", "what apply would change; exit code 1 when something would");
    auto files = std::make_shared<std::vector<std::string>>();
    c->add_option("-f,--file", *files, "file, directory of *.yaml, or - for standard input")
        ->type_name("PATH")
        ->required();
    c->footer("Example:\n  bailiwick diff -f fleet.yaml");
    OnRunCode(c, globals, [&globals, files]() -> absl::StatusOr<int> {
      CatalogChange change;
      BW_ASSIGN_OR_RETURN(change.upserts, ReadResources(*files));
      BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
      BW_ASSIGN_OR_RETURN(ChangeReport report, ApplyChange(*admin, change, Extent::kCompare));
      bool differs = false;
      std::vector<Json> rows;
      for (const auto& line : report.lines) {
        if (line.change == "unchanged") continue;
        differs = true;
        rows.push_back(Object({{"kind", Text(line.kind)},
                               {"name", Text(line.name)},
                               {"change", Text(line.change)},
                               {"diff", Text(line.diff)}}));
        if (globals.format() == Format::kTable)
          std::cout << line.kind << "/" << line.name << " would be " << line.change << "\n" << line.diff;
      }
      if (globals.format() != Format::kTable) PrintJson(globals.format(), {{"differences", List(std::move(rows))}});
      return differs ? 1 : 0;
    });
  }
  {
    auto* c = app.add_subcommand("get", "list what is declared, replicas, evictions or redactions");
    auto kind = std::make_shared<std::string>(), name = std::make_shared<std::string>(),
         dataset = std::make_shared<std::string>(), site = std::make_shared<std::string>();
    auto watch = std::make_shared<bool>(false);
    c->add_option("KIND", *kind,
                  "region, site, dataset, replicationpolicy, sovereigntypolicy, bandwidthpolicy, rolebinding, all;"
                  " replicas, versions, evictions, redactions")
        ->type_name("KIND")
        ->required();
    c->add_option("NAME", *name, "one of them; the dataset of replicas, versions, evictions, redactions")
        ->type_name("RESOURCE");
    c->add_flag("-w,--watch", *watch, "go on and print what is new, what changes and what goes");
    c->add_option("--dataset", *dataset, "replicas, evictions: of this dataset only")->type_name("DATASET");
    c->add_option("--site", *site, "replicas, evictions: at this site only")->type_name("SITE");
    c->footer(
        "Examples:\n  bailiwick get sites\n  bailiwick get dataset telemetry -o yaml\n  bailiwick get replicas -w\n"
        "  bailiwick get evictions -w -o json");
    OnRun(c, globals, [&globals, kind, name, dataset, site, watch]() -> absl::Status {
      const std::string& of = dataset->empty() ? *name : *dataset;
      if (*kind == "replicas" || *kind == "replica") return GetReplicas(globals, of, *site, *watch);
      if (*kind == "evictions" || *kind == "eviction") return GetEvictions(globals, of, *site, *watch);
      const bool redactions = *kind == "redactions" || *kind == "redaction";
      if (redactions && site->empty()) return GetRedactions(globals, of, *watch);
      if (!dataset->empty() || !site->empty()) {
        return absl::InvalidArgumentError("--dataset and --site choose replicas: bailiwick get replicas --site NAME");
      }
      if (*kind == "versions" || *kind == "version") {
        if (name->empty())
          return absl::InvalidArgumentError("versions are of one dataset: bailiwick get versions NAME");
        return GetVersions(globals, *name, *watch);
      }
      return Get(globals, *kind, *name, *watch);
    });
  }
  {
    auto* c = app.add_subcommand("describe", "one resource with its state");
    auto kind = std::make_shared<std::string>(), name = std::make_shared<std::string>();
    c->add_option("KIND", *kind,
                  "region, site, dataset, replicationpolicy, sovereigntypolicy, bandwidthpolicy or rolebinding")
        ->type_name("KIND")
        ->required();
    c->add_option("NAME", *name, "its name; or both as one word, KIND/NAME")->type_name("RESOURCE");
    c->footer("Example:\n  bailiwick describe site core");
    OnRun(c, globals, [&globals, kind, name] { return Describe(globals, *kind, *name); });
  }
  {
    auto* c = app.add_subcommand(
        "delete", "take a resource back; it deletes nothing itself, but copies that are unlawful then are evicted");
    auto kind = std::make_shared<std::string>(), name = std::make_shared<std::string>();
    auto yes = YesFlag(c);
    c->add_option("KIND", *kind,
                  "region, site, dataset, replicationpolicy, sovereigntypolicy, bandwidthpolicy or rolebinding")
        ->type_name("KIND")
        ->required();
    c->add_option("NAME", *name, "its name; or both as one word, KIND/NAME")->type_name("RESOURCE");
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick delete replicationpolicy everywhere");
    OnRun(c, globals, [&globals, kind, name, yes, dry_run]() -> absl::Status {
      CatalogChange change;
      control::v1::ResourceName resource;
      BW_RETURN_IF_ERROR(SplitNamed(kind.get(), name.get()));
      BW_ASSIGN_OR_RETURN(std::string full, config::ParseKind(*kind));
      resource.set_kind(full);
      resource.set_name(*name);
      change.deletes.push_back(resource);
      BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
      std::string question = absl::StrCat("Delete ", full, " ", *name, "?");
      std::optional<uint64_t> expected;
      if (!*yes && !*dry_run && MayAsk(globals)) {
        // Where it cannot be told, the act itself says why it cannot be, or it is asked for as it is.
        auto impact = ImpactOf(*admin, change);
        if (impact.ok() && *impact && !(*impact)->impact.evictions.empty()) {
          question = absl::StrCat((*impact)->Sentence(), ". ", question);
          expected = (*impact)->impact.evictions.size();
        }
      }
      BW_RETURN_IF_ERROR(Confirm(globals, *yes || *dry_run, question, "not deleted"));
      BW_ASSIGN_OR_RETURN(ChangeReport report, ApplyChange(*admin, change, ExtentOf(*dry_run), expected));
      std::optional<ImpactReport> impact;
      if (*dry_run) {
        BW_ASSIGN_OR_RETURN(impact, ImpactOf(*admin, change));
      }
      PrintReport(report, globals, *admin, *dry_run, impact);
      return absl::OkStatus();
    });
  }
}

}  // namespace bailiwick::cli
