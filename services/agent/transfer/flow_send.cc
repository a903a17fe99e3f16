#include "common/rpc/codec.h"
#include "services/agent/transfer/flow.h"
#include "services/agent/transfer/source.h"

namespace bailiwick::agent {

// What must be true when the frame goes is checked after the wait.
End Flow::Pace(uint64_t bytes) {
  const std::string& region = guard_.grant().destination_region;
  for (absl::Duration wait; (wait = place_.Ask(region, bytes)) > absl::ZeroDuration();) {
    std::string code, message;
    if (control_->cancelled(&code, &message)) return {code, message, ""};
    paced_at_ = env_.clock->BootTime();
    Report(TransferUpdate::State::kRunning, End{}, false);  // also that it is alive
    env_.clock->SleepFor(wait);
  }
  return End{};
}

bool Flow::Capped() const { return env_.clock->BootTime() - paced_at_ < absl::Seconds(1); }

End Flow::Send() {
  WantServer server(dataset_, record_.manifest_root);
  while (true) {
    InFrame in;
    End end;
    if (!ReadFrame(&in, &end)) return end;
    bool taken = false;
    if (end = TakeUpdate(in.message, &taken); !end.complete()) return end;
    if (taken) continue;
    if (!in.message.has_want()) return {"BAD_REQUEST", "a receiver sends wants", ""};
    End window;
    absl::Status served = server.Serve(in.message.want(), [&](DataFrame& frame, bool last) -> absl::Status {
      const uint64_t bytes = frame.payload_bytes();
      window = Pace(bytes);
      if (window.complete()) window = ReadAhead();
      if (window.complete()) window = Window();
      if (!window.complete()) return absl::CancelledError("window");
      if (!stream_->Write(frame.Encode(last))) {
        window = {"BROKEN", "the connection to the peer broke", ""};
        return absl::CancelledError("broken");
      }
      wire_bytes_ += bytes;
      return absl::OkStatus();
    });
    if (!window.complete()) return window;
    if (!served.ok()) return Broken(served);
    if (dialled_ || Capped()) Report(TransferUpdate::State::kRunning, End{}, false);
  }
}

}  // namespace bailiwick::agent
