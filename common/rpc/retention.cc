#include "common/rpc/retention.h"

namespace bailiwick::rpc {

store::RetentionRule RetentionOf(const resource::v1::DatasetSpec& spec) {
  store::RetentionRule rule;
  const resource::v1::Retain& retain = spec.retain();
  if (retain.has_last()) rule.last = retain.last();
  if (retain.has_hourly()) rule.hourly = retain.hourly();
  if (retain.has_daily()) rule.daily = retain.daily();
  return rule;
}

}  // namespace bailiwick::rpc
