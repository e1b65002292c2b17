#include "kernels/ops/linear/linear.h"

#include <span>
#include <string>

#include "kernels/common/alignment.h"
#include "kernels/common/limits.h"
#include "kernels/common/validate.h"

namespace darkroom::kernels {
namespace {

struct Tile {
  int rows;
  int columns;
};
// The widest first: of two tiles that need equally many waves, it reads less.
constexpr Tile kTilesSm80[] = {{128, 128}, {64, 128}, {64, 64}};
constexpr Tile kTilesSm90[] = {{128, 256}, {128, 128}};

Result CheckBesideOut(const char* name, const void* data, DType dtype, const LinearArgs& args) {
  if (data == nullptr) return {};
  if (!IsRowDType(dtype)) return Result::Invalid(std::string(name) + " must be f32 or bf16");
  if (data != args.out) return CheckElements(name, data, dtype);
  if (dtype != args.out_dtype) {
    return Result::Invalid(std::string(name) + " is out, so both must have one dtype");
  }
  if (args.out_stride != args.out_features) {
    return Result::Invalid(std::string(name) + " is out, so out_stride must be " +
                           std::to_string(args.out_features));
  }
  return {};
}

// Time of the whole product in units of one tile's time on a multiprocessor, if those did nothing
// else: waves times the tile's area.
int64_t CostOf(const Tile& tile, const LinearArgs& args, int multiprocessors) {
  const int64_t tiles = ((args.batch.capacity + tile.rows - 1) / tile.rows) *
                        ((args.out_features + tile.columns - 1) / tile.columns);
  return (tiles + multiprocessors - 1) / multiprocessors * tile.rows * tile.columns;
}

}  // namespace

Result ValidateLinear(const LinearArgs& args) {
  Result result =
      FirstError(CheckRange("capacity", args.batch.capacity, 1, kRowsMax),
                 CheckRange("in_features", args.in_features, 1, kFeaturesMax),
                 CheckRange("out_features", args.out_features, 1, kFeaturesMax),
                 CheckRange("out_stride", args.out_stride, args.out_features, INT64_MAX),
                 CheckPresent("live_rows", args.batch.live_rows), CheckPresent("x", args.x),
                 CheckPresent("weight", args.weight), CheckPresent("out", args.out));
  if (!result.ok()) return result;
  if (!IsRowDType(args.x_dtype) || !IsRowDType(args.weight_dtype) || !IsRowDType(args.out_dtype)) {
    return Result::Invalid("x, weight and out must be f32 or bf16");
  }
  result = FirstError(CheckElements("x", args.x, args.x_dtype),
                      CheckElements("weight", args.weight, args.weight_dtype),
                      CheckElements("bias", args.bias, DType::kF32),
                      CheckElements("gate", args.gate, DType::kF32),
                      CheckElements("out", args.out, args.out_dtype));
  if (!result.ok()) return result;
  if (args.x == args.out) return Result::Invalid("out must not be x");
  if (args.factor != nullptr && (args.gate != nullptr || args.residual != nullptr)) {
    return Result::Invalid("factor goes not with gate or residual");
  }
  if (args.adapters.ranges != nullptr) {
    if (result = ValidateAdapters(args.adapters); !result.ok()) return result;
  }
  if (args.gate != nullptr) {
    result = FirstError(CheckPresent("row_to_sequence", args.batch.row_to_sequence),
                        CheckRange("gate_stride", args.gate_stride, args.out_features, INT64_MAX));
    if (!result.ok()) return result;
  }
  return FirstError(CheckBesideOut("residual", args.residual, args.residual_dtype, args),
                    CheckBesideOut("factor", args.factor, args.factor_dtype, args));
}

LinearConfig ChooseLinearConfig(const LinearArgs& args, const DeviceTraits& device) {
  const bool tensor_cores = args.x_dtype == DType::kBf16 && args.weight_dtype == DType::kBf16 &&
                            args.in_features % kVectorElements == 0 && IsAligned16(args.x) &&
                            IsAligned16(args.weight);
  if (!tensor_cores) return {.kernel = LinearKernel::kSimt};
  const bool hopper = device.compute_capability == 90;
  LinearConfig config{.kernel = hopper ? LinearKernel::kSm90 : LinearKernel::kSm80,
                      .multiprocessors = device.multiprocessors};
  int64_t best = INT64_MAX;
  for (const Tile& tile : hopper ? std::span<const Tile>(kTilesSm90) : kTilesSm80) {
    const int64_t cost = CostOf(tile, args, device.multiprocessors);
    if (cost >= best) continue;
    best = cost;
    config.tile_rows = tile.rows;
    config.tile_columns = tile.columns;
  }
  return config;
}

Result Linear(const LinearArgs& args, const DeviceTraits& device, cudaStream_t stream) {
  if (Result valid = ValidateLinear(args); !valid.ok()) return valid;
  const LinearConfig config = ChooseLinearConfig(args, device);
  if (config.kernel != LinearKernel::kSimt && args.adapters.ranges != nullptr &&
      args.adapters.dtype != DType::kBf16) {
    return Result::Invalid("adapters must be bf16 where x and weight are");
  }
  return LinearWith(args, config, stream);
}

Result LinearWith(const LinearArgs& args, const LinearConfig& config, cudaStream_t stream) {
  switch (config.kernel) {
    case LinearKernel::kSimt:
      return LinearSimt(args, stream);
    case LinearKernel::kSm80:
      return LinearSm80(args, config, stream);
    case LinearKernel::kSm90:
      return LinearSm90(args, config, stream);
  }
  return {};
}

}  // namespace darkroom::kernels
