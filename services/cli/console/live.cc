// The stream of what changes. It asks the coordinator once a second, as `transfer watch` and `get replicas -w` do, and
// sends what differs from what it sent last; while the coordinator is away it says so and goes on asking.
#include <array>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/os/clock.h"
#include "services/cli/commands/views.h"
#include "services/cli/console/api.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kEvery = absl::Seconds(1);
constexpr absl::Duration kLook = absl::Milliseconds(100);  // how soon a reader that left is noticed
constexpr absl::Duration kBeat = absl::Seconds(10);        // so that a reader notices that the console is gone
constexpr uint32_t kEvents = 40;

struct Topic {
  const char* name;
  absl::StatusOr<Fields> (*view)(Admin&);
};
constexpr std::array<Topic, 4> kTopics = {{
    {"status", StatusView},
    {"replicas", [](Admin& admin) { return ReplicasView(admin, "", ""); }},
    {"transfers", TransfersView},
    {"events", [](Admin& admin) { return EventsView(admin, kEvents); }},
}};

std::string EventText(absl::string_view name, Fields fields) {
  return absl::StrCat("event: ", name, "\ndata: ", FormatLine(std::move(fields)), "\n");  // the line has its end
}

}  // namespace

void StreamLive(Admin& admin, http::BodyWriter& out) {
  const os::Clock* clock = os::Clock::System();
  std::map<std::string, std::string> sent;
  absl::Duration beat = clock->BootTime();
  while (out.open()) {
    std::string text;
    absl::Status away;
    for (const Topic& topic : kTopics) {
      absl::StatusOr<Fields> fields = topic.view(admin);
      if (!fields.ok()) {
        away = fields.status();
        break;
      }
      std::string event = EventText(topic.name, *std::move(fields));
      if (sent[topic.name] == event) continue;
      text += event;
      sent[topic.name] = std::move(event);
    }
    const std::string state =
        EventText("away", {{"message", Text(std::string(away.message()))}});  // empty: it is there
    if (sent["away"] != state) text += sent["away"] = state;
    const absl::Duration now = clock->BootTime();
    if (text.empty() && now - beat >= kBeat) text = ":\n\n";
    if (!text.empty()) beat = now;
    if (!text.empty() && !out.Write(text)) return;
    while (out.open() && clock->BootTime() - now < kEvery) clock->SleepFor(kLook);
  }
}

}  // namespace bailiwick::cli
