#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/ops.h"

namespace darkroom::testing {

// The op contract as it reads, one loop per index, sums in float64: slow, and right by inspection.
// Backends are compared with it, and models are tested against it alone.
//
// Memory that it hands out begins as zeros, or with `poison` as NaN, so that a model that reads
// what nobody wrote is found out. Only live rows are computed. Everything is float32.
class ReferenceOps : public Ops {
 public:
  explicit ReferenceOps(bool poison = false) : poison_(poison) {}

  std::string DeviceName() const override { return "cpu reference"; }
  std::string Isa() const override { return "reference"; }
  std::string Libraries() const override { return "reference"; }
  bool Supports(DType dtype) const override { return dtype == DType::kF32; }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) override {
    ++allocations_;
    largest_allocation_bytes_ = std::max(largest_allocation_bytes_, bytes);
    if (std::exchange(fail_next_allocation_, false)) {
      return absl::ResourceExhaustedError("Allocate: as the test asked");
    }
    return std::unique_ptr<DeviceBuffer>(std::make_unique<Buffer>(bytes, poison_ ? 0xFF : 0));
  }
  // How often Allocate was called.
  int allocations() const { return allocations_; }
  size_t largest_allocation_bytes() const { return largest_allocation_bytes_; }
  void FailNextAllocation() { fail_next_allocation_ = true; }

  std::unique_ptr<Stream> CreateStream() override { return std::make_unique<NoStream>(); }
  absl::Status BindAdapter(LinearWeight&, int32_t, absl::Span<const AdapterPart>,
                           Stream&) override {
    return absl::UnimplementedError("BindAdapter: not in the reference");
  }
  absl::Status CopyToDevice(void* device, const void* host, size_t bytes, Stream&) override {
    std::memcpy(device, host, bytes);
    return absl::OkStatus();
  }
  absl::Status CopyToHost(void* host, const void* device, size_t bytes, Stream&) override {
    std::memcpy(host, device, bytes);
    return absl::OkStatus();
  }
  absl::Status CopyOnDevice(void* to, const void* from, size_t bytes, Stream&) override {
    std::memcpy(to, from, bytes);
    return absl::OkStatus();
  }

  // Nothing is shared.
  absl::Status BeginWeights(const SharedWeights*) override { return absl::OkStatus(); }
  absl::StatusOr<SharedWeights> EndWeights() override { return SharedWeights(); }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> PackTable(
      std::string_view, size_t bytes, absl::FunctionRef<void(void*)> write) override {
    auto buffer = Allocate(bytes);
    if (buffer.ok()) write((*buffer)->data());
    return buffer;
  }

  using Ops::PackLinear;
  absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(absl::Span<const LinearPart> parts,
                                                           DType) override {
    auto packed = std::make_unique<MatrixWeight>();
    for (const auto& [weight, bias] : parts) {
      if (!weight || weight.rank != 2) return Bad("PackLinear: weight");
      if (packed->out > 0 && weight.dim(1) != packed->in) return Bad("PackLinear: parts");
      if (bias && bias.size() != weight.dim(0)) return Bad("PackLinear: bias");
      packed->in = weight.dim(1);
      packed->out += weight.dim(0);
      for (int64_t i = 0; i < weight.size(); ++i) packed->weight.push_back(ToFloat(weight, i));
      for (int64_t i = 0; i < weight.dim(0); ++i) {
        packed->bias.push_back(bias ? ToFloat(bias, i) : 0.0f);
      }
    }
    return std::unique_ptr<LinearWeight>(std::move(packed));
  }

  absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(const Tensor& weight, const Tensor& bias,
                                                       int stride, const ConvPadding& padding,
                                                       DType) override {
    if (weight.dtype != DType::kF32 || weight.rank != 4) return Bad("PackConv: weight");
    auto packed = std::make_unique<KernelWeight>();
    packed->out = weight.dim(0);
    packed->in = weight.dim(1);
    packed->kernel = weight.dim(2);
    packed->stride = stride;
    packed->padding = padding;
    packed->weight.assign(weight.as<float>(), weight.as<float>() + weight.size());
    packed->bias.assign(static_cast<size_t>(packed->out), 0.0f);
    if (bias) std::copy_n(bias.as<float>(), packed->out, packed->bias.begin());
    return std::unique_ptr<ConvWeight>(std::move(packed));
  }

  absl::Status Linear(const LinearArgs& args, const PackedBatch& batch, Stream&) override {
    const auto& weight = static_cast<const MatrixWeight&>(*args.weight);
    if (args.x.dim(-1) != weight.in || args.out.dim(-1) != weight.out ||
        args.x.dim(0) != batch.capacity || args.out.dim(0) != batch.capacity) {
      return Bad("Linear: shapes");
    }
    const int64_t gate_stride = args.gate_stride != 0 ? args.gate_stride : weight.out;
    const int64_t out_stride = args.out_stride != 0 ? args.out_stride : weight.out;
    for (int64_t row = 0; row < *batch.live_rows; ++row) {
      const float* x = args.x.as<float>() + row * weight.in;
      for (int64_t o = 0; o < weight.out; ++o) {
        double sum = weight.bias[static_cast<size_t>(o)];
        for (int64_t i = 0; i < weight.in; ++i) {
          sum += static_cast<double>(x[i]) * weight.weight[static_cast<size_t>(o * weight.in + i)];
        }
        sum = Activate(args.activation, sum);
        if (args.gate) {
          sum *= args.gate.as<float>()[batch.row_to_sequence[row] * gate_stride + o];
        }
        if (args.residual) sum += args.residual.as<float>()[row * weight.out + o];
        if (args.factor) sum *= args.factor.as<float>()[row * weight.out + o];
        args.out.as<float>()[row * out_stride + o] = static_cast<float>(sum);
      }
    }
    return absl::OkStatus();
  }

  absl::Status LayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch,
                                 Stream&) override {
    const int64_t dim = args.x.dim(-1);
    if (args.out.dim(-1) != dim || args.x.dim(0) != batch.capacity) return Bad("LayerNorm: shapes");
    const int64_t stride = args.modulation_stride != 0 ? args.modulation_stride : dim;
    for (int64_t row = 0; row < *batch.live_rows; ++row) {
      const float* x = args.x.as<float>() + row * dim;
      double mean = 0;
      for (int64_t i = 0; i < dim; ++i) mean += x[i];
      mean /= static_cast<double>(dim);
      double variance = 0;
      for (int64_t i = 0; i < dim; ++i) variance += (x[i] - mean) * (x[i] - mean);
      variance /= static_cast<double>(dim);
      const double factor = 1.0 / std::sqrt(variance + args.epsilon);
      const int64_t sequence = batch.row_to_sequence[row];
      for (int64_t i = 0; i < dim; ++i) {
        double value = (x[i] - mean) * factor;
        if (args.scale) value *= 1.0 + args.scale.as<float>()[sequence * stride + i];
        if (args.shift) value += args.shift.as<float>()[sequence * stride + i];
        args.out.as<float>()[row * dim + i] = static_cast<float>(value);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Norm(const NormArgs& args, const PackedBatch& batch, Stream&) override {
    const int64_t dim = args.x.dim(-1);
    if (args.out.dim(-1) != dim || args.weight.size() != dim) return Bad("Norm: shapes");
    for (int64_t row = 0; row < *batch.live_rows; ++row) {
      const float* x = args.x.as<float>() + row * dim;
      double mean = 0;
      for (int64_t i = 0; i < dim && !args.rms; ++i) mean += x[i] / static_cast<double>(dim);
      double variance = 0;
      for (int64_t i = 0; i < dim; ++i) variance += (x[i] - mean) * (x[i] - mean);
      const double factor = 1.0 / std::sqrt(variance / static_cast<double>(dim) + args.epsilon);
      for (int64_t i = 0; i < dim; ++i) {
        const double bias = args.bias ? args.bias.as<float>()[i] : 0.0f;
        args.out.as<float>()[row * dim + i] =
            static_cast<float>((x[i] - mean) * factor * args.weight.as<float>()[i] + bias);
      }
    }
    return absl::OkStatus();
  }

  absl::Status QkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch, Stream&) override {
    const int64_t heads = args.qkv.dim(2);
    const int64_t head_dim = args.qkv.dim(3);
    const int64_t stride = args.row_stride != 0 ? args.row_stride : 3 * heads * head_dim;
    for (int64_t row = 0; row < *batch.live_rows; ++row) {
      for (int64_t head = 0; head < 2 * heads; ++head) {
        const Tensor& weight = head < heads ? args.q_weight : args.k_weight;
        float* x = args.qkv.as<float>() + row * stride + head * head_dim;
        double square = 0;
        for (int64_t i = 0; i < head_dim; ++i) square += static_cast<double>(x[i]) * x[i];
        const double factor =
            1.0 / std::sqrt(square / static_cast<double>(head_dim) + args.epsilon);
        std::vector<double> y(x, x + head_dim);
        for (int64_t i = 0; weight && i < head_dim; ++i) {
          y[static_cast<size_t>(i)] *= factor * weight.as<float>()[i];
        }
        for (int64_t i = 0; i < head_dim; ++i) {
          double value = y[static_cast<size_t>(i)];
          if (args.cos) {
            const int64_t angle = row * (head_dim / 2) + i / 2;
            const double pair = y[static_cast<size_t>(i ^ 1)];
            value = value * args.cos.as<float>()[angle] +
                    (i % 2 == 0 ? -pair : pair) * args.sin.as<float>()[angle];
          }
          x[i] = static_cast<float>(value);
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Attention(const AttentionArgs& args, const PackedBatch& batch, Stream&) override {
    for (int32_t sequence = 0; sequence < *batch.live_sequences; ++sequence) {
      std::vector<int64_t> rows;
      if (batch.prefix_boundaries != nullptr) {
        for (int64_t row = batch.prefix_boundaries[sequence];
             row < batch.prefix_boundaries[sequence + 1]; ++row) {
          rows.push_back(row);
        }
      }
      for (int64_t row = batch.boundaries[sequence]; row < batch.boundaries[sequence + 1]; ++row) {
        rows.push_back(row);
      }
      for (int64_t head = 0; head < args.q.dim(1); ++head) {
        for (size_t query = 0; query < rows.size(); ++query) Attend(args, rows, head, query);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Patchify(const PatchifyArgs& args, const PackedBatch& batch, Stream&) override {
    const int64_t features = args.tokens.dim(-1);
    for (int64_t row = 0; row < *batch.live_rows; ++row) {
      const int32_t sequence = batch.row_to_sequence[row];
      const LatentView& view = args.views[sequence];
      const int64_t token = row - batch.boundaries[sequence];
      const int64_t columns = view.width / args.patch;
      float* out = args.tokens.as<float>() + row * features;
      for (int64_t c = 0; c < view.channels; ++c) {
        for (int64_t y = 0; y < args.patch; ++y) {
          for (int64_t x = 0; x < args.patch; ++x) {
            const int64_t image_y = token / columns * args.patch + y;
            const int64_t image_x = token % columns * args.patch + x;
            *out++ = view.data[(c * view.height + image_y) * view.width + image_x];
          }
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status GatherRows(const GatherRowsArgs& args, const PackedBatch& batch, Stream&) override {
    const int64_t dim = args.out.dim(-1);
    if (args.out.dim(0) != batch.capacity) return Bad("GatherRows: shapes");
    for (int32_t s = 0; s < *batch.live_sequences; ++s) {
      const int64_t first = batch.boundaries[s];
      std::copy_n(args.sources[s], (batch.boundaries[s + 1] - first) * dim,
                  args.out.as<float>() + first * dim);
    }
    return absl::OkStatus();
  }

  absl::Status TimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch,
                                 Stream&) override {
    const int64_t dim = args.out.dim(-1);
    const int64_t half = dim / 2;
    for (int64_t row = 0; row < *batch.live_sequences; ++row) {
      float* out = args.out.as<float>() + row * dim;
      for (int64_t i = 0; i < half; ++i) {
        // Rounded to float32 wherever diffusers rounds: at timestep 1000 it shows in the fifth
        // digit.
        const float exponent = static_cast<float>(-std::log(args.max_period)) *
                               static_cast<float>(i) /
                               (static_cast<float>(half) - args.downscale_freq_shift);
        const float angle =
            args.timesteps[row] * static_cast<float>(std::exp(static_cast<double>(exponent)));
        const auto sine = static_cast<float>(std::sin(static_cast<double>(angle)));
        const auto cosine = static_cast<float>(std::cos(static_cast<double>(angle)));
        out[i] = args.flip_sin_to_cos ? cosine : sine;
        out[half + i] = args.flip_sin_to_cos ? sine : cosine;
      }
    }
    return absl::OkStatus();
  }

  absl::Status SamplerStep(const SamplerStepArgs& args, Stream&) override {
    const int64_t features = args.model_output.dim(-1);
    for (int32_t job = 0; job < args.jobs; ++job) {
      const SamplerUpdate& update = args.updates[job];
      const LatentView& view = update.latents;
      const int64_t columns = view.width / args.patch;
      for (int64_t c = 0; c < view.channels; ++c) {
        for (int64_t y = 0; y < view.height; ++y) {
          for (int64_t x = 0; x < view.width; ++x) {
            const int64_t token = y / args.patch * columns + x / args.patch;
            const int64_t in_patch = y % args.patch * args.patch + x % args.patch;
            const int64_t feature = args.channels_last ? in_patch * args.model_channels + c
                                                       : c * args.patch * args.patch + in_patch;
            const auto output = [&](int32_t first_row) -> double {
              return args.model_output.as<float>()[(first_row + token) * features + feature];
            };
            double model = output(update.conditional_row);
            if (update.unconditional_row >= 0) {
              const double base = output(update.unconditional_row);
              model = base + update.guidance * (model - base);
            }
            const int64_t index = (c * view.height + y) * view.width + x;
            const double sample = view.data[index];
            double next = update.sample * sample + update.model * model;
            if (update.history != nullptr) {
              next += static_cast<double>(update.history_in) * update.history[index];
              update.history[index] =
                  static_cast<float>(update.history_sample * sample + update.history_model * model);
            }
            if (update.mask != nullptr) {
              const double mask = update.mask[y * view.width + x];
              double keep = static_cast<double>(update.known_weight) * update.known[index];
              if (update.noise != nullptr) {
                keep += static_cast<double>(update.noise_weight) * update.noise[index];
              }
              next = mask * next + (1 - mask) * keep;
            }
            if (update.denoised != nullptr) {
              update.denoised[index] = static_cast<float>(update.denoised_sample * sample +
                                                          update.denoised_model * model);
            }
            view.data[index] = static_cast<float>(next);
          }
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Add(const Tensor& x, const Tensor& y, const Tensor& out, Stream&) override {
    if (x.size() != out.size() || x.size() % y.size() != 0) return Bad("Add: shapes");
    for (int64_t i = 0; i < x.size(); ++i) {
      out.as<float>()[i] = x.as<float>()[i] + y.as<float>()[i % y.size()];
    }
    return absl::OkStatus();
  }

  absl::Status Silu(const Tensor& x, const Tensor& out, Stream&) override {
    if (x.size() != out.size()) return Bad("Silu: shapes");
    for (int64_t i = 0; i < x.size(); ++i) {
      out.as<float>()[i] = static_cast<float>(Activate(Activation::kSilu, x.as<float>()[i]));
    }
    return absl::OkStatus();
  }

  absl::Status Conv2d(const Conv2dArgs& args, Stream&) override {
    const auto& weight = static_cast<const KernelWeight&>(*args.weight);
    const int64_t height = args.x.dim(0);
    const int64_t width = args.x.dim(1);
    if (args.x.dim(2) != weight.in || args.out.dim(2) != weight.out) return Bad("Conv2d: shapes");
    for (int64_t y = 0; y < args.out.dim(0); ++y) {
      for (int64_t x = 0; x < args.out.dim(1); ++x) {
        for (int64_t o = 0; o < weight.out; ++o) {
          double sum = weight.bias[static_cast<size_t>(o)];
          for (int64_t ky = 0; ky < weight.kernel; ++ky) {
            for (int64_t kx = 0; kx < weight.kernel; ++kx) {
              const int64_t in_y = y * weight.stride + ky - weight.padding.top;
              const int64_t in_x = x * weight.stride + kx - weight.padding.left;
              if (in_y < 0 || in_y >= height || in_x < 0 || in_x >= width) continue;
              for (int64_t i = 0; i < weight.in; ++i) {
                const int64_t tap = ((o * weight.in + i) * weight.kernel + ky) * weight.kernel + kx;
                sum +=
                    static_cast<double>(args.x.as<float>()[(in_y * width + in_x) * weight.in + i]) *
                    weight.weight[static_cast<size_t>(tap)];
              }
            }
          }
          const int64_t index = (y * args.out.dim(1) + x) * weight.out + o;
          if (args.residual) sum += args.residual.as<float>()[index];
          args.out.as<float>()[index] = static_cast<float>(sum);
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status GroupNorm(const GroupNormArgs& args, Stream&) override {
    const int64_t pixels = args.x.dim(0) * args.x.dim(1);
    const int64_t channels = args.x.dim(2);
    const int64_t size = channels / args.groups;
    for (int64_t group = 0; group < args.groups; ++group) {
      const auto each = [&](auto&& visit) {
        for (int64_t p = 0; p < pixels; ++p) {
          for (int64_t c = group * size; c < (group + 1) * size; ++c) visit(p * channels + c, c);
        }
      };
      double mean = 0;
      each([&](int64_t i, int64_t) { mean += args.x.as<float>()[i]; });
      mean /= static_cast<double>(pixels * size);
      double variance = 0;
      each([&](int64_t i, int64_t) { variance += std::pow(args.x.as<float>()[i] - mean, 2); });
      variance /= static_cast<double>(pixels * size);
      const double factor = 1.0 / std::sqrt(variance + args.epsilon);
      each([&](int64_t i, int64_t c) {
        double value = (args.x.as<float>()[i] - mean) * factor;
        value = value * args.gamma.as<float>()[c] + args.beta.as<float>()[c];
        if (args.silu) value = Activate(Activation::kSilu, value);
        args.out.as<float>()[i] = static_cast<float>(value);
      });
    }
    return absl::OkStatus();
  }

  absl::Status Upsample2x(const Tensor& x, const Tensor& out, Stream&) override {
    const int64_t width = x.dim(1);
    const int64_t channels = x.dim(2);
    for (int64_t row = 0; row < 2 * x.dim(0); ++row) {
      for (int64_t column = 0; column < 2 * width; ++column) {
        std::copy_n(x.as<float>() + (row / 2 * width + column / 2) * channels, channels,
                    out.as<float>() + (row * 2 * width + column) * channels);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ToPixels(const Tensor& x, const Tensor& out, Stream&) override {
    for (int64_t i = 0; i < x.size(); ++i) {
      const float unit = std::clamp(x.as<float>()[i] / 2 + 0.5f, 0.0f, 1.0f);
      out.as<uint8_t>()[i] = static_cast<uint8_t>(std::nearbyint(unit * 255.0f));
    }
    return absl::OkStatus();
  }

 private:
  class NoStream : public Stream {
   public:
    absl::Status Synchronize() override { return absl::OkStatus(); }
  };

  class Buffer : public DeviceBuffer {
   public:
    Buffer(size_t bytes, int fill)
        : data_(static_cast<char*>(std::aligned_alloc(64, (bytes / 64 + 1) * 64))), size_(bytes) {
      std::memset(data_, fill, bytes);
    }
    ~Buffer() override { std::free(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    void* data() override { return data_; }
    size_t size() const override { return size_; }

   private:
    char* data_;
    size_t size_;
  };

  struct MatrixWeight : LinearWeight {
    int64_t in_features() const override { return in; }
    int64_t out_features() const override { return out; }
    int64_t in = 0;
    int64_t out = 0;
    std::vector<float> weight;
    std::vector<float> bias;
  };

  struct KernelWeight : ConvWeight {
    int64_t in_channels() const override { return in; }
    int64_t out_channels() const override { return out; }
    int64_t in = 0;
    int64_t out = 0;
    int64_t kernel = 0;
    int stride = 1;
    ConvPadding padding;
    std::vector<float> weight;
    std::vector<float> bias;
  };

  // One query of one head over the rows of its sequence.
  static void Attend(const AttentionArgs& args, const std::vector<int64_t>& rows, int64_t head,
                     size_t query) {
    const int64_t heads = args.q.dim(1);
    const int64_t head_dim = args.q.dim(2);
    const int64_t stride = args.row_stride != 0 ? args.row_stride : heads * head_dim;
    const int64_t out_stride = args.out_stride != 0 ? args.out_stride : heads * head_dim;
    const int64_t offset = head * head_dim;
    const float* q = args.q.as<float>() + rows[query] * stride + offset;
    const size_t keys = args.causal ? query + 1 : rows.size();
    std::vector<double> scores(keys);
    for (size_t j = 0; j < keys; ++j) {
      const float* k = args.k.as<float>() + rows[j] * stride + offset;
      for (int64_t i = 0; i < head_dim; ++i) scores[j] += static_cast<double>(q[i]) * k[i];
      scores[j] *= args.scale;
      if (args.position_bias != nullptr) {
        const int64_t distance = static_cast<int64_t>(j) - static_cast<int64_t>(query);
        scores[j] += args.position_bias[head * (2 * int64_t{args.position_span} - 1) + distance +
                                        args.position_span - 1];
      }
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - largest);
    for (int64_t i = 0; i < head_dim; ++i) {
      double sum = 0;
      for (size_t j = 0; j < keys; ++j) {
        sum += scores[j] * args.v.as<float>()[rows[j] * stride + offset + i];
      }
      args.out.as<float>()[rows[query] * out_stride + offset + i] = static_cast<float>(sum / total);
    }
  }

  // Element of a weight, f32 or bf16.
  static float ToFloat(const Tensor& tensor, int64_t i) {
    if (tensor.dtype == DType::kF32) return tensor.as<float>()[i];
    const uint32_t bits = uint32_t{tensor.as<uint16_t>()[i]} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }

  static absl::Status Bad(const char* what) { return absl::InternalError(what); }

  static double Activate(Activation activation, double x) {
    switch (activation) {
      case Activation::kNone:
        return x;
      case Activation::kGeluTanh:
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      case Activation::kGelu:
        return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
      case Activation::kSilu:
        return x / (1 + std::exp(-x));
      case Activation::kQuickGelu:
        return x / (1 + std::exp(-1.702 * x));
      case Activation::kRelu:
        return std::max(x, 0.0);
    }
    return x;
  }

  bool poison_;
  int allocations_ = 0;
  size_t largest_allocation_bytes_ = 0;
  bool fail_next_allocation_ = false;
};

}  // namespace darkroom::testing
