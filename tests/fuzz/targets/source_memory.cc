// What a dataset remembers of its source: what is read is what would be written.
#include "services/agent/home/source_memory.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_files.h"

FUZZ_TARGET(source_memory) {
  using namespace bailiwick;
  fuzz::MemoryFiles files;
  files.Put("dataset/source", in.Rest());
  agent::SourceMemory memory = agent::LoadSourceMemory(&files, "dataset");
  memory.path += "/more";
  REQUIRE(agent::KeepSourceMemory(&files, "dataset", memory).ok());
  while (memory.mounts.size() > 1000) memory.mounts.erase(std::prev(memory.mounts.end()));
  REQUIRE(agent::LoadSourceMemory(&files, "dataset") == memory);
}
