// Holds: those that people set here, and those that only sites know, from before this coordinator was restored from a
// backup. What a site keeps so is shown and can be released; it counts at that site alone, whatever it says.
#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr size_t kMaxReason = 1000;
constexpr size_t kHoldsInASentence = 8;
constexpr size_t kMaxHolds = 10'000;  // all of them go to every agent that they concern
// Of what one site keeps; it says more once some of these are released.
constexpr int kMaxKept = 1000;
constexpr size_t kMaxKeptId = 32;
constexpr size_t kMaxKeptBy = 1000;  // an identity, or two
constexpr size_t kKeptEvents = 10;   // of one report: what follows is counted
// So many releases every agent is told of; of older ones, whoever still keeps what they ended.
constexpr size_t kToldUnasked = 100;

std::string Hex(const std::string& bytes) { return absl::BytesToHexString(bytes); }

bool Concerns(const agent::v1::Hold& hold, const std::string& site) {
  return hold.site().empty() || hold.site() == site;
}

// What a coordinator could have said to the site.
bool Plausible(const agent::v1::Hold& hold, const std::string& site) {
  return !hold.hold_id().empty() && hold.hold_id().size() <= kMaxKeptId && DatasetId::From(hold.dataset_id()).ok() &&
         hold.reason().size() <= kMaxReason && hold.by().size() <= kMaxKeptBy && Concerns(hold, site);
}

bool Same(const agent::v1::Hold& a, const agent::v1::Hold& b) { return a.SerializeAsString() == b.SerializeAsString(); }

}  // namespace

absl::StatusOr<control::v1::HoldResponse> Core::Hold(const std::string& who, const control::v1::HoldRequest& request,
                                                     Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  if (request.reason().empty() || request.reason().size() > kMaxReason) {
    return absl::InvalidArgumentError("a hold needs a reason of at most 1000 bytes, for who finds it later");
  }
  if (state_.holds.size() >= kMaxHolds) return absl::ResourceExhaustedError("there are 10,000 holds; release some");
  const Stream* stream = FindStream(request.dataset());
  if (stream == nullptr) return NoDataset(request.dataset());
  if (!request.site().empty()) BW_RETURN_IF_ERROR(CheckSite(request.site()));
  if (request.number() != 0 && state_.versions[stream->id].count(request.number()) == 0) {
    return absl::NotFoundError(absl::StrCat("dataset ", request.dataset(), " has no version ", request.number()));
  }
  if (dry != nullptr) {
    dry->effects.push_back(absl::StrCat(
        request.number() == 0 ? "every version" : absl::StrCat("version ", request.number()), " of ", stream->name,
        request.site().empty() ? " at every site" : absl::StrCat(" at site ", request.site()), " is held"));
    return control::v1::HoldResponse();
  }
  agent::v1::Hold hold;
  hold.set_hold_id(random_->Bytes(8));
  hold.set_dataset_id(stream->id.str());
  hold.set_number(request.number());
  hold.set_site(request.site());
  hold.set_reason(request.reason());
  hold.set_by(who);
  rpc::ToProto(clock_->Now(), hold.mutable_since());
  BW_RETURN_IF_ERROR(
      Audit("hold-set", absl::StrCat(stream->name, "/", request.number()),
            audit::Detail().Text("by", who).Text("hold", Hex(hold.hold_id())).Text("site", request.site())));
  BW_RETURN_IF_ERROR(catalog_->PutHold(hold));
  state_.holds[hold.hold_id()] = hold;
  Event("hold-set", request.site(), stream->name, request.number(), absl::StrCat("by ", who));
  PushAssignments();
  control::v1::HoldResponse response;
  *response.mutable_hold() = hold;
  return response;
}

std::set<std::string> Core::ReleasedFor(const std::string& site) const {
  std::map<std::string, const agent::v1::Hold*> kept;  // by id
  if (auto said = state_.kept_holds.find(site); said != state_.kept_holds.end()) {
    for (const auto& hold : said->second.holds()) kept[hold.hold_id()] = &hold;
  }
  std::set<std::string> ids;
  size_t unasked = 0;
  for (auto it = state_.released_holds.rbegin(); it != state_.released_holds.rend(); ++it) {
    const agent::v1::ReleasedHold& released = it->second;
    const agent::v1::Hold& hold = released.hold();
    if (!released.kept() && unasked < kToldUnasked && Concerns(hold, site)) {
      ++unasked;
      ids.insert(hold.hold_id());
    } else if (auto found = kept.find(hold.hold_id()); found != kept.end()) {
      // One that was known by a site's word alone ends where it is just so: another site may have said less than the
      // truth of it.
      if (!released.kept() || Same(hold, *found->second)) ids.insert(hold.hold_id());
    } else if (kept.empty() && unasked == kToldUnasked) {
      break;
    }
  }
  return ids;
}

void Core::AddHolds(const std::string& site, agent::v1::Holds* holds) const {
  for (const auto& [id, hold] : state_.holds) {
    if (Concerns(hold, site)) *holds->add_holds() = hold;
  }
  holds->set_tells_releases(true);
  for (const std::string& id : ReleasedFor(site)) holds->add_released(id);
}

std::vector<agent::v1::Hold> Core::KeptAt(const std::string& site) const {
  auto said = state_.kept_holds.find(site);
  if (said == state_.kept_holds.end() || said->second.holds().empty()) return {};
  const std::set<std::string> released = ReleasedFor(site);
  std::vector<agent::v1::Hold> kept;
  for (const auto& hold : said->second.holds()) {
    if (state_.holds.count(hold.hold_id()) == 0 && released.count(hold.hold_id()) == 0) kept.push_back(hold);
  }
  return kept;
}

std::vector<Core::KeptHold> Core::KeptHolds() const {
  std::map<std::string, KeptHold> all;  // by what is said of them
  for (const auto& [site, said] : state_.kept_holds) {
    if (state_.resources.count({"Site", site}) == 0) continue;  // nobody is there any more
    for (agent::v1::Hold& hold : KeptAt(site)) {
      KeptHold& kept = all[hold.SerializeAsString()];
      kept.sites.insert(site);
      kept.hold = std::move(hold);
    }
  }
  std::vector<KeptHold> kept;
  for (auto& [text, hold] : all) kept.push_back(std::move(hold));
  return kept;
}

void Core::ForgetKeptHolds(const std::string& site) {
  if (state_.kept_holds.erase(site) == 0) return;
  const absl::Status stored = catalog_->PutKeptHolds(site, {});
  if (!stored.ok()) Log(Level::kError, "catalog-failed", {{"error", stored}});
}

void Core::OnKeptHolds(const std::string& site, const agent::v1::KeptHolds& said) {
  agent::v1::KeptHolds kept;
  std::set<std::string> ids;
  size_t refused = 0;
  for (const auto& hold : said.holds()) {
    if (kept.holds_size() == kMaxKept || !Plausible(hold, site) || !ids.insert(hold.hold_id()).second) {
      ++refused;
      continue;
    }
    // One that this coordinator knows is no stranger, whatever the site says of it.
    if (state_.holds.count(hold.hold_id()) != 0) continue;
    agent::v1::Hold* one = kept.add_holds();
    *one = hold;
    one->DiscardUnknownFields();
  }
  if (refused != 0) Log(Level::kWarning, "kept-holds-refused", {{"site", site}, {"count", refused}});
  agent::v1::KeptHolds& before = state_.kept_holds[site];
  if (before.SerializeAsString() == kept.SerializeAsString()) return;
  std::set<std::string> known;
  for (const auto& hold : before.holds()) known.insert(hold.SerializeAsString());
  if (absl::Status stored = catalog_->PutKeptHolds(site, kept); !stored.ok()) {  // said again in the next session
    Log(Level::kError, "catalog-failed", {{"error", stored}});
    return;
  }
  before = std::move(kept);
  size_t news = 0;
  for (const agent::v1::Hold& hold : KeptAt(site)) {
    if (known.count(hold.SerializeAsString()) != 0 || ++news > kKeptEvents) continue;
    const std::string name = NameOf(*DatasetId::From(hold.dataset_id()));
    Event("hold-kept", site, name, hold.number(),
          absl::StrCat("site ", site, " keeps hold ", Hex(hold.hold_id()), " of dataset ", name, " ('", hold.reason(),
                       "', by ", hold.by(), ", since ",
                       absl::FormatTime("%Y-%m-%d", rpc::FromProto(hold.since()), absl::UTCTimeZone()),
                       "), which this coordinator does not know: was it restored from a backup? It counts "
                       "there alone. To hold it at all sites again: bailiwick dataset hold ",
                       name, ". To end it: bailiwick dataset release ", name, " --hold ", Hex(hold.hold_id())));
  }
  if (news > kKeptEvents) {
    Event("hold-kept", site, "", 0,
          absl::StrCat("site ", site, " keeps ", news - kKeptEvents,
                       " more holds that this coordinator does not know; see: bailiwick dataset holds"));
  }
  // It may keep what was released while it was away.
  if (auto session = sessions_.find(site); session != sessions_.end()) SendAssignments(site, *session->second);
  Wake();
}

absl::StatusOr<control::v1::ListHoldsResponse> Core::Holds(const std::string& dataset) {
  absl::MutexLock lock(&mutex_);
  std::vector<control::v1::HeldDataset> held;
  auto add = [&](const agent::v1::Hold& hold, const std::set<std::string>& only_at) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    auto of = DatasetId::From(hold.dataset_id());
    control::v1::HeldDataset row;
    row.set_dataset(of.ok() ? NameOf(*of) : "");
    *row.mutable_hold() = hold;
    for (const std::string& site : only_at) row.add_only_at(site);
    if (!dataset.empty() && row.dataset() != dataset) return;
    // Another dataset has the name now.
    const Stream* now = FindStream(row.dataset());
    if (of.ok() && now != nullptr && now->id != *of) row.set_dataset(row.dataset() + " (deleted)");
    held.push_back(std::move(row));
  };
  for (const auto& [id, hold] : state_.holds) add(hold, {});
  for (const KeptHold& kept : KeptHolds()) add(kept.hold, kept.sites);
  std::stable_sort(held.begin(), held.end(), [](const auto& a, const auto& b) {
    if (a.dataset() != b.dataset()) return a.dataset() < b.dataset();
    return rpc::FromProto(a.hold().since()) < rpc::FromProto(b.hold().since());
  });
  control::v1::ListHoldsResponse response;
  for (auto& row : held) *response.add_holds() = std::move(row);
  if (!dataset.empty() && held.empty() && FindStream(dataset) == nullptr) return NoDataset(dataset);
  return response;
}

absl::StatusOr<std::vector<Core::KeptHold>> Core::ToRelease(const control::v1::ReleaseRequest& request) const {
  std::vector<KeptHold> chosen, kept;
  std::vector<std::string> replaced;  // of a dataset that had the name before
  std::vector<std::string> strange;   // what only sites know
  const std::set<std::string> asked(request.hold_ids().begin(), request.hold_ids().end());
  const Stream* now = FindStream(request.dataset());
  for (const auto& [id, hold] : state_.holds) {
    auto of = DatasetId::From(hold.dataset_id());
    if (!of.ok() || NameOf(*of) != request.dataset() || !request.site().empty()) continue;
    if (asked.empty() && now != nullptr && now->id != *of) {
      replaced.push_back(Hex(id));
      continue;
    }
    if (asked.empty() || asked.count(Hex(id)) != 0) chosen.push_back({hold, {}});
  }
  for (KeptHold& hold : KeptHolds()) {
    if (NameOf(*DatasetId::From(hold.hold.dataset_id())) != request.dataset()) continue;
    if (!request.site().empty() && hold.sites.count(request.site()) == 0) continue;
    const std::string id = Hex(hold.hold.hold_id());
    strange.push_back(id);
    if (asked.count(id) != 0) kept.push_back(std::move(hold));
  }
  for (size_t i = 1; i < kept.size(); ++i) {
    if (kept[i].hold.hold_id() != kept[i - 1].hold.hold_id()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("sites say different things of hold ", Hex(kept[i].hold.hold_id()), " (",
                     absl::StrJoin(kept[i - 1].sites, ", "), " and ", absl::StrJoin(kept[i].sites, ", "),
                     "); see bailiwick dataset holds ", request.dataset(), " and name whose is meant with --site"));
  }
  std::move(kept.begin(), kept.end(), std::back_inserter(chosen));
  if (!chosen.empty()) return chosen;
  if (!asked.empty()) {
    return absl::NotFoundError(
        absl::StrCat(request.dataset(), " has no hold ", absl::StrJoin(asked, ", "),
                     request.site().empty() ? "" : absl::StrCat(" that only site ", request.site(), " knows")));
  }
  std::string besides;
  if (!replaced.empty()) {
    besides = absl::StrCat("; of one of that name that was deleted there is ", absl::StrJoin(replaced, ", "),
                           ", released only by --hold");
  }
  if (!strange.empty()) {
    absl::StrAppend(&besides, "; only sites know ", absl::StrJoin(strange, ", "), ", released only by --hold");
  }
  return absl::NotFoundError(absl::StrCat("no hold keeps a version of ", request.dataset(), besides));
}

absl::StatusOr<control::v1::ReleaseResponse> Core::Release(const std::string& who,
                                                           const control::v1::ReleaseRequest& request, Rehearsal* dry) {
  absl::MutexLock lock(&mutex_);
  BW_ASSIGN_OR_RETURN(const std::vector<KeptHold> chosen, ToRelease(request));
  if (!TakesTwo()) return ReleaseNow(who, request, dry);
  // What somebody says yes to later are these holds, not those made since, nor those of another dataset of the name.
  control::v1::Proposal proposal;
  proposal.mutable_release()->set_dataset(request.dataset());
  proposal.mutable_release()->set_site(request.site());
  std::vector<std::string> words;
  for (const auto& [hold, sites] : chosen) {
    proposal.mutable_release()->add_hold_ids(Hex(hold.hold_id()));
    words.push_back(absl::StrCat(Hex(hold.hold_id()), " (", hold.reason(),
                                 sites.empty() ? "" : absl::StrCat("; known only at ", absl::StrJoin(sites, ", ")),
                                 ")"));
  }
  const size_t more = words.size() > kHoldsInASentence ? words.size() - kHoldsInASentence : 0;
  words.resize(words.size() - more);
  control::v1::ReleaseResponse response;
  BW_ASSIGN_OR_RETURN(
      *response.mutable_proposal(),
      Propose(who, std::move(proposal),
              absl::StrCat("release hold", chosen.size() == 1 ? " " : "s ", absl::StrJoin(words, ", "),
                           more == 0 ? "" : absl::StrCat(" and ", more, " more"), " of ", request.dataset()),
              dry));
  return response;
}

absl::StatusOr<control::v1::ReleaseResponse> Core::ReleaseNow(const std::string& who,
                                                              const control::v1::ReleaseRequest& request,
                                                              Rehearsal* dry) {
  BW_ASSIGN_OR_RETURN(const std::vector<KeptHold> chosen, ToRelease(request));
  control::v1::ReleaseResponse response;
  for (const auto& [hold, sites] : chosen) {
    const std::string id = Hex(hold.hold_id()), name = NameOf(*DatasetId::From(hold.dataset_id()));
    const std::string only_at = absl::StrJoin(sites, ", ");
    if (dry != nullptr) {
      dry->effects.push_back(absl::StrCat("hold ", id, " of ", name, " by ", hold.by(), " ends",
                                          only_at.empty() ? "" : absl::StrCat(" at ", only_at), ": ", hold.reason()));
      continue;
    }
    audit::Detail detail;
    detail.Text("by", who).Text("hold", id);
    if (!only_at.empty()) detail.Text("onlyAt", only_at);
    BW_RETURN_IF_ERROR(Audit("hold-released", absl::StrCat(name, "/", hold.number()), detail));
    agent::v1::ReleasedHold released;
    *released.mutable_hold() = hold;
    released.set_kept(!sites.empty());
    auto& all = state_.released_holds;
    const uint64_t ordinal = all.empty() ? 1 : all.rbegin()->first + 1;
    BW_RETURN_IF_ERROR(catalog_->ReleaseHold(ordinal, released));
    all[ordinal] = std::move(released);
    while (all.begin()->first + Catalog::kMaxReleasedHolds <= ordinal) all.erase(all.begin());
    if (sites.empty()) state_.holds.erase(hold.hold_id());
    Event("hold-released", sites.size() == 1 ? *sites.begin() : hold.site(), name, hold.number(),
          absl::StrCat("by ", who));
    response.set_released(response.released() + 1);
  }
  if (dry != nullptr) return response;
  PushAssignments();
  Wake();
  return response;
}

}  // namespace bailiwick::coordinator
