// What a dataset is, in law: a record signed by a classifier, and the streams of a family.
#include "common/config/world.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

FUZZ_TARGET(classification) {
  using namespace bailiwick;
  policy::World world = fuzz::TheWorld();
  if ((in.Byte() & 1) != 0) {  // signed by one that is held to limits
    world.classifier_keys.clear();
    world.root_keys = {fuzz::Key('r').public_key()};
    world.classifiers = {{.key = fuzz::Key().public_key(),
                          .labels = {{"class", {"a", "b"}}},
                          .datasets = {"tele*"},
                          .home_regions = {"eu/home"}}};
  }
  const auto envelope = fuzz::Signed(crypto::kClassificationType, in.Rest());
  auto record = config::OpenClassification(envelope, world);
  config::OpenPendingClassification(envelope, world).IgnoreError();
  if (!record.ok()) return;
  REQUIRE(!record->dataset.empty() && !record->dataset_id.empty() && record->home_site.empty() == record->family);
  REQUIRE(config::ReadKeptClassification(envelope).ok());
  REQUIRE(!config::MayReplace(*record, *record, world).ok());
  if (!record->limited_by.empty()) {
    REQUIRE(record->dataset.starts_with("tele"));
    for (const auto& [key, value] : record->labels) REQUIRE(key == "class" && (value == "a" || value == "b"));
  }
  if (!record->family) return;
  auto stream = config::StreamOf(*record, "home", world);
  if (stream.ok()) REQUIRE(stream->home_site == "home" && stream->labels == record->labels);
}
