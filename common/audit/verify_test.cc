#include "common/audit/verify.h"

#include <utility>

#include "common/audit/audit_fixture.h"
#include "common/audit/proof.h"
#include "common/audit/tiles.h"

namespace bailiwick::audit {
namespace {

class VerifyTest : public AuditFixture {};

TEST_F(VerifyTest, FlippingAnyByteOfAnyFileIsFound) {
  const NoteKey witness = {"w.example", NoteKey::Type::kCosigner, Key('w').public_key()};
  {
    auto log = Fill(5);
    ASSERT_TRUE(log->Sign().ok());
    Note note = *Note::Parse(log->checkpoint());
    note.signatures.push_back(Cosign(note.text, "w.example", Key('w'), clock_.Now()));
    ASSERT_TRUE(log->PutWitnessed(note).ok());
  }
  { auto log = Fill(2); }  // a second checkpoint: the tiles of the one that was witnessed stay
  const Trust trust = Believe("witness w " + witness.ToVkey() + "\nquorum none\n");
  ASSERT_EQ(Verified(trust).finding, Finding::kTrue);
  const std::vector<std::string> files = AllFiles();
  EXPECT_EQ(files.size(), 7u);  // checkpoint, witnessed, payload, two bundles, two tiles
  for (const std::string& file : files) {
    const std::string whole = File(file);
    for (size_t i = 0; i < whole.size(); ++i) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ 0x11);
      Set(file, changed);
      auto verdict = VerifyLog(files_, path_, trust);
      const bool found =
          absl::IsInvalidArgument(verdict.status()) || (verdict.ok() && verdict->finding >= Finding::kIncomplete);
      ASSERT_TRUE(found) << "byte " << i << " of " << file;
      ASSERT_TRUE(!verdict.ok() || !verdict->problems.empty());
    }
    Set(file, whole);
  }
  EXPECT_EQ(Verified(trust).finding, Finding::kTrue);
}

TEST_F(VerifyTest, SaysHowFarItIs) {
  Fill(300);  // after the one that begins a log
  const Trust trust = Believe();
  std::vector<std::pair<uint64_t, uint64_t>> told;
  VerifyOptions options;
  options.progress = [&](uint64_t read, uint64_t of) { told.emplace_back(read, of); };
  ASSERT_TRUE(VerifyLog(files_, path_, trust, options).ok());
  EXPECT_EQ(told, (std::vector<std::pair<uint64_t, uint64_t>>{{256, 301}, {301, 301}}));
}

TEST_F(VerifyTest, DroppedSwappedRepeatedAndForgedRecordsAreFound) {
  Fill(4);
  const Trust trust = Believe();
  const std::string name = PayloadPath(0), whole = File(name);
  const std::vector<std::string> l = LinesOf(whole);
  auto found = [&](const std::string& content, Finding finding, const std::string& what) {
    Set(name, content);
    const Verdict verdict = Verified(trust);
    EXPECT_EQ(verdict.finding, finding) << content;
    ASSERT_FALSE(verdict.problems.empty());
    EXPECT_NE(verdict.problems[0].find(what), std::string::npos) << verdict.problems[0];
  };
  for (size_t i = 0; i < l.size(); ++i) {
    std::string dropped, swapped;
    for (size_t j = 0; j < l.size(); ++j) {
      if (j != i) dropped += l[j];
      swapped += l[j == i ? (i + 1) % l.size() : j == (i + 1) % l.size() ? i : j];
    }
    const std::string at = "record " + std::to_string(i) + " ";
    if (i + 1 < l.size()) {
      found(dropped, Finding::kTampered, at);
    } else {
      found(dropped, Finding::kIncomplete, "from 4 on are missing");
    }
    found(swapped, Finding::kTampered, i + 1 < l.size() ? at : "record 0 ");
  }
  found(l[0] + l[1] + l[1] + l[2] + l[3] + l[4], Finding::kTampered, "record 2 ");
  // True in itself, but not what was signed.
  Record forged{.sequence = 2, .at = clock_.Now(), .kind = "nothing-happened", .detail = "{}"};
  found(l[0] + l[1] + Encode(forged, std::string(kSaltBytes, 's')).line + l[3] + l[4], Finding::kTampered,
        "record 2 is not the one that was signed");
  // Entries likewise, whose bundle is true in itself.
  Set(name, whole);
  const std::string bundle = File(TilePath(kEntries, 0, 5));
  auto entries = *SplitEntries(bundle, 5);
  std::string moved;
  for (size_t i : {0, 2, 1, 3, 4}) moved += EncodeEntry(entries[i]);
  Set(TilePath(kEntries, 0, 5), moved);
  EXPECT_EQ(Verified(trust).finding, Finding::kTampered);
}

TEST_F(VerifyTest, MissingFilesAreIncompleteNotTampered) {
  { auto log = Fill(600); }
  const Trust trust = Believe();
  ASSERT_EQ(Verified(trust).finding, Finding::kTrue);
  for (const std::string& file :
       {PayloadPath(0), TilePath(kEntries, 1, kTileWidth), TilePath(0, 0, kTileWidth), TilePath(0, 2, 89),
        TilePath(1, 0, 2), TilePath(kEntries, 2, 89), std::string("checkpoint")}) {
    const std::string bytes = File(file);
    ASSERT_TRUE(files_->Remove(path_ + "/" + file).ok());
    const Verdict verdict = Verified(trust);
    EXPECT_EQ(verdict.finding, Finding::kIncomplete) << file << ": " << verdict.problems[0];
    Set(file, bytes);
  }
  // The commitments alone are a whole when nothing more is asked for.
  ASSERT_TRUE(files_->RemoveTree(path_ + "/payload").ok());
  EXPECT_EQ(Verified(trust).finding, Finding::kIncomplete);
  const Verdict verdict = Verified(trust, files_, {.commitments_only = true});
  EXPECT_EQ(verdict.finding, Finding::kTrue);
  EXPECT_EQ(verdict.payload_missing, 601u);
}

// As whoever copies a log while it goes on may find it: a checkpoint, and tiles that are wider than it.
TEST_F(VerifyTest, ACheckpointWhoseTilesBecameWiderIsVerifiedByThemAsStrictly) {
  std::string saved;
  {
    auto log = Fill(5);
    ASSERT_TRUE(log->Sign().ok());
    saved = log->checkpoint();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  }
  ASSERT_EQ(Partials(), (std::vector<std::string>{"tile/0/000.p/9", "tile/entries/000.p/9"}));
  Set("checkpoint", saved);
  const Trust trust = Believe();
  const Verdict verdict = Verified(trust);
  EXPECT_EQ(verdict.finding, Finding::kTrue) << (verdict.problems.empty() ? "" : verdict.problems[0]);
  EXPECT_EQ(verdict.size, 6u);
  EXPECT_EQ(verdict.unsigned_records, 3u);
  ASSERT_TRUE(ProveRecord(files_, path_, 3).ok());
  for (const std::string& file : Partials()) {
    const std::string whole = File(file);
    const bool bundle = file.find("entries") != std::string::npos;
    const size_t used = bundle ? ReadTile(files_, path_, kEntries, 0, 6)->size() : 6 * Digest::kSize;
    for (size_t i = 0; i < used; ++i) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ 0x11);
      Set(file, changed);
      ASSERT_EQ(Verified(trust).finding, Finding::kTampered) << "byte " << i << " of " << file;
    }
    for (const std::string& changed : {whole.substr(0, whole.size() - 1), whole + "x"}) {  // beyond what is used
      Set(file, changed);
      EXPECT_EQ(Verified(trust).finding, Finding::kTampered) << file;
    }
    Set(file, whole);
  }
  EXPECT_EQ(Verified(trust).finding, Finding::kTrue);
}

TEST_F(VerifyTest, RecordsAfterTheCheckpointAreCounted) {
  auto log = Fill(3);
  ASSERT_TRUE(log->Sign().ok());
  ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  const Verdict verdict = Verified(Believe());
  EXPECT_EQ(verdict.finding, Finding::kTrue);
  EXPECT_EQ(verdict.size, 4u);
  EXPECT_EQ(verdict.unsigned_records, 1u);
}

TEST_F(VerifyTest, AnotherKeyOrAnUnknownLogIsNotBelieved) {
  { auto log = Fill(3); }
  const NoteKey other = {Origin(), NoteKey::Type::kLog, Key('x').public_key()};
  const Trust trust = *Trust::Parse("log " + other.ToVkey() + "\nquorum none\n", "trust");
  EXPECT_EQ(Verified(trust).finding, Finding::kTampered);
  EXPECT_TRUE(absl::IsInvalidArgument(VerifyLog(files_, path_, *Trust::Parse("quorum none\n", "trust")).status()));
  // Whoever holds the key can sign a shorter log; a witness's signature on the longer one tells.
}

TEST_F(VerifyTest, WitnessesAreCountedAndASecondHistoryIsFound) {
  const NoteKey witness = {"w.example", NoteKey::Type::kCosigner, Key('w').public_key()};
  const std::string quorum = "witness w " + witness.ToVkey() + "\nquorum w\n";
  auto log = Fill(3);
  ASSERT_TRUE(log->Sign().ok());
  EXPECT_EQ(Verified(Believe(quorum)).finding, Finding::kUnwitnessed);
  Note note = *Note::Parse(log->checkpoint());
  note.signatures.push_back(Cosign(note.text, "w.example", Key('w'), clock_.Now()));
  ASSERT_TRUE(log->PutWitnessed(note).ok());
  ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  ASSERT_TRUE(log->Sign().ok());
  Verdict verdict = Verified(Believe(quorum));
  EXPECT_EQ(verdict.finding, Finding::kTrue);
  EXPECT_EQ(verdict.witnessed, 4u);
  EXPECT_EQ(verdict.size, 5u);
  EXPECT_EQ(verdict.witnesses, std::vector<std::string>{"w"});
  log.reset();

  const std::string witnessed = File("witnessed");

  // The owner of the key writes the log anew: by itself it is true, but not what the witness saw.
  ASSERT_TRUE(files_->RemoveTree(path_).ok());
  { auto again = Fill(4); }
  const Trust trust = Believe(quorum);
  EXPECT_EQ(Verified(Believe()).finding, Finding::kTrue);
  Checkpoint seen = ReadCheckpoint(witnessed)->checkpoint;
  seen.origin = Origin();
  Note lie{.text = seen.Text()};
  lie.signatures = {SignNote(lie.text, seen.origin, Key('k')), Cosign(lie.text, "w.example", Key('w'), clock_.Now())};
  Set("witnessed", lie.Encode());
  verdict = Verified(trust);
  EXPECT_EQ(verdict.finding, Finding::kTampered);
  EXPECT_NE(verdict.problems[0].find("another history"), std::string::npos) << verdict.problems[0];
}

TEST_F(VerifyTest, WhatADisputedLogSaysMustBeWitnessedInTime) {
  const NoteKey witness = {"w.example", NoteKey::Type::kCosigner, Key('w').public_key()};
  const std::string quorum = "witness w " + witness.ToVkey() + "\nquorum w\n";
  auto log = Fill(3);
  const auto sign = [&](const std::string& kind) {
    ASSERT_TRUE(log->Append(kind, "site/core", "{}").ok());
    ASSERT_TRUE(log->Sign().ok());
  };
  const auto cosign = [&] {
    Note note = *Note::Parse(log->checkpoint());
    note.signatures.push_back(Cosign(note.text, "w.example", Key('w'), clock_.Now()));
    ASSERT_TRUE(log->PutWitnessed(note).ok());
  };
  sign(kDisputeKind);
  cosign();
  const absl::Time seen = absl::FromUnixSeconds(absl::ToUnixSeconds(clock_.Now()));
  clock_.Advance(absl::Hours(100));
  sign("policy-applied");
  Verdict verdict = Verified(Believe(quorum));
  EXPECT_EQ(verdict.finding, Finding::kTrue) << "that the witness is away is no dispute, and the old one has ended";
  EXPECT_EQ(verdict.witnessed_at, seen);
  EXPECT_EQ(verdict.newest_at, clock_.Now());

  cosign();
  sign(kDisputeKind);
  clock_.Advance(kMaxDisputed - absl::Minutes(1));
  sign("policy-applied");
  EXPECT_EQ(Verified(Believe(quorum)).finding, Finding::kTrue) << "not for so long";
  clock_.Advance(absl::Minutes(2));
  sign("policy-applied");
  verdict = Verified(Believe(quorum));
  EXPECT_EQ(verdict.finding, Finding::kUnwitnessed);
  ASSERT_EQ(verdict.problems.size(), 1u);
  EXPECT_NE(verdict.problems[0].find("the first 6 have waited 16m"), std::string::npos) << verdict.problems[0];
  EXPECT_NE(verdict.problems[0].find("record 6 says"), std::string::npos) << verdict.problems[0];
  EXPECT_EQ(Verified(Believe("witness w " + witness.ToVkey() + "\nquorum none\n")).finding, Finding::kTrue)
      << "who asks for no witness";
  ASSERT_TRUE(files_->RemoveTree(path_ + "/payload").ok());
  EXPECT_EQ(Verified(Believe(quorum), files_, {.commitments_only = true}).finding, Finding::kUnwitnessed)
      << "the commitments tell it as well";
}

TEST_F(VerifyTest, AnyByteOfAWitnesssSignatureMattersEvenWhereNoQuorumAsksForIt) {
  const NoteKey witness = {"w.example", NoteKey::Type::kCosigner, Key('w').public_key()};
  const std::string witnesses = "witness w " + witness.ToVkey() + "\n";
  auto log = Fill(3);
  ASSERT_TRUE(log->Sign().ok());
  Note note = *Note::Parse(log->checkpoint());
  note.signatures.push_back(Cosign(note.text, "w.example", Key('w'), clock_.Now()));
  ASSERT_TRUE(log->PutWitnessed(note).ok());
  log.reset();
  const Trust none = Believe(witnesses + "quorum none\n"), quorum = Believe(witnesses + "quorum w\n");
  ASSERT_EQ(Verified(none).finding, Finding::kTrue);
  const std::string whole = File("witnessed");
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x11);
    Set("witnessed", changed);
    for (const Trust* trust : {&none, &quorum}) {
      const Verdict verdict = Verified(*trust);
      ASSERT_EQ(verdict.finding, Finding::kTampered) << "byte " << i;
      ASSERT_FALSE(verdict.problems.empty());
    }
  }
  // A key that the witness had before is not known; that is nobody's lie.
  note.signatures.push_back(Cosign(note.text, "w.example", Key('o'), clock_.Now()));
  Set("witnessed", note.Encode());
  EXPECT_EQ(Verified(none).finding, Finding::kTrue);
  EXPECT_EQ(Verified(quorum).finding, Finding::kTrue);
}

TEST_F(VerifyTest, ACheckpointThatNamesAnotherLogThanItsSignerIsTampered) {
  { auto log = Fill(3); }
  const Trust trust = Believe();
  const std::string whole = File("checkpoint"), proof = ProveRecord(files_, path_, 1)->Encode();
  for (size_t i = 0; i < Origin().size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x01);
    Set("checkpoint", changed);
    auto verdict = VerifyLog(files_, path_, trust);
    ASSERT_TRUE(verdict.ok()) << "byte " << i << ": " << verdict.status();
    ASSERT_EQ(verdict->finding, Finding::kTampered) << "byte " << i;
    std::string lie = proof;
    lie.replace(lie.find(whole), whole.size(), changed);
    auto said = VerifyProof(lie, trust);
    ASSERT_TRUE(said.ok() && said->finding == Finding::kTampered) << "byte " << i;
    Set("checkpoint", whole);
  }
}

TEST_F(VerifyTest, DamageIsFoundWithoutAnyKey) {
  { auto log = Fill(3); }
  const Trust nobody = *Trust::Parse("quorum none\n", "trust");
  const VerifyOptions options = {.any_signer = true};
  ASSERT_EQ(Verified(nobody, files_, options).finding, Finding::kTrue);
  const std::string name = PayloadPath(0), whole = File(name);
  const std::vector<std::string> l = LinesOf(whole);
  Record forged{.sequence = 2, .at = clock_.Now(), .kind = "nothing-happened", .detail = "{}"};
  Set(name, l[0] + l[1] + Encode(forged, std::string(kSaltBytes, 's')).line + l[3]);
  EXPECT_EQ(Verified(nobody, files_, options).finding, Finding::kTampered);
  Set(name, l[0] + l[1]);
  EXPECT_EQ(Verified(nobody, files_, options).finding, Finding::kIncomplete);
}

TEST_F(VerifyTest, OneRecordIsProvedWithoutTheOthers) {
  { auto log = Fill(300); }
  const Trust trust = Believe();
  for (uint64_t sequence : {0, 1, 255, 256, 300}) {
    auto proof = ProveRecord(files_, path_, sequence);
    ASSERT_TRUE(proof.ok()) << proof.status();
    const std::string text = proof->Encode();
    EXPECT_EQ(RecordProof::Parse(text)->Encode(), text);
    auto verdict = VerifyProof(text, trust);
    ASSERT_TRUE(verdict.ok()) << verdict.status();
    EXPECT_EQ(verdict->finding, Finding::kTrue);
    EXPECT_EQ(Decode(proof->line, sequence)->record.sequence, sequence);
  }
  EXPECT_TRUE(absl::IsNotFound(ProveRecord(files_, path_, 301).status()));
  // Any byte of it matters.
  const std::string text = ProveRecord(files_, path_, 7)->Encode();
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 0x11);
    auto verdict = VerifyProof(changed, trust);
    EXPECT_TRUE(!verdict.ok() || verdict->finding == Finding::kTampered) << i;
  }
  const NoteKey witness = {"w.example", NoteKey::Type::kCosigner, Key('w').public_key()};
  const Trust strict = Believe("witness w " + witness.ToVkey() + "\nquorum w\n");
  EXPECT_EQ(VerifyProof(text, strict)->finding, Finding::kUnwitnessed);
}

TEST_F(VerifyTest, AnExportIsTheLogItself) {
  auto log = Fill(4990);
  ASSERT_TRUE(log->Sign().ok());
  Note cosigned = *Note::Parse(log->checkpoint());
  cosigned.signatures.push_back(Cosign(cosigned.text, "w.example", Key('w'), clock_.Now()));
  ASSERT_TRUE(log->PutWitnessed(cosigned).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  ASSERT_TRUE(log->Sign().ok());
  const std::string out = root_ + "/export";
  LogWriter writer(files_, out);
  for (uint64_t from = 0; from < log->size(); from += 1000) {
    const std::vector<std::string> part = *log->ReadLines(from, 1000);
    for (const std::string& line : part) ASSERT_TRUE(writer.Add(line).ok());
  }
  ASSERT_TRUE(writer.Finish(log->checkpoint(), log->witnessed()).ok());
  const Trust trust = Believe();
  auto verdict = VerifyLog(files_, out, trust);
  ASSERT_TRUE(verdict.ok()) << verdict.status();
  EXPECT_EQ(verdict->finding, Finding::kTrue) << (verdict->problems.empty() ? "" : verdict->problems[0]);
  EXPECT_EQ(verdict->size, 5001u);
  const std::vector<std::string> files = AllFiles();
  const std::string own = std::exchange(path_, out);
  EXPECT_EQ(AllFiles(), files) << "also in what lies at its edge";
  for (const std::string& file : files) EXPECT_EQ(File(file), *os::ReadFile(files_, own + "/" + file)) << file;
  path_ = own;
  LogWriter wrong(files_, root_ + "/wrong");
  const std::vector<std::string> lines = *log->ReadLines(0, 10);
  EXPECT_TRUE(absl::IsDataLoss(wrong.Add(lines[1])));
  for (const std::string& line : lines) ASSERT_TRUE(wrong.Add(line).ok());
  EXPECT_TRUE(absl::IsDataLoss(wrong.Finish(log->checkpoint(), "")));
}

TEST_F(VerifyTest, ALogIsComparedWithACheckpointThatWasSavedBefore) {
  auto log = Fill(20);
  ASSERT_TRUE(log->Sign().ok());
  const SignedCheckpoint saved = *ReadCheckpoint(log->checkpoint());
  ASSERT_TRUE(log->Append("k", "s", "{}").ok());
  ASSERT_TRUE(log->Sign().ok());
  const SignedCheckpoint newest = *ReadCheckpoint(log->checkpoint());
  EXPECT_TRUE(CheckConsistency(files_, path_, saved, newest).ok());
  EXPECT_TRUE(CheckConsistency(files_, path_, newest, newest).ok());
  EXPECT_TRUE(absl::IsDataLoss(CheckConsistency(files_, path_, newest, saved)));
  SignedCheckpoint other = saved;
  other.checkpoint.root.bytes[0] ^= 1;
  EXPECT_TRUE(absl::IsDataLoss(CheckConsistency(files_, path_, other, newest)));
}

}  // namespace
}  // namespace bailiwick::audit
