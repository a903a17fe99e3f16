#include "services/agent/work/local_status.h"

#include <google/protobuf/util/json_util.h>

#include <ostream>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/base/utc_text.h"
#include "common/rpc/codec.h"

namespace bailiwick::agent {
namespace {

constexpr absl::Duration kWriteEvery = absl::Minutes(1);
constexpr uint64_t kMaxFile = 16 * kMiB;

std::string PathOf(const std::string& directory) { return os::JoinPath(directory, "status.json"); }

std::string When(const google::protobuf::Timestamp& time) { return UtcText(rpc::FromProto(time)); }

void Show(const agent::v1::StandingState& flow, std::ostream& out) {
  out << "  " << flow.dataset() << " with " << flow.site() << ": ";
  if (flow.running()) {
    out << "under way";
  } else if (flow.arrived() != 0) {
    out << "version " << flow.arrived() << " arrived";
  } else {
    out << (flow.problem().empty() ? "nothing yet" : flow.problem());
  }
  if (flow.has_until()) {
    out << "; until " << When(flow.until());
  } else {
    out << "; not delegated now";
  }
  out << "\n";
}

output::Json TimeOf(bool known, const google::protobuf::Timestamp& time) {
  return output::Text(known ? When(time) : "");
}

output::Fields FieldsOf(const agent::v1::LocalStatus& status) {
  std::vector<output::Json> standing;
  for (const auto& flow : status.standing()) {
    standing.push_back(output::Object({{"dataset", output::Text(flow.dataset())},
                                       {"site", output::Text(flow.site())},
                                       {"until", TimeOf(flow.has_until(), flow.until())},
                                       {"running", output::Bool(flow.running())},
                                       {"arrived", output::Number(flow.arrived())},
                                       {"problem", output::Text(flow.problem())}}));
  }
  return {{"site", output::Text(status.site())},
          {"written", TimeOf(status.has_written(), status.written())},
          {"connected", output::Bool(status.connected())},
          {"onItsOwn", output::Bool(status.on_its_own())},
          {"awaySince", TimeOf(status.has_away_since(), status.away_since())},
          {"policyRevision", output::Number(status.policy_revision())},
          {"policyCalledCurrent", TimeOf(status.has_policy_called_current(), status.policy_called_current())},
          {"stale", output::Text(status.stale())},
          {"standing", output::List(std::move(standing))},
          {"coordinator", output::Text(status.coordinator())},
          {"endpoint", output::Text(status.endpoint())},
          {"replicasProblem", output::Text(status.replicas_problem())}};
}

}  // namespace

LocalStatusFile::LocalStatusFile(os::Files* files, const os::Clock* clock, const std::string& directory)
    : files_(files), clock_(clock), path_(PathOf(directory)) {}

absl::Status LocalStatusFile::Write(agent::v1::LocalStatus status) {
  std::string content = status.SerializeAsString();
  if (content == last_ && clock_->BootTime() < next_) return absl::OkStatus();
  rpc::ToProto(clock_->Now(), status.mutable_written());
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(status, &json).ok()) return absl::InternalError("no JSON");
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, path_, json + "\n"));
  last_ = std::move(content);
  next_ = clock_->BootTime() + kWriteEvery;
  return absl::OkStatus();
}

absl::StatusOr<agent::v1::LocalStatus> ReadLocalStatus(os::Files* files, const std::string& directory) {
  auto text = os::ReadFile(files, PathOf(directory), kMaxFile);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat(directory, " has no status.json: no agent has run there yet"));
  }
  BW_RETURN_IF_ERROR(text.status());
  agent::v1::LocalStatus status;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // a newer agent may say more
  if (!google::protobuf::util::JsonStringToMessage(*text, &status, options).ok()) {
    return absl::DataLossError(absl::StrCat(PathOf(directory), " is unreadable; the running agent writes it anew"));
  }
  return status;
}

absl::Status PrintLocalStatus(os::Files* files, const os::Clock* clock, const std::string& directory,
                              output::Format format, std::ostream* out) {
  BW_ASSIGN_OR_RETURN(const agent::v1::LocalStatus status, ReadLocalStatus(files, directory));
  if (format != output::Format::kTable) {
    *out << output::FormatAnswer(format, FieldsOf(status));
    return absl::OkStatus();
  }
  const absl::Duration age = clock->Now() - rpc::FromProto(status.written());
  *out << "site " << status.site() << ", as of " << FormatAge(age) << " ago\n"
       << "coordinator: ";
  if (status.connected()) {
    *out << "connected\n";
  } else {
    *out << "out of reach since " << When(status.away_since())
         << (status.on_its_own() ? "; what the law delegates goes on\n" : "\n");
  }
  *out << "policy: ";
  if (status.policy_revision() == 0) {
    *out << "none\n";
  } else {
    *out << "revision " << status.policy_revision();
    if (status.has_policy_called_current()) *out << ", called current at " << When(status.policy_called_current());
    *out << "\n";
  }
  if (!status.stale().empty()) *out << "nothing may flow: " << status.stale() << "\n";
  if (!status.replicas_problem().empty()) *out << "nothing is laid out: " << status.replicas_problem() << "\n";
  if (!status.connected() && status.standing_size() != 0) *out << "without the coordinator:\n";
  if (!status.connected()) {
    for (const auto& flow : status.standing()) Show(flow, *out);
  }
  if (age > kSilentAfter) {
    return absl::UnavailableError(absl::StrCat("the agent has not said anything for ", FormatAge(age),
                                               ": is it running? above is what it said last"));
  }
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
