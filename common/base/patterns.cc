#include "common/base/patterns.h"

#include <cctype>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace bailiwick {
namespace {

absl::Status Malformed(std::string_view pattern, const char* why) {
  return absl::InvalidArgumentError(
      absl::StrCat("pattern \"", absl::Utf8SafeCEscape(absl::string_view(pattern.data(), pattern.size())), "\" ", why));
}

// "[:alpha:]" at the front of `text`: adds its bytes and returns its length, 0 if it is none.
size_t AddNamedClass(std::string_view text, std::bitset<256>* out) {
  static constexpr struct {
    std::string_view name;
    int (*test)(int);
  } kClasses[] = {{"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
                  {"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
                  {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit}};
  for (const auto& c : kClasses) {
    std::string full = "[:" + std::string(c.name) + ":]";
    if (text.substr(0, full.size()) != full) continue;
    for (int b = 0; b < 128; ++b) {
      if (c.test(b)) out->set(b);
    }
    return full.size();
  }
  return 0;
}

// A bracket expression at the front of `text`; its length, 0 when it is not closed.
size_t ParseClass(std::string_view text, std::bitset<256>* out) {
  size_t i = 1;
  bool negated = i < text.size() && (text[i] == '!' || text[i] == '^');
  if (negated) ++i;
  for (bool first = true; i < text.size(); first = false) {
    if (text[i] == ']' && !first) {
      if (negated) out->flip();
      out->reset('/');
      return i + 1;
    }
    if (size_t n = AddNamedClass(text.substr(i), out); n > 0) {
      i += n;
      continue;
    }
    if (text[i] == '\\' && ++i == text.size()) return 0;
    uint8_t from = static_cast<uint8_t>(text[i++]);
    uint8_t to = from;
    if (i + 1 < text.size() && text[i] == '-' && text[i + 1] != ']') {
      ++i;
      if (text[i] == '\\' && ++i == text.size()) return 0;
      to = static_cast<uint8_t>(text[i++]);
    }
    for (int b = from; b <= to; ++b) out->set(b);
  }
  return 0;
}

// Spaces at the end don't count unless quoted with a backslash.
std::string_view TrimTrailingSpaces(std::string_view line) {
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) {
    size_t slashes = 0;
    while (slashes + 1 < line.size() && line[line.size() - 2 - slashes] == '\\') ++slashes;
    if (slashes % 2 == 1) break;
    line.remove_suffix(1);
  }
  return line;
}

std::vector<std::string_view> Split(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t from = 0;;) {
    size_t slash = text.find('/', from);
    if (slash == std::string_view::npos) {
      out.push_back(text.substr(from));
      return out;
    }
    out.push_back(text.substr(from, slash - from));
    from = slash + 1;
  }
}

}  // namespace

absl::StatusOr<PatternList::Segment> PatternList::ParseSegment(std::string_view text, std::string_view whole) {
  Segment segment;
  if (text == "**") {
    segment.any_depth = true;
    return segment;
  }
  for (size_t i = 0; i < text.size();) {
    Token token;
    if (text[i] == '*') {
      token.kind = Token::kStar;
      while (i < text.size() && text[i] == '*') ++i;
    } else if (text[i] == '?') {
      token.kind = Token::kAnyByte;
      ++i;
    } else if (text[i] == '[') {
      std::bitset<256> set;
      size_t n = ParseClass(text.substr(i), &set);
      if (n == 0) return Malformed(whole, "has a bracket that is not closed; write \\[ for the character itself");
      token.kind = Token::kClass;
      token.index = static_cast<uint16_t>(segment.classes.size());
      segment.classes.push_back(set);
      i += n;
    } else {
      if (text[i] == '\\' && ++i == text.size())
        return Malformed(whole, "ends a name with a lone backslash; write \\\\");
      token.literal = text[i++];
    }
    segment.tokens.push_back(token);
  }
  return segment;
}

absl::StatusOr<PatternList> PatternList::Parse(const std::vector<std::string>& lines) {
  PatternList list;
  for (const std::string& line : lines) {
    std::string_view text = TrimTrailingSpaces(line);
    if (text.empty() || text[0] == '#') continue;
    if (text.size() > 4096) return absl::InvalidArgumentError("a pattern has at most 4096 bytes");
    Pattern pattern;
    if (text[0] == '!') {
      pattern.negated = true;
      text.remove_prefix(1);
    }
    if (!text.empty() && text.back() == '/') {
      pattern.directory_only = true;
      text.remove_suffix(1);
    }
    pattern.anchored = text.find('/') != std::string_view::npos;
    if (!text.empty() && text.front() == '/') text.remove_prefix(1);
    if (text.empty()) return Malformed(line, "names nothing");
    for (std::string_view part : Split(text)) {
      if (part.empty()) return Malformed(line, "has an empty component (\"//\")");
      BW_ASSIGN_OR_RETURN(Segment segment, ParseSegment(part, line));
      pattern.segments.push_back(std::move(segment));
    }
    // "a/**" is what lies inside a, so at least one component.
    if (pattern.segments.back().any_depth) {
      BW_ASSIGN_OR_RETURN(Segment star, ParseSegment("*", line));
      pattern.segments.push_back(std::move(star));
      pattern.anchored = true;
    }
    list.any_anchored_ |= pattern.anchored;
    list.patterns_.push_back(std::move(pattern));
  }
  return list;
}

// Both matchers remember only the last star: what an earlier one could still take, the later one can too.
bool PatternList::MatchSegment(const Segment& segment, std::string_view name) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t t = 0, n = 0, star = kNone, star_name = 0;
  const std::vector<Token>& tokens = segment.tokens;
  while (n < name.size()) {
    if (t < tokens.size() && tokens[t].kind == Token::kStar) {
      star = t++;
      star_name = n;
      continue;
    }
    bool match =
        t < tokens.size() &&
        (tokens[t].kind == Token::kAnyByte || (tokens[t].kind == Token::kLiteral && tokens[t].literal == name[n]) ||
         (tokens[t].kind == Token::kClass && segment.classes[tokens[t].index][static_cast<uint8_t>(name[n])]));
    if (match) {
      ++t;
      ++n;
    } else if (star != kNone) {
      t = star + 1;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (t < tokens.size() && tokens[t].kind == Token::kStar) ++t;
  return t == tokens.size();
}

bool PatternList::MatchSegments(const std::vector<Segment>& segments, const std::vector<std::string_view>& names) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t s = 0, n = 0, star = kNone, star_name = 0;
  while (n < names.size()) {
    if (s < segments.size() && segments[s].any_depth) {
      star = s++;
      star_name = n;
    } else if (s < segments.size() && MatchSegment(segments[s], names[n])) {
      ++s;
      ++n;
    } else if (star != kNone) {
      s = star + 1;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (s < segments.size() && segments[s].any_depth) ++s;
  return s == segments.size();
}

PatternList::Verdict PatternList::Match(std::string_view path, bool is_directory) const {
  size_t slash = path.rfind('/');
  std::string_view base = slash == std::string_view::npos ? path : path.substr(slash + 1);
  std::vector<std::string_view> names;
  if (any_anchored_) names = Split(path);
  for (auto p = patterns_.rbegin(); p != patterns_.rend(); ++p) {
    if (p->directory_only && !is_directory) continue;
    if (p->anchored ? MatchSegments(p->segments, names) : MatchSegment(p->segments[0], base)) {
      return p->negated ? Verdict::kNegated : Verdict::kMatch;
    }
  }
  return Verdict::kNone;
}

absl::StatusOr<Selection> Selection::Parse(const std::vector<std::string>& include,
                                           const std::vector<std::string>& ignore) {
  Selection selection;
  BW_ASSIGN_OR_RETURN(selection.include, PatternList::Parse(include));
  BW_ASSIGN_OR_RETURN(selection.ignore, PatternList::Parse(ignore));
  return selection;
}

bool Selection::IgnoredAbove(std::string_view path) const {
  if (ignore.empty()) return false;
  for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
    if (Ignored(path.substr(0, slash), true)) return true;
  }
  return false;
}

bool Selection::Included(std::string_view path, bool directory) const {
  if (include.empty()) return true;
  bool included = false;
  auto judge = [&](std::string_view part, bool is_directory) {
    const PatternList::Verdict verdict = include.Match(part, is_directory);
    if (verdict != PatternList::Verdict::kNone) included = verdict == PatternList::Verdict::kMatch;
  };
  for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
    judge(path.substr(0, slash), true);
  }
  judge(path, directory);
  return included;
}

}  // namespace bailiwick
