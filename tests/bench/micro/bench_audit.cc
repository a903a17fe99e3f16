// Audit logs: durable appends a second by group commit, and how long a log of a million records takes to verify.
//   bench_audit --benchmark_filter=Append    (TMPDIR says on which disk)
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/audit/log.h"
#include "common/audit/proof.h"
#include "common/audit/verify.h"

namespace bailiwick::audit {
namespace {

constexpr char kName[] = "acme.example/site/core";
constexpr char kDetail[] =
    R"({"grant":"0011223344556677","version":"1111111111111111111111111111111111111111111111111111111111111111","source":"spiffe://acme/region/eu/de/site/factory/agent/a","destination":"spiffe://acme/region/eu/de/site/core/agent/a","purpose":"","policyRevision":3,"code":"COMPLETE","rule":"acme/eu-data-stays","wireBytes":123456})";

std::string Directory() {
  const char* base = std::getenv("TMPDIR");
  return std::string(base == nullptr ? "/tmp" : base) + "/bw-bench-audit-" + std::to_string(::getpid());
}

std::unique_ptr<Log> Fresh() {
  os::Files::System()->RemoveTree(Directory()).IgnoreError();
  auto log = *Log::Open(os::Files::System(), os::Clock::System(), os::Random::System(), Directory() + "/audit");
  log->SignAs(kName, *crypto::SigningKey::FromSeed(std::string(32, 'k'))).IgnoreError();
  return log;
}

// So many threads append at once, each record durable before the next of its thread.
void BM_Append(benchmark::State& state) {
  const int threads = static_cast<int>(state.range(0));
  auto log = Fresh();
  uint64_t appended = 0;
  for (auto _ : state) {
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t) {
      all.emplace_back([&] {
        for (int i = 0; i < 500; ++i) {
          if (!log->Append("grant-accepted", "telemetry/0011223344556677", kDetail).ok()) std::abort();
        }
      });
    }
    for (auto& thread : all) thread.join();
    appended += static_cast<uint64_t>(threads) * 500;
  }
  state.counters["appends/s"] = benchmark::Counter(static_cast<double>(appended), benchmark::Counter::kIsRate);
  log.reset();
  os::Files::System()->RemoveTree(Directory()).IgnoreError();
}
BENCHMARK(BM_Append)->Arg(1)->Arg(16)->Arg(64)->Arg(256)->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_Verify(benchmark::State& state) {
  const uint64_t records = static_cast<uint64_t>(state.range(0));
  os::Files* files = os::Files::System();
  files->RemoveTree(Directory()).IgnoreError();
  const crypto::SigningKey key = *crypto::SigningKey::FromSeed(std::string(32, 'k'));
  TileTree tree;
  LogWriter writer(files, Directory());
  for (uint64_t i = 0; i < records; ++i) {
    const Record record{.sequence = i,
                        .at = os::Clock::System()->Now(),
                        .kind = "grant-accepted",
                        .subject = "telemetry/0011223344556677",
                        .detail = kDetail};
    const Encoded encoded = Encode(record, os::Random::System()->Bytes(kSaltBytes));
    tree.Add(encoded.entry);
    tree.Written(tree.size());
    if (!writer.Add(std::string_view(encoded.line).substr(0, encoded.line.size() - 1)).ok()) std::abort();
  }
  const std::string origin = std::string(kName) + "/audit/0011223344556677";
  Note note{.text = Checkpoint{origin, records, tree.Root()}.Text()};
  note.signatures.push_back(SignNote(note.text, origin, key));
  if (!writer.Finish(note.Encode(), "").ok()) std::abort();
  const Trust trust =
      *Trust::Parse("log " + NoteKey{origin, NoteKey::Type::kLog, key.public_key()}.ToVkey() + "\nquorum none\n", "t");
  for (auto _ : state) {
    auto verdict = VerifyLog(files, Directory(), trust);
    if (!verdict.ok() || verdict->finding != Finding::kTrue) std::abort();
  }
  files->RemoveTree(Directory()).IgnoreError();
}
BENCHMARK(BM_Verify)->Arg(1'000'000)->Iterations(1)->UseRealTime()->Unit(benchmark::kSecond);

}  // namespace
}  // namespace bailiwick::audit

BENCHMARK_MAIN();
