#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "model/text_encoders/text_encoder.h"
#include "model/tokenizers/tokenizer.h"

namespace darkroom {

// Every id that the tokenizer gives has a row in the encoder's table. INVALID_ARGUMENT
// (MODEL_INVALID) that names `encoder_file`, the configuration which has vocab_size, and
// `tokenizer_component`.
absl::Status CheckVocabulary(const Tokenizer& tokenizer, std::string_view tokenizer_component,
                             const TextEncoder& encoder, std::string_view encoder_file);

// What prompts are padded to: the tokenizer's model_max_length where it says one, within what the
// encoder can take.
int PaddedTokens(const Tokenizer& tokenizer, const TextEncoder& encoder);

}  // namespace darkroom
