// One flow while it runs, from its hello to its goodbye. Private to this folder: the rest of the agent goes through
// transfer.h. One thread a flow, the caller's; what other threads want of it goes through its FlowControl. The parts
// lie in handshake.cc (who, what and whether, before any byte), flow_receive.cc, flow_send.cc, and flow.cc (what both
// roles share: frames, windows, the records of what happened).
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rpc/provenance.h"
#include "services/agent/transfer/flow_guard.h"
#include "services/agent/transfer/frame.h"
#include "services/agent/transfer/frame_size.h"
#include "services/agent/transfer/hindrance.h"
#include "services/agent/transfer/receive_machine.h"
#include "services/agent/transfer/transfer.h"

namespace bailiwick::agent {

struct End {  // why a flow ended
  std::string code = "COMPLETE";
  std::string message;
  std::string rule;
  bool complete() const { return code == "COMPLETE"; }
};
// By what the peer can do about it.
End Broken(const absl::Status& status);
End Refused(const policy::GrantDecision& decision);

class Flow {
 public:
  Flow(const TransferEnvironment& env, std::shared_ptr<FrameStream> stream, bool dialled, bool receive,
       std::shared_ptr<FlowControl> control)
      : env_(env),
        stream_(std::move(stream)),
        dialled_(dialled),
        receive_(receive),
        control_(std::move(control)),
        guard_(env.law, env.gate, env.self(), !receive, stream_.get()),
        place_(env.pacer),
        frame_size_(env.clock),
        hindrance_(env.clock) {}

  End Dial(const FlowOrder& order);
  End Accept(const transfer::v1::Frame& first);
  void Finish(const End& end);

 private:
  End Identify(const crypto::Envelope& record);
  End Prepare(const crypto::Envelope& record, const crypto::Envelope& grant);
  End SayProvenance(const crypto::Envelope& grant, transfer::v1::Hello* hello);
  rpc::Chain Trail(const policy::Grant& grant);
  absl::Status KeepShorterTrail();
  // It is here, but something of it is not.
  bool Healing() const {
    return dataset_->damage->Has(record_.number) || dataset_->dropped->BaseOf(record_.number) != 0;
  }
  // Something of the dataset is damaged, or may be: what the catalog calls complete is looked into all the same.
  bool InDoubt() const;
  std::optional<End> AlreadyHere();  // the version; nothing: it is not
  End Authorize(const crypto::Envelope& grant);
  End GoOn(const crypto::Envelope& grant);  // by another one
  absl::StatusOr<store::VersionRecord> OpenRecord(const crypto::Envelope& record);
  End Keep(const crypto::Envelope& record, const crypto::Envelope& grant);
  End Run() { return receive_ ? Receive() : Send(); }
  End Send();
  static constexpr absl::Duration kWindowEvery = absl::Seconds(1);  // when nothing comes, or goes
  End Pace(uint64_t bytes);                                         // waits for the turn of a frame
  End WriteData(const grpc::ByteBuffer& frame);
  std::string Limit();
  End Receive();
  End Fetch(const Receiving::Part& part, store::DatasetStore::Writer& writer);  // what is missing, durably
  absl::Status FillWants(ReceiveMachine& machine, const Receiving::Part& part);
  absl::Status LookAgain(ReceiveMachine& machine);
  End LoadNodes(ReceiveMachine& machine);
  template <typename Piece>
  absl::StatusOr<std::vector<ReceiveMachine::Have>> Presence(const std::vector<Piece>& pieces);
  End TakeData(const InFrame& in, ReceiveMachine& machine, store::DatasetStore::Writer& writer);
  End Window();
  // Asks again until it is decided, for as long as a newer law, which the peer has, or the word that it is the current
  // one may be on its way.
  static constexpr absl::Duration kPolicyCatchUp = absl::Seconds(5);
  void AwaitLaw(const std::function<bool()>& decided);
  End WindowNowAndThen();  // where no frame comes by which to look
  End Withheld() const;
  // Between hello and goodbye of both: who this is has a newer proof.
  template <typename Message>
  void Introduce(Message* message);
  bool SayIdentity();
  End TakeIdentity(const transfer::v1::IdentityUpdate& update);
  std::string PeerSite() const;  // by the grant
  bool ReadFrame(InFrame* in, End* end);
  FrameStream::Got Await(grpc::ByteBuffer* buffer, End* end);
  // Of what the receiver has said meanwhile, what lets the flow go on counts at once; the rest waits its turn.
  End ReadAhead();
  End TakeUpdate(const transfer::v1::Frame& frame, bool* taken);
  void Report(TransferUpdate::State state, const End& end, bool force);
  absl::Status Audit(const std::string& kind, const End& end);
  absl::Status AuditRefusal(const End& end);
  void Record(const End& end);  // how it ended, in the audit log

  const TransferEnvironment& env_;
  std::shared_ptr<FrameStream> stream_;
  const bool dialled_;
  const bool receive_;
  const std::shared_ptr<FlowControl> control_;
  FlowGuard guard_;
  policy::GrantDecision permit_;  // by which the flow runs, of its last grant
  Pacer::Place place_;
  FrameSize frame_size_;
  Hindrance hindrance_;
  std::string paced_by_;                                 // what it had to wait for last
  absl::Duration paced_at_ = -absl::InfiniteDuration();  // and when
  store::VersionRecord record_;
  crypto::Envelope record_envelope_;
  Digest identity_;
  std::optional<TransferEnvironment::Kept> kept_;  // the receiver's
  DatasetHandle* dataset_ = nullptr;
  std::string transfer_id_;
  uint64_t done_bytes_ = 0;
  uint64_t wire_bytes_ = 0;
  uint64_t lacking_count_ = 0;  // of what was asked for, pieces that the source does not have
  Digest lacking_;              // the first of them
  absl::Duration last_report_ = -absl::InfiniteDuration();
  absl::Duration last_window_ = -absl::InfiniteDuration();
  bool accepted_ = false;
  std::deque<InFrame> ahead_;  // read before their turn
  size_t ahead_bytes_ = 0;
  bool peer_takes_identity_ = false;
  uint64_t said_identity_ = 0;  // generation
};

}  // namespace bailiwick::agent
