// Include and ignore patterns of a dataset, and the paths that they are asked about.
#include "common/base/patterns.h"

#include <vector>

#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(patterns) {
  using bailiwick::PatternList;
  const std::string path(in.Chunk());
  std::vector<std::string> lines;
  while (!in.done() && lines.size() < 16) lines.emplace_back(in.Chunk());
  auto list = PatternList::Parse(lines);
  if (list.ok()) {
    list->Match(path, false);
    list->Match(path, true);
  }
  // A path with every byte quoted is a pattern for itself.
  if (path.empty() || path.size() > 2000 || path.find("//") != path.npos || path.front() == '/' || path.back() == '/')
    return;
  std::string quoted = "/";
  for (char c : path) quoted.append(c == '/' ? "" : "\\").append(1, c);
  auto itself = PatternList::Parse({quoted});
  REQUIRE(itself.ok() && itself->Match(path, false) == PatternList::Verdict::kMatch);
}
