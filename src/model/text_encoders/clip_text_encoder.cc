#include "model/text_encoders/clip_text_encoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/limits.h"
#include "model/workspace.h"

namespace darkroom {
namespace {

// The end id of configurations that were written before transformers read it.
constexpr int kUnreliableEndId = 2;

}  // namespace

absl::StatusOr<ClipTextConfig> ReadClipTextConfig(ConfigReader& reader) {
  using namespace model_limits;  // NOLINT(google-build-using-namespace)
  ClipTextConfig config;
  reader.Choice("model_type", {"clip_text_model"});
  config.width = static_cast<int>(reader.Int("hidden_size", 1, kHeadsMax * kHeadDimMax, 512));
  config.heads = static_cast<int>(reader.Int("num_attention_heads", 1, kHeadsMax, 8));
  config.layers = static_cast<int>(reader.Int("num_hidden_layers", 1, kLayersMax, 12));
  config.feed_forward = static_cast<int>(reader.Int("intermediate_size", 1, kFeedForwardMax, 2048));
  config.vocabulary = static_cast<int>(reader.Int("vocab_size", 1, kVocabularyMax, 49'408));
  config.tokens_max =
      static_cast<int>(reader.Int("max_position_embeddings", 1, kPromptTokensMax, 77));
  config.norm_epsilon = reader.Number("layer_norm_eps", 1e-12, 1, 1e-5);
  config.end_id = static_cast<int>(reader.Int("eos_token_id", 0, kVocabularyMax, 49'407));
  const std::string activation =
      reader.Choice("hidden_act", {"quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh"});
  config.activation = activation == "quick_gelu" ? Activation::kQuickGelu
                      : activation == "gelu"     ? Activation::kGelu
                                                 : Activation::kGeluTanh;
  if (config.width % config.heads != 0 || config.head_dim() > kHeadDimMax) {
    reader.Problem("hidden_size",
                   absl::StrCat("must be num_attention_heads times 1 to ", kHeadDimMax));
  }
  reader.Ignore({"_name_or_path", "architectures", "attention_dropout", "bos_token_id", "dropout",
                 "dtype", "initializer_factor", "initializer_range", "pad_token_id",
                 "projection_dim", "torch_dtype", "transformers_version"});
  // What every configuration of transformers has when it stands inside another one.
  reader.Ignore({"chunk_size_feed_forward", "id2label", "is_encoder_decoder", "label2id",
                 "output_attentions", "output_hidden_states", "problem_type", "return_dict"});
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return config;
}

ClipTextEncoder::ClipTextEncoder(const ClipTextConfig& config, Weights& weights,
                                 std::string_view prefix)
    : config_(config) {
  const int64_t width = config_.width;
  const int64_t feed_forward = config_.feed_forward;
  const std::string table = "embeddings.token_embedding.weight";
  const std::string long_name = absl::StrCat(std::string(prefix), "text_model.");
  const std::string model = weights.Has(long_name + table) ? long_name : std::string(prefix);
  const auto norm = [&](const std::string& name) {
    return NormSource{weights.Take(name + ".weight", {width}),
                      weights.Take(name + ".bias", {width})};
  };
  token_table_ = weights.Take(model + table, {config_.vocabulary, width});
  position_table_ =
      weights.Take(model + "embeddings.position_embedding.weight", {config_.tokens_max, width});
  for (int i = 0; i < config_.layers; ++i) {
    const std::string layer = absl::StrCat(model, "encoder.layers.", i, ".");
    BlockSource& source = block_sources_.emplace_back();
    source.norm1 = norm(layer + "layer_norm1");
    source.q = TakeLinear(weights, layer + "self_attn.q_proj", width, width);
    source.k = TakeLinear(weights, layer + "self_attn.k_proj", width, width);
    source.v = TakeLinear(weights, layer + "self_attn.v_proj", width, width);
    source.attention_out = TakeLinear(weights, layer + "self_attn.out_proj", width, width);
    source.norm2 = norm(layer + "layer_norm2");
    source.up = TakeLinear(weights, layer + "mlp.fc1", feed_forward, width);
    source.down = TakeLinear(weights, layer + "mlp.fc2", width, feed_forward);
  }
  final_norm_source_ = norm(model + "final_layer_norm");
  // Older versions wrote 0, 1, 2, ... into the file.
  weights.Ignore({model + "embeddings.position_ids"});
}

absl::StatusOr<ClipTextEncoder::Norm> ClipTextEncoder::LoadNorm(const NormSource& source,
                                                                Stream& stream) const {
  auto weight = Upload(*ops_, ToFloat(source.weight), stream);
  if (!weight.ok()) return weight.status();
  auto bias = Upload(*ops_, ToFloat(source.bias), stream);
  if (!bias.ok()) return bias.status();
  return Norm{*std::move(weight), *std::move(bias)};
}

absl::StatusOr<ClipTextEncoder::Block> ClipTextEncoder::LoadBlock(const BlockSource& source,
                                                                  DType compute,
                                                                  Stream& stream) const {
  Block block;
  for (const auto& [norm, from] :
       {std::pair(&block.norm1, &source.norm1), std::pair(&block.norm2, &source.norm2)}) {
    absl::StatusOr<Norm> loaded = LoadNorm(*from, stream);
    if (!loaded.ok()) return loaded.status();
    *norm = *std::move(loaded);
  }
  absl::Status status = PackAll({{&block.qkv, {source.q, source.k, source.v}},
                                 {&block.attention_out, {source.attention_out}},
                                 {&block.up, {source.up}},
                                 {&block.down, {source.down}}},
                                compute, *ops_);
  if (!status.ok()) return status;
  return block;
}

absl::Status ClipTextEncoder::Load(DType compute, Ops& ops, Stream& stream) {
  ops_ = &ops;
  blocks_.clear();
  for (const BlockSource& source : block_sources_) {
    absl::StatusOr<Block> block = LoadBlock(source, compute, stream);
    if (!block.ok()) return block.status();
    blocks_.push_back(*std::move(block));
  }
  absl::StatusOr<Norm> norm = LoadNorm(final_norm_source_, stream);
  if (!norm.ok()) return norm.status();
  final_norm_ = *std::move(norm);
  return absl::OkStatus();
}

struct ClipTextEncoder::Scratch {
  Tensor normed, qkv, attended, mlp;
  size_t bytes = 0;
};

ClipTextEncoder::Scratch ClipTextEncoder::MakeScratch(char* base, int64_t capacity) const {
  Layout layout(base);
  Scratch scratch;
  scratch.normed = layout.TakeMatrix(capacity, config_.width);
  scratch.qkv = layout.TakeMatrix(capacity, int64_t{3} * config_.width);
  scratch.attended = layout.TakeMatrix(capacity, config_.width);
  scratch.mlp = layout.TakeMatrix(capacity, config_.feed_forward);
  scratch.bytes = layout.size();
  return scratch;
}

size_t ClipTextEncoder::ScratchBytes(int64_t capacity) const {
  return MakeScratch(nullptr, capacity).bytes;
}

void ClipTextEncoder::GatherRow(int32_t id, int64_t position, float* out) const {
  AddTableRow(token_table_, id, out);
  AddTableRow(position_table_, position, out);
}

absl::Status ClipTextEncoder::RunNorm(const Norm& norm, const Tensor& x, const Tensor& out,
                                      const PackedBatch& batch, Stream& stream) const {
  const auto vector = [this](const std::unique_ptr<DeviceBuffer>& buffer) {
    return Tensor(buffer->data(), DType::kF32, {config_.width});
  };
  return ops_->Norm({.x = x,
                     .weight = vector(norm.weight),
                     .bias = vector(norm.bias),
                     .epsilon = static_cast<float>(config_.norm_epsilon),
                     .out = out},
                    batch, stream);
}

absl::Status ClipTextEncoder::RunBlock(const Forward& forward, const Block& block,
                                       const Scratch& scratch, Stream& stream) const {
  const PackedBatch& batch = forward.batch;
  const int64_t width = config_.width;
  absl::Status status = RunNorm(block.norm1, forward.hidden, scratch.normed, batch, stream);
  if (status.ok()) {
    status = ops_->Linear({.x = scratch.normed, .weight = block.qkv.get(), .out = scratch.qkv},
                          batch, stream);
  }
  if (!status.ok()) return status;
  const auto heads = [&](float* first) {
    return Tensor(first, DType::kF32, {batch.capacity, config_.heads, config_.head_dim()});
  };
  auto* qkv = scratch.qkv.as<float>();
  status =
      ops_->Attention({.q = heads(qkv),
                       .k = heads(qkv + width),
                       .v = heads(qkv + 2 * width),
                       .row_stride = 3 * width,
                       .scale = static_cast<float>(1.0 / std::sqrt(double(config_.head_dim()))),
                       .causal = true,
                       .out = heads(scratch.attended.as<float>())},
                      batch, stream);
  if (status.ok()) {
    status = ops_->Linear({.x = scratch.attended,
                           .weight = block.attention_out.get(),
                           .residual = forward.hidden,
                           .out = forward.hidden},
                          batch, stream);
  }
  if (status.ok()) status = RunNorm(block.norm2, forward.hidden, scratch.normed, batch, stream);
  if (status.ok()) {
    status = ops_->Linear({.x = scratch.normed,
                           .weight = block.up.get(),
                           .activation = config_.activation,
                           .out = scratch.mlp},
                          batch, stream);
  }
  if (!status.ok()) return status;
  return ops_->Linear({.x = scratch.mlp,
                       .weight = block.down.get(),
                       .residual = forward.hidden,
                       .out = forward.hidden},
                      batch, stream);
}

absl::Status ClipTextEncoder::Run(const Forward& forward, Stream& stream) {
  const Scratch scratch = MakeScratch(static_cast<char*>(forward.scratch), forward.batch.capacity);
  Show("embeddings", forward.hidden);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    absl::Status status = RunBlock(forward, blocks_[i], scratch, stream);
    if (!status.ok()) return status;
    Show(absl::StrCat("block.", i), forward.hidden);
  }
  return RunNorm(final_norm_, forward.hidden, forward.out, forward.batch, stream);
}

int64_t ClipTextEncoder::PooledToken(absl::Span<const int32_t> ids) const {
  if (config_.end_id == kUnreliableEndId) {
    return std::max_element(ids.begin(), ids.end()) - ids.begin();
  }
  const auto found = std::find(ids.begin(), ids.end(), config_.end_id);
  // transformers' argmax over a comparison gives the first token when no other is equal.
  return found == ids.end() ? 0 : found - ids.begin();
}

}  // namespace darkroom
