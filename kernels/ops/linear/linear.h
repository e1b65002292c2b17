#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/activation.h"
#include "kernels/common/adapters.h"
#include "kernels/common/device_traits.h"
#include "kernels/common/dtype.h"
#include "kernels/common/packed_batch.h"
#include "kernels/common/result.h"

namespace darkroom::kernels {

// Linear of the op contract (include/darkroom/ops.h): v = act(x W^T + adapters + bias) with f32
// accumulation, then with gate or residual out = residual + gate[seq] * v, or with factor out =
// factor * v. Products are of bf16 when x and weight are (tensor cores), else of f32.
struct LinearArgs {
  PackedBatch batch;  // capacity, live_rows; row_to_sequence with gate
  int64_t in_features = 0;
  int64_t out_features = 0;
  const void* x = nullptr;  // [capacity, in_features], f32 or bf16
  DType x_dtype = DType::kF32;
  const void* weight = nullptr;  // [out_features, in_features], f32 or bf16
  DType weight_dtype = DType::kF32;
  const float* bias = nullptr;  // [out_features] or null
  Activation activation = Activation::kNone;
  const void* residual = nullptr;  // [capacity, out_features] or null; may be `out`
  DType residual_dtype = DType::kF32;
  const float* gate = nullptr;   // [sequences_max, out_features] or null
  int64_t gate_stride = 0;       // elements between sequences' gates
  const void* factor = nullptr;  // [capacity, out_features] or null; may be `out`
  DType factor_dtype = DType::kF32;
  void* out = nullptr;  // [capacity, out_features], f32 or bf16
  DType out_dtype = DType::kF32;
  int64_t out_stride = 0;  // elements between rows of `out`
  // Without ranges: none. `hidden` is what AdapterDown wrote before; of bf16 for the tensor cores.
  Adapters adapters;
};

enum class LinearKernel : uint8_t {
  kSimt,  // any shape and dtype, on the ordinary units
  kSm80,  // mma.sync
  kSm90,  // wgmma
};

// A kernel and its tile. K is summed in one order by all tiles of a kernel, so that the tile, which
// follows the number of rows, never changes a bit; the kernel, which would, follows from what the
// model and the machine fix alone.
struct LinearConfig {
  LinearKernel kernel = LinearKernel::kSimt;
  int tile_rows = 0;
  int tile_columns = 0;
  int multiprocessors = 1;  // blocks of a kernel that is persistent
};

Result ValidateLinear(const LinearArgs& args);

// REQUIRES: ValidateLinear(args).ok().
LinearConfig ChooseLinearConfig(const LinearArgs& args, const DeviceTraits& device);

// On `stream`. Rows at and beyond the live count are not written.
Result Linear(const LinearArgs& args, const DeviceTraits& device, cudaStream_t stream);

// By the kernel and tile of `config` whatever the shape would choose: for tests and benchmarks.
Result LinearWith(const LinearArgs& args, const LinearConfig& config, cudaStream_t stream);

// One kernel each; REQUIRES that the arguments are valid and fit it, and a tile that it has.
Result LinearSimt(const LinearArgs& args, cudaStream_t stream);
Result LinearSm80(const LinearArgs& args, const LinearConfig& config, cudaStream_t stream);
Result LinearSm90(const LinearArgs& args, const LinearConfig& config, cudaStream_t stream);

}  // namespace darkroom::kernels
