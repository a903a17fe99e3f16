#include "services/cli/commands/listing.h"

#include <algorithm>
#include <iostream>
#include <iterator>
#include <map>

#include "common/base/status.h"
#include "common/os/clock.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kLookEvery = absl::Milliseconds(500);

std::string KeyOf(const Fields& identity) { return FormatLine({{"key", Object(identity)}}); }

// Of what went: its name, and "gone" where its state stood, else behind it.
std::vector<std::string> GoneRow(const Listing& listing, const std::vector<std::string>& row) {
  const auto state = std::find(listing.header.begin(), listing.header.end(), "STATE");
  const size_t at = state == listing.header.end() ? listing.named : static_cast<size_t>(state - listing.header.begin());
  std::vector<std::string> gone(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(listing.named));
  gone.resize(at, "-");
  gone.push_back("gone");
  return gone;
}

class Watcher {
 public:
  explicit Watcher(const Globals& globals) : globals_(globals) {}

  // What differs from what was told last.
  void Tell(Listing listing) {
    std::map<std::string, Listing::Item> now;
    Rows rows;
    for (Listing::Item& item : listing.items) {
      if (item.essence.empty()) item.essence = FormatLine({{"item", item.json}});
      const std::string key = KeyOf(item.identity);
      auto known = before_.find(key);
      if (known == before_.end() || known->second.essence != item.essence) {
        rows.push_back(item.row);
        Print(listing.one, item.json, item);
      }
      now[key] = std::move(item);
    }
    for (const auto& [key, item] : before_) {
      if (item.past || now.count(key) != 0) continue;
      rows.push_back(GoneRow(listing, item.row));
      Fields gone = item.identity;
      gone.emplace_back("state", Text("gone"));
      Print(listing.one, Object(std::move(gone)), item);
    }
    if (globals_.table() && (first_ || !rows.empty())) {
      std::cout << FormatTable(first_ ? listing.header : std::vector<std::string>(), rows, &widths_) << std::flush;
    }
    before_ = std::move(now);
    first_ = false;
  }
  bool first() const { return first_; }

 private:
  void Print(const std::string& one, Json json, const Listing::Item& item) {
    const bool names = globals_.format() == Format::kName;
    if (globals_.table() || (names && item.nameless)) return;
    const bool named = names && !item.name.empty();
    PrintNext(globals_.format(), {{one, named ? Object({{"name", Text(item.name)}}) : std::move(json)}});
  }

  const Globals& globals_;
  std::map<std::string, Listing::Item> before_;
  std::vector<size_t> widths_;
  bool first_ = true;
};

}  // namespace

void PrintListing(const Globals& globals, Listing listing) {
  Rows rows;
  std::vector<Json> json;
  for (Listing::Item& item : listing.items) {
    if (item.nameless && globals.format() == Format::kName) continue;
    rows.push_back(std::move(item.row));
    const bool named = globals.format() == Format::kName && !item.name.empty();
    json.push_back(named ? Object({{"name", Text(item.name)}}) : std::move(item.json));
  }
  if (globals.table()) {
    PrintTable(listing.header, rows);
  } else {
    Fields fields = {{listing.many, List(std::move(json))}};
    std::move(listing.beside.begin(), listing.beside.end(), std::back_inserter(fields));
    PrintJson(globals.format(), std::move(fields));
  }
}

absl::Status WatchListing(const Globals& globals, const std::function<absl::StatusOr<Listing>()>& look) {
  Watcher watcher(globals);
  bool away = false;
  while (true) {
    auto listing = look();
    if (listing.ok()) {
      watcher.Tell(*std::move(listing));
      away = false;
    } else {
      if (watcher.first() || !absl::IsUnavailable(listing.status())) return listing.status();
      if (!away) std::cerr << "warning: " << std::string(listing.status().message()) << "; watching on\n";
      away = true;
    }
    os::Clock::System()->SleepFor(kLookEvery);
  }
}

absl::Status ShowListing(const Globals& globals, bool watch, const std::function<absl::StatusOr<Listing>()>& look) {
  if (watch) return WatchListing(globals, look);
  BW_ASSIGN_OR_RETURN(Listing listing, look());
  PrintListing(globals, std::move(listing));
  return absl::OkStatus();
}

}  // namespace bailiwick::cli
