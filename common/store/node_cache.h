// NodeSource over a dataset store: parsed nodes in a bounded LRU. Thread-safe.
#pragma once

#include <memory>

#include "common/store/dataset_store.h"
#include "common/store/manifest.h"

namespace bailiwick::store {

std::unique_ptr<NodeSource> NewStoreNodeSource(DatasetStore* store, size_t capacity_nodes = 512);

}  // namespace bailiwick::store
