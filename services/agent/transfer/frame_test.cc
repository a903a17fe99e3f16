#include "services/agent/transfer/frame.h"

#include <gtest/gtest.h>

#include <random>

namespace bailiwick::agent {
namespace {

store::ChunkView Chunk(const std::string& bytes) {
  auto held = std::make_shared<const std::string>(bytes);
  return {
      .codec = store::Codec::kRaw, .raw_length = static_cast<uint32_t>(bytes.size()), .bytes = *held, .buffer = held};
}

std::string Payload(const InFrame& frame) {
  PayloadReader reader(frame);
  std::vector<std::string_view> parts;
  reader.Take(reader.left(), &parts);
  std::string out;
  for (std::string_view part : parts) out.append(part);
  return out;
}

TEST(Frame, DataIsOrdinaryProtobufOnTheWire) {
  DataFrame frame(7);
  frame.Add(Chunk("hello"));
  frame.AddAbsent();
  frame.Add(Chunk(std::string(100'000, 'x')));
  grpc::ByteBuffer buffer = frame.Encode(true);
  grpc::Slice whole;
  ASSERT_TRUE(buffer.DumpToSingleSlice(&whole).ok());
  transfer::v1::Frame parsed;
  ASSERT_TRUE(parsed.ParseFromArray(whole.begin(), static_cast<int>(whole.size())));
  EXPECT_EQ(parsed.data().want_id(), 7u);
  EXPECT_TRUE(parsed.data().last());
  EXPECT_EQ(parsed.data().pieces_size(), 3);
  EXPECT_EQ(parsed.data().payload(), "hello" + std::string(100'000, 'x'));
}

TEST(Frame, ATinyPayloadSurvivesMoves) {
  // gRPC keeps slices this short inside the object: a pointer into one would dangle after a move.
  DataFrame frame(1);
  frame.Add(Chunk("ab"));
  auto decoded = DecodeFrame(frame.Encode(true));
  ASSERT_TRUE(decoded.ok());
  InFrame moved = *std::move(decoded);
  InFrame again = std::move(moved);
  EXPECT_EQ(Payload(again), "ab");
}

TEST(Frame, AFrameInManySlicesGivesTheSameParts) {
  DataFrame frame(9);
  std::string all;
  std::vector<std::string> chunks;
  for (size_t n : {1u, 100u, 5000u, 0u, 70'000u}) chunks.push_back(std::string(n, static_cast<char>('a' + n % 23)));
  for (const std::string& chunk : chunks) frame.Add(Chunk(chunk));
  grpc::Slice whole;
  ASSERT_TRUE(frame.Encode(true).DumpToSingleSlice(&whole).ok());
  const std::string bytes(reinterpret_cast<const char*>(whole.begin()), whole.size());
  for (size_t step : {1u, 7u, 1024u, 16'384u}) {
    std::vector<grpc::Slice> slices;
    for (size_t at = 0; at < bytes.size(); at += step) slices.emplace_back(bytes.substr(at, step));
    auto decoded = DecodeFrame(grpc::ByteBuffer(slices.data(), slices.size()));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    PayloadReader reader(*decoded);
    std::vector<std::string_view> parts;
    for (const std::string& chunk : chunks) {
      parts.clear();
      reader.Take(chunk.size(), &parts);
      std::string got;
      for (std::string_view part : parts) got.append(part);
      EXPECT_EQ(got, chunk);
    }
    EXPECT_EQ(reader.left(), 0u);
  }
}

TEST(Frame, RefusesPiecesThatDoNotFillThePayload) {
  transfer::v1::Frame frame;
  frame.mutable_data()->add_pieces()->set_stored_length(10);
  frame.mutable_data()->set_payload("short");
  EXPECT_FALSE(DecodeFrame(EncodeFrame(frame)).ok());
}

TEST(Frame, RefusesDataBehindAnotherField) {
  transfer::v1::Frame frame;
  frame.mutable_data()->add_pieces()->set_stored_length(5);
  frame.mutable_data()->set_payload("hello");
  const std::string data = frame.SerializeAsString();
  grpc::Slice first(data), behind(std::string("\x98\x06\x00", 3) + data);  // an unknown field
  EXPECT_TRUE(DecodeFrame(grpc::ByteBuffer(&first, 1)).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeFrame(grpc::ByteBuffer(&behind, 1)).status()));
}

TEST(Frame, RefusesWhatIsNotPayloadBeyondItsBound) {
  transfer::v1::Frame frame;
  frame.mutable_goodbye()->set_message(std::string(kMaxControlBytes, 'x'));
  EXPECT_EQ(DecodeFrame(EncodeFrame(frame)).status().code(), absl::StatusCode::kInvalidArgument);
  frame.mutable_goodbye()->set_message(std::string(kMaxControlBytes / 2, 'x'));
  EXPECT_TRUE(DecodeFrame(EncodeFrame(frame)).ok());
  transfer::v1::Frame data;  // pieces that are nothing: two bytes each here, many times that once parsed
  for (int i = 0; i < kMaxControlBytes / 2 + 1; ++i) data.mutable_data()->add_pieces();
  EXPECT_EQ(DecodeFrame(EncodeFrame(data)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Frame, MutatedBytesNeverCrash) {
  DataFrame frame(3);
  for (int i = 0; i < 20; ++i) frame.Add(Chunk(std::string(static_cast<size_t>(i) * 7, 'c')));
  grpc::ByteBuffer buffer = frame.Encode(false);
  grpc::Slice whole;
  ASSERT_TRUE(buffer.DumpToSingleSlice(&whole).ok());
  const std::string good(reinterpret_cast<const char*>(whole.begin()), whole.size());
  std::mt19937 rng(5);
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good;
    bad[rng() % bad.size()] = static_cast<char>(rng());
    if (rng() % 3 == 0) bad.resize(rng() % bad.size());
    grpc::Slice slice(bad);
    auto decoded = DecodeFrame(grpc::ByteBuffer(&slice, 1));
    if (!decoded.ok() || !decoded->message.has_data()) continue;
    uint64_t sum = 0;
    for (const auto& piece : decoded->message.data().pieces()) sum += piece.absent() ? 0 : piece.stored_length();
    EXPECT_EQ(sum, Payload(*decoded).size());
  }
}

}  // namespace
}  // namespace bailiwick::agent
