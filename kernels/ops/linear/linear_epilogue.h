#pragma once

#include <cstdint>

#include "kernels/common/vectors.h"
#include "kernels/ops/linear/linear.h"

namespace darkroom::kernels {

// What becomes of one accumulated sum, for all kernels of Linear: written once, so that they round
// at the same places.
__device__ inline float LinearEpilogue(const LinearArgs& args, int64_t row, int64_t column,
                                       float sum) {
  if (args.bias != nullptr) sum += args.bias[column];
  float value = Activate(args.activation, sum);
  const int64_t index = row * args.out_features + column;
  if (args.factor != nullptr) return value * LoadElement(args.factor, args.factor_dtype, index);
  if (args.gate != nullptr) {
    value *= args.gate[args.batch.row_to_sequence[row] * args.gate_stride + column];
  }
  if (args.residual != nullptr) value += LoadElement(args.residual, args.residual_dtype, index);
  return value;
}

__device__ inline void StoreLinear(const LinearArgs& args, int64_t row, int64_t column, float sum) {
  StoreElement(args.out, args.out_dtype, row * args.out_stride + column,
               LinearEpilogue(args, row, column, sum));
}

// Two neighbouring columns, the second of which may not exist. `paired`: both stores may be one,
// since every row of `out` begins at an even element of aligned memory.
__device__ inline void StoreLinearPair(const LinearArgs& args, int64_t row, int64_t column,
                                       float first, float second, bool paired) {
  if (!paired || column + 1 >= args.out_features) {
    if (column < args.out_features) StoreLinear(args, row, column, first);
    if (column + 1 < args.out_features) StoreLinear(args, row, column + 1, second);
    return;
  }
  const float low = LinearEpilogue(args, row, column, first);
  const float high = LinearEpilogue(args, row, column + 1, second);
  StorePair(args.out, args.out_dtype, row * args.out_stride + column, low, high, true);
}

inline bool HasPairedRows(const LinearArgs& args) {
  return args.out_stride % 2 == 0 && reinterpret_cast<uintptr_t>(args.out) % 8 == 0;
}

// Which tile a block computes: rows fastest within a band of kBandTiles tile rows, so that blocks
// that run together share the weight's and the activations' tiles in the L2 cache.
struct TilePlace {
  int64_t row_tile;
  int64_t column_tile;
};
__host__ __device__ inline TilePlace PlaceOfTile(int64_t block, int64_t row_tiles,
                                                 int64_t column_tiles) {
  constexpr int64_t kBandTiles = 16;
  const int64_t band = block / (kBandTiles * column_tiles);
  const int64_t left = row_tiles - band * kBandTiles;
  const int64_t height = left < kBandTiles ? left : kBandTiles;
  const int64_t in_band = block - band * kBandTiles * column_tiles;
  return {band * kBandTiles + in_band % height, in_band / height};
}

}  // namespace darkroom::kernels
