#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace darkroom {

// SentencePiece's normalization rules in compiled form: a double-array trie over what is replaced
// (the Darts-clone format, 32-bit units) and the replacements one after another, each ended by a
// zero byte; in front of them the trie's size in bytes, 32 bits little-endian.
class CharsMap {
 public:
  // No rules: texts stay as they are.
  CharsMap() = default;
  // INVALID_ARGUMENT, MODEL_INVALID, naming `file`. `bytes` may be anything.
  static absl::StatusOr<CharsMap> Parse(std::string_view bytes, std::string_view file);

  // As the precompiled normalizer of Hugging Face's tokenizers applies the rules: to each grapheme
  // cluster shorter than six bytes as a whole, then to each code point of those that were not
  // replaced; of the rules that match, the shortest counts, and it replaces the whole cluster or
  // code point. (SentencePiece itself takes the longest match at each place.)
  // REQUIRES: valid UTF-8.
  std::string Normalize(std::string_view text) const;

 private:
  // Whether a rule matches the begin of `text`, and its replacement.
  bool Find(std::string_view text, std::string_view& replacement) const;
  void AppendCodePoints(std::string_view text, std::string& out) const;

  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace darkroom
