#include "services/agent/transfer/flow.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/audit/detail.h"
#include "common/identity/spiffe.h"
#include "common/rpc/audit.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/agent/transfer/flow_metrics.h"
#include "services/agent/transfer/source.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using transfer::v1::Frame;

constexpr absl::Duration kReportEvery = absl::Milliseconds(250);
constexpr absl::Duration kReportSeldom = absl::Milliseconds(750);  // by a source that did not dial: only what limits it
// Read before their turn, beside what is in the stream's own queue: wants, which are small. No receiver has more open.
constexpr size_t kMaxAheadBytes = 4u << 20;
constexpr size_t kMaxAhead = ReceiveMachine::kMaxOpenWants;

std::string CodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      return "DISK_FULL";
    case absl::StatusCode::kDataLoss:
      return "CORRUPT";
    case absl::StatusCode::kInvalidArgument:
      return "BAD_REQUEST";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kPermissionDenied:
      return "GRANT_INVALID";
    case absl::StatusCode::kCancelled:
      return "SHUTDOWN";
    default:
      return "INTERNAL";
  }
}

// What the data is by the law, as JSON.
std::string LabelsOf(const policy::Grant& grant, const Law& law) {
  auto current = law.current();
  if (current == nullptr) return "{}";
  auto known = current->Classify(grant.dataset_id, grant.dataset);
  if (!known.ok()) return "{}";
  audit::Detail labels;
  for (const auto& [name, value] : known->labels) labels.Text(name, value);
  return labels;
}

// Enough to answer later who got what, on what ground, and how much of it. Of a flow that the source granted itself
// also how old the law was here.
std::string Detail(const policy::Grant& grant, const policy::GrantDecision& permit, const store::VersionRecord& record,
                   const End& end, bool receive, uint64_t wire_bytes, const Law& law) {
  audit::Detail detail = rpc::GrantDetail(grant);
  detail.Text("code", end.code)
      .Text("rule", end.complete() ? permit.rule : end.rule)
      .Text("basis", permit.basis)
      .Text("role", receive ? "receiver" : "source")
      .Number("number", record.number)
      .Json("labels", LabelsOf(grant, law))
      .Text("sourceRegion", grant.source_region)
      .Text("destinationRegion", grant.destination_region)
      .Number("logicalBytes", record.logical_bytes)
      .Number("wireBytes", wire_bytes);
  if (grant.self_granted) {
    detail.Flag("selfGranted", true)
        .Number("policyAgeSeconds", absl::ToInt64Seconds(law.clock().Now() - law.called_current()));
  }
  return detail;
}

// A rule as the peer names it is a label only if our law has it too.
std::string KnownRule(const Law& law, const std::string& rule) {
  auto current = law.current();
  if (current == nullptr) return "";
  for (const policy::Rule& known : current->world.rules) {
    if (known.name() == rule) return rule;
  }
  return "";
}

// Why the peer ends the flow, in its words: they go into records, reports and logs, so they are no longer than such
// words are, and a code or a rule looks like one.
End SaidByPeer(const transfer::v1::Goodbye& bye) {
  constexpr size_t kMaxMessage = 1000;
  constexpr size_t kMaxRule = 300;
  End end{IsCode(bye.code()) ? bye.code() : "OTHER", bye.message(), bye.rule()};
  if (end.message.size() > kMaxMessage) {
    size_t kept = kMaxMessage;
    while ((static_cast<unsigned char>(end.message[kept]) & 0xC0) == 0x80) --kept;  // no half character
    end.message.resize(kept);
  }
  auto of_a_name = [](char c) {
    return absl::ascii_isalnum(c) || std::string_view("-._/").find(c) != std::string_view::npos;
  };
  if (end.rule.size() > kMaxRule || !std::all_of(end.rule.begin(), end.rule.end(), of_a_name)) end.rule.clear();
  return end;
}

}  // namespace

End Refused(const policy::GrantDecision& d) { return {d.code, d.message, d.rule}; }

End Broken(const absl::Status& status) { return {CodeOf(status), std::string(status.message()), ""}; }

absl::Status Flow::Audit(const std::string& kind, const End& end) {
  return env_.audit
      ->Append(kind, absl::StrCat(record_.dataset, "/", transfer_id_),
               Detail(guard_.grant(), permit_, record_, end, receive_, wire_bytes_, *env_.law))
      .status();
}

// Whoever knocks again and again with the same is counted.
absl::Status Flow::AuditRefusal(const End& end) {
  auto peer = stream_->peer();
  return env_.refusals->Record("transfer-refused", peer.ok() ? peer->uri : PeerSite(),
                               absl::StrCat(end.code, " ", end.rule), absl::StrCat(record_.dataset, "/", transfer_id_),
                               Detail(guard_.grant(), permit_, record_, end, receive_, wire_bytes_, *env_.law));
}

// A peer that says nothing is not what a flow goes on for: whether it may is asked all the same, and the grants that
// come meanwhile are passed on.
FrameStream::Got Flow::Await(grpc::ByteBuffer* buffer, End* end) {
  if (!accepted_) return stream_->Read(buffer, FrameStream::kAnswerPatience);
  while (true) {
    const FrameStream::Got got = stream_->Read(buffer, kWindowEvery);
    if (got != FrameStream::Got::kNothing) return got;
    if (*end = Window(); !end->complete()) return got;
  }
}

bool Flow::ReadFrame(InFrame* in, End* end) {
  grpc::ByteBuffer buffer;
  if (!ahead_.empty()) {
    *in = std::move(ahead_.front());
    ahead_.pop_front();
    if (ahead_.empty()) ahead_bytes_ = 0;
  } else if (Await(&buffer, end) != FrameStream::Got::kFrame) {
    std::string code, message;
    if (control_->cancelled(&code, &message)) {
      *end = {code, message, ""};
    } else if (end->complete()) {
      *end = {"BROKEN", "the connection to the peer broke", ""};
    }
    return false;
  } else {
    auto decoded = DecodeFrame(buffer);
    if (!decoded.ok()) {
      *end = Broken(decoded.status());
      return false;
    }
    *in = *std::move(decoded);
  }
  if (in->message.has_goodbye()) {
    *end = SaidByPeer(in->message.goodbye());
    // Only a receiver knows when everything is there.
    if (receive_ && end->complete()) *end = {"BAD_REQUEST", "the source ended before everything was here", ""};
    return false;
  }
  return true;
}

End Flow::TakeUpdate(const Frame& frame, bool* taken) {
  *taken = true;
  if (frame.has_identity_update()) return TakeIdentity(frame.identity_update());
  if (frame.has_grant_update() && !dialled_) return GoOn(rpc::FromProto(frame.grant_update().grant()));
  *taken = false;
  return End{};
}

End Flow::ReadAhead() {
  grpc::ByteBuffer buffer;
  while (ahead_.size() < kMaxAhead && ahead_bytes_ < kMaxAheadBytes &&
         stream_->Read(&buffer, absl::ZeroDuration()) == FrameStream::Got::kFrame) {
    ahead_bytes_ += buffer.Length();
    auto decoded = DecodeFrame(buffer);
    if (!decoded.ok()) return Broken(decoded.status());
    bool taken = false;
    if (End end = TakeUpdate(decoded->message, &taken); !end.complete()) return end;
    if (taken) continue;
    if (absl::Status sound = WantServer::Check(decoded->message.want()); !sound.ok()) return Broken(sound);
    ahead_.push_back(*std::move(decoded));
  }
  return End{};
}

// A record for each grant that is accepted, not for each window.
End Flow::GoOn(const crypto::Envelope& grant) {
  if (End end = Authorize(grant); !end.complete()) return end;
  absl::Status audited = Audit("grant-renewed", End{});
  return audited.ok() ? End{} : Broken(audited);
}

// The copy here may be out of use although the flow itself is permitted.
End Flow::Withheld() const {
  End end;
  if (env_.withheld(record_.dataset_id, record_.number, &end.message, &end.rule)) end.code = "POLICY_DENIED";
  return end;
}

std::string Flow::PeerSite() const {
  auto peer = identity::ParseSpiffeId(receive_ ? guard_.grant().source : guard_.grant().destination);
  return peer.ok() ? peer->site : "";
}

// Every window: is it still allowed, by everything that was checked before the first byte? Fresh grants are passed on.
End Flow::Window() {
  last_window_ = env_.clock->BootTime();
  std::string code, message;
  if (control_->cancelled(&code, &message)) return {code, message, ""};
  crypto::Envelope grant;
  if (dialled_ && control_->TakeRenewal(&grant)) {
    End end = GoOn(grant);
    if (!end.complete()) return end;
    Frame frame;
    rpc::ToProto(grant, frame.mutable_grant_update()->mutable_grant());
    if (!stream_->WriteNow(EncodeFrame(frame))) return {"BROKEN", "the connection to the peer broke", ""};
  }
  if (!SayIdentity()) return {"BROKEN", "the connection to the peer broke", ""};
  if (End fenced = Withheld(); !fenced.complete()) return fenced;
  policy::GrantDecision decision;
  // A new law is here before the word that it is the current one: nothing flows until that came, and then it goes on.
  AwaitLaw([&] {
    decision = guard_.Check();
    return decision.permitted || decision.code != "POLICY_STALE";
  });
  if (control_->cancelled(&code, &message)) return {code, message, ""};
  return decision.permitted ? End{} : Refused(decision);
}

void Flow::AwaitLaw(const std::function<bool()>& decided) {
  const absl::Duration deadline = env_.clock->BootTime() + kPolicyCatchUp;
  std::string code, message;
  while (!decided() && env_.clock->BootTime() < deadline && !control_->cancelled(&code, &message)) {
    env_.clock->SleepFor(absl::Milliseconds(50));
  }
}

End Flow::WindowNowAndThen() {
  if (env_.clock->BootTime() - last_window_ < kWindowEvery) return End{};
  End end = dialled_ ? End{} : ReadAhead();  // by which grants come
  return end.complete() ? Window() : end;
}

bool Flow::SayIdentity() {
  if (!peer_takes_identity_) return true;
  std::shared_ptr<const IdentityProof> proof = env_.proof();
  if (proof->generation == said_identity_) return true;
  said_identity_ = proof->generation;
  Frame frame;
  frame.mutable_identity_update()->set_certificate_chain_pem(proof->chain_pem);
  rpc::ToProto(proof->bindings.front(), frame.mutable_identity_update()->mutable_certificate_binding());
  return stream_->WriteNow(EncodeFrame(frame));
}

End Flow::TakeIdentity(const transfer::v1::IdentityUpdate& update) {
  policy::GrantDecision decision =
      guard_.OfferIdentity(update.certificate_chain_pem(), rpc::FromProto(update.certificate_binding()), env_.roots());
  return decision.permitted ? End{} : Refused(decision);
}

std::string Flow::Limit() {
  if (!paced_by_.empty() && env_.clock->BootTime() - paced_at_ < absl::Seconds(1)) return paced_by_;
  return hindrance_.Most();
}

void Flow::Report(TransferUpdate::State state, const End& end, bool force) {
  if (transfer_id_.empty()) return;
  const absl::Duration now = env_.clock->BootTime();
  if (!force && now - last_report_ < (receive_ || dialled_ ? kReportEvery : kReportSeldom)) return;
  last_report_ = now;
  env_.report({.transfer_id = transfer_id_,
               .state = state,
               .done_bytes = done_bytes_,
               .total_bytes = record_.logical_bytes,
               .wire_bytes = wire_bytes_,
               .limit = state == TransferUpdate::State::kRunning ? Limit() : "",
               .code = end.code,
               .message = end.message,
               .rule = end.rule});
}

void Flow::Record(const End& end) {
  absl::Status audited = end.complete() || accepted_ ? Audit(end.complete() ? "transfer-ended" : "transfer-broken", end)
                                                     : AuditRefusal(end);
  if (!audited.ok()) telemetry::Log(Level::kError, "audit-failed", {{"error", audited}});
}

void Flow::Finish(const End& end) {
  place_.Leave();  // closing may take a while, and others wait for their turn
  if (!accepted_) CountDecision(receive_, end.code, KnownRule(*env_.law, end.rule));
  if (!end.complete()) Record(end);  // before the peer hears of it
  // The source learns of success by the receiver's COMPLETE; whoever ends it for another reason says so.
  Frame frame;
  frame.mutable_goodbye()->set_code(end.code);
  frame.mutable_goodbye()->set_message(end.message);
  frame.mutable_goodbye()->set_rule(end.rule);
  stream_->WriteNow(EncodeFrame(frame));
  stream_->Close();
  if (end.complete() && accepted_) Record(end);
  telemetry::Log(end.complete() ? Level::kInfo : Level::kWarning, end.complete() ? "transfer-done" : "transfer-ended",
                 {{"transfer", transfer_id_},
                  {"dataset", record_.dataset},
                  {"version", record_.number},
                  {"role", receive_ ? "receiver" : "source"},
                  {"wire_bytes", wire_bytes_},
                  {"code", end.code},
                  {"reason", end.message}});
  if (accepted_) {
    env_.ended(*dataset_, receive_, control_,
               {.peer_site = PeerSite(),
                .purpose = guard_.grant().purpose,
                .code = end.code,
                .too_far = !end.complete() && guard_.HopsUnmet()});
  }
  if (receive_ || dialled_) {
    Report(end.complete() ? TransferUpdate::State::kDone : TransferUpdate::State::kFailed, end, true);
  }
}

}  // namespace bailiwick::agent
