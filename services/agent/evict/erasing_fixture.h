// A dataset with versions, on files that fail when told to, and what erasing some of it takes: for tests of what
// evicts, drops and redacts.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/fault_files.h"
#include "common/rpc/receipt.h"
#include "common/store/node_cache.h"
#include "common/store/store_fixture.h"
#include "services/agent/evict/evictor.h"

namespace bailiwick::agent {

class ErasingFixture : public ::testing::Test {
 protected:
  static constexpr size_t kChunk = 3000;
  struct TestFile {
    std::string path;
    int chunk = 0;
    bool stored = true;  // false: it is here already, or comes as it was in the version before
  };

  ErasingFixture() {
    id_.bytes.fill(5);
    policy::Site site;
    site.name = "cloud";
    site.enrolment_keys["cloud"] = key_.public_key();
    world_.sites["cloud"] = site;
  }

  // Nothing is there.
  void Fresh() {
    Close();
    faults_ = nullptr;
    ASSERT_TRUE(hasty_.RemoveTree(dir_.path()).ok());
    ASSERT_TRUE(hasty_.MakeDirs(dir_.path()).ok());
    faults_ = std::make_unique<os::FaultFiles>(&hasty_, dir_.path());
    index_ = std::make_unique<store::FakeChunkIndex>();
    identities_.clear();
  }
  virtual void Close() {
    evictor_ = nullptr;
    dataset_ = DatasetHandle();
    catalog_ = nullptr;
    audit_ = nullptr;
    db_ = nullptr;
  }
  absl::Status OpenRecords(std::vector<std::string> migrations) {
    Close();
    BW_ASSIGN_OR_RETURN(
        db_,
        sql::Database::Open({.files = faults_.get(), .path = dir_.path() + "/agent.db", .migrations = migrations}));
    BW_ASSIGN_OR_RETURN(audit_, audit::Log::Open(faults_.get(), &clock_, os::Random::System(), dir_.path() + "/audit"));
    catalog_ = std::make_unique<store::VersionCatalog>(db_.get());
    dataset_.id = id_;
    dataset_.name = "planner";
    dataset_.directory = dir_.path() + "/set";
    dataset_.files = faults_.get();
    dataset_.catalog = catalog_.get();
    return absl::OkStatus();
  }
  absl::Status OpenStore() {
    BW_ASSIGN_OR_RETURN(dataset_.store, store::DatasetStore::Open({.files = faults_.get(),
                                                                   .index = index_.get(),
                                                                   .directory = dataset_.directory,
                                                                   .dataset = id_,
                                                                   .redactions = dataset_.redactions}));
    dataset_.nodes = store::NewStoreNodeSource(dataset_.store.get(), &nodes_);
    evictor_ = std::make_unique<Evictor>(Parts());
    return evictor_->Load();
  }
  Evictor::Parts Parts() {
    return {.db = db_.get(),
            .audit = audit_.get(),
            .clock = &clock_,
            .random = os::Random::System(),
            .site = "cloud",
            .agent = "spiffe://acme/region/us/site/cloud/agent/cloud",
            .key = &key_};
  }

  absl::Status AddVersion(VersionNumber number, const std::vector<TestFile>& files) {
    std::unique_ptr<store::DatasetStore::Writer> writer = dataset_.store->NewWriter();
    store::ManifestBuilder builder([&](const Digest& digest, std::string_view bytes) {
      return writer->Put(digest, store::EncodeChunk(bytes)).status();
    });
    for (const TestFile& file : files) {
      const store::TestChunk& chunk = store::ChunkOf(file.chunk, kChunk);
      if (file.stored) BW_RETURN_IF_ERROR(writer->Put(chunk.digest, chunk.stored).status());
      store::Entry entry;
      entry.path = file.path;
      entry.type = store::EntryType::kFile;
      entry.mode = 0644;
      entry.size = kChunk;
      entry.chunks = {{.digest = chunk.digest, .length = kChunk}};
      BW_RETURN_IF_ERROR(builder.Add(entry));
    }
    BW_ASSIGN_OR_RETURN(auto built, builder.Finish());
    BW_RETURN_IF_ERROR(writer->Flush());
    store::VersionRecord record;
    record.dataset_id = id_;
    record.dataset = dataset_.name;
    record.home_site = "factory";
    record.home_incarnation.bytes.fill(1);
    record.home_epoch = 1;
    record.number = number;
    record.manifest_root = built.root;
    record.files = record.entries = files.size();
    record.logical_bytes = kChunk * files.size();
    record.committed_at = clock_.Now();
    const crypto::Envelope envelope =
        crypto::SignEnvelope(crypto::kVersionType, store::EncodeVersionRecord(record), key_);
    identities_[number] = store::VersionIdentity(envelope);
    return catalog_->Add(envelope, dataset_.nodes.get());
  }
  // Versions 1 to `newest`, each with a file of its own.
  absl::Status AddVersions(VersionNumber newest) {
    for (VersionNumber n = 1; n <= newest; ++n) {
      BW_RETURN_IF_ERROR(AddVersion(n, {{absl::StrCat("file-", n), static_cast<int>(n)}}));
    }
    return absl::OkStatus();
  }

  std::vector<rpc::ErasureReceipt> Receipts() {
    std::vector<rpc::ErasureReceipt> out;
    auto envelopes = evictor_->Receipts();
    EXPECT_TRUE(envelopes.ok()) << envelopes.status();
    for (const auto& envelope : *envelopes) {
      auto opened = rpc::OpenReceipt(envelope, world_);
      EXPECT_TRUE(opened.ok()) << opened.status();
      if (opened.ok()) out.push_back(*opened);
    }
    return out;
  }

  store::TempDir dir_;
  store::HastyFiles hasty_;
  std::unique_ptr<os::FaultFiles> faults_;
  std::unique_ptr<store::FakeChunkIndex> index_;
  os::FakeClock clock_;
  const crypto::SigningKey key_ = *crypto::SigningKey::Generate();
  policy::World world_;
  DatasetId id_;
  std::map<VersionNumber, Digest> identities_;
  std::unique_ptr<sql::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<store::VersionCatalog> catalog_;
  store::NodeCache nodes_{16 << 20};
  DatasetHandle dataset_;
  std::unique_ptr<Evictor> evictor_;
};

}  // namespace bailiwick::agent
