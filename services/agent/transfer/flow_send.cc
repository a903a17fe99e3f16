#include "common/rpc/codec.h"
#include "services/agent/transfer/flow.h"
#include "services/agent/transfer/source.h"

namespace bailiwick::agent {

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

}  // namespace bailiwick::agent
