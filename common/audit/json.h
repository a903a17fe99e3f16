// The JSON that records hold: checked, compacted, and read again, one level at a time. Hostile input until parsed;
// nesting is bounded. Pure functions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace bailiwick::audit {

// The text without the space between tokens, so that it is a line; nothing unless it is one JSON object. No object in
// it may have two members of one name: readers differ in which of them counts.
std::optional<std::string> CompactObject(std::string_view text);

// The members of an object that CompactObject would take; values as they are written ("text", 12, {...}), names without
// escapes resolved other than \" and \\. Empty when it is no such object.
std::map<std::string, std::string> ObjectMembers(std::string_view object);

// Takes `word`, or the JSON string that JsonString wrote, off the start of `in`; false, and `in` anywhere, when it is
// not there.
bool SkipWord(std::string_view* in, std::string_view word);
bool TakeString(std::string_view* in, std::string* out);

// What a JSON string means; nothing when it is none.
std::optional<std::string> StringValue(std::string_view json);

}  // namespace bailiwick::audit
