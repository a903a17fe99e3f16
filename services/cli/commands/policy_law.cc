#include "services/cli/commands/policy_law.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/base/suggest.h"
#include "common/config/when.h"
#include "common/os/clock.h"
#include "common/os/files.h"

namespace bailiwick::cli {
namespace {

constexpr uint64_t kMaxFile = 16 << 20;

absl::Status ReadOne(const std::string& path, std::vector<config::Located>* out) {
  std::string text;
  if (path == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    BW_ASSIGN_OR_RETURN(text, os::ReadFile(os::Files::System(), path, kMaxFile));
  }
  BW_ASSIGN_OR_RETURN(std::vector<config::Located> parsed, config::ParseYaml(text, path == "-" ? "<stdin>" : path));
  for (auto& located : parsed) out->push_back(std::move(located));
  return absl::OkStatus();
}

std::vector<std::string> YamlFiles(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string extension = entry.path().extension();
    if (entry.is_regular_file() && (extension == ".yaml" || extension == ".yml")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Something is there, and nothing twice.
absl::Status CheckOnce(const std::vector<config::Located>& all) {
  if (all.empty()) return absl::InvalidArgumentError("there is nothing to apply: no resources were read");
  std::map<config::ResourceKey, std::string> seen;
  for (const config::Located& located : all) {
    config::ResourceKey key{config::KindOf(located.resource), located.resource.metadata().name()};
    const std::string where = located.At("metadata.name").str();
    auto [it, fresh] = seen.try_emplace(key, where);
    if (!fresh) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": ", key.first, " ", key.second, " is declared twice; also at ", it->second));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<config::Located>> ReadResources(const std::vector<std::string>& paths) {
  std::vector<config::Located> all;
  std::string problems;
  for (const std::string& path : paths) {
    std::vector<std::string> files;
    std::error_code error;
    if (path != "-" && std::filesystem::is_directory(path, error)) {
      files = YamlFiles(path);
      if (files.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " holds no *.yaml files"));
    } else {
      files.push_back(path);
    }
    for (const std::string& file : files) {
      absl::Status read = ReadOne(file, &all);
      if (absl::IsInvalidArgument(read)) {
        absl::StrAppend(&problems, problems.empty() ? "" : "\n", std::string(read.message()));
      } else if (!read.ok()) {
        return read;
      }
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(problems);
  BW_RETURN_IF_ERROR(CheckOnce(all));
  return all;
}

absl::StatusOr<std::vector<config::Located>> ParseResources(const std::string& text, const std::string& name) {
  BW_ASSIGN_OR_RETURN(std::vector<config::Located> all, config::ParseYaml(text, name));
  BW_RETURN_IF_ERROR(CheckOnce(all));
  return all;
}

absl::StatusOr<Law> LawOf(std::string name, std::vector<config::Located> located, absl::Time now) {
  Law law;
  law.name = std::move(name);
  law.located = std::move(located);
  for (const config::Located& one : law.located) {
    law.catalog[{config::KindOf(one.resource), one.resource.metadata().name()}] = one.resource;
  }
  law.zones = config::CompileTimeZones(config::ZonesOf(law.catalog), now);
  config::Catalog untested = law.catalog;  // tests that fail are an answer, not a refusal
  for (auto& [key, resource] : untested) {
    if (resource.has_sovereignty_policy()) resource.mutable_sovereignty_policy()->clear_tests();
  }
  BW_RETURN_IF_ERROR(config::Validate(untested, law.located, now, law.zones));
  BW_ASSIGN_OR_RETURN(law.world, config::BuildWorld(law.catalog));
  law.world.time_zones = law.zones;
  law.datasets = config::DataOf(law.catalog);
  return law;
}

absl::StatusOr<Law> LawOfFiles(const std::vector<std::string>& files, absl::Time now) {
  BW_ASSIGN_OR_RETURN(std::vector<config::Located> located, ReadResources(files));
  return LawOf(absl::StrJoin(files, ", "), std::move(located), now);
}

absl::StatusOr<Law> LawInForce(Admin& admin) {
  BW_ASSIGN_OR_RETURN(config::Bundle bundle, admin.ReadBundle());
  if (bundle.world.revision == 0) {
    return absl::FailedPreconditionError("no policy was applied yet; run: bailiwick apply -f FILE");
  }
  BW_ASSIGN_OR_RETURN(auto classifications, admin.ReadClassifications(bundle.world));
  control::v1::ListResourcesResponse resources;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListResources(Admin::Call().get(), {}, &resources)));
  Law law;
  law.name = absl::StrCat("policy revision ", bundle.world.revision);
  law.world = std::move(bundle.world);
  law.zones = law.world.time_zones;
  for (const auto& resource : resources.resources()) {
    law.catalog[{config::KindOf(resource), resource.metadata().name()}] = resource;
  }
  std::map<std::string, const config::Classification*> newest;
  for (const config::Classification& c : classifications) {
    if (law.catalog.count({"Dataset", c.dataset}) == 0) continue;
    const config::Classification*& at = newest[c.dataset];
    if (at == nullptr || at->revision < c.revision) at = &c;
  }
  for (const auto& [name, c] : newest) law.datasets.push_back({name, c->labels, c->home_site});
  return law;
}

absl::StatusOr<Law> LoadLaw(const Globals& globals, const std::vector<std::string>& files, absl::Time now) {
  if (!files.empty()) return LawOfFiles(files, now);
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  return LawInForce(*admin);
}

absl::StatusOr<std::vector<std::string>> LawsBelow(const std::string& path) {
  std::error_code error;
  if (path == "-" || !std::filesystem::is_directory(path, error)) return std::vector<std::string>{path};
  std::vector<std::string> out;
  if (!YamlFiles(path).empty()) out.push_back(path);
  for (auto it = std::filesystem::recursive_directory_iterator(path, error);
       it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    if (error) break;
    if (it->is_directory() && !YamlFiles(it->path()).empty()) out.push_back(it->path());
  }
  std::sort(out.begin(), out.end());
  if (out.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " holds no *.yaml files"));
  return out;
}

absl::StatusOr<policy::Labels> ParseLabels(const std::vector<std::string>& texts) {
  policy::Labels labels;
  for (const std::string& text : texts) {
    for (absl::string_view one : absl::StrSplit(text, ',')) {
      const size_t equals = one.find('=');
      if (equals == absl::string_view::npos || equals == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("\"", one, "\" is not a label; write KEY=VALUE, as in class=health"));
      }
      labels[std::string(one.substr(0, equals))] = std::string(one.substr(equals + 1));
    }
  }
  return labels;
}

absl::StatusOr<absl::Time> ParseAt(const std::string& text) {
  if (text.empty()) return os::Clock::System()->Now();
  if (const auto time = config::ParseMoment(text)) return *time;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a time; write 2026-07-01T08:00:00+02:00"));
}

std::shared_ptr<Question> AskFlags(CLI::App* c) {
  auto q = std::make_shared<Question>();
  c->add_option("--dataset", q->dataset, "a dataset's signed labels")->type_name("DATASET");
  c->add_option("--label", q->labels, "KEY=VALUE of imagined data; several, or parted by commas");
  c->add_option("--purpose", q->purpose, "of the replication policy");
  c->add_option("--at", q->at, "a time, 2026-07-01T08:00:00+02:00");
  c->add_option("-f,--file", q->files, "law from files or directories, not from the coordinator")->type_name("PATH");
  return q;
}

absl::StatusOr<policy::NamedData> ChooseData(const Law& law, const Question& question) {
  if (question.dataset.empty() == question.labels.empty()) {
    return absl::InvalidArgumentError("say which data: --dataset NAME or --label KEY=VALUE");
  }
  policy::NamedData out;
  if (question.dataset.empty()) {
    BW_ASSIGN_OR_RETURN(out.labels, ParseLabels(question.labels));
    return out;
  }
  const size_t at = question.dataset.rfind('@');
  const std::string name = question.dataset.substr(0, at);
  std::vector<std::string> names;
  const policy::NamedData* known = nullptr;
  for (const policy::NamedData& data : law.datasets) {
    if (data.name == name) known = &data;
    names.push_back(data.name);
  }
  if (known == nullptr) {
    const std::string near = Suggest(name, names);
    return absl::NotFoundError(absl::StrCat("dataset ", question.dataset, " does not exist or nobody signed what it is",
                                            near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
  }
  out = *known;
  if (at == std::string::npos) return out;
  const std::string site = question.dataset.substr(at + 1);
  auto declared = law.world.sites.find(site);
  auto family = law.catalog.find({"Dataset", name});
  const bool is_home = declared != law.world.sites.end() && family != law.catalog.end() &&
                       family->second.dataset().home().has_site_selector() &&
                       policy::Matches(config::ToSelector(family->second.dataset().home().site_selector()),
                                       declared->second.labels, nullptr) == policy::Match::kYes;
  if (!is_home) {
    return absl::NotFoundError(
        absl::StrCat("stream ", question.dataset, " does not exist: ", site, " is not a home of family ", name));
  }
  out.name = question.dataset;
  out.home = site;
  return out;
}

std::string ObligationsText(const policy::Obligations& obligations) {
  std::vector<std::string> texts;
  for (const std::string& region : obligations.encrypt_key_regions)
    texts.push_back(absl::StrCat("encrypted with a key of ", region));
  if (obligations.max_retention != absl::InfiniteDuration()) {
    texts.push_back(absl::StrCat("kept at most ", absl::FormatDuration(obligations.max_retention)));
  }
  if (obligations.max_hops != 0) texts.push_back(absl::StrCat("at most ", obligations.max_hops, " hops"));
  if (obligations.no_transit) texts.push_back("never sent on");
  return absl::StrJoin(texts, ", ");
}

std::string LabelsText(const policy::Labels& labels) { return labels.empty() ? "no labels" : LabelText(labels); }

}  // namespace bailiwick::cli
