#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/config_reader.h"
#include "model/linear_source.h"
#include "model/text_encoders/text_encoder.h"
#include "model/weights.h"

namespace darkroom {

// The fields of a CLIPTextModel's configuration that change what is computed.
struct ClipTextConfig {
  int width = 512;
  int heads = 8;
  int layers = 12;
  int feed_forward = 2048;
  int vocabulary = 49'408;
  int tokens_max = 77;
  Activation activation = Activation::kQuickGelu;
  double norm_epsilon = 1e-5;
  // The token whose state is pooled, where it is first. Configurations of old say 2, which was
  // never true: with it the token with the largest id is pooled, as transformers still does.
  int end_id = 49'407;

  int head_dim() const { return width / heads; }
};

absl::StatusOr<ClipTextConfig> ReadClipTextConfig(ConfigReader& reader);

// The text transformer of Radford et al., "Learning Transferable Visual Models From Natural
// Language Supervision", with the weights' names of transformers' CLIPTextModel, with or without
// "text_model." before them. Hidden states are those after the final normalization; the pooled
// state is that of the end token, not projected.
class ClipTextEncoder final : public TextEncoder {
 public:
  // First pass: takes every tensor from `weights`, which must outlive this object, since rows of
  // the embedding table are read there. Check `weights` before Load. `prefix`: what stands before
  // every name, where the encoder is a part of something, "text."; or nothing.
  ClipTextEncoder(const ClipTextConfig& config, Weights& weights, std::string_view prefix = "");
  // Second pass: packs the tensors; once more, in the place of what was packed.
  absl::Status Load(DType compute, Ops& ops, Stream& stream);

  const ClipTextConfig& config() const { return config_; }
  int64_t width() const override { return config_.width; }
  int32_t vocabulary_size() const override { return config_.vocabulary; }
  int tokens_max() const override { return config_.tokens_max; }

 private:
  struct NormSource {
    Tensor weight;
    Tensor bias;
  };
  struct BlockSource {
    NormSource norm1, norm2;
    LinearSource q, k, v, attention_out, up, down;
  };
  struct Norm {
    std::unique_ptr<DeviceBuffer> weight;
    std::unique_ptr<DeviceBuffer> bias;
  };
  struct Block {
    Norm norm1, norm2;
    std::unique_ptr<LinearWeight> qkv, attention_out, up, down;
  };
  struct Scratch;

  absl::StatusOr<Norm> LoadNorm(const NormSource& source, Stream& stream) const;
  absl::StatusOr<Block> LoadBlock(const BlockSource& source, DType compute, Stream& stream) const;
  Scratch MakeScratch(char* base, int64_t capacity) const;
  absl::Status RunNorm(const Norm& norm, const Tensor& x, const Tensor& out,
                       const PackedBatch& batch, Stream& stream) const;
  absl::Status RunBlock(const Forward& forward, const Block& block, const Scratch& scratch,
                        Stream& stream) const;

  Ops& ops() const override { return *ops_; }
  size_t ScratchBytes(int64_t capacity) const override;
  void GatherRow(int32_t id, int64_t position, float* out) const override;
  absl::Status Run(const Forward& forward, Stream& stream) override;
  int64_t PooledToken(absl::Span<const int32_t> ids) const override;

  ClipTextConfig config_;
  Tensor token_table_;
  Tensor position_table_;
  NormSource final_norm_source_;
  std::vector<BlockSource> block_sources_;

  Ops* ops_ = nullptr;
  Norm final_norm_;
  std::vector<Block> blocks_;
};

}  // namespace darkroom
