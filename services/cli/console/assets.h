// The files of assets/, embedded when the program is built: what a browser is sent, as it lies in the source tree.
#pragma once

#include <string_view>
#include <vector>

namespace bailiwick::cli {

struct Asset {
  std::string_view name;     // "app.js"
  std::string_view type;     // of its content
  std::string_view content;  // lives as long as the program
};

const std::vector<Asset>& Assets();
// Null: there is none of that name.
const Asset* FindAsset(std::string_view name);

}  // namespace bailiwick::cli
