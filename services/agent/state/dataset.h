// One dataset as the agent holds it: its chunks, its nodes, its versions. Handed to the home, replica and transfer folders.
#pragma once

#include <memory>
#include <string>

#include "common/base/ids.h"
#include "common/os/files.h"
#include "common/store/catalog.h"
#include "common/store/dataset_store.h"
#include "common/store/manifest.h"
#include "common/store/redaction.h"

namespace bailiwick::agent {

struct DatasetHandle {
  DatasetId id;
  std::string name;       // "planner" or "telemetry@robot-17"
  std::string directory;  // <data>/datasets/<id hex>
  os::Files* files = nullptr;
  std::unique_ptr<store::DatasetStore> store;
  std::unique_ptr<store::NodeSource> nodes;  // over store
  store::VersionCatalog* catalog = nullptr;  // shared by all datasets
  std::shared_ptr<store::RedactionBook> redactions = std::make_shared<store::RedactionBook>();  // the store's too
};

}  // namespace bailiwick::agent
