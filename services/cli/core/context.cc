#include "services/cli/core/context.h"

#include <filesystem>
#include <map>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "common/base/suggest.h"
#include "common/config/yaml.h"
#include "common/config/yaml_tree.h"
#include "common/os/files.h"
#include "services/cli/core/contexts.h"

namespace bailiwick::cli {
namespace {

using config::YamlNode;
using Type = YamlNode::Type;

constexpr const char* kRemedy = "; make a local fleet with: bailiwick dev up, or pass --context DIR";
constexpr size_t kMaxContextBytes = 64 << 10;
constexpr size_t kMaxPolicyKeys = 64;

std::string Absolute(const std::string& directory, const std::string& path) {
  return path.empty() || path[0] == '/' ? path : os::JoinPath(directory, path);
}

// The fields of one file, as they are asked for.
class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  absl::Status Read(std::string_view text) {
    std::vector<config::Problem> problems;
    std::vector<YamlNode> documents = config::ReadYaml(text, &problems);
    if (!problems.empty()) return Fail(problems[0].mark, problems[0].text);
    if (documents.size() > 1) return Fail(documents[1].mark, "a context is one document");
    if (documents.empty() || documents[0].type != Type::kMap) return Fail({}, "expected a map of fields");
    for (size_t i = 0; i + 1 < documents[0].items.size(); i += 2) {
      YamlNode& key = documents[0].items[i];
      if (key.type != Type::kScalar) return Fail(key.mark, "a field without a name");
      if (!fields_.emplace(key.text, std::pair(key.mark, std::move(documents[0].items[i + 1]))).second) {
        return Fail(key.mark, absl::StrCat("the field ", key.text, " is there twice"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Take(const std::string& name, std::string* value) {
    auto field = fields_.extract(name);
    if (field.empty()) return absl::OkStatus();
    return Text(field.mapped().second, name, value);
  }

  absl::Status Take(const std::string& name, std::vector<std::string>* values) {
    auto field = fields_.extract(name);
    if (field.empty() || field.mapped().second.type == Type::kNull) return absl::OkStatus();
    const YamlNode& list = field.mapped().second;
    if (list.type != Type::kList || list.items.size() > kMaxPolicyKeys) {
      return Fail(list.mark, absl::StrCat(name, " is a list of at most ", kMaxPolicyKeys, " values"));
    }
    for (const YamlNode& item : list.items) BW_RETURN_IF_ERROR(Text(item, name, &values->emplace_back()));
    return absl::OkStatus();
  }

  absl::Status NothingLeft(const std::vector<std::string>& known) const {
    if (fields_.empty()) return absl::OkStatus();
    const auto& [name, field] = *fields_.begin();
    const std::string near = Suggest(name, known);
    return Fail(field.first, absl::StrCat("unknown field ", absl::CEscape(name.substr(0, 80)),
                                          near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
  }

 private:
  absl::Status Text(const YamlNode& node, const std::string& name, std::string* value) const {
    const bool printable = absl::c_all_of(node.text, [](unsigned char c) { return c >= ' ' && c != 0x7f; });
    if (node.type != Type::kScalar || node.text.empty() || !printable) {
      return Fail(node.mark, absl::StrCat(name, " is one line of text"));
    }
    *value = node.text;
    return absl::OkStatus();
  }
  absl::Status Fail(config::Mark mark, const std::string& why) const {
    return absl::InvalidArgumentError(
        absl::StrCat(config::Position{file_, mark.line, mark.column}.str(), ": ", why));
  }

  const std::string& file_;
  std::map<std::string, std::pair<config::Mark, YamlNode>> fields_;
};

// In double quotes, as any YAML reader takes it.
std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

absl::StatusOr<Context> ParseContext(std::string_view text, const std::string& file, const std::string& directory) {
  Reader reader(file);
  BW_RETURN_IF_ERROR(reader.Read(text));
  Context context;
  context.directory = directory;
  std::string root;
  const std::map<std::string, std::string*> fields = {{"coordinator", &context.coordinator},
                                                      {"trustDomain", &context.trust_domain},
                                                      {"credentials", &context.credentials},
                                                      {"policyRootSha256", &root},
                                                      {"proxy", &context.way_out.proxy},
                                                      {"proxyCredentials", &context.way_out.credentials},
                                                      {"noProxy", &context.way_out.exempt}};
  std::vector<std::string> known = {"policyKeys"};
  for (const auto& [name, value] : fields) {
    BW_RETURN_IF_ERROR(reader.Take(name, value));
    known.push_back(name);
  }
  BW_RETURN_IF_ERROR(reader.Take("policyKeys", &context.policy_keys));
  BW_RETURN_IF_ERROR(reader.NothingLeft(known));
  if (context.coordinator.empty() || context.trust_domain.empty() || context.credentials.empty() || root.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, " must name coordinator, trustDomain, credentials and policyRootSha256"));
  }
  if (absl::Status address = ParseHostPort(context.coordinator).status(); !address.ok()) {
    return Annotate(address, absl::StrCat(file, ": coordinator"));
  }
  if (root.size() != 64 || !absl::c_all_of(root, absl::ascii_isxdigit)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": policyRootSha256 is 64 hexadecimal digits"));
  }
  context.policy_root_sha256 = absl::HexStringToBytes(root);
  context.credentials = Absolute(directory, context.credentials);
  context.way_out.credentials = Absolute(directory, context.way_out.credentials);
  for (std::string& key : context.policy_keys) key = Absolute(directory, key);
  return context;
}

absl::StatusOr<Context> LoadContext(const std::string& path) {
  const std::string where = ChooseContext(path).path;
  std::error_code error;
  const std::string file = std::filesystem::is_directory(where, error) ? os::JoinPath(where, "context.yaml") : where;
  auto text = os::ReadFile(os::Files::System(), file, kMaxContextBytes);
  if (absl::IsNotFound(text.status())) return absl::NotFoundError(absl::StrCat("no context at ", where, kRemedy));
  if (!text.ok()) return absl::UnknownError(absl::StrCat("the context is not readable: ", text.status().message()));
  return ParseContext(*text, file, std::filesystem::absolute(file, error).parent_path());
}

std::string ContextText(const Context& context) {
  // Paths below the directory move with it.
  const auto relative = [&](const std::string& path) {
    const bool below = absl::StartsWith(path, context.directory + "/") && path.size() > context.directory.size() + 1 &&
                       path[context.directory.size() + 1] != '/';
    return below ? path.substr(context.directory.size() + 1) : path;
  };
  std::string out;
  const auto put = [&](const char* name, const std::string& value) {
    if (!value.empty()) absl::StrAppend(&out, name, ": ", Quoted(value), "\n");
  };
  put("coordinator", context.coordinator);
  put("trustDomain", context.trust_domain);
  put("credentials", relative(context.credentials));
  absl::StrAppend(&out, "policyKeys: [", absl::StrJoin(context.policy_keys, ", ", [&](std::string* o, const auto& key) {
                    absl::StrAppend(o, Quoted(relative(key)));
                  }), "]\n");
  put("policyRootSha256", std::string(absl::BytesToHexString(context.policy_root_sha256)));
  put("proxy", context.way_out.proxy);
  put("proxyCredentials", relative(context.way_out.credentials));
  put("noProxy", context.way_out.exempt);
  return out;
}

absl::Status SaveContext(const Context& context) {
  return os::WriteFileAtomically(os::Files::System(), os::JoinPath(context.directory, "context.yaml"),
                                 ContextText(context));
}

}  // namespace bailiwick::cli
