// One Exchange stream as a pair of bounded queues, the same for whoever dialled. Read and Write block, for so long and
// no longer; one thread reads, one writes (may be the same). Close from any thread. Destroying closes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bailiwick/transfer/v1/transfer.grpc.pb.h"
#include "common/os/clock.h"
#include "common/rpc/credentials.h"

namespace bailiwick::agent {

class FrameStream {
 public:
  // A direction. What comes in may be one frame more, of whatever size gRPC lets through.
  static constexpr size_t kQueueFrames = 4, kQueueBytes = 8 << 20;
  // How long a peer may take to say who it is, or what it was asked: it may have to ask its key provider first.
  static constexpr absl::Duration kAnswerPatience = absl::Minutes(2);

  virtual ~FrameStream() = default;
  enum class Got { kFrame, kNothing /* yet */, kEnd };
  virtual Got Read(grpc::ByteBuffer* out, absl::Duration patience) = 0;
  enum class Put { kTaken, kFull /* still */, kBroken };
  virtual Put Write(const grpc::ByteBuffer& frame, absl::Duration patience) = 0;
  // Never blocks: for small frames whose number the caller bounds (a receiver that waits to write while its source waits
  // to write would be a deadlock).
  virtual bool WriteNow(grpc::ByteBuffer frame) = 0;
  // Waits until what was written has left (bounded), then ends the stream.
  virtual void Close() = 0;
  virtual void Abort() = 0;  // at once; wakes readers and writers
  // Who the handshake proved (of one that was dialled: once a frame was read). The same for as long as the stream lives;
  // whether it still counts is for the gate to say, again at every window.
  virtual absl::StatusOr<rpc::Peer> peer() = 0;
};

// Serves Transfer.Exchange: each stream gets its own thread in `handler`.
class TransferService final
    : public transfer::v1::Transfer::WithRawCallbackMethod_Exchange<transfer::v1::Transfer::Service> {
 public:
  static constexpr int kMaxStreams = 64;  // each has a thread and two queues
  using Handler = std::function<void(std::shared_ptr<FrameStream>)>;
  explicit TransferService(Handler handler);
  ~TransferService() override;
  void Shutdown();  // aborts every stream and waits for its handler

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Exchange(grpc::CallbackServerContext* context) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Dials a peer's Exchange.
std::shared_ptr<FrameStream> OpenExchange(const std::shared_ptr<grpc::Channel>& channel);

}  // namespace bailiwick::agent
