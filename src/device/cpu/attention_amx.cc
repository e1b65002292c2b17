#include <immintrin.h>

#include <cstdint>

#include "device/cpu/attention_layout.h"
#include "device/cpu/kernels.h"
#include "device/cpu/row_kernels.h"
#include "device/cpu/simd_avx512.h"
#include "device/cpu/simd_math.h"

namespace darkroom::cpu {
namespace {

// Attention whose products run on AMX: bf16 in, f32 sums. The algorithm, its blocks and their order
// are those of attention_kernel.h; only scores and weights pass through tiles of 16 rows x 64
// bytes. A tile product is C[16 x 16] += A[16 x 32] B[32 x 16], B as pairs of rows: [16][16][2].

// The vector type under a name of this file's own, so that what it instantiates is of this file
// too.
struct Amx : Avx512 {};

constexpr int kTile = 16;           // rows of a tile, and columns of C
constexpr int kTileDepth = 32;      // columns of A
constexpr int kTileElements = 512;  // bf16 of one tile
constexpr int kRows = 2 * kTile;    // queries that are in flight together
constexpr int64_t kTileStride = 64;

static_assert(kQueryBlock % kRows == 0);
static_assert(kKeyBlock % kTileDepth == 0);

int64_t PaddedDepth(int64_t n) { return RoundUp(n, kTileDepth); }

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// g++ 12's tile loads do not tell the compiler that they read memory: stores before them could be
// moved behind.
inline void MemoryBarrier() { __asm__ volatile("" ::: "memory"); }

// Tiles 0 to 3 are C (two by two), 4 and 5 rows of A, 6 and 7 columns of B.
inline void ZeroSums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

inline void LoadSums(const float* c, int64_t stride) {
  _tile_loadd(0, c, stride * 4);
  _tile_loadd(1, c + kTile, stride * 4);
  _tile_loadd(2, c + kTile * stride, stride * 4);
  _tile_loadd(3, c + kTile * stride + kTile, stride * 4);
}

inline void StoreSums(float* c, int64_t stride) {
  _tile_stored(0, c, stride * 4);
  _tile_stored(1, c + kTile, stride * 4);
  _tile_stored(2, c + kTile * stride, stride * 4);
  _tile_stored(3, c + kTile * stride + kTile, stride * 4);
}

// `a_next`, `b_next`: bf16 elements to the second tile of each.
inline void Multiply(const uint16_t* a, int64_t a_next, int64_t a_stride_bytes, const uint16_t* b,
                     int64_t b_next) {
  _tile_loadd(4, a, a_stride_bytes);
  _tile_loadd(5, a + a_next, a_stride_bytes);
  _tile_loadd(6, b, kTileStride);
  _tile_loadd(7, b + b_next, kTileStride);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// Up to 32 bf16, zeros beyond `n`.
inline __m512i Load32(const uint16_t* from, int64_t n) {
  if (n >= kTileDepth) return _mm512_loadu_si512(from);
  return _mm512_maskz_loadu_epi16(n <= 0 ? 0 : (__mmask32{1} << n) - 1, from);
}

// K: [panel of 16 keys][32 features][16 pairs][16 keys][2]. Pairs of features are 32-bit elements,
// so a tile is a square of them, turned.
void PackKeys(const PackKeysArgs& args) {
  const uint16_t* k = static_cast<const uint16_t*>(args.k);
  uint16_t* tile = reinterpret_cast<uint16_t*>(args.packed_k);
  const int keys = static_cast<int>(RoundUp(args.keys, kRows));
  for (int begin = 0; begin < keys; begin += kTile) {
    for (int64_t d = 0; d < args.head_dim; d += kTileDepth, tile += kTileElements) {
      Amx::Reg square[kTile];
      for (int i = 0; i < kTile; ++i) {
        const int key = begin + i;
        square[i] =
            key < args.keys
                ? _mm512_castsi512_ps(Load32(k + key * args.row_stride + d, args.head_dim - d))
                : Amx::Zero();
      }
      Amx::Transpose(square);
      for (int i = 0; i < kTile; ++i) _mm512_storeu_ps(tile + 32 * i, square[i]);
    }
  }
}

// V: [panel of 16 features][32 keys][16 pairs][16 features][2]: neighbouring keys interleaved.
void PackValues(const PackKeysArgs& args) {
  const uint16_t* v = static_cast<const uint16_t*>(args.v);
  uint16_t* packed = reinterpret_cast<uint16_t*>(args.packed_v);
  constexpr int64_t kPanel = kKeyBlock * kTile;
  const int keys = static_cast<int>(RoundUp(args.keys, kTileDepth));
  for (int key = 0; key < keys; key += 2) {
    for (int64_t d = 0; d < args.head_dim; d += kTileDepth) {
      const auto load = [&](int row) {
        return row < args.keys ? Load32(v + row * args.row_stride + d, args.head_dim - d)
                               : _mm512_setzero_si512();
      };
      const __m512i even = load(key);
      const __m512i odd = load(key + 1);
      for (int half = 0; half < 2; ++half) {
        const auto widen = [&](__m512i row) {
          return _mm512_cvtepu16_epi32(half == 0 ? _mm512_castsi512_si256(row)
                                                 : _mm512_extracti64x4_epi64(row, 1));
        };
        const __m512i pairs = _mm512_or_si512(widen(even), _mm512_slli_epi32(widen(odd), 16));
        _mm512_storeu_si512(packed + (d / kTile + half) * kPanel + key * kTile, pairs);
      }
    }
  }
}

void PackKeysAndValues(const PackKeysArgs& args) {
  PackKeys(args);
  PackValues(args);
}

struct Running {
  float max[kRows];
  float sum[kRows];
};

// Lanes from `n` on are no keys: they must weigh nothing.
inline Amx::Reg OnlyKeys(Amx::Reg scores, int64_t n) {
  return _mm512_mask_mov_ps(Amx::Broadcast(-__builtin_inff()), Amx::First(n < 0 ? 0 : n), scores);
}

// Turns f32 scores into bf16 weights, in place: row r of either begins at scores + r * kRowStride,
// and a vector of weights ends before the scores that are still to be read.
void Softmax(float* scores, int rows, int keys, float scale, Running& running, float* keep) {
  const auto scale_all = Amx::Broadcast(scale);
  const int padded = static_cast<int>(RoundUp(keys, kTileDepth));
  float max[kRows] = {};
  for (int r = 0; r < rows; ++r) {
    const float* row = scores + r * kRowStride;
    auto best = Amx::Broadcast(running.max[r]);
    for (int j = 0; j < keys; j += Amx::kWidth) {
      best = Amx::Max(best, OnlyKeys(Amx::Mul(Amx::Load(row + j), scale_all), keys - j));
    }
    max[r] = Amx::MaxLanes(best);
  }
  for (int r = 0; r < kRows; r += Amx::kWidth) {
    Amx::Store(keep + r, Exp2<Amx>(Amx::Sub(Amx::Load(running.max + r), Amx::Load(max + r))));
  }
  for (int r = 0; r < rows; ++r) {
    const float* row = scores + r * kRowStride;
    uint16_t* weights = reinterpret_cast<uint16_t*>(scores + r * kRowStride);
    const auto minus_max = Amx::Broadcast(-max[r]);
    auto sum = Amx::Zero();
    for (int j = 0; j < padded; j += Amx::kWidth) {
      const auto score = Amx::Fma(Amx::Load(row + j), scale_all, minus_max);
      const auto weight = Exp2<Amx>(OnlyKeys(score, keys - j));
      sum = Amx::Add(sum, weight);
      Amx::StoreBf16(weights + j, weight);
    }
    running.sum[r] = running.sum[r] * keep[r] + Amx::SumLanes(sum);
    running.max[r] = max[r];
  }
}

// Queries as A tiles: [32 features][row][32], rows beyond the last zero.
void PackQueries(const AttentionBlockArgs& args, uint16_t* queries) {
  const uint16_t* q = static_cast<const uint16_t*>(args.q);
  for (int64_t d = 0; d < args.head_dim; d += kTileDepth) {
    for (int r = 0; r < kQueryBlock; ++r) {
      const __m512i row = r < args.queries ? Load32(q + r * args.q_stride + d, args.head_dim - d)
                                           : _mm512_setzero_si512();
      _mm512_storeu_si512(queries + (d * kQueryBlock + r * kTileDepth), row);
    }
  }
}

// scores[kRows x keys] = Q K^T
void ComputeScores(const uint16_t* queries, const uint16_t* packed_k, int64_t depth, int keys,
                   float* scores) {
  for (int key = 0; key < keys; key += kRows) {
    ZeroSums();
    const uint16_t* b = packed_k + key * depth;
    for (int64_t d = 0; d < depth; d += kTileDepth) {
      Multiply(queries + d * kQueryBlock, kTileElements, kTileStride, b + d * kTile, depth * kTile);
    }
    StoreSums(scores + key, kRowStride);
  }
}

// sums[kRows x head_dim] (+)= weights V
void AddWeightedValues(const uint16_t* weights, const uint16_t* packed_v, int64_t depth, int keys,
                       bool accumulate, float* sums, int64_t sums_stride) {
  constexpr int64_t kPanel = kKeyBlock * kTile;
  for (int64_t d = 0; d < depth; d += kRows) {
    accumulate ? LoadSums(sums + d, sums_stride) : ZeroSums();
    const uint16_t* b = packed_v + d / kTile * kPanel;
    for (int key = 0; key < keys; key += kTileDepth) {
      Multiply(weights + key, int64_t{kTile} * kRowStride * 2, kRowStride * 4, b + key * kTile,
               kPanel);
    }
    StoreSums(sums + d, sums_stride);
  }
}

void AttentionBlockAmx(const AttentionBlockArgs& args) {
  const int64_t depth = PaddedDepth(args.head_dim);
  const int64_t sums_stride = PaddedHeadDim(args.head_dim);
  uint16_t* queries = reinterpret_cast<uint16_t*>(args.scratch);
  float* scores = args.scratch + RowBlockFloats(args.head_dim);
  float* sums = scores + kRowBlock * kRowStride;
  Running running[kQueryBlock / kRows];
  for (Running& rows : running) {
    for (int r = 0; r < kRows; ++r) {
      rows.max[r] = -3.402823466e38f;
      rows.sum[r] = 0.0f;
    }
  }
  PackQueries(args, queries);

  const TileConfig config;
  _tile_loadconfig(&config);
  const float scale = args.scale * kLog2E;
  for (int64_t begin = 0; begin < args.keys; begin += kKeyBlock) {
    const int keys =
        static_cast<int>(args.keys - begin < kKeyBlock ? args.keys - begin : kKeyBlock);
    const float* packed_k = args.packed_k + begin / kKeyBlock * args.packed_k_stride;
    const float* packed_v = args.packed_v + begin / kKeyBlock * args.packed_v_stride;
    for (int row = 0; row < args.queries; row += kRows) {
      const int rows = args.queries - row < kRows ? args.queries - row : kRows;
      MemoryBarrier();
      ComputeScores(queries + row * kTileDepth, reinterpret_cast<const uint16_t*>(packed_k), depth,
                    keys, scores);
      float keep[kRows];
      Softmax(scores, rows, keys, scale, running[row / kRows], keep);
      float* row_sums = sums + row * sums_stride;
      for (int r = 0; r < rows && begin > 0; ++r) {
        const auto factor = Amx::Broadcast(keep[r]);
        for (int64_t d = 0; d < depth; d += Amx::kWidth) {
          float* sum = row_sums + r * sums_stride + d;
          Amx::Store(sum, Amx::Mul(Amx::Load(sum), factor));
        }
      }
      MemoryBarrier();
      AddWeightedValues(reinterpret_cast<const uint16_t*>(scores),
                        reinterpret_cast<const uint16_t*>(packed_v), depth, keys, begin > 0,
                        row_sums, sums_stride);
    }
  }
  _tile_release();

  for (int r = 0; r < args.queries; ++r) {
    const auto inverse = Amx::Broadcast(1.0f / running[r / kRows].sum[r % kRows]);
    for (int64_t d = 0; d < args.head_dim; d += Amx::kWidth) {
      StoreRow<Amx>(args.out, args.out_dtype, r * args.out_stride + d, args.head_dim - d,
                    Amx::Mul(Amx::Load(sums + r * sums_stride + d), inverse));
    }
  }
}

}  // namespace

Kernels AmxKernels() {
  Kernels kernels = Avx512Kernels();
  kernels.pack_keys_bf16 = PackKeysAndValues;
  kernels.attention_block_bf16 = AttentionBlockAmx;
  return kernels;
}

}  // namespace darkroom::cpu
