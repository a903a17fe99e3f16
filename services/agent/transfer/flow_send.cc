#include <algorithm>

#include "common/rpc/codec.h"
#include "services/agent/transfer/flow.h"
#include "services/agent/transfer/flow_metrics.h"
#include "services/agent/transfer/source.h"

namespace bailiwick::agent {

// What must be true when the frame goes is checked after the wait.
End Flow::Pace(uint64_t bytes) {
  const std::string& region = guard_.grant().destination_region;
  while (true) {
    const bool yields = env_.pacer->Yields(transfer_id_);
    if (yields) place_.Leave();
    const absl::Duration wait = yields ? Pacer::kLook : place_.Ask(region, bytes);
    if (wait <= absl::ZeroDuration()) break;
    std::string code, message;
    if (control_->cancelled(&code, &message)) return {code, message, ""};
    hindrance_.Is(yields ? Hindrance::kPriority : Hindrance::kCap);
    paced_by_ = yields ? "priority" : "cap";
    paced_at_ = env_.clock->BootTime();
    if (End end = ReadAhead(); !end.complete()) return end;         // grants must not grow old behind its back,
    if (End end = WindowNowAndThen(); !end.complete()) return end;  // nor behind the peer's
    Report(TransferUpdate::State::kRunning, End{}, false);          // also that it is alive
    env_.clock->SleepFor(wait);
  }
  hindrance_.Is(Hindrance::kWork);
  return End{};
}

// A peer that does not read keeps nobody from asking whether it still may.
End Flow::WriteData(const grpc::ByteBuffer& frame) {
  while (true) {
    const FrameStream::Put put = stream_->Write(frame, kWindowEvery);
    if (put == FrameStream::Put::kTaken) return End{};
    if (put == FrameStream::Put::kBroken) return {"BROKEN", "the connection to the peer broke", ""};
    if (End end = WindowNowAndThen(); !end.complete()) return end;
    Report(TransferUpdate::State::kRunning, End{}, false);
  }
}

End Flow::Send() {
  WantServer server(dataset_, record_.manifest_root);
  bool lacks = false;
  while (true) {
    InFrame in;
    End end;
    hindrance_.Is(Hindrance::kPeer);
    if (!ReadFrame(&in, &end)) return end;
    hindrance_.Is(Hindrance::kWork);
    bool taken = false;
    if (end = TakeUpdate(in.message, &taken); !end.complete()) return end;
    if (taken) continue;
    if (!in.message.has_want()) return {"BAD_REQUEST", "a receiver sends wants", ""};
    End window;
    auto size = [this] {
      return std::clamp(place_.MostNow(guard_.grant().destination_region), FrameSize::kLeast, frame_size_.Next());
    };
    absl::Status served = server.Serve(in.message.want(), size, [&](DataFrame& frame, bool last) -> absl::Status {
      const uint64_t bytes = frame.payload_bytes();
      window = Pace(bytes);
      if (window.complete()) window = ReadAhead();
      if (window.complete()) window = Window();
      if (!window.complete()) return absl::CancelledError("window");
      hindrance_.Is(Hindrance::kLink);
      window = WriteData(frame.Encode(last));
      hindrance_.Is(Hindrance::kWork);
      if (!window.complete()) return absl::CancelledError("window");
      frame_size_.Written(bytes);
      wire_bytes_ += bytes;
      CountFlowBytes(record_.dataset, PeerSite(), receive_, bytes);
      return absl::OkStatus();
    });
    if (!lacks && (server.lacks() || absl::IsNotFound(served) || absl::IsDataLoss(served))) {
      lacks = true;
      env_.lacks(*dataset_, record_.number);
    }
    if (!window.complete()) return window;
    const std::string given_up = dataset_->dropped->Why(record_.dataset, record_.number);
    if (absl::IsNotFound(served) && !given_up.empty()) return {"NOT_FOUND", given_up, ""};
    if (!served.ok()) return Broken(served);
    Report(TransferUpdate::State::kRunning, End{}, false);
  }
}

}  // namespace bailiwick::agent
