#include "model/text_encoders/tokenizer_fit.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/model_error.h"

namespace darkroom {

absl::Status CheckVocabulary(const Tokenizer& tokenizer, std::string_view tokenizer_component,
                             const TextEncoder& encoder, std::string_view encoder_file) {
  if (tokenizer.vocabulary_size() <= encoder.vocabulary_size()) return absl::OkStatus();
  return ModelInvalid(encoder_file,
                      absl::StrCat("vocab_size is ", encoder.vocabulary_size(), ", but ",
                                   std::string(tokenizer_component), " has ids 0 to ",
                                   tokenizer.vocabulary_size() - 1));
}

int PaddedTokens(const Tokenizer& tokenizer, const TextEncoder& encoder) {
  const int length = tokenizer.length_max() > 0 ? tokenizer.length_max() : encoder.tokens_max();
  return std::min(length, encoder.tokens_max());
}

}  // namespace darkroom
