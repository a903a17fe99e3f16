#include <algorithm>

#include "common/os/files.h"
#include "services/agent/replica/replica_tree.h"

namespace bailiwick::agent {

std::string ReplicaRoot(const std::string& replicas, const std::string& dataset_name) {
  size_t at = dataset_name.find('@');
  if (at == std::string::npos) return os::JoinPath(replicas, dataset_name);
  return os::JoinPath(os::JoinPath(replicas, dataset_name.substr(0, at)), dataset_name.substr(at + 1));
}

}  // namespace bailiwick::agent
