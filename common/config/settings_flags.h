// The flags of a table of settings, for CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "common/config/settings.h"

namespace bailiwick::config {

// One option a setting, and --config. Both outlive the parsing.
inline void AddFlags(CLI::App* command, Settings* settings, std::string* config_file) {
  command->add_option("--config", *config_file, "file with the same settings; a flag wins over it")->type_name("FILE");
  for (Setting& setting : settings->table()) {
    Setting* one = &setting;
    command
        ->add_option_function<std::string>(
            "--" + setting.flag,
            [one](const std::string& value) {
              *one->value = value;
              one->given = true;
            },
            settings->HelpOf(setting))
        ->check([one](const std::string& value) { return std::string(Settings::Check(*one, value).message()); });
  }
}

}  // namespace bailiwick::config
