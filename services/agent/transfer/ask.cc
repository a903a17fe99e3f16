#include "services/agent/transfer/ask.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "common/audit/detail.h"
#include "common/base/status.h"
#include "common/base/version.h"
#include "common/rpc/codec.h"
#include "services/agent/transfer/frame.h"

namespace bailiwick::agent {
namespace {

using transfer::v1::Frame;

constexpr size_t kMaxTransferId = 64;

bool IsTransferId(const std::string& id) {
  return !id.empty() && id.size() <= kMaxTransferId &&
         std::all_of(id.begin(), id.end(), [](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); });
}

absl::StatusOr<OfferedVersion> Offer(const TransferEnvironment& env, const transfer::v1::Ask& ask,
                                     FrameStream& stream) {
  if (ask.protocol_min() > kProtocolMax || ask.protocol_max() < kProtocolMin || !IsTransferId(ask.transfer_id())) {
    return absl::InvalidArgumentError("the question is malformed or of another protocol");
  }
  auto law = env.law->current();
  if (law == nullptr) return absl::PermissionDeniedError("no policy is installed here yet");
  BW_ASSIGN_OR_RETURN(rpc::Peer peer, stream.peer());
  BW_RETURN_IF_ERROR(env.gate->Check(peer));
  BW_RETURN_IF_ERROR(rpc::CheckBindings(rpc::BindingsOf(ask), peer.uri, peer.certificate_sha256, law->world));
  BW_ASSIGN_OR_RETURN(DatasetId dataset, DatasetId::From(ask.dataset_id()));
  return env.offer({dataset, ask.newest(), ask.transfer_id()}, peer.uri);
}

// A refusal is in the audit log before it is said.
absl::Status Record(const TransferEnvironment& env, const transfer::v1::Ask& ask, FrameStream& stream) {
  auto dataset = DatasetId::From(ask.dataset_id());
  auto peer = stream.peer();
  const std::string who = peer.ok() ? peer->uri : "";
  return env.refusals->Record("ask-refused", who, "NOT_DELEGATED", dataset.ok() ? dataset->Hex() : "unknown",
                              audit::Detail().Text("peer", who).Text("code", "NOT_DELEGATED"));
}

std::string CodeOf(const absl::Status& status) {
  if (absl::IsNotFound(status)) return "COMPLETE";
  if (absl::IsInvalidArgument(status)) return "BAD_REQUEST";
  return absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status) ? "NOT_DELEGATED" : "INTERNAL";
}

}  // namespace

absl::StatusOr<OfferedVersion> Ask(const TransferEnvironment& env, const Question& question, FrameStream& stream) {
  Frame frame;
  auto* ask = frame.mutable_ask();
  ask->set_protocol_min(kProtocolMin);
  ask->set_protocol_max(kProtocolMax);
  ask->set_dataset_id(question.dataset.str());
  ask->set_newest(question.newest);
  ask->set_transfer_id(question.transfer_id);
  rpc::SetBindings(env.proof()->bindings, ask);
  grpc::ByteBuffer buffer;
  const bool answered = stream.WriteNow(EncodeFrame(frame)) &&
                        stream.Read(&buffer, FrameStream::kAnswerPatience) == FrameStream::Got::kFrame;
  stream.Close();
  if (!answered) return absl::UnavailableError("the peer cannot be reached or does not answer");
  BW_ASSIGN_OR_RETURN(InFrame in, DecodeFrame(buffer));
  if (in.message.has_goodbye()) {
    if (in.message.goodbye().code() == "COMPLETE") return absl::NotFoundError("nothing newer");
    return absl::PermissionDeniedError(in.message.goodbye().message());
  }
  if (!in.message.has_offer()) return absl::InvalidArgumentError("the peer did not answer the question");
  return OfferedVersion{rpc::FromProto(in.message.offer().version_record()),
                        rpc::FromProto(in.message.offer().grant())};
}

void Answer(const TransferEnvironment& env, const transfer::v1::Ask& ask, FrameStream& stream) {
  Frame frame;
  auto offered = Offer(env, ask, stream);
  if (offered.ok()) {
    rpc::ToProto(offered->version_record, frame.mutable_offer()->mutable_version_record());
    rpc::ToProto(offered->grant, frame.mutable_offer()->mutable_grant());
  } else {
    if (CodeOf(offered.status()) == "NOT_DELEGATED") {
      if (absl::Status recorded = Record(env, ask, stream); !recorded.ok()) offered = recorded;
    }
    frame.mutable_goodbye()->set_code(CodeOf(offered.status()));
    frame.mutable_goodbye()->set_message(std::string(offered.status().message()));
  }
  stream.WriteNow(EncodeFrame(frame));
  stream.Close();
}

}  // namespace bailiwick::agent
