#include "services/cli/console/assets.h"

namespace bailiwick::cli {

const Asset* FindAsset(std::string_view name) {
  for (const Asset& asset : Assets()) {
    if (asset.name == name) return &asset;
  }
  return nullptr;
}

}  // namespace bailiwick::cli
