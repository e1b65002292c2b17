#include "model/flux_prompt_encoder.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "model/limits.h"
#include "model/load_parts.h"
#include "model/model_error.h"
#include "model/text_encoders/tokenizer_fit.h"
#include "model/tokenizers/clip_bpe.h"
#include "model/tokenizers/t5_unigram.h"

namespace darkroom {
FluxPromptEncoder::FluxPromptEncoder(Weights clip_weights, Weights t5_weights)
    : clip_weights_(std::move(clip_weights)),
      t5_weights_(std::move(t5_weights)),
      cache_(model_limits::kEmbeddingCacheBytesMax, model_limits::kEmbeddingCacheEntriesMax) {}

absl::StatusOr<std::unique_ptr<FluxPromptEncoder>> FluxPromptEncoder::Open(ModelFolder& folder) {
  auto clip_tokenizer = LoadClipTokenizer(folder, "tokenizer");
  if (!clip_tokenizer.ok()) return clip_tokenizer.status();
  auto t5_tokenizer = LoadT5Tokenizer(folder, "tokenizer_2");
  if (!t5_tokenizer.ok()) return t5_tokenizer.status();
  const auto clip_config = ReadConfig(folder, "text_encoder/config.json", &ReadClipTextConfig);
  if (!clip_config.ok()) return clip_config.status();
  const auto t5_config = ReadConfig(folder, "text_encoder_2/config.json", &ReadT5Config);
  if (!t5_config.ok()) return t5_config.status();
  absl::StatusOr<Weights> clip_weights =
      Weights::Open(folder, "text_encoder", kTransformersWeights);
  if (!clip_weights.ok()) return clip_weights.status();
  absl::StatusOr<Weights> t5_weights =
      Weights::Open(folder, "text_encoder_2", kTransformersWeights);
  if (!t5_weights.ok()) return t5_weights.status();

  std::unique_ptr<FluxPromptEncoder> encoder(
      new FluxPromptEncoder(*std::move(clip_weights), *std::move(t5_weights)));
  encoder->clip_tokenizer_ = *std::move(clip_tokenizer);
  encoder->t5_tokenizer_ = *std::move(t5_tokenizer);
  encoder->clip_ = std::make_unique<ClipTextEncoder>(*clip_config, encoder->clip_weights_);
  encoder->t5_ = std::make_unique<T5Encoder>(*t5_config, encoder->t5_weights_);
  encoder->clip_tokens_ = PaddedTokens(*encoder->clip_tokenizer_, *encoder->clip_);
  encoder->tokens_max_ = PaddedTokens(*encoder->t5_tokenizer_, *encoder->t5_);
  if (encoder->clip_tokens_ < 2) {
    return ModelInvalid("text_encoder/config.json",
                        "max_position_embeddings must be at least 2, the begin and the end");
  }
  absl::Status status = CheckVocabulary(*encoder->clip_tokenizer_, "tokenizer", *encoder->clip_,
                                        "text_encoder/config.json");
  if (status.ok()) {
    status = CheckVocabulary(*encoder->t5_tokenizer_, "tokenizer_2", *encoder->t5_,
                             "text_encoder_2/config.json");
  }
  if (!status.ok()) return status;
  return encoder;
}

absl::Status FluxPromptEncoder::Load(DType compute, Ops& ops, Stream& stream) {
  absl::Status status = clip_->Load(compute, ops, stream);
  if (status.ok()) status = t5_->Load(compute, ops, stream);
  // What was read for packing and hashing is not read again, but for some rows of the tables.
  clip_weights_.ReleasePages();
  t5_weights_.ReleasePages();
  return status;
}

absl::StatusOr<std::shared_ptr<const PromptEmbedding>> FluxPromptEncoder::Encode(
    uint64_t tenant_tag, std::string_view prompt, int tokens, Stream& stream) {
  if (tokens < 1 || tokens > tokens_max_) {
    return Error(absl::StatusCode::kInvalidArgument, "SEQUENCE_LENGTH_OUT_OF_RANGE",
                 absl::StrCat("a prompt of ", tokens, " tokens: it must be 1 to ", tokens_max_,
                              "; nearest: ", std::clamp(tokens, 1, tokens_max_)));
  }
  const EmbeddingCache::Key key{tenant_tag, prompt, tokens};
  if (auto found = cache_.Find(key); found != nullptr) return found;
  absl::StatusOr<std::vector<int32_t>> t5_ids = t5_tokenizer_->EncodeTo(prompt, tokens);
  if (!t5_ids.ok()) return t5_ids.status();
  absl::StatusOr<std::vector<int32_t>> clip_ids = clip_tokenizer_->EncodeTo(prompt, clip_tokens_);
  if (!clip_ids.ok()) return clip_ids.status();
  absl::StatusOr<std::vector<TextEmbedding>> clip = clip_->Encode({*std::move(clip_ids)}, stream);
  if (!clip.ok()) return clip.status();
  absl::StatusOr<std::vector<TextEmbedding>> t5 = t5_->Encode({*std::move(t5_ids)}, stream);
  if (!t5.ok()) return t5.status();
  return cache_.Put(key, {.tokens = tokens,
                          .hidden = std::move(t5->front().hidden),
                          .pooled = std::move(clip->front().pooled)});
}

}  // namespace darkroom
