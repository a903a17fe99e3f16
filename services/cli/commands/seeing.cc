// status, why, events.
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/clock.h"
#include "common/rpc/codec.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/named.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

struct Overview {
  control::v1::GetInfoResponse info;
  SiteStates states;
  control::v1::ListDatasetsResponse datasets;
};

absl::StatusOr<Overview> ReadOverview(Admin& admin) {
  Overview o;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().GetInfo(Admin::Call().get(), {}, &o.info)));
  BW_ASSIGN_OR_RETURN(o.states, ReadSiteStates(admin));
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListDatasets(Admin::Call().get(), {}, &o.datasets)));
  return o;
}

Fields FieldsOf(const Overview& o) {
  std::vector<Json> site_rows, dataset_rows;
  for (const auto& [name, s] : o.states.sites) {
    site_rows.push_back(Object({{"name", Text(name)},
                                {"region", Text(s.region())},
                                {"connected", Bool(s.connected())},
                                {"approved", Bool(s.approved())},
                                {"agent", Text(s.agent())},
                                {"build", Text(s.build())},
                                {"endpoint", Text(s.endpoint())},
                                {"adminEndpoint", Text(s.admin_endpoint())},
                                {"policyRevision", Number(s.policy_revision())},
                                {"policyError", Text(s.policy_error())},
                                {"policyStale", Text(s.policy_stale())},
                                {"freeBytes", Number(s.free_bytes())},
                                {"lastSeen", Text(TimeText(s.last_seen()))}}));
  }
  for (const auto& d : o.datasets.datasets()) {
    dataset_rows.push_back(Object({{"name", Text(d.name())},
                                   {"home", Text(d.home_site())},
                                   {"newest", Number(d.newest())},
                                   {"files", Number(d.files())},
                                   {"logicalBytes", Number(d.logical_bytes())},
                                   {"replicasWanted", Number(d.replicas_wanted())},
                                   {"replicasCurrent", Number(d.replicas_current())},
                                   {"replicasOverRpo", Number(d.replicas_over_rpo())},
                                   {"problem", Text(d.source_problem())}}));
  }
  return Fields{{"trustDomain", Text(o.info.trust_domain())},
                {"build", Text(o.info.build())},
                {"policyRevision", Number(o.info.policy_revision())},
                {"policyExpires", Text(TimeText(o.info.policy_expires()))},
                {"sites", List(std::move(site_rows))},
                {"datasets", List(std::move(dataset_rows))}};
}

// Of the source, else of a copy that is not what it should be and does not become so by itself.
std::string ProblemOf(const control::v1::DatasetStatus& dataset, const control::v1::ListReplicasResponse& replicas) {
  if (!dataset.source_problem().empty()) return dataset.source_problem();
  for (const auto& r : replicas.replicas()) {
    const bool wrong = r.state() == "blocked" || (r.state() == "current" && !r.reason().empty());
    if (r.dataset() == dataset.name() && r.role() != "home" && wrong) return absl::StrCat(r.site(), ": ", r.reason());
  }
  return "";
}

absl::Status Status(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(const Overview overview, ReadOverview(*admin));
  if (!globals.table()) {
    PrintJson(globals.format(), FieldsOf(overview));
    return absl::OkStatus();
  }
  const auto& [info, states, datasets] = overview;
  control::v1::ListReplicasResponse replicas;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().ListReplicas(Admin::Call().get(), {}, &replicas)));
  std::cout << "coordinator " << admin->context().coordinator << ", trust domain " << info.trust_domain()
            << ", policy revision " << info.policy_revision();
  if (info.has_policy_expires()) std::cout << ", good until " << TimeText(info.policy_expires());
  std::cout << "\n\n";
  std::vector<std::vector<std::string>> rows;
  const absl::Time now = os::Clock::System()->Now();
  for (const auto& [name, s] : states.sites) {
    std::string state = states.Of(name);
    if (state == "offline" && s.has_last_seen()) {
      absl::StrAppend(&state, " for ", FormatAge(now - rpc::FromProto(s.last_seen())));
    }
    rows.push_back({name, s.region(), state, s.agent().empty() ? "-" : (s.approved() ? "yes" : "no"),
                    absl::StrCat(s.policy_revision(), s.policy_error().empty() ? "" : " (refused another)"),
                    s.has_free_bytes() ? FormatBytes(s.free_bytes()) : "-"});
  }
  PrintTable({"SITE", "REGION", "STATE", "APPROVED", "POLICY", "FREE"}, rows);
  std::cout << "\n";
  rows.clear();
  for (const auto& d : datasets.datasets()) {
    int64_t lag = 0;
    int denied = 0, unconfirmed = 0, fenced = 0;
    for (const auto& r : replicas.replicas()) {
      if (r.dataset() != d.name()) continue;
      denied += r.state() == "denied";
      unconfirmed += r.state() == "unconfirmed";
      fenced += r.state() == "fenced" || r.state() == "erasing";
      if (r.state() != "denied" || r.rpo_breached()) lag = std::max(lag, r.lag().seconds());
    }
    rows.push_back(
        {d.name(), d.home_site(), d.newest() == 0 ? "none" : absl::StrCat(d.newest()), absl::StrCat(d.files()),
         FormatBytes(d.logical_bytes()),
         absl::StrCat(d.replicas_current(), "/", d.replicas_wanted(),
                      denied > 0 ? absl::StrCat(" (", denied, " denied)") : "",
                      fenced > 0 ? absl::StrCat(" (", fenced, " fenced)") : "",
                      unconfirmed > 0 ? absl::StrCat(" (", unconfirmed, " unconfirmed)") : ""),
         lag == 0
             ? "-"
             : absl::StrCat(FormatAge(absl::Seconds(lag)),
                            d.replicas_over_rpo() > 0 ? absl::StrCat(" (", d.replicas_over_rpo(), " over RPO)") : ""),
         ProblemOf(d, replicas)});
  }
  PrintTable({"DATASET", "HOME", "NEWEST", "FILES", "SIZE", "REPLICAS", "LAG", "PROBLEM"}, rows);
  return absl::OkStatus();
}

Fields FieldsOf(const control::v1::WhyResponse& why) {
  return Fields{{"satisfied", Bool(why.satisfied())},
                {"code", Text(why.code())},
                {"sentence", Text(why.sentence())},
                {"rule", Text(why.rule())},
                {"number", Number(why.version())},
                {"lagSeconds", Number(why.lag().seconds())},
                {"rpoSeconds", why.has_rpo() ? Number(why.rpo().seconds()) : Json()},
                {"rpoBreached", Bool(why.rpo_breached())}};
}

absl::StatusOr<int> Why(const Globals& globals, const std::string& dataset, const std::string& site) {
  BW_RETURN_IF_ERROR(NeedsNoName(globals, "why"));
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::WhyResponse why, AskWhy(*admin, dataset, site));
  if (globals.format() != Format::kTable) {
    PrintJson(globals.format(), FieldsOf(why));
  } else {
    std::cout << why.sentence() << "\n";
    if (why.rpo_breached()) {
      std::cout << "missing for " << FormatAge(absl::Seconds(why.lag().seconds())) << ", over the RPO of "
                << FormatAge(absl::Seconds(why.rpo().seconds())) << "\n";
    }
  }
  return why.satisfied() ? 0 : (why.code() == "denied" || why.code() == "past-retention" ? 3 : 1);
}

Json JsonOf(const control::v1::Event& event) {
  return Object({{"sequence", Number(event.sequence())},
                 {"at", Text(TimeText(event.at()))},
                 {"kind", Text(event.kind())},
                 {"site", Text(event.site())},
                 {"dataset", Text(event.dataset())},
                 {"number", Number(event.version())},
                 {"message", Text(event.message())}});
}

absl::Status Events(const Globals& globals, bool follow, uint32_t limit) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::EventsRequest request;
  request.set_limit(limit);
  request.set_follow(follow);
  auto call = Admin::Call(follow ? absl::Hours(24 * 365) : absl::Seconds(30));
  auto stream = admin->control().Events(call.get(), request);
  control::v1::Event event;
  std::vector<Json> rows;
  while (stream->Read(&event)) {
    if (globals.format() == Format::kTable) {
      std::cout << TimeText(event.at()) << "  " << event.kind();
      if (!event.dataset().empty()) std::cout << "  " << event.dataset();
      if (event.version() != 0) std::cout << " version " << event.version();
      if (!event.site().empty()) std::cout << "  at " << event.site();
      if (!event.message().empty()) std::cout << "  " << FormatMessage(event.message());
      std::cout << std::endl;
      continue;
    }
    Json row = JsonOf(event);
    if (follow) {
      PrintNext(globals.format(), {{"event", row}});
    } else {
      rows.push_back(std::move(row));
    }
  }
  BW_RETURN_IF_ERROR(admin->Check(stream->Finish()));
  if (globals.format() != Format::kTable && !follow) PrintJson(globals.format(), {{"events", List(std::move(rows))}});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Fields> StatusView(Admin& admin) {
  BW_ASSIGN_OR_RETURN(const Overview overview, ReadOverview(admin));
  return FieldsOf(overview);
}

absl::StatusOr<Fields> WhyView(Admin& admin, const std::string& dataset, const std::string& site) {
  BW_ASSIGN_OR_RETURN(const control::v1::WhyResponse why, AskWhy(admin, dataset, site));
  return FieldsOf(why);
}

absl::StatusOr<Fields> EventsView(Admin& admin, uint32_t limit) {
  control::v1::EventsRequest request;
  request.set_limit(limit);
  auto call = Admin::Call();
  auto stream = admin.control().Events(call.get(), request);
  control::v1::Event event;
  std::vector<Json> rows;
  while (stream->Read(&event)) rows.push_back(JsonOf(event));
  BW_RETURN_IF_ERROR(admin.Check(stream->Finish()));
  return Fields{{"events", List(std::move(rows))}};
}

void RegisterSeeing(CLI::App& app, Globals& globals) {
  auto* status = app.add_subcommand("status", "sites, connections, datasets, versions, lag");
  status->footer("Example:\n  bailiwick status -o json");
  OnRun(status, globals, [&globals] { return Status(globals); });

  auto* why = app.add_subcommand("why", "why a dataset's newest version is not at a site: the cause and what to do");
  auto dataset = std::make_shared<std::string>(), site = std::make_shared<std::string>();
  why->add_option("DATASET", *dataset, "dataset, or a family's stream NAME@SITE")->type_name("DATASET")->required();
  why->add_option("SITE", *site, "site")->type_name("SITE")->required();
  why->footer(
      "Exit code 0: it is there; 3: denied by policy; 1: another cause.\nExample:\n  bailiwick why telemetry cloud-us");
  OnRunCode(why, globals, [&globals, dataset, site] { return Why(globals, *dataset, *site); });

  auto* events = app.add_subcommand("events", "what happened");
  auto follow = std::make_shared<bool>(false);
  auto limit = std::make_shared<uint32_t>(100);
  events->add_flag("-w,--watch", *follow, "go on as things happen");
  events->add_option("--limit", *limit, "the newest n (default 100)");
  events->footer("Example:\n  bailiwick events -w");
  OnRun(events, globals, [&globals, follow, limit] { return Events(globals, *follow, *limit); });
}

}  // namespace bailiwick::cli
