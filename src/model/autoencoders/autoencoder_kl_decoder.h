#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "darkroom/ops.h"
#include "model/autoencoders/autoencoder_kl_config.h"
#include "model/autoencoders/autoencoder_kl_layers.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace darkroom {

// Decoder of the autoencoder of latent diffusion models (Rombach et al.), with the weights' names
// of diffusers' AutoencoderKL, also the old names of its attention. Float32 throughout: its
// activations overflow smaller types. Pictures are decoded whole, one at a time, without tiles.
//
// Thread: one at a time. Does not allocate once the largest size was seen.
class AutoencoderKlDecoder {
 public:
  // First pass: takes every tensor from `weights`, which must outlive the second.
  AutoencoderKlDecoder(const AutoencoderKlConfig& config, Weights& weights);
  // Second pass: packs the tensors.
  absl::Status Load(Ops& ops, Stream& stream);

  const AutoencoderKlConfig& config() const { return config_; }
  // Device memory for decoding latents of this size.
  size_t WorkspaceBytes(int height, int width) const;

  // Undoes scaling and shift of the latents and decodes them. `latents`: device memory. `pixels`:
  // host memory for u8 [height * factor, width * factor, 3]. Done when it returns.
  absl::Status Decode(const LatentView& latents, uint8_t* pixels, Stream& stream);

  // Called with intermediate results, [height, width, channels], for comparing layer by layer.
  using Probe = std::function<void(std::string_view name, const Tensor& tensor)>;
  void set_probe(Probe probe) { probe_ = std::move(probe); }

 private:
  struct UpBlock {
    std::vector<kl::Resnet> resnets;
    std::unique_ptr<kl::Conv> upsampler;  // after nearest-neighbour upsampling
  };
  struct Memory;

  void Take(Weights& weights);
  absl::Status LoadPostQuantConv(Ops& ops);
  absl::Status Run(kl::Canvas& canvas) const;
  void Show(std::string_view name, const Tensor& tensor) const {
    if (probe_) probe_(name, tensor);
  }

  AutoencoderKlConfig config_;
  kl::Conv post_quant_conv_, conv_in_, conv_out_;
  kl::MidBlock mid_;
  std::vector<UpBlock> up_blocks_;
  kl::Norm norm_out_;

  Ops* ops_ = nullptr;
  std::unique_ptr<Workspace> workspace_;
  std::vector<char> tables_staging_;
  Probe probe_;
};

}  // namespace darkroom
