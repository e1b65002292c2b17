#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/json.h"
#include "model/model_folder.h"
#include "model/tokenizers/added_tokens.h"
#include "nlohmann/json.hpp"

namespace darkroom {

// Tokens with a part of their own, by content; empty: the family has none.
struct SpecialTokens {
  std::string begin;
  std::string end;
  std::string unknown;
  std::string pad;
};

// What the files of a tokenizer's folder, beside its vocabulary, say.
struct TokenizerFiles {
  std::string component;
  // tokenizer.json, when the folder has one. It goes before the files of older versions.
  std::optional<Json> tokenizer;
  // tokenizer_config.json; an empty object without.
  Json config;
  SpecialTokens special;
  // With the flags that the files give them; ids as the files say, or -1.
  std::vector<AddedToken> added;
  int length_max = 0;
};

// Reads tokenizer.json, tokenizer_config.json and special_tokens_map.json, those that there are.
// `classes`: what tokenizer_class may be. Settings that would change ids and are not supported are
// refused by name. INVALID_ARGUMENT, MODEL_INVALID.
absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(ModelFolder& folder, std::string_view component,
                                                  absl::Span<const std::string_view> classes,
                                                  const SpecialTokens& defaults);

// The error for a folder with none of the sets of files that can be loaded, each of which is a
// list; names what is missing of the one that lacks least.
absl::Status MissingTokenizerFiles(const ModelFolder& folder, std::string_view component,
                                   absl::Span<const std::vector<std::string>> sets);

// Gives every added token the id that the vocabulary has for it, and appends those special tokens
// that were not among them. `vocabulary` maps contents to ids 0 to its size - 1; tokens outside it
// keep the id of the files. MODEL_INVALID when vocabulary and files disagree, or a special token is
// in neither.
absl::Status ResolveAddedTokens(const absl::flat_hash_map<std::string, int32_t>& vocabulary,
                                TokenizerFiles& files);
// The id of a special token after that.
int32_t AddedTokenId(const TokenizerFiles& files, std::string_view content);

}  // namespace darkroom
