#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "darkroom/ops.h"
#include "model/autoencoders/autoencoder_kl_config.h"
#include "model/linear_source.h"
#include "model/weights.h"
#include "model/workspace.h"

// What both halves of an AutoencoderKL are made of. Pictures are f32 [height, width, channels] on
// the device. Layers take their tensors first and are loaded after Weights::Check.
namespace darkroom::kl {

struct Conv {
  void Take(Weights& weights, const std::string& name, int64_t out, int64_t in, int64_t kernel);
  absl::Status Load(Ops& ops);
  int64_t out_channels() const { return weight->out_channels(); }

  Tensor weight_source;
  Tensor bias_source;
  int64_t kernel = 1;
  int stride = 1;
  ConvPadding padding;  // half the kernel on every side, unless it is set after Take
  std::unique_ptr<ConvWeight> weight;
};

struct Norm {
  void Take(Weights& weights, const std::string& name, int64_t channels);
  absl::Status Load(Ops& ops, Stream& stream);

  Tensor gamma_source;
  Tensor beta_source;
  std::unique_ptr<DeviceBuffer> gamma;
  std::unique_ptr<DeviceBuffer> beta;
};

struct Resnet {
  void Take(Weights& weights, const std::string& name, int64_t in, int64_t out);
  absl::Status Load(Ops& ops, Stream& stream);

  Norm norm1, norm2;
  Conv conv1, conv2;
  std::unique_ptr<Conv> shortcut;  // only where the number of channels changes
};

// One level on the way from pixels to latents, diffusers' DownEncoderBlock2D.
struct DownBlock {
  // Names from `name`.resnets.0 on. `downsampled`: all levels but the last are.
  void Take(Weights& weights, const std::string& name, int64_t in, int64_t out, int resnet_count,
            bool downsampled);
  absl::Status Load(Ops& ops, Stream& stream);

  std::vector<Resnet> resnets;
  std::unique_ptr<Conv> downsampler;  // stride 2, padded at the right and at the bottom; or none
};

// All pixels attend to each other with one head as wide as the picture has channels.
struct Attention {
  // Also under the names that diffusers gave them at first.
  void Take(Weights& weights, const std::string& name, int64_t channels);
  absl::Status Load(Ops& ops, Stream& stream);

  Norm norm;
  LinearSource q_source, k_source, v_source, out_source;
  std::unique_ptr<LinearWeight> qkv;
  std::unique_ptr<LinearWeight> out;
};

// The middle of either half.
struct MidBlock {
  void Take(Weights& weights, const std::string& name, const AutoencoderKlConfig& config);
  absl::Status Load(Ops& ops, Stream& stream);

  Resnet first, last;
  std::unique_ptr<Attention> attention;
};

// One picture on its way through the layers: it lies in one of three buffers, each of the largest
// size that occurs. Lives as long as the run.
class Canvas {
 public:
  // Sizes only when `base` is null. `elements`: of the largest picture. `tokens`: pixels where
  // attention is applied.
  Canvas(char* base, int64_t elements, int64_t tokens, int norm_groups);

  size_t bytes() const { return bytes_; }
  // Fills the tables for attention; before anything else.
  absl::Status Begin(Ops& ops, Stream& stream, std::vector<char>& staging);

  const Tensor& picture() const { return picture_; }
  // A picture of this size in buffer 0, as the current one. Its pixels are the caller's to write.
  void Start(int64_t height, int64_t width, int64_t channels);
  // One sequence of all pixels where attention is applied.
  const PackedBatch& batch() const { return batch_; }
  Ops& ops() const { return *ops_; }
  Stream& stream() const { return *stream_; }

  absl::Status Apply(const Conv& conv);
  absl::Status Apply(const Norm& norm, bool silu);
  absl::Status Apply(const Resnet& resnet);
  absl::Status Apply(const Attention& attention);
  absl::Status Apply(const MidBlock& block);
  // Doubles height and width by nearest neighbour.
  absl::Status Upsample();

 private:
  Tensor Spare(int index, int64_t height, int64_t width, int64_t channels) const {
    return Tensor(buffers_[(current_ + index) % 3], DType::kF32, {height, width, channels});
  }
  // A picture of the current size in one of the two spare buffers (1 or 2).
  Tensor Spare(int index, int64_t channels) const {
    return Spare(index, picture_.dim(0), picture_.dim(1), channels);
  }
  // Makes a spare buffer's picture the current one.
  void Advance(int index, const Tensor& picture) {
    current_ = (current_ + index) % 3;
    picture_ = picture;
  }
  absl::Status Normalize(const Norm& norm, bool silu, const Tensor& x, const Tensor& out);

  float* buffers_[3] = {};
  int current_ = 0;
  Tensor picture_;  // in buffers_[current_]
  char* tables_ = nullptr;
  int64_t tokens_;
  int norm_groups_;
  size_t bytes_ = 0;
  PackedBatch batch_;
  Ops* ops_ = nullptr;
  Stream* stream_ = nullptr;
};

}  // namespace darkroom::kl
