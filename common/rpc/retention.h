// What a Dataset says of retention, as the store takes it.
#pragma once

#include "bailiwick/resource/v1/resource.pb.h"
#include "common/store/catalog.h"

namespace bailiwick::rpc {

// With the defaults where it says nothing.
store::RetentionRule RetentionOf(const resource::v1::DatasetSpec& spec);

}  // namespace bailiwick::rpc
