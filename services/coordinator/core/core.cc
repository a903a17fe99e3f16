#include "services/coordinator/core/core.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/base/suggest.h"
#include "common/policy/evaluator.h"
#include "common/rpc/codec.h"
#include "common/rpc/retention.h"
#include "common/telemetry/line.h"
#include "common/telemetry/log.h"

namespace bailiwick::coordinator {

using telemetry::Level;
using telemetry::Log;

namespace {

// Every number, so that a build of another time reads nothing else into one that is left out.
void SetRetention(const store::RetentionRule& rule, resource::v1::Retain* retain) {
  retain->set_last(rule.last);
  retain->set_hourly(rule.hourly);
  retain->set_daily(rule.daily);
}

}  // namespace

Core::~Core() { Stop(); }

absl::Status Core::Load() {
  absl::MutexLock lock(&mutex_);
  BW_ASSIGN_OR_RETURN(state_, catalog_->Load());
  ApplyDenied();
  ApplyPeople();
  if (state_.bundle.has_value()) BW_RETURN_IF_ERROR(InstallBundle(*state_.bundle));
  BW_RETURN_IF_ERROR(DecideRedactions());
  Rebuild();
  // Flows go on while the coordinator is away: what ran before may still run, its dialler will say.
  for (TransferRow& row : state_.transfers) {
    if (row.ended) {
      ended_.push_back(std::move(row.view));
      continue;
    }
    Transfer transfer;
    transfer.dataset = row.dataset;
    transfer.version = row.view.version();
    transfer.dialler = row.dialler;
    transfer.other = row.dialler == row.view.source() ? row.view.destination() : row.view.source();
    transfer.last_report = transfer.progressed = transfer.renew_at = clock_->BootTime();
    transfer.adopted = true;
    const std::string id = row.view.transfer_id();
    transfer.view = std::move(row.view);
    transfers_[id] = std::move(transfer);
  }
  state_.transfers.clear();
  plan_ = planner_.Run(Input());  // what is wanted where is known before the first agent asks
  return absl::OkStatus();
}

void Core::Prepare(Identities identities) {
  absl::MutexLock lock(&mutex_);
  config_.identities = std::move(identities);
}

void Core::Listening(std::string control_address, std::string join_address) {
  absl::MutexLock lock(&mutex_);
  config_.control_address = std::move(control_address);
  config_.join_address = std::move(join_address);
}

void Core::Start() {
  planner_thread_ = std::thread([this] { PlanLoop(); });
}

void Core::Stop() {
  std::map<std::string, std::shared_ptr<Session>> sessions;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    sessions = sessions_;
  }
  for (auto& [site, session] : sessions) session->Close(absl::UnavailableError("the coordinator is stopping"));
  if (planner_thread_.joinable()) planner_thread_.join();
}

absl::Status Core::InstallBundle(const crypto::Envelope& envelope) {
  BW_ASSIGN_OR_RETURN(bundle_, config::OpenBundle(envelope, state_.root_sha256));
  law_ = std::make_unique<CompiledLaw>(&bundle_->world);
  state_.bundle = envelope;
  classifications_.clear();
  for (const auto& [id, record] : state_.classifications) {
    auto c = config::OpenClassification(record, bundle_->world);
    if (c.ok()) classifications_[id] = *std::move(c);
  }
  SeatNewcomers();
  return absl::OkStatus();
}

std::map<DatasetId, Core::Stream> Core::Streams() const {
  std::map<DatasetId, Stream> streams;
  if (!bundle_.has_value()) return streams;
  for (const auto& [key, resource] : state_.resources) {
    if (key.first != "Dataset") continue;
    auto id = state_.dataset_ids.find(key.second);
    if (id == state_.dataset_ids.end()) continue;
    auto known = classifications_.find(id->second);
    if (known == classifications_.end()) continue;
    const config::Classification& c = known->second;
    Stream stream;
    stream.labels = c.labels;
    stream.epoch = c.epoch;
    stream.spec = resource.dataset();
    if (!c.family) {
      stream.id = id->second;
      stream.name = key.second;
      stream.home_site = c.home_site;
      streams[stream.id] = stream;
      continue;
    }
    stream.family = key.second;
    for (const auto& [name, site] : bundle_->world.sites) {
      std::string why;
      if (policy::Matches(c.home_selector, site.labels, &why) != policy::Match::kYes) continue;
      stream.id = config::StreamId(id->second, name);
      stream.name = config::StreamName(key.second, name);
      stream.home_site = name;
      streams[stream.id] = stream;
    }
  }
  return streams;
}

void Core::Rebuild() { streams_ = Streams(); }

const Core::Stream* Core::FindStream(const std::string& name) const {
  for (const auto& [id, stream] : streams_) {
    if (stream.name == name) return &stream;
  }
  return nullptr;
}

absl::Status Core::NoDataset(const std::string& name) const {
  std::vector<std::string> names, streams;
  for (const auto& [id, stream] : streams_) {
    names.push_back(stream.name);
    if (stream.family == name) streams.push_back(stream.name);
  }
  if (!streams.empty()) {
    return absl::NotFoundError(
        absl::StrCat(name, " is a family of datasets; name one of its streams: ", absl::StrJoin(streams, ", ")));
  }
  if (const size_t at = name.find('@'); at != std::string::npos && FindStream(name.substr(0, at)) != nullptr) {
    const std::string plain = name.substr(0, at);
    return absl::NotFoundError(absl::StrCat(plain, " is no family of datasets and has no streams; name it ", plain));
  }
  const std::string near = Suggest(name, names);
  return absl::NotFoundError(absl::StrCat("dataset ", name, " does not exist",
                                          near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
}

absl::Status Core::CheckSite(const std::string& name) const {
  if (state_.resources.count({"Site", name}) != 0) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("site ", name, " is not declared", DidYouMean("Site", name)));
}

std::string Core::DidYouMean(const std::string& kind, const std::string& name) const {
  std::vector<std::string> names;
  for (auto it = state_.resources.lower_bound({kind, ""}); it != state_.resources.end() && it->first.first == kind;
       ++it) {
    names.push_back(it->first.second);
  }
  const std::string near = Suggest(name, names);
  return near.empty() ? "" : absl::StrCat("; did you mean ", near, "?");
}

bool Core::Approved(const std::string& site) const {
  auto agent = state_.agents.find(site);
  return agent != state_.agents.end() && Pins(site, agent->second.enrolment_key);
}

bool Core::Awaits(const std::string& site) const {
  auto agent = state_.agents.find(site);
  return agent != state_.agents.end() && !agent->second.newcomer_key.empty() && sessions_.count(site) == 0;
}

bool Core::Pins(const std::string& site, const std::string& key) const {
  if (!bundle_.has_value()) return false;
  auto pinned = bundle_->world.sites.find(site);
  if (pinned == bundle_->world.sites.end()) return false;
  for (const auto& [name, pin] : pinned->second.enrolment_keys) {
    if (pin == key) return true;
  }
  return false;
}

std::vector<std::string> Core::PinnedKeys(const std::string& site) const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> keys;
  if (!bundle_.has_value()) return keys;
  auto pinned = bundle_->world.sites.find(site);
  if (pinned == bundle_->world.sites.end()) return keys;
  for (const auto& [name, key] : pinned->second.enrolment_keys) keys.push_back(key);
  return keys;
}

void Core::AuditAlarm(const std::string& kind, const std::string& site, const std::string& message) {
  absl::Status audited = Audit(kind, absl::StrCat("site/", site), audit::Detail().Text("problem", message));
  if (!audited.ok()) Log(Level::kError, "audit-failed", {{"error", audited}});
  absl::MutexLock lock(&mutex_);
  Event(kind, site, "", 0, message);
}

bool Core::OutboundOnly(const std::string& site) const {
  auto it = state_.resources.find({"Site", site});
  return it != state_.resources.end() && it->second.site().dial() == resource::v1::DIAL_OUTBOUND_ONLY;
}

absl::Status Core::Audit(const std::string& kind, const std::string& subject, const std::string& detail) {
  return audit_->Append(kind, subject, detail).status();
}

control::v1::Event Core::MakeEvent(const std::string& kind, const std::string& site, const std::string& dataset,
                                   VersionNumber version, const std::string& message) const {
  control::v1::Event event;
  rpc::ToProto(clock_->Now(), event.mutable_at());
  event.set_kind(kind);
  event.set_site(site);
  event.set_dataset(dataset);
  event.set_version(version);
  event.set_message(message);
  return event;
}

void Core::Event(const std::string& kind, const std::string& site, const std::string& dataset, VersionNumber version,
                 const std::string& message) {
  auto sequence = catalog_->AppendEvent(MakeEvent(kind, site, dataset, version, message));
  if (!sequence.ok()) Log(Level::kError, "event-lost", {{"kind", kind}, {"error", sequence.status()}});
  Log(Level::kInfo, kind, {{"site", site}, {"dataset", dataset}, {"version", version}, {"message", message}});
}

bool Core::Lawful(const Stream& stream, const Wanted& wanted) const {
  for (const std::string& purpose : wanted.purposes) {
    if (law_->Replication(stream.labels, stream.home_site, wanted.site, purpose, stream.home_site, clock_->Now())
            .permitted) {
      return true;
    }
  }
  return false;
}

void Core::SendAssignments(const std::string& site, Session& session) {
  SendRedactions(site, session);  // what is no longer to be held is known before it could come
  agent::v1::CoordinatorMessage message;
  auto* assignments = message.mutable_assignments();
  auto add = [&](const Stream& stream, bool home, bool materialize) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto* a = assignments->add_datasets();
    a->set_dataset_id(stream.id.str());
    a->set_dataset(stream.name);
    a->set_home(home);
    *a->mutable_spec() = stream.spec;
    SetRetention(rpc::RetentionOf(stream.spec), a->mutable_spec()->mutable_retain());
    if (!home) a->mutable_spec()->mutable_home()->clear_path();  // nobody's business but the home's
    a->set_epoch(stream.epoch);
    a->set_materialize(materialize);
    auto pin = state_.pins.find({stream.id, site});
    if (pin == state_.pins.end()) pin = state_.pins.find({stream.id, ""});
    if (!home && pin != state_.pins.end()) a->set_pinned(pin->second);
    if (home) {
      auto versions = state_.versions.find(stream.id);
      if (versions != state_.versions.end() && !versions->second.empty())
        a->set_acknowledged(versions->second.rbegin()->first);
    }
    if (auto peers = standing_.find({stream.id, site}); peers != standing_.end()) {
      for (const agent::v1::StandingPeer& peer : peers->second) *a->add_standing() = peer;
    }
  };
  for (const auto& [id, stream] : streams_) {
    if (stream.home_site == site) add(stream, true, false);
  }
  for (const Wanted& wanted : plan_.wanted) {
    if (wanted.site != site) continue;
    auto stream = streams_.find(wanted.dataset);
    if (stream == streams_.end() || stream->second.home_site == site) continue;
    // Nothing is announced to a site about data that the law keeps from it, unless it holds some already.
    auto replicas = state_.replicas.find(wanted.dataset);
    auto replica =
        replicas == state_.replicas.end() ? decltype(replicas->second.begin())() : replicas->second.find(site);
    const bool holds = replicas != state_.replicas.end() && replica != replicas->second.end() &&
                       (!replica->second.versions.empty() || replica->second.stored_bytes != 0);
    const bool unlawful =
        wanted.reason.code == "denied" || (wanted.reason.code == "no-version" && !Lawful(stream->second, wanted));
    if (unlawful && !holds) continue;
    add(stream->second, false, wanted.materialize);
  }
  AddHolds(site, assignments->mutable_holds());
  std::string fingerprint = message.SerializeAsString();
  if (wanted_of_site_[site] == fingerprint) return;
  wanted_of_site_[site] = std::move(fingerprint);
  session.Send(std::move(message));
}

void Core::PushAssignments() {
  for (auto& [site, session] : sessions_) SendAssignments(site, *session);
}

}  // namespace bailiwick::coordinator
