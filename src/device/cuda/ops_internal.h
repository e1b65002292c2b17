#pragma once

#include "absl/status/status.h"
#include "darkroom/ops.h"
#include "device/cuda/cuda_stream.h"
#include "kernels/common/device_traits.h"
#include "kernels/common/dtype.h"

// The ops of the contract on the kernels. Each checks its arguments and launches on a stream that
// was entered.
namespace darkroom::cuda {

// REQUIRES: f32 or bf16, which op_check.h sees to.
inline kernels::DType KernelDType(DType dtype) {
  return dtype == DType::kBf16 ? kernels::DType::kBf16 : kernels::DType::kF32;
}

// `x`, dense and of 16-byte aligned memory, as bf16 in the stream's scratch.
absl::StatusOr<const void*> AsBf16(const Tensor& x, CudaStream& stream);

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
