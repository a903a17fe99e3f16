// get replicas: what lies where, once or as it changes.
#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/listing.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

Json JsonOf(const control::v1::Replica& r) {
  std::vector<Json> versions, dropped, partial;
  for (uint64_t v : r.versions()) versions.push_back(Number(v));
  for (uint64_t v : r.dropped()) dropped.push_back(Number(v));
  for (uint64_t v : r.partial()) partial.push_back(Number(v));
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
                 {"versions", List(std::move(versions))},
                 {"givenUp", List(std::move(dropped))},
                 {"partial", List(std::move(partial))}});
}

std::vector<std::string> RowOf(const control::v1::Replica& r) {
  std::string shown = r.role() == "home" ? "-" : (r.current() == 0 ? "none" : absl::StrCat(r.current()));
  if (r.pinned() != 0 && r.version() != 0) absl::StrAppend(&shown, " (pinned)");
  std::string lag = r.lag().seconds() == 0 ? "-" : FormatAge(absl::Seconds(r.lag().seconds()));
  if (r.rpo_breached()) absl::StrAppend(&lag, " (over RPO ", FormatAge(absl::Seconds(r.rpo().seconds())), ")");
  return {r.dataset(), r.site(), r.role(),  r.state(), absl::StrCat(r.version(), "/", r.newest()),
          shown,       lag,      r.reason()};
}

// "offline since 1h2m3s" -> "offline since ": what grows while nothing happens.
std::string WithoutSpans(const std::string& text) {
  std::vector<std::string> words = absl::StrSplit(text, ' ');
  for (std::string& word : words) {
    const std::string bare(absl::StripSuffix(absl::StripSuffix(word, ","), ";"));
    if (!bare.empty() && absl::ascii_isdigit(static_cast<unsigned char>(bare[0])) && ParseDuration(bare).ok())
      word = "";
  }
  return absl::StrJoin(words, " ");
}

// What makes a line worth printing again: everything but the spans of time, which always grow.
std::string Essence(control::v1::Replica r) {
  r.clear_lag();
  r.set_reason(WithoutSpans(r.reason()));
  return r.SerializeAsString();
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
  return ShowListing(globals, watch, [&]() -> absl::StatusOr<Listing> {
    BW_ASSIGN_OR_RETURN(auto replicas, Replicas(*admin, dataset, site));
    Listing listing{
        "replica", "replicas", {"DATASET", "SITE", "ROLE", "STATE", "VERSION", "CURRENT", "LAG", "REASON"}, 2, {}};
    for (const auto& r : replicas) {
      listing.items.push_back({.identity = {{"dataset", Text(r.dataset())}, {"site", Text(r.site())}},
                               .row = RowOf(r),
                               .json = JsonOf(r),
                               .essence = Essence(r),
                               .name = ""});
    }
    return listing;
  });
}

}  // namespace bailiwick::cli
