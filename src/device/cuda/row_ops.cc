#include "device/cuda/cuda_error.h"
#include "device/cuda/ops_internal.h"
#include "device/op_check.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather_rows/gather_rows.h"
#include "kernels/ops/patchify/patchify.h"
#include "kernels/ops/pointwise/pointwise.h"
#include "kernels/ops/qk_norm_rope/qk_norm_rope.h"
#include "kernels/ops/row_norm/row_norm.h"
#include "kernels/ops/sampler_step/sampler_step.h"
#include "kernels/ops/timestep_embedding/timestep_embedding.h"

// The transformers' ops, on rows of a packed batch.
namespace darkroom::cuda {

kernels::PackedBatch KernelBatch(const PackedBatch& batch) {
  return {.capacity = batch.capacity,
          .sequences_max = batch.sequences_max,
          .live_rows = batch.live_rows,
          .live_sequences = batch.live_sequences,
          .boundaries = batch.boundaries,
          .row_to_sequence = batch.row_to_sequence,
          .prefix_boundaries = batch.prefix_boundaries};
}

absl::Status LayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch,
                               CudaStream& stream) {
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
                                   stream.get()));
}

absl::Status Norm(const NormArgs& args, const PackedBatch& batch, CudaStream& stream) {
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
                                           stream.get()));
}

absl::Status QkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch, CudaStream& stream) {
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
                                      stream.get()));
}

absl::Status Attention(const kernels::DeviceTraits& device, const AttentionArgs& args,
                       const PackedBatch& batch, CudaStream& stream) {
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
                                                  device, stream.get()));
}

absl::Status Patchify(const PatchifyArgs& args, const PackedBatch& batch, CudaStream& stream) {
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
                        stream.get()));
}

absl::Status GatherRows(const GatherRowsArgs& args, const PackedBatch& batch, CudaStream& stream) {
  if (absl::Status status = CheckGatherRows(args, batch); !status.ok()) return status;
  return ToStatus("GatherRows", kernels::GatherRows({.batch = KernelBatch(batch),
                                                     .sources = args.sources,
                                                     .dim = args.out.dims[1],
                                                     .out = args.out.as<float>()},
                                                    stream.get()));
}

absl::Status TimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch,
                               CudaStream& stream) {
  if (absl::Status status = CheckTimestepEmbedding(args, batch); !status.ok()) return status;
  return ToStatus("TimestepEmbedding",
                  kernels::TimestepEmbedding({.batch = KernelBatch(batch),
                                              .timesteps = args.timesteps,
                                              .downscale_freq_shift = args.downscale_freq_shift,
                                              .flip_sin_to_cos = args.flip_sin_to_cos,
                                              .max_period = args.max_period,
                                              .dim = args.out.dims[1],
                                              .out = args.out.as<float>()},
                                             stream.get()));
}

absl::Status SamplerStep(const SamplerStepArgs& args, CudaStream& stream) {
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
                      stream.get()));
}

absl::Status Add(const Tensor& x, const Tensor& y, const Tensor& out, CudaStream& stream) {
  if (absl::Status status = CheckAdd(x, y, out); !status.ok()) return status;
  return ToStatus("Add", kernels::Add(Dense(x), Dense(y), Dense(out), stream.get()));
}

absl::Status Silu(const Tensor& x, const Tensor& out, CudaStream& stream) {
  if (absl::Status status = CheckSilu(x, out); !status.ok()) return status;
  return ToStatus("Silu", kernels::Silu(Dense(x), Dense(out), stream.get()));
}

}  // namespace darkroom::cuda
