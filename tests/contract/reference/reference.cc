// Makes deploy/reference/policy.md: every field of every kind, from the protos' own comments, with examples that were
// parsed and messages that the parser gave. Writes the page to stdout; with --check FILE exits 1 when the file differs.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/config/fields.h"
#include "common/config/yaml.h"
#include "common/os/files.h"
#include "tests/contract/reference/entries.h"

namespace bailiwick::reference {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

constexpr size_t kMaxFile = 16 << 20;

std::string Cell(const std::string& text) { return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}}); }

template <typename D>
std::vector<std::string> CommentLines(const D& descriptor) {
  google::protobuf::SourceLocation at;
  std::vector<std::string> lines;
  if (!descriptor.GetSourceLocation(&at)) return lines;
  for (const std::string* text : {&at.leading_comments, &at.trailing_comments}) {
    for (absl::string_view line : absl::StrSplit(*text, '\n')) {
      if (!line.empty() && line.front() == ' ') line.remove_prefix(1);
      if (!line.empty()) lines.emplace_back(line);
    }
  }
  return lines;
}

template <typename D>
std::string Comment(const D& descriptor) {
  return absl::StrJoin(CommentLines(descriptor), " ");
}

std::string Link(const std::string& name) {
  std::string anchor = name;
  std::transform(anchor.begin(), anchor.end(), anchor.begin(), [](unsigned char c) { return std::tolower(c); });
  return absl::StrCat("[", name, "](#", anchor, ")");
}

std::string OneType(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("`", absl::StrJoin(config::EnumWords(*field.enum_type()), "`, `"), "`");
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return config::IsDuration(field) ? "duration" : Link(field.message_type()->name());
    default:
      return config::IsByteCount(field) ? "size" : "whole number";
  }
}

std::string Type(const FieldDescriptor& field) {
  if (field.is_map()) return absl::StrCat("map of ", OneType(*field.message_type()->map_value()));
  return field.is_repeated() ? absl::StrCat("list of ", OneType(field)) : OneType(field);
}

class Page {
 public:
  std::string Make(const google::protobuf::DescriptorPool& pool) {
    const Descriptor& resource = *pool.FindMessageTypeByName("bailiwick.resource.v1.Resource");
    text_ =
        "# Reference: resources and policy\n\n"
        "Made from `proto/bailiwick/resource/v1/resource.proto` by `build/dev/bin/policy_reference`; do not edit. "
        "Every "
        "example was parsed,\nevery message is the parser's own; a real one begins with file:line:column.\n\n"
        "Resources are YAML documents with `apiVersion: bailiwick/v1`, `kind`, `metadata` and `spec`. Text that could "
        "be "
        "read as something\nelse (`yes`, `no`, numbers) is quoted. Durations: `90s`, `15m`, `1h30m`, `30d`. Sizes: "
        "`32KiB`, "
        "`1MiB`.\n";
    Message(*resource.FindFieldByName("metadata")->message_type(), "");
    for (int i = 0; i < resource.field_count(); ++i) {
      if (resource.field(i)->name() == "metadata") continue;
      const Descriptor& spec = *resource.field(i)->message_type();
      Message(spec, spec.name().substr(0, spec.name().size() - std::strlen("Spec")));
    }
    for (const EnumDescriptor* type : enums_) Enum(*type);
    for (const Entry& entry : Entries()) {
      if (used_.count(entry.field) == 0) Fail(absl::StrCat("an entry names ", entry.field, ", which is no field"));
    }
    return text_;
  }

  const std::vector<std::string>& problems() const { return problems_; }

 private:
  void Fail(std::string problem) { problems_.push_back(std::move(problem)); }

  void Message(const Descriptor& type, const std::string& kind) {
    if (!seen_.insert(type.name()).second) return;
    const auto frame =
        std::find_if(Frames().begin(), Frames().end(), [&](const Frame& f) { return f.message == type.name(); });
    if (frame == Frames().end()) {
      Fail(absl::StrCat("message ", type.name(), " has no frame in entries.cc"));
      return;
    }
    absl::StrAppend(&text_, "\n## ", kind.empty() ? type.name() : kind, "\n\n`", frame->where, "`",
                    kind.empty() ? "" : absl::StrCat(" of a ", kind), "\n");
    if (const auto lines = CommentLines(type); !lines.empty())
      absl::StrAppend(&text_, "\n", absl::StrJoin(lines, "\n"), "\n");
    absl::StrAppend(
        &text_, "\n| field | type | default | meaning | example | mistake and message |\n|---|---|---|---|---|---|\n");
    for (int i = 0; i < type.field_count(); ++i) Field(*type.field(i), *frame);
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const FieldDescriptor& value = field.is_map() ? *field.message_type()->map_value() : field;
      const bool message = value.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
      if (message && !config::IsDuration(value)) Message(*value.message_type(), "");
    }
  }

  void Field(const FieldDescriptor& field, const Frame& frame) {
    const std::string name = absl::StrCat(field.containing_type()->name(), ".", field.json_name());
    const auto entry =
        std::find_if(Entries().begin(), Entries().end(), [&](const Entry& e) { return e.field == name; });
    if (entry == Entries().end()) {
      Fail(absl::StrCat("field ", name, " has no entry in entries.cc"));
      return;
    }
    used_.insert(name);
    const std::string meaning = Comment(field);
    if (meaning.empty()) Fail(absl::StrCat("field ", name, " has no comment in resource.proto"));
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM && !field.is_map()) Mention(*field.enum_type());
    if (const std::string error = Try(frame, field, entry->example); !error.empty()) {
      Fail(absl::StrCat("the example of ", name, " does not parse: ", error));
    }
    const std::string message = Try(frame, field, entry->wrong);
    if (message.empty()) Fail(absl::StrCat("the mistake of ", name, " parses"));
    absl::StrAppend(&text_, "| `", field.json_name(), "` | ", Cell(Type(field)), " | ", Cell(entry->fallback), " | ",
                    Cell(meaning), " | `", Cell(entry->example), "` | `", Cell(entry->wrong), "`: ", Cell(message),
                    " |\n");
  }

  // The parser's message about the field, without the place; empty when all is well.
  static std::string Try(const Frame& frame, const FieldDescriptor& field, const std::string& snippet) {
    std::vector<std::string> fields;
    for (const std::string& sibling : frame.siblings) {
      const std::string key = sibling.substr(0, sibling.find(':'));
      const bool excluded = std::count(frame.excludes.begin(), frame.excludes.end(), std::pair(field.json_name(), key));
      if (key != field.json_name() && !excluded) fields.push_back(sibling);
    }
    fields.push_back(snippet);
    const std::string document = absl::StrReplaceAll(frame.document, {{"%", absl::StrJoin(fields, ", ")}});
    auto parsed = config::ParseYaml(document, "f");
    if (parsed.ok()) return "";
    const std::vector<std::string> lines = absl::StrSplit(std::string(parsed.status().message()), '\n');
    auto about = std::find_if(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find(field.json_name()) != std::string::npos;
    });
    const std::string line = about == lines.end() ? lines.front() : *about;
    return line.substr(line.find(": ") + 2);
  }

  void Mention(const EnumDescriptor& type) {
    if (std::find(enums_.begin(), enums_.end(), &type) == enums_.end()) enums_.push_back(&type);
  }

  void Enum(const EnumDescriptor& type) {
    std::vector<std::string> rows;
    for (int i = 0; i < type.value_count(); ++i) {
      const std::string comment = Comment(*type.value(i));
      if (i != 0 && !comment.empty())
        rows.push_back(absl::StrCat("- `", config::EnumWord(*type.value(i)), "`: ", comment));
    }
    const std::vector<std::string> lines = CommentLines(type);
    if (rows.empty() && lines.empty()) return;
    absl::StrAppend(&text_, "\n## ", type.name(), "\n\n");
    if (!lines.empty()) absl::StrAppend(&text_, "```\n", absl::StrJoin(lines, "\n"), "\n```\n");
    if (!rows.empty()) absl::StrAppend(&text_, absl::StrJoin(rows, "\n"), "\n");
  }

  std::string text_;
  std::set<std::string> seen_, used_;
  std::vector<const EnumDescriptor*> enums_;
  std::vector<std::string> problems_;
};

int Run(int argc, char** argv) {
  auto bytes = os::ReadFile(os::Files::System(), BAILIWICK_DESCRIPTORS, kMaxFile);
  google::protobuf::FileDescriptorSet set;
  if (!bytes.ok() || !set.ParseFromString(*bytes)) {
    std::cerr << "cannot read " << BAILIWICK_DESCRIPTORS << "; build it first\n";
    return 2;
  }
  google::protobuf::DescriptorPool pool;
  for (const auto& file : set.file()) pool.BuildFile(file);
  Page page;
  const std::string text = page.Make(pool);
  for (const std::string& problem : page.problems()) std::cerr << problem << "\n";
  if (!page.problems().empty()) return 1;
  if (argc != 3 || std::string(argv[1]) != "--check") {
    std::cout << text;
    return 0;
  }
  auto known = os::ReadFile(os::Files::System(), argv[2], kMaxFile);
  if (known.ok() && *known == text) return 0;
  std::cerr << argv[2] << " is stale; run: build/dev/bin/policy_reference > deploy/reference/policy.md\n";
  return 1;
}

}  // namespace
}  // namespace bailiwick::reference

int main(int argc, char** argv) { return bailiwick::reference::Run(argc, argv); }
