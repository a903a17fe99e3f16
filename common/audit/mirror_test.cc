#include "common/audit/mirror.h"

#include <utility>

#include "common/audit/audit_fixture.h"
#include "common/audit/merkle.h"

namespace bailiwick::audit {
namespace {

class MirrorTest : public AuditFixture {
 protected:
  void SetUp() override {
    AuditFixture::SetUp();
    copy_ = root_ + "/copy";
    mirror_ = *Mirror::Open(files_, copy_);
  }
  SignedCheckpoint Newest(Log& log) {
    EXPECT_TRUE(log.Sign().ok());
    return *ReadCheckpoint(log.checkpoint());
  }
  // As an agent reports: at most so many entries from where the mirror ends.
  absl::Status Report(Log& log, uint64_t at_most = 1000) {
    const SignedCheckpoint newest = Newest(log);
    auto entries = log.Entries(mirror_->size(), at_most);
    EXPECT_TRUE(entries.ok()) << entries.status();
    std::vector<Digest> proof;
    const uint64_t end = mirror_->size() + entries->size();
    if (end > 0 && end < newest.checkpoint.size) proof = *log.Consistency(end, newest.checkpoint.size);
    Mirror::Report report = {mirror_->size(), *entries, proof, *log.Root(mirror_->size()), {}};
    if (report.first > 0 && report.first < newest.checkpoint.size) {
      report.first_proof = *log.Consistency(report.first, newest.checkpoint.size);
    }
    return mirror_->Extend(newest, report);
  }

  std::string copy_;
  std::unique_ptr<Mirror> mirror_;
};

TEST_F(MirrorTest, FollowsInPartsAndHoldsNoRecord) {
  auto log = Fill(700);
  EXPECT_EQ(mirror_->size(), 0u);
  for (uint64_t expected : {256, 512, 701}) {
    ASSERT_TRUE(Report(*log, 256).ok());
    EXPECT_EQ(mirror_->size(), expected);
    mirror_ = *Mirror::Open(files_, copy_);  // durable
    EXPECT_EQ(mirror_->size(), expected);
  }
  EXPECT_EQ(mirror_->checkpoint(), log->checkpoint());
  ASSERT_TRUE(Report(*log).ok()) << "nothing new is fine";
  // It verifies as a log without records; nothing of a record is there.
  const NoteKey key = {log->origin(), NoteKey::Type::kLog, Key('k').public_key()};
  const Trust trust = *Trust::Parse("log " + key.ToVkey() + "\nquorum none\n", "trust");
  auto verdict = VerifyLog(files_, copy_, trust, {.commitments_only = true});
  ASSERT_TRUE(verdict.ok()) << verdict.status();
  EXPECT_EQ(verdict->finding, Finding::kTrue) << (verdict->problems.empty() ? "" : verdict->problems[0]);
  EXPECT_EQ(verdict->size, 701u);
  path_ = copy_;
  for (const std::string& file : AllFiles()) EXPECT_EQ(File(file).find("dataset-"), std::string::npos) << file;
}

TEST_F(MirrorTest, RefusesGapsAndWhatDoesNotLeadToTheCheckpoint) {
  auto log = Fill(20);
  const SignedCheckpoint newest = Newest(*log);
  const std::vector<std::string> entries = *log->Entries(0, 100);
  EXPECT_TRUE(absl::IsOutOfRange(mirror_->Extend(newest, {.first = 1, .entries = entries})));
  EXPECT_TRUE(absl::IsInvalidArgument(mirror_->Extend(newest, {.entries = {entries.begin(), entries.begin() + 5}})));
  std::vector<std::string> swapped = entries;
  std::swap(swapped[3], swapped[4]);
  EXPECT_TRUE(absl::IsInvalidArgument(mirror_->Extend(newest, {.entries = swapped})));
  EXPECT_EQ(mirror_->size(), 0u);
  ASSERT_TRUE(Report(*log).ok());
  // What it has already is skipped.
  EXPECT_TRUE(mirror_->Extend(newest, {.entries = entries}).ok());
  EXPECT_EQ(mirror_->size(), 21u);
}

// Whoever can garble a report cannot have an honest log taken for a liar's: nothing but two signatures shows that.
TEST_F(MirrorTest, AnInvalidProofIsNoConflict) {
  auto log = Fill(20);
  ASSERT_TRUE(Report(*log).ok());
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(log->Append("k", "more", "{}").ok());
  const SignedCheckpoint newest = Newest(*log);
  const uint64_t known = mirror_->size(), size = newest.checkpoint.size;
  const Mirror::Report good = {known, *log->Entries(known, 100), {}, *log->Root(known), *log->Consistency(known, size)};
  const auto refused = [&](const char* what, const std::function<void(Mirror::Report&)>& garble) {
    Mirror::Report bad = good;
    garble(bad);
    EXPECT_TRUE(absl::IsInvalidArgument(mirror_->Extend(newest, bad))) << what;
    EXPECT_EQ(mirror_->problem(), "") << what;
    EXPECT_EQ(mirror_->size(), known) << what;
    EXPECT_FALSE(*files_->Exists(copy_ + "/conflict-1")) << what;
  };
  refused("another beginning", [](auto& r) { r.first_root = LeafHash("x"); });
  refused("no proof of the beginning", [](auto& r) { r.first_proof.clear(); });
  refused("a hash of it changed", [](auto& r) { r.first_proof[1] = LeafHash("x"); });
  refused("a proof too long", [](auto& r) { r.first_proof.push_back(LeafHash("x")); });
  refused("an entry changed", [](auto& r) { r.entries[3] = "x"; });
  refused("an entry missing", [](auto& r) { r.entries.pop_back(); });
  refused("a proof where none belongs", [](auto& r) { r.proof.push_back(LeafHash("x")); });
  refused("nothing said of the beginning, and other entries", [](auto& r) {
    r.first_root.reset();
    r.entries = {"x"};
  });
  EXPECT_TRUE(mirror_->Extend(newest, good).ok()) << "asked again";
  EXPECT_EQ(mirror_->size(), size);
}

TEST_F(MirrorTest, TwoHistoriesAreFoundAndKeptAsEvidence) {
  std::map<std::string, std::string> saved;
  {
    auto log = Fill(10);
    ASSERT_TRUE(log->Sign().ok());
    for (const std::string& file : AllFiles()) saved[file] = File(file);
    ASSERT_TRUE(log->Append("k", "one", "{}").ok());
    ASSERT_TRUE(Report(*log).ok());
    ASSERT_EQ(mirror_->size(), 12u);
  }
  // An old copy of the directory is put back.
  ASSERT_TRUE(files_->RemoveTree(path_).ok());
  for (const auto& [file, content] : saved) {
    ASSERT_TRUE(files_->MakeDirs((path_ + "/" + file).substr(0, path_.size() + file.rfind('/') + 2)).ok());
    Set(file, content);
  }
  auto log = Open();
  ASSERT_NE(log, nullptr);
  absl::Status back = mirror_->Extend(Newest(*log), {.first = 11});
  EXPECT_TRUE(absl::IsDataLoss(back));
  EXPECT_NE(std::string(back.message()).find("went back"), std::string::npos) << back;
  // It goes on from there: another history of the same log, signed with the same key.
  ASSERT_TRUE(log->Append("k", "other", "{}").ok());
  absl::Status forked = Report(*log);
  EXPECT_TRUE(absl::IsDataLoss(forked));
  EXPECT_NE(std::string(forked.message()).find("two histories"), std::string::npos) << forked;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(log->Append("k", "longer", "{}").ok());
  EXPECT_TRUE(absl::IsDataLoss(Report(*log)));
  EXPECT_EQ(mirror_->size(), 12u) << "what was seen first stays";
  EXPECT_TRUE(*files_->Exists(copy_ + "/conflict-3"));
  mirror_ = *Mirror::Open(files_, copy_);
  EXPECT_NE(mirror_->problem(), "");
}

TEST_F(MirrorTest, FewFilesLieAtTheEdge) {
  auto log = Fill(200);
  const auto one_more = [&] {
    ASSERT_TRUE(log->Append("k", "s", "{}").ok());
    ASSERT_TRUE(Report(*log).ok());
  };
  for (int i = 0; i < 20; ++i) one_more();
  path_ = copy_;
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/000.p/221", "tile/entries/000.p/221"}));
  AddEveryNarrowerPartial();
  EXPECT_EQ(Partials().size(), 2u * 221);
  mirror_ = *Mirror::Open(files_, copy_);
  one_more();
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/000.p/222", "tile/entries/000.p/222"}));
  AddEveryNarrowerPartial();
  for (int i = 0; i < 40; ++i) one_more();
  EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/001.p/6", "tile/1/000.p/1", "tile/entries/001.p/6"}));
}

TEST_F(MirrorTest, PowerLossAtEveryOperationLosesNothingThatWasAnswered) {
  auto log = Fill(300);
  const SignedCheckpoint newest = Newest(*log);
  const std::vector<std::string> entries = *log->Entries(0, 1000);
  const std::vector<Digest> proof = *log->Consistency(100, newest.checkpoint.size);
  const Trust trust = Believe();
  bool finished = false;
  for (uint64_t n = 0; !finished; ++n) {
    for (bool keep : {false, true}) {
      SCOPED_TRACE(n);
      ASSERT_TRUE(files_->RemoveTree(copy_).ok());
      ASSERT_TRUE(files_->MakeDirs(copy_).ok());
      os::FaultFiles faults(files_, copy_);
      faults.StopAfter(n);
      uint64_t answered = 0;
      {
        auto mirror = Mirror::Open(&faults, copy_ + "/m");
        if (mirror.ok() &&
            (*mirror)->Extend(newest, {.entries = {entries.begin(), entries.begin() + 100}, .proof = proof}).ok()) {
          answered = 100;
          if ((*mirror)->Extend(newest, {.first = 100, .entries = {entries.begin() + 100, entries.end()}}).ok())
            answered = 301;
        }
      }
      finished = answered == 301;
      ASSERT_TRUE((keep ? faults.KeepUnsynced() : faults.DropUnsynced()).ok());
      auto mirror = Mirror::Open(&faults, copy_ + "/m");
      ASSERT_TRUE(mirror.ok()) << mirror.status();
      EXPECT_GE((*mirror)->size(), answered);
      const std::string own = std::exchange(path_, copy_ + "/m");
      if (const uint64_t size = (*mirror)->size(); size != 0) {
        EXPECT_EQ(*RootOf(size, ReadSubtrees(&faults, path_, size)), *log->Root(size));
      }
      ASSERT_TRUE((*mirror)->Extend(newest, {.entries = entries}).ok());
      EXPECT_EQ((*mirror)->size(), 301u);
      EXPECT_EQ(Verified(trust, &faults, {.commitments_only = true}).finding, Finding::kTrue);
      EXPECT_EQ(Partials(), (std::vector<std::string>{"tile/0/001.p/45", "tile/1/000.p/1", "tile/entries/001.p/45"}));
      path_ = own;
    }
  }
}

}  // namespace
}  // namespace bailiwick::audit
