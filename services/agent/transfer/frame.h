// Frames of the transfer protocol (proto/bailiwick/transfer/v1/transfer.proto) as gRPC byte buffers. Data frames are
// written by hand so that chunk bytes go out as slices without a copy; they are ordinary protobuf on the wire.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "bailiwick/transfer/v1/transfer.pb.h"
#include "common/store/dataset_store.h"

namespace bailiwick::agent {

inline constexpr size_t kFrameBytes = 2 << 20;      // of payload: measured best on mTLS
inline constexpr size_t kMaxFrameBytes = 20 << 20;  // a 16 MiB chunk travels alone
// Of frames without payload, and of what stands before the payload of the others: parsed, they take many times that.
inline constexpr int kMaxControlBytes = 256 << 10;

grpc::ByteBuffer EncodeFrame(const transfer::v1::Frame& frame);

// A Data frame being filled.
class DataFrame {
 public:
  explicit DataFrame(uint64_t want_id) { header_.set_want_id(want_id); }
  void Add(store::ChunkView chunk);
  void AddAbsent();
  size_t payload_bytes() const { return payload_bytes_; }
  int pieces() const { return header_.pieces_size(); }
  grpc::ByteBuffer Encode(bool last);

 private:
  transfer::v1::Data header_;
  std::vector<grpc::Slice> slices_;
  size_t payload_bytes_ = 0;
};

// A received frame. The payload of Data stays in the slices that gRPC read it into.
struct InFrame {
  InFrame() = default;
  InFrame(InFrame&&) = default;
  InFrame& operator=(InFrame&&) = default;

  transfer::v1::Frame message;  // for Data: all but the payload
  std::vector<grpc::Slice> slices;
  size_t payload_offset = 0;  // in what the slices are together
  size_t payload_size = 0;
};
absl::StatusOr<InFrame> DecodeFrame(const grpc::ByteBuffer& buffer);

// Hands out a frame's payload from its beginning, without copying. The frame stays where it is meanwhile.
class PayloadReader {
 public:
  explicit PayloadReader(const InFrame& frame);
  size_t left() const { return left_; }
  // Appends the next n <= left() bytes.
  void Take(size_t n, std::vector<std::string_view>* parts);

 private:
  const std::vector<grpc::Slice>& slices_;
  size_t slice_ = 0;
  size_t offset_ = 0;  // in it
  size_t left_ = 0;
};

}  // namespace bailiwick::agent
