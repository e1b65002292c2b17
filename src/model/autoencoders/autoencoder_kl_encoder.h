#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "model/autoencoders/autoencoder_kl_config.h"
#include "model/autoencoders/autoencoder_kl_layers.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace darkroom {

// Encoder of the autoencoder of latent diffusion models (Rombach et al.), with the weights' names
// of diffusers' AutoencoderKL. Float32 throughout. Pictures are encoded whole, one at a time.
//
// Thread: one at a time. Does not allocate on the device once the largest size was seen.
class AutoencoderKlEncoder {
 public:
  // First pass: takes every tensor from `weights`, which must outlive the second.
  AutoencoderKlEncoder(const AutoencoderKlConfig& config, Weights& weights);
  // Second pass: packs the tensors.
  absl::Status Load(Ops& ops, Stream& stream);

  // Device memory for encoding a picture of height * factor by width * factor pixels.
  size_t WorkspaceBytes(int height, int width) const;

  // Encodes `pixels` (host, u8 [height * factor, width * factor, 3]) to a normal distribution of
  // latents, takes the point `noise` of it (host, standard normal), and applies shift and scaling.
  // `noise` and `latents`: host, f32 [latent channels, height, width]. Done when it returns.
  absl::Status Encode(const uint8_t* pixels, int height, int width, absl::Span<const float> noise,
                      absl::Span<float> latents, Stream& stream);

  // Called with intermediate results, [height, width, channels], for comparing layer by layer.
  using Probe = std::function<void(std::string_view name, const Tensor& tensor)>;
  void set_probe(Probe probe) { probe_ = std::move(probe); }

 private:
  kl::Canvas MakeCanvas(char* base, int height, int width) const;
  absl::Status Run(kl::Canvas& canvas) const;
  void Show(std::string_view name, const Tensor& tensor) const {
    if (probe_) probe_(name, tensor);
  }

  AutoencoderKlConfig config_;
  kl::Conv conv_in_, conv_out_, quant_conv_;
  std::vector<kl::DownBlock> down_blocks_;
  kl::MidBlock mid_;
  kl::Norm norm_out_;

  Ops* ops_ = nullptr;
  std::unique_ptr<Workspace> workspace_;
  std::vector<char> tables_staging_;
  Probe probe_;
};

}  // namespace darkroom
