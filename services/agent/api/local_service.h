// What the operator of this machine may ask of the running agent, over a Unix socket in its data directory: the kernel
// says who asks, and only the agent's own user and root get an answer. One line there, one line of JSON back:
//
//   certificate   {"identity":...,"notBefore":...,"notAfter":...,"renewAt":...,"connected":true}
//   renew         a new certificate now, over the session; then as `certificate`
//
// or {"error":"one sentence"}. One connection at a time, a few seconds each.
#pragma once

#include <atomic>
#include <memory>
#include <ostream>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "common/os/local_socket.h"
#include "common/output/output.h"
#include "common/rpc/gate.h"
#include "services/agent/work/agent.h"

namespace bailiwick::agent {

class LocalService {
 public:
  LocalService(Agent* agent, std::shared_ptr<const rpc::Gate> gate) : agent_(agent), gate_(std::move(gate)) {}
  ~LocalService() { Stop(); }
  absl::Status Start(const std::string& data_directory);
  void Stop();

 private:
  void Run();
  void Answer(os::LocalConnection& connection);
  std::string Reply(const std::string& request);

  Agent* const agent_;
  const std::shared_ptr<const rpc::Gate> gate_;
  std::unique_ptr<os::LocalListener> listener_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

absl::Status CheckRuns(const std::string& data_directory);  // UNAVAILABLE: no agent runs there

enum class Renewal { kNone, kTry, kNow };
// `bailiwick-agent certificate`: asks the agent that runs there. UNAVAILABLE: none does.
absl::Status AskCertificate(const std::string& data_directory, Renewal renewal, output::Format format,
                            std::ostream* out);

}  // namespace bailiwick::agent
