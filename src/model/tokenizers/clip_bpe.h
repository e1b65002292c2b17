#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/model_folder.h"
#include "model/tokenizers/tokenizer.h"

namespace darkroom {

// CLIP's tokenizer: byte-pair encoding (Sennrich et al., "Neural Machine Translation of Rare Words
// with Subword Units") of the UTF-8 bytes of words, as transformers' CLIPTokenizer does it. Text is
// composed (NFC), white space becomes one space, letters become lower case; words are contractions
// ('s, 't, 're, 've, 'm, 'll, 'd), runs of letters, single digits, and runs of anything else. A
// prompt's ids stand between those of <|startoftext|> and <|endoftext|>; too many are cut.
//
// Files, in the component's folder: tokenizer.json, or vocab.json and merges.txt; with them
// tokenizer_config.json and special_tokens_map.json when they are there. INVALID_ARGUMENT,
// MODEL_INVALID, naming files that are missing or wrong.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadClipTokenizer(ModelFolder& folder,
                                                             std::string_view component);

}  // namespace darkroom
