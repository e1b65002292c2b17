#include "model/autoencoders/autoencoder_kl.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/limits.h"

namespace darkroom {
namespace {

constexpr float kNormEpsilon = 1e-6f;
constexpr int64_t kPixelChannels = AutoencoderKlConfig::kPixelChannels;

}  // namespace

// Each part keeps the tensors of the files until Load packs them.
struct AutoencoderKlDecoder::Conv {
  Tensor weight_source;
  Tensor bias_source;
  int padding = 0;
  std::unique_ptr<ConvWeight> weight;

  int64_t out_channels() const { return weight->out_channels(); }
};

struct AutoencoderKlDecoder::Norm {
  Tensor gamma_source;
  Tensor beta_source;
  std::unique_ptr<DeviceBuffer> gamma;
  std::unique_ptr<DeviceBuffer> beta;
};

struct AutoencoderKlDecoder::Resnet {
  Norm norm1, norm2;
  Conv conv1, conv2;
  // Only where the number of channels changes.
  std::unique_ptr<Conv> shortcut;
};

struct AutoencoderKlDecoder::Attention {
  Norm norm;
  Tensor weight_sources[4];  // q, k, v, out
  Tensor bias_sources[4];
  std::unique_ptr<LinearWeight> qkv;
  std::unique_ptr<LinearWeight> out;
};

struct AutoencoderKlDecoder::UpBlock {
  std::vector<Resnet> resnets;
  std::unique_ptr<Conv> upsampler;  // after nearest-neighbour upsampling
};

struct AutoencoderKlDecoder::Parts {
  Conv post_quant_conv;
  Conv conv_in;
  Resnet mid_first, mid_last;
  std::unique_ptr<Attention> mid_attention;
  std::vector<UpBlock> up_blocks;
  Norm norm_out;
  Conv conv_out;
};

// One decoding: the picture so far, and two more buffers of the largest size that occurs.
struct AutoencoderKlDecoder::Run {
  Run(const AutoencoderKlConfig& config, char* base, int64_t height, int64_t width) {
    Layout layout(base);
    const int64_t tokens = height * width;
    const size_t buffer_bytes = Layout::FloatBytes(BufferElements(config, tokens));
    for (float*& buffer : buffers) {
      buffer = static_cast<float*>(layout.At(layout.Take(buffer_bytes)));
    }
    tables = layout.Take(TablesBytes(tokens));
    const int64_t factor = config.factor();
    pixels = Tensor(
        layout.At(layout.Take(static_cast<size_t>(tokens * factor * factor * kPixelChannels))),
        DType::kU8, {height * factor, width * factor, kPixelChannels});
    bytes = layout.size();
  }

  // The largest of all intermediate pictures.
  static int64_t BufferElements(const AutoencoderKlConfig& config, int64_t tokens) {
    int64_t before = config.block_channels.back();
    // Queries, keys and values of the mid attention lie side by side.
    int64_t largest =
        tokens * std::max<int64_t>(config.latent_channels, (config.mid_attention ? 3 : 1) * before);
    int64_t pixels = tokens;
    for (size_t i = config.block_channels.size(); i-- > 0;) {
      const int64_t channels = config.block_channels[i];
      largest = std::max(largest, pixels * std::max({before, channels, kPixelChannels}));
      if (i > 0) pixels *= 4;
      largest = std::max(largest, pixels * channels);
      before = channels;
    }
    return largest;
  }

  // One sequence of all latents: LatentView, live rows, live sequences, two boundaries, then the
  // row-to-sequence table, which is all zeros.
  static size_t TablesBytes(int64_t tokens) {
    return kRowTable + static_cast<size_t>(tokens) * sizeof(int32_t);
  }
  static constexpr size_t kCounts = 64;
  static constexpr size_t kRowTable = 128;

  Tensor Spare(int index, int64_t height, int64_t width, int64_t channels) const {
    return Tensor(buffers[(current + index) % 3], DType::kF32, {height, width, channels});
  }
  // A picture of the current size in one of the two spare buffers (1 or 2).
  Tensor Spare(int index, int64_t channels) const {
    return Spare(index, x.dim(0), x.dim(1), channels);
  }
  // Makes a spare buffer's picture the current one.
  void Advance(int index, const Tensor& picture) {
    current = (current + index) % 3;
    x = picture;
  }

  float* buffers[3] = {};
  int current = 0;
  Tensor x;  // in buffers[current]
  size_t tables = 0;
  Tensor pixels;
  size_t bytes = 0;
  PackedBatch batch;
  Stream* stream = nullptr;
};

AutoencoderKlDecoder::AutoencoderKlDecoder(const AutoencoderKlConfig& config, Weights& weights)
    : config_(config), parts_(std::make_unique<Parts>()) {
  TakeParts(weights);
}

AutoencoderKlDecoder::~AutoencoderKlDecoder() = default;

void AutoencoderKlDecoder::TakeParts(Weights& weights) {
  const auto take_conv = [&](Conv& conv, const std::string& name, int64_t out, int64_t in,
                             int64_t kernel) {
    conv.weight_source = weights.Take(name + ".weight", {out, in, kernel, kernel});
    conv.bias_source = weights.Take(name + ".bias", {out});
    conv.padding = static_cast<int>(kernel / 2);
  };
  const auto take_norm = [&](Norm& norm, const std::string& name, int64_t channels) {
    norm.gamma_source = weights.Take(name + ".weight", {channels});
    norm.beta_source = weights.Take(name + ".bias", {channels});
  };
  const auto take_resnet = [&](Resnet& resnet, const std::string& name, int64_t in, int64_t out) {
    take_norm(resnet.norm1, name + ".norm1", in);
    take_conv(resnet.conv1, name + ".conv1", out, in, 3);
    take_norm(resnet.norm2, name + ".norm2", out);
    take_conv(resnet.conv2, name + ".conv2", out, out, 3);
    if (in == out) return;
    resnet.shortcut = std::make_unique<Conv>();
    take_conv(*resnet.shortcut, name + ".conv_shortcut", out, in, 1);
  };

  Parts& parts = *parts_;
  const int64_t latents = config_.latent_channels;
  const int64_t top = config_.block_channels.back();
  if (config_.post_quant_conv) {
    take_conv(parts.post_quant_conv, "post_quant_conv", latents, latents, 1);
  }
  take_conv(parts.conv_in, "decoder.conv_in", top, latents, 3);
  take_resnet(parts.mid_first, "decoder.mid_block.resnets.0", top, top);
  if (config_.mid_attention) {
    parts.mid_attention = std::make_unique<Attention>();
    Attention& attention = *parts.mid_attention;
    const std::string name = "decoder.mid_block.attentions.0.";
    take_norm(attention.norm, name + "group_norm", top);
    const std::pair<const char*, const char*> names[] = {
        {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
    for (size_t i = 0; i < std::size(names); ++i) {
      const std::string now = name + names[i].first;
      const std::string old = name + names[i].second;
      attention.weight_sources[i] = weights.Take(now + ".weight", {top, top}, old + ".weight");
      attention.bias_sources[i] = weights.Take(now + ".bias", {top}, old + ".bias");
    }
  }
  take_resnet(parts.mid_last, "decoder.mid_block.resnets.1", top, top);

  int64_t before = top;
  const size_t levels = config_.block_channels.size();
  parts.up_blocks.resize(levels);
  for (size_t i = 0; i < levels; ++i) {
    const int64_t channels = config_.block_channels[levels - 1 - i];
    const std::string name = absl::StrCat("decoder.up_blocks.", i);
    UpBlock& block = parts.up_blocks[i];
    block.resnets.resize(static_cast<size_t>(config_.layers_per_block + 1));
    for (size_t j = 0; j < block.resnets.size(); ++j) {
      take_resnet(block.resnets[j], absl::StrCat(name, ".resnets.", j), before, channels);
      before = channels;
    }
    if (i + 1 == levels) continue;
    block.upsampler = std::make_unique<Conv>();
    take_conv(*block.upsampler, name + ".upsamplers.0.conv", channels, channels, 3);
  }
  take_norm(parts.norm_out, "decoder.conv_norm_out", before);
  take_conv(parts.conv_out, "decoder.conv_out", kPixelChannels, before, 3);
  weights.Ignore({"encoder.", "quant_conv."});
}

absl::Status AutoencoderKlDecoder::LoadConv(Conv& conv, Ops& ops) const {
  std::vector<float> weight = ToFloat(conv.weight_source);
  std::vector<float> bias = ToFloat(conv.bias_source);
  const auto& dims = conv.weight_source.dims;
  absl::StatusOr<std::unique_ptr<ConvWeight>> packed =
      ops.PackConv(Tensor(weight.data(), DType::kF32, {dims[0], dims[1], dims[2], dims[3]}),
                   Tensor(bias.data(), DType::kF32, {dims[0]}), /*stride=*/1,
                   ConvPadding::All(conv.padding), DType::kF32);
  if (!packed.ok()) return packed.status();
  conv.weight = *std::move(packed);
  return absl::OkStatus();
}

absl::Status AutoencoderKlDecoder::LoadNorm(Norm& norm, Ops& ops, Stream& stream) const {
  auto gamma = Upload(ops, ToFloat(norm.gamma_source), stream);
  if (!gamma.ok()) return gamma.status();
  auto beta = Upload(ops, ToFloat(norm.beta_source), stream);
  if (!beta.ok()) return beta.status();
  norm.gamma = *std::move(gamma);
  norm.beta = *std::move(beta);
  return absl::OkStatus();
}

absl::Status AutoencoderKlDecoder::LoadResnet(Resnet& resnet, Ops& ops, Stream& stream) const {
  absl::Status status = LoadNorm(resnet.norm1, ops, stream);
  if (status.ok()) status = LoadConv(resnet.conv1, ops);
  if (status.ok()) status = LoadNorm(resnet.norm2, ops, stream);
  if (status.ok()) status = LoadConv(resnet.conv2, ops);
  if (status.ok() && resnet.shortcut != nullptr) status = LoadConv(*resnet.shortcut, ops);
  return status;
}

absl::Status AutoencoderKlDecoder::LoadAttention(Attention& attention, Ops& ops,
                                                 Stream& stream) const {
  if (absl::Status status = LoadNorm(attention.norm, ops, stream); !status.ok()) return status;
  const int64_t channels = attention.weight_sources[0].dim(0);
  const auto pack = [&](size_t first, size_t count) {
    std::vector<float> weight =
        ToFloat(absl::MakeConstSpan(attention.weight_sources).subspan(first, count));
    std::vector<float> bias =
        ToFloat(absl::MakeConstSpan(attention.bias_sources).subspan(first, count));
    const auto rows = static_cast<int64_t>(bias.size());
    return ops.PackLinear(Tensor(weight.data(), DType::kF32, {rows, channels}),
                          Tensor(bias.data(), DType::kF32, {rows}), DType::kF32);
  };
  absl::StatusOr<std::unique_ptr<LinearWeight>> qkv = pack(0, 3);
  if (!qkv.ok()) return qkv.status();
  absl::StatusOr<std::unique_ptr<LinearWeight>> out = pack(3, 1);
  if (!out.ok()) return out.status();
  attention.qkv = *std::move(qkv);
  attention.out = *std::move(out);
  return absl::OkStatus();
}

// The scaling and shift of latents become part of the first, 1x1 convolution; where a model has
// none, they are all of it. They cannot go into conv_in, whose zero padding they would move.
absl::Status AutoencoderKlDecoder::LoadPostQuantConv(Ops& ops) {
  Conv& conv = parts_->post_quant_conv;
  const auto channels = static_cast<size_t>(config_.latent_channels);
  std::vector<float> weight(channels * channels);
  std::vector<float> bias(channels);
  if (config_.post_quant_conv) {
    weight = ToFloat(conv.weight_source);
    bias = ToFloat(conv.bias_source);
  } else {
    for (size_t i = 0; i < channels; ++i) weight[i * channels + i] = 1.0f;
  }
  for (size_t row = 0; row < channels; ++row) {
    double shifted = bias[row];
    for (size_t column = 0; column < channels; ++column) {
      float& value = weight[row * channels + column];
      shifted += value * config_.shift_factor;
      value = static_cast<float>(value / config_.scaling_factor);
    }
    bias[row] = static_cast<float>(shifted);
  }
  const int64_t count = config_.latent_channels;
  absl::StatusOr<std::unique_ptr<ConvWeight>> packed = ops.PackConv(
      Tensor(weight.data(), DType::kF32, {count, count, 1, 1}),
      Tensor(bias.data(), DType::kF32, {count}), /*stride=*/1, ConvPadding(), DType::kF32);
  if (!packed.ok()) return packed.status();
  conv.weight = *std::move(packed);
  return absl::OkStatus();
}

absl::Status AutoencoderKlDecoder::Load(Ops& ops, Stream& stream) {
  ops_ = &ops;
  workspace_ = std::make_unique<Workspace>(ops);
  Parts& parts = *parts_;
  absl::Status status = LoadPostQuantConv(ops);
  if (status.ok()) status = LoadConv(parts.conv_in, ops);
  if (status.ok()) status = LoadResnet(parts.mid_first, ops, stream);
  if (status.ok() && parts.mid_attention != nullptr) {
    status = LoadAttention(*parts.mid_attention, ops, stream);
  }
  if (status.ok()) status = LoadResnet(parts.mid_last, ops, stream);
  for (UpBlock& block : parts.up_blocks) {
    for (Resnet& resnet : block.resnets) {
      if (status.ok()) status = LoadResnet(resnet, ops, stream);
    }
    if (status.ok() && block.upsampler != nullptr) status = LoadConv(*block.upsampler, ops);
  }
  if (status.ok()) status = LoadNorm(parts.norm_out, ops, stream);
  if (status.ok()) status = LoadConv(parts.conv_out, ops);
  return status;
}

size_t AutoencoderKlDecoder::WorkspaceBytes(int height, int width) const {
  return Run(config_, nullptr, height, width).bytes;
}

absl::Status AutoencoderKlDecoder::RunNorm(const Norm& norm, bool silu, const Tensor& x,
                                           const Tensor& out, Run& run) const {
  const int64_t channels = x.dim(2);
  return ops_->GroupNorm({.x = x,
                          .gamma = Tensor(norm.gamma->data(), DType::kF32, {channels}),
                          .beta = Tensor(norm.beta->data(), DType::kF32, {channels}),
                          .groups = config_.norm_groups,
                          .epsilon = kNormEpsilon,
                          .silu = silu,
                          .out = out},
                         *run.stream);
}

absl::Status AutoencoderKlDecoder::RunResnet(const Resnet& resnet, Run& run) const {
  Stream& stream = *run.stream;
  const int64_t channels = resnet.conv1.out_channels();
  const Tensor normed = run.Spare(1, run.x.dim(2));
  const Tensor hidden = run.Spare(2, channels);
  absl::Status status = RunNorm(resnet.norm1, /*silu=*/true, run.x, normed, run);
  if (!status.ok()) return status;
  status = ops_->Conv2d({.x = normed, .weight = resnet.conv1.weight.get(), .out = hidden}, stream);
  if (!status.ok()) return status;
  const Tensor normed_again = run.Spare(1, channels);
  status = RunNorm(resnet.norm2, /*silu=*/true, hidden, normed_again, run);
  if (!status.ok()) return status;

  if (resnet.shortcut == nullptr) {
    status = ops_->Conv2d(
        {.x = normed_again, .weight = resnet.conv2.weight.get(), .residual = run.x, .out = hidden},
        stream);
    if (status.ok()) run.Advance(2, hidden);
    return status;
  }
  status =
      ops_->Conv2d({.x = run.x, .weight = resnet.shortcut->weight.get(), .out = hidden}, stream);
  if (!status.ok()) return status;
  const Tensor out = run.Spare(0, channels);
  status = ops_->Conv2d(
      {.x = normed_again, .weight = resnet.conv2.weight.get(), .residual = hidden, .out = out},
      stream);
  if (status.ok()) run.Advance(0, out);
  return status;
}

absl::Status AutoencoderKlDecoder::RunAttention(const Attention& attention, Run& run) const {
  Stream& stream = *run.stream;
  const int64_t channels = run.x.dim(2);
  const int64_t tokens = run.x.dim(0) * run.x.dim(1);
  const auto rows = [tokens](const Tensor& picture, int64_t columns) {
    return Tensor(picture.data, DType::kF32, {tokens, columns});
  };
  const Tensor normed = run.Spare(1, channels);
  const Tensor qkv = rows(run.Spare(2, 3 * channels), 3 * channels);
  absl::Status status = RunNorm(attention.norm, /*silu=*/false, run.x, normed, run);
  if (!status.ok()) return status;
  status = ops_->Linear({.x = rows(normed, channels), .weight = attention.qkv.get(), .out = qkv},
                        run.batch, stream);
  if (!status.ok()) return status;
  // A single head as wide as the picture has channels.
  const auto head = [&](float* first) { return Tensor(first, DType::kF32, {tokens, 1, channels}); };
  const Tensor attended = run.Spare(1, channels);
  status =
      ops_->Attention({.q = head(qkv.as<float>()),
                       .k = head(qkv.as<float>() + channels),
                       .v = head(qkv.as<float>() + 2 * channels),
                       .row_stride = 3 * channels,
                       .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(channels))),
                       .out = head(attended.as<float>())},
                      run.batch, stream);
  if (!status.ok()) return status;
  return ops_->Linear({.x = rows(attended, channels),
                       .weight = attention.out.get(),
                       .residual = rows(run.x, channels),
                       .out = rows(run.x, channels)},
                      run.batch, stream);
}

absl::Status AutoencoderKlDecoder::RunUpBlock(const UpBlock& block, Run& run) const {
  for (const Resnet& resnet : block.resnets) {
    if (absl::Status status = RunResnet(resnet, run); !status.ok()) return status;
  }
  if (block.upsampler == nullptr) return absl::OkStatus();
  const int64_t channels = run.x.dim(2);
  const Tensor larger = run.Spare(1, 2 * run.x.dim(0), 2 * run.x.dim(1), channels);
  absl::Status status = ops_->Upsample2x(run.x, larger, *run.stream);
  if (!status.ok()) return status;
  const Tensor out = run.Spare(2, larger.dim(0), larger.dim(1), channels);
  status =
      ops_->Conv2d({.x = larger, .weight = block.upsampler->weight.get(), .out = out}, *run.stream);
  if (status.ok()) run.Advance(2, out);
  return status;
}

absl::Status AutoencoderKlDecoder::RunDecoder(Run& run) const {
  const Parts& parts = *parts_;
  const auto conv = [&](const Conv& layer) {
    const Tensor out = run.Spare(1, layer.out_channels());
    absl::Status status =
        ops_->Conv2d({.x = run.x, .weight = layer.weight.get(), .out = out}, *run.stream);
    if (status.ok()) run.Advance(1, out);
    return status;
  };
  absl::Status status = conv(parts.post_quant_conv);
  if (!status.ok()) return status;
  Show("post_quant_conv", run.x);
  status = conv(parts.conv_in);
  if (!status.ok()) return status;
  Show("conv_in", run.x);
  status = RunResnet(parts.mid_first, run);
  if (status.ok() && parts.mid_attention != nullptr) {
    status = RunAttention(*parts.mid_attention, run);
    Show("mid_block.attention", run.x);
  }
  if (status.ok()) status = RunResnet(parts.mid_last, run);
  if (!status.ok()) return status;
  Show("mid_block", run.x);
  for (size_t i = 0; i < parts.up_blocks.size(); ++i) {
    if (status = RunUpBlock(parts.up_blocks[i], run); !status.ok()) return status;
    Show(absl::StrCat("up_block.", i), run.x);
  }
  const Tensor normed = run.Spare(1, run.x.dim(2));
  status = RunNorm(parts.norm_out, /*silu=*/true, run.x, normed, run);
  if (!status.ok()) return status;
  run.Advance(1, normed);
  status = conv(parts.conv_out);
  if (!status.ok()) return status;
  Show("pixels", run.x);
  return ops_->ToPixels(run.x, run.pixels, *run.stream);
}

absl::Status AutoencoderKlDecoder::Decode(const LatentView& latents, uint8_t* pixels,
                                          Stream& stream) {
  const int64_t tokens = int64_t{latents.height} * latents.width;
  absl::StatusOr<char*> base = workspace_->Reserve(WorkspaceBytes(latents.height, latents.width));
  if (!base.ok()) return base.status();
  Run run(config_, *base, latents.height, latents.width);
  run.stream = &stream;

  tables_staging_.assign(Run::TablesBytes(tokens), 0);
  *reinterpret_cast<LatentView*>(tables_staging_.data()) = latents;
  const int32_t counts[] = {static_cast<int32_t>(tokens), 1, 0, static_cast<int32_t>(tokens)};
  std::copy(std::begin(counts), std::end(counts),
            reinterpret_cast<int32_t*>(tables_staging_.data() + Run::kCounts));
  char* tables = *base + run.tables;
  absl::Status status =
      ops_->CopyToDevice(tables, tables_staging_.data(), tables_staging_.size(), stream);
  if (!status.ok()) return status;
  const auto* device_counts = reinterpret_cast<const int32_t*>(tables + Run::kCounts);
  run.batch = {.capacity = tokens,
               .sequences_max = 1,
               .live_rows = device_counts,
               .live_sequences = device_counts + 1,
               .boundaries = device_counts + 2,
               .row_to_sequence = reinterpret_cast<const int32_t*>(tables + Run::kRowTable)};

  // Patches of one latent each are the latents with channels last.
  run.x =
      Tensor(run.buffers[0], DType::kF32, {latents.height, latents.width, config_.latent_channels});
  status =
      ops_->Patchify({.views = reinterpret_cast<const LatentView*>(tables),
                      .patch = 1,
                      .tokens = Tensor(run.x.data, DType::kF32, {tokens, config_.latent_channels})},
                     run.batch, stream);
  if (status.ok()) status = RunDecoder(run);
  if (status.ok()) {
    status = ops_->CopyToHost(pixels, run.pixels.data, run.pixels.bytes(), stream);
  }
  if (!status.ok()) return status;
  return stream.Synchronize();
}

}  // namespace darkroom
