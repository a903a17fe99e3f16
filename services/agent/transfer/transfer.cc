#include "services/agent/transfer/transfer.h"

#include <utility>

#include "services/agent/transfer/ask.h"
#include "services/agent/transfer/flow.h"
#include "services/agent/transfer/flow_metrics.h"

namespace bailiwick::agent {

using transfer::v1::Frame;

namespace {

template <typename RunFlow>
void Measured(const TransferEnvironment& env, bool receive, Flow& flow, RunFlow run) {
  RunningFlowMark mark(receive);
  const absl::Duration began = env.clock->BootTime();
  const End end = run();
  flow.Finish(end);
  CountFlowEnd(receive, end.code, env.clock->BootTime() - began);
}

}  // namespace

void RunDialledFlow(const TransferEnvironment& env, const FlowOrder& order, std::shared_ptr<FrameStream> stream,
                    std::shared_ptr<FlowControl> control) {
  control->Attach(stream);
  Flow flow(env, stream, /*dialled=*/true, order.receive, std::move(control));
  Measured(env, order.receive, flow, [&] { return flow.Dial(order); });
}

void RunAcceptedFlow(const TransferEnvironment& env, std::shared_ptr<FrameStream> stream) {
  grpc::ByteBuffer buffer;
  if (stream->Read(&buffer, FrameStream::kAnswerPatience) != FrameStream::Got::kFrame) return;
  auto first = DecodeFrame(buffer);
  if (first.ok() && first->message.has_ask()) return Answer(env, first->message.ask(), *stream);
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
  Measured(env, peer_sends, flow, [&] { return flow.Accept(first->message); });
}

}  // namespace bailiwick::agent
