#pragma once

#include <cstdint>
#include <functional>
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
#include "model/transformers/parked_rows.h"
#include "model/weights.h"

namespace darkroom {

// The fields of a DiTTransformer2DModel's configuration that change what is computed.
struct DitConfig {
  int heads = 16;
  int head_dim = 72;
  int in_channels = 4;
  // in_channels, or twice that: a learned variance that sampling does not use.
  int out_channels = 4;
  int layers = 28;
  int patch = 2;
  // Latent size of the pictures it was trained on.
  int sample_size = 32;
  int classes = 1000;
  bool attention_bias = true;
  double norm_epsilon = 1e-5;

  int64_t dim() const { return int64_t{heads} * head_dim; }
  int64_t patch_features() const { return int64_t{patch} * patch * in_channels; }
  int64_t output_features() const { return int64_t{patch} * patch * out_channels; }
  // The label row that stands for "no class" in classifier-free guidance.
  int null_class() const { return classes; }
};

absl::StatusOr<DitConfig> ReadDitConfig(ConfigReader& reader);

// The position embedding of `count` patches along one axis, [count, dim / 2]. A token's embedding
// is that of its column, then that of its row (diffusers' get_2d_sincos_pos_embed). Sizes other
// than the trained one stretch its coordinates over their own.
std::vector<float> DitAxisPositions(const DitConfig& config, int count);

// What a forward pass of one packed step, or a part of it, reads and writes; all pointers are
// device memory.
struct DitForward {
  BlockRange blocks;
  // The hidden rows of every sequence; where `blocks` are not the whole step.
  absl::Span<const ParkedRows> parked;
  PackedBatch batch;                  // a row for every token
  PackedBatch per_sequence;           // a row for every sequence
  const float* timesteps = nullptr;   // [sequences_max]
  const LatentView* views = nullptr;  // [sequences_max]
  Tensor positions;                   // f32 [capacity, dim]
  Tensor labels;                      // f32 [layers, sequences_max, dim]
  Tensor out;                         // f32 [capacity, output_features]; after the last block
  void* scratch = nullptr;            // ScratchBytes(capacity, sequences_max)
};

// The transformer of Peebles and Xie, "Scalable Diffusion Models with Transformers", in the adaLN-
// Zero variant and with the weights' names of diffusers' DiTTransformer2DModel. Every block has its
// own embedding of timestep and label. Activations are float32; matrices are multiplied in
// `compute`.
//
// Thread: one at a time.
class DitTransformer {
 public:
  // First pass: takes every tensor from `weights`, which must outlive the second. Check `weights`
  // before Load.
  DitTransformer(const DitConfig& config, Weights& weights);
  // Second pass: packs the tensors; once more, in the place of what was packed. Afterwards
  // `weights` is no longer needed.
  absl::Status Load(DType compute, Ops& ops, Stream& stream);

  const DitConfig& config() const { return config_; }
  // Bytes of device memory a forward pass needs beside its inputs.
  size_t ScratchBytes(int64_t capacity, int32_t sequences_max) const;
  // Label embeddings of every block, [layers, dim]. REQUIRES: 0 <= class_id <= null_class().
  void GatherLabel(int class_id, absl::Span<float> out) const;

  absl::Status Forward(const DitForward& forward, Stream& stream);

  // Called with intermediate results on the way, for comparing layer by layer; `tensor` holds live
  // rows and padding, or a row per sequence for "conditioning".
  using Probe = std::function<void(std::string_view name, const Tensor& tensor)>;
  void set_probe(Probe probe) { probe_ = std::move(probe); }

 private:
  struct BlockSource {
    LinearSource timestep_1, timestep_2, labels, modulation;
    LinearSource q, k, v, attention_out, up, down;
  };
  struct Block {
    std::unique_ptr<LinearWeight> timestep_1, timestep_2, modulation;
    std::unique_ptr<LinearWeight> qkv, attention_out, up, down;
    std::vector<float> labels;  // host, [classes + 1, dim]
  };
  struct Scratch;

  BlockSource TakeBlock(Weights& weights, int index) const;
  absl::Status LoadBlock(const BlockSource& source, Block& block) const;
  // Sizes only when `base` is null.
  Scratch MakeScratch(char* base, int64_t capacity, int32_t sequences_max) const;
  absl::Status Begin(const DitForward& forward, const Scratch& scratch, Stream& stream);
  absl::Status Condition(const DitForward& forward, int index, const Scratch& scratch,
                         Stream& stream);
  absl::Status RunHead(const DitForward& forward, const Scratch& scratch, Stream& stream);
  absl::Status RunBlock(const DitForward& forward, int index, const Scratch& scratch,
                        Stream& stream);
  void Show(std::string_view name, const Tensor& tensor) const {
    if (probe_) probe_(name, tensor);
  }

  DitConfig config_;
  LinearSource patch_source_, head_modulation_source_, head_source_;
  std::vector<BlockSource> block_sources_;

  Ops* ops_ = nullptr;
  DType compute_ = DType::kF32;
  std::unique_ptr<LinearWeight> patch_, head_modulation_, head_;
  std::vector<Block> blocks_;
  Probe probe_;
};

}  // namespace darkroom
