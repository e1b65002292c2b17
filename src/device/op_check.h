#pragma once

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "darkroom/packed_batch.h"

namespace darkroom {

// What every backend refuses before it launches anything: wrong ranks, shapes, dtypes and missing
// pointers, as INVALID_ARGUMENT naming the op and the argument. These are programmers' errors,
// never a client's. Tables in device memory are not read here.
absl::Status CheckBatch(const char* op, const PackedBatch& batch);
absl::Status CheckPackLinear(absl::Span<const LinearPart> parts, DType compute);
// `in`, `columns`: the weight's in_features and its parts' out_features, which its backend knows.
absl::Status CheckBindAdapter(int64_t in, absl::Span<const int64_t> columns, int32_t adapter,
                              absl::Span<const AdapterPart> parts);
absl::Status CheckPackConv(const Tensor& weight, const Tensor& bias, int stride,
                           const ConvPadding& padding, DType compute);
absl::Status CheckLinear(const LinearArgs& args, const PackedBatch& batch);
absl::Status CheckLayerNormModulate(const LayerNormModulateArgs& args, const PackedBatch& batch);
absl::Status CheckNorm(const NormArgs& args, const PackedBatch& batch);
absl::Status CheckQkNormRope(const QkNormRopeArgs& args, const PackedBatch& batch);
absl::Status CheckAttention(const AttentionArgs& args, const PackedBatch& batch);
absl::Status CheckPatchify(const PatchifyArgs& args, const PackedBatch& batch);
absl::Status CheckGatherRows(const GatherRowsArgs& args, const PackedBatch& batch);
absl::Status CheckTimestepEmbedding(const TimestepEmbeddingArgs& args, const PackedBatch& batch);
absl::Status CheckSamplerStep(const SamplerStepArgs& args);
absl::Status CheckAdd(const Tensor& x, const Tensor& y, const Tensor& out);
absl::Status CheckSilu(const Tensor& x, const Tensor& out);
absl::Status CheckGroupNorm(const GroupNormArgs& args);
absl::Status CheckUpsample2x(const Tensor& x, const Tensor& out);
absl::Status CheckToPixels(const Tensor& x, const Tensor& out);

// `kernel`, `stride`, `padding`: the weight's, which only its backend knows.
absl::Status CheckConv2d(const Conv2dArgs& args, int64_t kernel, int stride,
                         const ConvPadding& padding);

}  // namespace darkroom
