#include "services/agent/transfer/frame.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick::agent {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr int kPayloadField = transfer::v1::Data::kPayloadFieldNumber;
constexpr int kDataField = transfer::v1::Frame::kDataFieldNumber;

uint32_t LengthTag(int field) { return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED); }

grpc::Slice OwnString(std::string bytes) {
  auto* held = new std::string(std::move(bytes));
  return grpc::Slice(
      held->data(), held->size(), [](void* p) { delete static_cast<std::string*>(p); }, held);
}

}  // namespace

grpc::ByteBuffer EncodeFrame(const transfer::v1::Frame& frame) {
  grpc::Slice slice = OwnString(frame.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// Shares the buffer that the chunk lies in.
grpc::Slice SliceOf(store::ChunkView chunk) {
  auto* held = new std::shared_ptr<const void>(std::move(chunk.buffer));
  return grpc::Slice(
      const_cast<char*>(chunk.bytes.data()), chunk.bytes.size(),
      [](void* p) { delete static_cast<std::shared_ptr<const void>*>(p); }, held);
}

void DataFrame::Add(store::ChunkView chunk) {
  transfer::v1::Piece* piece = header_.add_pieces();
  piece->set_codec(static_cast<uint32_t>(chunk.codec));
  piece->set_stored_length(static_cast<uint32_t>(chunk.bytes.size()));
  piece->set_raw_length(chunk.raw_length);
  payload_bytes_ += chunk.bytes.size();
  if (!chunk.bytes.empty()) slices_.push_back(SliceOf(std::move(chunk)));
}

void DataFrame::AddAbsent() { header_.add_pieces()->set_absent(true); }

grpc::ByteBuffer DataFrame::Encode(bool last) {
  header_.set_last(last);
  const std::string head = header_.SerializeAsString();
  const size_t payload_head = payload_bytes_ == 0
                                  ? 0
                                  : CodedOutputStream::VarintSize32(LengthTag(kPayloadField)) +
                                        CodedOutputStream::VarintSize32(static_cast<uint32_t>(payload_bytes_));
  const size_t data_size = head.size() + payload_head + payload_bytes_;
  std::string prefix;
  {
    google::protobuf::io::StringOutputStream stream(&prefix);
    CodedOutputStream out(&stream);
    out.WriteTag(LengthTag(kDataField));
    out.WriteVarint32(static_cast<uint32_t>(data_size));
    out.WriteString(head);
    if (payload_bytes_ > 0) {
      out.WriteTag(LengthTag(kPayloadField));
      out.WriteVarint32(static_cast<uint32_t>(payload_bytes_));
    }
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(slices_.size() + 1);
  slices.push_back(OwnString(std::move(prefix)));
  for (auto& s : slices_) slices.push_back(std::move(s));
  slices_.clear();
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::StatusOr<InFrame> DecodeFrame(const grpc::ByteBuffer& buffer) {
  if (buffer.Length() > kMaxFrameBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a frame of ", buffer.Length(), " bytes"));
  }
  InFrame in;
  grpc::ByteBuffer shared(buffer);  // of the same slices: what reads it wants it mutable
  grpc::ProtoBufferReader reader(&shared);
  if (!reader.status().ok() || !buffer.Dump(&in.slices).ok()) return absl::InternalError("cannot read a frame");
  const int size = static_cast<int>(buffer.Length());
  google::protobuf::io::CodedInputStream input(&reader);
  uint32_t tag = input.ReadTag();
  if (tag != LengthTag(kDataField)) {
    if (size > kMaxControlBytes) return absl::InvalidArgumentError(absl::StrCat("a control frame of ", size, " bytes"));
    grpc::Slice whole;
    if (!buffer.DumpToSingleSlice(&whole).ok()) return absl::InternalError("cannot read a frame");
    if (!in.message.ParseFromArray(whole.begin(), size) ||
        in.message.kind_case() == transfer::v1::Frame::KIND_NOT_SET) {
      return absl::InvalidArgumentError("a frame that is not one of this protocol");
    }
    // Its payload would not be where whoever takes it looks for it.
    if (in.message.has_data()) return absl::InvalidArgumentError("a data frame that does not begin with its data");
    return in;
  }
  uint32_t length = 0;
  if (!input.ReadVarint32(&length) || static_cast<int64_t>(length) + input.CurrentPosition() != size) {
    return absl::InvalidArgumentError("a data frame with trailing or missing bytes");
  }
  // Everything but the payload is parsed as a message; the payload stays where it is.
  std::string head;
  {
    google::protobuf::io::StringOutputStream head_stream(&head);
    CodedOutputStream head_out(&head_stream);
    while (input.CurrentPosition() < size) {
      tag = input.ReadTag();
      if (tag != LengthTag(kPayloadField)) {
        if (tag == 0 || !WireFormatLite::SkipField(&input, tag, &head_out)) {
          return absl::InvalidArgumentError("a data frame that cannot be read");
        }
        continue;
      }
      uint32_t n = 0;
      if (!input.ReadVarint32(&n) || static_cast<int64_t>(n) > size - input.CurrentPosition()) {
        return absl::InvalidArgumentError("a data frame whose payload is cut short");
      }
      in.payload_offset = static_cast<size_t>(input.CurrentPosition());
      in.payload_size = n;
      if (!input.Skip(static_cast<int>(n))) return absl::InvalidArgumentError("a data frame that cannot be read");
    }
  }
  if (head.size() > kMaxControlBytes) return absl::InvalidArgumentError("a data frame whose header is too long");
  transfer::v1::Data* data = in.message.mutable_data();
  if (!data->ParseFromString(head)) return absl::InvalidArgumentError("a data frame whose header cannot be read");
  uint64_t sum = 0;
  for (const auto& piece : data->pieces()) sum += piece.absent() ? 0 : piece.stored_length();
  if (sum != in.payload_size) return absl::InvalidArgumentError("a data frame whose pieces do not fill its payload");
  return in;
}

PayloadReader::PayloadReader(const InFrame& frame) : slices_(frame.slices), offset_(frame.payload_offset) {
  while (slice_ < slices_.size() && offset_ >= slices_[slice_].size()) offset_ -= slices_[slice_++].size();
  left_ = frame.payload_size;
}

void PayloadReader::Take(size_t n, std::vector<std::string_view>* parts) {
  left_ -= n;
  while (n > 0) {
    const grpc::Slice& slice = slices_[slice_];
    const size_t take = std::min(n, slice.size() - offset_);
    if (take > 0) parts->push_back({reinterpret_cast<const char*>(slice.begin()) + offset_, take});
    n -= take;
    offset_ += take;
    if (offset_ < slice.size()) return;
    ++slice_;
    offset_ = 0;
  }
}

}  // namespace bailiwick::agent
