#include "model/text_encoders/t5_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/limits.h"
#include "model/workspace.h"

namespace darkroom {

absl::StatusOr<T5Config> ReadT5Config(ConfigReader& reader) {
  using namespace model_limits;  // NOLINT(google-build-using-namespace)
  T5Config config;
  reader.Choice("model_type", {"t5"});
  config.width = static_cast<int>(reader.Int("d_model", 1, kHeadsMax * kHeadDimMax, 512));
  config.heads = static_cast<int>(reader.Int("num_heads", 1, kHeadsMax, 8));
  config.head_dim = static_cast<int>(reader.Int("d_kv", 1, kHeadDimMax, 64));
  config.layers = static_cast<int>(reader.Int("num_layers", 1, kLayersMax, 6));
  config.feed_forward = static_cast<int>(reader.Int("d_ff", 1, kFeedForwardMax, 2048));
  config.vocabulary = static_cast<int>(reader.Int("vocab_size", 1, kVocabularyMax, 32'128));
  config.position_buckets =
      static_cast<int>(reader.Int("relative_attention_num_buckets", 4, kPositionBucketsMax, 32));
  config.position_distance_max =
      static_cast<int>(reader.Int("relative_attention_max_distance", 2, kPositionDistanceMax, 128));
  config.norm_epsilon = reader.Number("layer_norm_epsilon", 1e-12, 1, 1e-6);
  // transformers derives dense_act_fn and is_gated_act from this, whatever they say.
  const std::string kind = reader.Choice(
      "feed_forward_proj", {"relu", "gated-gelu", "gelu", "gated-relu", "silu", "gated-silu"});
  config.gated = kind.rfind("gated-", 0) == 0;
  config.activation = kind == "gated-gelu"                     ? Activation::kGeluTanh
                      : kind == "gelu"                         ? Activation::kGelu
                      : kind.find("silu") != std::string::npos ? Activation::kSilu
                                                               : Activation::kRelu;
  if (config.position_buckets % 4 != 0) {
    reader.Problem("relative_attention_num_buckets", "must be a multiple of 4");
  }
  if (config.position_distance_max <= config.position_buckets / 4) {
    reader.Problem("relative_attention_max_distance",
                   "must be more than a quarter of relative_attention_num_buckets");
  }
  reader.Ignore({"_name_or_path",
                 "architectures",
                 "classifier_dropout",
                 "decoder_start_token_id",
                 "dense_act_fn",
                 "dropout_rate",
                 "dtype",
                 "eos_token_id",
                 "initializer_factor",
                 "is_decoder",
                 "is_encoder_decoder",
                 "is_gated_act",
                 "n_positions",
                 "num_decoder_layers",
                 "output_past",
                 "pad_token_id",
                 "scale_decoder_outputs",
                 "task_specific_params",
                 "tie_encoder_decoder",
                 "tie_word_embeddings",
                 "torch_dtype",
                 "transformers_version",
                 "use_cache"});
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return config;
}

int T5PositionBucket(int64_t distance, int buckets, int distance_max) {
  const int half = buckets / 2;
  const int side = distance > 0 ? half : 0;
  const int64_t away = std::abs(distance);
  const int exact = half / 2;
  if (away < exact) return side + static_cast<int>(away);
  const float logarithm = std::log(static_cast<float>(away) / static_cast<float>(exact));
  const auto range =
      static_cast<float>(std::log(static_cast<double>(distance_max) / static_cast<double>(exact)));
  const auto beyond = static_cast<int>(logarithm / range * static_cast<float>(half - exact));
  return side + std::min(exact + beyond, half - 1);
}

int T5Encoder::tokens_max() const { return model_limits::kT5TokensMax; }

T5Encoder::T5Encoder(const T5Config& config, Weights& weights) : config_(config) {
  token_table_ = weights.Take("shared.weight", {config_.vocabulary, config_.width},
                              "encoder.embed_tokens.weight");
  // The same table a second time, in files where tied weights were written out.
  if (weights.Has("shared.weight")) weights.Ignore({"encoder.embed_tokens.weight"});
  // Whole T5 models are published in the place of their encoders.
  weights.Ignore({"decoder.", "lm_head."});
  bias_source_ =
      weights.Take("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                   {config_.position_buckets, config_.heads});
  for (int i = 0; i < config_.layers; ++i) block_sources_.push_back(TakeBlock(weights, i));
  final_norm_source_ = weights.Take("encoder.final_layer_norm.weight", {config_.width});
}

T5Encoder::BlockSource T5Encoder::TakeBlock(Weights& weights, int index) const {
  const int64_t width = config_.width;
  const int64_t attention = config_.attention_width();
  const int64_t feed_forward = config_.feed_forward;
  const std::string layer = absl::StrCat("encoder.block.", index, ".layer.");
  const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
    return TakeLinear(weights, layer + name, out, in, false);
  };
  BlockSource source;
  source.attention_norm = weights.Take(layer + "0.layer_norm.weight", {width});
  source.q = linear("0.SelfAttention.q", attention, width);
  source.k = linear("0.SelfAttention.k", attention, width);
  source.v = linear("0.SelfAttention.v", attention, width);
  source.attention_out = linear("0.SelfAttention.o", width, attention);
  source.feed_forward_norm = weights.Take(layer + "1.layer_norm.weight", {width});
  source.up =
      linear(config_.gated ? "1.DenseReluDense.wi_0" : "1.DenseReluDense.wi", feed_forward, width);
  if (config_.gated) source.factor = linear("1.DenseReluDense.wi_1", feed_forward, width);
  source.down = linear("1.DenseReluDense.wo", width, feed_forward);
  return source;
}

absl::StatusOr<T5Encoder::Block> T5Encoder::LoadBlock(const BlockSource& source, DType compute,
                                                      Stream& stream) const {
  Block block;
  for (const auto& [norm, from] :
       {std::pair(&block.attention_norm, &source.attention_norm),
        std::pair(&block.feed_forward_norm, &source.feed_forward_norm)}) {
    auto uploaded = Upload(*ops_, ToFloat(*from), stream);
    if (!uploaded.ok()) return uploaded.status();
    *norm = *std::move(uploaded);
  }
  std::vector<Packing> packings = {{&block.qkv, {source.q, source.k, source.v}},
                                   {&block.attention_out, {source.attention_out}},
                                   {&block.up, {source.up}},
                                   {&block.down, {source.down}}};
  if (config_.gated) packings.push_back({&block.factor, {source.factor}});
  if (absl::Status status = PackAll(packings, compute, *ops_); !status.ok()) return status;
  return block;
}

std::vector<float> T5Encoder::PositionBias() const {
  const std::vector<float> source = ToFloat(bias_source_);
  const int64_t span = tokens_max();
  std::vector<float> bias;
  bias.reserve(static_cast<size_t>(config_.heads * (2 * span - 1)));
  for (int head = 0; head < config_.heads; ++head) {
    for (int64_t distance = 1 - span; distance < span; ++distance) {
      const int bucket =
          T5PositionBucket(distance, config_.position_buckets, config_.position_distance_max);
      bias.push_back(source[static_cast<size_t>(bucket * config_.heads + head)]);
    }
  }
  return bias;
}

absl::Status T5Encoder::Load(DType compute, Ops& ops, Stream& stream) {
  ops_ = &ops;
  blocks_.clear();
  for (const BlockSource& source : block_sources_) {
    absl::StatusOr<Block> block = LoadBlock(source, compute, stream);
    if (!block.ok()) return block.status();
    blocks_.push_back(*std::move(block));
  }
  auto norm = Upload(ops, ToFloat(final_norm_source_), stream);
  if (!norm.ok()) return norm.status();
  final_norm_ = *std::move(norm);
  auto bias = Upload(ops, PositionBias(), stream);
  if (!bias.ok()) return bias.status();
  position_bias_ = *std::move(bias);
  return absl::OkStatus();
}

struct T5Encoder::Scratch {
  Tensor normed, qkv, attended, mlp;
  size_t bytes = 0;
};

T5Encoder::Scratch T5Encoder::MakeScratch(char* base, int64_t capacity) const {
  Layout layout(base);
  Scratch scratch;
  scratch.normed = layout.TakeMatrix(capacity, config_.width);
  scratch.qkv = layout.TakeMatrix(capacity, 3 * config_.attention_width());
  scratch.attended = layout.TakeMatrix(capacity, config_.attention_width());
  scratch.mlp = layout.TakeMatrix(capacity, config_.feed_forward);
  scratch.bytes = layout.size();
  return scratch;
}

size_t T5Encoder::ScratchBytes(int64_t capacity) const {
  return MakeScratch(nullptr, capacity).bytes;
}

void T5Encoder::GatherRow(int32_t id, int64_t /*position*/, float* out) const {
  AddTableRow(token_table_, id, out);
}

absl::Status T5Encoder::RunNorm(DeviceBuffer& weight, const Tensor& x, const Tensor& out,
                                const PackedBatch& batch, Stream& stream) const {
  return ops_->Norm({.x = x,
                     .weight = Tensor(weight.data(), DType::kF32, {config_.width}),
                     .epsilon = static_cast<float>(config_.norm_epsilon),
                     .rms = true,
                     .out = out},
                    batch, stream);
}

absl::Status T5Encoder::RunAttention(const Forward& forward, const Block& block,
                                     const Scratch& scratch, Stream& stream) const {
  const PackedBatch& batch = forward.batch;
  const int64_t width = config_.attention_width();
  absl::Status status =
      RunNorm(*block.attention_norm, forward.hidden, scratch.normed, batch, stream);
  if (status.ok()) {
    status = ops_->Linear({.x = scratch.normed, .weight = block.qkv.get(), .out = scratch.qkv},
                          batch, stream);
  }
  if (!status.ok()) return status;
  const auto heads = [&](float* first) {
    return Tensor(first, DType::kF32, {batch.capacity, config_.heads, config_.head_dim});
  };
  auto* qkv = scratch.qkv.as<float>();
  status = ops_->Attention({.q = heads(qkv),
                            .k = heads(qkv + width),
                            .v = heads(qkv + 2 * width),
                            .row_stride = 3 * width,
                            .scale = 1.0f,
                            .position_bias = static_cast<const float*>(position_bias_->data()),
                            .position_span = tokens_max(),
                            .out = heads(scratch.attended.as<float>())},
                           batch, stream);
  if (!status.ok()) return status;
  return ops_->Linear({.x = scratch.attended,
                       .weight = block.attention_out.get(),
                       .residual = forward.hidden,
                       .out = forward.hidden},
                      batch, stream);
}

absl::Status T5Encoder::RunFeedForward(const Forward& forward, const Block& block,
                                       const Scratch& scratch, Stream& stream) const {
  const PackedBatch& batch = forward.batch;
  absl::Status status =
      RunNorm(*block.feed_forward_norm, forward.hidden, scratch.normed, batch, stream);
  if (status.ok() && config_.gated) {
    status = ops_->Linear({.x = scratch.normed, .weight = block.factor.get(), .out = scratch.mlp},
                          batch, stream);
  }
  if (status.ok()) {
    status = ops_->Linear({.x = scratch.normed,
                           .weight = block.up.get(),
                           .activation = config_.activation,
                           .factor = config_.gated ? scratch.mlp : Tensor(),
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

absl::Status T5Encoder::Run(const Forward& forward, Stream& stream) {
  const Scratch scratch = MakeScratch(static_cast<char*>(forward.scratch), forward.batch.capacity);
  Show("embeddings", forward.hidden);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    absl::Status status = RunAttention(forward, blocks_[i], scratch, stream);
    if (!status.ok()) return status;
    Show(absl::StrCat("block.", i, ".attention"), forward.hidden);
    status = RunFeedForward(forward, blocks_[i], scratch, stream);
    if (!status.ok()) return status;
    Show(absl::StrCat("block.", i), forward.hidden);
  }
  return RunNorm(*final_norm_, forward.hidden, forward.out, forward.batch, stream);
}

}  // namespace darkroom
