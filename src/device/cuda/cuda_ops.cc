#include "device/cuda/cuda_ops.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "device/cuda/cuda_error.h"
#include "device/cuda/cuda_memory.h"
#include "device/cuda/linear_weight.h"
#include "device/op_check.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather_rows/gather_rows.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/ops/patchify/patchify.h"
#include "kernels/ops/pointwise/pointwise.h"
#include "kernels/ops/qk_norm_rope/qk_norm_rope.h"
#include "kernels/ops/row_norm/row_norm.h"
#include "kernels/ops/sampler_step/sampler_step.h"
#include "kernels/ops/timestep_embedding/timestep_embedding.h"

namespace darkroom {
namespace {

using cuda::ToStatus;

// Checked before: f32 or bf16.
kernels::DType KernelDType(DType dtype) {
  return dtype == DType::kBf16 ? kernels::DType::kBf16 : kernels::DType::kF32;
}

kernels::PackedBatch KernelBatch(const PackedBatch& batch) {
  return {.capacity = batch.capacity,
          .sequences_max = batch.sequences_max,
          .live_rows = batch.live_rows,
          .live_sequences = batch.live_sequences,
          .boundaries = batch.boundaries,
          .row_to_sequence = batch.row_to_sequence,
          .prefix_boundaries = batch.prefix_boundaries};
}

kernels::DenseTensor Dense(const Tensor& tensor) {
  return {tensor.data, KernelDType(tensor.dtype), tensor.size()};
}

int64_t Or(int64_t stride, int64_t dense) { return stride != 0 ? stride : dense; }

cudaStream_t Of(Stream& stream) { return static_cast<cuda::CudaStream&>(stream).get(); }

absl::Status NotOnCuda(const char* op) {
  return Error(absl::StatusCode::kUnimplemented, "OP_NOT_ON_CUDA",
               absl::StrCat(op, " has no CUDA kernel yet; run this stage on the CPU backend"));
}

class CudaOps : public Ops {
 public:
  CudaOps(int device, kernels::DeviceTraits traits) : device_(device), traits_(traits) {}

  std::string DeviceName() const override { return absl::StrCat("cuda:", device_, " ", Isa()); }
  std::string Isa() const override {
    return absl::StrCat("sm_", traits_.compute_capability,
                        traits_.compute_capability == 90 ? "a" : "");
  }
  std::string Libraries() const override { return absl::StrCat("cuda ", CUDART_VERSION); }
  bool Supports(DType dtype) const override {
    return dtype == DType::kF32 || dtype == DType::kBf16;
  }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) override {
    auto memory = cuda::DeviceMemory::Make(bytes);
    if (!memory.ok()) return memory.status();
    return std::make_unique<cuda::CudaBuffer>(*std::move(memory));
  }
  std::unique_ptr<Stream> CreateStream() override { return std::make_unique<cuda::CudaStream>(); }
  absl::Status CopyToDevice(void* device, const void* host, size_t bytes, Stream& stream) override {
    return ToStatus(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, Of(stream)),
                    "CopyToDevice");
  }
  absl::Status CopyToHost(void* host, const void* device, size_t bytes, Stream& stream) override {
    return ToStatus(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, Of(stream)),
                    "CopyToHost");
  }

  // Device memory is not shared between processes.
  absl::Status BeginWeights(const SharedWeights* shared) override {
    if (shared == nullptr || shared->segments.empty()) return absl::OkStatus();
    return Error(absl::StatusCode::kFailedPrecondition, "SHARED_WEIGHTS_MISMATCH",
                 "BeginWeights: the CUDA backend shares no weights");
  }
  absl::StatusOr<SharedWeights> EndWeights() override { return SharedWeights(); }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> PackTable(
      std::string_view, size_t bytes, absl::FunctionRef<void(void*)> write) override {
    std::vector<char> host(bytes);
    write(host.data());
    auto buffer = Allocate(bytes);
    if (!buffer.ok()) return buffer.status();
    absl::Status status = ToStatus(
        cudaMemcpy((*buffer)->data(), host.data(), bytes, cudaMemcpyHostToDevice), "PackTable");
    if (!status.ok()) return status;
    return buffer;
  }
  using Ops::PackLinear;
  absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(absl::Span<const LinearPart> parts,
                                                           DType compute) override {
    return cuda::PackLinear(parts, compute);
  }
  absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(const Tensor&, const Tensor&, int,
                                                       const ConvPadding&, DType) override {
    return NotOnCuda("PackConv");
  }

  absl::Status Linear(const LinearArgs& args, const PackedBatch& batch, Stream& stream) override;
  absl::Status LayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch,
                                 Stream& stream) override;
  absl::Status Norm(const NormArgs& args, const PackedBatch& batch, Stream& stream) override;
  absl::Status QkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch,
                          Stream& stream) override;
  absl::Status Attention(const AttentionArgs& args, const PackedBatch& batch,
                         Stream& stream) override;
  absl::Status Patchify(const PatchifyArgs& args, const PackedBatch& batch,
                        Stream& stream) override;
  absl::Status GatherRows(const GatherRowsArgs& args, const PackedBatch& batch,
                          Stream& stream) override;
  absl::Status TimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch,
                                 Stream& stream) override;
  absl::Status SamplerStep(const SamplerStepArgs& args, Stream& stream) override;
  absl::Status Add(const Tensor& x, const Tensor& y, const Tensor& out, Stream& stream) override {
    if (absl::Status status = CheckAdd(x, y, out); !status.ok()) return status;
    return ToStatus("Add", kernels::Add(Dense(x), Dense(y), Dense(out), Of(stream)));
  }
  absl::Status Silu(const Tensor& x, const Tensor& out, Stream& stream) override {
    if (absl::Status status = CheckSilu(x, out); !status.ok()) return status;
    return ToStatus("Silu", kernels::Silu(Dense(x), Dense(out), Of(stream)));
  }

  absl::Status Conv2d(const Conv2dArgs&, Stream&) override { return NotOnCuda("Conv2d"); }
  absl::Status GroupNorm(const GroupNormArgs&, Stream&) override { return NotOnCuda("GroupNorm"); }
  absl::Status Upsample2x(const Tensor&, const Tensor&, Stream&) override {
    return NotOnCuda("Upsample2x");
  }
  absl::Status ToPixels(const Tensor&, const Tensor&, Stream&) override {
    return NotOnCuda("ToPixels");
  }

 private:
  // `x` in bf16, in scratch memory that grows while the largest shapes run once.
  absl::StatusOr<Tensor> AsBf16(const Tensor& x, cudaStream_t stream);

  const int device_;
  const kernels::DeviceTraits traits_;
  cuda::DeviceMemory scratch_;
};

absl::StatusOr<Tensor> CudaOps::AsBf16(const Tensor& x, cudaStream_t stream) {
  const size_t bytes = static_cast<size_t>(x.size()) * ByteSize(DType::kBf16);
  if (bytes > scratch_.size()) {
    // What still reads the old one must have ended.
    if (absl::Status status = ToStatus(cudaStreamSynchronize(stream), "Linear"); !status.ok()) {
      return status;
    }
    auto larger = cuda::DeviceMemory::Make(bytes);
    if (!larger.ok()) return larger.status();
    scratch_ = *std::move(larger);
  }
  const Tensor converted(scratch_.data(), DType::kBf16, {x.dims[0], x.dims[1]});
  if (absl::Status status =
          ToStatus("Linear", kernels::Convert(Dense(x), Dense(converted), stream));
      !status.ok()) {
    return status;
  }
  return converted;
}

absl::Status CudaOps::Linear(const LinearArgs& args, const PackedBatch& batch, Stream& stream) {
  if (absl::Status status = CheckLinear(args, batch); !status.ok()) return status;
  const auto& weight = static_cast<const cuda::CudaLinearWeight&>(*args.weight);
  Tensor x = args.x;
  if (weight.compute() == DType::kBf16 && x.dtype != DType::kBf16) {
    auto converted = AsBf16(x, Of(stream));
    if (!converted.ok()) return converted.status();
    x = *converted;
  }
  kernels::LinearArgs linear{.batch = KernelBatch(batch),
                             .in_features = weight.in_features(),
                             .out_features = weight.out_features(),
                             .x = x.data,
                             .x_dtype = KernelDType(x.dtype),
                             .weight = weight.weight(),
                             .weight_dtype = KernelDType(weight.stored()),
                             .bias = weight.bias(),
                             .activation = static_cast<kernels::Activation>(args.activation),
                             .residual = args.residual.data,
                             .residual_dtype = KernelDType(args.residual.dtype),
                             .gate = args.gate.as<const float>(),
                             .gate_stride = Or(args.gate_stride, weight.out_features()),
                             .factor = args.factor.data,
                             .factor_dtype = KernelDType(args.factor.dtype),
                             .out = args.out.data,
                             .out_dtype = KernelDType(args.out.dtype),
                             .out_stride = Or(args.out_stride, weight.out_features())};
  if (weight.compute() == DType::kBf16) {
    return ToStatus("Linear", kernels::Linear(linear, traits_, Of(stream)));
  }
  if (kernels::Result valid = kernels::ValidateLinear(linear); !valid.ok()) {
    return ToStatus("Linear", valid);
  }
  return ToStatus("Linear", kernels::LinearSimt(linear, Of(stream)));
}

absl::Status CudaOps::LayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch,
                                        Stream& stream) {
  if (absl::Status status = CheckLayerNormModulate(args, batch); !status.ok()) return status;
  const int64_t dim = args.x.dims[1];
  return ToStatus("LayerNormModulate",
                  kernels::RowNorm({.batch = KernelBatch(batch),
                                    .x = args.x.data,
                                    .x_dtype = KernelDType(args.x.dtype),
                                    .dim = dim,
                                    .epsilon = args.epsilon,
                                    .scale = args.scale.as<const float>(),
                                    .shift = args.shift.as<const float>(),
                                    .modulation_stride = Or(args.modulation_stride, dim),
                                    .out = args.out.data,
                                    .out_dtype = KernelDType(args.out.dtype)},
                                   Of(stream)));
}

absl::Status CudaOps::Norm(const NormArgs& args, const PackedBatch& batch, Stream& stream) {
  if (absl::Status status = CheckNorm(args, batch); !status.ok()) return status;
  return ToStatus("Norm", kernels::RowNorm({.batch = KernelBatch(batch),
                                            .x = args.x.data,
                                            .x_dtype = KernelDType(args.x.dtype),
                                            .dim = args.x.dims[1],
                                            .rms = args.rms,
                                            .epsilon = args.epsilon,
                                            .weight = args.weight.as<const float>(),
                                            .bias = args.bias.as<const float>(),
                                            .out = args.out.data,
                                            .out_dtype = KernelDType(args.out.dtype)},
                                           Of(stream)));
}

absl::Status CudaOps::QkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch,
                                 Stream& stream) {
  if (absl::Status status = CheckQkNormRope(args, batch); !status.ok()) return status;
  const int64_t heads = args.qkv.dims[2];
  const int64_t head_dim = args.qkv.dims[3];
  return ToStatus("QkNormRope",
                  kernels::QkNormRope({.batch = KernelBatch(batch),
                                       .qkv = args.qkv.data,
                                       .dtype = KernelDType(args.qkv.dtype),
                                       .heads = static_cast<int32_t>(heads),
                                       .head_dim = static_cast<int32_t>(head_dim),
                                       .row_stride = Or(args.row_stride, 3 * heads * head_dim),
                                       .q_weight = args.q_weight.as<const float>(),
                                       .k_weight = args.k_weight.as<const float>(),
                                       .epsilon = args.epsilon,
                                       .cos = args.cos.as<const float>(),
                                       .sin = args.sin.as<const float>()},
                                      Of(stream)));
}

absl::Status CudaOps::Attention(const AttentionArgs& args, const PackedBatch& batch,
                                Stream& stream) {
  if (absl::Status status = CheckAttention(args, batch); !status.ok()) return status;
  if (args.k.dtype != args.q.dtype || args.v.dtype != args.q.dtype) {
    return absl::InvalidArgumentError("Attention: q, k and v must have one dtype on CUDA");
  }
  const int64_t width = args.q.dims[1] * args.q.dims[2];
  return ToStatus("Attention", kernels::Attention({.batch = KernelBatch(batch),
                                                   .q = args.q.data,
                                                   .k = args.k.data,
                                                   .v = args.v.data,
                                                   .dtype = KernelDType(args.q.dtype),
                                                   .heads = static_cast<int32_t>(args.q.dims[1]),
                                                   .head_dim = static_cast<int32_t>(args.q.dims[2]),
                                                   .row_stride = Or(args.row_stride, width),
                                                   .scale = args.scale,
                                                   .causal = args.causal,
                                                   .position_bias = args.position_bias,
                                                   .position_span = args.position_span,
                                                   .out = args.out.data,
                                                   .out_dtype = KernelDType(args.out.dtype),
                                                   .out_stride = Or(args.out_stride, width)},
                                                  Of(stream)));
}

absl::Status CudaOps::Patchify(const PatchifyArgs& args, const PackedBatch& batch, Stream& stream) {
  if (absl::Status status = CheckPatchify(args, batch); !status.ok()) return status;
  const int64_t channels = args.tokens.dims[1] / (int64_t{args.patch} * args.patch);
  return ToStatus(
      "Patchify",
      kernels::Patchify({.batch = KernelBatch(batch),
                         .views = reinterpret_cast<const kernels::LatentView*>(args.views),
                         .patch = args.patch,
                         .channels = static_cast<int32_t>(channels),
                         .tokens = args.tokens.data,
                         .dtype = KernelDType(args.tokens.dtype)},
                        Of(stream)));
}

absl::Status CudaOps::GatherRows(const GatherRowsArgs& args, const PackedBatch& batch,
                                 Stream& stream) {
  if (absl::Status status = CheckGatherRows(args, batch); !status.ok()) return status;
  return ToStatus("GatherRows", kernels::GatherRows({.batch = KernelBatch(batch),
                                                     .sources = args.sources,
                                                     .dim = args.out.dims[1],
                                                     .out = args.out.as<float>()},
                                                    Of(stream)));
}

absl::Status CudaOps::TimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch,
                                        Stream& stream) {
  if (absl::Status status = CheckTimestepEmbedding(args, batch); !status.ok()) return status;
  return ToStatus("TimestepEmbedding",
                  kernels::TimestepEmbedding({.batch = KernelBatch(batch),
                                              .timesteps = args.timesteps,
                                              .downscale_freq_shift = args.downscale_freq_shift,
                                              .flip_sin_to_cos = args.flip_sin_to_cos,
                                              .max_period = args.max_period,
                                              .dim = args.out.dims[1],
                                              .out = args.out.as<float>()},
                                             Of(stream)));
}

absl::Status CudaOps::SamplerStep(const SamplerStepArgs& args, Stream& stream) {
  if (absl::Status status = CheckSamplerStep(args); !status.ok()) return status;
  return ToStatus("SamplerStep",
                  kernels::SamplerStep(
                      {.updates = reinterpret_cast<const kernels::SamplerUpdate*>(args.updates),
                       .jobs = args.jobs,
                       .elements_max = args.model_output.size(),
                       .patch = args.patch,
                       .channels_last = args.channels_last,
                       .model_channels = args.model_channels,
                       .model_output = args.model_output.data,
                       .dtype = KernelDType(args.model_output.dtype)},
                      Of(stream)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ops>> CreateCudaOps(int device) {
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found != cudaSuccess || device < 0 || device >= devices) {
    return Error(absl::StatusCode::kUnavailable, "NO_CUDA_DEVICE",
                 absl::StrCat("CUDA device ", device, " is not there: this machine has ", devices,
                              " (", cudaGetErrorString(found), ")"));
  }
  int major = 0;
  int minor = 0;
  kernels::DeviceTraits traits;
  for (const auto& [value, attribute] :
       {std::pair(&major, cudaDevAttrComputeCapabilityMajor),
        std::pair(&minor, cudaDevAttrComputeCapabilityMinor),
        std::pair(&traits.multiprocessors, cudaDevAttrMultiProcessorCount)}) {
    if (absl::Status status =
            ToStatus(cudaDeviceGetAttribute(value, attribute, device), "cudaDeviceGetAttribute");
        !status.ok()) {
      return status;
    }
  }
  traits.compute_capability = 10 * major + minor;
  constexpr int kOldest = 80;
  if (traits.compute_capability < kOldest) {
    return Error(absl::StatusCode::kFailedPrecondition, "CUDA_DEVICE_TOO_OLD",
                 absl::StrCat("CUDA device ", device, " has compute capability ", major, ".", minor,
                              "; 8.0 or newer is needed"));
  }
  if (absl::Status status = ToStatus(cudaSetDevice(device), "cudaSetDevice"); !status.ok()) {
    return status;
  }
  return std::make_unique<CudaOps>(device, traits);
}

}  // namespace darkroom
