#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/model_folder.h"
#include "model/tokenizers/tokenizer.h"

namespace darkroom {

// T5's tokenizer: the unigram language model (Kudo, "Subword Regularization") over normalised words
// that each begin with U+2581, as transformers' T5Tokenizer does it, which is the one that
// pipelines load. </s> follows the prompt; a prompt of too many tokens is refused, never cut.
//
// Files, in the component's folder: tokenizer.json or spiece.model, with tokenizer_config.json and
// special_tokens_map.json when they are there. SentencePiece's own library would give other ids:
// transformers normalises by grapheme cluster and drops white space that SentencePiece keeps.
// INVALID_ARGUMENT, MODEL_INVALID, naming files that are missing or wrong.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadT5Tokenizer(ModelFolder& folder,
                                                           std::string_view component);

}  // namespace darkroom
