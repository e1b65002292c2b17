#pragma once

#include <string>
#include <string_view>

namespace darkroom {

// Strict UTF-8: no overlong forms, surrogates or code points above U+10FFFF.
bool IsValidUtf8(std::string_view text);

// C0 and C1 control characters and DEL. REQUIRES: valid UTF-8.
bool HasControlCharacter(std::string_view text);

// `text` in double quotes for an error message: cut at `bytes_max` on a character's boundary, with
// control characters, quotes and broken UTF-8 escaped.
std::string Quoted(std::string_view text, size_t bytes_max);

// The longest prefix of at most `bytes_max` bytes that splits no character. REQUIRES: valid UTF-8.
std::string_view Utf8Prefix(std::string_view text, size_t bytes_max);

}  // namespace darkroom
