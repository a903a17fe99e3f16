#include "common/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace bailiwick::config {
namespace {

Mark ToMark(const YAML::Mark& mark) { return mark.is_null() ? Mark{} : Mark{mark.line + 1, mark.column + 1}; }

struct Stop {
  Problem problem;
};

// Builds one document from the parser's events.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::vector<Problem>* problems, size_t* nodes) : problems_(problems), nodes_(nodes) {}

  YamlNode Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    root_ = YamlNode{};
    root_.mark = ToMark(mark);
    open_.clear();
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { Add(YamlNode::Type::kNull, mark, "?", anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    problems_->push_back({ToMark(mark), "aliases are not supported; write the value out"});
    Add(YamlNode::Type::kRefused, mark, "?", 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode& node = Add(YamlNode::Type::kScalar, mark, tag, anchor);
    node.text = value;
    node.quoted = tag == "!";
    Close();
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Add(YamlNode::Type::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Add(YamlNode::Type::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Open {
    YamlNode node;
    bool has_key = false;
    YamlNode key;
  };

  // Opens a node; kNull and kRefused are closed at once, the others by their end event.
  YamlNode& Add(YamlNode::Type type, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    const Mark at = ToMark(mark);
    if (++*nodes_ > kMaxYamlNodes)
      throw Stop{{at, absl::StrCat("more than ", kMaxYamlNodes, " values; split the file")}};
    if (open_.size() >= kMaxYamlDepth) throw Stop{{at, absl::StrCat("nested deeper than ", kMaxYamlDepth, " levels")}};
    if (anchor != 0) problems_->push_back({at, "anchors are not supported; write the value out"});
    if (tag != "?" && tag != "!" && !tag.empty()) {
      problems_->push_back({at, absl::StrCat("the tag ", tag, " is not supported; leave tags out")});
    }
    Open open;
    open.node.type = type;
    open.node.mark = at;
    open_.push_back(std::move(open));
    if (type == YamlNode::Type::kNull || type == YamlNode::Type::kRefused) {
      Close();
      return root_;  // not used by the callers of these two
    }
    return open_.back().node;
  }

  void Close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.type == YamlNode::Type::kList) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      parent.key = std::move(node);
      parent.has_key = true;
    } else {
      // A value that was left out is marked where the next thing begins; the key is where the writer must look.
      if (node.type == YamlNode::Type::kNull && node.mark.line != parent.key.mark.line) node.mark = parent.key.mark;
      parent.node.items.push_back(std::move(parent.key));
      parent.node.items.push_back(std::move(node));
      parent.has_key = false;
    }
  }

  std::vector<Problem>* const problems_;
  size_t* const nodes_;
  YamlNode root_;
  std::vector<Open> open_;
};

// yaml-cpp quietly replaces what is not UTF-8; a name must not change behind the writer's back.
bool CheckEncoding(std::string_view text, std::vector<Problem>* problems) {
  Mark mark;
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = text[i];
    size_t length = c < 0x80                ? 1
                    : c >= 0xC2 && c < 0xE0 ? 2
                    : c >= 0xE0 && c < 0xF0 ? 3
                    : c >= 0xF0 && c < 0xF5 ? 4
                                            : 0;
    bool good = length != 0 && i + length <= text.size() && c != 0;
    for (size_t k = 1; good && k < length; ++k) good = (static_cast<unsigned char>(text[i + k]) & 0xC0) == 0x80;
    if (good && length == 3) {
      const unsigned char second = text[i + 1];
      good = !(c == 0xE0 && second < 0xA0) && !(c == 0xED && second >= 0xA0);
    } else if (good && length == 4) {
      const unsigned char second = text[i + 1];
      good = !(c == 0xF0 && second < 0x90) && !(c == 0xF4 && second >= 0x90);
    }
    if (!good) {
      problems->push_back({mark, c == 0 ? "a NUL byte; expected text" : "not UTF-8; save the file as UTF-8"});
      return false;
    }
    if (c == '\n') {
      ++mark.line;
      mark.column = 1;
    } else {
      ++mark.column;
    }
    i += length;
  }
  return true;
}

bool Digits(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

bool LooksNumeric(std::string_view word) {
  if (word.empty()) return false;
  if (word[0] == '-' || word[0] == '+') word.remove_prefix(1);
  if (word.empty()) return false;
  std::string lower(word);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == ".inf" || lower == ".nan") return true;
  const std::string_view view = lower;
  if (view.substr(0, 2) == "0x") return Digits(view.substr(2), "0123456789abcdef_");
  if (view.substr(0, 2) == "0b") return Digits(view.substr(2), "01_");
  if (view.substr(0, 2) == "0o") return Digits(view.substr(2), "01234567_");
  if (!std::isdigit(static_cast<unsigned char>(view[0])) && view[0] != '.') return false;
  const std::string_view mantissa = view.substr(0, view.find('e'));
  if (mantissa.size() < view.size()) {
    std::string_view exponent = view.substr(mantissa.size() + 1);
    if (!exponent.empty() && (exponent[0] == '-' || exponent[0] == '+')) exponent.remove_prefix(1);
    if (!Digits(exponent, "0123456789")) return false;
  }
  // Decimal, or sexagesimal as YAML 1.1 has it (12:30:45).
  return Digits(mantissa, "0123456789._:") && std::any_of(mantissa.begin(), mantissa.end(), ::isdigit) &&
         std::count(mantissa.begin(), mantissa.end(), '.') <= 1;
}

}  // namespace

bool LooksTyped(std::string_view word) {
  static constexpr std::array<std::string_view, 9> kWords = {"yes", "no",   "true", "false", "on",
                                                             "off", "null", "~",    ""};
  std::string lower(word);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::find(kWords.begin(), kWords.end(), lower) != kWords.end() || LooksNumeric(word);
}

std::vector<YamlNode> ReadYaml(std::string_view text, std::vector<Problem>* problems) {
  std::vector<YamlNode> documents;
  if (text.size() > kMaxYamlBytes) {
    problems->push_back({{}, absl::StrCat("larger than ", kMaxYamlBytes >> 20, " MiB; split the file")});
    return documents;
  }
  if (!CheckEncoding(text, problems)) return documents;
  // yaml-cpp keeps every token of a flow collection in memory before it parses the first.
  const auto marks = std::count_if(text.begin(), text.end(), [](char c) {
    return std::string_view("[{,\n\"':?*&!").find(c) != std::string_view::npos;
  });
  if (static_cast<size_t>(marks) > 2 * kMaxYamlNodes) {
    problems->push_back({{}, absl::StrCat("more than ", kMaxYamlNodes, " values; split the file")});
    return documents;
  }
  std::istringstream input{std::string(text)};
  size_t nodes = 0;
  Builder builder(problems, &nodes);
  try {
    YAML::Parser parser(input);
    while (parser.HandleNextDocument(builder)) {
      YamlNode document = builder.Take();
      // It does not take what can begin no document ("," alone), and would find it there again without end.
      const bool stuck = !documents.empty() && document.mark.line == documents.back().mark.line &&
                         document.mark.column == documents.back().mark.column;
      if (stuck) throw Stop{{document.mark, "not YAML: this cannot begin a value"}};
      documents.push_back(std::move(document));
    }
  } catch (const Stop& stop) {
    problems->push_back(stop.problem);
  } catch (const YAML::Exception& error) {
    problems->push_back({ToMark(error.mark), absl::StrCat("not YAML: ", error.msg)});
  }
  return documents;
}

}  // namespace bailiwick::config
