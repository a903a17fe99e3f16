#include "common/audit/note.h"

#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "common/audit/trust.h"

namespace bailiwick::audit {
namespace {

crypto::SigningKey Key(char seed) { return *crypto::SigningKey::FromSeed(std::string(32, seed)); }

NoteKey LogKey(const std::string& name, char seed) { return {name, NoteKey::Type::kLog, Key(seed).public_key()}; }
NoteKey WitnessKey(const std::string& name, char seed) {
  return {name, NoteKey::Type::kCosigner, Key(seed).public_key()};
}

Checkpoint Sample() { return {"example.com/log", 20852163, *Digest::From(Digest::kSha256, std::string(32, 'r'))}; }

Note Signed() {
  Note note{.text = Sample().Text()};
  note.signatures.push_back(SignNote(note.text, "example.com/log", Key('l')));
  return note;
}

// The example of the standard verifies with the key that its signatures name.
TEST(Note, ReadsTheExampleOfTheStandard) {
  const std::string example =
      "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
      "\xe2\x80\x94 example.com/behind-the-sofa "
      "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
      "\xe2\x80\x94 witness.example.com/w1 "
      "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
  auto read = ReadCheckpoint(example);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->checkpoint.size, 20852163u);
  EXPECT_EQ(read->checkpoint.origin, "example.com/behind-the-sofa");
  EXPECT_EQ(read->note.signatures.size(), 2u);
  EXPECT_EQ(read->note.signatures[0].id, 0x033de0aeu);
  EXPECT_EQ(read->note.Encode(), example);
}

// The key of Go's sum database: a name, hash and key that others computed.
TEST(Note, KnowsVerifierKeysOfOthers) {
  const std::string vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
  auto key = NoteKey::FromVkey(vkey);
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->ToVkey(), vkey);
  EXPECT_EQ(key->Id(), 0x033de0aeu);
  for (const char* bad : {"", "a", "a+b", "a+b+c", "+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
                          "sum.golang.org+033de0af+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
                          "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8=",
                          "other.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(NoteKey::FromVkey(bad).status())) << bad;
  }
}

TEST(Note, OpensWhatTheRightKeySignedAndNothingElse) {
  const std::string bytes = Signed().Encode();
  auto opened = OpenCheckpoint(bytes, LogKey("example.com/log", 'l'));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->checkpoint.root, Sample().root);
  EXPECT_TRUE(absl::IsDataLoss(OpenCheckpoint(bytes, LogKey("example.com/log", 'x')).status()));
  EXPECT_TRUE(absl::IsDataLoss(OpenCheckpoint(bytes, LogKey("example.com/other", 'l')).status()));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x11);
    EXPECT_TRUE(absl::IsDataLoss(OpenCheckpoint(changed, LogKey("example.com/log", 'l')).status())) << i;
    EXPECT_FALSE(OpenCheckpoint(bytes.substr(0, i), LogKey("example.com/log", 'l')).ok()) << i;
  }
}

TEST(Note, CosignaturesCountForTheirTimeAndKind) {
  Note note = Signed();
  const absl::Time at = absl::FromUnixSeconds(1679315147);
  note.signatures.push_back(Cosign(note.text, "w.example", Key('w'), at));
  auto parsed = Note::Parse(note.Encode());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(SignedBy(*parsed, WitnessKey("w.example", 'w')), at);
  EXPECT_EQ(SignedBy(*parsed, WitnessKey("w.example", 'v')), std::nullopt);
  EXPECT_EQ(SignedBy(*parsed, LogKey("w.example", 'w')), std::nullopt) << "a cosignature is no log's signature";
  // Another time than the one that was signed.
  Note moved = *parsed;
  moved.signatures[1].signature[7] = static_cast<char>(moved.signatures[1].signature[7] ^ 1);
  EXPECT_EQ(SignedBy(moved, WitnessKey("w.example", 'w')), std::nullopt);
}

TEST(Note, MalformedCheckpointsAreRefused) {
  const std::string good = Signed().Encode();
  const std::vector<std::pair<std::string, std::string>> changes = {{"20852163", "020852163"},
                                                                    {"20852163", "-1"},
                                                                    {"20852163", "1e3"},
                                                                    {"20852163", "18446744073709551616"},
                                                                    {"20852163", ""},
                                                                    {"example.com/log\n2", "\n2"},
                                                                    {"\n\n", "\n"},
                                                                    {"cnJyc", "cnJy"},
                                                                    {"\xe2\x80\x94 ", "- "},
                                                                    {"\n\xe2", "\r\n\xe2"}};
  for (const auto& [from, to] : changes) {
    const std::string bad = absl::StrReplaceAll(good, {{from, to}});
    ASSERT_NE(bad, good);
    EXPECT_FALSE(ReadCheckpoint(bad).ok()) << bad;
  }
  EXPECT_FALSE(ReadCheckpoint(std::string(kMaxNote + 1, 'x')).ok());
}

TEST(TrustFile, CountsWitnessesAsItSays) {
  std::string text = "# whom we believe\nlog " + LogKey("example.com/log", 'l').ToVkey() + "\n";
  for (char c : {'a', 'b', 'c', 'd'}) {
    text += "witness " + std::string(1, c) + "  " + WitnessKey("w/" + std::string(1, c), c).ToVkey() + "\n";
  }
  text += "group eu 2 a b c\n\t group us any d\ngroup both all eu us\nquorum both\n";
  auto trust = Trust::Parse(text, "trust");
  ASSERT_TRUE(trust.ok()) << trust.status();
  EXPECT_NE(trust->FindLog("example.com/log"), nullptr);
  EXPECT_EQ(trust->FindLog("example.com/other"), nullptr);
  Note note = Signed();
  auto enough = [&] { return trust->Suffices(trust->Witnesses(note)); };
  auto sign = [&](char c) {
    note.signatures.push_back(Cosign(note.text, "w/" + std::string(1, c), Key(c), absl::FromUnixSeconds(1)));
  };
  EXPECT_FALSE(enough());
  sign('a');
  sign('a');
  sign('d');
  EXPECT_FALSE(enough()) << "one witness counts once";
  sign('c');
  EXPECT_TRUE(enough());
  EXPECT_EQ(trust->Witnesses(note), (std::vector<std::string>{"a", "c", "d"}));
  // Of another text.
  note.signatures.pop_back();
  note.signatures.push_back(Cosign("other\n1\nx\n", "w/c", Key('c'), absl::FromUnixSeconds(1)));
  EXPECT_FALSE(enough());
}

TEST(TrustFile, ErrorsNameTheLine) {
  const std::string log = "log " + LogKey("l", 'l').ToVkey() + "\n";
  const std::string w = "witness w " + WitnessKey("w", 'w').ToVkey() + "\n";
  const std::string v = "witness v " + WitnessKey("v", 'v').ToVkey() + "\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {log, "t: there is no quorum"},
      {log + "quorum none\nquorum none\n", "t:3: there are two quorums"},
      {log + log + "quorum none\n", "t:2: the log l is there twice"},
      {w + w + "quorum w\n", "t:2: w is there twice"},
      {w + "witness x " + WitnessKey("x", 'w').ToVkey() + "\n", "t:2: the key is that of w already"},
      {"quorum w\n", "t:1: w is no witness and no group above"},
      {w + "group g 2 w\n", "t:2: a group asks for one to all of its members"},
      {w + "group g 0 w\n", "t:2: a group asks for one to all of its members"},
      {w + "group g some w\n", "t:2: a group says all, any or a number"},
      {w + "group g any w w\n", "t:2: w is a member twice"},
      {w + v + "group g any w v\ngroup h any w\n", "t:4: w is a member of g already"},
      {"log " + WitnessKey("l", 'l').ToVkey() + "\n", "t:1: the key of a log"},
      {"witness w " + LogKey("w", 'l').ToVkey() + "\n", "t:1: the key of a witness"},
      {"log x\n", "t:1: \"x\" is not a verifier key"},
      {"lug x\n", "t:1: expected: log VKEY"}};
  for (const auto& [text, error] : cases) {
    const absl::Status status = Trust::Parse(text, "t").status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_NE(std::string(status.message()).find(error), std::string::npos) << status << " for\n" << text;
  }
}

}  // namespace
}  // namespace bailiwick::audit
