#pragma once

#include <cstdint>

#include "device/cpu/attention_layout.h"
#include "device/cpu/gemm_kernel.h"
#include "device/cpu/kernels.h"
#include "device/cpu/row_kernels.h"
#include "device/cpu/simd_math.h"

namespace darkroom::cpu {

// Online softmax (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022): for each block
// of keys, scores S = Q K^T of a few rows stay in the first-level cache, are turned into weights
// relative to the running maximum, and are multiplied by V at once.

// One panel of keys, turned: feature d of key i at [d][i]. Keys from `count` on are zeros.
template <class V>
inline void PackKeyPanel(const PackKeysArgs& args, int begin, int count, float* panel) {
  constexpr int kPanel = 2 * V::kWidth;
  for (int half = 0; half < kPanel; half += V::kWidth) {
    for (int64_t d = 0; d < args.head_dim; d += V::kWidth) {
      const int64_t features = args.head_dim - d;
      typename V::Reg square[V::kWidth];
      for (int i = 0; i < V::kWidth; ++i) {
        square[i] = half + i < count
                        ? LoadRow<V>(args.k, args.k_dtype, (begin + half + i) * args.row_stride + d,
                                     features)
                        : V::Zero();
      }
      V::Transpose(square);
      for (int64_t i = 0; i < V::kWidth && i < features; ++i) {
        V::Store(panel + (d + i) * kPanel + half, square[i]);
      }
    }
  }
}

template <class V>
void PackKeys(const PackKeysArgs& args) {
  constexpr int kPanel = 2 * V::kWidth;
  for (int begin = 0; begin < args.keys; begin += kPanel) {
    const int count = args.keys - begin < kPanel ? args.keys - begin : kPanel;
    PackKeyPanel<V>(args, begin, count, args.packed_k + begin * args.head_dim);
  }
  for (int64_t d = 0; d < args.head_dim; d += V::kWidth) {
    float* panel = args.packed_v + d / kPanel * kPanel * kKeyBlock + d % kPanel;
    for (int key = 0; key < args.keys; ++key) {
      V::Store(panel + key * kPanel,
               LoadRow<V>(args.v, args.v_dtype, key * args.row_stride + d, args.head_dim - d));
    }
  }
}

// What a register tile's rows remember from block to block.
template <class V>
struct RunningSoftmax {
  static_assert(V::kTileRows <= V::kWidth);
  float max[V::kWidth];  // of the scores so far
  float sum[V::kWidth];  // of their weights
};

// Adds biases to scores, which are in units of log2, and takes out keys behind their query.
// `queries_before`: how many of the sequence's queries come before the tile's first row;
// `keys_before` likewise for the scores' first column.
template <class V>
inline void BiasAndMaskTile(float* scores, int rows, int keys, const AttentionBlockArgs& args,
                            int64_t queries_before, int64_t keys_before) {
  const auto unit = V::Broadcast(kLog2E);
  for (int r = 0; r < rows; ++r) {
    float* row = scores + r * kRowStride;
    const int64_t query = queries_before + r;
    if (args.bias != nullptr) {
      const float* bias = args.bias + (keys_before - query);
      ForEachVector<V>(keys, [&](int64_t j, int64_t n) {
        const auto b = LoadRow<V>(bias, DType::kF32, j, n);
        V::Store(row + j, V::Fma(b, unit, V::Load(row + j)));
      });
    }
    if (args.causal) {
      const int64_t visible = query + 1 - keys_before;
      for (int64_t j = visible < 0 ? 0 : visible; j < keys; ++j) row[j] = -__builtin_inff();
    }
  }
}

// Turns scores (in units of log2) into weights, and gives for each row the factor for what has been
// summed under its old maximum.
template <class V>
inline void SoftmaxTile(float* scores, int rows, int keys, RunningSoftmax<V>& running,
                        float* keep) {
  float max[V::kWidth] = {};
  const int padded = (keys + V::kWidth - 1) / V::kWidth * V::kWidth;
  for (int r = 0; r < rows; ++r) {
    float* row = scores + r * kRowStride;
    // Scores beyond the last key are of no key: they must weigh nothing.
    for (int j = keys; j < padded; ++j) row[j] = -__builtin_inff();
    auto best = V::Broadcast(running.max[r]);
    for (int j = 0; j < padded; j += V::kWidth) best = V::Max(best, V::Load(row + j));
    max[r] = V::MaxLanes(best);
  }
  V::Store(keep, Exp2<V>(V::Sub(V::Load(running.max), V::Load(max))));
  for (int r = 0; r < rows; ++r) {
    float* row = scores + r * kRowStride;
    const auto subtract = V::Broadcast(max[r]);
    auto sum = V::Zero();
    for (int j = 0; j < padded; j += V::kWidth) {
      const auto weight = Exp2<V>(V::Sub(V::Load(row + j), subtract));
      V::Store(row + j, weight);
      sum = V::Add(sum, weight);
    }
    running.sum[r] = running.sum[r] * keep[r] + V::SumLanes(sum);
    running.max[r] = max[r];
  }
}

// scores[rows x keys] = queries[rows x head_dim] K^T. A panel of keys serves all rows from the
// first-level cache.
template <class V>
inline void ScoreKeys(const float* queries, int rows, int keys, const float* packed_k,
                      int64_t head_dim, float* scores) {
  constexpr int kPanel = 2 * V::kWidth;
  for (int64_t d = 0; d < head_dim; d += kDepthBlock) {
    const int64_t depth = head_dim - d < kDepthBlock ? head_dim - d : kDepthBlock;
    for (int key = 0; key < keys; key += kPanel) {
      const float* panel = packed_k + key * head_dim + d * kPanel;
      const ReadAhead ahead = AheadOfPanel<V>(panel + head_dim * kPanel, queries, rows, depth,
                                              key / kPanel, DivideUp(keys, kPanel));
      GemmPanel<V>(queries + RowBlockOffset(0, d), rows, depth, panel, scores + key, kRowStride,
                   d > 0, ahead);
    }
  }
}

// out[rows x head_dim] += weights[rows x keys] V
template <class V>
inline void AddWeightedValues(const float* weights, int rows, int keys, const float* packed_v,
                              int64_t head_dim, float* out, int64_t out_stride) {
  constexpr int kPanel = 2 * V::kWidth;
  for (int64_t d = 0; d < head_dim; d += kPanel) {
    const float* panel = packed_v + d * kKeyBlock;
    const ReadAhead ahead = AheadOfPanel<V>(panel + kPanel * kKeyBlock, weights, rows, keys,
                                            d / kPanel, DivideUp(head_dim, kPanel));
    if (head_dim - d > V::kWidth) {
      GemmPanel<V, 2>(weights, rows, keys, panel, out + d, out_stride, true, ahead);
    } else {
      GemmPanel<V, 1>(weights, rows, keys, panel, out + d, out_stride, true, ahead);
    }
  }
}

template <class V>
void AttentionBlock(const AttentionBlockArgs& args) {
  const int64_t head_dim = args.head_dim;
  const int64_t out_stride = PaddedHeadDim(head_dim);
  float* queries = args.scratch;
  float* scores = queries + RowBlockFloats(head_dim);
  float* sums = scores + kRowBlock * kRowStride;
  RunningSoftmax<V> running[kQueryBlock / V::kTileRows] = {};

  const auto scale = V::Broadcast(args.scale * kLog2E);
  for (int r = 0; r < args.queries; ++r) {
    // The lowest finite number: a difference of infinities would not be one.
    running[r / V::kTileRows].max[r % V::kTileRows] = -3.402823466e38f;
    running[r / V::kTileRows].sum[r % V::kTileRows] = 0.0f;
    for (int64_t d = 0; d < head_dim; d += V::kWidth) {
      const auto q = LoadRow<V>(args.q, args.q_dtype, r * args.q_stride + d, head_dim - d);
      V::Store(queries + RowBlockOffset(r, d), V::Mul(q, scale));
    }
    for (int64_t d = 0; d < out_stride; d += V::kWidth) {
      V::Store(sums + r * out_stride + d, V::Zero());
    }
  }

  for (int64_t begin = 0; begin < args.keys; begin += kKeyBlock) {
    const int keys =
        static_cast<int>(args.keys - begin < kKeyBlock ? args.keys - begin : kKeyBlock);
    const float* packed_k = args.packed_k + begin / kKeyBlock * args.packed_k_stride;
    const float* packed_v = args.packed_v + begin / kKeyBlock * args.packed_v_stride;
    // Rows whose last query comes before the block's first key see none of it.
    int first = 0;
    while (args.causal && begin >= args.first_query + first + V::kTileRows) first += V::kTileRows;
    const int seeing = args.queries - first;
    if (seeing <= 0) break;
    ScoreKeys<V>(queries + RowBlockOffset(first, 0), seeing, keys, packed_k, head_dim,
                 scores + first * kRowStride);
    for (int row = first; row < args.queries; row += V::kTileRows) {
      const int rows = args.queries - row < V::kTileRows ? args.queries - row : V::kTileRows;
      float* tile = scores + row * kRowStride;
      if (args.bias != nullptr || args.causal) {
        BiasAndMaskTile<V>(tile, rows, keys, args, args.first_query + row, begin);
      }
      float keep[V::kWidth];
      SoftmaxTile<V>(tile, rows, keys, running[row / V::kTileRows], keep);
      for (int r = 0; r < rows && begin > 0; ++r) {
        const auto factor = V::Broadcast(keep[r]);
        float* sum = sums + (row + r) * out_stride;
        for (int64_t d = 0; d < head_dim; d += V::kWidth) {
          V::Store(sum + d, V::Mul(V::Load(sum + d), factor));
        }
      }
    }
    AddWeightedValues<V>(scores + first * kRowStride, seeing, keys, packed_v, head_dim,
                         sums + first * out_stride, out_stride);
  }

  for (int r = 0; r < args.queries; ++r) {
    const auto inverse = V::Broadcast(1.0f / running[r / V::kTileRows].sum[r % V::kTileRows]);
    for (int64_t d = 0; d < head_dim; d += V::kWidth) {
      StoreRow<V>(args.out, args.out_dtype, r * args.out_stride + d, head_dim - d,
                  V::Mul(V::Load(sums + r * out_stride + d), inverse));
    }
  }
}

}  // namespace darkroom::cpu
