#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/version.h"
#include "common/rpc/codec.h"
#include "services/agent/transfer/flow.h"
#include "services/agent/transfer/flow_metrics.h"

namespace bailiwick::agent {
namespace {

using transfer::v1::Frame;

template <typename Envelopes>
rpc::Chain ChainFrom(const Envelopes& envelopes) {
  rpc::Chain chain;
  for (const auto& envelope : envelopes) {
    chain.push_back(rpc::FromProto(envelope));
    if (chain.size() > rpc::kMaxChain) break;  // refused for its length
  }
  return chain;
}

}  // namespace

template <typename Message>
void Flow::Introduce(Message* message) {
  std::shared_ptr<const IdentityProof> proof = env_.proof();
  rpc::SetBindings(proof->bindings, message);
  message->set_takes_identity_updates(true);
  said_identity_ = proof->generation;
}

End Flow::Authorize(const crypto::Envelope& grant) {
  policy::GrantDecision decision;
  AwaitLaw([&] {
    decision = guard_.Offer(grant);
    return decision.code != "POLICY_STALE";
  });
  if (!decision.permitted) return Refused(decision);
  absl::Status spent = env_.spend(guard_.grant());
  if (absl::IsAlreadyExists(spent)) return {"GRANT_REPLAYED", std::string(spent.message()), ""};
  if (spent.ok()) permit_ = std::move(decision);
  return spent.ok() ? End{} : Broken(spent);
}

// Believed only if the home's pinned key signed it, by a law that may be on its way.
absl::StatusOr<store::VersionRecord> Flow::OpenRecord(const crypto::Envelope& record) {
  absl::StatusOr<store::VersionRecord> opened = absl::InternalError("not opened");
  AwaitLaw([&] {
    opened = OpenVersionRecord(record, *env_.law->current());
    return !absl::IsFailedPrecondition(opened.status());
  });
  return opened;
}

// The receiver's storage is made ready before it is asked about: only for a signed record and a signed grant.
End Flow::Keep(const crypto::Envelope& record, const crypto::Envelope& grant) {
  auto opened = OpenRecord(record);
  if (!opened.ok()) return {"GRANT_INVALID", std::string(opened.status().message()), ""};
  auto granted = rpc::OpenGrant(grant, env_.law->current()->world);
  if (!granted.ok()) return {"GRANT_INVALID", std::string(granted.status().message()), ""};
  if (granted->self_granted && !env_.follows(opened->dataset_id)) {
    return {"NOT_DELEGATED", absl::StrCat("this site was never told to keep a copy of ", opened->dataset), ""};
  }
  kept_ = env_.keep(opened->dataset_id, opened->dataset, *granted);
  guard_.SetStorage(kept_->storage, kept_->problem);
  return End{};
}

// What it is about. The record is believed only if the home's pinned key signed it.
End Flow::Identify(const crypto::Envelope& record) {
  if (env_.law->current() == nullptr) return {"POLICY_DENIED", "no policy is installed here yet", ""};
  auto opened = OpenRecord(record);
  if (!opened.ok()) return {"GRANT_INVALID", std::string(opened.status().message()), ""};
  record_ = *opened;
  record_envelope_ = record;
  identity_ = store::VersionIdentity(record);
  guard_.SetVersion(record_, identity_);
  if (receive_) return End{};
  DatasetHandle* dataset = env_.find_dataset(record_.dataset_id);
  if (dataset == nullptr) return End{};
  auto chain = dataset->catalog->Provenance(record_.dataset_id, record_.number);
  if (!chain.ok()) return Broken(chain.status());
  guard_.SetProvenance(*std::move(chain));
  return End{};
}

// A source that dials says by which way the version comes before it knows the answer: only of a flow that it would
// make.
End Flow::SayProvenance(const crypto::Envelope& grant, transfer::v1::Hello* hello) {
  policy::Grant opened;
  policy::GrantDecision decision;
  AwaitLaw([&] {
    decision = guard_.Foresee(grant, &opened);
    return decision.code != "POLICY_STALE";
  });
  if (!decision.permitted) return Refused(decision);
  for (const crypto::Envelope& hop : Trail(opened)) rpc::ToProto(hop, hello->add_provenance());
  return End{};
}

// The hops by which the version came here and the one of this flow; none when that is not known.
rpc::Chain Flow::Trail(const policy::Grant& grant) {
  std::optional<rpc::Chain> chain = guard_.chain();
  auto law = env_.law->current();
  if (!chain.has_value() || chain->size() >= rpc::kMaxChain || law == nullptr) return {};
  chain->push_back(env_.sign_hop(rpc::NextHop(*chain, grant, law->world, env_.law->clock().Now())));
  return *std::move(chain);
}

// Who and whether, before any byte.
End Flow::Prepare(const crypto::Envelope& record, const crypto::Envelope& grant) {
  if (identity_.empty()) {
    if (End identified = Identify(record); !identified.complete()) return identified;
  }
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
    if (dataset_->dropped->BaseOf(record_.number) == record_.number) {
      return {"NOT_FOUND", dataset_->dropped->Why(record_.dataset, record_.number), ""};
    }
  }
  if (end = Withheld(); !end.complete()) return end;
  absl::Status audited = Audit("grant-accepted", End{});
  if (!audited.ok()) return Broken(audited);
  accepted_ = true;
  CountDecision(receive_, "PERMITTED", permit_.rule);
  env_.began(*dataset_, record_.number, receive_, transfer_id_, PeerSite(), control_);
  return Withheld();  // a fence that came before it was told of this flow
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
  Introduce(hello);
  if (receive_) {
    if (env_.law->current() == nullptr) return {"POLICY_DENIED", "no policy is installed here yet", ""};
    if (End kept = Keep(order.version_record, order.grant); !kept.complete()) return kept;
    rpc::ToProto(kept_->statement, hello->mutable_storage_statement());
  } else {
    if (End identified = Identify(order.version_record); !identified.complete()) return identified;
    if (End said = SayProvenance(order.grant, hello); !said.complete()) return said;
  }
  if (!stream_->WriteNow(EncodeFrame(frame))) return {"BROKEN", "cannot reach the peer", ""};
  InFrame in;
  End end;
  if (!ReadFrame(&in, &end)) {
    if (end.code == "BROKEN") end.message = "the peer cannot be reached or ended the connection";
    if (end.complete()) end = {"BAD_REQUEST", "the peer did not answer the hello", ""};
    return end;
  }
  if (!in.message.has_hello_reply()) return {"BAD_REQUEST", "the peer did not answer the hello", ""};
  if (in.message.hello_reply().protocol() < kProtocolMin || in.message.hello_reply().protocol() > kProtocolMax) {
    return {"BAD_REQUEST", "the peer speaks another protocol version", ""};
  }
  guard_.SetBindings(rpc::BindingsOf(in.message.hello_reply()));
  peer_takes_identity_ = in.message.hello_reply().takes_identity_updates();
  guard_.SetStatement(rpc::FromProto(in.message.hello_reply().storage_statement()));
  if (receive_) guard_.SetProvenance(ChainFrom(in.message.hello_reply().provenance()));
  end = Prepare(order.version_record, order.grant);
  return end.complete() ? Run() : end;
}

End Flow::Accept(const Frame& first) {
  const auto& hello = first.hello();
  if (hello.protocol_min() > kProtocolMax || hello.protocol_max() < kProtocolMin) {
    return {"BAD_REQUEST", absl::StrCat("this agent speaks transfer protocol ", kProtocolMin, " to ", kProtocolMax),
            ""};
  }
  guard_.SetBindings(rpc::BindingsOf(hello));
  peer_takes_identity_ = hello.takes_identity_updates();
  guard_.SetStatement(rpc::FromProto(hello.storage_statement()));
  if (receive_) guard_.SetProvenance(ChainFrom(hello.provenance()));
  End end = Prepare(rpc::FromProto(hello.version_record()), rpc::FromProto(hello.grant()));
  if (!end.complete()) return end;
  Frame reply;
  reply.mutable_hello_reply()->set_protocol(std::min(hello.protocol_max(), kProtocolMax));
  Introduce(reply.mutable_hello_reply());
  if (receive_) {
    rpc::ToProto(kept_->statement, reply.mutable_hello_reply()->mutable_storage_statement());
  } else {
    for (const crypto::Envelope& hop : Trail(guard_.grant())) {
      rpc::ToProto(hop, reply.mutable_hello_reply()->add_provenance());
    }
  }
  if (!stream_->WriteNow(EncodeFrame(reply))) return {"BROKEN", "the connection to the peer broke", ""};
  return Run();
}

}  // namespace bailiwick::agent
