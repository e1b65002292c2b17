#pragma once

#include "absl/status/status.h"
#include "darkroom/ops.h"
#include "device/cuda/cuda_stream.h"
#include "kernels/common/device_traits.h"
#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/ops/pointwise/pointwise.h"

// The ops of the contract on the kernels. Each checks its arguments and launches on a stream that
// was entered.
namespace darkroom::cuda {

// REQUIRES: f32 or bf16, which op_check.h sees to.
inline kernels::DType KernelDType(DType dtype) {
  return dtype == DType::kBf16 ? kernels::DType::kBf16 : kernels::DType::kF32;
}

inline kernels::DenseTensor Dense(const Tensor& tensor) {
  return {tensor.data, KernelDType(tensor.dtype), tensor.size()};
}

// The tables that kernels read.
kernels::PackedBatch KernelBatch(const PackedBatch& batch);

// The contract's strides are 0 where rows lie next to each other.
inline int64_t Or(int64_t stride, int64_t dense) { return stride != 0 ? stride : dense; }

// `x`, dense, as bf16 in `memory`, which is 16-byte aligned.
absl::Status ConvertToBf16(const Tensor& x, void* memory, CudaStream& stream);

absl::Status Linear(const kernels::DeviceTraits& device, const LinearArgs& args,
                    const PackedBatch& batch, CudaStream& stream);
absl::Status LayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch,
                               CudaStream& stream);
absl::Status Norm(const NormArgs& args, const PackedBatch& batch, CudaStream& stream);
absl::Status QkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch, CudaStream& stream);
absl::Status Attention(const kernels::DeviceTraits& device, const AttentionArgs& args,
                       const PackedBatch& batch, CudaStream& stream);
absl::Status Patchify(const PatchifyArgs& args, const PackedBatch& batch, CudaStream& stream);
absl::Status GatherRows(const GatherRowsArgs& args, const PackedBatch& batch, CudaStream& stream);
absl::Status TimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch,
                               CudaStream& stream);
absl::Status SamplerStep(const SamplerStepArgs& args, CudaStream& stream);
absl::Status Add(const Tensor& x, const Tensor& y, const Tensor& out, CudaStream& stream);
absl::Status Silu(const Tensor& x, const Tensor& out, CudaStream& stream);
absl::Status Conv2d(const Conv2dArgs& args, CudaStream& stream);
absl::Status GroupNorm(const GroupNormArgs& args, CudaStream& stream);
absl::Status Upsample2x(const Tensor& x, const Tensor& out, CudaStream& stream);
absl::Status ToPixels(const Tensor& x, const Tensor& out, CudaStream& stream);

}  // namespace darkroom::cuda
