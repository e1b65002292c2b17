#include "model/tokenizers/unicode.h"

#include <algorithm>
#include <memory>
#include <new>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "unicode/brkiter.h"
#include "unicode/bytestream.h"
#include "unicode/normalizer2.h"
#include "unicode/uchar.h"
#include "unicode/utext.h"
#include "unicode/utf8.h"
#include "unicode/uversion.h"

namespace darkroom {
namespace {

constexpr char32_t kReplacement = 0xFFFD;
// The one code point whose lower case is two.
constexpr char32_t kCapitalDottedI = 0x130;

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

struct CloseText {
  void operator()(UText* text) const { utext_close(text); }
};

// After UnicodeReady() nothing else fails.
void RequireSuccess(UErrorCode status) {
  if (U_FAILURE(status)) throw std::bad_alloc();
}

}  // namespace

absl::Status UnicodeReady() {
  UErrorCode status = U_ZERO_ERROR;
  icu::Normalizer2::getNFCInstance(status);
  const std::unique_ptr<icu::BreakIterator> breaks(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
  if (U_SUCCESS(status)) return absl::OkStatus();
  return Error(absl::StatusCode::kInternal, "UNICODE_DATA_MISSING",
               absl::StrCat("ICU cannot load its data: ", u_errorName(status)));
}

std::string UnicodeLibrary() {
  UVersionInfo version;
  u_getVersion(version);
  return absl::StrCat("icu ", int{version[0]}, ".", int{version[1]});
}

std::string ValidUtf8(std::string_view text) {
  if (IsAscii(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const auto size = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < size;) {
    UChar32 c = 0;
    U8_NEXT(bytes, i, size, c);
    AppendCodePoint(c < 0 ? kReplacement : static_cast<char32_t>(c), out);
  }
  return out;
}

char32_t NextCodePoint(std::string_view text, size_t& position) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c = 0;
  U8_NEXT_UNSAFE(bytes, position, c);
  return static_cast<char32_t>(c);
}

void AppendCodePoint(char32_t code_point, std::string& out) {
  char bytes[U8_MAX_LENGTH];
  int32_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, static_cast<UChar32>(code_point));
  out.append(bytes, static_cast<size_t>(size));
}

bool IsWhiteSpace(char32_t code_point) {
  return u_isUWhiteSpace(static_cast<UChar32>(code_point)) != 0;
}

bool IsLetter(char32_t code_point) {
  return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & U_GC_L_MASK) != 0;
}

bool IsNumber(char32_t code_point) {
  return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & U_GC_N_MASK) != 0;
}

void AppendLowerCase(char32_t code_point, std::string& out) {
  if (code_point == kCapitalDottedI) {
    out += "i\u0307";
    return;
  }
  AppendCodePoint(static_cast<char32_t>(u_tolower(static_cast<UChar32>(code_point))), out);
}

std::string ToNfc(std::string_view text) {
  if (IsAscii(text)) return std::string(text);
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  std::string out;
  out.reserve(text.size());
  icu::StringByteSink<std::string> sink(&out);
  if (U_SUCCESS(status)) {
    nfc->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink,
                       nullptr, status);
  }
  RequireSuccess(status);
  return out;
}

void ForEachGrapheme(std::string_view text, const std::function<void(std::string_view)>& visit) {
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<UText, CloseText> view(
      utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &status));
  const std::unique_ptr<icu::BreakIterator> breaks(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
  if (U_SUCCESS(status)) breaks->setText(view.get(), status);
  RequireSuccess(status);
  int32_t begin = breaks->first();
  for (int32_t end = breaks->next(); end != icu::BreakIterator::DONE; end = breaks->next()) {
    visit(text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    begin = end;
  }
}

}  // namespace darkroom
