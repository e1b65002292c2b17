#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "darkroom/packed_batch.h"
#include "darkroom/tensor.h"
#include "device/cpu/context.h"

namespace darkroom::cpu {

// The bodies of the CPU backend's ops, one file per family; CpuOps locks and forwards. Contracts
// are those of include/darkroom/ops.h. REQUIRES of all: the context's mutex is held.

absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(Context& context,
                                                         absl::Span<const LinearPart> parts,
                                                         DType compute);
absl::Status Linear(Context& context, const LinearArgs& args, const PackedBatch& batch);

absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(Context& context, const Tensor& weight,
                                                     const Tensor& bias, int stride,
                                                     const ConvPadding& padding, DType compute);
absl::Status Conv2d(Context& context, const Conv2dArgs& args);

absl::Status LayerNormModulate(Context& context, const LayerNormModulateArgs& args,
                               const PackedBatch& batch);
absl::Status Norm(Context& context, const NormArgs& args, const PackedBatch& batch);
absl::Status QkNormRope(Context& context, const QkNormRopeArgs& args, const PackedBatch& batch);
absl::Status GroupNorm(Context& context, const GroupNormArgs& args);

absl::Status Attention(Context& context, const AttentionArgs& args, const PackedBatch& batch);

absl::Status Patchify(Context& context, const PatchifyArgs& args, const PackedBatch& batch);
absl::Status GatherRows(Context& context, const GatherRowsArgs& args, const PackedBatch& batch);
absl::Status TimestepEmbedding(Context& context, const TimestepEmbeddingArgs& args,
                               const PackedBatch& batch);
absl::Status SamplerStep(Context& context, const SamplerStepArgs& args);

absl::Status Add(Context& context, const Tensor& x, const Tensor& y, const Tensor& out);
absl::Status Silu(Context& context, const Tensor& x, const Tensor& out);
absl::Status Upsample2x(Context& context, const Tensor& x, const Tensor& out);
absl::Status ToPixels(Context& context, const Tensor& x, const Tensor& out);

}  // namespace darkroom::cpu
