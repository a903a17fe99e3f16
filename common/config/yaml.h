// Strict YAML to resources and back. Every error is "file:line:column: what is wrong; what was expected", with a
// suggestion for a near miss. Field names are the JSON names of the protobuf fields. Thread-safe functions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "bailiwick/resource/v1/resource.pb.h"

namespace bailiwick::config {

using Resource = resource::v1::Resource;

struct Position {
  std::string file;
  int line = 0;  // from 1
  int column = 0;
  std::string str() const;
};

// A resource with the place of each of its fields, by path ("spec.rules[2].to.in[0]"), for later checks to point at.
struct Located {
  Resource resource;
  std::map<std::string, Position> positions;
  Position At(std::string_view path) const;  // the nearest enclosing one known
};

// All documents of one text. INVALID_ARGUMENT: every problem found, a line each. Checks syntax, kinds, fields, types,
// enums, names and labels and what one resource alone can say; references are checked by Validate.
absl::StatusOr<std::vector<Located>> ParseYaml(std::string_view text, std::string_view file);

std::string ToYaml(const Resource& resource);  // what ParseYaml reads back to the same resource
std::string ToJson(const Resource& resource);  // one object: apiVersion, kind, metadata, spec; same names as YAML

// "Region", "Site", "Dataset", "ReplicationPolicy", "SovereigntyPolicy", "BandwidthPolicy",
// "RoleBinding".
std::string KindOf(const Resource& resource);
const std::vector<std::string>& Kinds();
bool IsLaw(const std::string& kind);  // what policy keys sign: the policy bundle holds all of these kinds and no other
// Accepts any case, plural and short names (ds, rp, sp, bp); INVALID_ARGUMENT with a suggestion, which may be one of the
// words that the caller takes beside kinds.
absl::StatusOr<std::string> ParseKind(std::string_view text, const std::vector<std::string>& beside = {});

}  // namespace bailiwick::config
