#pragma once

#include <cstdint>

#include "darkroom/tensor.h"
#include "device/cpu/kernels.h"
#include "device/cpu/simd_math.h"

namespace darkroom::cpu {

// Loads and stores of rows that are f32 or bf16. Element `i` and up to a vector after it; only the
// first `n` exist.
template <class V>
inline typename V::Reg LoadRow(const void* row, DType dtype, int64_t i, int64_t n) {
  if (dtype == DType::kF32) {
    const float* p = static_cast<const float*>(row) + i;
    return n >= V::kWidth ? V::Load(p) : V::LoadPartial(p, n);
  }
  const uint16_t* p = static_cast<const uint16_t*>(row) + i;
  return n >= V::kWidth ? V::LoadBf16(p) : V::LoadBf16Partial(p, n);
}

template <class V>
inline void StoreRow(void* row, DType dtype, int64_t i, int64_t n, typename V::Reg a) {
  if (dtype == DType::kF32) {
    float* p = static_cast<float*>(row) + i;
    n >= V::kWidth ? V::Store(p, a) : V::StorePartial(p, a, n);
  } else {
    uint16_t* p = static_cast<uint16_t*>(row) + i;
    n >= V::kWidth ? V::StoreBf16(p, a) : V::StoreBf16Partial(p, a, n);
  }
}

// Sum of the lanes, neighbours first.
template <class V>
inline float SumLanes(typename V::Reg a) {
  float lane[V::kWidth];
  V::Store(lane, a);
  for (int step = 1; step < V::kWidth; step *= 2) {
    for (int i = 0; i < V::kWidth; i += 2 * step) lane[i] += lane[i + step];
  }
  return lane[0];
}

template <class V>
inline float MaxLanes(typename V::Reg a) {
  float lane[V::kWidth];
  V::Store(lane, a);
  float best = lane[0];
  for (int i = 1; i < V::kWidth; ++i) best = lane[i] > best ? lane[i] : best;
  return best;
}

template <class V>
void ConvertRow(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n) {
  for (int64_t i = 0; i < n; i += V::kWidth) {
    StoreRow<V>(to, to_dtype, i, n - i, LoadRow<V>(from, from_dtype, i, n - i));
  }
}

template <class V>
void SiluRow(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n) {
  for (int64_t i = 0; i < n; i += V::kWidth) {
    StoreRow<V>(to, to_dtype, i, n - i, Silu<V>(LoadRow<V>(from, from_dtype, i, n - i)));
  }
}

template <class V>
void AddRow(const AddRowArgs& row) {
  for (int64_t i = 0; i < row.n; i += V::kWidth) {
    const int64_t n = row.n - i;
    StoreRow<V>(row.out, row.out_dtype, i, n,
                V::Add(LoadRow<V>(row.x, row.x_dtype, i, n), LoadRow<V>(row.y, row.y_dtype, i, n)));
  }
}

// What Epilogue applies to a sum.
struct NoActivation {
  template <class V>
  static typename V::Reg Apply(typename V::Reg x) {
    return x;
  }
};
struct GeluTanhActivation {
  template <class V>
  static typename V::Reg Apply(typename V::Reg x) {
    return GeluTanh<V>(x);
  }
};
struct GeluActivation {
  template <class V>
  static typename V::Reg Apply(typename V::Reg x) {
    return Gelu<V>(x);
  }
};
struct SiluActivation {
  template <class V>
  static typename V::Reg Apply(typename V::Reg x) {
    return Silu<V>(x);
  }
};

template <class V, class A>
void Epilogue(const EpilogueRow& row) {
  for (int64_t i = 0; i < row.n; i += V::kWidth) {
    const int64_t n = row.n - i;
    // Sums and bias are padded to whole vectors.
    auto y = A::template Apply<V>(V::Add(V::Load(row.sums + i), V::Load(row.bias + i)));
    if (row.residual != nullptr) {
      const auto residual = LoadRow<V>(row.residual, row.residual_dtype, i, n);
      y = row.gate != nullptr ? V::Fma(LoadRow<V>(row.gate, DType::kF32, i, n), y, residual)
                              : V::Add(y, residual);
    } else if (row.gate != nullptr) {
      y = V::Mul(LoadRow<V>(row.gate, DType::kF32, i, n), y);
    }
    StoreRow<V>(row.out, row.out_dtype, i, n, y);
  }
}

// Two passes, as E[x^2] - E[x]^2 loses what a large mean leaves. Lanes sum strided elements, then
// each other: a fixed order.
template <class V>
void LayerNormRow(const NormRow& row) {
  const float inverse_n = 1.0f / static_cast<float>(row.n);
  auto sum = V::Zero();
  for (int64_t i = 0; i < row.n; i += V::kWidth) {
    sum = V::Add(sum, LoadRow<V>(row.x, row.x_dtype, i, row.n - i));
  }
  const auto mean = V::Broadcast(SumLanes<V>(sum) * inverse_n);
  auto squares = V::Zero();
  for (int64_t i = 0; i < row.n; i += V::kWidth) {
    const int64_t n = row.n - i;
    auto d = V::Sub(LoadRow<V>(row.x, row.x_dtype, i, n), mean);
    if (n < V::kWidth) {
      // Lanes beyond the end hold -mean.
      float lane[V::kWidth];
      V::Store(lane, d);
      d = V::LoadPartial(lane, n);
    }
    squares = V::Fma(d, d, squares);
  }
  const float variance = SumLanes<V>(squares) * inverse_n;
  const auto scale_all = V::Broadcast(1.0f / __builtin_sqrtf(variance + row.epsilon));
  for (int64_t i = 0; i < row.n; i += V::kWidth) {
    const int64_t n = row.n - i;
    auto y = V::Mul(V::Sub(LoadRow<V>(row.x, row.x_dtype, i, n), mean), scale_all);
    if (row.scale != nullptr) {
      y = V::Fma(y, LoadRow<V>(row.scale, DType::kF32, i, n), y);
    }
    if (row.shift != nullptr) y = V::Add(y, LoadRow<V>(row.shift, DType::kF32, i, n));
    StoreRow<V>(row.out, row.out_dtype, i, n, y);
  }
}

template <class V>
void ChannelStats(const ChannelStatsArgs& args) {
  const auto inverse_rows = V::Broadcast(1.0f / static_cast<float>(args.rows));
  for (int64_t c = 0; c < args.channels; c += V::kWidth) {
    const int64_t n = args.channels - c;
    auto sum = V::Zero();
    for (int64_t r = 0; r < args.rows; ++r) {
      sum = V::Add(sum, LoadRow<V>(args.x, args.x_dtype, r * args.channels + c, n));
    }
    const auto mean = V::Mul(sum, inverse_rows);
    auto squares = V::Zero();
    for (int64_t r = 0; r < args.rows; ++r) {
      const auto d = V::Sub(LoadRow<V>(args.x, args.x_dtype, r * args.channels + c, n), mean);
      squares = V::Fma(d, d, squares);
    }
    StoreRow<V>(args.mean, DType::kF32, c, n, mean);
    StoreRow<V>(args.squares, DType::kF32, c, n, squares);
  }
}

// y = x * scale + shift per channel, then SiLU if asked.
template <class V>
void AffineRow(const AffineRowArgs& row) {
  for (int64_t i = 0; i < row.n; i += V::kWidth) {
    const int64_t n = row.n - i;
    auto y = V::Fma(LoadRow<V>(row.x, row.x_dtype, i, n), LoadRow<V>(row.scale, DType::kF32, i, n),
                    LoadRow<V>(row.shift, DType::kF32, i, n));
    if (row.silu) y = Silu<V>(y);
    StoreRow<V>(row.out, row.out_dtype, i, n, y);
  }
}

}  // namespace darkroom::cpu
