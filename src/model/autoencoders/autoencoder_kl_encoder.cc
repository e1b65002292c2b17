#include "model/autoencoders/autoencoder_kl_encoder.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace darkroom {
namespace {

constexpr int64_t kPixelChannels = AutoencoderKlConfig::kPixelChannels;
// Bounds of the logarithm of the distribution's variance, as diffusers clamps it.
constexpr float kLogVarianceMin = -30.0f;
constexpr float kLogVarianceMax = 20.0f;

// The largest of all intermediate pictures.
int64_t BufferElements(const AutoencoderKlConfig& config, int64_t tokens) {
  int64_t pixels = tokens * config.factor() * config.factor();
  int64_t before = std::max<int64_t>(kPixelChannels, config.block_channels.front());
  int64_t largest = 0;
  for (size_t i = 0; i < config.block_channels.size(); ++i) {
    const int64_t channels = config.block_channels[i];
    largest = std::max(largest, pixels * std::max(before, channels));
    if (i + 1 < config.block_channels.size()) pixels /= 4;
    before = channels;
  }
  // Queries, keys and values of the mid attention lie side by side.
  return std::max(largest, tokens * std::max((config.mid_attention ? 3 : 1) * before,
                                             int64_t{2} * config.latent_channels));
}

}  // namespace

AutoencoderKlEncoder::AutoencoderKlEncoder(const AutoencoderKlConfig& config, Weights& weights)
    : config_(config) {
  int64_t before = config.block_channels.front();
  conv_in_.Take(weights, "encoder.conv_in", before, kPixelChannels, 3);
  const size_t levels = config.block_channels.size();
  down_blocks_.resize(levels);
  for (size_t i = 0; i < levels; ++i) {
    const int64_t channels = config.block_channels[i];
    down_blocks_[i].Take(weights, absl::StrCat("encoder.down_blocks.", i), before, channels,
                         config.layers_per_block, /*downsampled=*/i + 1 < levels);
    before = channels;
  }
  mid_.Take(weights, "encoder.mid_block", config);
  norm_out_.Take(weights, "encoder.conv_norm_out", before);
  const int64_t moments = int64_t{2} * config.latent_channels;
  conv_out_.Take(weights, "encoder.conv_out", moments, before, 3);
  if (config.quant_conv) quant_conv_.Take(weights, "quant_conv", moments, moments, 1);
}

absl::Status AutoencoderKlEncoder::Load(Ops& ops, Stream& stream) {
  ops_ = &ops;
  workspace_ = std::make_unique<Workspace>(ops);
  absl::Status status = conv_in_.Load(ops);
  for (kl::DownBlock& block : down_blocks_) {
    if (status.ok()) status = block.Load(ops, stream);
  }
  if (status.ok()) status = mid_.Load(ops, stream);
  if (status.ok()) status = norm_out_.Load(ops, stream);
  if (status.ok()) status = conv_out_.Load(ops);
  if (status.ok() && config_.quant_conv) status = quant_conv_.Load(ops);
  return status;
}

kl::Canvas AutoencoderKlEncoder::MakeCanvas(char* base, int height, int width) const {
  const int64_t tokens = int64_t{height} * width;
  return kl::Canvas(base, BufferElements(config_, tokens), tokens, config_.norm_groups);
}

size_t AutoencoderKlEncoder::WorkspaceBytes(int height, int width) const {
  return MakeCanvas(nullptr, height, width).bytes();
}

absl::Status AutoencoderKlEncoder::Run(kl::Canvas& canvas) const {
  absl::Status status = canvas.Apply(conv_in_);
  if (!status.ok()) return status;
  Show("conv_in", canvas.picture());
  for (size_t i = 0; i < down_blocks_.size(); ++i) {
    for (const kl::Resnet& resnet : down_blocks_[i].resnets) {
      if (status = canvas.Apply(resnet); !status.ok()) return status;
    }
    if (down_blocks_[i].downsampler != nullptr) {
      if (status = canvas.Apply(*down_blocks_[i].downsampler); !status.ok()) return status;
    }
    Show(absl::StrCat("down_block.", i), canvas.picture());
  }
  if (status = canvas.Apply(mid_); !status.ok()) return status;
  Show("mid_block", canvas.picture());
  status = canvas.Apply(norm_out_, /*silu=*/true);
  if (status.ok()) status = canvas.Apply(conv_out_);
  if (status.ok() && config_.quant_conv) status = canvas.Apply(quant_conv_);
  if (status.ok()) Show("moments", canvas.picture());
  return status;
}

absl::Status AutoencoderKlEncoder::Encode(const uint8_t* pixels, int height, int width,
                                          absl::Span<const float> noise, absl::Span<float> latents,
                                          Stream& stream) {
  absl::StatusOr<char*> base = workspace_->Reserve(WorkspaceBytes(height, width));
  if (!base.ok()) return base.status();
  kl::Canvas canvas = MakeCanvas(*base, height, width);
  absl::Status status = canvas.Begin(*ops_, stream, tables_staging_);
  if (!status.ok()) return status;
  canvas.Start(int64_t{height} * config_.factor(), int64_t{width} * config_.factor(),
               kPixelChannels);
  const Tensor& picture = canvas.picture();
  std::vector<float> values(static_cast<size_t>(picture.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 2.0f * (static_cast<float>(pixels[i]) / 255.0f) - 1.0f;
  }
  status = ops_->CopyToDevice(picture.data, values.data(), picture.bytes(), stream);
  if (status.ok()) status = Run(canvas);
  const auto channels = static_cast<size_t>(config_.latent_channels);
  std::vector<float> moments(2 * latents.size());
  if (status.ok()) {
    status = ops_->CopyToHost(moments.data(), canvas.picture().data, moments.size() * sizeof(float),
                              stream);
  }
  if (status.ok()) status = stream.Synchronize();
  if (!status.ok()) return status;

  const size_t area = latents.size() / channels;
  const auto shift = static_cast<float>(config_.shift_factor);
  const auto scaling = static_cast<float>(config_.scaling_factor);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t i = 0; i < area; ++i) {
      const float* moment = moments.data() + i * 2 * channels;
      const float log_variance = std::clamp(moment[channels + c], kLogVarianceMin, kLogVarianceMax);
      const float sample = moment[c] + std::exp(0.5f * log_variance) * noise[c * area + i];
      latents[c * area + i] = (sample - shift) * scaling;
    }
  }
  return absl::OkStatus();
}

}  // namespace darkroom
