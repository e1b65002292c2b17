#pragma once

#include <cstdint>
#include <memory>
#include <string>
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

// The fields of a T5EncoderModel's configuration that change what is computed.
struct T5Config {
  int width = 512;
  int heads = 8;
  int head_dim = 64;
  int layers = 6;
  int feed_forward = 2048;
  int vocabulary = 32'128;
  int position_buckets = 32;
  int position_distance_max = 128;
  double norm_epsilon = 1e-6;
  Activation activation = Activation::kRelu;
  // The activated product is multiplied with a second one ("gated-gelu").
  bool gated = false;

  int64_t attention_width() const { return int64_t{heads} * head_dim; }
};

absl::StatusOr<T5Config> ReadT5Config(ConfigReader& reader);

// The bucket of a key's position minus a query's, 0 to `buckets` - 1: half of them for keys behind,
// half of each half for single distances, the rest by the distance's logarithm up to
// `distance_max`, in float32 as transformers computes it.
int T5PositionBucket(int64_t distance, int buckets, int distance_max);

// The encoder of Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
// Text-to-Text Transformer", also in its version 1.1, with the weights' names of transformers'
// T5EncoderModel. Scores are not scaled; the position bias of the first block is that of all.
// Nothing is masked: pipelines that pad prompts attend to the padding, too.
class T5Encoder final : public TextEncoder {
 public:
  // First pass: takes every tensor from `weights`, which must outlive this object, since rows of
  // the embedding table are read there. Check `weights` before Load.
  T5Encoder(const T5Config& config, Weights& weights);
  // Second pass: packs the tensors; once more, in the place of what was packed.
  absl::Status Load(DType compute, Ops& ops, Stream& stream);

  const T5Config& config() const { return config_; }
  int64_t width() const override { return config_.width; }
  int32_t vocabulary_size() const override { return config_.vocabulary; }
  int tokens_max() const override;

 private:
  struct BlockSource {
    Tensor attention_norm, feed_forward_norm;
    LinearSource q, k, v, attention_out;
    LinearSource up, factor, down;  // `factor` only when gated
  };
  struct Block {
    std::unique_ptr<DeviceBuffer> attention_norm, feed_forward_norm;
    std::unique_ptr<LinearWeight> qkv, attention_out;
    std::unique_ptr<LinearWeight> up, factor, down;
  };
  struct Scratch;

  BlockSource TakeBlock(Weights& weights, int index) const;
  absl::StatusOr<Block> LoadBlock(const BlockSource& source, DType compute, Stream& stream) const;
  // [heads, 2 * tokens_max() - 1]
  std::vector<float> PositionBias() const;
  Scratch MakeScratch(char* base, int64_t capacity) const;
  absl::Status RunNorm(DeviceBuffer& weight, const Tensor& x, const Tensor& out,
                       const PackedBatch& batch, Stream& stream) const;
  absl::Status RunAttention(const Forward& forward, const Block& block, const Scratch& scratch,
                            Stream& stream) const;
  absl::Status RunFeedForward(const Forward& forward, const Block& block, const Scratch& scratch,
                              Stream& stream) const;

  Ops& ops() const override { return *ops_; }
  size_t ScratchBytes(int64_t capacity) const override;
  void GatherRow(int32_t id, int64_t position, float* out) const override;
  absl::Status Run(const Forward& forward, Stream& stream) override;
  int64_t PooledToken(absl::Span<const int32_t>) const override { return -1; }

  T5Config config_;
  Tensor token_table_;
  Tensor bias_source_;  // [position_buckets, heads]
  Tensor final_norm_source_;
  std::vector<BlockSource> block_sources_;

  Ops* ops_ = nullptr;
  std::unique_ptr<DeviceBuffer> position_bias_;
  std::unique_ptr<DeviceBuffer> final_norm_;
  std::vector<Block> blocks_;
};

}  // namespace darkroom
