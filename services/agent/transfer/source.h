// Answers wants: resolves a path of child indexes from the granted root, statelessly, and streams the children named. What the
// granted manifest does not reach cannot be named. One thread.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "bailiwick/transfer/v1/transfer.pb.h"
#include "common/base/digest.h"
#include "services/agent/state/dataset.h"
#include "services/agent/transfer/frame.h"

namespace bailiwick::agent {

class WantServer {
 public:
  static constexpr int kMaxSpans = 4096;
  static constexpr uint32_t kMaxChildren = 65536;

  WantServer(DatasetHandle* dataset, const Digest& root) : dataset_(dataset), root_(root) {}

  // INVALID_ARGUMENT: larger than any want that a receiver has reason to send.
  static absl::Status Check(const transfer::v1::Want& want);

  // Calls `send` for each filled frame, in order; stops at its first error. INVALID_ARGUMENT: a want that breaks the
  // protocol or leaves the manifest.
  using Send = std::function<absl::Status(DataFrame& frame, bool last)>;
  using Size = std::function<size_t()>;  // about what the next frame may hold, at most kFrameBytes
  absl::Status Serve(const transfer::v1::Want& want, const Size& size, const Send& send);
  // Whether something that was asked for is not here, or damaged.
  bool lacks() const { return lacks_; }

 private:
  absl::StatusOr<std::shared_ptr<const store::Node>> Resolve(const transfer::v1::Want& want);

  DatasetHandle* const dataset_;
  const Digest root_;
  bool lacks_ = false;
};

}  // namespace bailiwick::agent
