// A frame of the transfer protocol, in as many slices as the network made of it.
#include "services/agent/transfer/frame.h"

#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(frame) {
  using namespace bailiwick::agent;
  const size_t cut = 1 + in.Byte();
  std::vector<grpc::Slice> slices;
  const std::string bytes(in.Rest());
  for (size_t at = 0; at < bytes.size(); at += cut) slices.emplace_back(bytes.substr(at, cut));
  auto frame = DecodeFrame(grpc::ByteBuffer(slices.data(), slices.size()));
  if (!frame.ok()) return;
  REQUIRE(frame->payload_offset + frame->payload_size <= bytes.size());
  PayloadReader payload(*frame);
  std::string taken;
  std::vector<std::string_view> parts;
  std::vector<std::string> pieces;
  DataFrame copy(frame->message.data().want_id());
  for (const auto& piece : frame->message.data().pieces()) {
    if (piece.absent()) {
      copy.AddAbsent();
      continue;
    }
    parts.clear();
    payload.Take(piece.stored_length(), &parts);
    auto held = std::make_shared<std::string>();
    for (std::string_view part : parts) held->append(part);
    taken += *held;
    copy.Add({.codec = static_cast<bailiwick::store::Codec>(piece.codec()),
              .raw_length = piece.raw_length(),
              .bytes = *held,
              .buffer = held});
  }
  REQUIRE(payload.left() == 0 && taken == bytes.substr(frame->payload_offset, frame->payload_size));
  // What is written by hand is read back as it was.
  if (!frame->message.has_data()) return;
  auto again = DecodeFrame(copy.Encode(frame->message.data().last()));
  REQUIRE(again.ok() && again->payload_size == taken.size());
  REQUIRE(again->message.data().pieces_size() == frame->message.data().pieces_size());
}
