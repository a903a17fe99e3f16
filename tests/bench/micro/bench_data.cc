// The data path, part by part, on one core where not said otherwise: bytes a second of chunking, hashing, packing and
// reading; look-ups in a chunk index of ten million; what comparing two versions of a million files reads; frames.
// Files lie under $TMPDIR (a tmpfs times the code, a disk its barriers). Run: build/release/bin/bench_data
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/chunk/fastcdc.h"
#include "common/crypto/digest.h"
#include "common/os/files.h"
#include "common/store/dataset_store.h"
#include "common/store/manifest.h"
#include "services/agent/transfer/frame.h"

namespace bailiwick {
namespace {

uint64_t Next(uint64_t* state) {  // splitmix64
  uint64_t z = *state += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

std::string Noise(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  for (size_t at = 0; at + 8 <= size; at += 8) {
    const uint64_t word = Next(&seed);
    std::memcpy(bytes.data() + at, &word, 8);
  }
  return bytes;
}

Digest Name(uint64_t n) {
  Digest digest;
  digest.algorithm = Digest::kSha256;
  for (size_t at = 0; at < Digest::kSize; at += 8) {
    const uint64_t word = Next(&n);
    std::memcpy(digest.bytes.data() + at, &word, 8);
  }
  return digest;
}

// Stops the program: a benchmark of something that failed would be a lie.
template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "bench_data: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}
void Must(const absl::Status& status) { Must(status.ok() ? absl::StatusOr<bool>(true) : status); }

class Directory {
 public:
  explicit Directory(const std::string& name)
      : path_(absl::StrCat(std::filesystem::temp_directory_path().string(), "/bw-bench-", getpid(), "-", name)) {
    Must(os::Files::System()->RemoveTree(path_));
    Must(os::Files::System()->MakeDirs(path_));
  }
  ~Directory() { os::Files::System()->RemoveTree(path_).IgnoreError(); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

void Chunking(benchmark::State& state) {
  const std::string data = Noise(64 << 20, 1);
  const chunk::Chunker chunker =
      Must(chunk::Chunker::Create({.average = static_cast<uint32_t>(state.range(0))}, "bench"));
  for (auto _ : state) {
    for (std::string_view rest = data; !rest.empty();) rest.remove_prefix(chunker.Next(rest));
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * data.size()));
}
BENCHMARK(Chunking)->Arg(32 << 10)->Arg(1 << 20)->Unit(benchmark::kMillisecond);

void Hashing(benchmark::State& state) {
  const std::string data = Noise(static_cast<size_t>(state.range(0)), 2);
  for (auto _ : state) benchmark::DoNotOptimize(crypto::Sha256(data));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * data.size()));
}
BENCHMARK(Hashing)->Arg(4 << 10)->Arg(32 << 10)->Arg(1 << 20);

// A chunk that does not compress (argument 0) and one that does.
void Compressing(benchmark::State& state) {
  std::string data = Noise(32 << 10, 3);
  if (state.range(0) == 1) {
    data.clear();
    for (int i = 0; data.size() < 32 << 10; ++i)
      absl::StrAppend(&data, "{\"t\":", i, ",\"joint\":", i * 37 % 1000, "}\n");
  }
  std::string packed;
  for (auto _ : state) benchmark::DoNotOptimize(store::CompressChunk(data, &packed));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * data.size()));
}
BENCHMARK(Compressing)->Arg(0)->Arg(1);

struct Chunks {
  std::vector<std::string> bytes;
  std::vector<Digest> digests;
};
const Chunks& SomeChunks() {  // 32 MiB
  static const Chunks* chunks = [] {
    auto* made = new Chunks;
    for (uint64_t n = 0; n < 1024; ++n) {
      made->bytes.push_back(Noise(32 << 10, n + 10));
      made->digests.push_back(crypto::Sha256(made->bytes.back()));
    }
    return made;
  }();
  return *chunks;
}

struct Store {
  explicit Store(const std::string& name) : directory(name) {
    index = Must(store::ChunkIndex::Open(directory.path() + "/index", 24 << 20));
    store = Must(store::DatasetStore::Open(
        {.files = os::Files::System(), .index = index.get(), .directory = directory.path() + "/set", .dataset = {}}));
  }
  void Fill() {
    auto writer = store->NewWriter();
    const Chunks& chunks = SomeChunks();
    for (size_t i = 0; i < chunks.bytes.size(); ++i) {
      const std::string_view part = chunks.bytes[i];
      Must(writer->PutMissing(
          chunks.digests[i],
          {.codec = store::Codec::kRaw, .raw_length = static_cast<uint32_t>(part.size()), .parts = {&part, 1}}));
    }
    Must(writer->Flush());
  }
  Directory directory;
  std::unique_ptr<store::ChunkIndex> index;
  std::unique_ptr<store::DatasetStore> store;
};

// Into a pack, with its barrier and its entries in the index.
void PackWriting(benchmark::State& state) {
  SomeChunks();
  for (auto _ : state) {
    state.PauseTiming();
    auto made = std::make_unique<Store>("write");
    state.ResumeTiming();
    made->Fill();
    state.PauseTiming();
    made.reset();
    state.ResumeTiming();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * (32 << 20)));
}
BENCHMARK(PackWriting)->Unit(benchmark::kMillisecond);

void PackReading(benchmark::State& state) {
  Store made("read");
  made.Fill();
  const std::vector<Digest>& digests = SomeChunks().digests;
  const size_t together = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    for (size_t i = 0; i < digests.size(); i += together) {
      for (auto& chunk : made.store->ReadMany(std::span(digests).subspan(i, together))) {
        benchmark::DoNotOptimize(Must(std::move(chunk)).bytes.data());
      }
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * (32 << 20)));
}
BENCHMARK(PackReading)->Arg(1)->Arg(32)->Unit(benchmark::kMillisecond);

// Ten million chunks of one dataset, in packs of 2,048.
class Index {
 public:
  static constexpr uint64_t kChunks = 10'000'000;
  static constexpr uint64_t kPack = 2048;
  static Index& Get() {
    static Index index;
    return index;
  }
  store::ChunkIndex& index() { return *index_; }
  void PutPack(uint64_t pack) {
    std::vector<std::pair<Digest, store::ChunkLocation>> chunks;
    for (uint64_t n = pack * kPack; n < (pack + 1) * kPack; ++n) {
      chunks.push_back({Name(n), {.pack = pack + 1, .offset = n * 32, .stored_length = 32, .raw_length = 32}});
    }
    Must(index_->PutPack({}, pack + 1, chunks));
  }

 private:
  Index() : directory_("index"), index_(Must(store::ChunkIndex::Open(directory_.path() + "/index", 24 << 20))) {
    for (uint64_t pack = 0; pack < kChunks / kPack; ++pack) PutPack(pack);
    Must(index_->Flush());
  }
  Directory directory_;
  std::unique_ptr<store::ChunkIndex> index_;
};

void IndexLookups(benchmark::State& state) {
  Index& made = Index::Get();
  const bool there = state.range(0) == 1;
  uint64_t seed = 7 + static_cast<uint64_t>(state.thread_index());
  std::vector<Digest> digests(256);
  for (auto _ : state) {
    for (Digest& digest : digests)
      digest = Name(there ? Next(&seed) % Index::kChunks : Index::kChunks * 2 + Next(&seed));
    benchmark::DoNotOptimize(Must(made.index().GetMany({}, digests)));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * digests.size()));
}
BENCHMARK(IndexLookups)->ArgName("there")->Arg(0)->Arg(1)->Threads(1)->Threads(2)->UseRealTime()->MinWarmUpTime(5);

void IndexInserts(benchmark::State& state) {
  Index& made = Index::Get();
  static uint64_t pack = Index::kChunks / Index::kPack;
  for (auto _ : state) made.PutPack(pack++);
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * Index::kPack));
}
BENCHMARK(IndexInserts);

// Nodes in memory; counts what is loaded.
class Nodes : public store::NodeSource {
 public:
  absl::StatusOr<std::shared_ptr<const store::Node>> Load(const Digest& digest) override {
    ++loads;
    auto it = nodes_.find(digest);
    if (it == nodes_.end()) return absl::NotFoundError("no such node");
    auto node = store::DecodeNode(it->second);
    if (!node.ok()) return node.status();
    return std::make_shared<const store::Node>(*std::move(node));
  }
  // A million files in a thousand directories; those of which `changed` says so have other content.
  template <typename Changed>
  store::ManifestSummary Build(Changed changed) {
    store::ManifestBuilder builder([this](const Digest& digest, std::string_view encoded) {
      nodes_.emplace(digest, encoded);
      return absl::OkStatus();
    });
    for (uint64_t d = 0; d < 1000; ++d) {
      Must(builder.Add({.path = absl::StrFormat("d%03d", d), .type = store::EntryType::kDirectory, .mode = 0755}));
      for (uint64_t f = 0; f < 1000; ++f) {
        const uint64_t n = d * 1000 + f;
        Must(builder.Add({.path = absl::StrFormat("d%03d/f%03d", d, f),
                          .mode = 0644,
                          .size = 8192,
                          .chunks = {{Name(changed(n) ? n + 100'000'000 : n), 8192}}}));
      }
    }
    return Must(builder.Finish());
  }
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const auto& [digest, encoded] : nodes_) sum += encoded.size();
    return sum;
  }
  uint64_t loads = 0;

 private:
  std::map<Digest, std::string> nodes_;
};

void ManifestBuilding(benchmark::State& state) {
  uint64_t bytes = 0;
  for (auto _ : state) {
    Nodes nodes;
    nodes.Build([](uint64_t) { return false; });
    state.PauseTiming();
    bytes = nodes.bytes();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * 1'000'000));
  state.counters["bytes_a_file"] = static_cast<double>(bytes) / 1e6;
}
BENCHMARK(ManifestBuilding)->Unit(benchmark::kMillisecond)->Iterations(1);

// Ten of a million files differ.
void ManifestDiff(benchmark::State& state) {
  Nodes nodes;
  const Digest before = nodes.Build([](uint64_t) { return false; }).root;
  const Digest after = nodes.Build([](uint64_t n) { return n % 100'000 == 777; }).root;
  nodes.loads = 0;
  uint64_t differences = 0;
  for (auto _ : state) {
    Must(store::DiffManifests(&nodes, before, after, [&](const store::Entry*, const store::Entry*) {
      ++differences;
      return absl::OkStatus();
    }));
  }
  state.counters["differences"] = static_cast<double>(differences) / static_cast<double>(state.iterations());
  state.counters["nodes_read"] = static_cast<double>(nodes.loads) / static_cast<double>(state.iterations());
}
BENCHMARK(ManifestDiff);

// What both ends do to a frame of 32 chunks beside gRPC and TLS: made, taken apart, verified.
void FramePath(benchmark::State& state) {
  const Chunks& chunks = SomeChunks();
  std::vector<std::string_view> parts;
  for (auto _ : state) {
    agent::DataFrame frame(1);
    for (size_t i = 0; i < 32; ++i) {
      frame.Add({.codec = store::Codec::kRaw, .raw_length = 32 << 10, .bytes = chunks.bytes[i], .buffer = nullptr});
    }
    const agent::InFrame in = Must(agent::DecodeFrame(frame.Encode(true)));
    agent::PayloadReader payload(in);
    for (size_t i = 0; i < 32; ++i) {
      parts.clear();
      payload.Take(32 << 10, &parts);
      if (state.range(0) == 1) {
        Must(store::VerifyChunk({.codec = store::Codec::kRaw, .raw_length = 32 << 10, .parts = parts},
                                chunks.digests[i]));
      }
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * (1 << 20)));
}
BENCHMARK(FramePath)->ArgName("verify")->Arg(0)->Arg(1);

}  // namespace
}  // namespace bailiwick

BENCHMARK_MAIN();
