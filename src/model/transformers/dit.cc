#include "model/transformers/dit.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/limits.h"
#include "model/workspace.h"

namespace darkroom {
namespace {

// Width of the sinusoidal timestep embedding, fixed by diffusers.
constexpr int64_t kTimestepFeatures = 256;
constexpr float kNormEpsilon = 1e-6f;
constexpr int64_t kMlpRatio = 4;

// adaLN-Zero's six vectors per block, in the order of its linear layer.
enum Modulation {
  kShiftAttention,
  kScaleAttention,
  kGateAttention,
  kShiftMlp,
  kScaleMlp,
  kGateMlp,
  kModulations
};
// The output head's two.
enum HeadModulation { kHeadShift, kHeadScale, kHeadModulations };

// Sines, then cosines, of `position` at `dim` / 2 frequencies, in double precision as diffusers
// computes them.
void SinusoidalPosition(float position, int64_t dim, float* out) {
  const int64_t half = dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double frequency =
        1.0 / std::pow(10000.0, static_cast<double>(i) / (static_cast<double>(dim) / 2.0));
    const double angle = static_cast<double>(position) * frequency;
    out[i] = static_cast<float>(std::sin(angle));
    out[half + i] = static_cast<float>(std::cos(angle));
  }
}

// Part `index` of a [sequences, parts * dim] matrix, as the ops take it: the first row's begin, and
// the caller gives the stride.
Tensor Part(const Tensor& matrix, int index, int64_t dim) {
  return Tensor(matrix.as<float>() + index * dim, DType::kF32, {matrix.dim(0), dim});
}

}  // namespace

absl::StatusOr<DitConfig> ReadDitConfig(ConfigReader& reader) {
  DitConfig config;
  config.heads =
      static_cast<int>(reader.Int("num_attention_heads", 1, model_limits::kHeadsMax, 16));
  config.head_dim =
      static_cast<int>(reader.Int("attention_head_dim", 1, model_limits::kHeadDimMax, 72));
  config.in_channels =
      static_cast<int>(reader.Int("in_channels", 1, model_limits::kLatentChannelsMax, 4));
  config.out_channels = static_cast<int>(
      reader.Int("out_channels", 1, 2 * model_limits::kLatentChannelsMax, config.in_channels));
  config.layers = static_cast<int>(reader.Int("num_layers", 1, model_limits::kLayersMax, 28));
  config.patch = static_cast<int>(reader.Int("patch_size", 1, model_limits::kPatchMax, 2));
  config.sample_size =
      static_cast<int>(reader.Int("sample_size", 1, model_limits::kSampleSizeMax, 32));
  config.classes =
      static_cast<int>(reader.Int("num_embeds_ada_norm", 1, model_limits::kClassesMax, 1000));
  config.attention_bias = reader.Bool("attention_bias", true);
  config.norm_epsilon = reader.Number("norm_eps", 1e-12, 1.0, 1e-5);
  reader.Choice("activation_fn", {"gelu-approximate"});
  reader.Choice("norm_type", {"ada_norm_zero"});
  reader.OnlyBool("norm_elementwise_affine", false, /*fallback=*/false);
  // Written by Transformer2DModel, the class that DiT used before it had its own.
  for (const std::string_view field :
       {"double_self_attention", "only_cross_attention", "use_linear_projection"}) {
    reader.OnlyBool(field, false, /*fallback=*/false);
  }
  for (const std::string_view field :
       {"cross_attention_dim", "num_vector_embeds", "caption_channels"}) {
    reader.OnlyUnset(field);
  }
  // Training only, unused by this class, or without meaning in float32.
  reader.Ignore({"dropout", "norm_num_groups", "upcast_attention"});

  if (config.dim() % 4 != 0) {
    reader.Problem("attention_head_dim",
                   absl::StrCat("times num_attention_heads is ", config.dim(),
                                "; it must be a multiple of 4 for the position embedding"));
  }
  if (config.out_channels != config.in_channels && config.out_channels != 2 * config.in_channels) {
    reader.Problem("out_channels",
                   absl::StrCat("is ", config.out_channels, "; it must be in_channels (",
                                config.in_channels, ") or twice that"));
  }
  if (config.sample_size % config.patch != 0) {
    reader.Problem("sample_size",
                   absl::StrCat("is ", config.sample_size,
                                "; it must be a multiple of patch_size (", config.patch, ")"));
  }
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return config;
}

std::vector<float> DitAxisPositions(const DitConfig& config, int count) {
  const int64_t half = config.dim() / 2;
  const int base = config.sample_size / config.patch;
  // Coordinates are float32 in diffusers.
  const auto stretch = static_cast<float>(static_cast<double>(count) / base);
  std::vector<float> positions(static_cast<size_t>(count * half));
  for (int i = 0; i < count; ++i) {
    SinusoidalPosition(static_cast<float>(i) / stretch, half, positions.data() + i * half);
  }
  return positions;
}

DitTransformer::DitTransformer(const DitConfig& config, Weights& weights) : config_(config) {
  const int64_t dim = config.dim();
  // A convolution whose stride is its kernel: a matrix over patches.
  const Tensor patch =
      weights.Take("pos_embed.proj.weight", {dim, config.in_channels, config.patch, config.patch});
  patch_source_ = {Tensor(patch.data, patch.dtype, {dim, config.patch_features()}),
                   weights.Take("pos_embed.proj.bias", {dim})};
  for (int i = 0; i < config.layers; ++i) block_sources_.push_back(TakeBlock(weights, i));
  head_modulation_source_ = {weights.Take("proj_out_1.weight", {kHeadModulations * dim, dim}),
                             weights.Take("proj_out_1.bias", {kHeadModulations * dim})};
  head_source_ = {weights.Take("proj_out_2.weight", {config.output_features(), dim}),
                  weights.Take("proj_out_2.bias", {config.output_features()})};
}

DitTransformer::BlockSource DitTransformer::TakeBlock(Weights& weights, int index) const {
  const std::string block = absl::StrCat("transformer_blocks.", index, ".");
  const auto take = [&](const std::string& name, int64_t out, int64_t in, bool bias = true) {
    return TakeLinear(weights, block + name, out, in, bias);
  };
  const int64_t dim = config_.dim();
  BlockSource source;
  source.timestep_1 = take("norm1.emb.timestep_embedder.linear_1", dim, kTimestepFeatures);
  source.timestep_2 = take("norm1.emb.timestep_embedder.linear_2", dim, dim);
  source.labels = take("norm1.emb.class_embedder.embedding_table", config_.classes + 1, dim,
                       /*bias=*/false);
  source.modulation = take("norm1.linear", kModulations * dim, dim);
  source.q = take("attn1.to_q", dim, dim, config_.attention_bias);
  source.k = take("attn1.to_k", dim, dim, config_.attention_bias);
  source.v = take("attn1.to_v", dim, dim, config_.attention_bias);
  source.attention_out = take("attn1.to_out.0", dim, dim);
  source.up = take("ff.net.0.proj", kMlpRatio * dim, dim);
  source.down = take("ff.net.2", dim, kMlpRatio * dim);
  return source;
}

absl::Status DitTransformer::LoadBlock(const BlockSource& source, Block& block) const {
  block.labels = ToFloat(source.labels.weight);
  return PackAll({{&block.timestep_1, {source.timestep_1}},
                  {&block.timestep_2, {source.timestep_2}},
                  {&block.modulation, {source.modulation}},
                  {&block.qkv, {source.q, source.k, source.v}},
                  {&block.attention_out, {source.attention_out}},
                  {&block.up, {source.up}},
                  {&block.down, {source.down}}},
                 compute_, *ops_);
}

absl::Status DitTransformer::Load(DType compute, Ops& ops, Stream& stream) {
  ops_ = &ops;
  compute_ = compute;
  absl::Status status = PackAll({{&patch_, {patch_source_}},
                                 {&head_modulation_, {head_modulation_source_}},
                                 {&head_, {head_source_}}},
                                compute, ops);
  blocks_.clear();
  for (const BlockSource& source : block_sources_) {
    if (!status.ok()) return status;
    status = LoadBlock(source, blocks_.emplace_back());
  }
  return status;
}

void DitTransformer::GatherLabel(int class_id, absl::Span<float> out) const {
  const int64_t dim = config_.dim();
  for (size_t i = 0; i < blocks_.size(); ++i) {
    std::copy_n(blocks_[i].labels.begin() + class_id * dim, dim,
                out.begin() + static_cast<int64_t>(i) * dim);
  }
}

struct DitTransformer::Scratch {
  // A row per token.
  Tensor tokens, hidden, normed, qkv, attended, mlp;
  // A row per sequence.
  Tensor timestep, embedded, conditioning, modulation, head_modulation;
  size_t bytes = 0;
};

DitTransformer::Scratch DitTransformer::MakeScratch(char* base, int64_t capacity,
                                                    int32_t sequences_max) const {
  Layout layout(base);
  const int64_t dim = config_.dim();
  Scratch scratch;
  scratch.tokens = layout.TakeMatrix(capacity, config_.patch_features());
  scratch.hidden = layout.TakeMatrix(capacity, dim);
  scratch.normed = layout.TakeMatrix(capacity, dim);
  // Attention's and the MLP's widest results are never needed at the same time.
  static_assert(kMlpRatio >= 4);
  const size_t wide = layout.Take(Layout::FloatBytes(capacity * kMlpRatio * dim));
  scratch.mlp = layout.Matrix(wide, capacity, kMlpRatio * dim);
  scratch.qkv = layout.Matrix(wide, capacity, 3 * dim);
  scratch.attended = layout.Matrix(wide + Layout::FloatBytes(capacity * 3 * dim), capacity, dim);
  scratch.timestep = layout.TakeMatrix(sequences_max, kTimestepFeatures);
  scratch.embedded = layout.TakeMatrix(sequences_max, dim);
  scratch.conditioning = layout.TakeMatrix(sequences_max, dim);
  scratch.modulation = layout.TakeMatrix(sequences_max, kModulations * dim);
  scratch.head_modulation = layout.TakeMatrix(sequences_max, kHeadModulations * dim);
  scratch.bytes = layout.size();
  return scratch;
}

size_t DitTransformer::ScratchBytes(int64_t capacity, int32_t sequences_max) const {
  return MakeScratch(nullptr, capacity, sequences_max).bytes;
}

absl::Status DitTransformer::Forward(const DitForward& forward, Stream& stream) {
  const Scratch scratch = MakeScratch(static_cast<char*>(forward.scratch), forward.batch.capacity,
                                      forward.batch.sequences_max);
  const BlockRange& blocks = forward.blocks;
  absl::Status status = Begin(forward, scratch, stream);
  for (int i = blocks.first; i < blocks.last; ++i) {
    if (status.ok()) status = Condition(forward, i, scratch, stream);
    if (status.ok()) status = RunBlock(forward, i, scratch, stream);
  }
  if (!status.ok()) return status;
  return blocks.last < config_.layers ? Park(forward.parked, scratch.hidden, *ops_, stream)
                                      : RunHead(forward, scratch, stream);
}

// The rows that the first of the blocks reads, and what all blocks read beside them.
absl::Status DitTransformer::Begin(const DitForward& forward, const Scratch& scratch,
                                   Stream& stream) {
  absl::Status status = ops_->TimestepEmbedding({.timesteps = forward.timesteps,
                                                 .downscale_freq_shift = 1.0f,
                                                 .flip_sin_to_cos = true,
                                                 .out = scratch.timestep},
                                                forward.batch, stream);
  if (!status.ok()) return status;
  if (forward.blocks.first > 0) {
    status = Unpark(forward.parked, scratch.hidden, *ops_, stream);
    // The head's modulation comes of the first block's embedding.
    if (!status.ok() || forward.blocks.last < config_.layers) return status;
    return Condition(forward, 0, scratch, stream);
  }
  status =
      ops_->Patchify({.views = forward.views, .patch = config_.patch, .tokens = scratch.tokens},
                     forward.batch, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = scratch.tokens,
                         .weight = patch_.get(),
                         .residual = forward.positions,
                         .out = scratch.hidden},
                        forward.batch, stream);
  if (!status.ok()) return status;
  Show("patch_embed", scratch.hidden);
  return absl::OkStatus();
}

absl::Status DitTransformer::RunHead(const DitForward& forward, const Scratch& scratch,
                                     Stream& stream) {
  const int64_t dim = config_.dim();
  absl::Status status =
      ops_->LayerNormModulate({.x = scratch.hidden,
                               .shift = Part(scratch.head_modulation, kHeadShift, dim),
                               .scale = Part(scratch.head_modulation, kHeadScale, dim),
                               .modulation_stride = kHeadModulations * dim,
                               .epsilon = kNormEpsilon,
                               .out = scratch.normed},
                              forward.batch, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = scratch.normed, .weight = head_.get(), .out = forward.out},
                        forward.batch, stream);
  if (!status.ok()) return status;
  Show("proj_out_2", forward.out);
  return absl::OkStatus();
}

// Timestep and label of every sequence to the block's modulation, and after the first block to the
// head's, which shares that block's embedding.
absl::Status DitTransformer::Condition(const DitForward& forward, int index, const Scratch& scratch,
                                       Stream& stream) {
  const Block& block = blocks_[static_cast<size_t>(index)];
  const int64_t dim = config_.dim();
  const int64_t sequences_max = forward.per_sequence.capacity;
  absl::Status status = ops_->Linear({.x = scratch.timestep,
                                      .weight = block.timestep_1.get(),
                                      .activation = Activation::kSilu,
                                      .out = scratch.embedded},
                                     forward.per_sequence, stream);
  if (!status.ok()) return status;
  const Tensor labels(forward.labels.as<float>() + index * sequences_max * dim, DType::kF32,
                      {sequences_max, dim});
  status = ops_->Linear({.x = scratch.embedded,
                         .weight = block.timestep_2.get(),
                         .residual = labels,
                         .out = scratch.conditioning},
                        forward.per_sequence, stream);
  if (!status.ok()) return status;
  if (index == 0) Show("conditioning", scratch.conditioning);
  status = ops_->Silu(scratch.conditioning, scratch.conditioning, stream);
  if (!status.ok()) return status;
  if (index == 0) {
    status = ops_->Linear({.x = scratch.conditioning,
                           .weight = head_modulation_.get(),
                           .out = scratch.head_modulation},
                          forward.per_sequence, stream);
    if (!status.ok()) return status;
  }
  return ops_->Linear(
      {.x = scratch.conditioning, .weight = block.modulation.get(), .out = scratch.modulation},
      forward.per_sequence, stream);
}

absl::Status DitTransformer::RunBlock(const DitForward& forward, int index, const Scratch& scratch,
                                      Stream& stream) {
  const Block& block = blocks_[static_cast<size_t>(index)];
  const int64_t dim = config_.dim();
  const int64_t capacity = forward.batch.capacity;
  const auto modulation = [&](Modulation part) { return Part(scratch.modulation, part, dim); };

  absl::Status status = ops_->LayerNormModulate({.x = scratch.hidden,
                                                 .shift = modulation(kShiftAttention),
                                                 .scale = modulation(kScaleAttention),
                                                 .modulation_stride = kModulations * dim,
                                                 .epsilon = kNormEpsilon,
                                                 .out = scratch.normed},
                                                forward.batch, stream);
  if (!status.ok()) return status;
  Show(absl::StrCat("block.", index, ".norm1"), scratch.normed);
  status = ops_->Linear({.x = scratch.normed, .weight = block.qkv.get(), .out = scratch.qkv},
                        forward.batch, stream);
  if (!status.ok()) return status;
  const auto heads = [&](float* first) {
    return Tensor(first, DType::kF32, {capacity, config_.heads, config_.head_dim});
  };
  auto* qkv = scratch.qkv.as<float>();
  status = ops_->Attention(
      {.q = heads(qkv),
       .k = heads(qkv + dim),
       .v = heads(qkv + 2 * dim),
       .row_stride = 3 * dim,
       .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim))),
       .out = heads(scratch.attended.as<float>())},
      forward.batch, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = scratch.attended,
                         .weight = block.attention_out.get(),
                         .residual = scratch.hidden,
                         .gate = modulation(kGateAttention),
                         .gate_stride = kModulations * dim,
                         .out = scratch.hidden},
                        forward.batch, stream);
  if (!status.ok()) return status;

  status = ops_->LayerNormModulate({.x = scratch.hidden,
                                    .shift = modulation(kShiftMlp),
                                    .scale = modulation(kScaleMlp),
                                    .modulation_stride = kModulations * dim,
                                    .epsilon = static_cast<float>(config_.norm_epsilon),
                                    .out = scratch.normed},
                                   forward.batch, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = scratch.normed,
                         .weight = block.up.get(),
                         .activation = Activation::kGeluTanh,
                         .out = scratch.mlp},
                        forward.batch, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = scratch.mlp,
                         .weight = block.down.get(),
                         .residual = scratch.hidden,
                         .gate = modulation(kGateMlp),
                         .gate_stride = kModulations * dim,
                         .out = scratch.hidden},
                        forward.batch, stream);
  if (!status.ok()) return status;
  Show(absl::StrCat("block.", index), scratch.hidden);
  return absl::OkStatus();
}

}  // namespace darkroom
