#include "model/autoencoders/autoencoder_kl_decoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace darkroom {
namespace {

constexpr int64_t kPixelChannels = AutoencoderKlConfig::kPixelChannels;

// The largest of all intermediate pictures.
int64_t BufferElements(const AutoencoderKlConfig& config, int64_t tokens) {
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

}  // namespace

// A decoding's canvas, the table of its latents and the picture as bytes.
struct AutoencoderKlDecoder::Memory {
  Memory(const AutoencoderKlConfig& config, char* base, int64_t height, int64_t width)
      : canvas(base, BufferElements(config, height * width), height * width, config.norm_groups) {
    Layout layout(base);
    layout.Take(canvas.bytes());
    view = static_cast<LatentView*>(layout.At(layout.Take(sizeof(LatentView))));
    const int64_t factor = config.factor();
    pixels = Tensor(layout.At(layout.Take(
                        static_cast<size_t>(height * width * factor * factor * kPixelChannels))),
                    DType::kU8, {height * factor, width * factor, kPixelChannels});
    bytes = layout.size();
  }

  kl::Canvas canvas;
  LatentView* view = nullptr;
  Tensor pixels;
  size_t bytes = 0;
};

AutoencoderKlDecoder::AutoencoderKlDecoder(const AutoencoderKlConfig& config, Weights& weights)
    : config_(config) {
  Take(weights);
}

void AutoencoderKlDecoder::Take(Weights& weights) {
  const int64_t latents = config_.latent_channels;
  const int64_t top = config_.block_channels.back();
  if (config_.post_quant_conv) {
    post_quant_conv_.Take(weights, "post_quant_conv", latents, latents, 1);
  }
  conv_in_.Take(weights, "decoder.conv_in", top, latents, 3);
  mid_.Take(weights, "decoder.mid_block", config_);

  int64_t before = top;
  const size_t levels = config_.block_channels.size();
  up_blocks_.resize(levels);
  for (size_t i = 0; i < levels; ++i) {
    const int64_t channels = config_.block_channels[levels - 1 - i];
    const std::string name = absl::StrCat("decoder.up_blocks.", i);
    UpBlock& block = up_blocks_[i];
    block.resnets.resize(static_cast<size_t>(config_.layers_per_block) + 1);
    for (size_t j = 0; j < block.resnets.size(); ++j) {
      block.resnets[j].Take(weights, absl::StrCat(name, ".resnets.", j), before, channels);
      before = channels;
    }
    if (i + 1 == levels) continue;
    block.upsampler = std::make_unique<kl::Conv>();
    block.upsampler->Take(weights, name + ".upsamplers.0.conv", channels, channels, 3);
  }
  norm_out_.Take(weights, "decoder.conv_norm_out", before);
  conv_out_.Take(weights, "decoder.conv_out", kPixelChannels, before, 3);
}

// The scaling and shift of latents become part of the first, 1x1 convolution; where a model has
// none, they are all of it. They cannot go into conv_in, whose zero padding they would move.
absl::Status AutoencoderKlDecoder::LoadPostQuantConv(Ops& ops) {
  kl::Conv& conv = post_quant_conv_;
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
  absl::Status status = LoadPostQuantConv(ops);
  if (status.ok()) status = conv_in_.Load(ops);
  if (status.ok()) status = mid_.Load(ops, stream);
  for (UpBlock& block : up_blocks_) {
    for (kl::Resnet& resnet : block.resnets) {
      if (status.ok()) status = resnet.Load(ops, stream);
    }
    if (status.ok() && block.upsampler != nullptr) status = block.upsampler->Load(ops);
  }
  if (status.ok()) status = norm_out_.Load(ops, stream);
  if (status.ok()) status = conv_out_.Load(ops);
  return status;
}

size_t AutoencoderKlDecoder::WorkspaceBytes(int height, int width) const {
  return Memory(config_, nullptr, height, width).bytes;
}

absl::Status AutoencoderKlDecoder::Run(kl::Canvas& canvas) const {
  absl::Status status = canvas.Apply(post_quant_conv_);
  if (!status.ok()) return status;
  Show("post_quant_conv", canvas.picture());
  if (status = canvas.Apply(conv_in_); !status.ok()) return status;
  Show("conv_in", canvas.picture());
  if (status = canvas.Apply(mid_); !status.ok()) return status;
  Show("mid_block", canvas.picture());
  for (size_t i = 0; i < up_blocks_.size(); ++i) {
    const UpBlock& block = up_blocks_[i];
    for (const kl::Resnet& resnet : block.resnets) {
      if (status = canvas.Apply(resnet); !status.ok()) return status;
    }
    if (block.upsampler != nullptr) {
      status = canvas.Upsample();
      if (status.ok()) status = canvas.Apply(*block.upsampler);
      if (!status.ok()) return status;
    }
    Show(absl::StrCat("up_block.", i), canvas.picture());
  }
  status = canvas.Apply(norm_out_, /*silu=*/true);
  if (status.ok()) status = canvas.Apply(conv_out_);
  if (status.ok()) Show("pixels", canvas.picture());
  return status;
}

absl::Status AutoencoderKlDecoder::Decode(const LatentView& latents, uint8_t* pixels,
                                          Stream& stream) {
  absl::StatusOr<char*> base = workspace_->Reserve(WorkspaceBytes(latents.height, latents.width));
  if (!base.ok()) return base.status();
  Memory memory(config_, *base, latents.height, latents.width);
  kl::Canvas& canvas = memory.canvas;
  absl::Status status = canvas.Begin(*ops_, stream, tables_staging_);
  if (status.ok()) status = ops_->CopyToDevice(memory.view, &latents, sizeof(latents), stream);
  if (!status.ok()) return status;

  // Patches of one latent each are the latents with channels last.
  canvas.Start(latents.height, latents.width, config_.latent_channels);
  const int64_t tokens = int64_t{latents.height} * latents.width;
  status = ops_->Patchify(
      {.views = memory.view,
       .patch = 1,
       .tokens = Tensor(canvas.picture().data, DType::kF32, {tokens, config_.latent_channels})},
      canvas.batch(), stream);
  if (status.ok()) status = Run(canvas);
  if (status.ok()) status = ops_->ToPixels(canvas.picture(), memory.pixels, stream);
  if (status.ok()) {
    status = ops_->CopyToHost(pixels, memory.pixels.data, memory.pixels.bytes(), stream);
  }
  if (!status.ok()) return status;
  return stream.Synchronize();
}

}  // namespace darkroom
