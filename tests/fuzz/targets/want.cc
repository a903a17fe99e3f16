// What a receiver asks for: whatever it is, no more comes than the granted manifest holds.
#include <google/protobuf/util/message_differencer.h>

#include "common/crypto/digest.h"
#include "common/store/fake_chunk_index.h"
#include "common/store/manifest.h"
#include "services/agent/transfer/frame_size.h"
#include "services/agent/transfer/source.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

namespace {

using namespace bailiwick;

// A version of 200 files of one chunk each, and a chunk beside it that nobody granted.
struct Source {
  Source() {
    handle.store = *store::DatasetStore::Open({.files = &files, .index = &index, .directory = "set", .dataset = {}});
    auto writer = handle.store->NewWriter();
    auto put = [&](const Digest& digest, std::string_view bytes) {
      REQUIRE(writer->Put(digest, store::EncodeChunk(bytes)).ok());
      return absl::OkStatus();
    };
    store::ManifestBuilder builder([&](const Digest& digest, std::string_view bytes) {
      nodes[digest] = std::make_shared<const store::Node>(*store::DecodeNode(bytes));
      return put(digest, bytes);
    });
    for (int i = 100; i < 300; ++i) {
      const std::string content(static_cast<size_t>(i), 'x');
      const Digest digest = crypto::Sha256(content);
      REQUIRE(put(digest, content).ok());
      store::Entry entry{
          .path = "file" + std::to_string(i), .size = content.size(), .chunks = {{digest, content.size()}}};
      REQUIRE(builder.Add(std::move(entry)).ok());
    }
    root = builder.Finish()->root;
    REQUIRE(put(crypto::Sha256("secret"), "secret").ok() && writer->Flush().ok());
    handle.nodes = std::make_unique<Nodes>(this);
  }
  struct Nodes : store::NodeSource {
    explicit Nodes(Source* s) : source(s) {}
    absl::StatusOr<std::shared_ptr<const store::Node>> Load(const Digest& digest) override {
      return source->nodes.at(digest);
    }
    Source* source;
  };
  fuzz::MemoryFiles files;
  store::FakeChunkIndex index;
  std::map<Digest, std::shared_ptr<const store::Node>> nodes;
  Digest root;
  agent::DatasetHandle handle;
};

}  // namespace

FUZZ_TARGET(want) {
  static auto* source = new Source;
  transfer::v1::Want want;
  const std::string_view bytes = in.Rest();
  if (!want.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  size_t asked = want.fetch_root() ? 1 : 0, came = 0;
  for (const auto& span : want.spans()) asked += span.count();
  auto size = [] { return agent::FrameSize::kLeast; };
  auto send = [&](agent::DataFrame& frame, bool last) {
    came += static_cast<size_t>(frame.pieces());
    auto decoded = agent::DecodeFrame(frame.Encode(last));
    REQUIRE(decoded.ok() && decoded->message.data().want_id() == want.want_id());
    for (const auto& piece : decoded->message.data().pieces()) REQUIRE(!piece.absent());
    agent::PayloadReader payload(*decoded);
    std::vector<std::string_view> parts;
    for (const auto& piece : decoded->message.data().pieces()) {
      parts.clear();
      payload.Take(piece.stored_length(), &parts);
      REQUIRE(parts.empty() || parts.front() != "secret");
    }
    return absl::OkStatus();
  };
  auto status = agent::WantServer(&source->handle, source->root).Serve(want, size, send);
  REQUIRE(!status.ok() || (came == asked && came <= agent::WantServer::kMaxChildren));
}
