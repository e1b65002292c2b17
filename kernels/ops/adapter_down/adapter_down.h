#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/adapters.h"
#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// adapters.hidden[level, r] = weight * (x[r] down^T) for the rows of every range, with f32
// accumulation, rounded once: what Linear adds up^T of. Products are of bf16 when x and the
// adapters are (tensor cores), else of f32.
struct AdapterDownArgs {
  PackedBatch batch;  // capacity, live_rows
  int64_t in_features = 0;
  const void* x = nullptr;  // [capacity, in_features], f32 or bf16
  DType x_dtype = DType::kF32;
  Adapters adapters;
};

enum class AdapterDownKernel : uint8_t {
  kSimt,  // any shape and dtype, on the ordinary units
  kSm80,  // mma.sync
};

Result ValidateAdapterDown(const AdapterDownArgs& args);

// Follows from dtypes, shape and alignment alone. REQUIRES: ValidateAdapterDown(args).ok().
AdapterDownKernel ChooseAdapterDownKernel(const AdapterDownArgs& args);

// On `stream`. What of `hidden` no range covers is not written, nor are rows at and beyond the live
// count. A row's bits depend on nothing but itself and its adapters.
Result AdapterDown(const AdapterDownArgs& args, cudaStream_t stream);

// One kernel each; REQUIRES that the arguments are valid and fit it.
Result AdapterDownSimt(const AdapterDownArgs& args, cudaStream_t stream);
Result AdapterDownSm80(const AdapterDownArgs& args, cudaStream_t stream);

}  // namespace darkroom::kernels
