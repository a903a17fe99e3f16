#include "common/rpc/retention.h"

#include <algorithm>

namespace bailiwick::rpc {

store::RetentionRule RetentionOf(const resource::v1::DatasetSpec& spec) {
  store::RetentionRule rule;
  if (spec.has_retain()) {
    rule.last = std::max(1u, spec.retain().last());
    rule.hourly = spec.retain().hourly();
    rule.daily = spec.retain().daily();
  }
  return rule;
}

}  // namespace bailiwick::rpc
