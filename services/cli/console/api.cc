#include "services/cli/console/api.h"

#include <exception>
#include <functional>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/audit/note.h"
#include "common/audit/trust.h"
#include "common/base/status.h"
#include "common/config/yaml.h"
#include "common/os/clock.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kRollbackPatience = absl::Seconds(20);
constexpr uint64_t kMaxRecords = 2000;  // that a page shows at once

using http::Request;
using Answer = absl::StatusOr<Fields>;
using Route = std::function<Answer(Admin&, const Request&)>;

std::string Get(const Request& request, const char* name) { return request.Query(name).value_or(""); }

absl::StatusOr<std::string> Need(const Request& request, const char* name) {
  std::string value = Get(request, name);
  if (value.empty()) return absl::InvalidArgumentError(absl::StrCat("say which ", name));
  return value;
}

Question QuestionOf(const Request& request) {
  Question q;
  q.dataset = Get(request, "dataset");
  if (std::string label = Get(request, "label"); !label.empty()) q.labels = {std::move(label)};
  if (std::string from = Get(request, "from"); !from.empty()) q.from = {std::move(from)};
  q.to = Get(request, "to");
  q.purpose = Get(request, "purpose");
  q.at = Get(request, "at");
  return q;
}

Answer Versions(Admin& admin, const Request& request) {
  BW_ASSIGN_OR_RETURN(const std::string dataset, Need(request, "dataset"));
  return VersionsView(admin, dataset);
}

Answer Why(Admin& admin, const Request& request) {
  BW_ASSIGN_OR_RETURN(const std::string dataset, Need(request, "dataset"));
  BW_ASSIGN_OR_RETURN(const std::string site, Need(request, "site"));
  return WhyView(admin, dataset, site);
}

Answer Resources(Admin& admin, const Request& request) {
  BW_ASSIGN_OR_RETURN(const std::string text, Need(request, "kind"));
  BW_ASSIGN_OR_RETURN(const std::string kind, config::ParseKind(text));
  return ResourcesView(admin, kind, Get(request, "name"));
}

Answer Rollback(Admin& admin, const Request& request) {
  BW_ASSIGN_OR_RETURN(const std::string dataset, Need(request, "dataset"));
  BW_ASSIGN_OR_RETURN(const std::string number, Need(request, "number"));
  BW_ASSIGN_OR_RETURN(const RollbackResult result, RollBack(admin, dataset, number == "0" ? "latest" : number,
                                                            Get(request, "site"), kRollbackPatience));
  return result.ToFields();
}

Answer Explain(Admin& admin, const Request& request) {
  BW_RETURN_IF_ERROR(Need(request, "from").status());
  BW_RETURN_IF_ERROR(Need(request, "to").status());
  BW_ASSIGN_OR_RETURN(Law law, LawInForce(admin));
  return ExplainView(std::move(law), QuestionOf(request));
}

Answer Reach(Admin& admin, const Request& request) {
  BW_RETURN_IF_ERROR(Need(request, "to").status());
  BW_ASSIGN_OR_RETURN(const Law law, LawInForce(admin));
  return ReachView(law, QuestionOf(request));
}

Answer PolicyYaml(Admin& admin, const Request& request) {
  BW_ASSIGN_OR_RETURN(const std::string name, Need(request, "name"));
  control::v1::ListResourcesRequest ask;
  ask.set_kind("SovereigntyPolicy");
  ask.set_name(name);
  control::v1::ListResourcesResponse found;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListResources(Admin::Call().get(), ask, &found)));
  if (found.resources().empty()) return absl::NotFoundError(absl::StrCat("there is no policy ", name));
  return Fields{{"yaml", Text(config::ToYaml(found.resources(0)))}};
}

Answer Draft(Admin& admin, const Request& request) {
  BW_ASSIGN_OR_RETURN(std::vector<config::Located> draft, ParseResources(request.body, "draft"));
  return DraftView(admin, std::move(draft), os::Clock::System()->Now());
}

Answer AuditList(Admin& admin, const Request& request) {
  AuditFilter filter;
  filter.kind = Get(request, "kind");
  filter.subject = Get(request, "subject");
  BW_RETURN_IF_ERROR(ParseAuditTime(Get(request, "since"), &filter.since));
  BW_RETURN_IF_ERROR(ParseAuditTime(Get(request, "until"), &filter.until));
  const std::string site = Get(request, "site");
  uint64_t& limit = filter.limit;
  if (!absl::SimpleAtoi(Get(request, "limit"), &limit) || limit == 0 || limit > kMaxRecords) limit = kMaxRecords;
  return AuditListView(admin, site.empty() ? kCoordinatorLog : site, filter);
}

// The proof, and what the keys that the signed law pins say of it.
Answer AuditProve(Admin& admin, const Request& request) {
  BW_ASSIGN_OR_RETURN(const std::string id, Need(request, "id"));
  BW_ASSIGN_OR_RETURN(const audit::RecordProof proof, ProveOf(admin, id));
  const std::string text = proof.Encode();
  const bool own = id.rfind(absl::StrCat(kCoordinatorLog, "/"), 0) == 0;
  BW_ASSIGN_OR_RETURN(const std::string trusted, own ? MakeTrustFile(admin, 0) : MakeAgentsTrustFile(admin));
  BW_ASSIGN_OR_RETURN(const audit::Trust trust, audit::Trust::Parse(trusted, "the signed law"));
  BW_ASSIGN_OR_RETURN(const audit::SignedCheckpoint signed_by, audit::ReadCheckpoint(proof.checkpoint));
  if (trust.FindLog(signed_by.checkpoint.origin) == nullptr) {
    return absl::UnavailableError(absl::StrCat("the coordinator has not heard of the log ", signed_by.checkpoint.origin,
                                               " yet, so nobody vouches for its key; agents tell of theirs within a "
                                               "minute of joining: ask again then"));
  }
  BW_ASSIGN_OR_RETURN(const audit::Verdict verdict, audit::VerifyProof(text, trust));
  Fields fields = {{"id", Text(id)}, {"proof", Text(text)}};
  fields.emplace_back("verdict", Object(VerdictFields(verdict)));
  return fields;
}

absl::StatusOr<AuditReport> Report(Admin& admin, const Request& request) {
  ReportQuestion question;
  question.dataset = Get(request, "dataset");
  question.transfers = question.dataset.empty();
  question.from = Get(request, "from");
  question.to = Get(request, "to");
  return ReportOf(&admin, question);
}

Answer AuditReportRoute(Admin& admin, const Request& request) {
  BW_ASSIGN_OR_RETURN(const AuditReport report, Report(admin, request));
  return report.ToFields();
}

const std::map<std::string, Route>& Reads() {
  static const auto* const routes = new std::map<std::string, Route>{
      {"status", [](Admin& admin, const Request&) { return StatusView(admin); }},
      {"replicas",
       [](Admin& admin, const Request& r) { return ReplicasView(admin, Get(r, "dataset"), Get(r, "site")); }},
      {"datasets", [](Admin& admin, const Request&) { return DatasetsView(admin); }},
      {"transfers", [](Admin& admin, const Request&) { return TransfersView(admin); }},
      {"events", [](Admin& admin, const Request&) { return EventsView(admin, 100); }},
      {"holds", [](Admin& admin, const Request& r) { return HoldsView(admin, Get(r, "dataset")); }},
      {"evictions",
       [](Admin& admin, const Request& r) { return EvictionsView(admin, Get(r, "dataset"), Get(r, "site")); }},
      {"redactions", [](Admin& admin, const Request& r) { return RedactionsView(admin, Get(r, "dataset")); }},
      {"whoami", [](Admin& admin, const Request&) { return WhoAmIView(admin); }},
      {"versions", Versions},
      {"why", Why},
      {"resources", Resources},
      {"policy/explain", Explain},
      {"policy/reach", Reach},
      {"policy/yaml", PolicyYaml},
      {"policy/history", [](Admin& admin, const Request&) { return PolicyHistoryView(admin, 0); }},
      {"audit/logs", [](Admin& admin, const Request&) { return AuditLogsView(admin); }},
      {"audit/list", AuditList},
      {"audit/prove", AuditProve},
      {"audit/report", AuditReportRoute},
  };
  return *routes;
}

const std::map<std::string, Route>& Changes() {
  static const auto* const routes = new std::map<std::string, Route>{{"rollback", Rollback}, {"policy/diff", Draft}};
  return *routes;
}

http::Response JsonResponse(int status, Fields fields) {
  http::Response response;
  response.status = status;
  response.headers.push_back({"Content-Type", "application/json"});
  response.body = FormatFields(Format::kJson, std::move(fields));
  return response;
}

// A printable page has styles of its own: it is saved, not shown here.
http::Response HtmlReport(Admin& admin, const Request& request) {
  auto report = Report(admin, request);
  if (!report.ok()) return ErrorResponse(report.status());
  http::Response response;
  response.headers = {{"Content-Type", "text/html; charset=utf-8"},
                      {"Content-Disposition", "attachment; filename=\"bailiwick-report.html\""}};
  response.body = report->ToHtml();
  return response;
}

}  // namespace

http::Response ErrorResponse(const absl::Status& status) {
  struct Kind {
    int http;
    const char* code;
  };
  static const auto* const kinds = new std::map<absl::StatusCode, Kind>{
      {absl::StatusCode::kInvalidArgument, {400, "invalid"}},
      {absl::StatusCode::kPermissionDenied, {403, "denied"}},
      {absl::StatusCode::kUnauthenticated, {403, "denied"}},
      {absl::StatusCode::kNotFound, {404, "not-found"}},
      {absl::StatusCode::kAborted, {409, "conflict"}},
      {absl::StatusCode::kAlreadyExists, {409, "conflict"}},
      {absl::StatusCode::kFailedPrecondition, {409, "conflict"}},
      {absl::StatusCode::kUnavailable, {503, "unavailable"}},
      {absl::StatusCode::kDeadlineExceeded, {504, "timed-out"}},
  };
  auto it = kinds->find(status.code());
  const Kind kind = it == kinds->end() ? Kind{500, "failed"} : it->second;
  return JsonResponse(
      kind.http, {{"error", Object({{"code", Text(kind.code)}, {"message", Text(std::string(status.message()))}})}});
}

http::Response Api::Answer(const std::string& route, const Request& request) {
  const bool change = request.method == "POST";
  if (!change && route == "live") {
    http::Response live;
    live.headers.push_back({"Content-Type", "text/event-stream"});
    live.stream = [this](http::BodyWriter& out) { StreamLive(*admin_, out); };
    return live;
  }
  if (!change && route == "audit/report" && !Get(request, "html").empty()) return HtmlReport(*admin_, request);
  const auto& routes = change ? Changes() : Reads();
  const auto it = routes.find(route);
  if (it == routes.end()) return ErrorResponse(absl::NotFoundError("this console has no such page"));
  try {
    auto fields = it->second(*admin_, request);
    return fields.ok() ? JsonResponse(200, *std::move(fields)) : ErrorResponse(fields.status());
  } catch (const std::exception& e) {  // a reader of JSON or YAML that met what nobody should have written
    return ErrorResponse(absl::InternalError(absl::StrCat("what was read cannot be shown: ", e.what())));
  }
}

}  // namespace bailiwick::cli
