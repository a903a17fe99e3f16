// Runs the seeds, and the inputs that broke something once, through every target: no build for fuzzing is needed to see
// that what was mended stays mended.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <utility>
#include <vector>

#include "tests/fuzz/registry.h"

namespace bailiwick::fuzz {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> FilesIn(const std::string& folder, const std::string& target) {
  std::vector<fs::path> files;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(fs::path(BAILIWICK_FUZZ_DIRECTORY) / folder / target, none)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void RunOne(Target target, const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  std::cerr << file.parent_path().filename().string() << "/" << file.filename().string()
            << "\n";  // the last one, if it breaks
  target(Input(bytes));
}

class Replay : public ::testing::TestWithParam<std::pair<std::string, Target>> {};

TEST_P(Replay, SeedsAndOldFindings) {
  const auto& [name, target] = GetParam();
  const std::vector<fs::path> seeds = FilesIn("seeds", name);
  EXPECT_FALSE(seeds.empty()) << "a target without seeds; write some in seeds.cc and run fuzz_seeds tests/fuzz/seeds";
  for (const fs::path& file : seeds) RunOne(target, file);
  for (const fs::path& file : FilesIn("regressions", name)) RunOne(target, file);
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay,
                         ::testing::ValuesIn(std::vector<std::pair<std::string, Target>>(Targets().begin(),
                                                                                         Targets().end())),
                         [](const auto& info) { return info.param.first; });

}  // namespace
}  // namespace bailiwick::fuzz
