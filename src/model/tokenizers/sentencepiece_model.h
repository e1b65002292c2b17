#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace darkroom {

// The parts of a SentencePiece model file that decide token ids. The format is that of
// sentencepiece_model.proto (https://github.com/google/sentencepiece).
struct SentencePieceModel {
  enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4 };
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  // By id.
  std::vector<Piece> pieces;
  // As CharsMap reads it; empty: no normalization.
  std::string precompiled_charsmap;
};

// `bytes` may be anything. INVALID_ARGUMENT, MODEL_INVALID, naming `file`, unless they are a model
// of the unigram kind with 1 to kVocabularyMax pieces of valid UTF-8, without byte fallback.
absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes,
                                                           std::string_view file);

}  // namespace darkroom
