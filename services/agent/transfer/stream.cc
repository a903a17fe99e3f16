#include "services/agent/transfer/stream.h"

#include <grpcpp/generic/generic_stub.h>

#include <deque>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status.h"

namespace bailiwick::agent {
namespace {

// How long Close waits for queued frames to leave: a peer that does not read must not hold a thread for ever.
constexpr absl::Duration kCloseTimeout = absl::Seconds(10);
constexpr absl::Duration kGoodbyePatience = absl::Seconds(2);  // of who dialled, for the peer to end the call too

// The queues, shared by the reactor (gRPC's threads) and the FrameStream (ours). The reactor's operations are started
// under the mutex so that none starts after the stream ended.
class Queues {
 public:
  using Buffer = grpc::ByteBuffer;
  struct Ops {  // set by the reactor
    std::function<void(Buffer*)> start_read;
    std::function<void(const Buffer*)> start_write;
    std::function<void()> finish;  // orderly end from our side
    std::function<void()> cancel;
    // The peer has ended it too, and nothing is started any more. Empty: `finish` is the last operation on the call.
    std::function<void()> over = nullptr;
  };

  void Begin(Ops ops) {
    absl::MutexLock lock(&mutex_);
    ops_ = std::move(ops);
    live_ = true;
    StartRead();
  }

  void OnReadDone(bool ok) {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (!ok) {
      read_ended_ = true;
      if (draining_) End();
      return;
    }
    if (!draining_) {
      in_bytes_ += read_buffer_.Length();
      in_.push_back(std::move(read_buffer_));
    }
    read_buffer_ = Buffer();
    StartRead();
  }

  void OnWriteDone(bool ok) {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      broken_ = true;
      out_.clear();
    } else if (!out_.empty()) {
      out_.pop_front();
    }
    StartWrite();
  }

  // The RPC is over or about to be: no operation is started from here on.
  void Kill() {
    absl::MutexLock lock(&mutex_);
    live_ = false;
    read_ended_ = true;
    broken_ = true;
  }

  FrameStream::Got Read(Buffer* out, absl::Duration patience) {
    absl::MutexLock lock(&mutex_);
    auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !in_.empty() || read_ended_ || aborted_; };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&ready), patience)) return FrameStream::Got::kNothing;
    if (in_.empty() || aborted_) return FrameStream::Got::kEnd;
    *out = std::move(in_.front());
    in_.pop_front();
    in_bytes_ -= out->Length();
    StartRead();
    return FrameStream::Got::kFrame;
  }

  FrameStream::Put Write(Buffer frame, absl::Duration patience) {
    absl::MutexLock lock(&mutex_);
    auto room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return out_.size() < FrameStream::kQueueFrames || broken_ || aborted_ || !live_;
    };
    const bool in_time = mutex_.AwaitWithTimeout(absl::Condition(&room), patience);
    if (!in_time) return closing_ ? FrameStream::Put::kBroken : FrameStream::Put::kFull;
    return Enqueue(std::move(frame)) ? FrameStream::Put::kTaken : FrameStream::Put::kBroken;
  }

  bool WriteNow(Buffer frame) {
    absl::MutexLock lock(&mutex_);
    return Enqueue(std::move(frame));
  }

  void Close() {
    absl::MutexLock lock(&mutex_);
    if (closing_) return;
    closing_ = true;
    auto drained = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return (out_.empty() && !writing_) || broken_ || aborted_ || !live_;
    };
    bool done = mutex_.AwaitWithTimeout(absl::Condition(&drained), kCloseTimeout);
    if (!live_) return;
    if (done && !aborted_ && !broken_ && ops_.over != nullptr) {
      draining_ = true;
      in_.clear();
      in_bytes_ = 0;
      ops_.finish();
      if (read_ended_) {
        End();
      } else {
        StartRead();
      }
      return;
    }
    // The last operation on the call: it may be gone as soon as this returns.
    live_ = false;
    if (done && !aborted_ && !broken_) {
      ops_.finish();
    } else {
      ops_.cancel();
    }
  }

  // After Close: until the peer has ended the call as well, which it does once it has read all that was said.
  void AwaitOver(absl::Duration patience) {
    absl::MutexLock lock(&mutex_);
    auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !draining_ || !live_; };
    mutex_.AwaitWithTimeout(absl::Condition(&over), patience);
  }

  void Abort() {
    absl::MutexLock lock(&mutex_);
    if (aborted_) return;
    aborted_ = true;
    if (!live_) return;
    live_ = false;
    ops_.cancel();
  }

 private:
  bool Enqueue(Buffer frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (broken_ || aborted_ || !live_ || closing_) return false;
    out_.push_back(std::move(frame));
    StartWrite();
    return true;
  }
  void End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!live_) return;
    live_ = false;
    ops_.over();
  }
  void StartRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!live_ || (closing_ && !draining_) || reading_ || read_ended_ || aborted_) return;
    if (in_.size() >= FrameStream::kQueueFrames || in_bytes_ >= FrameStream::kQueueBytes) return;
    reading_ = true;
    ops_.start_read(&read_buffer_);
  }
  void StartWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!live_ || writing_ || out_.empty() || broken_ || aborted_) return;
    writing_ = true;
    ops_.start_write(&out_.front());
  }

  absl::Mutex mutex_;
  Ops ops_ ABSL_GUARDED_BY(mutex_);
  std::deque<Buffer> in_ ABSL_GUARDED_BY(mutex_);
  size_t in_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Buffer> out_ ABSL_GUARDED_BY(mutex_);
  Buffer read_buffer_ ABSL_GUARDED_BY(mutex_);
  bool live_ ABSL_GUARDED_BY(mutex_) = false;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool read_ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;  // all is said; what the peer still says is read and dropped
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
};

class QueueStream : public FrameStream {
 public:
  explicit QueueStream(std::shared_ptr<Queues> queues) : queues_(std::move(queues)) {}
  ~QueueStream() override { queues_->Abort(); }
  Got Read(grpc::ByteBuffer* out, absl::Duration patience) override { return queues_->Read(out, patience); }
  Put Write(const grpc::ByteBuffer& frame, absl::Duration patience) override { return queues_->Write(frame, patience); }
  bool WriteNow(grpc::ByteBuffer frame) override { return queues_->WriteNow(std::move(frame)); }
  void Close() override { queues_->Close(); }
  void Abort() override { queues_->Abort(); }
  // Read out of the certificate once: every window asks, and OpenSSL takes its time to parse one.
  absl::StatusOr<rpc::Peer> peer() override {
    absl::MutexLock lock(&peer_mutex_);
    if (!peer_) {
      auto auth = Auth();
      if (auth == nullptr) return absl::UnauthenticatedError("the peer has no identity");
      BW_ASSIGN_OR_RETURN(peer_, rpc::PeerOf(*auth));
    }
    return *peer_;
  }

 protected:
  virtual std::shared_ptr<const grpc::AuthContext> Auth() const = 0;  // null: the handshake is not through
  std::shared_ptr<Queues> queues_;

 private:
  absl::Mutex peer_mutex_;
  std::optional<rpc::Peer> peer_ ABSL_GUARDED_BY(peer_mutex_);
};

class ServerStream : public QueueStream {
 public:
  ServerStream(std::shared_ptr<Queues> queues, std::shared_ptr<const grpc::AuthContext> auth)
      : QueueStream(std::move(queues)), auth_(std::move(auth)) {}

 private:
  std::shared_ptr<const grpc::AuthContext> Auth() const override { return auth_; }
  std::shared_ptr<const grpc::AuthContext> auth_;
};

class ServerReactor : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ServerReactor(std::shared_ptr<Queues> queues, std::function<void()> done)
      : queues_(std::move(queues)), done_(std::move(done)) {}
  void Begin() {
    queues_->Begin({.start_read = [this](grpc::ByteBuffer* b) { StartRead(b); },
                    .start_write = [this](const grpc::ByteBuffer* b) { StartWrite(b); },
                    .finish = [this] { FinishOnce(grpc::Status::OK); },
                    .cancel = [this] { FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "stream aborted")); }});
  }
  void Refuse(const grpc::Status& status) { FinishOnce(status); }  // instead of Begin
  void OnReadDone(bool ok) override { queues_->OnReadDone(ok); }
  void OnWriteDone(bool ok) override { queues_->OnWriteDone(ok); }
  void OnCancel() override {
    queues_->Kill();  // before Finish: a write started after it would complete into a reactor that is gone
    FinishOnce(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    queues_->Kill();
    done_();
    delete this;
  }

 private:
  void FinishOnce(const grpc::Status& status) {
    if (!finished_.exchange(true)) Finish(status);
  }
  std::shared_ptr<Queues> queues_;
  std::function<void()> done_;
  std::atomic<bool> finished_{false};
};

class ClientReactor : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ClientReactor(const std::shared_ptr<grpc::Channel>& channel, std::shared_ptr<Queues> queues)
      : context_(std::make_shared<grpc::ClientContext>()), stub_(channel), queues_(std::move(queues)) {
    stub_.PrepareBidiStreamingCall(context_.get(), "/bailiwick.transfer.v1.Transfer/Exchange", grpc::StubOptions(),
                                   this);
  }
  std::shared_ptr<grpc::ClientContext> context() const { return context_; }
  void Begin() {
    AddHold();  // reads and writes start from our threads too; released when we end it or the peer does
    queues_->Begin({.start_read = [this](grpc::ByteBuffer* b) { StartRead(b); },
                    .start_write = [this](const grpc::ByteBuffer* b) { StartWrite(b); },
                    .finish = [this] { StartWritesDone(); },
                    .cancel =
                        [this] {
                          context_->TryCancel();
                          Release();
                        },
                    .over = [this] { Release(); }});
    StartCall();
  }
  // The hold stays when the peer ends the stream: our threads may be about to start something. Close or Abort, which
  // every stream gets, releases it.
  void OnReadDone(bool ok) override { queues_->OnReadDone(ok); }
  void OnWriteDone(bool ok) override { queues_->OnWriteDone(ok); }
  void OnDone(const grpc::Status&) override {
    queues_->Kill();
    delete this;
  }

 private:
  void Release() {
    if (!released_.exchange(true)) RemoveHold();
  }
  std::shared_ptr<grpc::ClientContext> context_;
  grpc::GenericStub stub_;
  std::shared_ptr<Queues> queues_;
  std::atomic<bool> released_{false};
};

class ClientStream : public QueueStream {
 public:
  ClientStream(std::shared_ptr<Queues> queues, std::shared_ptr<grpc::ClientContext> context)
      : QueueStream(std::move(queues)), context_(std::move(context)) {}
  // A call that is cancelled takes from the peer what it has not read yet, the goodbye too: it gets a moment to.
  // Messages that nobody will read would keep the call open.
  ~ClientStream() override {
    queues_->AwaitOver(kGoodbyePatience);
    context_->TryCancel();
  }

 private:
  std::shared_ptr<const grpc::AuthContext> Auth() const override { return context_->auth_context(); }
  std::shared_ptr<grpc::ClientContext> context_;
};

}  // namespace

struct TransferService::State {
  absl::Mutex mutex;
  Handler handler;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  int streams ABSL_GUARDED_BY(mutex) = 0;  // reactors and handler threads alive
  std::set<std::shared_ptr<FrameStream>> open ABSL_GUARDED_BY(mutex);
  void Leave() {
    absl::MutexLock lock(&mutex);
    --streams;
  }
};

TransferService::TransferService(Handler handler) : state_(std::make_shared<State>()) {
  state_->handler = std::move(handler);
}
TransferService::~TransferService() { Shutdown(); }

void TransferService::Shutdown() {
  std::set<std::shared_ptr<FrameStream>> open;
  {
    absl::MutexLock lock(&state_->mutex);
    state_->stopping = true;
    open = state_->open;
  }
  for (const auto& stream : open) stream->Abort();
  open.clear();
  absl::MutexLock lock(&state_->mutex);
  State* state = state_.get();
  auto gone = [state]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return state->streams == 0; };
  state_->mutex.Await(absl::Condition(&gone));
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* TransferService::Exchange(
    grpc::CallbackServerContext* context) {
  auto queues = std::make_shared<Queues>();
  auto state = state_;
  auto stream = std::make_shared<ServerStream>(queues, context->auth_context());
  bool refuse = false;
  {
    absl::MutexLock lock(&state->mutex);
    refuse = state->stopping || state->streams >= 2 * kMaxStreams;
    state->streams += refuse ? 1 : 2;
    if (!refuse) state->open.insert(stream);  // Shutdown, which may come now, ends it
  }
  auto* reactor = new ServerReactor(queues, [state] { state->Leave(); });
  if (refuse) {
    reactor->Refuse(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many transfer streams"));
    return reactor;
  }
  reactor->Begin();
  std::thread([state, stream]() mutable {
    state->handler(stream);
    stream->Close();
    {
      absl::MutexLock lock(&state->mutex);
      state->open.erase(stream);
    }
    stream.reset();
    state->Leave();
  }).detach();
  return reactor;
}

std::shared_ptr<FrameStream> OpenExchange(const std::shared_ptr<grpc::Channel>& channel) {
  auto queues = std::make_shared<Queues>();
  auto* reactor = new ClientReactor(channel, queues);
  auto stream = std::make_shared<ClientStream>(queues, reactor->context());
  reactor->Begin();
  return stream;
}

}  // namespace bailiwick::agent
