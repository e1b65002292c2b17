// Attention on the tensor cores by mma.sync, after FlashAttention-2 (Dao, 2023): a block has 128
// queries of one sequence and head, a warp 16 of them; keys and values come in blocks of 64 through
// two stages of shared memory. Scores live in registers only: the accumulator of Q K^T has the
// layout that P V wants of its left operand.
//
// The wait for keys of the next block overlaps with the softmax, the wait for values with Q K^T.
// Shared memory is swizzled as in linear_sm80.cu.
#include <cmath>

#include "kernels/common/sequence_tiles.h"
#include "kernels/common/vectors.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ptx/cp_async.h"
#include "kernels/ptx/launch.h"
#include "kernels/ptx/mma.h"
#include "kernels/ptx/thread.h"

namespace darkroom::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * ptx::kWarpThreads;
constexpr int kQueries = kWarps * 16;
constexpr int kKeys = 64;
constexpr int kKeyFragments = kKeys / 8;
constexpr float kLog2E = 1.4426950408889634f;

template <int kHeadDim>
struct Layout {
  static constexpr int kRowBytes = kHeadDim * 2;
  static constexpr int kChunks = kRowBytes / 16;
  static constexpr int kQueryBytes = kQueries * kRowBytes;
  static constexpr int kBlockBytes = kKeys * kRowBytes;
  // Queries, two blocks of keys, two of values.
  static constexpr int kSharedBytes = kQueryBytes + 4 * kBlockBytes;

  static __device__ int Offset(int row, int chunk) {
    return row * kRowBytes + (chunk ^ (row % 8)) * 16;
  }
};

// Rows `first` to `first + kRows - 1` of the sequence on their way to `tile`; rows behind its end
// become zeros.
template <int kHeadDim, int kRows>
__device__ void LoadRows(uint8_t* tile, const __nv_bfloat16* head, const SequenceRows& rows,
                         int32_t first, int64_t row_stride) {
  using L = Layout<kHeadDim>;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kRows * L::kChunks; i += kThreads) {
    const int row = i / L::kChunks;
    const int chunk = i % L::kChunks;
    const bool inside = first + row < rows.length;
    const __nv_bfloat16* from =
        inside ? head + rows.RowOf(first + row) * row_stride + chunk * kVectorElements : head;
    ptx::CopyAsync16(tile + L::Offset(row, chunk), from, inside);
  }
}

// What a lane keeps of its two queries (rows g and g + 8 of its warp's 16).
template <int kHeadDim>
struct QueryState {
  float out[kHeadDim / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};
};

// The warp's queries are read again for every block of keys: kept, they would be a fourth of the
// registers at a head of 128, which has none to spare.
template <int kHeadDim>
__device__ void MultiplyKeys(const uint8_t* queries, int warp_query, const uint8_t* keys,
                             float (&score)[kKeyFragments][4]) {
  const int matrix = ptx::Lane() / 8;
  const int line = ptx::Lane() % 8;
#pragma unroll
  for (int step = 0; step < kHeadDim / 16; ++step) {
    uint32_t q[4];
    ptx::LoadMatrices(q, queries + Layout<kHeadDim>::Offset(warp_query + ptx::Lane() % 16,
                                                            2 * step + ptx::Lane() / 16));
#pragma unroll
    for (int j = 0; j < kKeyFragments; j += 2) {
      uint32_t k[4];
      ptx::LoadMatrices(
          k, keys + Layout<kHeadDim>::Offset(j * 8 + line + matrix / 2 * 8, 2 * step + matrix % 2));
      ptx::MmaBf16(score[j], q, k[0], k[1]);
      ptx::MmaBf16(score[j + 1], q, k[2], k[3]);
    }
  }
}

template <int kHeadDim>
__device__ void MultiplyValues(QueryState<kHeadDim>& state, const uint8_t* values,
                               const float (&weight)[kKeyFragments][4]) {
  const int matrix = ptx::Lane() / 8;
  const int line = ptx::Lane() % 8;
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    const auto& low = weight[2 * step];
    const auto& high = weight[2 * step + 1];
    const uint32_t p[4] = {ptx::PackBf16(low[0], low[1]), ptx::PackBf16(low[2], low[3]),
                           ptx::PackBf16(high[0], high[1]), ptx::PackBf16(high[2], high[3])};
#pragma unroll
    for (int j = 0; j < kHeadDim / 8; j += 2) {
      uint32_t v[4];
      ptx::LoadMatricesTransposed(
          v, values + Layout<kHeadDim>::Offset(step * 16 + line + matrix % 2 * 8, j + matrix / 2));
      ptx::MmaBf16(state.out[j], p, v[0], v[1]);
      ptx::MmaBf16(state.out[j + 1], p, v[2], v[3]);
    }
  }
}

// Scores become weights 2^(score - maximum), in units of log2; `state` is scaled to the new
// maximum.
template <int kHeadDim>
__device__ void Softmax(QueryState<kHeadDim>& state, float (&score)[kKeyFragments][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float maximum = state.maximum[half];
#pragma unroll
    for (int j = 0; j < kKeyFragments; ++j) {
      maximum = fmaxf(maximum, fmaxf(score[j][2 * half], score[j][2 * half + 1]));
    }
    maximum = fmaxf(maximum, ptx::ShuffleXor(maximum, 1));
    maximum = fmaxf(maximum, ptx::ShuffleXor(maximum, 2));
    const float correction = ptx::Exp2(state.maximum[half] - maximum);
    state.maximum[half] = maximum;
    state.sum[half] *= correction;
#pragma unroll
    for (int j = 0; j < kHeadDim / 8; ++j) {
      state.out[j][2 * half] *= correction;
      state.out[j][2 * half + 1] *= correction;
    }
#pragma unroll
    for (int j = 0; j < kKeyFragments; ++j) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        score[j][i] = ptx::Exp2(score[j][i] - maximum);
        state.sum[half] += score[j][i];
      }
    }
  }
}

// Scales the scores to log2, adds the position bias and masks what a query may not see.
__device__ inline void ScaleAndMask(const AttentionArgs& args, const SequenceRows& rows,
                                    int32_t first_query, int32_t first_key,
                                    float (&score)[kKeyFragments][4]) {
  const float scale = args.scale * kLog2E;
  const bool whole = first_key + kKeys <= rows.length && !args.causal;
#pragma unroll
  for (int j = 0; j < kKeyFragments; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int32_t query = first_query + ptx::Lane() / 4 + i / 2 * 8;
      const int32_t key = first_key + j * 8 + ptx::Lane() % 4 * 2 + i % 2;
      const bool masked = !whole && (key >= rows.length || (args.causal && key > query));
      float value = score[j][i] * scale;
      if (args.position_bias != nullptr && !masked && query < rows.length) {
        const int64_t head = blockIdx.y * (2 * int64_t{args.position_span} - 1);
        value =
            fmaf(args.position_bias[head + key - query + args.position_span - 1], kLog2E, value);
      }
      score[j][i] = masked ? -INFINITY : value;
    }
  }
}

template <int kHeadDim>
__device__ void StoreOut(const AttentionArgs& args, const SequenceRows& rows, int32_t first_query,
                         QueryState<kHeadDim>& state) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];
    sum += ptx::ShuffleXor(sum, 1);
    sum += ptx::ShuffleXor(sum, 2);
    const float inverse = 1.0f / sum;
    const int32_t query = first_query + ptx::Lane() / 4 + half * 8;
    if (query >= rows.length) continue;
    const int64_t to = rows.RowOf(query) * args.out_stride + blockIdx.y * kHeadDim;
#pragma unroll
    for (int j = 0; j < kHeadDim / 8; ++j) {
      const int64_t index = to + j * 8 + ptx::Lane() % 4 * 2;
      StoreElement(args.out, args.out_dtype, index, state.out[j][2 * half] * inverse);
      StoreElement(args.out, args.out_dtype, index + 1, state.out[j][2 * half + 1] * inverse);
    }
  }
}

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads) AttentionSm80Kernel(AttentionArgs args) {
  using L = Layout<kHeadDim>;
  const SequenceTile tile = FindTile(args.batch, static_cast<int32_t>(blockIdx.x), kQueries);
  if (tile.sequence < 0) return;
  const SequenceRows rows = RowsOfSequence(args.batch, tile.sequence);
  const int32_t block_query = tile.index * kQueries;
  const auto head_of = [&](const void* tensor) {
    return static_cast<const __nv_bfloat16*>(tensor) + blockIdx.y * kHeadDim;
  };
  uint8_t* queries = ptx::SharedMemory();
  const auto keys = [&](int block) {
    return queries + L::kQueryBytes + block % 2 * L::kBlockBytes;
  };
  const auto values = [&](int block) { return keys(block) + 2 * L::kBlockBytes; };
  const int32_t seen =
      args.causal && block_query + kQueries < rows.length ? block_query + kQueries : rows.length;
  const int blocks = (seen + kKeys - 1) / kKeys;
  const auto load = [&](uint8_t* to, const void* tensor, int block) {
    if (block < blocks) {
      LoadRows<kHeadDim, kKeys>(to, head_of(tensor), rows, block * kKeys, args.row_stride);
    }
    ptx::CommitCopies();
  };
  LoadRows<kHeadDim, kQueries>(queries, head_of(args.q), rows, block_query, args.row_stride);
  load(keys(0), args.k, 0);
  load(values(0), args.v, 0);

  QueryState<kHeadDim> state;
  const int warp_query = ptx::Warp() * 16;
  for (int block = 0; block < blocks; ++block) {
    ptx::WaitCopies<1>();
    ptx::SyncBlock();  // these keys have come; all are done with those before
    load(keys(block + 1), args.k, block + 1);
    float score[kKeyFragments][4] = {};
    MultiplyKeys<kHeadDim>(queries, warp_query, keys(block), score);
    ScaleAndMask(args, rows, block_query + warp_query, block * kKeys, score);
    Softmax(state, score);
    ptx::WaitCopies<1>();
    ptx::SyncBlock();  // these values have come; all are done with those before
    load(values(block + 1), args.v, block + 1);
    MultiplyValues(state, values(block), score);
  }
  StoreOut(args, rows, block_query + warp_query, state);
}

template <int kHeadDim>
Result LaunchHeadDim(const AttentionArgs& args, cudaStream_t stream) {
  const dim3 blocks(static_cast<uint32_t>(SequenceTilesMax(args.batch, kQueries)),
                    static_cast<uint32_t>(args.heads));
  return ptx::Launch(AttentionSm80Kernel<kHeadDim>,
                     {blocks, kThreads, Layout<kHeadDim>::kSharedBytes}, stream, args);
}

}  // namespace

Result AttentionSm80(const AttentionArgs& args, cudaStream_t stream) {
  return args.head_dim == 64 ? LaunchHeadDim<64>(args, stream) : LaunchHeadDim<128>(args, stream);
}

}  // namespace darkroom::kernels
