// The context file: who I am, which coordinator, which policy keys.
#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/files.h"
#include "services/cli/core/admin.h"

namespace bailiwick::cli {
namespace {

constexpr const char* kRemedy = "; make a local fleet with: bailiwick dev up, or pass --context DIR";

std::string Absolute(const std::string& directory, const std::string& path) {
  return path.empty() || path[0] == '/' ? path : os::JoinPath(directory, path);
}

}  // namespace

absl::StatusOr<Context> LoadContext(const std::string& path) {
  std::string where = path;
  if (where.empty()) {
    if (const char* env = std::getenv("BAILIWICK_CONTEXT"); env != nullptr && *env != '\0') {
      where = env;
    } else if (const char* home = std::getenv("HOME"); home != nullptr) {
      where = os::JoinPath(home, ".config/bailiwick");
    }
  }
  std::error_code error;
  std::string file = std::filesystem::is_directory(where, error) ? os::JoinPath(where, "context.yaml") : where;
  auto text = os::ReadFile(os::Files::System(), file, 1 << 20);
  if (!text.ok()) return absl::NotFoundError(absl::StrCat("no context at ", where, kRemedy));
  Context context;
  context.directory = std::filesystem::absolute(file, error).parent_path();
  try {
    YAML::Node node = YAML::Load(*text);
    for (const auto& field : node) {
      const std::string key = field.first.as<std::string>();
      if (key == "coordinator") {
        context.coordinator = field.second.as<std::string>();
      } else if (key == "trustDomain") {
        context.trust_domain = field.second.as<std::string>();
      } else if (key == "credentials") {
        context.credentials = Absolute(context.directory, field.second.as<std::string>());
      } else if (key == "policyKeys") {
        for (const auto& k : field.second)
          context.policy_keys.push_back(Absolute(context.directory, k.as<std::string>()));
      } else if (key == "policyRootSha256") {
        context.policy_root_sha256 = absl::HexStringToBytes(field.second.as<std::string>());
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat(file, ":", field.first.Mark().line + 1, ": unknown field ", key));
      }
    }
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", e.mark.line + 1, ":", e.mark.column + 1, ": ", e.msg));
  }
  if (context.coordinator.empty() || context.trust_domain.empty() || context.credentials.empty() ||
      context.policy_root_sha256.size() != 32) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, " must name coordinator, trustDomain, credentials and policyRootSha256"));
  }
  return context;
}

absl::Status SaveContext(const Context& given) {
  Context context = given;
  // Paths below the directory move with it.
  auto relative = [&](std::string* path) {
    if (absl::StartsWith(*path, context.directory + "/")) *path = path->substr(context.directory.size() + 1);
  };
  relative(&context.credentials);
  for (std::string& key : context.policy_keys) relative(&key);
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "coordinator" << YAML::Value << context.coordinator << YAML::Key
      << "trustDomain" << YAML::Value << context.trust_domain << YAML::Key << "credentials" << YAML::Value
      << context.credentials << YAML::Key << "policyKeys" << YAML::Value << context.policy_keys << YAML::Key
      << "policyRootSha256" << YAML::Value << std::string(absl::BytesToHexString(context.policy_root_sha256))
      << YAML::EndMap;
  return os::WriteFileAtomically(os::Files::System(), os::JoinPath(context.directory, "context.yaml"),
                                 std::string(out.c_str()) + "\n");
}

}  // namespace bailiwick::cli
