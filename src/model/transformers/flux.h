#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
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

// The fields of a FluxTransformer2DModel's configuration that change what is computed.
struct FluxConfig {
  // The pipeline lays the latents out in patches of 2 x 2 before the transformer sees them.
  static constexpr int kPatch = 2;
  static constexpr int kAxes = 3;

  int heads = 24;
  int head_dim = 128;
  // Features of a token: latent channels * 4.
  int in_channels = 64;
  int out_channels = 64;
  // Double-stream blocks, in which text and image tokens have weights of their own, then
  // single-stream ones.
  int layers = 19;
  int single_layers = 38;
  // Width of the prompt's embeddings from the second text encoder, and of the first's pooled one.
  int joint_attention_dim = 4096;
  int pooled_projection_dim = 768;
  // Guidance is distilled into the model and is an input.
  bool guidance_embeds = false;
  // Parts of a head that are rotated by each axis of a token's position: (index, row, column).
  std::array<int, kAxes> axes_dims_rope = {16, 56, 56};

  int64_t dim() const { return int64_t{heads} * head_dim; }
  // Double-stream, then single-stream.
  int blocks() const { return layers + single_layers; }
  int latent_channels() const { return in_channels / (kPatch * kPatch); }
};

absl::StatusOr<FluxConfig> ReadFluxConfig(ConfigReader& reader);

// Cosines or sines of the rotation angles of the token at (0, row, column), head_dim / 2 each, as
// diffusers' FluxPosEmbed computes them. Text tokens are all at (0, 0, 0).
void FluxRotation(const FluxConfig& config, int row, int column, float* cosines, float* sines);

// What a forward pass of one packed step, or a part of it, reads and writes; all pointers are
// device memory.
struct FluxForward {
  BlockRange blocks;  // the double-stream ones first
  // The hidden rows of every sequence, counted as `joint` does; where `blocks` are not the whole
  // step.
  absl::Span<const ParkedRows> parked;
  // The text rows of all sequences, then, `text.capacity` rows further on, the image rows. `text`
  // and `image` count rows within their own part, `joint` over both.
  PackedBatch text, image, joint;
  PackedBatch per_sequence;           // a row for every sequence
  const float* timesteps = nullptr;   // [sequences_max]
  const float* guidances = nullptr;   // [sequences_max], 1000 * scale; read with guidance_embeds
  const LatentView* views = nullptr;  // [sequences_max]
  // Tables of pointers, [sequences_max]: each sequence's own f32 rows, wherever they are. From
  // EmbedPrompt: [its text tokens, dim] and [1, dim].
  const float* const* contexts = nullptr;
  const float* const* vectors = nullptr;
  // From FluxRotation: [its image tokens, head_dim / 2].
  const float* const* cosines = nullptr;
  const float* const* sines = nullptr;
  Tensor out;               // f32 [image.capacity, out_channels]; after the last block
  void* scratch = nullptr;  // ScratchBytes(joint.capacity, sequences_max)
};

// The transformer of FLUX.1 (Black Forest Labs; a rectified-flow MMDiT after Esser et al., with
// single-stream blocks after Dehghani et al.), with the weights' names of diffusers'
// FluxTransformer2DModel. Activations are float32; matrices are multiplied in `compute`.
//
// Thread: one at a time.
class FluxTransformer {
 public:
  // First pass: takes every tensor from `weights`, which must outlive the second. Check `weights`
  // before Load.
  FluxTransformer(const FluxConfig& config, Weights& weights);
  // Second pass: packs the tensors; once more, in the place of what was packed. Afterwards
  // `weights` is no longer needed.
  absl::Status Load(DType compute, Ops& ops, Stream& stream);

  const FluxConfig& config() const { return config_; }
  // Bytes of device memory a forward pass needs beside its inputs.
  size_t ScratchBytes(int64_t joint_capacity, int32_t sequences_max) const;

  // What a prompt comes to in the transformer before the first block; the same in every step, so it
  // is computed once. `tokens`: a row for every text token; `sequences`: a row for every prompt.
  struct Prompt {
    PackedBatch tokens, sequences;
    Tensor embeddings;  // f32 [tokens.capacity, joint_attention_dim]
    Tensor pooled;      // f32 [sequences.capacity, pooled_projection_dim]
    Tensor hidden;      // f32 [sequences.capacity, dim], scratch
    Tensor context;     // f32 [tokens.capacity, dim], out
    Tensor vector;      // f32 [sequences.capacity, dim], out
  };
  absl::Status EmbedPrompt(const Prompt& prompt, Stream& stream);

  absl::Status Forward(const FluxForward& forward, Stream& stream);

  // Called with intermediate results on the way, for comparing layer by layer; `tensor` holds live
  // rows and padding: text rows where the name ends in ".text", a row per sequence for
  // "conditioning", both streams for single blocks.
  using Probe = std::function<void(std::string_view name, const Tensor& tensor)>;
  void set_probe(Probe probe) { probe_ = std::move(probe); }

 private:
  // Text and image tokens each have one of these in a double-stream block.
  struct StreamSource {
    LinearSource modulation, q, k, v, attention_out, up, down;
    Tensor q_norm, k_norm;
  };
  struct BlockStream {
    std::unique_ptr<LinearWeight> modulation, qkv, attention_out, up, down;
    std::unique_ptr<DeviceBuffer> q_norm, k_norm;  // f32 [head_dim]
  };
  struct DoubleSource {
    StreamSource image, text;
  };
  struct DoubleBlock {
    BlockStream image, text;
  };
  struct SingleSource {
    LinearSource modulation, q, k, v, up, out;
    Tensor q_norm, k_norm;
  };
  struct SingleBlock {
    std::unique_ptr<LinearWeight> modulation, qkv, up, out;
    std::unique_ptr<DeviceBuffer> q_norm, k_norm;
  };
  // Two linear layers with SiLU between them.
  struct EmbedderSource {
    LinearSource first, second;
  };
  struct Embedder {
    std::unique_ptr<LinearWeight> first, second;
  };
  struct Scratch;
  // The rows of one stream, or of both, as blocks read and write them.
  struct Part;

  void TakeDouble(Weights& weights, int index);
  void TakeSingle(Weights& weights, int index);
  absl::Status LoadStream(const StreamSource& source, BlockStream& block, Stream& stream) const;
  absl::Status LoadSingle(const SingleSource& source, SingleBlock& block, Stream& stream) const;
  // Sizes only when `base` is null.
  Scratch MakeScratch(char* base, int64_t joint_capacity, int32_t sequences_max) const;
  absl::Status Begin(const FluxForward& forward, const Scratch& scratch, Stream& stream);
  absl::Status Embed(const FluxForward& forward, const Scratch& scratch, Stream& stream);
  absl::Status Condition(const FluxForward& forward, const Scratch& scratch, Stream& stream);
  absl::Status AddEmbedding(const float* values, const Embedder& embedder,
                            const FluxForward& forward, const Scratch& scratch, Stream& stream);
  absl::Status RunDouble(const FluxForward& forward, int index, const Scratch& scratch,
                         Stream& stream);
  absl::Status BeginStream(const BlockStream& block, const Part& part, Stream& stream);
  absl::Status FinishStream(const BlockStream& block, const Part& part, Stream& stream);
  absl::Status RunSingle(const FluxForward& forward, int index, const Scratch& scratch,
                         Stream& stream);
  // Normalises the heads of a part's queries and keys and rotates those of image tokens.
  absl::Status Rotate(const Part& part, DeviceBuffer& q_norm, DeviceBuffer& k_norm, Stream& stream);
  absl::Status Attend(const FluxForward& forward, const Scratch& scratch, float* out,
                      int64_t out_stride, Stream& stream);
  absl::Status RunHead(const FluxForward& forward, const Scratch& scratch, Stream& stream);
  void Show(std::string_view name, const Tensor& tensor) const {
    if (probe_) probe_(name, tensor);
  }

  FluxConfig config_;
  LinearSource image_source_, context_source_, head_modulation_source_, head_source_;
  EmbedderSource timestep_source_, guidance_source_, pooled_source_;
  std::vector<DoubleSource> double_sources_;
  std::vector<SingleSource> single_sources_;

  Ops* ops_ = nullptr;
  DType compute_ = DType::kF32;
  std::unique_ptr<LinearWeight> image_, context_, head_modulation_, head_;
  Embedder timestep_, guidance_, pooled_;
  std::vector<DoubleBlock> double_blocks_;
  std::vector<SingleBlock> single_blocks_;
  Probe probe_;
};

}  // namespace darkroom
