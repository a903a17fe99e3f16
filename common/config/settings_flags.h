// The flags of a table of settings, for CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "common/config/settings.h"

namespace bailiwick::config {

// Where a relative path of a flag leads from here.
inline std::string AbsolutePath(const std::string& path) {
  if (path.empty() || path[0] == '/') return path;
  std::error_code unknown_here;
  const std::string whole = std::filesystem::absolute(path, unknown_here).lexically_normal().string();
  if (unknown_here) return path;
  return whole.size() > 1 && whole.back() == '/' ? whole.substr(0, whole.size() - 1) : whole;
}

// One option a setting, or for some of them, and --config. All outlive the parsing. In the file any setting may stand.
inline void AddFlags(CLI::App* command, Settings* settings, std::string* config_file,
                     const std::vector<std::string>& only = {}) {
  command->add_option("--config", *config_file, "file with the same settings; a flag wins over it")->type_name("FILE");
  for (Setting& setting : settings->table()) {
    if (!only.empty() && std::find(only.begin(), only.end(), setting.flag) == only.end()) continue;
    Setting* one = &setting;
    command
        ->add_option_function<std::string>(
            "--" + setting.flag,
            [one](const std::string& value) {
              *one->value = one->form == Setting::Form::kPath ? AbsolutePath(value) : value;
              one->given = true;
            },
            settings->HelpOf(setting))
        ->check([one](const std::string& value) { return std::string(Settings::Check(*one, value).message()); });
  }
}

}  // namespace bailiwick::config
