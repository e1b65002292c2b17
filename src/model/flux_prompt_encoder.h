#pragma once

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/ops.h"
#include "model/embedding_cache.h"
#include "model/model_folder.h"
#include "model/prompt_encoder.h"
#include "model/text_encoders/clip_text_encoder.h"
#include "model/text_encoders/t5_encoder.h"
#include "model/tokenizers/tokenizer.h"
#include "model/weights.h"

namespace darkroom {

// Prompts as diffusers' FluxPipeline encodes them: the pooled state of CLIP, of a prompt cut at as
// many tokens as CLIP takes (77), and the hidden states of T5, padded, without a mask. Since T5
// reads all of the prompt, what is too long for it is refused and never cut.
class FluxPromptEncoder : public PromptEncoder {
 public:
  // First pass: reads tokenizer, tokenizer_2, text_encoder and text_encoder_2, and takes every
  // tensor. INVALID_ARGUMENT, MODEL_INVALID, naming files that are missing or wrong or do not fit
  // each other. Check clip_weights() and t5_weights() before Load.
  static absl::StatusOr<std::unique_ptr<FluxPromptEncoder>> Open(ModelFolder& folder);

  // Second pass. The files stay open: rows of the embedding tables are read there.
  absl::Status Load(DType compute, Ops& ops, Stream& stream) override;

  int hidden_width() const override { return t5_->config().width; }
  int pooled_width() const override { return clip_->config().width; }
  int tokens_max() const override { return tokens_max_; }
  const Weights& clip_weights() const { return clip_weights_; }
  const Weights& t5_weights() const { return t5_weights_; }
  const EmbeddingCache& cache() const { return cache_; }

  // Also SEQUENCE_LENGTH_OUT_OF_RANGE where `tokens` is not 1 to tokens_max().
  absl::StatusOr<std::shared_ptr<const PromptEmbedding>> Encode(uint64_t tenant_tag,
                                                                std::string_view prompt, int tokens,
                                                                Stream& stream) override;

 private:
  FluxPromptEncoder(Weights clip_weights, Weights t5_weights);

  Weights clip_weights_;
  Weights t5_weights_;
  std::unique_ptr<Tokenizer> clip_tokenizer_;
  std::unique_ptr<Tokenizer> t5_tokenizer_;
  std::unique_ptr<ClipTextEncoder> clip_;
  std::unique_ptr<T5Encoder> t5_;
  int clip_tokens_ = 0;
  int tokens_max_ = 0;
  EmbeddingCache cache_;
};

}  // namespace darkroom
