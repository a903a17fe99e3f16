// transfer ...: what is on its way.
#include <iostream>
#include <set>

#include "common/base/status.h"
#include "common/base/units.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/progress.h"
#include "services/cli/commands/views.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kWatchEvery = absl::Milliseconds(200);

absl::StatusOr<std::vector<control::v1::Transfer>> Transfers(Admin& admin, const std::string& id) {
  control::v1::ListTransfersRequest request;
  request.set_transfer_id(id);
  control::v1::ListTransfersResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListTransfers(Admin::Call().get(), request, &response)));
  if (!id.empty() && response.transfers_size() == 0) {
    return absl::NotFoundError(absl::StrCat("transfer ", id, " is not known; see: bailiwick transfer list"));
  }
  return std::vector<control::v1::Transfer>(response.transfers().begin(), response.transfers().end());
}

Json JsonOf(const control::v1::Transfer& t) {
  return Object({{"id", Text(t.transfer_id())},
                 {"dataset", Text(t.dataset())},
                 {"version", Number(t.version())},
                 {"source", Text(t.source())},
                 {"destination", Text(t.destination())},
                 {"state", Text(t.state())},
                 {"doneBytes", Number(t.done_bytes())},
                 {"totalBytes", Number(t.total_bytes())},
                 {"wireBytes", Number(t.wire_bytes())},
                 {"rateBytesPerSecond", Number(t.rate_bytes())},
                 {"etaSeconds", t.has_eta() ? Number(t.eta().seconds()) : Json()},
                 {"limit", Text(t.limit())},
                 {"limitSite", Text(t.limit_site())},
                 {"started", Text(TimeText(t.started()))},
                 {"ended", Text(TimeText(t.ended()))},
                 {"code", Text(t.code())},
                 {"message", Text(t.message())}});
}

std::string Rate(const control::v1::Transfer& t) { return absl::StrCat(FormatBytes(t.rate_bytes()), "/s"); }

std::string Limit(const control::v1::Transfer& t) {
  return t.limit_site().empty() ? t.limit() : absl::StrCat(t.limit(), " at ", t.limit_site());
}

absl::Status ListAll(const Globals& globals) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (!globals.table()) {
    BW_ASSIGN_OR_RETURN(Fields fields, TransfersView(*admin));
    PrintJson(globals.format(), std::move(fields));
    return absl::OkStatus();
  }
  BW_ASSIGN_OR_RETURN(auto transfers, Transfers(*admin, ""));
  Rows rows;
  for (const auto& t : transfers) {
    rows.push_back({t.transfer_id(), t.dataset(), absl::StrCat(t.version()),
                    absl::StrCat(t.source(), " -> ", t.destination()), t.state(),
                    absl::StrCat(FormatBytes(t.done_bytes()), " of ", FormatBytes(t.total_bytes())),
                    FormatBytes(t.wire_bytes()), t.rate_bytes() == 0 ? "-" : Rate(t),
                    t.has_eta() ? FormatAge(absl::Seconds(t.eta().seconds())) : "-", t.limit().empty() ? "-" : Limit(t),
                    TimeText(t.started()), t.message()});
  }
  PrintTable({"ID", "DATASET", "VERSION", "FROM -> TO", "STATE", "PRESENT", "ON THE WIRE", "RATE", "ETA", "LIMIT",
              "STARTED", "MESSAGE"},
             rows);
  return absl::OkStatus();
}

void PrintEnd(const Globals& globals, const control::v1::Transfer& t) {
  if (!globals.table()) {
    PrintNext(globals.format(), {{"transfer", JsonOf(t)}});
    return;
  }
  std::cout << t.dataset() << " version " << t.version() << " " << t.source() << " -> " << t.destination() << ": "
            << t.state() << ", " << FormatBytes(t.wire_bytes()) << " on the wire" << (t.message().empty() ? "" : ": ")
            << Printable(t.message()) << std::endl;
}

absl::StatusOr<int> Watch(const Globals& globals, const std::string& id) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  ProgressBoard board;
  std::set<std::string> seen;  // running when last looked at
  bool any = false, failed = false;
  while (true) {
    BW_ASSIGN_OR_RETURN(auto transfers, Transfers(*admin, id));
    bool running = false;
    for (const auto& t : transfers) {
      if (t.state() == "done" || t.state() == "failed") {
        if (seen.erase(t.transfer_id()) == 0 && (id.empty() || any)) continue;
        any = true;
        failed |= t.state() == "failed" && !id.empty();  // of all, another one may have brought it since
        board.Clear();
        board.Remove(t.transfer_id());
        PrintEnd(globals, t);
        continue;
      }
      running = any = true;
      seen.insert(t.transfer_id());
      board.Update(t.transfer_id(),
                   absl::StrCat(t.dataset(), " version ", t.version(), " ", t.source(), " -> ", t.destination()),
                   t.done_bytes(), t.total_bytes(),
                   absl::StrCat(FormatBytes(t.wire_bytes()), " on the wire",
                                t.limit().empty() ? "" : absl::StrCat(", limited by: ", Limit(t))));
    }
    board.Draw();
    if (!running) {
      if (!any && globals.table()) std::cout << "nothing is being transferred\n";
      return failed ? 1 : 0;
    }
    os::Clock::System()->SleepFor(kWatchEvery);
  }
}

}  // namespace

absl::StatusOr<Fields> TransfersView(Admin& admin) {
  BW_ASSIGN_OR_RETURN(auto transfers, Transfers(admin, ""));
  std::vector<Json> json;
  for (const auto& t : transfers) json.push_back(JsonOf(t));
  return Fields{{"transfers", List(std::move(json))}};
}

void RegisterTransfers(CLI::App& app, Globals& globals) {
  auto* transfer = app.add_subcommand("transfer", "what is on its way");
  transfer->require_subcommand(1);
  transfer->footer("Example:\n  bailiwick transfer watch");
  auto* list = transfer->add_subcommand("list", "running transfers and the last 100 ended");
  list->footer("Example:\n  bailiwick transfer list");
  OnRun(list, globals, [&globals] { return ListAll(globals); });
  auto* watch = transfer->add_subcommand("watch", "progress until nothing runs");
  auto id = std::make_shared<std::string>();
  watch->add_option("ID", *id, "one transfer (default: all)");
  watch->footer("Exit code 1 when the one that is named failed.\nExample:\n  bailiwick transfer watch");
  OnRunCode(watch, globals, [&globals, id] { return Watch(globals, *id); });
}

}  // namespace bailiwick::cli
