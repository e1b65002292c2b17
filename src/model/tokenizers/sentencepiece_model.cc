#include "model/tokenizers/sentencepiece_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "model/limits.h"
#include "model/model_error.h"
#include "model/tokenizers/unicode.h"

namespace darkroom {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedInputStream;

// Field numbers of sentencepiece_model.proto.
constexpr int kModelPieces = 1;
constexpr int kModelTrainer = 2;
constexpr int kModelNormalizer = 3;
constexpr int kPieceText = 1;
constexpr int kPieceScore = 2;
constexpr int kPieceType = 3;
constexpr int kTrainerModelType = 3;
constexpr int kTrainerByteFallback = 35;
constexpr int kNormalizerCharsMap = 2;
constexpr uint64_t kUnigram = 1;

// One field of a message, of any kind that these messages have.
struct Field {
  int number = 0;
  uint64_t value = 0;     // of varints and fixed numbers
  std::string_view text;  // of strings, bytes and messages
};

// Reads a message field by field.
class Message {
 public:
  explicit Message(std::string_view bytes)
      : bytes_(bytes),
        stream_(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size())) {}

  // False at the end or at the first damage, which ok() tells apart.
  bool Next(Field& field) {
    const uint32_t tag = stream_.ReadTag();
    if (tag == 0) {
      ok_ = stream_.CurrentPosition() == static_cast<int>(bytes_.size());
      return false;
    }
    field = {.number = WireFormatLite::GetTagFieldNumber(tag)};
    ok_ = ReadValue(tag, field);
    return ok_;
  }
  bool ok() const { return ok_; }

 private:
  bool ReadValue(uint32_t tag, Field& field) {
    uint32_t word = 0;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        return stream_.ReadVarint64(&field.value);
      case WireFormatLite::WIRETYPE_FIXED32:
        if (!stream_.ReadLittleEndian32(&word)) return false;
        field.value = word;
        return true;
      case WireFormatLite::WIRETYPE_FIXED64:
        return stream_.ReadLittleEndian64(&field.value);
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED: {
        if (!stream_.ReadVarint32(&word)) return false;
        const auto begin = static_cast<size_t>(stream_.CurrentPosition());
        if (word > bytes_.size() - begin) return false;
        field.text = bytes_.substr(begin, word);
        return stream_.Skip(static_cast<int>(word));
      }
      default:
        return false;
    }
  }

  std::string_view bytes_;
  CodedInputStream stream_;
  bool ok_ = true;
};

bool ParsePiece(std::string_view bytes, SentencePieceModel::Piece& piece) {
  Message message(bytes);
  Field field;
  while (message.Next(field)) {
    if (field.number == kPieceText) piece.text = std::string(field.text);
    if (field.number == kPieceScore) {
      const auto bits = static_cast<uint32_t>(field.value);
      std::memcpy(&piece.score, &bits, sizeof(bits));
    }
    if (field.number == kPieceType) {
      piece.type = static_cast<SentencePieceModel::PieceType>(std::min<uint64_t>(field.value, 255));
    }
  }
  return message.ok() && !piece.text.empty() && piece.text.size() <= model_limits::kTokenBytesMax &&
         std::isfinite(piece.score) && ValidUtf8(piece.text) == piece.text;
}

struct Trainer {
  uint64_t model_type = kUnigram;
  bool byte_fallback = false;
};

bool ParseTrainer(std::string_view bytes, Trainer& trainer) {
  Message message(bytes);
  Field field;
  while (message.Next(field)) {
    if (field.number == kTrainerModelType) trainer.model_type = field.value;
    if (field.number == kTrainerByteFallback) trainer.byte_fallback = field.value != 0;
  }
  return message.ok();
}

bool ParseNormalizer(std::string_view bytes, std::string& charsmap) {
  Message message(bytes);
  Field field;
  while (message.Next(field)) {
    if (field.number == kNormalizerCharsMap) charsmap = std::string(field.text);
  }
  return message.ok();
}

}  // namespace

absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes,
                                                           std::string_view file) {
  constexpr std::string_view kDamaged = "is damaged or no SentencePiece model; copy the file again";
  if (bytes.size() > model_limits::kSentencePieceBytesMax) {
    return ModelInvalid(
        file, absl::StrCat("has more than ", model_limits::kSentencePieceBytesMax, " bytes"));
  }
  SentencePieceModel model;
  Trainer trainer;
  Message message(bytes);
  Field field;
  while (message.Next(field)) {
    bool ok = true;
    if (field.number == kModelPieces) {
      if (model.pieces.size() >= model_limits::kVocabularyMax) {
        return ModelInvalid(
            file, absl::StrCat("has more than ", model_limits::kVocabularyMax, " pieces"));
      }
      ok = ParsePiece(field.text, model.pieces.emplace_back());
    } else if (field.number == kModelTrainer) {
      ok = ParseTrainer(field.text, trainer);
    } else if (field.number == kModelNormalizer) {
      ok = ParseNormalizer(field.text, model.precompiled_charsmap);
    }
    if (!ok) return ModelInvalid(file, kDamaged);
  }
  if (!message.ok() || model.pieces.empty()) return ModelInvalid(file, kDamaged);
  if (trainer.model_type != kUnigram) {
    return ModelInvalid(file, absl::StrCat("has model type ", trainer.model_type,
                                           "; supported: ", kUnigram, " (unigram)"));
  }
  if (trainer.byte_fallback) {
    return ModelInvalid(file, "has byte fallback, which T5's tokenizer does not use");
  }
  return model;
}

}  // namespace darkroom
