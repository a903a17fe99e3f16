#include "services/agent/api/local_service.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/utc_text.h"
#include "common/cli/dry_run.h"
#include "common/telemetry/log.h"

namespace bailiwick::agent {
namespace {

constexpr char kName[] = "agent.sock";
constexpr char kShow[] = "certificate", kRenew[] = "renew", kTryRenew[] = "try-renew";  // what it can be asked
constexpr size_t kMaxLine = 4096;
constexpr char kUnavailable[] = "UNAVAILABLE";
constexpr absl::Duration kPatience = absl::Seconds(5);
constexpr absl::Duration kAnswerPatience = absl::Seconds(60);  // a renewal asks the coordinator
constexpr absl::Duration kAccept = absl::Milliseconds(250);

std::string JsonLine(const google::protobuf::Struct& object) {
  std::string line;
  if (!google::protobuf::util::MessageToJsonString(object, &line).ok()) line = "{}";
  return line + "\n";
}

void Set(google::protobuf::Struct* object, const std::string& name, const std::string& text) {
  (*object->mutable_fields())[name].set_string_value(text);
}

std::string ErrorLine(const absl::Status& status) {
  google::protobuf::Struct object;
  Set(&object, "error", std::string(status.message()));
  if (absl::IsUnavailable(status)) Set(&object, "code", kUnavailable);
  return JsonLine(object);
}

absl::StatusOr<std::unique_ptr<os::LocalConnection>> Connect(const std::string& data_directory) {
  auto connection = os::ConnectLocal(data_directory, kName);
  if (absl::IsNotFound(connection.status()) || absl::IsUnavailable(connection.status())) {
    return absl::UnavailableError(absl::StrCat("no agent runs in ", data_directory, "; start it"));
  }
  return connection;
}

}  // namespace

absl::Status LocalService::Start(const std::string& data_directory) {
  BW_ASSIGN_OR_RETURN(listener_, os::LocalListener::Open(data_directory, kName));
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void LocalService::Stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  listener_.reset();
}

void LocalService::Run() {
  while (!stopping_) {
    auto connection = listener_->Accept(kAccept);
    if (!connection.ok()) {
      telemetry::Log(telemetry::Level::kError, "local-socket-failed", {{"error", connection.status()}});
      return;
    }
    if (*connection != nullptr) Answer(**connection);
  }
}

void LocalService::Answer(os::LocalConnection& connection) {
  auto user = connection.PeerUser();
  if (!user.ok() || (*user != 0 && *user != os::CurrentUser())) {
    const std::string who = user.ok() ? absl::StrCat("local user ", *user) : "local user";
    absl::Status refused = gate_->Refused(
        who,
        identity::Forbid("NOT_ALLOWED", absl::StrCat(who, " is neither root nor the user that the agent runs as")));
    connection.Write(ErrorLine(refused), kPatience).IgnoreError();
    return;
  }
  auto request = connection.ReadLine(kMaxLine, kPatience);
  if (!request.ok()) return;
  connection.Write(Reply(*request), kPatience).IgnoreError();
}

std::string LocalService::Reply(const std::string& request) {
  absl::Status done;
  if (request == kRenew) {
    done = agent_->RenewNow();
  } else if (request == kTryRenew) {
    done = agent_->MayRenew();
  } else if (request != kShow) {
    done = absl::InvalidArgumentError(absl::StrCat("the local socket knows: ", kShow, ", ", kRenew, ", ", kTryRenew));
  }
  if (!done.ok()) return ErrorLine(done);
  const identity::CertificateInfo info = agent_->certificate();
  google::protobuf::Struct object;
  Set(&object, "identity", info.uri);
  Set(&object, "notBefore", UtcText(info.not_before));
  Set(&object, "notAfter", UtcText(info.not_after));
  Set(&object, "renewAt", UtcText(info.renew_at()));
  Set(&object, "enrolmentKey", std::string(absl::BytesToHexString(agent_->enrolment_key())));
  (*object.mutable_fields())["connected"].set_bool_value(agent_->connected());
  return JsonLine(object);
}

absl::Status CheckRuns(const std::string& data_directory) { return Connect(data_directory).status(); }

absl::Status AskCertificate(const std::string& data_directory, Renewal renewal, output::Format format,
                            std::ostream* out) {
  auto connection = Connect(data_directory);
  BW_RETURN_IF_ERROR(connection.status());
  // Who may not ask is told so without being listened to.
  const char* request = renewal == Renewal::kNow ? kRenew : renewal == Renewal::kTry ? kTryRenew : kShow;
  const absl::Status asked = (*connection)->Write(absl::StrCat(request, "\n"), kPatience);
  auto said = (*connection)->ReadLine(kMaxLine * 4, kAnswerPatience);
  if (!said.ok()) return asked.ok() ? said.status() : asked;
  const std::string line = *std::move(said);
  google::protobuf::Struct object;
  if (!google::protobuf::util::JsonStringToMessage(line, &object).ok()) {
    return absl::InternalError("the agent's answer cannot be read");
  }
  const auto& fields = object.fields();
  if (auto error = fields.find("error"); error != fields.end()) {
    const auto code = fields.find("code");
    return absl::Status(code != fields.end() && code->second.string_value() == kUnavailable
                            ? absl::StatusCode::kUnavailable
                            : absl::StatusCode::kFailedPrecondition,
                        error->second.string_value());
  }
  auto text = [&](const char* name) { return fields.count(name) == 0 ? "" : fields.at(name).string_value(); };
  if (renewal == Renewal::kTry) {
    cli::SayTried(*out,
                  {absl::StrCat(text("identity"), " gets a new key and certificate; the one it has is valid until ",
                                text("notAfter"))});
    return absl::OkStatus();
  }
  const bool connected = fields.count("connected") != 0 && fields.at("connected").bool_value();
  if (format != output::Format::kTable) {
    *out << output::FormatAnswer(format, {{"identity", output::Text(text("identity"))},
                                          {"notBefore", output::Text(text("notBefore"))},
                                          {"notAfter", output::Text(text("notAfter"))},
                                          {"renewAt", output::Text(text("renewAt"))},
                                          {"enrolmentKey", output::Text(text("enrolmentKey"))},
                                          {"connected", output::Bool(connected)}});
    return absl::OkStatus();
  }
  *out << text("identity") << "\nvalid from " << text("notBefore") << " until " << text("notAfter")
       << ", to be renewed at " << text("renewAt") << "\nenrolment key " << text("enrolmentKey")
       << "\ncoordinator: " << (connected ? "connected" : "out of reach") << "\n";
  return absl::OkStatus();
}

}  // namespace bailiwick::agent
