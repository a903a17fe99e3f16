// The configuration file of a process.
#include "common/config/settings.h"

#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(settings) {
  using namespace bailiwick::config;
  std::string name = "box", directory = "/var/lib", listen = "127.0.0.1:1", every = "24h", level = "info";
  using Form = Setting::Form;
  Settings table("bailiwick-agent", "run",
                 {{.flag = "name", .value = &name, .help = "a name"},
                  {.flag = "data-dir", .form = Form::kPath, .value = &directory, .help = "where"},
                  {.flag = "listen", .form = Form::kHostPort, .value = &listen, .help = "at what address"},
                  {.flag = "every", .form = Form::kDuration, .value = &every, .help = "how often"},
                  {.flag = "level", .form = Form::kWord, .value = &level, .help = "x", .words = {"info", "debug"}}});
  const absl::Status read = table.ReadText(in.Rest(), "settings.yaml");
  REQUIRE(read.ok() || (!read.message().empty() && name == "box" && level == "info"));
  for (const Setting& setting : table.table()) REQUIRE(Settings::Check(setting, *setting.value).ok());
  REQUIRE(directory.starts_with("/") && (level == "info" || level == "debug"));
}
