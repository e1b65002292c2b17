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

// Calls f(i, n) for every vector of a row of `count`: n is the vector's width, a constant, but for
// a last partial one.
template <class V, class F>
inline void ForEachVector(int64_t count, F f) {
  int64_t i = 0;
  for (; i + V::kWidth <= count; i += V::kWidth) f(i, int64_t{V::kWidth});
  if (i < count) f(i, count - i);
}

template <class V>
void ConvertRow(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t count) {
  ForEachVector<V>(count, [&](int64_t i, int64_t n) {
    StoreRow<V>(to, to_dtype, i, n, LoadRow<V>(from, from_dtype, i, n));
  });
}

template <class V>
void SiluRow(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t count) {
  ForEachVector<V>(count, [&](int64_t i, int64_t n) {
    StoreRow<V>(to, to_dtype, i, n, Silu<V>(LoadRow<V>(from, from_dtype, i, n)));
  });
}

template <class V>
void AddRow(const AddRowArgs& row) {
  ForEachVector<V>(row.n, [&](int64_t i, int64_t n) {
    StoreRow<V>(row.out, row.out_dtype, i, n,
                V::Add(LoadRow<V>(row.x, row.x_dtype, i, n), LoadRow<V>(row.y, row.y_dtype, i, n)));
  });
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

struct QuickGeluActivation {
  template <class V>
  static typename V::Reg Apply(typename V::Reg x) {
    return QuickGelu<V>(x);
  }
};
struct ReluActivation {
  template <class V>
  static typename V::Reg Apply(typename V::Reg x) {
    // The constant first, so that a NaN goes through.
    return V::Max(V::Zero(), x);
  }
};

template <class V, class A>
void Epilogue(const EpilogueRow& row) {
  ForEachVector<V>(row.n, [&](int64_t i, int64_t n) {
    // Sums and bias can be read a whole vector beyond the row's end.
    auto y = A::template Apply<V>(V::Add(V::Load(row.sums + i), V::Load(row.bias + i)));
    if (row.residual != nullptr) {
      const auto residual = LoadRow<V>(row.residual, row.residual_dtype, i, n);
      y = row.gate != nullptr ? V::Fma(LoadRow<V>(row.gate, DType::kF32, i, n), y, residual)
                              : V::Add(y, residual);
    } else if (row.gate != nullptr) {
      y = V::Mul(LoadRow<V>(row.gate, DType::kF32, i, n), y);
    } else if (row.factor != nullptr) {
      y = V::Mul(LoadRow<V>(row.factor, row.factor_dtype, i, n), y);
    }
    StoreRow<V>(row.out, row.out_dtype, i, n, y);
  });
}

// Of a row: the mean, or 0 with `rms`, and the variance or mean square. Two passes, as E[x^2] -
// E[x]^2 loses what a large mean leaves. Lanes sum strided elements, then each other: a fixed
// order.
struct RowMoments {
  float mean;
  float variance;
};

template <class V>
inline float MeanSquare(const void* x, DType dtype, int64_t count) {
  auto squares = V::Zero();
  ForEachVector<V>(count, [&](int64_t i, int64_t n) {
    const auto value = LoadRow<V>(x, dtype, i, n);
    squares = V::Fma(value, value, squares);
  });
  return V::SumLanes(squares) / static_cast<float>(count);
}

template <class V>
inline RowMoments Moments(const void* x, DType dtype, int64_t count) {
  const float inverse_n = 1.0f / static_cast<float>(count);
  auto sum = V::Zero();
  ForEachVector<V>(count,
                   [&](int64_t i, int64_t n) { sum = V::Add(sum, LoadRow<V>(x, dtype, i, n)); });
  const float mean = V::SumLanes(sum) * inverse_n;
  const auto mean_all = V::Broadcast(mean);
  auto squares = V::Zero();
  ForEachVector<V>(count, [&](int64_t i, int64_t n) {
    auto d = V::Sub(LoadRow<V>(x, dtype, i, n), mean_all);
    if (n < V::kWidth) {
      // Lanes beyond the end hold -mean.
      float lane[V::kWidth];
      V::Store(lane, d);
      d = V::LoadPartial(lane, n);
    }
    squares = V::Fma(d, d, squares);
  });
  return {mean, V::SumLanes(squares) * inverse_n};
}

template <class V>
void LayerNormRow(const NormRow& row) {
  const RowMoments moments = Moments<V>(row.x, row.x_dtype, row.n);
  const auto mean = V::Broadcast(moments.mean);
  const auto scale_all = V::Broadcast(1.0f / __builtin_sqrtf(moments.variance + row.epsilon));
  ForEachVector<V>(row.n, [&](int64_t i, int64_t n) {
    auto y = V::Mul(V::Sub(LoadRow<V>(row.x, row.x_dtype, i, n), mean), scale_all);
    if (row.scale != nullptr) y = V::Fma(y, LoadRow<V>(row.scale, DType::kF32, i, n), y);
    if (row.shift != nullptr) y = V::Add(y, LoadRow<V>(row.shift, DType::kF32, i, n));
    StoreRow<V>(row.out, row.out_dtype, i, n, y);
  });
}

template <class V>
void AffineNorm(const AffineNormRow& row) {
  const RowMoments moments = row.rms ? RowMoments{0.0f, MeanSquare<V>(row.x, row.x_dtype, row.n)}
                                     : Moments<V>(row.x, row.x_dtype, row.n);
  const auto mean = V::Broadcast(moments.mean);
  const auto scale_all = V::Broadcast(1.0f / __builtin_sqrtf(moments.variance + row.epsilon));
  ForEachVector<V>(row.n, [&](int64_t i, int64_t n) {
    const auto y = V::Mul(V::Sub(LoadRow<V>(row.x, row.x_dtype, i, n), mean), scale_all);
    const auto weight = LoadRow<V>(row.weight, DType::kF32, i, n);
    StoreRow<V>(row.out, row.out_dtype, i, n,
                row.bias != nullptr ? V::Fma(y, weight, LoadRow<V>(row.bias, DType::kF32, i, n))
                                    : V::Mul(y, weight));
  });
}

template <class V>
void NormRopeHeads(const HeadsRow& row) {
  const int64_t head_bytes = row.head_dim * static_cast<int64_t>(ByteSize(row.dtype));
  for (int64_t head = 0; head < row.heads; ++head) {
    void* x = static_cast<char*>(row.x) + head * head_bytes;
    auto scale = V::Zero();
    if (row.weight != nullptr) {
      const float square = MeanSquare<V>(x, row.dtype, row.head_dim);
      scale = V::Broadcast(1.0f / __builtin_sqrtf(square + row.epsilon));
    }
    ForEachVector<V>(row.head_dim, [&](int64_t i, int64_t n) {
      auto y = LoadRow<V>(x, row.dtype, i, n);
      if (row.weight != nullptr) {
        y = V::Mul(V::Mul(y, scale), LoadRow<V>(row.weight, DType::kF32, i, n));
      }
      if (row.cos != nullptr) {
        const auto turned = V::Mul(V::SwapPairs(y), LoadRow<V>(row.sin, DType::kF32, i, n));
        y = V::Fma(y, LoadRow<V>(row.cos, DType::kF32, i, n), turned);
      }
      StoreRow<V>(x, row.dtype, i, n, y);
    });
  }
}

// The channels of up to kVectors vectors, row after row, so that memory is read in runs.
template <class V, int kVectors>
inline void ChannelStatsStrip(const ChannelStatsArgs& args, int64_t channel) {
  const auto load = [&](int64_t r, int v) {
    const int64_t c = channel + v * V::kWidth;
    return LoadRow<V>(args.x, args.x_dtype, r * args.channels + c, args.channels - c);
  };
  const auto inverse_rows = V::Broadcast(1.0f / static_cast<float>(args.rows));
  typename V::Reg mean[kVectors];
  typename V::Reg squares[kVectors];
  for (int v = 0; v < kVectors; ++v) mean[v] = squares[v] = V::Zero();
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int v = 0; v < kVectors; ++v) mean[v] = V::Add(mean[v], load(r, v));
  }
  for (int v = 0; v < kVectors; ++v) mean[v] = V::Mul(mean[v], inverse_rows);
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      const auto d = V::Sub(load(r, v), mean[v]);
      squares[v] = V::Fma(d, d, squares[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t c = channel + v * V::kWidth;
    StoreRow<V>(args.mean, DType::kF32, c, args.channels - c, mean[v]);
    StoreRow<V>(args.squares, DType::kF32, c, args.channels - c, squares[v]);
  }
}

template <class V>
void ChannelStats(const ChannelStatsArgs& args) {
  constexpr int kVectors = 4;
  int64_t channel = 0;
  for (; channel + kVectors * V::kWidth <= args.channels; channel += kVectors * V::kWidth) {
    ChannelStatsStrip<V, kVectors>(args, channel);
  }
  for (; channel < args.channels; channel += V::kWidth) ChannelStatsStrip<V, 1>(args, channel);
}

// y = x * scale + shift per channel, then SiLU if asked.
template <class V>
void AffineRow(const AffineRowArgs& row) {
  const auto affine = [&](int64_t i, int64_t n) {
    return V::Fma(LoadRow<V>(row.x, row.x_dtype, i, n), LoadRow<V>(row.scale, DType::kF32, i, n),
                  LoadRow<V>(row.shift, DType::kF32, i, n));
  };
  if (row.silu) {
    ForEachVector<V>(row.n, [&](int64_t i, int64_t n) {
      StoreRow<V>(row.out, row.out_dtype, i, n, Silu<V>(affine(i, n)));
    });
  } else {
    ForEachVector<V>(row.n, [&](int64_t i, int64_t n) {
      StoreRow<V>(row.out, row.out_dtype, i, n, affine(i, n));
    });
  }
}

}  // namespace darkroom::cpu
