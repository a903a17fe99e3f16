#include "services/agent/transfer/transfer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "common/identity/spiffe.h"
#include "common/rpc/codec.h"
#include "common/telemetry/log.h"
#include "services/agent/transfer/flow_guard.h"
#include "services/agent/transfer/frame.h"
#include "services/agent/transfer/receive_machine.h"
#include "services/agent/transfer/source.h"

namespace bailiwick::agent {
namespace {

using telemetry::Level;
using transfer::v1::Frame;

constexpr absl::Duration kReportEvery = absl::Milliseconds(250);
// A peer that pushed a grant of a revision we do not have yet: the bundle is usually on its way.
constexpr absl::Duration kPolicyCatchUp = absl::Seconds(5);

struct End {  // why a flow ended
  std::string code = "COMPLETE";
  std::string message;
  std::string rule;
  bool complete() const { return code == "COMPLETE"; }
};

End Refused(const policy::GrantDecision& d) { return {d.code, d.message, d.rule}; }

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

End Broken(const absl::Status& status) { return {CodeOf(status), std::string(status.message()), ""}; }

// One flow while it runs.
class Flow {
 public:
  Flow(const TransferEnvironment& env, std::shared_ptr<FrameStream> stream, bool dialled, bool receive,
       std::shared_ptr<FlowControl> control)
      : env_(env),
        stream_(std::move(stream)),
        dialled_(dialled),
        receive_(receive),
        control_(std::move(control)),
        guard_(env.law, env.clock, env.self(), !receive, stream_.get()) {}

  End Dial(const FlowOrder& order);
  End Accept(const Frame& first);
  void Finish(const End& end);

 private:
  End Prepare(const crypto::Envelope& record, const crypto::Envelope& grant);
  End Authorize(const crypto::Envelope& grant);
  absl::StatusOr<store::VersionRecord> OpenRecord(const crypto::Envelope& record);
  End Keep(const crypto::Envelope& record, const crypto::Envelope& grant);
  End Run() { return receive_ ? Receive() : Send(); }
  End Send();
  End Receive();
  absl::Status FillWants(ReceiveMachine& machine);
  absl::Status LoadNodes(ReceiveMachine& machine);
  absl::StatusOr<std::vector<ReceiveMachine::Have>> Presence(const store::Node& node);
  End TakeData(const InFrame& in, ReceiveMachine& machine, store::DatasetStore::Writer& writer);
  End Window();
  End Withheld() const;
  bool ReadFrame(InFrame* in, End* end);
  void Report(TransferUpdate::State state, const End& end, bool force);
  absl::Status Audit(const std::string& kind, const End& end);

  const TransferEnvironment& env_;
  std::shared_ptr<FrameStream> stream_;
  const bool dialled_;
  const bool receive_;
  const std::shared_ptr<FlowControl> control_;
  FlowGuard guard_;
  store::VersionRecord record_;
  crypto::Envelope record_envelope_;
  Digest identity_;
  std::optional<TransferEnvironment::Kept> kept_;  // the receiver's
  DatasetHandle* dataset_ = nullptr;
  std::string transfer_id_;
  uint64_t done_bytes_ = 0;
  uint64_t wire_bytes_ = 0;
  absl::Duration last_report_ = -absl::InfiniteDuration();
  bool accepted_ = false;
};

std::string Detail(const policy::Grant& grant, const End& end, uint64_t wire_bytes) {
  return absl::StrCat("{\"grant\":\"", absl::BytesToHexString(grant.grant_id), "\",\"version\":\"", grant.version.Hex(),
                      "\",\"source\":\"", grant.source, "\",\"destination\":\"", grant.destination,
                      "\",\"purpose\":\"", absl::CEscape(grant.purpose), "\",\"policyRevision\":", grant.policy_revision, ",\"code\":\"", end.code, "\",\"rule\":\"",
                      absl::CEscape(end.rule), "\",\"wireBytes\":", wire_bytes, "}");
}

absl::Status Flow::Audit(const std::string& kind, const End& end) {
  return env_.audit
      ->Append(kind, absl::StrCat(record_.dataset, "/", transfer_id_), Detail(guard_.grant(), end, wire_bytes_))
      .status();
}

End Flow::Authorize(const crypto::Envelope& grant) {
  policy::GrantDecision decision = guard_.Offer(grant);
  const absl::Duration deadline = env_.clock->BootTime() + kPolicyCatchUp;
  while (!decision.permitted && decision.code == "POLICY_STALE" && env_.clock->BootTime() < deadline) {
    env_.clock->SleepFor(absl::Milliseconds(50));
    decision = guard_.Offer(grant);
  }
  if (!decision.permitted) return Refused(decision);
  absl::Status spent = env_.spend(guard_.grant());
  if (absl::IsAlreadyExists(spent)) return {"GRANT_REPLAYED", std::string(spent.message()), ""};
  return spent.ok() ? End{} : Broken(spent);
}

// Believed only if the home's pinned key signed it, by a law that may be on its way.
absl::StatusOr<store::VersionRecord> Flow::OpenRecord(const crypto::Envelope& record) {
  auto law = env_.law->current();
  auto opened = OpenVersionRecord(record, *law);
  const absl::Duration until = env_.clock->BootTime() + kPolicyCatchUp;
  while (absl::IsFailedPrecondition(opened.status()) && env_.clock->BootTime() < until) {
    env_.clock->SleepFor(absl::Milliseconds(100));
    law = env_.law->current();
    opened = OpenVersionRecord(record, *law);
  }
  return opened;
}

// The receiver's storage is made ready before it is asked about: only for a signed record and a signed grant.
End Flow::Keep(const crypto::Envelope& record, const crypto::Envelope& grant) {
  auto opened = OpenRecord(record);
  if (!opened.ok()) return {"GRANT_INVALID", std::string(opened.status().message()), ""};
  auto granted = rpc::OpenGrant(grant, env_.law->current()->world.grant_keys);
  if (!granted.ok()) return {"GRANT_INVALID", std::string(granted.status().message()), ""};
  kept_ = env_.keep(opened->dataset_id, opened->dataset, *granted);
  guard_.SetStorage(kept_->storage, kept_->problem);
  return End{};
}

// Who, what and whether, before any byte. The record is believed only if the home's pinned key signed it.
End Flow::Prepare(const crypto::Envelope& record, const crypto::Envelope& grant) {
  if (env_.law->current() == nullptr) return {"POLICY_DENIED", "no policy is installed here yet", ""};
  auto opened = OpenRecord(record);
  if (!opened.ok()) return {"GRANT_INVALID", std::string(opened.status().message()), ""};
  record_ = *opened;
  record_envelope_ = record;
  identity_ = store::VersionIdentity(record);
  guard_.SetVersion(record_, identity_);
  if (receive_ && !kept_.has_value()) {
    if (End kept = Keep(record, grant); !kept.complete()) return kept;
  }
  End end = Authorize(grant);
  if (!end.complete()) return end;
  transfer_id_ = guard_.grant().transfer_id;
  if (receive_) {
    auto dataset = env_.open_dataset(record_.dataset_id, record_.dataset);
    if (!dataset.ok()) return Broken(dataset.status());
    dataset_ = *dataset;
  } else {
    dataset_ = env_.find_dataset(record_.dataset_id);
    if (dataset_ == nullptr) return {"NOT_FOUND", "this site does not hold the dataset", ""};
    auto held = dataset_->catalog->Find(record_.dataset_id, record_.number);
    if (!held.ok()) return Broken(held.status());
    if (!held->has_value() || (*held)->identity != identity_) {
      return {"NOT_FOUND", absl::StrCat("this site does not hold version ", record_.number), ""};
    }
  }
  if (end = Withheld(); !end.complete()) return end;
  absl::Status audited = Audit("grant-accepted", End{});
  if (!audited.ok()) return Broken(audited);
  accepted_ = true;
  env_.began(*dataset_, receive_, control_);
  return Withheld();  // a fence that came before it was told of this flow
}

bool Flow::ReadFrame(InFrame* in, End* end) {
  grpc::ByteBuffer buffer;
  if (!stream_->Read(&buffer)) {
    std::string code, message;
    if (control_->cancelled(&code, &message)) {
      *end = {code, message, ""};
    } else {
      *end = {"BROKEN", "the connection to the peer broke", ""};
    }
    return false;
  }
  auto decoded = DecodeFrame(buffer);
  if (!decoded.ok()) {
    *end = Broken(decoded.status());
    return false;
  }
  *in = *std::move(decoded);
  if (in->message.has_goodbye()) {
    const auto& bye = in->message.goodbye();
    *end = {bye.code().empty() ? "INTERNAL" : bye.code(), bye.message(), bye.rule()};
    return false;
  }
  return true;
}

End Flow::Dial(const FlowOrder& order) {
  transfer_id_ = order.transfer_id;
  Frame frame;
  auto* hello = frame.mutable_hello();
  hello->set_protocol_min(kProtocolMin);
  hello->set_protocol_max(kProtocolMax);
  hello->set_role(receive_ ? transfer::v1::ROLE_RECEIVER : transfer::v1::ROLE_SOURCE);
  rpc::ToProto(order.grant, hello->mutable_grant());
  rpc::ToProto(order.version_record, hello->mutable_version_record());
  rpc::ToProto(env_.binding(), hello->mutable_certificate_binding());
  if (receive_) {
    if (env_.law->current() == nullptr) return {"POLICY_DENIED", "no policy is installed here yet", ""};
    if (End kept = Keep(order.version_record, order.grant); !kept.complete()) return kept;
    rpc::ToProto(kept_->statement, hello->mutable_storage_statement());
  }
  if (!stream_->Write(EncodeFrame(frame))) return {"BROKEN", "cannot reach the peer", ""};
  InFrame in;
  End end;
  if (!ReadFrame(&in, &end)) {
    if (end.code == "BROKEN") end.message = "the peer cannot be reached or ended the connection";
    return end;
  }
  if (!in.message.has_hello_reply()) return {"BAD_REQUEST", "the peer did not answer the hello", ""};
  if (in.message.hello_reply().protocol() < kProtocolMin || in.message.hello_reply().protocol() > kProtocolMax) {
    return {"BAD_REQUEST", "the peer speaks another protocol version", ""};
  }
  guard_.SetBinding(rpc::FromProto(in.message.hello_reply().certificate_binding()));
  guard_.SetStatement(rpc::FromProto(in.message.hello_reply().storage_statement()));
  end = Prepare(order.version_record, order.grant);
  return end.complete() ? Run() : end;
}

End Flow::Accept(const Frame& first) {
  const auto& hello = first.hello();
  if (hello.protocol_min() > kProtocolMax || hello.protocol_max() < kProtocolMin) {
    return {"BAD_REQUEST", absl::StrCat("this agent speaks transfer protocol ", kProtocolMin, " to ", kProtocolMax),
            ""};
  }
  guard_.SetBinding(rpc::FromProto(hello.certificate_binding()));
  guard_.SetStatement(rpc::FromProto(hello.storage_statement()));
  End end = Prepare(rpc::FromProto(hello.version_record()), rpc::FromProto(hello.grant()));
  if (!end.complete()) return end;
  Frame reply;
  reply.mutable_hello_reply()->set_protocol(std::min(hello.protocol_max(), kProtocolMax));
  rpc::ToProto(env_.binding(), reply.mutable_hello_reply()->mutable_certificate_binding());
  if (receive_) rpc::ToProto(kept_->statement, reply.mutable_hello_reply()->mutable_storage_statement());
  if (!stream_->Write(EncodeFrame(reply))) return {"BROKEN", "the connection to the peer broke", ""};
  return Run();
}

// The copy here may be out of use although the flow itself is permitted.
End Flow::Withheld() const {
  End end;
  if (env_.withheld(record_.dataset_id, record_.number, &end.message, &end.rule)) end.code = "POLICY_DENIED";
  return end;
}

// Every window: is it still allowed, by everything that was checked before the first byte? Fresh grants are passed on.
End Flow::Window() {
  std::string code, message;
  if (control_->cancelled(&code, &message)) return {code, message, ""};
  crypto::Envelope grant;
  if (dialled_ && control_->TakeRenewal(&grant)) {
    End end = Authorize(grant);
    if (!end.complete()) return end;
    Frame frame;
    rpc::ToProto(grant, frame.mutable_grant_update()->mutable_grant());
    if (!stream_->WriteNow(EncodeFrame(frame))) return {"BROKEN", "the connection to the peer broke", ""};
  }
  if (End fenced = Withheld(); !fenced.complete()) return fenced;
  policy::GrantDecision decision = guard_.Check();
  return decision.permitted ? End{} : Refused(decision);
}

End Flow::Send() {
  WantServer server(dataset_, record_.manifest_root);
  while (true) {
    InFrame in;
    End end;
    if (!ReadFrame(&in, &end)) return end;
    if (in.message.has_grant_update() && !dialled_) {
      end = Authorize(rpc::FromProto(in.message.grant_update().grant()));
      if (!end.complete()) return end;
      continue;
    }
    if (!in.message.has_want()) return {"BAD_REQUEST", "a receiver sends wants", ""};
    End window;
    absl::Status served = server.Serve(in.message.want(), [&](DataFrame& frame, bool last) -> absl::Status {
      window = Window();
      if (!window.complete()) return absl::CancelledError("window");
      const uint64_t bytes = frame.payload_bytes();
      if (!stream_->Write(frame.Encode(last))) {
        window = {"BROKEN", "the connection to the peer broke", ""};
        return absl::CancelledError("broken");
      }
      wire_bytes_ += bytes;
      return absl::OkStatus();
    });
    if (!window.complete()) return window;
    if (!served.ok()) return Broken(served);
    if (dialled_) Report(TransferUpdate::State::kRunning, End{}, false);
  }
}

absl::StatusOr<std::vector<ReceiveMachine::Have>> Flow::Presence(const store::Node& node) {
  std::vector<store::NodeChild> children = node.Children();
  std::vector<Digest> digests;
  digests.reserve(children.size());
  for (const auto& child : children) digests.push_back(child.digest);
  BW_ASSIGN_OR_RETURN(std::vector<bool> here, dataset_->store->HasMany(digests));
  std::vector<ReceiveMachine::Have> have(children.size(), ReceiveMachine::Have::kMissing);
  for (size_t i = 0; i < children.size(); ++i) {
    if (!here[i]) continue;
    have[i] = ReceiveMachine::Have::kHere;
    if (!children[i].is_node) continue;
    BW_ASSIGN_OR_RETURN(bool complete, dataset_->catalog->IsComplete(dataset_->id, children[i].digest));
    if (complete) have[i] = ReceiveMachine::Have::kComplete;
  }
  return have;
}

absl::Status Flow::LoadNodes(ReceiveMachine& machine) {
  while (auto ref = machine.NextLoad()) {
    BW_ASSIGN_OR_RETURN(std::shared_ptr<const store::Node> node, dataset_->nodes->Load(ref->digest));
    BW_ASSIGN_OR_RETURN(std::vector<ReceiveMachine::Have> have, Presence(*node));
    BW_RETURN_IF_ERROR(machine.Loaded(*ref, *node, have));
  }
  return absl::OkStatus();
}

absl::Status Flow::FillWants(ReceiveMachine& machine) {
  while (auto want = machine.NextWant()) {
    Frame frame;
    auto* message = frame.mutable_want();
    message->set_want_id(want->id);
    message->set_fetch_root(want->fetch_root);
    for (uint32_t index : want->path) message->add_node_path(index);
    if (!want->fetch_root) {
      for (const auto& piece : want->pieces) {
        const int n = message->spans_size();
        if (n > 0 && message->spans(n - 1).first() + message->spans(n - 1).count() == piece.child) {
          message->mutable_spans(n - 1)->set_count(message->spans(n - 1).count() + 1);
        } else {
          auto* span = message->add_spans();
          span->set_first(piece.child);
          span->set_count(1);
        }
      }
    }
    if (!stream_->WriteNow(EncodeFrame(frame))) return absl::UnavailableError("the connection to the peer broke");
  }
  return absl::OkStatus();
}

End Flow::TakeData(const InFrame& in, ReceiveMachine& machine, store::DatasetStore::Writer& writer) {
  const auto& data = in.message.data();
  std::string_view payload = in.data_payload();
  for (const auto& piece : data.pieces()) {
    auto expected = machine.Next(data.want_id());
    if (!expected.ok()) return Broken(expected.status());
    if (piece.absent()) {
      return {"CORRUPT", absl::StrCat("the source no longer has chunk ", expected->digest.ShortHex()), ""};
    }
    if (expected->is_node ? piece.raw_length() > store::kMaxNodeBytes : piece.raw_length() != expected->length) {
      return {"CORRUPT",
              absl::StrCat("chunk ", expected->digest.ShortHex(), " has another length than its manifest says"), ""};
    }
    if (piece.codec() > 1) return {"CORRUPT", absl::StrCat("unknown codec ", piece.codec()), ""};
    store::StoredChunk chunk{.codec = static_cast<store::Codec>(piece.codec()),
                             .raw_length = piece.raw_length(),
                             .bytes = std::string(payload.substr(0, piece.stored_length()))};
    payload.remove_prefix(piece.stored_length());
    auto raw = store::DecodeChunk(chunk, expected->digest);
    if (!raw.ok()) return {"CORRUPT", std::string(raw.status().message()), ""};
    auto put = writer.Put(expected->digest, chunk);
    if (!put.ok()) return Broken(put.status());
    machine.Stored(data.want_id());
  }
  wire_bytes_ += in.data_payload().size();
  return End{};
}

End Flow::Receive() {
  auto held = dataset_->catalog->Find(record_.dataset_id, record_.number);
  if (!held.ok()) return Broken(held.status());
  if (held->has_value()) {
    if ((*held)->identity == identity_) return End{};
    return {"CORRUPT", absl::StrCat("version ", record_.number, " is here already with another identity; refused"), ""};
  }
  std::unique_ptr<store::DatasetStore::Writer> writer = dataset_->store->NewWriter();
  ReceiveMachine machine(record_.manifest_root);
  auto root_here = dataset_->store->Has(record_.manifest_root);
  if (!root_here.ok()) return Broken(root_here.status());
  auto root_complete = dataset_->catalog->IsComplete(dataset_->id, record_.manifest_root);
  if (!root_complete.ok()) return Broken(root_complete.status());
  machine.Begin(*root_here ? (*root_complete ? ReceiveMachine::Have::kComplete : ReceiveMachine::Have::kHere)
                           : ReceiveMachine::Have::kMissing);
  End end;
  while (end.complete() && !machine.finished()) {
    if (absl::Status loaded = LoadNodes(machine); !loaded.ok()) {
      end = absl::IsInvalidArgument(loaded) ? End{"CORRUPT", std::string(loaded.message()), ""} : Broken(loaded);
      break;
    }
    if (absl::Status filled = FillWants(machine); !filled.ok()) {
      end = {"BROKEN", std::string(filled.message()), ""};
      break;
    }
    done_bytes_ = machine.done_bytes();
    Report(TransferUpdate::State::kRunning, End{}, false);
    if (machine.finished()) break;
    if (machine.idle()) continue;
    InFrame in;
    if (!ReadFrame(&in, &end)) break;
    if (in.message.has_grant_update() && !dialled_) {
      end = Authorize(rpc::FromProto(in.message.grant_update().grant()));
    } else if (in.message.has_data()) {
      end = Window();
      if (end.complete()) end = TakeData(in, machine, *writer);
    } else {
      end = {"BAD_REQUEST", "a source sends data", ""};
    }
  }
  done_bytes_ = machine.done_bytes();
  // What arrived is kept whatever happened: the next attempt does not ask for it again.
  absl::Status flushed = writer->Flush();
  if (!end.complete()) {
    if (machine.finished()) end.message = absl::StrCat(end.message.empty() ? "ended early" : end.message);
    return end;
  }
  if (!flushed.ok()) return Broken(flushed);
  end = Window();  // the version becomes visible only with a permit at the current revision
  if (!end.complete()) return end;
  if (absl::Status audited = Audit("version-received", End{}); !audited.ok()) return Broken(audited);
  if (absl::Status added = dataset_->catalog->Add(record_envelope_, dataset_->nodes.get()); !added.ok())
    return Broken(added);
  Report(TransferUpdate::State::kRunning, End{}, true);  // its byte counts, before the news that ends it
  env_.received(*dataset_);
  return End{};
}

void Flow::Report(TransferUpdate::State state, const End& end, bool force) {
  if (transfer_id_.empty()) return;
  const absl::Duration now = env_.clock->BootTime();
  if (!force && now - last_report_ < kReportEvery) return;
  last_report_ = now;
  env_.report({.transfer_id = transfer_id_,
               .state = state,
               .done_bytes = done_bytes_,
               .total_bytes = record_.logical_bytes,
               .wire_bytes = wire_bytes_,
               .code = end.code,
               .message = end.message,
               .rule = end.rule});
}

void Flow::Finish(const End& end) {
  // The source learns of success by the receiver's COMPLETE; whoever ends it for another reason says so.
  Frame frame;
  frame.mutable_goodbye()->set_code(end.code);
  frame.mutable_goodbye()->set_message(end.message);
  frame.mutable_goodbye()->set_rule(end.rule);
  stream_->WriteNow(EncodeFrame(frame));
  stream_->Close();
  if (accepted_ || !end.complete()) {
    absl::Status audited =
        Audit(end.complete() ? "transfer-ended" : (accepted_ ? "transfer-broken" : "transfer-refused"), end);
    if (!audited.ok()) telemetry::Log(Level::kError, "audit-failed", {{"error", audited}});
  }
  telemetry::Log(end.complete() ? Level::kInfo : Level::kWarning, end.complete() ? "transfer-done" : "transfer-ended",
                 {{"transfer", transfer_id_},
                  {"dataset", record_.dataset},
                  {"version", record_.number},
                  {"role", receive_ ? "receiver" : "source"},
                  {"wire_bytes", wire_bytes_},
                  {"code", end.code},
                  {"reason", end.message}});
  if (accepted_) {
    auto peer = identity::ParseSpiffeId(receive_ ? guard_.grant().source : guard_.grant().destination);
    env_.ended(*dataset_, receive_, control_, {.peer_site = peer.ok() ? peer->site : "", .purpose = guard_.grant().purpose, .code = end.code});
  }
  if (receive_ || dialled_) {
    Report(end.complete() ? TransferUpdate::State::kDone : TransferUpdate::State::kFailed, end, true);
  }
}

}  // namespace

void FlowControl::Renew(const crypto::Envelope& grant) {
  absl::MutexLock lock(&mutex_);
  grant_ = grant;
  fresh_ = true;
}

void FlowControl::Cancel(const std::string& code, const std::string& message) {
  std::shared_ptr<FrameStream> stream;
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_) return;
    cancelled_ = true;
    code_ = code;
    message_ = message;
    stream = stream_.lock();
  }
  if (stream != nullptr) stream->Abort();
}

bool FlowControl::TakeRenewal(crypto::Envelope* out) {
  absl::MutexLock lock(&mutex_);
  if (!fresh_) return false;
  fresh_ = false;
  *out = grant_;
  return true;
}

bool FlowControl::cancelled(std::string* code, std::string* message) const {
  absl::MutexLock lock(&mutex_);
  if (!cancelled_) return false;
  *code = code_;
  *message = message_;
  return true;
}

void FlowControl::Attach(std::weak_ptr<FrameStream> stream) {
  std::shared_ptr<FrameStream> abort;
  {
    absl::MutexLock lock(&mutex_);
    stream_ = std::move(stream);
    if (cancelled_) abort = stream_.lock();
  }
  if (abort != nullptr) abort->Abort();
}

void RunDialledFlow(const TransferEnvironment& env, const FlowOrder& order, std::shared_ptr<FrameStream> stream,
                    std::shared_ptr<FlowControl> control) {
  control->Attach(stream);
  Flow flow(env, stream, /*dialled=*/true, order.receive, std::move(control));
  flow.Finish(flow.Dial(order));
}

void RunAcceptedFlow(const TransferEnvironment& env, std::shared_ptr<FrameStream> stream) {
  grpc::ByteBuffer buffer;
  if (!stream->Read(&buffer)) return;
  auto first = DecodeFrame(buffer);
  if (!first.ok() || !first->message.has_hello() ||
      (first->message.hello().role() != transfer::v1::ROLE_SOURCE &&
       first->message.hello().role() != transfer::v1::ROLE_RECEIVER)) {
    Frame frame;
    frame.mutable_goodbye()->set_code("BAD_REQUEST");
    frame.mutable_goodbye()->set_message("a stream begins with a hello that names a role");
    stream->WriteNow(EncodeFrame(frame));
    stream->Close();
    return;
  }
  const bool peer_sends = first->message.hello().role() == transfer::v1::ROLE_SOURCE;
  auto control = std::make_shared<FlowControl>();
  control->Attach(stream);
  Flow flow(env, stream, /*dialled=*/false, /*receive=*/peer_sends, std::move(control));
  flow.Finish(flow.Accept(first->message));
}

}  // namespace bailiwick::agent
