// get replicas: what lies where, once or as it changes.
#include <iostream>

#include "common/base/status.h"
#include "common/base/units.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kWatchEvery = absl::Milliseconds(500);

Json JsonOf(const control::v1::Replica& r) {
  std::vector<Json> versions;
  for (uint64_t v : r.versions()) versions.push_back(Number(v));
  return Object({{"dataset", Text(r.dataset())},
                 {"site", Text(r.site())},
                 {"role", Text(r.role())},
                 {"state", Text(r.state())},
                 {"version", Number(r.version())},
                 {"newest", Number(r.newest())},
                 {"current", Number(r.current())},
                 {"pinned", Number(r.pinned())},
                 {"lagSeconds", Number(r.lag().seconds())},
                 {"rpoSeconds", r.has_rpo() ? Number(r.rpo().seconds()) : Json()},
                 {"rpoBreached", Bool(r.rpo_breached())},
                 {"rpoBreachedSince", Text(r.has_rpo_breached_since() ? TimeText(r.rpo_breached_since()) : "")},
                 {"reason", Text(r.reason())},
                 {"versions", List(std::move(versions))}});
}

std::vector<std::string> RowOf(const control::v1::Replica& r) {
  std::string shown = r.role() == "home" ? "-" : (r.current() == 0 ? "none" : absl::StrCat(r.current()));
  if (r.pinned() != 0 && r.version() != 0) absl::StrAppend(&shown, " (pinned)");
  std::string lag = r.lag().seconds() == 0 ? "-" : FormatAge(absl::Seconds(r.lag().seconds()));
  if (r.rpo_breached()) absl::StrAppend(&lag, " (over RPO ", FormatAge(absl::Seconds(r.rpo().seconds())), ")");
  return {r.dataset(), r.site(), r.role(),  r.state(), absl::StrCat(r.version(), "/", r.newest()),
          shown,       lag,      r.reason()};
}

// What makes a line worth printing again: everything but the lag, which always grows.
std::string Essence(control::v1::Replica r) {
  r.clear_lag();
  return r.SerializeAsString();
}

const std::vector<std::string>& Header() {
  static const auto* const header =
      new std::vector<std::string>{"DATASET", "SITE", "ROLE", "STATE", "VERSION", "CURRENT", "LAG", "REASON"};
  return *header;
}

absl::Status Watch(Admin& admin, const Globals& globals, const std::string& dataset, const std::string& site) {
  std::map<std::pair<std::string, std::string>, std::string> before;
  std::vector<size_t> widths;
  bool first = true, away = false;
  while (true) {
    auto replicas = Replicas(admin, dataset, site);
    if (first || !absl::IsUnavailable(replicas.status())) BW_RETURN_IF_ERROR(replicas.status());
    if (!replicas.ok()) {
      if (!away) std::cerr << "warning: " << std::string(replicas.status().message()) << "; watching on\n";
      away = true;
      os::Clock::System()->SleepFor(kWatchEvery);
      continue;
    }
    away = false;
    std::map<std::pair<std::string, std::string>, std::string> now;
    Rows rows;
    for (const auto& r : *replicas) {
      const auto key = std::make_pair(r.dataset(), r.site());
      auto known = before.find(key);
      const std::string& essence = now[key] = Essence(r);
      if (known != before.end() && known->second == essence) continue;
      rows.push_back(RowOf(r));
      if (!globals.table()) PrintNext(globals.format(), {{"replica", JsonOf(r)}});
    }
    for (const auto& [key, essence] : before) {
      if (now.count(key) != 0) continue;
      rows.push_back({key.first, key.second, "-", "gone"});
      if (!globals.table()) {
        PrintNext(
            globals.format(),
            {{"replica", Object({{"dataset", Text(key.first)}, {"site", Text(key.second)}, {"state", Text("gone")}})}});
      }
    }
    if (globals.table() && (first || !rows.empty())) {
      std::cout << FormatTable(first ? Header() : std::vector<std::string>(), rows, &widths) << std::flush;
    }
    before = std::move(now);
    first = false;
    os::Clock::System()->SleepFor(kWatchEvery);
  }
}

}  // namespace

absl::StatusOr<Fields> ReplicasView(Admin& admin, const std::string& dataset, const std::string& site) {
  BW_ASSIGN_OR_RETURN(auto replicas, Replicas(admin, dataset, site));
  std::vector<Json> json;
  for (const auto& r : replicas) json.push_back(JsonOf(r));
  return Fields{{"replicas", List(std::move(json))}};
}

absl::Status GetReplicas(const Globals& globals, const std::string& dataset, const std::string& site, bool watch) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (watch) return Watch(*admin, globals, dataset, site);
  if (!globals.table()) {
    BW_ASSIGN_OR_RETURN(Fields fields, ReplicasView(*admin, dataset, site));
    PrintJson(globals.format(), std::move(fields));
    return absl::OkStatus();
  }
  BW_ASSIGN_OR_RETURN(auto replicas, Replicas(*admin, dataset, site));
  Rows rows;
  for (const auto& r : replicas) rows.push_back(RowOf(r));
  PrintTable(Header(), rows);
  return absl::OkStatus();
}

}  // namespace bailiwick::cli
