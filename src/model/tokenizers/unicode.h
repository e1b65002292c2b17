#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace darkroom {

// What tokenizers need to know of Unicode, by ICU. Texts are UTF-8.

// Whether ICU has its data, which is a file of its own in some installations: INTERNAL,
// UNICODE_DATA_MISSING. Where it has, the functions below fail for want of memory only.
absl::Status UnicodeReady();
// "icu 72.1": other versions know other characters, and so give other tokens.
std::string UnicodeLibrary();

// The text with everything that is no UTF-8 replaced by U+FFFD, as Unicode recommends (one for each
// maximal part of a character).
std::string ValidUtf8(std::string_view text);

// The code point that begins at `position`, which moves to the next one.
// REQUIRES: valid UTF-8, position < size.
char32_t NextCodePoint(std::string_view text, size_t& position);
void AppendCodePoint(char32_t code_point, std::string& out);

// Properties: White_Space, General_Category L and N.
bool IsWhiteSpace(char32_t code_point);
bool IsLetter(char32_t code_point);
bool IsNumber(char32_t code_point);

// Each code point's own full lower case, whatever stands around it.
void AppendLowerCase(char32_t code_point, std::string& out);
// Normalization Form C.
std::string ToNfc(std::string_view text);

// Extended grapheme clusters (UAX 29), in order.
void ForEachGrapheme(std::string_view text, const std::function<void(std::string_view)>& visit);

}  // namespace darkroom
