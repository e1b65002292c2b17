#include "model/transformers/flux.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/limits.h"
#include "model/workspace.h"

namespace darkroom {
namespace {

// Width of the sinusoidal embedding of timestep and guidance, fixed by diffusers.
constexpr int64_t kTimestepFeatures = 256;
constexpr float kNormEpsilon = 1e-6f;
constexpr int64_t kMlpRatio = 4;
// Attention's result and the MLP's lie side by side for a single block's last matrix.
constexpr int64_t kWide = 1 + kMlpRatio;
constexpr double kRotationBase = 10000.0;

// adaLN-Zero's vectors, in the order of its linear layers. A single block has the first three.
enum Modulation {
  kShiftAttention,
  kScaleAttention,
  kGateAttention,
  kShiftMlp,
  kScaleMlp,
  kGateMlp,
  kModulations
};
constexpr int64_t kSingleModulations = 3;
// The output head's two: scale first, unlike the blocks.
enum HeadModulation { kHeadScale, kHeadShift, kHeadModulations };

// Column `index` of a [rows, parts * dim] matrix's parts, as the ops take it: where its first row
// begins; the caller gives the stride.
Tensor Column(const Tensor& matrix, int64_t index, int64_t dim) {
  return Tensor(matrix.as<float>() + index * dim, DType::kF32, {matrix.dim(0), dim});
}

// `count` rows from `begin` on.
Tensor Rows(const Tensor& matrix, int64_t begin, int64_t count) {
  return Tensor(matrix.as<float>() + begin * matrix.dim(1), DType::kF32, {count, matrix.dim(1)});
}

}  // namespace

absl::StatusOr<FluxConfig> ReadFluxConfig(ConfigReader& reader) {
  FluxConfig config;
  const auto count = [&](std::string_view field, int64_t max, int fallback, int64_t min = 1) {
    return static_cast<int>(reader.Int(field, min, max, fallback));
  };
  config.heads = count("num_attention_heads", model_limits::kHeadsMax, 24);
  config.head_dim = count("attention_head_dim", model_limits::kHeadDimMax, 128);
  config.in_channels = count("in_channels", model_limits::kTokenFeaturesMax, 64);
  config.out_channels = count("out_channels", model_limits::kTokenFeaturesMax, config.in_channels);
  config.layers = count("num_layers", model_limits::kLayersMax, 19, 0);
  config.single_layers = count("num_single_layers", model_limits::kLayersMax, 38, 0);
  config.joint_attention_dim = count("joint_attention_dim", model_limits::kChannelsMax, 4096);
  config.pooled_projection_dim = count("pooled_projection_dim", model_limits::kChannelsMax, 768);
  config.guidance_embeds = reader.Bool("guidance_embeds", false);
  if (reader.IsSet("axes_dims_rope")) {
    const std::vector<int64_t> axes =
        reader.Ints("axes_dims_rope", 2, model_limits::kHeadDimMax, FluxConfig::kAxes);
    if (axes.size() == FluxConfig::kAxes) {
      std::copy(axes.begin(), axes.end(), config.axes_dims_rope.begin());
    } else {
      reader.Problem("axes_dims_rope", absl::StrCat("has ", axes.size(), " entries; it must have ",
                                                    FluxConfig::kAxes));
    }
  }
  if (reader.Int("patch_size", 1, model_limits::kPatchMax, 1) != 1) {
    reader.Problem("patch_size", "must be 1: the pipeline makes the patches");
  }
  int rotated = 0;
  for (const int axis : config.axes_dims_rope) {
    rotated += axis;
    if (axis % 2 != 0) reader.Problem("axes_dims_rope", "must be even numbers");
  }
  if (rotated != config.head_dim) {
    reader.Problem("axes_dims_rope",
                   absl::StrCat("adds up to ", rotated, "; it must be attention_head_dim (",
                                config.head_dim, ")"));
  }
  constexpr int kPatchArea = FluxConfig::kPatch * FluxConfig::kPatch;
  if (config.in_channels % kPatchArea != 0) {
    reader.Problem("in_channels", absl::StrCat("is ", config.in_channels,
                                               "; it must be a multiple of ", kPatchArea));
  }
  if (config.out_channels != config.in_channels) {
    reader.Problem("out_channels",
                   absl::StrCat("is ", config.out_channels, "; it must be in_channels (",
                                config.in_channels, "): control inputs are not supported"));
  }
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return config;
}

void FluxRotation(const FluxConfig& config, int row, int column, float* cosines, float* sines) {
  const int position[FluxConfig::kAxes] = {0, row, column};
  for (int axis = 0; axis < FluxConfig::kAxes; ++axis) {
    const int dim = config.axes_dims_rope[static_cast<size_t>(axis)];
    for (int i = 0; i < dim; i += 2) {
      // In double precision, as diffusers computes it on a CPU.
      const double angle =
          position[axis] * (1.0 / std::pow(kRotationBase, static_cast<double>(i) / dim));
      *cosines++ = static_cast<float>(std::cos(angle));
      *sines++ = static_cast<float>(std::sin(angle));
    }
  }
}

FluxTransformer::FluxTransformer(const FluxConfig& config, Weights& weights) : config_(config) {
  const int64_t dim = config.dim();
  const auto take_embedder = [&](const std::string& name, int64_t in) {
    const std::string full = absl::StrCat("time_text_embed.", name);
    return EmbedderSource{TakeLinear(weights, full + ".linear_1", dim, in),
                          TakeLinear(weights, full + ".linear_2", dim, dim)};
  };
  timestep_source_ = take_embedder("timestep_embedder", kTimestepFeatures);
  if (config.guidance_embeds) {
    guidance_source_ = take_embedder("guidance_embedder", kTimestepFeatures);
  }
  pooled_source_ = take_embedder("text_embedder", config.pooled_projection_dim);
  context_source_ = TakeLinear(weights, "context_embedder", dim, config.joint_attention_dim);
  image_source_ = TakeLinear(weights, "x_embedder", dim, config.in_channels);
  for (int i = 0; i < config.layers; ++i) TakeDouble(weights, i);
  for (int i = 0; i < config.single_layers; ++i) TakeSingle(weights, i);
  head_modulation_source_ = TakeLinear(weights, "norm_out.linear", kHeadModulations * dim, dim);
  head_source_ = TakeLinear(weights, "proj_out", config.out_channels, dim);
}

void FluxTransformer::TakeDouble(Weights& weights, int index) {
  const std::string block = absl::StrCat("transformer_blocks.", index, ".");
  const int64_t dim = config_.dim();
  // Names that are only the image's and only the text's.
  const auto take = [&](const std::string& norm, const std::string& q, const std::string& k,
                        const std::string& v, const std::string& out, const std::string& feed,
                        const std::string& q_norm, const std::string& k_norm) {
    StreamSource source;
    source.modulation = TakeLinear(weights, block + norm + ".linear", kModulations * dim, dim);
    source.q = TakeLinear(weights, block + "attn." + q, dim, dim);
    source.k = TakeLinear(weights, block + "attn." + k, dim, dim);
    source.v = TakeLinear(weights, block + "attn." + v, dim, dim);
    source.q_norm = weights.Take(block + "attn." + q_norm + ".weight", {config_.head_dim});
    source.k_norm = weights.Take(block + "attn." + k_norm + ".weight", {config_.head_dim});
    source.attention_out = TakeLinear(weights, block + "attn." + out, dim, dim);
    source.up = TakeLinear(weights, block + feed + ".net.0.proj", kMlpRatio * dim, dim);
    source.down = TakeLinear(weights, block + feed + ".net.2", dim, kMlpRatio * dim);
    return source;
  };
  double_sources_.push_back(
      {.image = take("norm1", "to_q", "to_k", "to_v", "to_out.0", "ff", "norm_q", "norm_k"),
       .text = take("norm1_context", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
                    "ff_context", "norm_added_q", "norm_added_k")});
}

void FluxTransformer::TakeSingle(Weights& weights, int index) {
  const std::string block = absl::StrCat("single_transformer_blocks.", index, ".");
  const int64_t dim = config_.dim();
  SingleSource source;
  source.modulation = TakeLinear(weights, block + "norm.linear", kSingleModulations * dim, dim);
  source.q = TakeLinear(weights, block + "attn.to_q", dim, dim);
  source.k = TakeLinear(weights, block + "attn.to_k", dim, dim);
  source.v = TakeLinear(weights, block + "attn.to_v", dim, dim);
  source.q_norm = weights.Take(block + "attn.norm_q.weight", {config_.head_dim});
  source.k_norm = weights.Take(block + "attn.norm_k.weight", {config_.head_dim});
  source.up = TakeLinear(weights, block + "proj_mlp", kMlpRatio * dim, dim);
  source.out = TakeLinear(weights, block + "proj_out", dim, kWide * dim);
  single_sources_.push_back(std::move(source));
}

absl::Status FluxTransformer::LoadStream(const StreamSource& source, BlockStream& block,
                                         Stream& stream) const {
  auto q_norm = Upload(*ops_, ToFloat(source.q_norm), stream);
  if (!q_norm.ok()) return q_norm.status();
  auto k_norm = Upload(*ops_, ToFloat(source.k_norm), stream);
  if (!k_norm.ok()) return k_norm.status();
  block.q_norm = *std::move(q_norm);
  block.k_norm = *std::move(k_norm);
  return PackAll({{&block.modulation, {source.modulation}},
                  {&block.qkv, {source.q, source.k, source.v}},
                  {&block.attention_out, {source.attention_out}},
                  {&block.up, {source.up}},
                  {&block.down, {source.down}}},
                 compute_, *ops_);
}

absl::Status FluxTransformer::LoadSingle(const SingleSource& source, SingleBlock& block,
                                         Stream& stream) const {
  auto q_norm = Upload(*ops_, ToFloat(source.q_norm), stream);
  if (!q_norm.ok()) return q_norm.status();
  auto k_norm = Upload(*ops_, ToFloat(source.k_norm), stream);
  if (!k_norm.ok()) return k_norm.status();
  block.q_norm = *std::move(q_norm);
  block.k_norm = *std::move(k_norm);
  return PackAll({{&block.modulation, {source.modulation}},
                  {&block.qkv, {source.q, source.k, source.v}},
                  {&block.up, {source.up}},
                  {&block.out, {source.out}}},
                 compute_, *ops_);
}

absl::Status FluxTransformer::Load(DType compute, Ops& ops, Stream& stream) {
  ops_ = &ops;
  compute_ = compute;
  absl::Status status = PackAll({{&timestep_.first, {timestep_source_.first}},
                                 {&timestep_.second, {timestep_source_.second}},
                                 {&pooled_.first, {pooled_source_.first}},
                                 {&pooled_.second, {pooled_source_.second}},
                                 {&context_, {context_source_}},
                                 {&image_, {image_source_}},
                                 {&head_modulation_, {head_modulation_source_}},
                                 {&head_, {head_source_}}},
                                compute, ops);
  if (status.ok() && config_.guidance_embeds) {
    status = PackAll({{&guidance_.first, {guidance_source_.first}},
                      {&guidance_.second, {guidance_source_.second}}},
                     compute, ops);
  }
  double_blocks_.clear();
  single_blocks_.clear();
  for (const DoubleSource& source : double_sources_) {
    DoubleBlock& block = double_blocks_.emplace_back();
    if (status.ok()) status = LoadStream(source.image, block.image, stream);
    if (status.ok()) status = LoadStream(source.text, block.text, stream);
  }
  for (const SingleSource& source : single_sources_) {
    SingleBlock& block = single_blocks_.emplace_back();
    if (status.ok()) status = LoadSingle(source, block, stream);
  }
  return status;
}

struct FluxTransformer::Scratch {
  // Rows of both streams, text first.
  Tensor hidden, normed, qkv;
  // In double blocks two dense matrices, attention's result and the MLP's; in single blocks one
  // whose rows are both, side by side, as the last matrix wants them.
  Tensor attended, mlp, wide;
  // Image rows only.
  Tensor patches, cosines, sines;
  // A row per sequence. The second modulation is the text's in a double block.
  Tensor sinusoid, embedded, conditioning, modulation, text_modulation;
  size_t bytes = 0;
};

FluxTransformer::Scratch FluxTransformer::MakeScratch(char* base, int64_t joint_capacity,
                                                      int32_t sequences_max) const {
  Layout layout(base);
  const int64_t dim = config_.dim();
  Scratch scratch;
  scratch.hidden = layout.TakeMatrix(joint_capacity, dim);
  scratch.normed = layout.TakeMatrix(joint_capacity, dim);
  scratch.qkv = layout.TakeMatrix(joint_capacity, 3 * dim);
  const size_t wide = layout.Take(Layout::FloatBytes(joint_capacity * kWide * dim));
  scratch.wide = layout.Matrix(wide, joint_capacity, kWide * dim);
  scratch.attended = layout.Matrix(wide, joint_capacity, dim);
  scratch.mlp = layout.Matrix(wide + Layout::FloatBytes(joint_capacity * dim), joint_capacity,
                              kMlpRatio * dim);
  scratch.patches = layout.TakeMatrix(joint_capacity, config_.in_channels);
  scratch.cosines = layout.TakeMatrix(joint_capacity, config_.head_dim / 2);
  scratch.sines = layout.TakeMatrix(joint_capacity, config_.head_dim / 2);
  scratch.sinusoid = layout.TakeMatrix(sequences_max, kTimestepFeatures);
  scratch.embedded = layout.TakeMatrix(sequences_max, dim);
  scratch.conditioning = layout.TakeMatrix(sequences_max, dim);
  scratch.modulation = layout.TakeMatrix(sequences_max, kModulations * dim);
  scratch.text_modulation = layout.TakeMatrix(sequences_max, kModulations * dim);
  scratch.bytes = layout.size();
  return scratch;
}

size_t FluxTransformer::ScratchBytes(int64_t joint_capacity, int32_t sequences_max) const {
  return MakeScratch(nullptr, joint_capacity, sequences_max).bytes;
}

absl::Status FluxTransformer::EmbedPrompt(const Prompt& prompt, Stream& stream) {
  absl::Status status =
      ops_->Linear({.x = prompt.embeddings, .weight = context_.get(), .out = prompt.context},
                   prompt.tokens, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = prompt.pooled,
                         .weight = pooled_.first.get(),
                         .activation = Activation::kSilu,
                         .out = prompt.hidden},
                        prompt.sequences, stream);
  if (!status.ok()) return status;
  return ops_->Linear({.x = prompt.hidden, .weight = pooled_.second.get(), .out = prompt.vector},
                      prompt.sequences, stream);
}

struct FluxTransformer::Part {
  Part(const PackedBatch& batch_in, const Scratch& scratch, int64_t begin,
       const Tensor& modulation_in, int64_t parts, int64_t dim_in)
      : batch(batch_in),
        hidden(Rows(scratch.hidden, begin, batch.capacity)),
        normed(Rows(scratch.normed, begin, batch.capacity)),
        qkv(Rows(scratch.qkv, begin, batch.capacity)),
        attended(Rows(scratch.attended, begin, batch.capacity)),
        mlp(Rows(scratch.mlp, begin, batch.capacity)),
        modulation(modulation_in.data, DType::kF32, {modulation_in.dim(0), parts * dim_in}),
        stride(parts * dim_in),
        dim(dim_in) {}

  Tensor Vector(Modulation index) const { return Column(modulation, index, dim); }
  // modulation = the block's vectors for every sequence
  absl::Status Condition(Ops& ops, const LinearWeight* weight, const FluxForward& forward,
                         const Scratch& scratch, Stream& stream) const {
    return ops.Linear({.x = scratch.conditioning, .weight = weight, .out = modulation},
                      forward.per_sequence, stream);
  }
  // normed = layer_norm(hidden) * (1 + scale) + shift
  absl::Status Modulate(Ops& ops, Modulation shift, Modulation scale, Stream& stream) const {
    return ops.LayerNormModulate({.x = hidden,
                                  .shift = Vector(shift),
                                  .scale = Vector(scale),
                                  .modulation_stride = stride,
                                  .epsilon = kNormEpsilon,
                                  .out = normed},
                                 batch, stream);
  }
  // hidden += gate * (x W^T + b)
  absl::Status AddGated(Ops& ops, const Tensor& x, const LinearWeight* weight, Modulation gate,
                        Stream& stream) const {
    return ops.Linear({.x = x,
                       .weight = weight,
                       .residual = hidden,
                       .gate = Vector(gate),
                       .gate_stride = stride,
                       .out = hidden},
                      batch, stream);
  }

  const PackedBatch& batch;
  Tensor hidden, normed, qkv, attended, mlp;
  Tensor cosines, sines;  // none: text, which is not rotated
  Tensor modulation;      // [sequences_max, parts * dim]
  int64_t stride;
  int64_t dim;
};

absl::Status FluxTransformer::Forward(const FluxForward& forward, Stream& stream) {
  const Scratch scratch = MakeScratch(static_cast<char*>(forward.scratch), forward.joint.capacity,
                                      forward.joint.sequences_max);
  const BlockRange& blocks = forward.blocks;
  absl::Status status = Begin(forward, scratch, stream);
  for (int i = blocks.first; i < blocks.last; ++i) {
    if (!status.ok()) return status;
    status = i < config_.layers ? RunDouble(forward, i, scratch, stream)
                                : RunSingle(forward, i - config_.layers, scratch, stream);
  }
  if (!status.ok()) return status;
  return blocks.last < config_.blocks() ? Park(forward.parked, scratch.hidden, *ops_, stream)
                                        : RunHead(forward, scratch, stream);
}

// The rows that the first of the blocks reads, and what all blocks read beside them.
absl::Status FluxTransformer::Begin(const FluxForward& forward, const Scratch& scratch,
                                    Stream& stream) {
  absl::Status status = forward.blocks.first > 0
                            ? Unpark(forward.parked, scratch.hidden, *ops_, stream)
                            : Embed(forward, scratch, stream);
  if (status.ok()) status = Condition(forward, scratch, stream);
  return status;
}

// Latents and context to the first hidden states.
absl::Status FluxTransformer::Embed(const FluxForward& forward, const Scratch& scratch,
                                    Stream& stream) {
  const int64_t text_rows = forward.text.capacity;
  const int64_t image_rows = forward.image.capacity;
  const Tensor image = Rows(scratch.hidden, text_rows, image_rows);
  const Tensor patches = Rows(scratch.patches, 0, image_rows);
  absl::Status status =
      ops_->Patchify({.views = forward.views, .patch = FluxConfig::kPatch, .tokens = patches},
                     forward.image, stream);
  if (!status.ok()) return status;
  status =
      ops_->Linear({.x = patches, .weight = image_.get(), .out = image}, forward.image, stream);
  if (!status.ok()) return status;
  Show("x_embedder", image);
  return ops_->GatherRows({forward.contexts, Rows(scratch.hidden, 0, text_rows)}, forward.text,
                          stream);
}

// Rotations of the image rows; timestep, guidance and pooled prompt to the conditioning of all
// blocks.
absl::Status FluxTransformer::Condition(const FluxForward& forward, const Scratch& scratch,
                                        Stream& stream) {
  const int64_t image_rows = forward.image.capacity;
  const std::pair<GatherRowsArgs, const PackedBatch*> gathers[] = {
      {{forward.cosines, Rows(scratch.cosines, 0, image_rows)}, &forward.image},
      {{forward.sines, Rows(scratch.sines, 0, image_rows)}, &forward.image},
      {{forward.vectors, scratch.conditioning}, &forward.per_sequence}};
  for (const auto& [args, batch] : gathers) {
    absl::Status status = ops_->GatherRows(args, *batch, stream);
    if (!status.ok()) return status;
  }
  absl::Status status = AddEmbedding(forward.timesteps, timestep_, forward, scratch, stream);
  if (status.ok() && config_.guidance_embeds) {
    status = AddEmbedding(forward.guidances, guidance_, forward, scratch, stream);
  }
  if (!status.ok()) return status;
  Show("conditioning", scratch.conditioning);
  return ops_->Silu(scratch.conditioning, scratch.conditioning, stream);
}

// conditioning += embedder(sinusoid(values))
absl::Status FluxTransformer::AddEmbedding(const float* values, const Embedder& embedder,
                                           const FluxForward& forward, const Scratch& scratch,
                                           Stream& stream) {
  absl::Status status = ops_->TimestepEmbedding(
      {.timesteps = values, .flip_sin_to_cos = true, .out = scratch.sinusoid}, forward.per_sequence,
      stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = scratch.sinusoid,
                         .weight = embedder.first.get(),
                         .activation = Activation::kSilu,
                         .out = scratch.embedded},
                        forward.per_sequence, stream);
  if (!status.ok()) return status;
  return ops_->Linear({.x = scratch.embedded,
                       .weight = embedder.second.get(),
                       .residual = scratch.conditioning,
                       .out = scratch.conditioning},
                      forward.per_sequence, stream);
}

absl::Status FluxTransformer::RunDouble(const FluxForward& forward, int index,
                                        const Scratch& scratch, Stream& stream) {
  const DoubleBlock& block = double_blocks_[static_cast<size_t>(index)];
  const int64_t dim = config_.dim();
  const Part text(forward.text, scratch, 0, scratch.text_modulation, kModulations, dim);
  Part image(forward.image, scratch, forward.text.capacity, scratch.modulation, kModulations, dim);
  image.cosines = Rows(scratch.cosines, 0, forward.image.capacity);
  image.sines = Rows(scratch.sines, 0, forward.image.capacity);

  const std::pair<const BlockStream*, const Part*> streams[] = {{&block.text, &text},
                                                                {&block.image, &image}};
  for (const auto& [weights, part] : streams) {
    absl::Status status =
        part->Condition(*ops_, weights->modulation.get(), forward, scratch, stream);
    if (status.ok()) status = BeginStream(*weights, *part, stream);
    if (!status.ok()) return status;
  }
  absl::Status status =
      Attend(forward, scratch, scratch.attended.as<float>(), /*out_stride=*/0, stream);
  for (const auto& [weights, part] : streams) {
    if (status.ok()) status = FinishStream(*weights, *part, stream);
  }
  if (!status.ok()) return status;
  Show(absl::StrCat("block.", index, ".text"), text.hidden);
  Show(absl::StrCat("block.", index, ".image"), image.hidden);
  return absl::OkStatus();
}

// Queries, keys and values.
absl::Status FluxTransformer::BeginStream(const BlockStream& block, const Part& part,
                                          Stream& stream) {
  absl::Status status = part.Modulate(*ops_, kShiftAttention, kScaleAttention, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = part.normed, .weight = block.qkv.get(), .out = part.qkv}, part.batch,
                        stream);
  if (!status.ok()) return status;
  return Rotate(part, *block.q_norm, *block.k_norm, stream);
}

// What attention found, then the MLP.
absl::Status FluxTransformer::FinishStream(const BlockStream& block, const Part& part,
                                           Stream& stream) {
  absl::Status status =
      part.AddGated(*ops_, part.attended, block.attention_out.get(), kGateAttention, stream);
  if (status.ok()) status = part.Modulate(*ops_, kShiftMlp, kScaleMlp, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = part.normed,
                         .weight = block.up.get(),
                         .activation = Activation::kGeluTanh,
                         .out = part.mlp},
                        part.batch, stream);
  if (!status.ok()) return status;
  return part.AddGated(*ops_, part.mlp, block.down.get(), kGateMlp, stream);
}

absl::Status FluxTransformer::RunSingle(const FluxForward& forward, int index,
                                        const Scratch& scratch, Stream& stream) {
  const SingleBlock& block = single_blocks_[static_cast<size_t>(index)];
  const int64_t dim = config_.dim();
  const int64_t text_rows = forward.text.capacity;
  const Part both(forward.joint, scratch, 0, scratch.modulation, kSingleModulations, dim);
  const Part text(forward.text, scratch, 0, scratch.modulation, kSingleModulations, dim);
  Part image(forward.image, scratch, text_rows, scratch.modulation, kSingleModulations, dim);
  image.cosines = Rows(scratch.cosines, 0, forward.image.capacity);
  image.sines = Rows(scratch.sines, 0, forward.image.capacity);

  absl::Status status = both.Condition(*ops_, block.modulation.get(), forward, scratch, stream);
  if (status.ok()) status = both.Modulate(*ops_, kShiftAttention, kScaleAttention, stream);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = both.normed, .weight = block.qkv.get(), .out = both.qkv}, both.batch,
                        stream);
  if (status.ok()) status = Rotate(text, *block.q_norm, *block.k_norm, stream);
  if (status.ok()) status = Rotate(image, *block.q_norm, *block.k_norm, stream);
  if (!status.ok()) return status;
  auto* wide = scratch.wide.as<float>();
  status = ops_->Linear(
      {.x = both.normed,
       .weight = block.up.get(),
       .activation = Activation::kGeluTanh,
       .out = Tensor(wide + dim, DType::kF32, {forward.joint.capacity, kMlpRatio * dim}),
       .out_stride = kWide * dim},
      both.batch, stream);
  if (status.ok()) status = Attend(forward, scratch, wide, kWide * dim, stream);
  if (status.ok()) {
    status = both.AddGated(*ops_, scratch.wide, block.out.get(), kGateAttention, stream);
  }
  if (!status.ok()) return status;
  Show(absl::StrCat("single.", index), both.hidden);
  return absl::OkStatus();
}

absl::Status FluxTransformer::Rotate(const Part& part, DeviceBuffer& q_norm, DeviceBuffer& k_norm,
                                     Stream& stream) {
  const auto weight = [this](DeviceBuffer& norm) {
    return Tensor(norm.data(), DType::kF32, {config_.head_dim});
  };
  return ops_->QkNormRope({.qkv = Tensor(part.qkv.data, DType::kF32,
                                         {part.batch.capacity, 3, config_.heads, config_.head_dim}),
                           .q_weight = weight(q_norm),
                           .k_weight = weight(k_norm),
                           .epsilon = kNormEpsilon,
                           .cos = part.cosines,
                           .sin = part.sines},
                          part.batch, stream);
}

absl::Status FluxTransformer::Attend(const FluxForward& forward, const Scratch& scratch, float* out,
                                     int64_t out_stride, Stream& stream) {
  const int64_t dim = config_.dim();
  const auto heads = [&](float* first) {
    return Tensor(first, DType::kF32, {forward.joint.capacity, config_.heads, config_.head_dim});
  };
  auto* qkv = scratch.qkv.as<float>();
  return ops_->Attention(
      {.q = heads(qkv),
       .k = heads(qkv + dim),
       .v = heads(qkv + 2 * dim),
       .row_stride = 3 * dim,
       .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim))),
       .out = heads(out),
       .out_stride = out_stride},
      forward.joint, stream);
}

absl::Status FluxTransformer::RunHead(const FluxForward& forward, const Scratch& scratch,
                                      Stream& stream) {
  const int64_t dim = config_.dim();
  const Tensor modulation(scratch.modulation.data, DType::kF32,
                          {scratch.modulation.dim(0), kHeadModulations * dim});
  absl::Status status =
      ops_->Linear({.x = scratch.conditioning, .weight = head_modulation_.get(), .out = modulation},
                   forward.per_sequence, stream);
  if (!status.ok()) return status;
  const Tensor normed = Rows(scratch.normed, 0, forward.image.capacity);
  status = ops_->LayerNormModulate(
      {.x = Rows(scratch.hidden, forward.text.capacity, forward.image.capacity),
       .shift = Column(modulation, kHeadShift, dim),
       .scale = Column(modulation, kHeadScale, dim),
       .modulation_stride = kHeadModulations * dim,
       .epsilon = kNormEpsilon,
       .out = normed},
      forward.image, stream);
  if (!status.ok()) return status;
  status =
      ops_->Linear({.x = normed, .weight = head_.get(), .out = forward.out}, forward.image, stream);
  if (status.ok()) Show("proj_out", forward.out);
  return status;
}

}  // namespace darkroom
