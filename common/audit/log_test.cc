#include "common/audit/log.h"

#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "common/audit/audit_fixture.h"
#include "common/audit/detail.h"
#include "common/audit/json.h"
#include "common/audit/merkle.h"
#include "common/audit/proof.h"
#include "common/audit/tiles.h"
#include "common/crypto/digest.h"

namespace bailiwick::audit {
namespace {

class AuditTest : public AuditFixture {
 protected:
  Note Cosigned(const std::string& checkpoint) {
    Note note = *Note::Parse(checkpoint);
    note.signatures.push_back(Cosign(note.text, "w.example", Key('w'), clock_.Now()));
    return note;
  }
  bool Served(const std::string& tile) { return *files_->Exists(path_ + "/" + tile); }
  // A reader that knows nothing but the standard finds the files of this size, or the full ones.
  void ExpectServed(os::Files* files, const Checkpoint& then) {
    auto root = RootOf(then.size, ReadSubtrees(files, path_, then.size));
    ASSERT_TRUE(root.ok()) << root.status();
    EXPECT_EQ(*root, then.root);
    for (int level = kEntries; level < 2; ++level) {
      const uint64_t n = level <= 0 ? then.size / kTileWidth : 0, width = TileWidth(level, n, then.size);
      if (width == 0) continue;
      EXPECT_TRUE(Served(TilePath(level, n, width)) || Served(TilePath(level, n, kTileWidth)))
          << TilePath(level, n, width);
      EXPECT_TRUE(ReadTile(files, path_, level, n, then.size).ok());
    }
  }
};

TEST_F(AuditTest, AppendsReadsAndGoesOnAfterReopen) {
  absl::Time start = clock_.Now();
  Fill(3);
  auto log = Open();
  EXPECT_EQ(*log->Append("transfer-refused", "site \"x\"\n\xc3\xbc",
                         " { \"a\" : [ 1, -2.5e3, true, null, {} ],\n \"b\":\"c d\" } "),
            4u);
  auto records = log->Read(1, 100);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 4u);
  EXPECT_EQ((*records)[1].sequence, 2u);
  EXPECT_EQ((*records)[1].kind, "grant-accepted");
  EXPECT_EQ((*records)[1].subject, "dataset-2");
  EXPECT_EQ((*records)[1].detail, "{\"n\":2}");
  EXPECT_EQ((*records)[1].at, start + absl::Nanoseconds(1001));
  EXPECT_EQ((*records)[3].subject, "site \"x\"\n\xc3\xbc");
  EXPECT_EQ((*records)[3].detail, "{\"a\":[1,-2.5e3,true,null,{}],\"b\":\"c d\"}");
  EXPECT_EQ(log->Read(3, 1)->at(0).sequence, 3u);
  EXPECT_EQ(log->Read(0, 1)->at(0).kind, "log-began");
  EXPECT_TRUE(log->Read(5, 10)->empty());
}

TEST_F(AuditTest, ReadsAcrossItsFiles) {
  auto on_disk = [this] {
    uint64_t bytes = 0;
    for (const std::string& name : AllFiles("payload")) bytes += File(name).size();
    return bytes;
  };
  auto log = Fill(9600);
  EXPECT_EQ(log->bytes(), on_disk());
  log = nullptr;
  log = Open();
  EXPECT_EQ(log->size(), 9601u);
  EXPECT_EQ(log->bytes(), on_disk());
  EXPECT_GT(log->bytes(), 9601u * 100);
  for (uint64_t from : {1, 255, 256, 4095, 4096, 4097, 8191, 8192, 9600}) {
    auto records = log->Read(from, 2);
    ASSERT_TRUE(records.ok()) << records.status();
    EXPECT_EQ(records->at(0).sequence, from);
    EXPECT_EQ(records->size(), from == 9600 ? 1u : 2u);
  }
  EXPECT_EQ(log->Read(0, 100'000)->size(), 9601u);
  EXPECT_EQ(Verified(Believe()).finding, Finding::kTrue);
}

TEST_F(AuditTest, RefusesWhatIsNoRecord) {
  auto log = Open();
  for (const char* bad : {"[]", "x", "{", "{}x", "{\"a\"}", "{\"a\":01}", "{a:1}", "{\"a\":\"\n\"}", "{\"a\":1,}",
                          "{\"a\":\"\\x\"}", "{\"a\":1,\"a\":2}", "{\"a\":{\"b\":1,\"\\u0062\":2}}"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(log->Append("k", "s", bad).status())) << bad;
  }
  for (const char* bad : {"", "A", "a b", "-a", "a\n", "\xc3\xbc"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(log->Append(bad, "s", "{}").status())) << bad;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(log->Append("k", std::string(5000, 's'), "{}").status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(log->Append("k", "s", "{\"a\":\"" + std::string(kMaxDetail, 'x') + "\"}").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      log->Append("k", "s", "{\"a\":" + std::string(1000, '[') + std::string(1000, ']') + "}").status()));
  EXPECT_EQ(*log->Append("k", "", ""), 1u);
  EXPECT_EQ(log->Read(1, 1)->at(0).detail, "{}");
  // The longest of everything, all of it escaped, still fits a line.
  EXPECT_TRUE(log->Append(std::string(kMaxKind, 'k'), std::string(kMaxSubject, '\x01'),
                          "{\"a\":\"" + std::string(kMaxDetail - 8, '\xff') + "\"}")
                  .ok());
  log.reset();
  EXPECT_EQ(Verified(Believe()).size, 3u);
}

TEST_F(AuditTest, NoTextEndsItsMemberOrAddsOne) {
  auto log = Open();
  const std::string hostile[] = {"x\",\"to\":\"me", "it's Ger\xc3\xa4t", "\\", "\n\x01\x7f", "\xff\xfe", "}"};
  for (const std::string& text : hostile) {
    auto appended = log->Append("k", "s", Detail().Text("said", text).Number("n", 7).Flag("f", true));
    ASSERT_TRUE(appended.ok()) << text << ": " << appended.status();
    const std::string detail = log->Read(*appended, 1)->at(0).detail;
    const auto members = ObjectMembers(detail);
    EXPECT_EQ(members.size(), 3u) << detail;
    EXPECT_EQ(StringValue(members.at("said")), text == "\xff\xfe" ? "\xef\xbf\xbd\xef\xbf\xbd" : text) << detail;
  }
  EXPECT_EQ(Detail().str(), "{}");
}

TEST_F(AuditTest, ATornLastRecordIsCutOff) {
  ASSERT_NE(Fill(3), nullptr);
  ASSERT_TRUE(files_->RemoveTree(path_ + "/tile").ok());
  ASSERT_TRUE(files_->Remove(path_ + "/checkpoint").ok());  // power went before the first was signed
  const std::string name = PayloadPath(0), whole = File(name);
  const size_t third = whole.size() - LinesOf(whole)[3].size();
  for (size_t size = third; size < whole.size(); ++size) {
    Set(name, whole.substr(0, size));
    ASSERT_EQ(*Open(files_, /*sign=*/false)->Append("again", "s", "{}"), 3u) << size;
    ASSERT_EQ(Open(files_, false)->size(), 4u);
  }
  // A block that the disk never wrote reads as zeros.
  Set(name, whole.substr(0, third) + std::string(100, '\0') + whole.substr(third + 100));
  EXPECT_EQ(*Open()->Append("again", "s", "{}"), 3u);
}

TEST_F(AuditTest, DamageToWhatWasAcknowledgedIsSaidAndTheLogLeftAlone) {
  ASSERT_NE(Fill(3), nullptr);
  const std::string name = PayloadPath(0), whole = File(name);
  for (size_t i = 0; i < whole.size(); i += 7) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x11);
    Set(name, changed);
    EXPECT_TRUE(absl::IsDataLoss(Log::Open(files_, &clock_, os::Random::System(), path_).status())) << i;
    EXPECT_EQ(File(name), changed);
  }
  // Signed records that are not there any more are no torn tail.
  Set(name, whole.substr(0, whole.size() - 10));
  EXPECT_TRUE(absl::IsDataLoss(Log::Open(files_, &clock_, os::Random::System(), path_).status()));
  Set(name, whole);
  const std::string tile = TilePath(0, 0, 4);
  std::string hashes = File(tile);
  hashes[40] ^= 1;
  Set(tile, hashes);
  EXPECT_TRUE(absl::IsDataLoss(Log::Open(files_, &clock_, os::Random::System(), path_).status()));
}

TEST_F(AuditTest, ConcurrentAppendsShareSyncsAndAreAllThere) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults, /*sign=*/false);
  constexpr int kThreads = 8, kEach = 20;
  std::vector<std::thread> threads;
  std::vector<std::vector<uint64_t>> sequences(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        auto sequence = log->Append("k", std::to_string(t) + "/" + std::to_string(i), "{}");
        if (sequence.ok()) sequences[static_cast<size_t>(t)].push_back(*sequence);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::set<uint64_t> distinct;
  for (const auto& own : sequences) {
    EXPECT_EQ(own.size(), static_cast<size_t>(kEach));
    EXPECT_TRUE(std::is_sorted(own.begin(), own.end()));
    distinct.insert(own.begin(), own.end());
  }
  EXPECT_EQ(distinct.size(), static_cast<size_t>(kThreads * kEach));
  EXPECT_EQ(*distinct.rbegin(), static_cast<uint64_t>(kThreads * kEach));
  ASSERT_TRUE(faults.DropUnsynced().ok());
  EXPECT_EQ(Open(&faults)->size(), static_cast<uint64_t>(kThreads * kEach + 1)) << "all were durable";
}

// Across the ends of a bundle and of a payload file, with checkpoints in between.
TEST_F(AuditTest, PowerLossAtEveryOperationKeepsWhatWasAcknowledgedAndSigned) {
  std::map<std::string, std::string> prepared;
  Fill(253);
  for (const std::string& file : AllFiles()) prepared[file] = File(file);
  bool finished = false;
  for (uint64_t n = 0; !finished; ++n) {
    for (bool keep : {false, true}) {
      SCOPED_TRACE(n);
      ASSERT_TRUE(files_->RemoveTree(path_).ok());
      for (const auto& [file, content] : prepared) {
        ASSERT_TRUE(files_->MakeDirs((path_ + "/" + file).substr(0, path_.size() + 1 + file.rfind('/') + 1)).ok());
        Set(file, content);
      }
      os::FaultFiles faults(files_, root_);
      faults.StopAfter(n);
      uint64_t acknowledged = 0;
      std::string told = File("checkpoint");  // what others may have seen
      std::string kept;                       // what they have cosigned
      Note cosigned;
      if (auto log = Log::Open(&faults, &clock_, os::Random::System(), path_); log.ok()) {
        ASSERT_TRUE((*log)->SignAs("acme.example/site/core", Key('k')).ok());
        for (int i = 0; i < 9; ++i) {
          auto sequence = (*log)->Append("k", "s", "{}");
          if (!sequence.ok()) break;
          acknowledged = *sequence;
          if (i % 3 == 2 && (*log)->Sign().ok()) told = (*log)->checkpoint();
          // What others cosign arrives when newer ones have been signed.
          if (i == 2) cosigned = Cosigned((*log)->checkpoint());
          if (i == 5 && (*log)->PutWitnessed(cosigned).ok()) kept = (*log)->witnessed();
        }
        finished = acknowledged == 262 && n > faults.operations();
      }
      ASSERT_TRUE((keep ? faults.KeepUnsynced() : faults.DropUnsynced()).ok());
      auto log = Open(&faults);
      ASSERT_NE(log, nullptr);
      EXPECT_TRUE(kept.empty() || log->witnessed() == kept) << log->witnessed();
      for (const std::string& signed_note : {log->checkpoint(), log->witnessed()}) {
        if (!signed_note.empty()) ExpectServed(&faults, ReadCheckpoint(signed_note)->checkpoint);
      }
      auto next = log->Append("k", "after", "{}");
      ASSERT_TRUE(next.ok()) << next.status();
      EXPECT_GT(*next, acknowledged);
      ASSERT_TRUE(log->Sign().ok());
      // What was signed before is how the log begins.
      auto seen = ReadCheckpoint(told), now = ReadCheckpoint(log->checkpoint());
      ASSERT_TRUE(seen.ok() && now.ok());
      auto proof = log->Consistency(seen->checkpoint.size, now->checkpoint.size);
      ASSERT_TRUE(proof.ok()) << proof.status();
      EXPECT_TRUE(VerifyConsistency(seen->checkpoint.size, seen->checkpoint.root, now->checkpoint.size,
                                    now->checkpoint.root, *proof)
                      .ok());
      const Verdict verdict = Verified(Believe(), &faults);
      EXPECT_EQ(verdict.finding, Finding::kTrue) << (verdict.problems.empty() ? "" : verdict.problems[0]);
      EXPECT_EQ(verdict.size, *next + 1);
      if (!log->witnessed().empty()) ExpectServed(&faults, ReadCheckpoint(log->witnessed())->checkpoint);
      ExpectServed(&faults, now->checkpoint);
      for (const std::string& file : Partials()) EXPECT_FALSE(Served(file.substr(0, file.find(".p/")))) << file;
      EXPECT_LE(Partials().size(), 6u);
    }
  }
}

TEST_F(AuditTest, FewFilesLieAtTheEdge) {
  auto log = Open();
  const auto sign = [&](int times) {
    for (int i = 0; i < times; ++i) {
      ASSERT_TRUE(log->Append("k", "s", "{}").ok());
      ASSERT_TRUE(log->Sign().ok());
    }
  };
  sign(200);
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/000.p/201", "tile/entries/000.p/201"}));
  // Those that others have cosigned stay, until there is another.
  const Note first = Cosigned(log->checkpoint());
  sign(1);
  ASSERT_TRUE(log->PutWitnessed(first).ok());
  sign(5);
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/000.p/201", "tile/0/000.p/207", "tile/entries/000.p/201",
                                                  "tile/entries/000.p/207"}));
  ExpectServed(files_, ReadCheckpoint(log->witnessed())->checkpoint);
  for (const uint64_t sequence : {0, 7, 200}) {
    auto proof = ProveRecord(files_, path_, sequence);
    ASSERT_TRUE(proof.ok()) << proof.status();
    EXPECT_EQ(proof->checkpoint, log->witnessed());
    EXPECT_EQ(VerifyProof(proof->Encode(), Believe())->finding, Finding::kTrue);
  }
  ASSERT_TRUE(log->PutWitnessed(Cosigned(log->checkpoint())).ok());
  sign(3);
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/000.p/207", "tile/0/000.p/210", "tile/entries/000.p/207",
                                                  "tile/entries/000.p/210"}));
  sign(50);
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/001.p/4", "tile/1/000.p/1", "tile/entries/001.p/4"}));
  EXPECT_EQ(Verified(Believe()).finding, Finding::kTrue);
}

TEST_F(AuditTest, TheHundredsThatBuildsBeforeLeftGoWithTheNextSignature) {
  { auto log = Fill(150); }
  AddEveryNarrowerPartial();
  ASSERT_EQ(Partials().size(), 302u);
  auto log = Open();
  ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  ASSERT_TRUE(log->Sign().ok());
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/000.p/152", "tile/entries/000.p/152"}));
  EXPECT_EQ(Verified(Believe()).finding, Finding::kTrue);
}

TEST_F(AuditTest, WhatACrashLeftOfAFullTileGoesWhenTheLogIsOpened) {
  { auto log = Fill(300); }
  const std::vector<std::string> tidy = Partials();
  for (const char* level : {"tile/0/", "tile/entries/"}) {
    ASSERT_TRUE(files_->MakeDirs(path_ + "/" + level + "000.p").ok());
    Set(std::string(level) + "000.p/254", "x");
  }
  ASSERT_TRUE(files_->Rename(path_ + "/tile/0/000", path_ + "/aside").ok());
  ASSERT_NE(Open(), nullptr);
  EXPECT_TRUE(*files_->Exists(path_ + "/tile/0/000.p")) << "without the full file it may be all there is";
  EXPECT_FALSE(*files_->Exists(path_ + "/tile/entries/000.p"));
  ASSERT_TRUE(files_->Rename(path_ + "/aside", path_ + "/tile/0/000").ok());
  ASSERT_NE(Open(), nullptr);
  EXPECT_EQ(Partials(), tidy);
}

TEST_F(AuditTest, WhatCannotBeRemovedIsNoReasonNotToSignAndGoesLater) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults);
  const auto sign = [&] {
    ASSERT_TRUE(log->Append("k", "s", "{}").ok());
    ASSERT_TRUE(log->Sign().ok());
    EXPECT_EQ(ReadCheckpoint(log->checkpoint())->checkpoint.size, log->size());
  };
  sign();
  faults.FailNext("remove " + path_ + "/tile/", absl::DataLossError("EIO"));
  sign();
  EXPECT_GT(Partials().size(), 2u);
  sign();
  EXPECT_EQ(Partials().size(), 2u);
}

TEST_F(AuditTest, ProofsAreServedBesideSignatures) {
  auto log = Open();
  ASSERT_TRUE(log->Sign().ok());
  std::atomic<bool> done = false;
  std::thread reader([&] {
    for (bool last = false; !last;) {
      last = done;
      const Checkpoint now = ReadCheckpoint(log->checkpoint())->checkpoint;
      auto root = log->Root(now.size);
      ASSERT_TRUE(root.ok()) << root.status();
      EXPECT_EQ(*root, now.root);
      auto proof = log->Inclusion(0, now.size);
      ASSERT_TRUE(proof.ok()) << proof.status();
      auto bundle = ReadTile(files_, path_, kEntries, (now.size - 1) / kTileWidth, now.size);
      EXPECT_TRUE(bundle.ok()) << bundle.status();
    }
  });
  for (int i = 0; i < 300; ++i) {
    EXPECT_TRUE(log->Append("k", "s", "{}").ok());
    const std::string before = log->checkpoint();
    EXPECT_TRUE(log->Sign().ok());
    EXPECT_TRUE(i % 10 != 0 || log->PutWitnessed(Cosigned(before)).ok());
  }
  done = true;
  reader.join();
}

TEST_F(AuditTest, AFullDiskRefusesThenGoesOnAFailedSyncIsFinal) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults, /*sign=*/false);
  ASSERT_TRUE(log->Append("k", "one", "{}").ok());
  faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left"));
  EXPECT_TRUE(absl::IsResourceExhausted(log->Append("k", "refused", "{}").status()));
  EXPECT_EQ(log->Read(0, 10)->size(), 2u) << "reading goes on";
  EXPECT_EQ(*log->Append("k", "two", "{}"), 2u);
  faults.FailAt(faults.operations() + 2, absl::DataLossError("EIO"));
  EXPECT_FALSE(log->Append("k", "unsynced", "{}").ok());
  EXPECT_FALSE(log->Append("k", "after", "{}").ok());
  EXPECT_EQ(log->Read(1, 10)->size(), 2u) << "only what is durable is shown";
  ASSERT_TRUE(faults.DropUnsynced().ok());
  EXPECT_EQ(Open(&faults)->size(), 3u);
}

TEST_F(AuditTest, OnAFullDiskTheRecordOfAReadIsOwedAndWrittenBeforeAnyLaterOne) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults);
  ASSERT_TRUE(log->Append("k", "one", "{}").ok());
  ASSERT_TRUE(log->Sign().ok());
  const auto full = [&] { faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left")); };
  clock_.Advance(absl::Seconds(5));
  const absl::Time then = clock_.Now();
  full();
  EXPECT_TRUE(log->AppendOrOwe("read", "first", "{}").ok());
  full();
  EXPECT_TRUE(log->AppendOrOwe("read", "second", "{\"n\":1}").ok());
  full();
  EXPECT_TRUE(absl::IsResourceExhausted(log->Append("k", "an act", "{}").status())) << "acts are refused as before";
  EXPECT_EQ(log->size(), 2u);
  EXPECT_TRUE(absl::IsInvalidArgument(log->AppendOrOwe("no kind", "", "{}")));
  clock_.Advance(absl::Seconds(60));
  EXPECT_EQ(*log->Append("k", "later", "{}"), 4u);
  auto records = log->Read(2, 10);
  ASSERT_EQ(records->size(), 3u);
  EXPECT_EQ(records->at(0).subject, "first");
  EXPECT_EQ(records->at(0).at, then);
  EXPECT_EQ(records->at(1).detail, "{\"n\":1}");
  EXPECT_EQ(records->at(2).subject, "later");
  ASSERT_TRUE(log->Sign().ok());
  EXPECT_EQ(Verified(Believe(), &faults).finding, Finding::kTrue);
}

TEST_F(AuditTest, WhatIsOwedIsWrittenByTheNextSignatureAndIsBounded) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults);
  ASSERT_TRUE(log->Sign().ok());
  const auto owe = [&] {
    faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left"));
    return log->AppendOrOwe("read", "s", "{}");
  };
  for (size_t i = 0; i < kMaxOwed; ++i) ASSERT_TRUE(owe().ok()) << i;
  EXPECT_TRUE(absl::IsResourceExhausted(owe()));
  ASSERT_TRUE(log->Sign().ok());
  EXPECT_EQ(log->size(), 1 + kMaxOwed);
  EXPECT_EQ(Verified(Believe(), &faults).size, 1 + kMaxOwed);
  log.reset();
  EXPECT_EQ(Open(&faults)->size(), 1 + kMaxOwed) << "once";
}

TEST_F(AuditTest, WhatIsOwedUpToTheEndOfAFileDoesNotKeepAnActWaiting) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults);
  while (log->size() < kPayloadRecords - 2) ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  const auto full = [&] { faults.FailAt(faults.operations() + 1, absl::ResourceExhaustedError("no space left")); };
  for (int i = 0; i < 2; ++i) {
    full();
    ASSERT_TRUE(log->AppendOrOwe("read", "s", "{}").ok());
  }
  full();  // what is owed fills the file, so there is no room for the act beside it
  EXPECT_TRUE(absl::IsResourceExhausted(log->Append("k", "an act", "{}").status()));
  EXPECT_EQ(*log->Append("k", "later", "{}"), kPayloadRecords);
  EXPECT_EQ(log->Read(kPayloadRecords - 1, 1)->at(0).kind, "read");
}

TEST_F(AuditTest, ACheckpointThatCannotBeWrittenIsMadeAgain) {
  os::FaultFiles faults(files_, root_);
  auto log = Open(&faults);
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  faults.ResetOperations();
  faults.FailAt(3, absl::ResourceExhaustedError("no space left"), /*from_then_on=*/true);
  EXPECT_TRUE(absl::IsResourceExhausted(log->Sign()));
  EXPECT_EQ(log->checkpoint(), "");
  faults.ClearFaults();
  ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  ASSERT_TRUE(log->Sign().ok());
  EXPECT_EQ(Verified(Believe(), &faults).finding, Finding::kTrue);
  EXPECT_EQ(Verified(Believe(), &faults).size, 302u);
}

TEST_F(AuditTest, WhatAnOlderBuildRecordedStaysReadableAndBound) {
  const std::string old =
      R"({"seq":1,"at":"2023-11-14T22:13:20.000000000Z","kind":"grant-accepted","subject":"dataset-0","detail":{"n":0},"prev":"0000000000000000000000000000000000000000000000000000000000000000","hash":"@1"})"
      "\n";
  ASSERT_TRUE(files_->MakeDirs(root_).ok());
  // As the older build wrote it: the hash is over everything before it, after the domain and the previous hash.
  std::string line = old.substr(0, old.find(",\"hash\""));
  const Digest hash = [&] {
    std::string all("bailiwick-audit-v1\0", 19);
    all += std::string(32, '\0') + line;
    return crypto::Sha256(all);
  }();
  line += ",\"hash\":\"" + hash.Hex() + "\"}\n";
  ASSERT_TRUE(os::WriteFileAtomically(files_, path_ + ".log", line + "torn").ok());
  {
    auto log = Open();
    ASSERT_NE(log, nullptr);
    auto records = log->Read(1, 5);
    ASSERT_EQ(records->size(), 1u);
    EXPECT_EQ(records->at(0).kind, "log-continued");
    EXPECT_EQ(records->at(0).detail, "{\"file\":\"before.log\",\"records\":1,\"head\":\"" + hash.Hex() + "\"}");
  }
  EXPECT_EQ(File("before.log"), line + "torn");
  EXPECT_FALSE(*files_->Exists(path_ + ".log"));
  EXPECT_EQ(Open()->size(), 2u) << "it is moved once";
  Verdict verdict = Verified(Believe());
  EXPECT_EQ(verdict.finding, Finding::kTrue);
  EXPECT_EQ(verdict.before, 1u);
  for (size_t i = 0; i < line.size(); i += 3) {
    std::string changed = line;
    changed[i] = static_cast<char>(changed[i] ^ 0x11);
    Set("before.log", changed);
    EXPECT_EQ(Verified(Believe()).finding, Finding::kTampered) << i;
  }
  ASSERT_TRUE(files_->Remove(path_ + "/before.log").ok());
  EXPECT_EQ(Verified(Believe()).finding, Finding::kIncomplete);
  // Damaged, it is not taken over.
  ASSERT_TRUE(files_->RemoveTree(path_).ok());
  ASSERT_TRUE(os::WriteFileAtomically(files_, path_ + ".log", line + line).ok());
  EXPECT_TRUE(absl::IsDataLoss(Log::Open(files_, &clock_, os::Random::System(), path_).status()));
}

}  // namespace
}  // namespace bailiwick::audit
