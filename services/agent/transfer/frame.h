// Frames of the transfer protocol (proto/bailiwick/transfer/v1/transfer.proto) as gRPC byte buffers. Data frames are written
// by hand so that chunk bytes go out as slices without a copy; they are ordinary protobuf on the wire.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/status/statusor.h"
#include "bailiwick/transfer/v1/transfer.pb.h"
#include "common/store/dataset_store.h"

namespace bailiwick::agent {

inline constexpr size_t kFrameBytes = 1 << 20;     // of payload: measured best on mTLS
inline constexpr size_t kMaxFrameBytes = 20 << 20; // a 16 MiB chunk travels alone

grpc::ByteBuffer EncodeFrame(const transfer::v1::Frame& frame);

// A Data frame being filled.
class DataFrame {
 public:
  explicit DataFrame(uint64_t want_id) { header_.set_want_id(want_id); }
  void Add(store::StoredChunk chunk);
  void AddAbsent();
  size_t payload_bytes() const { return payload_bytes_; }
  int pieces() const { return header_.pieces_size(); }
  grpc::ByteBuffer Encode(bool last);

 private:
  transfer::v1::Data header_;
  std::vector<grpc::Slice> slices_;
  size_t payload_bytes_ = 0;
};

// A received frame. May be moved: a short slice lies inside the object, so the payload is kept as a place, not as a pointer.
struct InFrame {
  transfer::v1::Frame message;  // for Data: all but the payload
  grpc::Slice bytes;
  size_t payload_offset = 0;
  size_t payload_size = 0;
  std::string_view data_payload() const {
    return {reinterpret_cast<const char*>(bytes.begin()) + payload_offset, payload_size};
  }
};
absl::StatusOr<InFrame> DecodeFrame(const grpc::ByteBuffer& buffer);

}  // namespace bailiwick::agent
