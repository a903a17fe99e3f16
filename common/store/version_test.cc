#include "common/store/version.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <random>

#include "bailiwick/store/v1/store.pb.h"
#include "common/crypto/digest.h"

namespace bailiwick::store {
namespace {

VersionRecord Sample() {
  VersionRecord r;
  r.dataset_id.bytes[0] = 1;
  r.dataset = "telemetry@robot-17";
  r.home_site = "robot-17";
  r.home_incarnation.bytes[15] = 2;
  r.home_epoch = 3;
  r.number = 42;
  r.parent = crypto::Sha256("parent");
  r.manifest_root = crypto::Sha256("root");
  r.entries = 10;
  r.files = 9;
  r.logical_bytes = uint64_t{1} << 50;
  r.skipped = 1;
  r.committed_at = absl::FromUnixNanos(1'700'000'000'123'456'789);
  r.message = "a message";
  return r;
}

TEST(VersionRecord, ComesBackAsItWas) {
  const VersionRecord r = Sample();
  auto back = DecodeVersionRecord(EncodeVersionRecord(r));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->dataset_id, r.dataset_id);
  EXPECT_EQ(back->dataset, r.dataset);
  EXPECT_EQ(back->home_site, r.home_site);
  EXPECT_EQ(back->home_incarnation, r.home_incarnation);
  EXPECT_EQ(back->home_epoch, r.home_epoch);
  EXPECT_EQ(back->number, r.number);
  EXPECT_EQ(back->parent, r.parent);
  EXPECT_EQ(back->manifest_root, r.manifest_root);
  EXPECT_EQ(back->entries, r.entries);
  EXPECT_EQ(back->files, r.files);
  EXPECT_EQ(back->logical_bytes, r.logical_bytes);
  EXPECT_EQ(back->skipped, r.skipped);
  EXPECT_EQ(back->committed_at, r.committed_at);
  EXPECT_EQ(back->message, r.message);
  VersionRecord first = r;
  first.parent = Digest();
  EXPECT_TRUE(DecodeVersionRecord(EncodeVersionRecord(first))->parent.empty());
}

TEST(VersionRecord, RefusesWhatIsNoRecord) {
  auto refused = [](auto change) {
    VersionRecord r = Sample();
    change(r);
    return absl::IsInvalidArgument(DecodeVersionRecord(EncodeVersionRecord(r)).status());
  };
  EXPECT_TRUE(refused([](VersionRecord& r) { r.number = 0; }));
  EXPECT_TRUE(refused([](VersionRecord& r) { r.number = UINT64_MAX; }));
  EXPECT_TRUE(refused([](VersionRecord& r) { r.dataset = ""; }));
  EXPECT_TRUE(refused([](VersionRecord& r) { r.home_site = ""; }));
  EXPECT_TRUE(refused([](VersionRecord& r) { r.manifest_root = Digest(); }));
  EXPECT_TRUE(refused([](VersionRecord& r) { r.message = std::string(100'000, 'x'); }));
  EXPECT_FALSE(DecodeVersionRecord("").ok());
  EXPECT_FALSE(DecodeVersionRecord("nonsense").ok());
}

TEST(VersionRecord, RefusesATimeThatNoWriterWrites) {
  for (const auto& [seconds, nanos] : std::vector<std::pair<int64_t, int32_t>>{
           {-1, 0}, {INT64_MAX, 0}, {INT64_MIN, 0}, {9'300'000'000, 0}, {1, -1}, {1, 1'000'000'000}, {1, INT32_MIN}}) {
    v1::VersionRecord r;
    ASSERT_TRUE(r.ParseFromString(EncodeVersionRecord(Sample())));
    r.mutable_committed_at()->set_seconds(seconds);
    r.mutable_committed_at()->set_nanos(nanos);
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeVersionRecord(r.SerializeAsString()).status()))
        << seconds << " " << nanos;
  }
}

TEST(VersionRecord, MutationsNeverCrashIt) {
  const std::string good = EncodeVersionRecord(Sample());
  std::mt19937 rng(1);
  google::protobuf::LogSilencer silent;  // of text that is not UTF-8
  for (int i = 0; i < 5000; ++i) {
    std::string bad = good;
    bad[rng() % bad.size()] = static_cast<char>(rng());
    if (rng() % 4 == 0) bad.resize(rng() % bad.size());
    auto record = DecodeVersionRecord(bad);
    if (record.ok()) {
      EXPECT_GT(record->number, 0u);
    }
  }
}

}  // namespace
}  // namespace bailiwick::store
