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

template <class V>
void PackKeys(const PackKeysArgs& args) {
  constexpr int kPanel = 2 * V::kWidth;
  for (int begin = 0; begin < args.keys; begin += kPanel) {
    const int count = args.keys - begin < kPanel ? args.keys - begin : kPanel;
    float* panel = args.packed_k + begin * args.head_dim;
    for (int64_t d = 0; d < args.head_dim; d += V::kWidth) {
      const int64_t n = args.head_dim - d;
      float rows[kPanel][V::kWidth];
      for (int key = 0; key < kPanel; ++key) {
        const int64_t at = (begin + key) * args.row_stride + d;
        V::Store(rows[key], key < count ? LoadRow<V>(args.k, args.k_dtype, at, n) : V::Zero());
      }
      for (int64_t i = 0; i < V::kWidth && i < n; ++i) {
        for (int key = 0; key < kPanel; ++key) panel[(d + i) * kPanel + key] = rows[key][i];
      }
    }
  }
  for (int64_t d = 0; d < args.head_dim; d += V::kWidth) {
    float* panel = args.packed_v + d / kPanel * kPanel * kKeyBlock + d % kPanel;
    for (int key = 0; key < args.keys; ++key) {
      V::Store(panel + key * kPanel,
               LoadRow<V>(args.v, args.v_dtype, key * args.row_stride + d, args.head_dim - d));
    }
  }
}

// Turns one row's scores (in units of log2) into weights and returns the factor for what has been
// summed under the old maximum.
template <class V>
inline float SoftmaxRow(float* scores, int keys, float& row_max, float& row_sum) {
  auto best = V::Broadcast(row_max);
  int j = 0;
  for (; j + V::kWidth <= keys; j += V::kWidth) best = V::Max(best, V::Load(scores + j));
  if (j < keys) {
    // Scores beyond the last key are of no key: they must weigh nothing.
    for (int i = keys; i < j + V::kWidth; ++i) scores[i] = -__builtin_inff();
    best = V::Max(best, V::Load(scores + j));
  }
  const float new_max = MaxLanes<V>(best);
  const auto subtract = V::Broadcast(new_max);
  auto sum = V::Zero();
  for (j = 0; j < keys; j += V::kWidth) {
    const auto weight = Exp2<V>(V::Sub(V::Load(scores + j), subtract));
    V::Store(scores + j, weight);
    sum = V::Add(sum, weight);
  }
  float lane[V::kWidth];
  V::Store(lane, Exp2<V>(V::Broadcast(row_max - new_max)));
  row_sum = row_sum * lane[0] + SumLanes<V>(sum);
  row_max = new_max;
  return lane[0];
}

// out[rows x head_dim] += weights[rows x keys] V
template <class V>
inline void AddWeightedValues(const float* weights, int rows, int keys, const float* packed_v,
                              int64_t head_dim, float* out, int64_t out_stride) {
  constexpr int kPanel = 2 * V::kWidth;
  for (int64_t d = 0; d < head_dim; d += kPanel) {
    const float* panel = packed_v + d * kKeyBlock;
    if (head_dim - d > V::kWidth) {
      GemmRows<V, 2>(rows, weights, panel, keys, out + d, out_stride, true);
    } else {
      GemmRows<V, 1>(rows, weights, panel, keys, out + d, out_stride, true);
    }
  }
}

template <class V>
void AttentionBlock(const AttentionBlockArgs& args) {
  constexpr int kPanel = 2 * V::kWidth;
  const int64_t head_dim = args.head_dim;
  const int64_t out_stride = PaddedHeadDim(head_dim);
  float* queries = args.scratch;
  float* scores = queries + RowBlockFloats(head_dim);
  float* sums = scores + kRowBlock * kRowStride;
  float row_max[kQueryBlock];
  float row_sum[kQueryBlock];

  const auto scale = V::Broadcast(args.scale * kLog2E);
  for (int r = 0; r < args.queries; ++r) {
    row_max[r] = -3.0e38f;
    row_sum[r] = 0.0f;
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
    for (int row = 0; row < args.queries; row += V::kTileRows) {
      const int rows = args.queries - row < V::kTileRows ? args.queries - row : V::kTileRows;
      for (int64_t d = 0; d < head_dim; d += kDepthBlock) {
        const int64_t depth = head_dim - d < kDepthBlock ? head_dim - d : kDepthBlock;
        for (int key = 0; key < keys; key += kPanel) {
          GemmRows<V, 2>(rows, queries + RowBlockOffset(row, d),
                         packed_k + key * head_dim + d * kPanel, depth, scores + key, kRowStride,
                         d > 0);
        }
      }
      for (int r = 0; r < rows; ++r) {
        const float keep =
            SoftmaxRow<V>(scores + r * kRowStride, keys, row_max[row + r], row_sum[row + r]);
        if (keep == 1.0f) continue;
        const auto factor = V::Broadcast(keep);
        float* sum = sums + (row + r) * out_stride;
        for (int64_t d = 0; d < head_dim; d += V::kWidth) {
          V::Store(sum + d, V::Mul(V::Load(sum + d), factor));
        }
      }
      AddWeightedValues<V>(scores, rows, keys, packed_v, head_dim, sums + row * out_stride,
                           out_stride);
    }
  }

  for (int r = 0; r < args.queries; ++r) {
    const auto inverse = V::Broadcast(1.0f / row_sum[r]);
    for (int64_t d = 0; d < head_dim; d += V::kWidth) {
      StoreRow<V>(args.out, args.out_dtype, r * args.out_stride + d, head_dim - d,
                  V::Mul(V::Load(sums + r * out_stride + d), inverse));
    }
  }
}

}  // namespace darkroom::cpu
