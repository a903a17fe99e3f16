// A list of things, as table or JSON, once or as it changes: the body of `get`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/cli/commands/command.h"

namespace bailiwick::cli {

struct Listing {
  std::string one, many;  // names of the fields in JSON: "replica", "replicas"; never "version", which every answer has
  std::vector<std::string> header;
  size_t named = 1;  // so many of the first columns name a thing
  struct Item {
    Fields identity;  // by which it is known again; told with "state": "gone" when it went
    std::vector<std::string> row;
    Json json;
    std::string essence;  // what makes it worth telling again when it changes; empty: all of `json`
    std::string name;     // for -o name; empty: by `json`
    bool nameless = false;  // -o name passes it over
    bool past = false;    // it happened: that it is not listed any more is not told
  };
  std::vector<Item> items;
  Fields beside = {};  // of JSON, beside the list
};

void PrintListing(const Globals& globals, Listing listing);
// Prints what is there, and goes on: what is new or changed, and what went, a line each (of JSON an object a line, of
// YAML a document). Returns only with an error; a coordinator that restarts meanwhile is none.
absl::Status WatchListing(const Globals& globals, const std::function<absl::StatusOr<Listing>()>& look);
// The one or the other.
absl::Status ShowListing(const Globals& globals, bool watch, const std::function<absl::StatusOr<Listing>()>& look);

}  // namespace bailiwick::cli
